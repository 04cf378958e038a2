"""Remembers obstacles that vanished near the vehicle: they are still there.

Right in front of a car the image holds only a piece of it, and a detector of whole objects finds nothing. The track
ends, and the way would look free. So the memory keeps an obstacle that was near, filled the image, or was being flown
into when it vanished. It moves the obstacle by what is known of the vehicle, until the vehicle has passed it, the
detector finds it again, or its time is over. Nothing measures its range any more, so the memory keeps the near end of
the last one, by one sigma.

Time alone does not let go of what is in the way of a vehicle that knows how it moves: only looks do that do not find it
where it would be seen whole. Right in front of it there are no such looks, so the memory keeps it until the vehicle has
passed it, backed off or climbed far enough to see it, or turned away. A vehicle that swings in front of it is held up,
not flying. Where nobody knows how the vehicle moved since (no velocity, no turning, a gap between the images), or it is
disarmed, time lets go as ever; so it does of what has no range as soon as the vehicle moves.

The memory forgets an obstacle that leaves the view at its side, clear of the vehicle's way. It keeps one that was on a
collision course until its time to contact is over. A box that touches the image's side and reaches across the way has
not left.
"""

import math

import numpy as np

from .geometry import norm, wrap
from .kept import Kept, moved
from .missed_looks import MissedLooks, PastViews, View

LOOKS = 3  # in a row that an obstacle must have threatened in, to be taken for one on a collision course
MOST = 100  # of the newest that are kept
CREEPS_MPS = 1.0  # a slower vehicle is held up, by what is remembered perhaps: that is kept as while it hovers
SWING_S = 3.0  # over which its velocity is averaged for that: ArduCopter bounces off its margin for ever, at 1.5 m/s
HALF_WIDTH_M = 0.9  # of the corridor with its default sizes
GAP_S = 1.0  # between images: over a longer one nobody knows where the vehicle went


