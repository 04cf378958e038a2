"""Text files as people's systems write them: with a byte order mark, as UTF-16, with \\r\\n, in a Windows code page."""

import codecs
from pathlib import Path

import yaml

from .formats.annotations import Findings

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does: first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
FALLBACK = "cp1252"


def parse_yaml(text: str):
    """Plain values of a YAML text. Raises yaml.YAMLError, also for a key that stands twice in a mapping, of which YAML
    would take the last without a word; ValueError for a date that does not exist; RecursionError."""
    open_nodes, seen = [yaml.compose(text, Loader=yaml.SafeLoader)], set()
    while open_nodes:
        node = open_nodes.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
            continue
        seen.add(id(node))  # an alias leads to a node that was here
        if isinstance(node, yaml.SequenceNode):
            open_nodes += node.value
            continue
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.YAMLError(f"'{twice[0]}' is there twice, {node.start_mark}")
        open_nodes += [value for _, value in node.value]
    return yaml.safe_load(text)


def decode_text(raw: bytes) -> tuple[str, str]:
    """(text, encoding) of a file's bytes: as its byte order mark says, else UTF-8 or UTF-16, else Windows-1252."""
    for mark, encoding in MARKS:
        if raw.startswith(mark):
            return raw.decode(encoding, errors="replace"), encoding
    if raw[1:2] == b"\0" or raw[:1] == b"\0":  # no text begins with NUL: UTF-16 without its mark
        encoding = "utf-16-le" if raw[1:2] == b"\0" else "utf-16-be"
        return raw.decode(encoding, errors="replace"), encoding
    try:
        return raw.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return raw.decode(FALLBACK, errors="replace"), FALLBACK


def read_text(path: Path, findings: Findings) -> str:
    """A file's text. That it was guessed to be Windows-1252 is told. Raises OSError."""
    text, encoding = decode_text(path.read_bytes())
    if encoding == FALLBACK:
        odd = next(line for line in text.splitlines() if not line.isascii())
        what = f"a file is no UTF-8, it is read as Windows-1252 ('{odd.strip():.40}')"
        findings.warn(path, what, "if that is not what it says, save it as UTF-8")
    return text


def read_lines(path: Path, findings: Findings) -> list[str]:
    """Lines that are not empty, without blanks around them."""
    text = read_text(path, findings).replace("\r\n", "\n").replace("\r", "\n")
    return [line.strip() for line in text.split("\n") if line.strip()]


def read_names(path: Path, findings: Findings) -> list[str]:
    """Lines that name files: bytes that are no UTF-8 stay as they are, for so they may stand on the disk."""
    raw = path.read_bytes()
    if decode_text(raw)[1] != FALLBACK:
        return read_lines(path, findings)
    text = raw.decode("utf-8", errors="surrogateescape").replace("\r", "\n")
    return [line.strip() for line in text.split("\n") if line.strip()]
