"""Commands of offline/ as processes that need not import torch again: forked from one that has imported it already.

`python -m offline.compress` spends a third of a tiny run on its imports. A process that was forked is a process like
any other: it has its own memory, signals, exit code and output, it runs the module as `python -m` does, and it ends as
the interpreter does. What it cannot show is that a fresh interpreter imports what the command needs: so one test
of every such command starts it anew. (Onboard programs cannot be forked so: importing rclpy starts threads.)
"""

import ctypes
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import traceback
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]


class Program:
    """`python -m MODULE ARGUMENT ...` with these variables, begun in the root of the repository; as subprocess.Popen.

    Its input is empty; its output goes to the files `out` and `err`, which exist.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str], out: str = os.devnull, err: str = os.devnull):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["preloaded"])
        paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{Path(__file__).parent}"}
        with mock.patch.dict(os.environ, environment | paths, clear=True):  # OpenMP reads its own as it is loaded
            forkserver.ensure_running()
        self.args = arguments
        self._process = context.Process(target=_run, args=(arguments, environment, out, err))
        self._process.start()

    def poll(self) -> int | None:
        """-> exit code, negative where a signal ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self._process.pid or 0, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(arguments: list[str], environment: dict[str, str], out: str, err: str) -> None:
    """In the forked process: what the interpreter does for `python -m`, to its end."""
    for number, path in enumerate((os.devnull, out, err)):
        os.dup2(os.open(path, os.O_RDWR), number)
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = arguments
    sys.modules.pop(arguments[0], None)  # it is read once more, as __main__
    code = 0
    try:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    leave = ctypes.pythonapi.Py_Exit  # with all that is done at exit, in Python and in C++
    leave.argtypes = [ctypes.c_int]
    leave(code)
