"""Simulated flights for the logic behind the detector: exact boxes with the noise of a real one."""
