"""Finds as the files that other programs open: GeoJSON (RFC 7946), KML 2.2, CSV. Rows come from `records`."""

import csv
import html
import io
import json
import math
import time
from typing import List

import numpy as np

COLUMNS = (
    "id", "label", "state", "latitude", "longitude", "altitude_m", "sigma_m", "major_m", "minor_m", "major_bearing_deg",
    "east_m", "north_m", "walks", "speed_mps", "course_deg", "looks", "score", "best_score", "size_px", "first", "last",
    "merged", "picture",
)  # fmt: skip
WALL_CLOCK_S = 1e8  # stamps below it count from somewhere else than 1970
ELLIPSE_2D = math.sqrt(2 * math.log(20.0))  # half axes of the ellipse that holds 95%, in sigmas


def records(finds, frame, pictures=()):
    """Dicts by COLUMNS, the confirmed first, then by score.

    Args:
        finds: `find.Find`s. frame: `wgs84.LocalFrame`. pictures: ids that have one, as crops/ID.jpg.
    """
    rows = []
    for f in sorted(finds, key=lambda f: (not f.confirmed, -f.score, f.id)):
        latitude, longitude, _ = frame.to_geodetic(f.state[0], f.state[1])
        major, minor, bearing = ellipse(f.covariance[:2, :2])
        speed = float(np.hypot(f.state[2], f.state[3])) if f.walks else 0.0
        rows.append({
            "id": f.id, "label": f.label, "state": "confirmed" if f.confirmed else "unconfirmed",
            "latitude": round(latitude, 7), "longitude": round(longitude, 7),
            "altitude_m": None if f.ground_m is None else round(f.ground_m, 1),
            "sigma_m": round(f.sigma_m, 2), "major_m": round(major, 2), "minor_m": round(minor, 2),
            "major_bearing_deg": round(bearing), "east_m": round(float(f.state[0]), 2),
            "north_m": round(float(f.state[1]), 2), "walks": bool(f.walks), "speed_mps": round(speed, 1),
            "course_deg": round(math.degrees(math.atan2(f.state[2], f.state[3])) % 360) if f.walks else None,
            "looks": f.looks, "score": round(f.score, 3), "best_score": round(f.best_score, 3),
            "size_px": round(f.size_px, 1), "first": told_time(f.first_s), "last": told_time(f.last_s),
            "merged": list(f.merged), "picture": "crops/{}.jpg".format(f.id) if f.id in pictures else "",
        })  # fmt: skip
    return rows


def ellipse(covariance):
    """(standard deviation along the longer axis, the shorter one, the longer's bearing in degrees from north)."""
    values, vectors = np.linalg.eigh(covariance)
    minor, major = np.sqrt(np.maximum(values, 0.0)).tolist()
    east, north = vectors[:, 1].tolist()
    return major, minor, math.degrees(math.atan2(east, north)) % 180.0


def told_time(stamp_s):
    """UTC as ISO 8601, or seconds where stamps are of no wall clock."""
    if not stamp_s > WALL_CLOCK_S:
        return "{:.2f} s".format(stamp_s)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(stamp_s)) + "{:.2f}Z".format(stamp_s % 1)[1:]


def geojson(rows, path, area):
    """Bytes of a FeatureCollection: finds as points, the flight's path and the search area.

    Args:
        rows: as `records` returns them. path: list of (latitude, longitude). area: as `area.read_area` returns it.
    """
    features = []
    for row in rows:
        place = [row["longitude"], row["latitude"]] + ([] if row["altitude_m"] is None else [row["altitude_m"]])
        about = {k: v for k, v in row.items() if k not in ("latitude", "longitude", "altitude_m")}
        about["name"] = "{label} {id}".format(**row)
        features.append(_feature("Point", place, about, row["id"]))
    lines = [[[round(lon, 7), round(lat, 7)] for lat, lon in part] for part in split_at_date_line(path)]
    lines = [part for part in lines if len(part) > 1]
    if lines:
        features.append(_feature("MultiLineString", lines, {"name": "flight path"}))
    for rings in area or ():
        closed = [[[lon, lat] for lat, lon in _wound(r, i > 0)] for i, r in enumerate(rings)]
        features.append(_feature("Polygon", [r + r[:1] for r in closed], {"name": "search area"}))
    return (json.dumps({"type": "FeatureCollection", "features": features}) + "\n").encode("utf-8")


def _feature(kind, coordinates, properties, find_id=None):
    feature = {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}
    return feature if find_id is None else dict(feature, id=find_id)


def _wound(ring, hole):
    """RFC 7946, 3.1.6: the outer ring counter-clockwise, holes clockwise."""
    points = np.array(ring)
    x, y = points[:, 1], points[:, 0]
    clockwise = float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) < 0
    return list(ring) if clockwise == hole else list(ring)[::-1]


def split_at_date_line(path):
    """RFC 7946, 3.1.9: a path (latitude, longitude) as parts that do not cross longitude 180."""
    parts: List[list] = []
    part: List[tuple] = []
    for lat, lon in path:
        if part and abs(lon - part[-1][1]) > 180.0:
            before = part[-1]
            edge = math.copysign(180.0, before[1])
            over = lon + 2 * edge  # where it would be without the jump
            share = (edge - before[1]) / (over - before[1]) if over != before[1] else 0.0
            middle = before[0] + share * (lat - before[0])
            parts.append(part + [(middle, edge)])
            part = [(middle, -edge)]
        part.append((lat, lon))
    return parts + [part] if part else parts


def kml(rows, path):
    """Bytes of a KML document for Google Earth: a placemark for each find, and the flight's path."""
    marks = []
    for row in rows:
        place = "{longitude:.7f},{latitude:.7f}".format(**row)
        text = "{state}, sure to {sigma_m} m (1 sigma), {looks} looks, score {score}, last seen {last}".format(**row)
        if row["picture"]:
            text += '<br><img src="{}">'.format(row["picture"])
        when = "<TimeStamp><when>{}</when></TimeStamp>".format(row["last"]) if row["last"].endswith("Z") else ""
        marks.append(
            "<Placemark><name>{}</name><description>{}</description>{}<styleUrl>#{}</styleUrl>"
            "<Point><coordinates>{}</coordinates></Point></Placemark>".format(
                html.escape("{label} {id}".format(**row), False), html.escape(text, False), when, row["state"], place
            )
        )
    lines = "".join(
        "<LineString><tessellate>1</tessellate><coordinates>{}</coordinates></LineString>".format(
            " ".join("{:.7f},{:.7f}".format(lon, lat) for lat, lon in part)
        )
        for part in split_at_date_line(path)
        if len(part) > 1
    )
    if lines:
        lines = "<Placemark><name>flight path</name><MultiGeometry>{}</MultiGeometry></Placemark>".format(lines)
    style = '<Style id="{}"><IconStyle><color>{}</color></IconStyle></Style>'
    styles = style.format("confirmed", "ff2a2ae0") + style.format("unconfirmed", "ff909090")
    text = '<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2"><Document>'
    return "{}<name>Finds</name>{}{}{}</Document></kml>\n".format(text, styles, "\n".join(marks), lines).encode("utf-8")


def table(rows):
    """Bytes of a CSV file with COLUMNS."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = {k: "" if v is None else v for k, v in row.items()}
        writer.writerow(dict(cells, merged=" ".join(map(str, row["merged"])), walks="yes" if row["walks"] else "no"))
    return out.getvalue().encode("utf-8")
