"""The area to search, from a GeoJSON file."""

import json
import math

import numpy as np

from ..errors import PerceptionError
from ..files import read_text

MOST_CORNERS = 2000


def read_area(path):
    """Polygons of a GeoJSON file: a list of polygons, each a list of rings, each a list of (latitude, longitude).

    Raises:
        PerceptionError: one sentence: no file, no GeoJSON, no polygon in it, or one that crosses itself.
    """
    try:
        content = json.loads(read_text(path))
        found = list(_polygons(content))
        polygons = [[_ring(r, path) for r in rings] for rings in found]
    except OSError as e:
        raise PerceptionError("cannot read the search area {}: {}".format(path, e.strerror or e)) from None
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise PerceptionError("the search area {} is no GeoJSON of a polygon".format(path)) from None
    if not polygons:
        raise PerceptionError("the search area {} holds no polygon".format(path))
    if sum(len(r) for rings in polygons for r in rings) > MOST_CORNERS:
        raise PerceptionError("the search area {} has more than {} corners".format(path, MOST_CORNERS))
    for rings in polygons:
        for ring in rings:
            if crosses_itself(np.array(ring)):
                raise PerceptionError("the polygon in {} crosses itself; draw it anew".format(path))
    return polygons


def _polygons(content):
    kind = content["type"]
    if kind == "FeatureCollection":
        for feature in content["features"]:
            for rings in _polygons(feature):
                yield rings
    elif kind == "Feature":
        if content["geometry"] is not None:
            for rings in _polygons(content["geometry"]):
                yield rings
    elif kind == "GeometryCollection":
        for geometry in content["geometries"]:
            for rings in _polygons(geometry):
                yield rings
    elif kind == "Polygon":
        yield content["coordinates"]
    elif kind == "MultiPolygon":
        for rings in content["coordinates"]:
            yield rings


def _ring(points, path):
    places = [(float(p[1]), float(p[0])) for p in points]
    if not all(math.isfinite(a) and math.isfinite(b) and -90 <= a <= 90 for a, b in places):
        raise ValueError
    if places[0] == places[-1]:
        places = places[:-1]
    if len(places) < 3:
        raise PerceptionError("the polygon in {} has fewer than three corners".format(path))
    return places


def crosses_itself(ring):
    """Whether any two sides of a closed ring (n, 2) cross, other than neighbours at their corner."""
    ring = ring.copy()
    ring[:, 1] = np.rad2deg(np.unwrap(np.deg2rad(ring[:, 1])))  # a ring across the date line is one ring
    a, b = ring, np.roll(ring, -1, axis=0)

    def side(p, q, r):
        return np.sign((q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1])
                       - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0]))  # fmt: skip

    p, q, r, s = a[:, None], b[:, None], a[None], b[None]
    crossed = (side(p, q, r) * side(p, q, s) < 0) & (side(r, s, p) * side(r, s, q) < 0)
    return bool(crossed.any())