class Memory:
    """Adds to a frame's obstacles those that it remembers.

    Args:
        near_m, near_s: an obstacle nearer than this when it vanishes is kept, or nearer than what is flown in near_s;
            or wherever it was, if the vehicle flew into it when it was detected last.
        fills: so is one whose box is as large as this part of the image's width or height.
        hold_s: for how long, while the vehicle flies or its velocity is unknown. Where the velocity is known, what is
            in the way uses up time only while it would be seen whole, unless it was detected fewer times than min_hits.
        hold_still_s: the same while it hovers, creeps or swings, of what is in the way. Not of what appeared, or was
            detected fewer times than min_hits.
        still_mps: a slower vehicle hovers.
        border_px: a box this close to one side border, clear of the vehicle's way, is leaving the view: it is kept
            only if it threatens.
        min_hits: nor is what was not flown into and was detected fewer times: more ghosts than obstacles.

    Attributes:
        disarmed (bool): the vehicle surely is: who stood before its camera on the ground has walked off since, perhaps.
    """

    def __init__(
        self, near_m=6.0, near_s=5.0, fills=0.6, hold_s=5.0, hold_still_s=60.0, still_mps=0.3, border_px=10.0,
        min_hits=6,
    ):  # fmt: skip
        self.near_m, self.near_s, self.fills, self.border_px = near_m, near_s, fills, border_px
        self.min_hits = min_hits
        self.hold_s, self.hold_still_s, self.still_mps = hold_s, hold_still_s, still_mps
        self.disarmed = False
        self.reset()

    def reset(self):
        """Forget everything, as at the start."""
        self._seen = {}  # track id -> (Obstacle where it was seen last, looks in a row before in which it threatened)
        self._kept = []  # Kept
        self._missed, self._past = {}, PastViews()  # track id -> MissedLooks
        self._stamp_s = self._drift = None  # the vehicle's velocity, averaged over SWING_S

    def update(
        self, obstacles, stamp_s, width, height, ego=None, axis=(1.0, 0.0, 0.0), half_width_m=HALF_WIDTH_M, camera=None,
        mount=None, slices=((), ()), boxes=None,
    ):  # fmt: skip
        """One frame.

        Args:
            obstacles: from `ObstacleEstimator.update`.
            stamp_s: the image's stamp; one that goes back forgets everything.
            width, height: of the image, pixels.
            ego: `vit_perception.avoidance.geometry.Ego`, or None.
            axis: (3,) direction of the optical axis in base_link: `mount.rotation[:, 2]`.
            half_width_m: of the corridor: half of the vehicle and the margin beside it.
            camera, mount: `Camera` and `Mount` of this image, for missed looks; None: none are counted.
            slices: of the image, those that were looked at and those that were passed over.
            boxes: (n, 4) px of all that was detected; None: of the obstacles alone.

        Returns:
            list of Obstacle: the frame's, then those remembered, whose tracks have no detection.
        """
        dt = 0.0 if self._stamp_s is None else stamp_s - self._stamp_s
        if dt < 0:
            self.reset()
            dt = 0.0
        self._stamp_s = stamp_s
        now = {o.track.id: o for o in obstacles}
        velocity, turning = (None, None) if ego is None else (ego.velocity, ego.angular_velocity)
        speed = None if velocity is None else norm(velocity)
        still = speed is not None and speed < self.still_mps
        near_m = max(self.near_m, self.near_s * (speed or 0.0))
        hold_s = self.hold_still_s if self._is_held_up(velocity, turning, dt) else self.hold_s
        course = None if still else velocity
        way = _Way(course, axis, half_width_m)
        gone = [self._keep(o, n, near_m, width, height, way) for i, (o, n) in self._seen.items() if i not in now]
        self._kept += [k for k in gone if k is not None]
        # Otherwise what it remembers is no more where it would be looked for.
        knows = velocity is not None and turning is not None and dt <= GAP_S and not self.disarmed
        view = None
        if knows and camera is not None and mount is not None:
            seen = [o.track.box for o in obstacles if o.track.detection >= 0] if boxes is None else boxes
            view = View(camera, mount, [b.tolist() for b in seen], self.border_px, slices)
        self._past.add(stamp_s, view, dt, velocity, turning)
        for kept in self._kept:
            sure = kept.obstacle.track.hits >= self.min_hits
            blocks = sure and way.blocked_by(kept.obstacle)
            hidden = blocks and knows and self._hides(kept, width, height, still)
            lasts_s = hold_s if blocks and not kept.obstacle.appeared else self.hold_s
            kept.age(dt, 0.0 if hidden else dt, lasts_s)
            kept.move(dt, velocity, turning)
            if view is not None and not self._fills(kept, width, height):
                kept.look(view, dt)
        # A box that is predicted drifts: where the obstacle was seen last says more.
        self._seen = {i: self._last_seen(o, dt, velocity, turning) for i, o in now.items()}
        self._missed = {i: self._look(o, view, dt) for i, o in now.items()}
        self._kept = [k for k in self._kept if k.lasts(course) and not k.seen_again(now)][-MOST:]
        return list(obstacles) + [k.obstacle for k in self._kept]

    def _look(self, o, view, dt):
        """The MissedLooks of a track, this frame counted."""
        track, missed = o.track, self._missed.get(o.track.id)
        if missed is None:
            befores = [k.missed.before for k in self._kept if k.is_same(o)]  # it was known before, as another track
            if view is not None and o.position is not None:
                befores.append(self._past.looks(o.position, track.found, track.start_s))
            missed = MissedLooks(track, min(befores, default=0))
        seen = self._seen[track.id][0]
        if track.detection >= 0:
            missed.found(track, 0.0 if o.position is None else norm(o.position))
        elif view is not None and seen.position is not None:
            nearer = missed.distance_m / max(norm(seen.position), 0.1) if missed.distance_m else 1.0
            missed.look(view, seen.position, (nearer * track.found[0], nearer * track.found[1]), nearer, dt)
        o.appeared, o.gone = missed.appeared, track.detection < 0 and missed.enough
        return missed

    def _is_held_up(self, velocity, turning, dt):
        """Whether the vehicle, by its velocity now or averaged, gets nowhere."""
        if velocity is None:
            self._drift = None
            return False
        velocity = np.asarray(velocity, np.float64)
        if self._drift is None:
            self._drift = velocity
        turned = np.zeros(3) if turning is None else dt * np.cross(turning, self._drift)
        self._drift = self._drift - turned + min(dt / SWING_S, 1.0) * (velocity - self._drift)
        return min(norm(velocity), norm(self._drift)) <= max(CREEPS_MPS, self.still_mps)

    def _hides(self, kept, width, height, still):
        """Whether the detector cannot be asked: its box now would fill the image, or leave it at a side or the top.

        Without a range nobody knows where it is once the vehicle has moved.
        """
        if kept.obstacle.position is None and not still:
            return False
        return self._fills(kept, width, height) or kept.cut

    def _fills(self, kept, width, height):
        w, h = kept.box_now()
        return w >= self.fills * width or h >= self.fills * height

    def _last_seen(self, o, dt, velocity, turning):
        seen = self._seen.get(o.track.id)
        if seen is None:
            return o, 0
        return o if o.track.detection >= 0 else moved(seen[0], dt, velocity, turning), _looks(*seen)

    def _keep(self, o, looks, near_m, width, height, way):
        """The Kept of an obstacle that is gone, or None."""
        if o.ghost:
            return None
        looks = _looks(o, looks)
        x1, y1, x2, y2 = o.track.box.tolist()
        beside = (x1 <= self.border_px) != (x2 >= width - self.border_px) and not way.blocked_by(o)
        comes = beside and looks >= LOOKS and o.ttc_s is not None and o.ttc_s > 0
        large = x2 - x1 >= self.fills * width or y2 - y1 >= self.fills * height
        # The detector lost what was being flown into: so little evidence brakes, and alerts nobody (alerts.range_hits).
        lost = looks > 0 and way.course is not None and not beside and o.range_m is not None
        near = large or (o.range_m is not None and o.range_m < near_m)
        # By the top as well: a camera that looks down never sees it whole. What leaves at the bottom is below.
        cut = x1 <= self.border_px or x2 >= width - self.border_px or y1 <= self.border_px
        if lost or (o.track.hits >= self.min_hits and (comes if beside else near)):
            return Kept(o, comes, cut, self._missed[o.track.id])
        return None


