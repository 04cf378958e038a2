"""rosbag2 bags, read: sqlite3 and mcap with nothing but the standard library and yaml, also what a power loss left.

What is compressed takes a package: `zstandard`, `backports.zstd` or `lz4`; a bag compressed file by file, `rosbags`.
"""

import glob
import heapq
import os
import re
import sqlite3
from collections import namedtuple
from typing import Dict, List

import yaml

from ..errors import BagError
from ..files import read_text
from ..natural_order import natural_key
from .unpack import ZSTD, unpack

Message = namedtuple("Message", "topic stamp_ns data")  # data: bytes, the message serialised as CDR

_FILES = (".db3", ".mcap")
_COMPRESSED = tuple(storage + kind for storage in _FILES for kind in (".zstd", ".zst", ".lz4"))
_ROS1, _ROS1_MAGIC = (".bag", ".bag.active"), b"#ROSBAG V"


def is_bag(path):
    """Whether `path` looks like a bag: a folder with bag files or metadata.yaml, or such a file, of ROS 1 too."""
    if os.path.isdir(path):
        return os.path.isfile(os.path.join(path, "metadata.yaml")) or bool(_files(path))
    return path.lower().endswith(_FILES + _COMPRESSED + _ROS1)


def open_bag(path):
    """Open a bag for reading.

    Args:
        path: the bag's folder, or one .db3 or .mcap file.

    Returns:
        an object with `topics` ({name: type}), `counts` ({name: number of messages}), `duration_s`, `notes` (sentences
        about what is left out), `damage` (one about what is missing, or "") and `messages(names)`, which yields each
        `Message` of these topics in the order of their stamps.

    Raises:
        BagError: there is none, it is damaged, or a package is missing that it takes. Also from `messages`.
    """
    path = os.path.expanduser(path)
    if not os.path.exists(path):
        raise BagError("no bag at '{}'".format(path))
    information = _read_metadata(path)
    files = _named_files(path, information) or _files(path)
    if not files:
        raise BagError("'{}' is no bag: it has neither metadata.yaml nor .db3 or .mcap files".format(path))
    if information.get("compression_mode", "").lower() == "file" and not all(map(_is_plain, files)):
        from .bag_compressed import CompressedBag

        return CompressedBag(path)
    for f in files:
        _refuse_foreign(f)
    return _Bag(*_open_files(files))


def _open_files(files):
    """(the files that can be read, what is wrong with the others): a power loss spoils the last one of several."""
    whole, problems = [], []
    for path in files:
        try:
            whole.append(_open_file(path))
        except BagError as e:
            problems.append(e)
    if not whole:
        raise problems[0]
    return whole, [str(e) for e in problems]


def _files(path):
    """Bag files, by the numbers in their names: of a folder, or `path` itself."""
    if os.path.isfile(path):
        return [path]
    found = glob.glob(os.path.join(glob.escape(path), "*"))
    for kinds in (_FILES, _COMPRESSED, _ROS1):
        some = [f for f in found if f.lower().endswith(kinds) and os.path.isfile(f)]
        if some:
            return sorted(some, key=natural_key)
    return []


def _is_plain(path):
    return path.lower().endswith(_FILES)


def _named_files(path, information):
    """The files that metadata.yaml names, [] without it."""
    files = [os.path.join(path, os.path.basename(str(n))) for n in information.get("relative_file_paths") or []]
    missing = [f for f in files if not os.path.isfile(f)]
    if missing and not information.get("compression_mode"):
        text = "the bag {} lacks its file {}".format(path, os.path.basename(missing[0]))
        others = [os.path.basename(f) for f in _files(path)]
        if others:
            text += "; it has {}: give that file, or mend the folder by `ros2 bag reindex {}`".format(others[0], path)
        raise BagError(text)
    return files


def _refuse_foreign(path):
    """Raises BagError for files that are bags, but not of a kind that is read here; says what mends it."""
    with open(path, "rb") as f:
        start = f.read(16)
    if start.startswith(_ROS1_MAGIC) or path.lower().endswith(_ROS1):
        text = "{0} is a ROS 1 bag; convert it: `rosbags-convert --src {0} --dst {1}` (pip install rosbags)"
        raise BagError(text.format(path, path.partition(".bag")[0] + "_ros2"))
    if path.lower().endswith(_COMPRESSED):
        folder, tool = os.path.dirname(os.path.abspath(path)), "lz4 -d" if path.lower().endswith(".lz4") else "zstd -d"
        text = "{} is a file of a compressed bag; ".format(path)
        if os.path.isfile(os.path.join(folder, "metadata.yaml")):
            raise BagError(text + "give its folder, {}".format(folder))
        target = path.rpartition(".")[0]
        raise BagError(text + "without metadata.yaml, unpack it: `{} {} -o {}`".format(tool, path, target))


