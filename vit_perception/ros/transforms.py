"""Static transforms between frames, as /tf_static gives them. No ROS."""

import numpy as np

from ..avoidance.geometry import Mount, matrix_from_quaternion


class StaticTransforms:
    """A tree of frames whose relations do not change."""

    def __init__(self):
        self._above = {}  # frame -> (its parent, rotation (3, 3) and translation (3,) of frame -> parent)

    def set(self, parent, child, quaternion, translation):
        """Take one transform: the pose of `child` in `parent`; quaternion x, y, z, w. False if it is none."""
        rotation, translation = matrix_from_quaternion(*quaternion), np.array(translation, np.float64)
        parent, child = _name(parent), _name(child)
        if rotation is None or not np.isfinite(translation).all() or not child or parent == child:
            return False
        self._above[child] = (parent, rotation, translation)
        return True

    def find(self, target, source):
        """(rotation, translation) with v_target = rotation @ v_source + translation, or None if unconnected."""
        to_target, to_source = self._to_ancestors(_name(target)), self._to_ancestors(_name(source))
        for frame, (rotation, translation) in to_source.items():  # from the source upwards
            if frame in to_target:
                r, t = to_target[frame]
                return r.T.dot(rotation), r.T.dot(translation - t)
        return None

    def mount(self, base, camera):
        """Mount of the optical frame `camera` on the frame `base`, or None if they are unconnected."""
        found = self.find(base, camera)
        return None if found is None else Mount(*found)

    def _to_ancestors(self, frame):
        """{ancestor: (rotation, translation) of frame -> ancestor}, the frame itself first."""
        rotation, translation = np.identity(3), np.zeros(3)
        found = {}
        while frame not in found:  # a loop is no tree: its second round adds nothing
            found[frame] = (rotation, translation)
            if frame not in self._above:
                break
            frame, r, t = self._above[frame]
            rotation, translation = r.dot(rotation), r.dot(translation) + t
        return found


def _name(frame):
    return frame.lstrip("/")
