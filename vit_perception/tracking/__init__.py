"""Boxes of single frames to tracks, with the motion of the camera and the growth of objects from their pixels.

Enter by `tracker.Tracker`.
"""
