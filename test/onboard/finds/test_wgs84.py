"""Latitude and longitude to metres and back, held to GeographicLib."""

import numpy as np
import pytest

from vit_perception.finds.wgs84 import LocalFrame, why_no_place

PLACES = [(47.4, 8.5), (-33.9, 151.2), (0.001, -0.001), (69.6, 18.9), (-77.8, 166.7), (12.0, 179.99),
          (-16.5, -179.995), (89.5, 40.0)]  # fmt: skip


@pytest.mark.parametrize("origin", PLACES)
def test_within_a_centimetre_of_geographiclib_within_5_km(origin):
    geodesic = pytest.importorskip("geographiclib.geodesic", reason="geographiclib is not installed (make setup)")
    frame = LocalFrame(*origin)
    for azimuth in range(0, 360, 30):
        for distance in (1.0, 500.0, 5000.0):
            there = geodesic.Geodesic.WGS84.Direct(origin[0], origin[1], azimuth, distance)
            enu = frame.to_enu(there["lat2"], there["lon2"])
            # The surface falls away from the plane: the distance along it and the chord differ by d^3 / 24 R^2.
            chord = float(np.sqrt(enu.dot(enu)))
            assert abs(chord - distance) < 0.01
            flat = np.degrees(np.arctan2(enu[0], enu[1]))
            assert abs((flat - azimuth + 180) % 360 - 180) * np.radians(1) * distance < 0.01
            back = frame.to_geodetic(*enu)
            off = geodesic.Geodesic.WGS84.Inverse(there["lat2"], there["lon2"], *back[:2])["s12"]
            assert off < 1e-4 and abs(back[2]) < 1e-4
            # A find is told with up = 0: on the plane, not on the curved ground.
            told = frame.to_geodetic(enu[0], enu[1])
            assert geodesic.Geodesic.WGS84.Inverse(there["lat2"], there["lon2"], *told[:2])["s12"] < 0.01


def test_east_is_east_across_the_date_line():
    frame = LocalFrame(0.5, 179.9995)
    east, north, up = frame.to_enu(0.5, -179.9995)
    assert 100 < east < 112 and abs(north) < 0.01
    assert frame.to_geodetic(east, north)[1] == pytest.approx(-179.9995, abs=1e-7)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((float("nan"), 0.0), "no number"),
        ((91.0, 0.0), "no place on the Earth"),
        ((0.0, 0.0), "exactly 0"),
        ((89.95, 10.0), "too near a pole"),
        ((-90.0, 10.0), "too near a pole"),
    ],
)
def test_what_is_no_place_is_told(place, words):
    assert words in why_no_place(*place)
    with pytest.raises(ValueError, match=words):
        LocalFrame(*place)
