"""Ctrl-C ends a command of the workstation with one line, whenever it comes."""

import os
import signal
import subprocess
import sys

import pytest
from commands import ENVIRONMENT, ROOT

from offline import ablate, compress, evaluate
from offline.errors import one_sentence

COMMANDS = ("compress", "ablate", "evaluate", "variants", "block_value", "data", "render", "simulate.measure_noise")


@pytest.mark.parametrize("name", COMMANDS)
def test_while_it_still_imports_it_is_no_traceback(tmp_path, name):
    (tmp_path / "numpy.py").write_text(f"import os; os.kill(os.getpid(), {signal.SIGINT.value})\n")
    environment = ENVIRONMENT | {"PYTHONPATH": str(tmp_path)}  # before the real one
    words = [sys.executable, "-m", f"offline.{name}", "--help"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode not in (0, None) and done.stderr == "interrupted\n"


def test_a_fault_of_the_imports_is_still_traced(tmp_path):
    (tmp_path / "numpy.py").write_text("1 / 0\n")
    environment = ENVIRONMENT | {"PYTHONPATH": str(tmp_path)}
    words = [sys.executable, "-m", "offline.compress", "--help"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (compress, "interrupted; the run goes on with --resume"),
        (ablate, "interrupted; rows that are done are kept; the same command goes on"),
        (evaluate, "interrupted; run it again"),
    ],
)
def test_each_command_tells_what_becomes_of_its_own_work(command, says, monkeypatch, capsys):
    def interrupt(*_, **__):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(command, "parse" if hasattr(command, "parse") else "add_data_options", interrupt)
    with pytest.raises(SystemExit) as end:
        command.main([])
    assert end.value.code == 130 and capsys.readouterr().err == f"{says}\n"


def test_a_command_of_which_nothing_is_known_names_no_other(capsys):
    @one_sentence
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "interrupted; run it again\n"
