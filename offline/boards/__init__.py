"""Boards and time: their hardware, networks as layers, and the latency predicted from both."""
