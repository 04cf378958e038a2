"""Write a file whole or not at all."""

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
