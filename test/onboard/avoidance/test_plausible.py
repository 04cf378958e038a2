"""What no object of its class can be is in nobody's way; what may be one always is."""

import math

import numpy as np
import pytest
from known_obstacles import obstacle

from vit_perception.avoidance.alerts import AlertPolicy
from vit_perception.avoidance.corridor import Corridor
from vit_perception.avoidance.geometry import Ego
from vit_perception.avoidance.growth_history import GrowthHistory
from vit_perception.avoidance.memory import Memory
from vit_perception.avoidance.plausible import is_impossible

PERSON, HEIGHT, REACH = (1.7, 0.15), 1.6, 0.45


def impossible(distance, foot, tall, height=HEIGHT, size=PERSON):
    """Of something `tall` m, `distance` m ahead, whose foot is `foot` m above the ground, seen from `height`."""
    top, bottom = (foot + tall - height) / distance, (foot - height) / distance
    return is_impossible(top, bottom, size, 0.1, height, 0.3, math.radians(1.5), REACH)


@pytest.mark.parametrize("height", [0.8, 1.6, 5.0, 30.0])
@pytest.mark.parametrize("distance", [2.0, 5.0, 15.0, 40.0])
@pytest.mark.parametrize("tall", [1.2, 1.7, 2.1])
def test_a_person_big_or_small_is_never_impossible(distance, tall, height):
    assert not impossible(distance, 0.0, tall, height)


def test_somebody_on_a_hill_or_a_step_is_not_either():
    for distance, foot in ((10.0, 1.5), (20.0, 3.0), (5.0, 1.0), (10.0, -1.5)):
        assert not impossible(distance, foot, 1.7), (distance, foot)


def test_a_child_that_reaches_up_to_the_vehicle_stays():
    assert not impossible(4.0, 0.0, 0.9, height=1.0)


def test_a_foot_high_person_at_ones_feet_is_and_so_is_one_that_hangs_in_the_air():
    assert impossible(2.5, 0.0, 0.3) and not impossible(2.5, 0.0, 0.3, height=0.5), "there it would be in the way"
    assert impossible(12.0, 9.0, 1.7)
    for nothing in ((0.0, 0.0), (0.1, 0.2), (math.nan, math.nan)):
        assert not is_impossible(*nothing, PERSON, 0.1, 1.6, 0.3, 0.02, REACH)


def test_a_ghost_is_in_nobodys_way_and_is_not_remembered():
    ego, ghost = Ego((3.0, 0.0, 0.0), (0.0, 0.0, 0.0), np.eye(3), 1.6), obstacle((4.0, 0.0, -1.0), 3.0, 0.0)
    ghost.ghost, ghost.track.hits = True, 30
    Corridor().assess([ghost], ego)
    assert ghost.threatens is False
    corridor = Corridor(others_fly=True)
    corridor.assess([ghost], ego)
    assert ghost.threatens is True, "a drone may hang in the air"
    memory = Memory()
    memory.update([ghost], 0.0, 640, 512, ego)
    assert memory.update([], 0.1, 640, 512, ego) == []


def test_what_is_remembered_counts_its_sigma_once():
    """It was moved nearer by a sigma when it was kept."""
    memory, still = Memory(), Ego((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    car = obstacle((3.4, 0.0, 0.0), 0.0, 0.0)
    car.track.hits = 10
    memory.update([car], 0.0, 640, 512, still)
    kept = memory.update([], 0.1, 640, 512, still)[0]
    assert kept.range_m == pytest.approx(3.06)
    kept.threatens = True
    policy = AlertPolicy()
    assert [policy.update([kept]).level for _ in range(4)][-1] == 1, "nearer than 8 m, not than 3"


@pytest.mark.parametrize(
    ("velocity", "ghost"), [((3.0, 0.0, 0.0), True), ((3.0, 0.0, -1.0), False), ((3.0, 0.0, 1.0), False), (None, False)]
)
def test_a_vehicle_that_climbs_descends_or_does_not_know_calls_nothing_a_ghost(velocity, ghost):
    from vit_perception.avoidance.camera import Camera
    from vit_perception.avoidance.geometry import Mount
    from vit_perception.avoidance.obstacles import ObstacleEstimator

    camera, estimator = Camera(320.0, 320.0, 320.0, 256.0, 640, 512), ObstacleEstimator({0: PERSON})
    track = obstacle((2.5, 0.0, -1.4), 0.0, 0.0).track
    track.box = np.array((300, 420, 320, 448), np.float32)  # 28 px high, its foot 31 degrees below the horizon
    ego = Ego(velocity, (0.0, 0.0, 0.0), np.eye(3), 1.6)
    found = estimator.update([track], 0.0, camera, 640, 512, Mount.from_angles(), ego)
    assert found[0].ghost == ghost


def test_what_seemed_a_ghost_from_afar_is_none_once_it_does_not():
    """A slope that the vehicle follows: a hundred looks up at somebody must not take as many to be corrected."""
    history = GrowthHistory(1.0)
    for _ in range(100):
        history.look(True)
    history.look(False)
    assert history.is_ghost(), "one look is noise"
    for _ in range(2):
        history.look(False)
    assert not history.is_ghost()
