"""finds.html: one page that needs nothing else, no network and no map tiles: path, coverage, finds with pictures."""

import base64
import json
import os
import pkgutil

import cv2
import numpy as np

MOST_INSIDE = 400  # pictures inside the page; of more finds the page asks for the files in crops/
WIDEST = 1024  # pixels of the coverage's picture


def page(rows, snapshot, folder):
    """Bytes of the page. Args: rows as `exports.records` returns them; `writer._Snapshot`; the folder of the crops."""
    finds = []
    for i, row in enumerate(rows):
        find = dict(row)
        if row["picture"] and i < MOST_INSIDE:
            try:
                with open(os.path.join(folder, row["picture"]), "rb") as f:
                    find["picture"] = "data:image/jpeg;base64," + base64.b64encode(f.read()).decode("ascii")
            except OSError:
                pass  # it stays the name of the file
        finds.append(find)
    frame, coverage = snapshot.frame, snapshot.coverage
    data = {
        "origin": frame.origin[:2],
        "finds": finds,
        "path": [[round(float(v), 1) for v in frame.to_enu(*place)[:2]] for place in snapshot.path],
        "area": [[ring.round(1).tolist() for ring in rings] for rings in snapshot.rings],
        "of_area": snapshot.of_area,
        "covered_m2": coverage.area_m2(),
        "coverage": picture(coverage),
        "placed": snapshot.placed,
        "unplaced": snapshot.unplaced,
        "forgotten": snapshot.forgotten,
        "warning": snapshot.warning,
    }
    text = json.dumps(data).replace("<", "\\u003c")  # a label must not end the script
    template = pkgutil.get_data("vit_perception.finds", "page.html")  # of an installed package, zipped or not
    return (template or b"").replace(b"@DATA@", text.encode("utf-8"))


def picture(coverage):
    """{"png": data URI, "low": [east, north], "high": ...} of what was covered, or None: blue where somebody would most
    likely have been found, orange where they would have been too small."""
    if coverage.missed is None or not (coverage.missed < 1).any():
        return None
    missed = coverage.missed
    rows, columns = np.nonzero(missed < 1)
    r0, r1, c0, c1 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    missed = missed[r0:r1, c0:c1]
    step = max(1, int(np.ceil(max(missed.shape) / float(WIDEST))))
    missed = missed[::step, ::step]
    image = np.zeros(missed.shape + (4,), np.uint8)  # BGRA
    likely, poor = missed < 0.5, (missed >= 0.5) & (missed < 1)
    image[likely] = (190, 120, 30, 0)
    image[poor] = (30, 140, 235, 120)
    image[..., 3][likely] = (60 + 110 * (1 - missed[likely])).astype(np.uint8)
    done, data = cv2.imencode(".png", image[::-1])  # north is up
    low = coverage.corner + coverage.cell_m * np.array([c0, r0])
    high = low + coverage.cell_m * step * np.array(missed.shape[::-1])
    uri = "data:image/png;base64," + base64.b64encode(data.tobytes()).decode("ascii")
    return {"png": uri, "low": low.tolist(), "high": high.tolist()} if done else None
