"""Depth, texture that is fixed to things, the rolling shutter, and what has no class: all against geometry."""

import numpy as np
import pytest

from offline.render import Camera, Flight, Motion, Renderer, Scene, attitude, intrinsics
from offline.render.shutter import rolling

SIZE = (160, 128)


def camera(position, yaw=0.0, tilt=0.0) -> Camera:
    return Camera(intrinsics(*SIZE, np.radians(60)), *SIZE, np.array(position, float), attitude(yaw, tilt))


def scene_with(kind, x, seed=1, **add):
    scene = Scene(seed, "thermal", density=0)
    return scene, scene.add(kind, Motion(np.array([x, 0.0]), np.pi), style=0, **add)


def test_depth_of_a_wall_the_ground_and_the_sky():
    scene, wall = scene_with("Wall", 6.0)
    depth = Renderer(scene, *SIZE, depth=True).render(camera([0, 0, 1.0]), 0.0).depth
    assert depth.dtype == np.float32 and depth.shape == (128, 160)
    assert depth[64, 80] == pytest.approx(6.0 - wall.high[0], abs=0.1)  # the cap on top stands out
    down = (120 - 63.5) / intrinsics(*SIZE, np.radians(60))[1, 1]
    assert depth[120, 80] == pytest.approx(1.0 / down, rel=0.01)
    assert np.isinf(depth[2]).all()


def test_depth_follows_an_oblique_plane():
    """A facade that is turned away: the depth of each pixel is where its ray meets the plane."""
    scene = Scene(1, "thermal", density=0)
    scene.add("Facade", Motion(np.array([10.0, 0.0]), np.pi + 0.4), style=1)
    at = camera([0, 0, 2.0])
    depth = Renderer(scene, *SIZE, depth=True).render(at, 0.0).depth
    instance = scene.instances[0]
    v, u = np.nonzero((depth > 3) & (depth < 14))
    rays = np.column_stack([(u - at.K[0, 2]) / at.K[0, 0], (v - at.K[1, 2]) / at.K[1, 1], np.ones(len(u))])
    world = (rays * depth[v, u][:, None]) @ at.rotation + at.position
    pose = instance.pose(0.0)
    own = (world - pose.position) @ pose.rotation
    on = (np.abs(own[:, 0] - instance.high[0]) < 0.05) & (own[:, 2] > 0.1)
    assert on.sum() > 2000


def test_texture_is_fixed_to_things():
    """The picture of a near wall is that of a step before, seen from there: the noise moves as the wall does."""
    scene, _ = scene_with("Wall", 4.0)
    flat, textured = (Renderer(scene, *SIZE, depth=True, texture=s) for s in (0.0, 60.0))
    here, there = camera([0, 0, 1.2]), camera([0.3, 0.2, 1.2], yaw=0.03)
    a, b = textured.render(here, 0.0), textured.render(there, 0.0)
    assert a.image[40:90, 40:120].std() > flat.render(here, 0.0).image[40:90, 40:120].std() + 5
    v, u = np.mgrid[45:85, 50:110]
    rays = np.stack([(u - here.K[0, 2]) / here.K[0, 0], (v - here.K[1, 2]) / here.K[1, 1], np.ones(u.shape)], axis=-1)
    world = (rays * a.depth[v, u][..., None]) @ here.rotation + here.position
    pixels, _ = there.project(world.reshape(-1, 3))
    x, y = np.rint(pixels).astype(int).T
    assert np.corrcoef(a.image[v, u].ravel().astype(float), b.image[y, x].astype(float))[0, 1] > 0.85


def test_what_a_renderer_is_not_asked_for_changes_nothing():
    plain = Flight("approach", "thermal", SIZE, seed=3, target="Pole").frame(5)
    deep = Flight("approach", "thermal", SIZE, seed=3, target="Pole", depth=True).frame(5)
    assert plain.depth is None and plain.image.tobytes() == deep.image.tobytes()


@pytest.mark.parametrize("kind", ["Tree", "Facade", "Fence", "Wire"])
def test_flights_into_what_has_no_class(kind):
    flight = Flight("approach", "thermal", SIZE, 105, seed=2, target=kind, ending="brake", speed=4.0, depth=True)
    frame = flight.frame(60)
    assert flight.target.kind == kind and any(t.kind == kind and t.label is None for t in frame.objects)
    assert np.linalg.norm(flight.camera(1.0).velocity) == pytest.approx(4.0, rel=1e-3)


def test_a_rolling_shutter_shows_each_row_at_its_time():
    scene, _ = scene_with("Wall", 5.0)
    renderer = Renderer(scene, *SIZE, depth=True, texture=60.0)

    def camera_at(t):
        return camera([2 * t, 0, 1.2], yaw=3 * t)

    at_once = renderer.render(camera_at(0.0), 0.0)
    rolled = rolling(at_once.image, at_once.depth, camera_at, 0.0, 0.04).astype(int)
    late = renderer.render(camera_at(0.04 * (88.5 / 128 - 0.5)), 0.0).image.astype(int)
    row = slice(20, 140)
    still = at_once.image.astype(int)
    assert np.abs(rolled[88, row] - late[88, row]).mean() < 0.6 * np.abs(still[88, row] - late[88, row]).mean()
    assert np.abs(rolled[63:65, row] - still[63:65, row]).mean() < 2


def test_vibration_turns_the_camera_and_nothing_else():
    still, shaken = (Flight("approach", "thermal", SIZE, seed=2, target="Wall", vibration_deg=v) for v in (0.0, 0.3))
    turned = [still.camera(t).rotation @ shaken.camera(t).rotation.T for t in np.arange(0, 1, 0.01)]
    angles = np.degrees(np.arccos(np.clip([(np.trace(r) - 1) / 2 for r in turned], -1, 1)))
    assert 0.2 < angles.max() < 0.6
    assert np.allclose(still.camera(0.3).position, shaken.camera(0.3).position)