def _read_metadata(path):
    name = os.path.join(path, "metadata.yaml")
    if not os.path.isfile(name):
        return {}
    try:
        values = yaml.safe_load(read_text(name))
        if values is None:
            raise ValueError("it is empty (power lost?)")
        return dict(values["rosbag2_bagfile_information"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, KeyError, TypeError, ValueError) as e:
        text = "{0} is malformed: {1}; write it anew by `ros2 bag reindex {2}`, or delete it: the bag is read without"
        raise BagError(text.format(name, " ".join(str(e).split())[:200], path)) from None


def _open_file(path):
    with open(path, "rb") as f:
        if f.read(8) == b"\x89MCAP0\r\n" or path.lower().endswith(".mcap"):
            from .mcap import McapFile

            return McapFile(path)
    return SqliteFile(path)


class _Bag:
    """Files as one bag. Those that overlap in time, as of two recorders, are read side by side."""

    def __init__(self, files, problems):
        self._files = sorted(files, key=lambda f: f.span or (0, 0))
        self.topics: Dict[str, str] = {}
        self.counts: Dict[str, int] = {}
        self.notes = [note for f in files for note in f.notes]
        self.damage = next((text for text in problems + [f.damage for f in files] if text), "")
        for f in files:
            for name, type_name in f.topics.items():
                self.topics.setdefault(name, type_name)
                self.counts[name] = self.counts.get(name, 0) + f.counts.get(name, 0)
        spans = [f.span for f in files if f.span]
        self.duration_s = 1e-9 * (max(s[1] for s in spans) - min(s[0] for s in spans)) if spans else 0.0

    def messages(self, names):
        for group in self._groups():
            parts = [f.messages(names) for f in group]
            for message in heapq.merge(*parts, key=lambda m: m[1]) if len(parts) > 1 else parts[0]:
                yield _plain(Message(*message))

    def _groups(self):
        groups: List[list] = []
        end = None
        for f in self._files:
            if f.span is None:
                continue
            if end is None or f.span[0] >= end:
                groups.append([])
            groups[-1].append(f)
            end = f.span[1] if end is None else max(end, f.span[1])
        return groups


def _plain(message):
    """A message that was compressed by itself, as it was: others begin with 0 and their byte order."""
    if not message.data.startswith(ZSTD):
        return message
    try:
        return message._replace(data=unpack("zstd", message.data, "a message of " + message.topic))
    except ValueError as e:
        raise BagError("a compressed message of {} is damaged: {}".format(message.topic, e)) from None


class SqliteFile:
    """One .db3 file, with the attributes of a bag and `span`: its first and last stamp, or None."""

    def __init__(self, path):
        self._path, self.notes, self.damage = path, [], ""
        self.topics: Dict[str, str] = {}
        self.counts: Dict[str, int] = {}
        query = (
            "SELECT name, type, (SELECT COUNT(*) FROM messages WHERE topic_id = topics.id), serialization_format "
            "FROM topics"
        )
        ends = next(self._rows("SELECT MIN(timestamp), MAX(timestamp) FROM messages", ()))
        self.span = None if ends[0] is None else tuple(ends)
        for name, type_name, count, form in self._rows(query, ()):
            if form != "cdr":
                self.notes.append("{} in {} is left out: its messages are '{}', not cdr".format(name, path, form))
                continue
            self.topics[name] = type_name
            self.counts[name] = self.counts.get(name, 0) + count

    def messages(self, names):
        query = (
            "SELECT topics.name, timestamp, data FROM messages JOIN topics ON topic_id = topics.id "
            "WHERE topics.name IN ({}) ORDER BY timestamp, messages.id".format(", ".join("?" * len(names)))
        )
        for topic, stamp_ns, data in self._rows(query, tuple(names)):
            yield topic, stamp_ns, data

    def _rows(self, query, values):
        try:
            database = sqlite3.connect("file:{}?mode=ro".format(_quoted(self._path)), uri=True)
            try:
                for row in database.execute(query, values):
                    yield row
            finally:
                database.close()
        except sqlite3.Error as e:
            text = "{0} is damaged or no bag file: {1}; what is left of it: `sqlite3 {0} .recover | sqlite3 mended.db3`"
            raise BagError(text.format(self._path, e)) from None


def _quoted(path):
    return re.sub(r"[%?#]", lambda m: "%{:02x}".format(ord(m.group())), os.path.abspath(path))
