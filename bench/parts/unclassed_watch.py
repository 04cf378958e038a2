"""The onboard parts that watch a flight of bench/unclassed.py, and what is kept of it."""

import time

import numpy as np

from offline.render import Camera as View
from vit_perception.avoidance.alerts import OK, AlertPolicy
from vit_perception.avoidance.camera import Camera
from vit_perception.avoidance.corridor import Corridor
from vit_perception.avoidance.geometry import Ego, Mount
from vit_perception.motion_obstacles.watcher import WATCHING, MotionObstacles

from .unclassed_flights import HALF_HEIGHT_M, HALF_WIDTH_M, Frame

REACHED_S, FAR_S, BETWEEN = 1.8, 5.0, (1.0, 5.0)  # truth: an approach; nothing near; where errors are taken


def _clock() -> float:
    began = time.thread_time()
    for _ in range(200):
        time.thread_time()
    return 1e3 * (time.thread_time() - began) / 201


CLOCK_MS = round(_clock(), 3)  # one call of the thread's clock, which is taken off


class Watch:
    """Watches one flight with its own onboard parts. without: attributes of `Ego` that are not told."""

    def __init__(self, view: View, without=(), **attributes):
        fx, fy, cx, cy = view.K[0, 0], view.K[1, 1], view.K[0, 2] + 0.5, view.K[1, 2] + 0.5
        self.camera, self.mount, self.without = (
            Camera(fx, fy, cx, cy, view.width, view.height),
            Mount.from_angles(),
            without,
        )
        self.watcher, self.policy, self.corridor = MotionObstacles(enabled=True), AlertPolicy(), Corridor()
        for name, value in attributes.items():
            setattr(self.watcher, name, value)
        self.ms: list[float] = []
        self.levels: list[tuple[float, int]] = []  # truth, level
        self.errors: list[tuple[float, float, float]] = []  # truth, told, sigma
        self.active = 0

    def step(self, frame: Frame, ego: Ego | None) -> None:
        told = ego if ego is None else Ego(ego.velocity, ego.angular_velocity, ego.level, ego.height_m, ego.stamp_s)
        for name in self.without:
            setattr(told, name, None)
        began = time.thread_time()
        found = self.watcher.update(
            frame.image, "mono", frame.stamp_s, self.camera, self.mount, told, frame.boxes, HALF_WIDTH_M, HALF_HEIGHT_M
        )
        self.ms.append(1e3 * (time.thread_time() - began) - CLOCK_MS)
        speed = None if told is None or told.velocity is None else float(np.linalg.norm(told.velocity))
        alert = self.policy.update(found, None if speed is None else self.corridor.stopping(speed))
        self.levels.append((frame.ttc_s, alert.level))
        self.active += self.watcher.state.startswith(WATCHING)
        known = [(o.ttc_s, o.ttc_sigma_s) for o in found if o.ttc_s is not None]
        if known and BETWEEN[0] <= frame.ttc_s <= BETWEEN[1]:
            self.errors.append((frame.ttc_s, *min(known)))

    def row(self) -> dict:
        """What is kept: lead_s None where nothing was reached, 0 where it was without an alert."""
        lead: float | None = None
        if min(t for t, _ in self.levels) < REACHED_S:
            raised = [t for t, level in self.levels if level > OK and t < FAR_S + 1]
            lead = round(raised[0], 2) if raised else 0.0
        before = [OK] + [level for _, level in self.levels]
        begun = [t for (t, level), last in zip(self.levels, before, strict=False) if level > OK and last == OK]
        errors = [[round(float(v), 3) for v in e] for e in self.errors]
        false = sum(t > FAR_S for t in begun)
        return {"lead_s": lead, "false": false, "frames": len(self.levels), "active": self.active, "errors": errors}


def score(rows: list[dict]) -> dict:
    """The figures of approaches."""
    leads = np.array([r["lead_s"] for r in rows if r["lead_s"] is not None])
    result: dict = {"approaches": len(leads)}
    if not len(leads):
        return result
    result |= {"warned_2s": _share(leads >= 2), "warned_1s5": _share(leads >= 1.5), "warned": _share(leads > 0)}
    e = np.array([e for r in rows if r["lead_s"] is not None for e in r["errors"]]).reshape(-1, 3)
    result |= dict.fromkeys(("tau_median_rel_err", "tau_p90_rel_err", "within_1_sigma"))
    if len(e):
        off = np.abs(e[:, 1] / e[:, 0] - 1)
        result["tau_median_rel_err"] = round(float(np.median(off)), 3)
        result["tau_p90_rel_err"] = round(float(np.percentile(off, 90)), 3)
        result["within_1_sigma"] = _share(np.abs(e[:, 1] - e[:, 0]) <= e[:, 2])
    return result


def _share(which: np.ndarray) -> float:
    return round(float(which.mean()), 3)
