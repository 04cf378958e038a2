"""Files: written whole or not at all; text as people have it."""

import codecs
import contextlib
import os


def write_whole(path, data):
    """Write `data` (bytes) to `path` by way of `path`.tmp, which a killed writer may leave behind, once at most.

    Raises:
        OSError: the disk; then neither file is new.
    """
    temporary = "{}.tmp".format(path)
    try:
        with open(temporary, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    finally:  # after success it is gone already
        with contextlib.suppress(OSError):
            os.remove(temporary)


def read_text(path, errors="strict"):
    """Text of a file as people write them: UTF-8, or UTF-16 with its mark at the start, as Windows does.

    errors: what to do with bytes that are no such text, as of bytes.decode.

    Raises:
        OSError: it cannot be read. UnicodeDecodeError: it is no such text.
    """
    with open(path, "rb") as f:
        data = f.read()
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig", errors)
