"""A camera unlike the one that the model was trained on: the node over DDS can be told of it, and tells of it."""

import json
import shutil
from pathlib import Path

import numpy as np
from flight import running, white_blocks

PERSON = white_blocks((3, 4))
DARK = {"brightness": [[0.9] * 7, [1.0] * 7], "sharpness": [0.0, 1.0]}  # training images that are all but black


def test_polarity_can_be_turned_in_flight(client, bundle, log):
    with running("node", log, model=bundle):
        client.connect()
        seen = client.answer(PERSON, (1, 0)).detections
        assert len(seen) == 1
        client.set_parameter("invert_image", True)
        turned = client.answer((255 - np.asarray(PERSON)).astype(np.uint8), (1, 1)).detections
        assert [d.bbox.center for d in turned] == [d.bbox.center for d in seen]
        client.set_parameter("invert_image", False)
        assert len(client.answer(PERSON, (1, 2)).detections) == 1


def test_diagnostics_warn_of_pictures_unlike_the_training(client, bundle, log, tmp_path):
    folder = Path(shutil.copytree(bundle, tmp_path / "dark"))
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["input"]["look"] = DARK
    (folder / "bundle.json").write_text(json.dumps(manifest))
    bright = np.full_like(PERSON, 120)
    with running("node", log, model=str(folder)):
        client.connect()
        client.calibrate()
        client.fly(np.zeros_like(PERSON), 3.0, rate=30.0)
        level, text, values = client.diagnostics()
        assert "trained on" not in text + values["warnings"]
        client.fly(bright, 3.0, rate=30.0)
        assert client.wait(lambda: "trained on" in client.diagnostics(bright)[1])
        level, text, values = client.diagnostics(bright)
        assert level == 1 and "trained on" in text and "brighter" in text
        assert "trained on" in values["warnings"]
