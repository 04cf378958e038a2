"""One .mcap file, read from its start to where it ends or was cut off: https://mcap.dev/spec. Needs no index."""

import heapq
import os
import struct
import zlib
from typing import Dict, List, Tuple

from ..errors import BagError
from .unpack import unpack

MAGIC = b"\x89MCAP0\r\n"
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 3, 4, 5, 6, 15
_LAST_OPCODE = 0x0F  # of the specification; from 0x80 on they are private
_HEAD = struct.Struct("<BQ")  # of every record: opcode, length
_MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK_HEAD = struct.Struct("<QQQII")  # first and last time, size, CRC, length of the compression's name


class McapFile:
    """With the attributes of a bag and `span`: its first and last stamp, or None.

    Attributes:
        damage: one sentence if the file was cut off, or is damaged somewhere; else "".

    Raises:
        BagError: it is no mcap file, or is compressed with what no package is installed for.
    """

    def __init__(self, path):
        self.path, self.notes, self.damage = path, [], ""
        self.topics: Dict[str, str] = {}
        self.counts: Dict[str, int] = {}
        self._schemas: Dict[int, str] = {}  # id -> name
        self._channels: Dict[int, str] = {}  # id -> topic
        self._parts: List[Tuple[int, int, int]] = []  # first stamp, last stamp, offset of the record
        with open(path, "rb") as f:
            start = f.read(8)
            if start != MAGIC:
                why = "it begins otherwise" if start else "it is empty (power lost?)"
                raise BagError("{} is damaged or no mcap file: {}".format(path, why))
            self._scan(f, os.path.getsize(path))
        self._parts.sort()
        self.span = (self._parts[0][0], max(p[1] for p in self._parts)) if self._parts else None

    def messages(self, names):
        """Yields (topic, stamp_ns, data) of these topics in the order of their stamps."""
        wanted = set(names)
        waiting: List[tuple] = []  # messages of the chunks that were read, as a heap
        with open(self.path, "rb") as f:
            for number, (first, _, at) in enumerate(self._parts):
                while waiting and waiting[0][0] < first:
                    stamp, _, _, topic, data = heapq.heappop(waiting)
                    yield topic, stamp, data
                f.seek(at)
                opcode, content = _record(f)
                records = _records(self._unpacked(content)[0]) if opcode == _CHUNK else [(opcode, content)]
                for k, (kind, record) in enumerate(records):
                    if kind == _MESSAGE:
                        channel, _, stamp, _ = _MESSAGE_HEAD.unpack_from(record)
                        topic = self._channels.get(channel)
                        if topic in wanted:
                            data = record[_MESSAGE_HEAD.size :]
                            heapq.heappush(waiting, (stamp, number, k, topic, bytes(data)))
        while waiting:
            stamp, _, _, topic, data = heapq.heappop(waiting)
            yield topic, stamp, data

    def _scan(self, f, size):
        while True:
            at = f.tell()
            head = f.read(_HEAD.size)
            opcode, length = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 0)
            if opcode == _DATA_END:
                return
            known = 0 < opcode <= _LAST_OPCODE or opcode >= 0x80
            if not known or at + _HEAD.size + length > size:
                if opcode == _CHUNK:  # of one that is not compressed, what is there can be read
                    self._take_chunk(at, f.read(size - at))
                text = "{0} was cut off after {1} messages (power lost?); `mcap recover {0} -o mended.mcap` closes it"
                self.damage = text.format(self.path, sum(self.counts.values()))
                return
            if opcode == _CHUNK:
                self._take_chunk(at, f.read(length))
            elif opcode in (_SCHEMA, _CHANNEL, _MESSAGE):
                span = self._take(opcode, f.read(length))
                self._parts += [(span, span, at)] if span is not None else []
            f.seek(at + _HEAD.size + length)

    def _take_chunk(self, at, content):
        try:
            records, whole = self._unpacked(content)
            stamps = [self._take(*record) for record in _records(records)]
        except (struct.error, ValueError):  # UnicodeDecodeError is a ValueError
            records, whole, stamps = b"", False, []
        stamps = [s for s in stamps if s is not None]
        self._parts += [(min(stamps), max(stamps), at)] if stamps else []
        if not whole:
            self.damage = "{} is damaged at byte {}; the rest of it is read".format(self.path, at)

    def _unpacked(self, content):
        """(records, whether they are whole) of a chunk's content."""
        _, _, size, crc, length = _CHUNK_HEAD.unpack_from(content)
        at = _CHUNK_HEAD.size + length
        kind = content[_CHUNK_HEAD.size : at].decode("utf-8")
        (stored,) = struct.unpack_from("<Q", content, at)
        packed = content[at + 8 : at + 8 + stored]
        if len(packed) < stored and kind:
            return b"", False
        records = unpack(kind, packed, self.path)
        return records, len(records) == size and (crc == 0 or zlib.crc32(records) & 0xFFFFFFFF == crc)

    def _take(self, opcode, record):
        """Remember a schema or a channel, count a message; returns a message's stamp, else None."""
        if opcode == _SCHEMA:
            number, length = struct.unpack_from("<HI", record)
            self._schemas[number] = record[6 : 6 + length].decode("utf-8")
        elif opcode == _CHANNEL:
            number, schema, length = struct.unpack_from("<HHI", record)
            topic, at = record[8 : 8 + length].decode("utf-8"), 8 + length
            (length,) = struct.unpack_from("<I", record, at)
            self._take_channel(number, topic, self._schemas.get(schema, ""), record[at + 4 : at + 4 + length])
        elif opcode == _MESSAGE and len(record) >= _MESSAGE_HEAD.size:
            channel, _, stamp, _ = _MESSAGE_HEAD.unpack_from(record)
            if channel in self._channels:
                self.counts[self._channels[channel]] += 1
                return stamp
        return None

    def _take_channel(self, number, topic, schema, encoding):
        if encoding == b"cdr":
            self._channels[number] = topic
            self.topics.setdefault(topic, schema)
            self.counts.setdefault(topic, 0)
            return
        text = "{} in {} is left out: its messages are '{}', not cdr"
        note = text.format(topic, self.path, encoding.decode("utf-8", "replace"))
        if note not in self.notes:
            self.notes.append(note)


def _record(f):
    """(opcode, content) of the record at the file's place; shorter where the file is cut off."""
    opcode, length = _HEAD.unpack(f.read(_HEAD.size))
    return opcode, f.read(length)


def _records(data):
    """(opcode, content) of the records of a chunk, up to where they are whole."""
    at, view = 0, memoryview(data)
    while at + _HEAD.size <= len(data):
        opcode, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + length > len(data):
            return
        yield opcode, bytes(view[at : at + length])
        at += length
