"""Images of a textured world of planes, as a camera that flies through it sees them: real texture, exact geometry.

A wall of random noise stands ahead, or none does and all is far away. Made with OpenCV alone: no renderer, no ROS.
"""

import cv2
import numpy as np

from vit_perception.avoidance.camera import Camera
from vit_perception.avoidance.geometry import Ego, Mount, rotation_about

SIZE, FOCAL, FPS = (640, 512), 500.0, 15.0
CAMERA = Camera(FOCAL, FOCAL, 320.0, 256.0, *SIZE)
MOUNT = Mount.from_angles()
K = np.array([[FOCAL, 0, 319.5], [0, FOCAL, 255.5], [0, 0, 1.0]])
PX_PER_M, FAR_M = 40.0, 60.0


def _noise(side, seed):
    rng = np.random.RandomState(seed)  # NumPy 1.13 has no other
    coarse = cv2.resize(rng.uniform(0, 255, (side // 16, side // 16)), (side, side), interpolation=cv2.INTER_CUBIC)
    fine = cv2.resize(rng.uniform(0, 255, (side // 4, side // 4)), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(0.5 * coarse + 0.5 * fine, 0, 255).astype(np.uint8)


_FAR, _WALL = _noise(1600, 1), _noise(400, 2)


def image(to_wall, rotation=None, wall=True):
    """uint8 (512, 640): a wall 6 m wide and high, `to_wall` metres ahead, before a background that is FAR_M away.

    rotation: (3, 3), directions of the camera that looks straight ahead -> of this one.
    """
    rotation = np.eye(3) if rotation is None else rotation
    picture = np.full(SIZE[::-1], 128, np.uint8)
    planes = [(_FAR, to_wall + FAR_M, 4.0)] + ([(_WALL, to_wall, PX_PER_M * 400 / 240)] if wall else [])
    for texture, depth, scale in planes:
        side = texture.shape[0]
        to_metres = np.array([[1 / scale, 0, -side / 2 / scale], [0, 1 / scale, -side / 2 / scale], [0, 0, depth]])
        matrix = K.dot(rotation).dot(to_metres)
        flags = cv2.INTER_AREA if scale < 10 else cv2.INTER_LINEAR
        drawn = cv2.warpPerspective(texture, matrix, SIZE, flags=flags)
        inside = cv2.warpPerspective(np.full_like(texture, 255), matrix, SIZE) > 128
        picture[inside] = drawn[inside]
    return picture


def flight(frames=45, start_m=20.0, speed=5.0, wall=True, rate=(0.0, 0.0, 0.0), **told):
    """(image, stamp_s, Ego, true time to contact) of a straight flight; `rate`: rad/s of the camera, optical axes.

    told: attributes of Ego to tell otherwise.
    """
    turned = np.eye(3)
    for i in range(frames):
        if i:
            turned = rotation_about(-np.array(rate) / FPS).dot(turned)
        to_wall = start_m - speed * i / FPS
        velocity = MOUNT.rotation.dot(turned.dot(np.array([0.0, 0.0, speed])))
        values = {"velocity": velocity, "angular_velocity": MOUNT.rotation.dot(np.array(rate)), "level": np.eye(3)}
        yield image(to_wall, turned, wall), 10.0 + i / FPS, Ego(**dict(values, **told)), to_wall / speed
