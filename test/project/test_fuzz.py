"""A few seconds of bench/fuzz.py: what arrives from elsewhere, however damaged, ends in a result or in one sentence."""

import os
import random
import signal
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from bench.parts import fuzz_cases as cases
from bench.parts.fuzz_draws import Draw, StrategyDraw, guarded
from bench.parts.fuzz_images import check_image

CASES = {"raw_image": 1500, "compressed_image": 600, "manifest_file": 400, "outputs": 400, "golden_file": 80}


@pytest.fixture(scope="module", autouse=True)
def no_bundle_left():
    yield
    cases.remove_bundle()


@pytest.mark.parametrize("kind", cases.KINDS, ids=lambda kind: kind[0].__name__)
def test_seeded_cases(kind):
    accepted = [cases.run_case(Draw(random.Random(seed)), kind)[1] for seed in range(CASES.get(kind[0].__name__, 40))]
    assert 0.02 < np.mean(accepted) < 0.98, "the cases are all good, or all bad"


@hypothesis.settings(max_examples=150, deadline=None, database=None, derandomize=True)
@hypothesis.given(strategies.data())
def test_cases_that_hypothesis_chooses(data):
    cases.run_case(StrategyDraw(data.draw))


@pytest.mark.parametrize(("at_end", "offset"), [(True, 5), (False, -1)])
def test_who_reads_beside_the_guarded_memory_dies(at_end, offset):
    """The proof that the other tests prove something."""
    script = (
        "import ctypes; from bench.parts.fuzz_draws import Guarded; "
        f"memory = Guarded(); address = memory.place(b'abcde', {at_end}).ctypes.data; "
        "print(ctypes.string_at(address, 5), flush=True); "
        f"ctypes.string_at(address + {offset}, 1)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": "."}
    )
    assert ended.stdout.strip() == "b'abcde'" and ended.returncode == -signal.SIGSEGV


def test_a_view_out_of_its_buffer_would_be_noticed():
    memory = guarded().place(bytes(100), True)
    with pytest.raises(AssertionError, match="reaches out"):
        check_image(memory.reshape(10, 10), "mono", memory[:50])
