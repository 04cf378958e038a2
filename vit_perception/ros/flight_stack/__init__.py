"""Beside the node: the guard of its scan, the link to an autopilot, and when a blocked scan ends."""
