"""Gyro and odometry of a rendered flight: true without errors, and off by what was asked for."""

import numpy as np
import pytest

from offline.render import Camera, attitude, intrinsics
from offline.simulate.ego_noise import EgoErrors, EgoSensors

EXACT = EgoErrors(0, 0, 0, 0)


def camera_at(t):
    """Flies east at 3 m/s, looks 0.1 rad down, yaws left at 0.4 rad/s from east."""
    K = intrinsics(160, 128, 1.0)
    return Camera(K, 160, 128, np.array([3 * t, 0, 2.0]), attitude(0.4 * t, 0.1), np.array([3.0, 0, 0]))


def test_exact_sensors_tell_the_truth():
    ego = EgoSensors(camera_at, EXACT, np.random.default_rng(1)).ego(0.0)
    assert np.allclose(ego.velocity, [3 * np.cos(0.1), 0, 3 * np.sin(0.1)], atol=1e-6)
    assert np.allclose(ego.level @ ego.angular_velocity, [0, 0, 0.4], atol=1e-4)  # left turns are positive about up
    assert np.allclose(ego.level @ ego.velocity, [3, 0, 0], atol=1e-6)


def test_errors_are_as_large_as_asked_and_stay():
    sensors = EgoSensors(camera_at, EgoErrors(0.5, 3.0, 0.1, 0.0), np.random.default_rng(1))
    exact = EgoSensors(camera_at, EXACT, np.random.default_rng(1))
    for t in (0.0, 1.0):
        off = np.degrees(sensors.ego(t).angular_velocity - exact.ego(t).angular_velocity)
        assert np.abs(off) == pytest.approx([0.5] * 3, abs=1e-6)
    told, true = sensors.ego(0.0).velocity, exact.ego(0.0).velocity
    assert np.linalg.norm(told) in (pytest.approx(2.7), pytest.approx(3.3))
    angle = np.degrees(np.arccos(told @ true / np.linalg.norm(told) / np.linalg.norm(true)))
    assert 2 < angle < 6


def test_a_late_clock_tells_the_past():
    late = EgoSensors(lambda t: camera_at(t * t), EgoErrors(0, 0, 0, 0, offset_s=0.1), np.random.default_rng(1))
    exact = EgoSensors(lambda t: camera_at(t * t), EXACT, np.random.default_rng(1))
    assert np.allclose(late.ego(1.0).angular_velocity, exact.ego(0.9).angular_velocity, atol=1e-6)
    assert late.ego(1.0).stamp_s == 1.0


def test_a_gyro_is_low_passed_as_an_autopilot_does():
    """A swing of 0.01 rad: at 5 Hz its rate is told, at 40 Hz, the filter's cutoff, 3 dB less, at 120 Hz hardly any."""
    K = intrinsics(160, 128, 1.0)
    for hertz, gain in ((5.0, 1.0), (40.0, 0.707), (120.0, 0.11)):
        w = 2 * np.pi * hertz

        def swings(t, w=w):
            return Camera(
                K, 160, 128, np.array([3 * t, 0, 2.0]), attitude(0.01 * np.sin(w * t), 0.0), np.array([3.0, 0, 0])
            )

        sensors = EgoSensors(swings, EXACT, np.random.default_rng(1))
        told = [sensors.ego(t).angular_velocity[2] for t in np.linspace(1, 2, 250)]
        assert np.max(np.abs(told)) == pytest.approx(0.01 * w * gain, rel=0.12, abs=0.03 * 0.01 * w)
