"""Latitude and longitude to metres east, north and up of an origin, and back: WGS 84, to millimetres within 5 km.

Formulas: Hofmann-Wellenhof, Lichtenegger, Wasle, GNSS (2008), 8.2 and 8.3; back from ECEF by Bowring's method (Survey
Review 1976), whose error below 10 km of height is less than a micrometre.
"""

import math

import numpy as np

A, F = 6378137.0, 1.0 / 298.257223563  # NIMA TR8350.2: semi-major axis in metres, flattening
B, E2 = A * (1.0 - F), F * (2.0 - F)
EP2 = E2 / (1.0 - E2)
MOST_LATITUDE_DEG = 89.9  # nearer to a pole, east and north turn too fast for a local map


class LocalFrame:
    """The plane that touches the ellipsoid at an origin; x east, y north, z up, metres.

    Args:
        latitude_deg, longitude_deg, altitude_m: of the origin; altitude above the ellipsoid.

    Raises:
        ValueError: they are no place on the Earth that a local map can be made of; one sentence.
    """

    def __init__(self, latitude_deg, longitude_deg, altitude_m=0.0):
        problem = why_no_place(latitude_deg, longitude_deg)
        if problem:
            raise ValueError(problem)
        self.origin = (float(latitude_deg), float(longitude_deg), float(altitude_m))
        lat, lon = math.radians(latitude_deg), math.radians(longitude_deg)
        sin_lat, cos_lat, sin_lon, cos_lon = math.sin(lat), math.cos(lat), math.sin(lon), math.cos(lon)
        self._to_enu = np.array(
            [
                [-sin_lon, cos_lon, 0.0],
                [-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat],
                [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat],
            ]
        )
        self._ecef = _ecef(*self.origin)

    def to_enu(self, latitude_deg, longitude_deg, altitude_m=None):
        """Place -> (3,) float64, metres; altitude None is that of the origin."""
        altitude_m = self.origin[2] if altitude_m is None else altitude_m
        return self._to_enu.dot(_ecef(latitude_deg, longitude_deg, altitude_m) - self._ecef)

    def to_geodetic(self, east, north, up=0.0):
        """Metres -> (latitude_deg, longitude_deg in [-180, 180), altitude_m)."""
        x, y, z = (self._to_enu.T.dot((east, north, up)) + self._ecef).tolist()
        p = math.hypot(x, y)
        theta = math.atan2(z * A, p * B)
        lat = math.atan2(z + EP2 * B * math.sin(theta) ** 3, p - E2 * A * math.cos(theta) ** 3)
        sin_lat, cos_lat = math.sin(lat), math.cos(lat)
        n = A / math.sqrt(1.0 - E2 * sin_lat * sin_lat)
        altitude = p * cos_lat + z * sin_lat - A * A / n  # exact, at the poles too
        longitude = (math.degrees(math.atan2(y, x)) + 180.0) % 360.0 - 180.0
        return math.degrees(lat), longitude, altitude


def why_no_place(latitude_deg, longitude_deg):
    """What is wrong with a place as one clause, or ''."""
    if not (math.isfinite(latitude_deg) and math.isfinite(longitude_deg)):
        return "the position is no number"
    if not (-90.0 <= latitude_deg <= 90.0 and -360.0 <= longitude_deg <= 360.0):
        return "latitude {:.6g}, longitude {:.6g} are no place on the Earth".format(latitude_deg, longitude_deg)
    if latitude_deg == 0.0 and longitude_deg == 0.0:
        return "latitude and longitude are exactly 0, as receivers say without a position"
    if abs(latitude_deg) > MOST_LATITUDE_DEG:
        return "latitude {:.3f} is too near a pole for a map of east and north".format(latitude_deg)
    return ""


def _ecef(latitude_deg, longitude_deg, altitude_m):
    lat, lon = math.radians(latitude_deg), math.radians(longitude_deg)
    n = A / math.sqrt(1.0 - E2 * math.sin(lat) ** 2)
    flat = (n + altitude_m) * math.cos(lat)
    return np.array([flat * math.cos(lon), flat * math.sin(lon), (n * (1.0 - E2) + altitude_m) * math.sin(lat)])
