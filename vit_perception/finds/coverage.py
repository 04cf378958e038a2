"""What the camera has covered: footprints united on a grid, how finely, and the chance to have missed somebody."""

import math
from typing import Any

import cv2
import numpy as np

PERSON_M = (0.5, 1.7)  # width and height of somebody who stands
# Misses of uav_thermal in one image, by sqrt(w h) in pixels (offline/simulate/noise.json, miss; HIT-UAV's unseen
# flights); nothing is found of what is smaller than LEAST_PX (offline/simulate/world.py).
LEAST_PX = 10.0
SIZES_PX = (LEAST_PX, 14.8, 28.2, 47.0, 65.8, 111.9, 156.8, 218.5)
MISSED = (0.30, 0.1665, 0.1296, 0.0214, 0.0339, 0.1238, 0.0821, 0.0645)  # the first: a guess
SEEN_PX = 6.0  # ground where somebody would be smaller counts as not seen at all
PASS_S = 8.0  # seconds out of view after which a cell is looked at anew: misses in neighbouring images repeat
STEP_S = 0.4  # between two footprints
FINER = 4  # polygons are filled on a grid so many times as fine
MOST_CELLS = 1 << 21  # of the grid; beyond, cells become twice as wide


class Coverage:
    """A grid that grows with the flight.

    Args:
        cell_m: width of a cell, metres; it doubles when the area gets too large.

    Attributes:
        largest_px (rows, columns) float32: largest that somebody there would have been in an image; 0: not seen.
        missed (rows, columns) float32: chance to have missed somebody there, by every pass; 1: not seen.
        finest_cm (rows, columns) float32: least cm per pixel. corner (2,): east and north of cell [0, 0]'s corner.
    """

    def __init__(self, cell_m=2.0):
        self.cell_m = float(cell_m)
        self.corner: Any = None  # from here to _before: None until something was seen
        self.largest_px: Any = None
        self.missed: Any = None
        self.finest_cm: Any = None
        self._seen_s: Any = None
        self._before: Any = None
        self.size_px: Any = None  # of somebody in the middle of the newest image
        self._due_s = -float("inf")

    def add(self, stamp_s, view):
        """The footprint of a `sighting.View`; some that follow each other closely are left out."""
        if 0 <= self._due_s - stamp_s < STEP_S:
            return
        self._due_s = stamp_s + STEP_S
        camera = view.camera
        focal = math.sqrt(camera.fx * camera.fy)
        farthest = focal * math.sqrt(PERSON_M[0] * PERSON_M[1]) / SEEN_PX
        self.size_px = None
        middle = view.rays([(camera.cx, camera.cy)])
        foot = view.ground(middle)[0]
        if np.isfinite(foot).all():
            self.size_px = float(person_px(focal, view.eye[2], float(np.hypot(*(foot - view.eye[:2])))))
        outline = footprint(view, farthest)
        if outline is None:
            return
        low = self._room(outline.min(axis=0), outline.max(axis=0))
        span = np.ceil((outline.max(axis=0) - self.corner) / self.cell_m).astype(int) + 1 - low
        rows, columns = np.nonzero(_inside([(outline - self.corner) / self.cell_m - low], span))
        if not len(rows):
            return
        centres = self.corner + self.cell_m * (np.stack([columns, rows], 1) + low + 0.5)
        away = np.hypot(centres[:, 0] - view.eye[0], centres[:, 1] - view.eye[1])
        size = person_px(focal, view.eye[2], away)
        slant = np.hypot(away, view.eye[2])
        seen = size >= SEEN_PX
        self._look((rows + low[1])[seen], (columns + low[0])[seen], size[seen], 100.0 * slant[seen] / focal, stamp_s)

    def _look(self, rows, columns, size, cm, stamp_s):
        at = rows, columns
        anew = stamp_s - self._seen_s[at] > PASS_S
        before = np.where(anew, self.missed[at], self._before[at])
        this = before * missed(size)
        self.missed[at] = np.where(anew, this, np.minimum(self.missed[at], this))
        self._before[at], self._seen_s[at] = before, stamp_s
        self.largest_px[at] = np.maximum(self.largest_px[at], size)
        self.finest_cm[at] = np.minimum(self.finest_cm[at], cm)

    def _room(self, low, high):
        """Make the grid hold a box of metres; returns the cell (column, row) of its lower corner."""
        if self.corner is None:
            self.corner = np.floor(low / self.cell_m) * self.cell_m
            self._grow((0, 0), (1, 1))
        end = self.corner + self.cell_m * np.array(self.missed.shape[::-1])
        span = np.maximum(high, end) - np.minimum(low, self.corner)  # after a jump of the position: kilometres
        while float(np.prod(span / self.cell_m)) > MOST_CELLS:
            self._coarsen()
        first = np.floor((low - self.corner) / self.cell_m).astype(int)
        last = np.floor((high - self.corner) / self.cell_m).astype(int) + 2
        shape = np.array(self.missed.shape[::-1])
        before, after = np.maximum(-first, 0), np.maximum(last - shape, 0)
        if before.any() or after.any():
            extra = np.where(before + after > 0, 16, 0)  # some more, so that not every image grows it
            before, after = np.where(before > 0, before + extra, 0), np.where(after > 0, after + extra, 0)
            self._grow(before, after)
        return first + before

    def _grow(self, before, after):
        self.corner = self.corner - self.cell_m * np.array(before)
        fills = {"largest_px": 0.0, "missed": 1.0, "finest_cm": np.inf, "_seen_s": -np.inf, "_before": 1.0}
        for name, fill in fills.items():
            old = getattr(self, name)
            rows, columns = (0, 0) if old is None else old.shape
            kind = np.float64 if name == "_seen_s" else np.float32
            new = np.full((rows + before[1] + after[1], columns + before[0] + after[0]), fill, kind)
            if old is not None:
                new[before[1] : before[1] + rows, before[0] : before[0] + columns] = old
            setattr(self, name, new)

    def _coarsen(self):
        """Cells twice as wide; each keeps the worst of its four, so that nothing counts as seen that was not."""
        if any(n % 2 for n in self.missed.shape):
            self._grow((0, 0), [n % 2 for n in self.missed.shape[::-1]])
        for name, worst in (("largest_px", np.min), ("missed", np.max), ("finest_cm", np.max), ("_seen_s", np.min),
                            ("_before", np.max)):  # fmt: skip
            values = getattr(self, name)
            rows, columns = values.shape
            blocks = values.reshape(rows // 2, 2, columns // 2, 2)
            setattr(self, name, worst(worst(blocks, axis=3), axis=1))
        self.cell_m *= 2

    def copy(self):
        """What is known now, for another thread."""
        one = Coverage(self.cell_m)
        one.corner, one.size_px = self.corner, self.size_px
        for name in ("largest_px", "missed", "finest_cm"):
            values = getattr(self, name)
            setattr(one, name, None if values is None else values.copy())
        return one

    def area_m2(self):
        """Area seen so far."""
        return 0.0 if self.missed is None else float((self.missed < 1).sum()) * self.cell_m**2

    def warning(self):
        """One sentence where people are too small in the image, or ''."""
        if self.size_px is None or self.size_px >= LEAST_PX:
            return ""
        text = "people in the middle of the image are {:.0f} px large, the model was trained on {:.0f} px and more"
        return (text + ": fly lower, or take a longer lens").format(self.size_px, LEAST_PX)

    def of_area(self, polygons):
        """What was seen of an area: a dict of its figures, or None without one.

        Args:
            polygons: list of polygons, each a list of rings (n, 2) of metres east and north, the holes after the first.

        Returns:
            {"area_m2", "seen" (share 0 to 1), "missed" (mean chance to have missed somebody in it, not seen counting
            as 1), "finest_cm" and "size_px" (medians over what was seen; None where nothing was)}.
        """
        if not polygons:
            return None
        ends = np.concatenate([rings[0] for rings in polygons])
        low, high = ends.min(axis=0), ends.max(axis=0)
        step = max(self.cell_m, math.sqrt(float(np.prod(high - low)) * FINER**2 / MOST_CELLS))
        shape = np.ceil((high - low) / step).astype(int) + 1
        mask = np.zeros((shape[1], shape[0]), bool)
        for rings in polygons:
            mask |= _inside([(r - low) / step for r in rings], shape)
        rows, columns = np.nonzero(mask)
        missing = np.ones(len(rows))
        size, cm = np.zeros(len(rows)), np.full(len(rows), np.inf)
        if self.missed is not None and len(rows):
            centres = low + step * (np.stack([columns, rows], 1) + 0.5)
            cell = np.floor((centres - self.corner) / self.cell_m).astype(int)
            inside = ((cell >= 0) & (cell < self.missed.shape[::-1])).all(axis=1)
            at = cell[inside, 1], cell[inside, 0]
            missing[inside], size[inside], cm[inside] = self.missed[at], self.largest_px[at], self.finest_cm[at]
        seen = missing < 1
        return {
            "area_m2": float(len(rows)) * step**2,
            "seen": float(seen.mean()) if len(rows) else 0.0,
            "missed": float(missing.mean()) if len(rows) else 1.0,
            "finest_cm": float(np.median(cm[seen])) if seen.any() else None,
            "size_px": float(np.median(size[seen])) if seen.any() else None,
        }


def _inside(rings, shape):
    """Which cells' centres lie in a polygon: bool (rows, columns).

    Args:
        rings: list of (n, 2) in cells, the holes after the first. shape: (columns, rows).
    """
    fine = np.zeros((FINER * shape[1], FINER * shape[0]), np.uint8)  # OpenCV fills the border's pixels too
    cv2.fillPoly(fine, [np.round(FINER * r - 0.5).astype(np.int32) for r in rings], 1)
    return fine[FINER // 2 :: FINER, FINER // 2 :: FINER] > 0


def person_px(focal, height_m, away_m):
    """sqrt(w h) in pixels of somebody who stands `away_m` from the point below a camera of `focal` pixels."""
    slant = np.hypot(height_m, away_m)
    shown = PERSON_M[1] * away_m / np.maximum(slant, 1e-6) + PERSON_M[0] * height_m / np.maximum(slant, 1e-6)
    return focal / np.maximum(slant, 1e-6) * np.sqrt(PERSON_M[0] * shown)


def missed(size_px):
    """Chance (n,) that one pass misses somebody of that size: of one image, for misses in neighbouring ones repeat."""
    return np.where(np.asarray(size_px) < LEAST_PX, 1.0 - 1e-3, np.interp(size_px, SIZES_PX, MISSED))


def footprint(view, farthest_m):
    """Outline (n, 2) on the ground of what a `sighting.View` shows, no farther than `farthest_m`; None: nothing."""
    if not view.eye[2] > 0:
        return None
    w, h = float(view.camera.width), float(view.camera.height)
    s = np.linspace(0.0, 1.0, 9)[:-1]
    flat, full = np.zeros(8), np.ones(8)
    border = np.concatenate([(s * w, flat), (full * w, s * h), ((1 - s) * w, full * h), (flat, (1 - s) * h)], axis=1).T
    rays = view.rays(border)
    reach = math.sqrt(max(farthest_m**2 - view.eye[2] ** 2, 0.0))
    if not reach or not (rays[:, 2] < 0).any():
        return None
    flat = np.hypot(rays[:, 0], rays[:, 1])
    slope = np.maximum(-rays[:, 2], 1e-9)
    away = np.minimum(np.where(rays[:, 2] < 0, view.eye[2] * flat / slope, reach), reach)
    return view.eye[:2] + rays[:, :2] * (away / np.maximum(flat, 1e-9))[:, None]
