"""Onboard code uses no more of NumPy and OpenCV than the board's own packages have: NumPy 1.13.3, OpenCV 4.1.1."""

import json
from pathlib import Path

import old_libraries
import pytest

TABLE = json.loads((Path(old_libraries.__file__).with_name("old_libraries.json")).read_text())


@pytest.mark.parametrize(
    "path", old_libraries.onboard_files(), ids=lambda p: str(Path(p).relative_to(old_libraries.ROOT))
)
def test_onboard_code_needs_no_newer_library(path):
    assert not old_libraries.problems(old_libraries.uses(path), TABLE)


def test_the_table_holds_what_is_used_and_no_more():
    used = {name for path in old_libraries.onboard_files() for name in old_libraries.uses(path).names}
    assert used == set(TABLE["names"])


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("np.quantile(x, 0.5)", "np.quantile is not in test/helpers/old_libraries.json"),
        (
            "np.argsort(-scores, kind='stable')",
            "np.argsort takes kind of quicksort, mergesort, heapsort in NumPy 1.13.3",
        ),
        ("np.stack(levels, out=x)", "np.stack has no out"),
        ("np.concatenate([a], 0, x)", "np.concatenate takes 2 arguments"),
        ("np.load(name, mmap_mode='r')", "add mmap_mode to CHOICES"),
        ("cv2.resize(image, (1, 1), algorithm=1)", "cv2.resize has no algorithm"),
        ("from numpy import zeros", "import the module"),
        ("import numpy", "import numpy as np"),
        ("import numpy.linalg as np", "import numpy as np"),
    ],
)
def test_what_is_newer_is_found(source, says):
    ((line, sentence),) = old_libraries.problems(old_libraries.uses_of(source), TABLE)
    assert line == 1 and says in sentence


def test_what_the_board_has_passes():
    source = (
        "import numpy as np\nimport cv2\nnp.argsort(a.max(1), kind='mergesort')\nnp.stack([np.zeros(3, np.uint8)], 0)"
    )
    assert not old_libraries.problems(old_libraries.uses_of(source), TABLE)


def test_a_name_that_the_board_lacks_is_named():
    table = TABLE | {"names": {"np.quantile": None}}
    ((_, sentence),) = old_libraries.problems(old_libraries.uses_of("np.quantile(x, 0.5)"), table)
    assert sentence == "np.quantile does not exist in NumPy 1.13.3 and OpenCV 4.1.1"
