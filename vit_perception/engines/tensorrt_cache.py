"""Engines that were built and proven on this board, kept between launches.

    <model>-<precision>-<gpu>-sm<cc>-trt<version>-<digest>.engine   what TensorRT loads; trtexec --loadEngine too
    <the same>.json     what it was built from and for, its sha256, how the golden check ended; written last
    <the same>.lock     held while one process builds; others wait
    timing-<gpu>-trt<version>.cache    measured kernels, so that the next build is quicker

An engine fits one GPU and one version of TensorRT only: both are in its name, and checked again in the json.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time

from ..errors import EngineError
from ..files import write_whole


class EngineCache:
    """A folder of engines. `folder` '' is $XDG_CACHE_HOME/vit_perception, or ~/.cache/vit_perception."""

    def __init__(self, folder=""):
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
        self.folder = os.path.abspath(os.path.expanduser(folder or os.path.join(home, "vit_perception")))

    def path(self, key, suffix=".engine"):
        """File of `key`: a dict of what the engine is built from and for, as `engine_key` gives it."""
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
        parts = (key["model"], key["precision"], key["gpu"], "sm" + key["compute_capability"].replace(".", ""))
        return os.path.join(self.folder, _slug(parts + ("trt" + key["tensorrt"], digest)) + suffix)

    def load(self, key):
        """(engine bytes, '') or (None, why there is none that can be used).

        Raises:
            EngineError: the engine that was built for `key` failed its golden check, so building it again is no use.
        """
        path, entry = self.path(key), self._entry(key)
        if entry is None:
            return None, "it was not built yet"
        if entry.get("refused"):
            raise EngineError(
                "the engine built here was refused: {}; it is not built again but with build_engine --force".format(
                    entry["refused"]
                )
            )
        for name in ("gpu", "tensorrt"):  # the file was renamed or copied from another board
            if entry.get("key", {}).get(name) != key[name]:
                other = entry.get("key", {}).get(name, "something unknown")
                return None, "{} is for {} {}, not {}".format(path, name, other, key[name])
        if entry.get("key") != key:
            return None, "{} was built from other files or options".format(path)
        try:
            with open(path, "rb") as f:
                data = f.read()
        except OSError as e:
            return None, "{} cannot be read ({})".format(path, e.strerror)
        if hashlib.sha256(data).hexdigest() != entry.get("sha256"):
            return None, "{} is truncated or altered (its sha256 differs from its json)".format(path)
        return data, ""

    def store(self, key, data, proof):
        """Keep `data`, an engine that passed its golden check with the words `proof`. Raises EngineError: disk."""
        self._write(self.path(key), data)
        entry = {"key": key, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "proof": proof}
        self._write(self.path(key, ".json"), _dump(entry))

    def refuse(self, key, why):
        """Remember that the engine of `key` computes something else, so that no launch spends minutes on it again."""
        entry = self._entry(key)
        if entry is None or "sha256" not in entry:  # an engine that was proven before is kept
            self._write(self.path(key, ".json"), _dump({"key": key, "refused": why}))

    def timing(self, key):
        """Bytes of TensorRT's timing cache for this GPU and version; b'' if there is none."""
        try:
            with open(self._timing_path(key), "rb") as f:
                return f.read()
        except OSError:
            return b""

    def store_timing(self, key, data):
        """Keep the timing cache. Raises EngineError: disk."""
        self._write(self._timing_path(key), data)

    @contextlib.contextmanager
    def lock(self, key, waiting=None, pause_s=0.2):
        """Hold the right to build `key`; the kernel takes it back from a process that dies.

        Args:
            waiting: called with one line while another process holds it; what it raises ends the wait.
        """
        with self._open_lock(key) as f:
            while True:
                try:
                    fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if waiting:
                        waiting("another process is building this engine; waiting for it")
                    time.sleep(pause_s)
            yield

    def _open_lock(self, key):
        path = self.path(key, ".lock")
        try:
            os.makedirs(self.folder, exist_ok=True)
            return open(path, "w")
        except OSError as e:
            raise _disk_error(path, e) from e

    def _entry(self, key):
        try:
            with open(self.path(key, ".json"), encoding="utf-8") as f:
                entry = json.load(f)
        except (OSError, ValueError):
            return None
        return entry if isinstance(entry, dict) else None

    def _timing_path(self, key):
        return os.path.join(self.folder, "timing-{}.cache".format(_slug((key["gpu"], "trt" + key["tensorrt"]))))

    def _write(self, path, data):
        try:
            os.makedirs(self.folder, exist_ok=True)
            write_whole(path, data)
        except OSError as e:
            raise _disk_error(path, e) from e


def engine_key(bundle, file, precision, fp32_layers, api, cuda):
    """What an engine depends on, {name: text}. file: the bundle's key of the ONNX file that is built."""
    pins = hashlib.sha256("\n".join(sorted(fp32_layers)).encode()).hexdigest()
    return {
        "model": bundle.name,
        "onnx_sha256": bundle.manifest["files"][file]["sha256"],
        "precision": precision,
        "fp32_layers_sha256": pins,
        "gpu": cuda.device,
        "compute_capability": cuda.compute_capability,
        "tensorrt": api.version,
    }


def _disk_error(path, e):
    return EngineError("cannot write {}: {}; free some space or choose another engine_cache".format(path, e.strerror))


def _dump(entry):
    return json.dumps(entry, indent=1, sort_keys=True).encode()


def _slug(parts):
    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "_", part) for part in parts)
