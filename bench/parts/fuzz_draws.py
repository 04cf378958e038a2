"""Sources of numbers from which bench/fuzz.py makes its cases, damage to bytes, and memory that shows over-reads."""

import ctypes
import functools
import mmap
import struct

import numpy as np


class Draw:
    """Draws from a random.Random; other sources of numbers derive from it."""

    def __init__(self, rng):
        self._rng = rng

    def whole(self, low, high):
        return self._rng.randint(low, high)

    def bytes(self, n):
        return self._rng.randbytes(n)

    def chance(self, percent):
        return self.whole(0, 99) < percent

    def pick(self, choices):
        return choices[self.whole(0, len(choices) - 1)]


class ProviderDraw(Draw):
    """Draws from atheris' FuzzedDataProvider."""

    def whole(self, low, high):
        return self._rng.ConsumeIntInRange(low, high)

    def bytes(self, n):
        found = self._rng.ConsumeBytes(n)
        return found + bytes(n - len(found))  # it has only so many


class StrategyDraw(Draw):
    """Draws from hypothesis."""

    def whole(self, low, high):
        return self._rng(integers(low, high))

    def bytes(self, n):
        few = min(n, 64)  # more would be slow, and fill up what hypothesis allows one case
        return (self._rng(binaries(few)) * (n // max(few, 1) + 1))[:n]


@functools.cache
def integers(low, high):
    from hypothesis import strategies

    return strategies.integers(low, high)


@functools.cache
def binaries(n):
    from hypothesis import strategies

    return strategies.binary(min_size=n, max_size=n)


class Guarded:
    """Memory between two pages that nobody may touch: who reads outside of it dies of SIGSEGV."""

    def __init__(self, capacity=1 << 21):
        page = mmap.PAGESIZE
        self._size = -(-capacity // page) * page
        self._map = mmap.mmap(-1, self._size + 2 * page)
        self._start = ctypes.addressof(ctypes.c_char.from_buffer(self._map)) + page
        libc = ctypes.CDLL(None, use_errno=True)
        for address in (self._start - page, self._start + self._size):
            if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(page), 0):
                raise OSError(ctypes.get_errno(), "mprotect")

    def place(self, data, at_end):
        """uint8 array of `data`, which touches the guard at its end, or at its beginning."""
        address = self._start + (self._size - len(data) if at_end else 0)
        ctypes.memmove(address, data, len(data))
        return np.frombuffer((ctypes.c_char * len(data)).from_address(address), np.uint8)


guarded = functools.cache(Guarded)


def fill(draw, size, item):
    """`size` bytes: random ones, one value, or what floats and integers have at their ends."""
    kind = draw.whole(0, 3)
    if kind == 0:
        return draw.bytes(size)
    if kind == 1:
        return bytes([draw.whole(0, 255)]) * size
    ends = [0, 1, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F7FFFFF, 0xFF7FFFFF, 0x43960000, 0x80000000, 0xFFFFFFFF]
    few = [struct.pack("<I", draw.pick(ends))[-item:] for _ in range(draw.whole(1, 5))]
    return (b"".join(few) * (size // item + 1))[:size]


MARKS = [b"\xff\xda", b"\xff\xc0\0\x11\x08", b"IDAT", b"acTL", b"IEND", b"location", b"PK\5\6"]


def mutate(draw, data):
    """Flip, cut, repeat and insert bytes."""
    data = bytearray(data)
    for _ in range(draw.pick([0, 1, 1, 2, 4, 16])):
        at, n = draw.whole(0, max(0, len(data) - 1)), draw.pick([1, 1, 2, 4, draw.whole(1, 64)])
        kind = draw.whole(0, 5)
        if kind == 0 and data:
            data[at] ^= 1 << draw.whole(0, 7)
        elif kind == 1:
            data[at : at + n] = draw.pick([b"\0", b"\xff", b"\x7f", b"\x80"]) * n
        elif kind == 2:
            data[at : at + n] = draw.bytes(n)
        elif kind == 3:
            data[at:at] = data[at : at + n] * draw.pick([1, 1, 3, 50])
        elif kind == 4:
            del data[at : at + n]
        else:
            data[at:at] = draw.pick(MARKS)
    return bytes(data[: draw.whole(0, len(data))] if draw.chance(5) else data)
