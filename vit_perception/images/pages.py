"""How many pictures an image file holds: a TIFF of several pages, an animated PNG or WebP. Decoders take the first.

From TIFF 6.0 (section 2 and NewSubfileType), the PNG specification's chunk acTL and WebP's container specification.
"""

import io
import struct
from typing import Set

MOST = 10000  # are counted: so many and more are told as so many
_PNG, _TIFF = b"\x89PNG\r\n\x1a\n", {b"II": "<", b"MM": ">"}
_SUBFILE, _VALUES = 254, {3: ("H", 2), 4: ("I", 4)}  # the tag NewSubfileType; layout and bytes of its types
_COPY_OR_MASK = 1 | 4  # its bits: a smaller copy of another picture, a transparency mask


def count_pictures(data):
    """Pictures in an image file (bytes, or a binary file that can seek): 1 where it is damaged or no image.

    Smaller copies and masks of the picture, which a TIFF may hold beside it, are not counted.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    head = file.read(16)
    try:
        if head[:2] in _TIFF:
            return _pages(file, _TIFF[head[:2]], head)
        if head.startswith(_PNG):
            return _frames_of_png(file)
        if head[:4] == b"RIFF" and head[8:] == b"WEBPVP8X":
            return _frames_of_webp(file)
    except (struct.error, KeyError, OSError, OverflowError):  # it ends before it should, or points nowhere
        pass
    return 1


def _read(file, layout, at):
    file.seek(at)
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _pages(file, order, head):
    """A chain of directories, one for each page; in BigTIFF (version 43) counts and offsets have 8 bytes."""
    big = struct.unpack(order + "H", head[2:4])[0] == 43
    count, entry, offset = (order + layout for layout in (("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")))
    (at,) = _read(file, offset, 8 if big else 4)
    pages = 0
    seen: Set[int] = set()  # offsets: a chain may go in a circle
    while at and at not in seen and len(seen) < MOST:
        seen.add(at)
        (entries,) = _read(file, count, at)
        first = at + struct.calcsize(count)
        tag, kind, _, value = _read(file, entry, first)  # entries are sorted by tags, of which this is the lowest
        flags = struct.unpack(order + _VALUES[kind][0], value[: _VALUES[kind][1]])[0] if tag == _SUBFILE else 0
        pages += len(seen) == 1 or not flags & _COPY_OR_MASK
        (at,) = _read(file, offset, first + entries * struct.calcsize(entry))
    return max(1, pages)


def _frames_of_png(file):
    """Before its pixels an animation has the chunk acTL, which begins with the number of frames."""
    at = 8
    for _ in range(MOST):
        length, kind = _read(file, ">I4s", at)
        if kind == b"acTL":
            return max(1, _read(file, ">I", at + 8)[0])
        if kind == b"IDAT":
            break
        at += 12 + length
    return 1


def _frames_of_webp(file):
    """Each frame of an animation is a chunk ANMF."""
    frames, at = 0, 12
    while frames < MOST:
        try:
            kind, length = _read(file, "<4sI", at)
        except struct.error:  # the end
            break
        frames += kind == b"ANMF"
        at += 8 + length + length % 2
    return max(1, frames)
