"""Figures: accuracy by the onboard code, working points, tracking, measured latency."""
