"""Build and prove a TensorRT engine on the board that will fly it:

    ros2 run vit_perception build_engine --model uav_thermal

The node does the same by itself when it starts and finds no engine; doing it once before the first flight shows what is
wrong while there is time. The engine goes into the cache from which the node takes it.
"""

import argparse
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

from .bundles.bundle import find_bundle, open_bundle
from .bundles.golden import OUTPUTS
from .child import child_environment
from .engines import PRECISIONS
from .engines.tensorrt_build import read
from .engines.tensorrt_open import KILLED, PREFIX, Board
from .errors import EngineError, PerceptionError

TELL_EVERY_S = 10.0


def parse(args=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="build_engine", description=__doc__.split("\n")[0].rstrip(":"))
    parser.add_argument("--model", required=True, help="folder of a bundle, or the name of an installed one")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="default: auto, which is mostly fp16")
    parser.add_argument("--workspace-mb", type=int, default=256, help="scratch memory of the builder; default: 256")
    parser.add_argument("--cache", default="", help="folder of engines; default: ~/.cache/vit_perception")
    parser.add_argument("--force", action="store_true", help="build even if a proven engine is there")
    parser.add_argument("--ignore-memory", action="store_true", help="build even if memory seems too short")
    parser.add_argument("--builder", default="tensorrt", choices=("tensorrt", "torch2trt"), help="default: tensorrt")
    parser.add_argument("--torch2trt", metavar="FILE.pth", help="also write the engine for torch2trt's TRTModule")
    options = parser.parse_args(args)
    if options.workspace_mb < 1:
        parser.error("--workspace-mb must be at least 1")
    return options


def run(options):
    """Build as the parsed `options` say. Raises PerceptionError."""
    bundle = open_bundle(find_bundle(options.model))
    board = Board(bundle, options.precision, options.cache)
    _say("{}, {}, TensorRT {} on {}".format(bundle.name, board.precision, board.api.version, board.cuda.device))
    make = None
    if options.builder == "torch2trt":
        make = lambda: _build_with_torch2trt(bundle, board.precision, options.workspace_mb)  # noqa: E731
    began = time.monotonic()
    with _Ticker(began):
        path, proof = board.build(
            options.workspace_mb, options.ignore_memory, _Once(_say), make, force=options.force or make is not None
        )
    _say("golden check passed: {}".format(proof))
    _say("{} ({:.1f} MB), ready after {:.0f} s".format(path, os.path.getsize(path) / 1e6, time.monotonic() - began))
    if options.torch2trt:
        from .engines.torch2trt import write_module

        write_module(read(path), ["images"], OUTPUTS[bundle.task], options.torch2trt)
        _say("{} for torch2trt".format(options.torch2trt))


def _build_with_torch2trt(bundle, precision, workspace_mb):
    """Engine bytes from torch2trt, which needs torch: in a process of its own, and from the source tree only."""
    if precision == "int8":
        raise EngineError("torch2trt builds fp32 and fp16 only; choose another --precision or --builder tensorrt")
    if importlib.util.find_spec("offline") is None:
        raise EngineError(
            "--builder torch2trt needs the source tree; start python3 -m vit_perception.build_engine in its folder"
        )
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "torch2trt.engine")
        command = [
            sys.executable,
            "-m",
            "offline.export.torch2trt_builder",
            "--model",
            bundle.path,
            "--precision",
            precision,
        ]
        command += ["--workspace-mb", str(workspace_mb), "--out", out]
        done = subprocess.run(
            command, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True
        )
        if done.returncode == -signal.SIGKILL:
            raise EngineError(KILLED)
        if done.returncode:
            words = (done.stderr.strip() or "no reason given").split("\n")[-1]
            raise EngineError("torch2trt could not build the engine: {}".format(words))
        return read(out)


class _Ticker:
    """Says how long it takes, for a build can take minutes and TensorRT says nothing."""

    def __init__(self, began):
        self._began, self._done = began, threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _tell(self):
        while not self._done.wait(TELL_EVERY_S):
            _say("working, {:.0f} s".format(time.monotonic() - self._began))


class _Once:
    """Says a line the first time only."""

    def __init__(self, say):
        self._say, self._said = say, None

    def __call__(self, text):
        if text != self._said:
            self._said = text
            self._say(text)


def _say(text):
    print(PREFIX + text, flush=True)


def main(args=None):
    """Returns the exit code: 0, 1 after one sentence on stderr, 130 after Ctrl-C."""
    try:
        run(parse(args))
    except PerceptionError as e:
        print(PREFIX + " ".join(str(e).split()), file=sys.stderr)
        return 1
    except Exception as e:  # NVIDIA's libraries raise what they like; the sentence comes last, for who started us
        traceback.print_exc()
        print("{}unexpected {!r}; please report it".format(PREFIX, e), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(PREFIX + "interrupted; nothing was kept", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
