"""From a bundle to a running TensorRT engine: find it in the cache, or have it built, then prove it.

A build runs in a process of its own: it takes more memory than the node ever will, gives it all back when it ends, and
if the kernel kills something for lack of memory, it is the build and not the node.
"""

import signal
import subprocess
import sys
import tempfile
import time

from ..bundles.golden import prove
from ..child import child_environment
from ..errors import EngineError, GoldenError, PerceptionError
from .cuda import Cuda
from .tensorrt import TensorRTEngine
from .tensorrt_api import load_tensorrt
from .tensorrt_build import build, check_memory, source_of
from .tensorrt_cache import EngineCache, engine_key

REPORT_EVERY_S = 5.0
PREFIX = "build_engine: "  # of every line that the command of this name prints
KILLED = (
    "the build of the engine was killed, most likely by the kernel for lack of memory; add swap and stop the desktop, "
    "as docs/jetson.md tells"
)


def open_tensorrt(bundle, precision="auto", cache="", workspace_mb=256, progress=None, stop=None):
    """A proven `TensorRTEngine` of `bundle`; arguments and errors as `open_engine`."""
    board = Board(bundle, precision, cache)
    data, why = board.cache.load(board.key)
    if data is None:
        if progress:
            progress("building a TensorRT engine: {}".format(why))
        build_in_child(bundle, board.precision, cache, workspace_mb, progress, stop)
        data, why = board.cache.load(board.key)
        if data is None:
            raise EngineError("the engine that was just built cannot be used: {}".format(why))
    return board.open(data)


class Board:
    """This board and what is wanted of it: the installed TensorRT, the GPU, and the engine's key and cache.

    Raises:
        EngineError: no TensorRT, no GPU, or the bundle has no file for the precision.
    """

    def __init__(self, bundle, precision, cache):
        self.bundle = bundle
        self.api = load_tensorrt()
        self.cuda = Cuda()
        self.precision, self.file = source_of(bundle, precision, self.api.strongly_typed)
        # In a strongly typed network the file holds the casts, so nothing is pinned.
        self.fp32_layers = [] if self.api.strongly_typed or self.precision == "fp32" else bundle.fp32_layers
        self.cache = EngineCache(cache)
        self.key = engine_key(bundle, self.file, self.precision, self.fp32_layers, self.api, self.cuda)

    def open(self, data):
        """The engine of these bytes, proven. Raises EngineError: refused, or the golden check failed."""
        engine = TensorRTEngine(self.api, self.cuda, data, self.precision)
        try:
            engine.proof = prove(engine, self.bundle, self.file)
        except PerceptionError:
            engine.close()
            raise
        return engine

    def build(self, workspace_mb, ignore_memory=False, waiting=None, make=None, force=False):
        """Build, prove and keep the engine, in this process; returns (path, proof).

        Whatever happens, the cache holds a whole proven engine, or none.

        Args:
            waiting: as in `EngineCache.lock`.
            make: () -> engine bytes, instead of TensorRT's builder.
            force: build even if a proven engine is there.
        """
        with self.cache.lock(self.key, waiting):
            if not force:  # another process may have built it while this one waited
                data, _ = self.cache.load(self.key)
                if data is not None:
                    return self.cache.path(self.key), self._prove(data)
            if not ignore_memory:
                check_memory(workspace_mb)
            data = make() if make else self._build(workspace_mb)
            proof = self._prove(data, remember=make is None)
            self.cache.store(self.key, data, proof)
            return self.cache.path(self.key), proof

    def _build(self, workspace_mb):
        onnx = self.bundle.read(self.file)
        timing = self.cache.timing(self.key)
        data, timing = build(self.api, onnx, self.precision, self.fp32_layers, workspace_mb, timing)
        self.cache.store_timing(self.key, timing)
        return data

    def _prove(self, data, remember=False):
        try:
            engine = self.open(data)
        except GoldenError as e:
            if remember:
                self.cache.refuse(self.key, str(e))
            raise
        engine.close()
        return engine.proof


def build_in_child(bundle, precision, cache, workspace_mb, progress=None, stop=None):
    """Run `build_engine` and wait for it; arguments as `open_engine`. Raises EngineError with the child's sentence."""
    command = [sys.executable, "-m", "vit_perception.build_engine", "--model", bundle.path]
    command += ["--precision", precision, "--workspace-mb", str(workspace_mb)] + (["--cache", cache] if cache else [])
    began = told = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=child_environment())
        try:
            while child.poll() is None:
                if stop is not None and stop.is_set():
                    raise EngineError("the build of the engine was interrupted")
                now = time.monotonic()
                if progress and now - told >= REPORT_EVERY_S:
                    told = now
                    progress("building a TensorRT engine, {:.0f} s".format(now - began))
                time.sleep(0.05)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        output.seek(0)
        lines = output.read().split("\n")
    if child.returncode == -signal.SIGKILL:
        raise EngineError(KILLED)
    if child.returncode:
        said = [line for line in lines if line.startswith(PREFIX)] or ["it ended with code {}".format(child.returncode)]
        raise EngineError("the build of the engine failed: {}".format(said[-1].replace(PREFIX, "", 1)))
