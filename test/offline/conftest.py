"""Shared by the tests of offline/: the labelled images that a tiny run is made of."""

from pathlib import Path

import pytest

from offline.render import write_dataset


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Rendered thermal images in COCO's format: six in train.json, three in val.json. Tests read it, and copy it before
    they change it. A test file that needs another set has its own `data`."""
    return write_dataset(tmp_path_factory.mktemp("data"), "thermal", train=6, val=3, size=(128, 96), seed=1)
