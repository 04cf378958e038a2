"""A flight's ranges, times to contact and alert levels over time, as SVG: sharp at any size, light or dark."""

import html
import math
from typing import Dict, List

from ..palette import OF_LEVEL, SERIES

WIDTH, PANEL, LEFT, RIGHT, GAP = 1000, 150, 62, 14, 46
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # seconds between ticks
_CELL = 2.0  # units of the picture: dots that are nearer than this are one
_TICKS = 10  # of the flight time, at most


def timeline(points, levels, calibrated=True):
    """Three panels, one under the other.

    Args:
        points: list of (stamp_s, track id, range_m or None, ttc_s or None).
        levels: list of (stamp_s, alert level), one per frame.
        calibrated: whether the camera ever was; it says so where there are no ranges.

    Returns:
        text of an SVG image, which a page can hold as it is.
    """
    begin = min((s for s, _ in levels), default=0.0)
    span = max(max((s for s, _ in levels), default=0.0) - begin, 1e-3)
    ranges = [(s - begin, i, r) for s, i, r, _ in points if r is not None]
    times = [(s - begin, i, t) for s, i, _, t in points if t is not None]
    nothing = "nothing of known range" if calibrated else "not calibrated: no ranges"
    panels = [
        _dots(0, "range [m]", span, ranges, nothing),
        _dots(1, "time to contact [s]", span, times, "no time to contact was told"),
        _levels(span, [(s - begin, level) for s, level in levels]),
    ]
    height = _top(2) + PANEL // 2 + 46
    text = '<text class="soft" x="{}" y="{}" text-anchor="middle">flight time</text>'
    panels.append(text.format(0.5 * (LEFT + WIDTH - RIGHT), height - 4))
    head = '<svg class="timeline" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" role="img" aria-label="{}">'
    label = "ranges, times to contact and alerts over the flight time"
    return "".join([head.format(WIDTH, height, label), _STYLE] + panels + ["</svg>\n"])


_STYLE = """<style>
.timeline { font: 13px system-ui, "Segoe UI", Roboto, sans-serif; color: #20242b; background: #fff; }
@media (prefers-color-scheme: dark) { .timeline { color: #e4e6ea; background: #1b1e24; } }
.timeline text { fill: currentColor; } .timeline .soft { opacity: .7; }
.timeline .grid { stroke: currentColor; opacity: .14; } .timeline .dots { stroke-width: 3.5; stroke-linecap: round; }
</style>"""


def _dots(index, title, span, points, nothing):
    if not points:
        return _panel(index, title, span, ()) + _middle(index, nothing)
    # A predicted box may shrink to nothing and its range go through the roof: such dots stay at the upper edge.
    values = sorted(value for _, _, value in points)
    largest = _round_up(1.2 * values[int(0.95 * (len(values) - 1))])
    top = _top(index)
    paths: Dict[int, dict] = {}
    for seconds, track, value in points:
        cell = (round(_x(seconds, span) / _CELL), round(PANEL * (1.0 - min(value / largest, 1.0)) / _CELL))
        paths.setdefault(int(track) % len(SERIES), {})[cell] = None  # in their order, each once
    parts = [_panel(index, title, span, [(k * largest / 4, "{:g}".format(k * largest / 4)) for k in range(5)])]
    for colour, cells in sorted(paths.items()):
        path = "".join("M{:g} {:g}h0".format(x * _CELL, top + y * _CELL) for x, y in cells)
        parts.append('<path class="dots" stroke="{}" d="{}"/>'.format(SERIES[colour], path))
    return "".join(parts)


def _levels(span, levels):
    top = _top(2)
    parts = [_panel(2, "alert", span, [(0, "OK"), (1, "WARN"), (2, "ERROR")], PANEL // 2)]
    for start, end, level in _runs(levels):
        x1, x2 = _x(start, span), _x(end, span)
        height = level * PANEL / 4.0
        text = '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}"/>'
        parts.append(text.format(x1, top + PANEL / 2 - height, max(x2 - x1, 1.5), height, OF_LEVEL[level]))
    if not any(level for _, level in levels):
        parts.append(_middle(2, "no alert", PANEL // 2))
    return "".join(parts)


def _runs(levels):
    """(start, end, level) of each time for which an alert was raised."""
    runs: List[tuple] = []
    for (start, level), (end, _) in zip(levels, levels[1:] + levels[-1:]):
        if level and runs and runs[-1][2] == level and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], end, level)
        elif level:
            runs.append((start, end, level))
    return runs


def _panel(index, title, span, ticks, height=PANEL):
    """Title, lines and ticks: (value, text) from the lower edge to the upper one."""
    top, right = _top(index), WIDTH - RIGHT
    line, words = '<path class="grid" d="M{:g} {:g}L{:g} {:g}"/>', '<text x="{:g}" y="{:g}"{}>{}</text>'
    parts = [words.format(LEFT, top - 9, ' font-weight="600"', html.escape(title))]
    for k, (_, text) in enumerate(ticks or ((0, ""), (1, ""))):
        y = top + height - k * height / float(max(len(ticks) - 1, 1))
        parts += [
            line.format(LEFT, y, right, y),
            words.format(LEFT - 8, y + 4, ' text-anchor="end" class="soft"', text),
        ]
    step = next((s for s in _STEPS if span / s <= _TICKS), _STEPS[-1] * math.ceil(span / _STEPS[-1] / _TICKS))
    step = step if span >= 3 else _round_up(span / 8)
    for k in range(int(span / step + 1e-6) + 1):
        x = _x(k * step, span)
        parts += [line.format(x, top, x, top + height)]
        parts += [words.format(x, top + height + 17, ' text-anchor="middle" class="soft"', _clock(k * step))]
    return "".join(parts)


def _middle(index, text, height=PANEL):
    shape = '<text class="soft" x="{}" y="{}" text-anchor="middle">{}</text>'
    return shape.format(0.5 * (LEFT + WIDTH - RIGHT), _top(index) + 0.5 * height, html.escape(text))


def _top(index):
    return 28 + index * (PANEL + GAP)


def _x(seconds, span):
    return LEFT + (WIDTH - RIGHT - LEFT) * seconds / span


def _clock(seconds):
    if seconds < 60:
        return "{:g} s".format(round(seconds, 3))
    return "{}:{:02d}".format(int(seconds // 60), int(seconds % 60))


def _round_up(value):
    """The next of 1, 2, 4, 5, 8, 10, 20 ... at or above a positive value."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-6)))
    return next(k * power for k in (1, 2, 4, 5, 8, 10) if k * power >= value * (1 - 1e-9))
