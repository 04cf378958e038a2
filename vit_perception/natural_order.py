"""Names in the order that people count in: frame_2 before frame_10."""

import re


def natural_key(name):
    """Key to sort names (str) by: runs of digits count as numbers; where those agree, the name decides."""
    parts = re.split("([0-9]+)", str(name))
    return [(int(p), "") if i % 2 else (-1, p) for i, p in enumerate(parts)], str(name)
