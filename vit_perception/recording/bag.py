"""rosbag2 bags: written and read with nothing but the standard library and yaml, on every Python and without ROS.

Written: storage sqlite3, the tables that every rosbag2 reads since Foxy, metadata version 5 (Humble's). Read:
sqlite3 of every version, also what a recorder that was killed left without metadata.yaml; mcap and compressed bags
through the package `rosbags`, where it is installed.
"""

import contextlib
import glob
import importlib
import os
import re
import shutil
import sqlite3
from collections import namedtuple
from typing import Any, Dict, Optional, Tuple

import yaml

from ..errors import PerceptionError

Message = namedtuple("Message", "topic stamp_ns data")  # data: bytes, the message serialised as CDR

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


class BagError(PerceptionError):
    """A bag cannot be written or read: the disk, a damaged or foreign file, or a missing package."""


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


def is_bag(path):
    """Whether `path` looks like a bag: a folder with bag files or metadata.yaml, or such a file."""
    if os.path.isdir(path):
        return os.path.isfile(os.path.join(path, "metadata.yaml")) or bool(_files(path))
    return path.endswith((".db3", ".mcap"))


def open_bag(path):
    """Open a bag for reading.

    Args:
        path: the bag's folder, or one .db3 or .mcap file.

    Returns:
        an object with `topics` ({name: type}), `counts` ({name: number of messages}), `duration_s` and
        `messages(names)`, which yields a `Message` for each message of these topics, in the order of their stamps.

    Raises:
        BagError: there is none, it is damaged, or a package is missing that it takes. Also from `messages`.
    """
    path = os.path.expanduser(path)
    if not os.path.exists(path):
        raise BagError("no bag at '{}'".format(path))
    information = _read_metadata(path)
    named = [os.path.basename(p) for p in information.get("relative_file_paths") or []]
    files = [os.path.join(path, n) for n in named] if named else _files(path)
    if not files:
        raise BagError("'{}' is no bag: it has neither metadata.yaml nor .db3 or .mcap files".format(path))
    missing = [f for f in files if not os.path.isfile(f)]
    if missing and not information.get("compression_mode"):
        raise BagError("the bag {} lacks its file {}".format(path, os.path.basename(missing[0])))
    if all(f.endswith(".db3") for f in files) and not information.get("compression_mode"):
        return _SqliteBag(files)
    return _OtherBag(path)


def _files(path):
    if os.path.isfile(path):
        return [path]
    return sorted(glob.glob(os.path.join(path, "*.db3")), key=_by_number) or glob.glob(os.path.join(path, "*.mcap"))


def _by_number(name):
    """flight_10.db3 comes after flight_9.db3."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _read_metadata(path):
    name = os.path.join(path, "metadata.yaml")
    if not os.path.isfile(name):
        return {}
    try:
        with open(name) as f:
            return dict(yaml.safe_load(f)["rosbag2_bagfile_information"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError) as e:
        raise BagError("{} is malformed: {}".format(name, " ".join(str(e).split()))) from None


class _SqliteBag:
    def __init__(self, files):
        self._files = files
        self.topics: Dict[str, str] = {}
        self.counts: Dict[str, int] = {}
        query = (
            "SELECT name, type, (SELECT COUNT(*) FROM messages WHERE topic_id = topics.id) FROM topics "
            "WHERE serialization_format = 'cdr'"
        )
        ends = []
        for path in files:
            ends += [
                end
                for row in self._rows(path, "SELECT MIN(timestamp), MAX(timestamp) FROM messages", ())
                for end in row
            ]
            for name, type_name, count in self._rows(path, query, ()):
                self.topics.setdefault(name, type_name)
                self.counts[name] = self.counts.get(name, 0) + count
        ends = [end for end in ends if end is not None]
        self.duration_s = 1e-9 * (max(ends) - min(ends)) if ends else 0.0

    def messages(self, names):
        query = (
            "SELECT topics.name, timestamp, data FROM messages JOIN topics ON topic_id = topics.id "
            "WHERE topics.name IN ({}) ORDER BY timestamp, messages.id".format(", ".join("?" * len(names)))
        )
        for path in self._files:
            for row in self._rows(path, query, tuple(names)):
                yield Message(*row)

    def _rows(self, path, query, values):
        try:
            database = sqlite3.connect("file:{}?mode=ro".format(_quoted(path)), uri=True)
            try:
                for row in database.execute(query, values):
                    yield row
            finally:
                database.close()
        except sqlite3.Error as e:
            raise BagError("{} is damaged or no bag file: {}".format(path, e)) from None


def _quoted(path):
    return re.sub(r"[%?#]", lambda m: "%{:02x}".format(ord(m.group())), os.path.abspath(path))


class _OtherBag:
    """mcap, or compressed, read by the package rosbags."""

    def __init__(self, path):
        try:
            reader = importlib.import_module("rosbags.highlevel").AnyReader
            typesys = importlib.import_module("rosbags.typesys")
        except (ImportError, AttributeError):
            text = (
                "{} is an mcap or a compressed bag: reading it takes `pip install rosbags`, or convert it to sqlite3 by"
            )
            raise BagError((text + " `ros2 bag convert`").format(path)) from None
        pathlib = importlib.import_module("pathlib")
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
        except Exception as e:  # the package and what it is built on have no error in common
            raise BagError("cannot read the bag {}: {}".format(self._path, " ".join(str(e).split()))) from None
