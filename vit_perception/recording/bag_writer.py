"""rosbag2 bags, written with nothing but the standard library and yaml, on every Python and without ROS.

Storage sqlite3, the tables that every rosbag2 reads since Foxy, metadata version 5 (Humble's).
"""

import os
import shutil
import sqlite3
from typing import Any, Dict, Optional, Tuple

import yaml

from ..errors import BagError

# One QoS profile as rosbag2 writes it up to version 8, with rmw's numbers: keep last 1, reliable, transient local.
_FOREVER = "{sec: 9223372036, nsec: 854775807}"
_LATCHED = (
    "- history: 1\n  depth: 1\n  reliability: 1\n  durability: 1\n  deadline: {0}\n  lifespan: {0}\n  liveliness: 1\n"
    "  liveliness_lease_duration: {0}\n  avoid_ros_namespace_conventions: false"
).format(_FOREVER)
_TABLES = (
    "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, "
    "serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL)",
    "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL, "
    "data BLOB NOT NULL)",
    "CREATE INDEX timestamp_idx ON messages (timestamp ASC)",
)


class BagWriter:
    """Writes a bag, a folder that appears under its name whole or not at all; for use in a `with` block, in one thread.

    Args:
        folder: path of the bag, which must not exist yet.

    Raises:
        BagError: here and in every method: the disk.
    """

    def __init__(self, folder):
        self.folder = os.path.abspath(os.path.expanduser(folder))
        self._topics: Dict[str, list] = {}  # name -> [id, type, messages, latched]
        self._span: Optional[Tuple[int, int]] = None  # first and last stamp
        self._database: Any = None
        self._temporary = ""
        self._try(self._open)

    def _open(self):
        if os.path.exists(self.folder):
            raise OSError("it exists already")
        temporary = self.folder + ".tmp"  # a killed writer may leave it behind
        shutil.rmtree(temporary, ignore_errors=True)
        os.makedirs(temporary)
        self._temporary = temporary
        self._file = os.path.join(temporary, os.path.basename(self.folder) + "_0.db3")
        # No journal: what is not finished is deleted anyway.
        self._database = sqlite3.connect(self._file, isolation_level=None)
        for statement in ("PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF") + _TABLES + ("BEGIN",):
            self._database.execute(statement)

    def add_topic(self, name, type_name, latched=False):
        """Declare a topic: its full name, and its type as in 'sensor_msgs/msg/Image'. Twice is once."""
        if name not in self._topics:
            self._topics[name] = [len(self._topics) + 1, type_name, 0, latched]
            row = (len(self._topics), name, type_name, "cdr", _LATCHED if latched else "")
            self._try(lambda: self._database.execute("INSERT INTO topics VALUES (?, ?, ?, ?, ?)", row))

    def write(self, topic, stamp_ns, data):
        """Add one message of a declared topic: nanoseconds since the epoch, and its CDR (bytes)."""
        entry = self._topics[topic]
        row = (entry[0], stamp_ns, data)
        statement = "INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)"
        self._try(lambda: self._database.execute(statement, row))
        entry[2] += 1
        low, high = self._span or (stamp_ns, stamp_ns)
        self._span = (min(low, stamp_ns), max(high, stamp_ns))

    def close(self):
        """Finish the bag and give it its name."""
        self._try(self._finish)

    def abort(self):
        """Leave nothing behind."""
        if self._database is not None:
            self._database.close()
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _finish(self):
        self._database.execute("COMMIT")
        self._database.close()
        with open(os.path.join(self._temporary, "metadata.yaml"), "w") as f:
            yaml.safe_dump({"rosbag2_bagfile_information": self._metadata()}, f, default_flow_style=False)
        for path in (self._file, f.name, self._temporary):
            _sync(path)
        os.rename(self._temporary, self.folder)
        _sync(os.path.dirname(self.folder))

    def _metadata(self):
        name = os.path.basename(self._file)
        topics = [
            {
                "topic_metadata": {
                    "name": topic,
                    "type": type_name,
                    "serialization_format": "cdr",
                    "offered_qos_profiles": _LATCHED if latched else "",
                },
                "message_count": messages,
            }
            for topic, (_, type_name, messages, latched) in self._topics.items()
        ]
        head = {"version": 5, "storage_identifier": "sqlite3", "compression_format": "", "compression_mode": ""}
        files = {"relative_file_paths": [name], "files": [dict(self._extent(), path=name)]}
        return dict(head, topics_with_message_count=topics, **dict(self._extent(), **files))

    def _extent(self):
        start, end = self._span or (0, 0)
        return {
            "starting_time": {"nanoseconds_since_epoch": start},
            "duration": {"nanoseconds": end - start},
            "message_count": sum(entry[2] for entry in self._topics.values()),
        }

    def _try(self, action):
        try:
            action()
        except (sqlite3.Error, OSError) as e:
            self.abort()
            reason = getattr(e, "strerror", None) or e
            raise BagError("cannot write the bag {}: {}".format(self.folder, reason)) from None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.close()
        else:
            self.abort()


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
