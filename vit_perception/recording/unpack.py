"""What recorders compress, by whichever package is installed: no Python before 3.14 has zstd."""

import importlib

from ..errors import BagError

ZSTD = b"\x28\xb5\x2f\xfd"  # the start of what zstd compressed (RFC 8878)
_PACKAGES = {
    "zstd": ("compression.zstd", "backports.zstd", "zstandard", "pyzstd"),
    "lz4": ("lz4.frame",),
}


def unpack(kind, data, path):
    """What `data` (bytes) was before it was compressed as 'zstd' or 'lz4'; itself of kind ''.

    Args:
        path: of the file that holds it, for messages.

    Raises:
        BagError: another kind, or no package for it. ValueError: it is damaged.
    """
    if not kind:
        return data
    for name in _PACKAGES.get(kind, ()):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        try:
            if name == "zstandard":  # frames need not tell their size
                return module.ZstdDecompressor().decompressobj().decompress(data)
            return module.decompress(data)
        except Exception as e:  # each package has errors of its own
            raise ValueError(" ".join(str(e).split())[:200]) from None
    if kind in _PACKAGES:
        package = "lz4" if kind == "lz4" else "zstandard"
        raise BagError("{} is compressed with {}; `pip install {}`, and play it again".format(path, kind, package))
    raise BagError("{} is compressed with '{}', which is not known; `ros2 bag convert` it".format(path, kind[:20]))
