"""The offline commands as a user runs them, for tests: real processes and a recipe that takes seconds."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import ROOT, Program

STEPS = {"epochs": 0, "min_steps": 6, "batch": 2, "warmup": 2}
TINY = {
    "model": {"stem": [8, 8, 16, 16], "dim": 64, "depth": 2, "heads": 2, "mlp": 64, "neck": 16},
    "student": {"depth": 1},
    "crops": {"size": [96, 64]},
    "teacher": STEPS,
    "distil": STEPS,
    "prune": STEPS | {"heads": 0.5, "mlp": 0.5},
    "lowrank": STEPS | {"error": 0.5, "epochs": 0.1},
}


def command(data, recipe, out, *more, module="offline.compress"):
    """`data`: a folder with train.json and val.json, or a yaml of sets, which names them itself."""
    sets = Path(data).suffix == ".yaml"
    shared = [sys.executable, "-m", module, "--data", str(data)]
    shared += [] if sets else ["--val", "val.json", "--ignore", "DontCare"]
    if module == "offline.evaluate":
        return [*shared, "--model", str(out), *more]
    shared += [] if sets else ["--train", "train.json"]
    return [*shared, "--recipe", str(recipe), "--out", str(out), "--run", f"{out}.run", *more]


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}  # sums depend on the number of threads


def run(arguments):
    """Run `python -m MODULE ...` to its end, in a process that finds torch imported: see `processes`."""
    with tempfile.NamedTemporaryFile("r+") as out, tempfile.NamedTemporaryFile("r+") as err:
        program = Program(arguments[2:], ENVIRONMENT, out.name, err.name)
        try:
            code = program.wait(300)
        finally:
            program.kill()
        return subprocess.CompletedProcess(arguments, code, out.read(), err.read())


def run_anew(arguments, **options):
    """As `run`, in an interpreter that imports everything itself: one test of each command of `run` does so."""
    return subprocess.run(arguments, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, **options)


def one_sentence(result):
    assert result.returncode not in (0, None), result.stdout
    assert "Traceback" not in result.stderr, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0]
