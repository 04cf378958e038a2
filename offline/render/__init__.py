"""Rendered drone flights with exact truth: boxes, distances, time to contact::

    from offline.render import Flight, render_flight, write_dataset
    for frame in Flight("approach", look="thermal", size=(320, 256), seed=3):
        frame.image, frame.stamp_s, frame.objects, frame.camera

For a closed loop, step it yourself: `Renderer(Scene(seed, look), width, height).render(camera, t)`.
"""

from .camera import Camera, attitude, intrinsics
from .dataset import CATEGORIES, render_flight, write_dataset
from .flight import PRESETS, TARGETS, Flight
from .renderer import Frame, Renderer, Truth
from .scene import CLASSES, Motion, Scene

__all__ = [
    "CATEGORIES",
    "CLASSES",
    "PRESETS",
    "TARGETS",
    "Camera",
    "Flight",
    "Frame",
    "Motion",
    "Renderer",
    "Scene",
    "Truth",
    "attitude",
    "intrinsics",
    "render_flight",
    "write_dataset",
]