class _Way:
    """Where the vehicle is going: along its course both ways, for it may come back, and where its camera looks.

    course: its velocity (3,) in base_link while it is known and moves, or None. axis (3,): the camera's.
    half_width_m: what is farther aside leaves it free.
    """

    def __init__(self, course, axis, half_width_m):
        self.course, self._half_width_m = course, half_width_m
        ways = [axis] if course is None else [axis, course, -np.asarray(course)]
        # A way straight up or down has no bearing.
        self._bearings = [math.atan2(-w[1], w[0]) for w in ways if math.hypot(w[0], w[1]) > 0.1 * norm(np.asarray(w))]

    def blocked_by(self, o):
        """Whether an obstacle reaches into the way. Without a range: whether the way's own line meets it."""
        return o.sector is not None and any(self._blocked(o, b) for b in self._bearings)

    def _blocked(self, o, bearing):
        first, last = o.sector
        aside = abs(wrap(0.5 * (first + last) - bearing)) - 0.5 * (
            last - first
        )  # of the edge that is nearer to the way
        if aside <= 0.0:
            return True
        return aside < 0.5 * math.pi and o.range_m is not None and o.range_m * math.sin(aside) < self._half_width_m


def _looks(o, before):
    """Looks in a row in which it threatened, now that the newest is judged; predicted ones are none."""
    if o.remembered:
        return before
    return before + 1 if o.threatens else 0
