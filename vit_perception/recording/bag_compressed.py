"""A bag whose files are compressed one by one, read by the package rosbags."""

import contextlib
import importlib
import pathlib
from typing import Dict

from ..errors import BagError
from .bag import Message


class CompressedBag:
    """With the attributes that `vit_perception.recording.bag.open_bag` tells of.

    Raises:
        BagError: rosbags is not installed, or cannot read it; also from `messages`.
    """

    notes, damage = (), ""

    def __init__(self, path):
        try:
            reader = importlib.import_module("rosbags.highlevel").AnyReader
            typesys = importlib.import_module("rosbags.typesys")
        except (ImportError, AttributeError):
            text = "the files of the bag {} are compressed: `pip install rosbags`, or `ros2 bag convert` it"
            raise BagError(text.format(path)) from None
        store = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)  # only needed for bags that define no types
        self._path, self._open = path, lambda: reader([pathlib.Path(path)], default_typestore=store)
        self.topics: Dict[str, str] = {}
        self.counts: Dict[str, int] = {}
        with self._guarded() as bag:
            for c in bag.connections:
                self.topics.setdefault(c.topic, c.msgtype)
                self.counts[c.topic] = self.counts.get(c.topic, 0) + c.msgcount
            self.duration_s = max(1e-9 * (bag.end_time - bag.start_time), 0.0)

    def messages(self, names):
        with self._guarded() as bag:
            chosen = [c for c in bag.connections if c.topic in names]
            for connection, stamp_ns, data in bag.messages(chosen) if chosen else ():
                yield Message(connection.topic, stamp_ns, bytes(data))

    @contextlib.contextmanager
    def _guarded(self):
        try:
            with self._open() as bag:
                yield bag
        except BagError:
            raise
        except Exception as e:  # the package and what it is built on have no error in common
            text = "cannot read the compressed bag {}: {}; `ros2 bag convert` may"
            raise BagError(text.format(self._path, " ".join(str(e).split())[:300])) from None
