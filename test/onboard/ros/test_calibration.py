"""camera_info as drivers send it: what is wrong with it is one sentence that names what."""

import math

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")

from sensor_msgs.msg import CameraInfo  # noqa: E402

from vit_perception.ros.calibration import Calibration  # noqa: E402

K = [400.0, 0.0, 320.0, 0.0, 400.0, 240.0, 0.0, 0.0, 1.0]
P = [400.0, 0.0, 320.0, 0.0, 0.0, 400.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def take(rectified=False, **fields):
    """(camera, sentences) of one camera_info that arrives."""
    said = []
    calibration = Calibration({"rectified_input": rectified}, lambda kind, text: said.append(text))
    msg = CameraInfo(**dict({"width": 640, "height": 480, "k": K, "p": P, "distortion_model": "plumb_bob"}, **fields))
    calibration.take(msg)
    return calibration.camera, said


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"k": [0.0] * 9}, "K is zero, or has focal lengths that are not positive"),
        ({"k": [math.nan] * 9}, "K holds what is no number"),
        ({"d": [0.1, math.inf, 0.0, 0.0]}, "D holds what is no number"),
        ({"width": 0, "height": 0}, "it is for images of 0 x 0 pixels; set its width and height"),
        ({"p": [0.0] * 12, "rectified": True}, "P is zero"),
    ],
)
def test_what_is_no_calibration_says_why(fields, words):
    camera, said = take(**fields)
    assert camera is None and len(said) == 1 and words in said[0] and "no range, no scan" in said[0]


def test_a_matrix_of_another_size_is_told():
    camera, said = take(width=1280, height=960)
    assert camera is not None and "principal point (320, 240) is far from the middle of its 1280 x 960" in said[0]
    assert take()[1] == take(k=[400.0, 0, 380, 0, 400, 200, 0, 0, 1])[1] == []


@pytest.mark.parametrize(
    ("model", "d", "words"),
    [
        ("plumb_bob", [-0.38, 0.16, 0.0, 0.0, -0.03, 0.0, 0.0, 0.0], ""),
        ("equidistant", [-0.002, 0.03, -0.03, 0.005, 0.0], ""),
        ("rational_polynomial", [0.1] * 8 + [0.0] * 6, ""),
        ("plumb_bob", [0.1] * 3, "plumb_bob takes 4, 5, 8, 12 or 14 coefficients, not 3; the lens counts as ideal"),
        ("kannala", [0.1] * 4, "distortion model 'kannala' is not known; the lens counts as ideal"),
    ],
)
def test_distortion_that_cannot_be_undone_is_told_and_only_that(model, d, words):
    camera, said = take(distortion_model=model, d=d)
    assert camera is not None and (said == [] if not words else words in said[0])
