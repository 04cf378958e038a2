"""Class tables of masks: which name has which colour or index.

    name,r,g,b            or    name,index       or a yaml:    road: [128, 64, 128]     or    [ground, road, car]
    road,128,64,128             road,1                         car: [0, 0, 142]

In a csv the columns may be in any order and more of them may be there; a header names them. A table without indices
counts its rows from 0.
"""

import csv
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import yaml

from vit_perception.images.files import show

from ...errors import DataError
from ..text import decode_text, parse_yaml

IGNORE = 255  # a pixel that nobody is judged on, in masks as the rest of the program sees them
MOST = 255  # classes: indices 0 to 254
TABLES = tuple(f"{stem}.{kind}" for stem in ("classes", "class_dict", "class_dict_seg", "labels", "palette")
               for kind in ("csv", "yaml", "yml"))  # fmt: skip
REMEDY = "write a row for each class: name,r,g,b or name,index, under a header"


@dataclass(frozen=True)
class ClassTable:
    """names (str), colors ((r, g, b) or None for each), indices: what an index mask holds for each.

    source: the table's file. sha256: of its bytes.
    """

    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int] | None, ...]
    indices: tuple[int, ...]
    source: str
    sha256: str = ""


def find_table(root: Path) -> Path | None:
    """The class table in the folder of a data set, by its usual names; None if there is none."""
    return next((root / name for name in TABLES if (root / name).is_file()), None)


def read_table(path: Path) -> ClassTable:
    """Read and check a class table. Raises DataError in one sentence."""
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise DataError(f"cannot read the class table {path} ({e.strerror})") from e
    text = decode_text(raw)[0]
    rows = _csv_rows(path, text) if path.suffix.lower() == ".csv" else _yaml_rows(path, text)
    if not rows:
        raise DataError(f"the class table {path} names no class; {REMEDY}")
    if len(rows) > MOST:
        raise DataError(f"the class table {path} has {len(rows)} classes, more than {MOST}; merge some")
    names = [show(name) for name, _, _ in rows]
    colors = [color for _, color, _ in rows]
    indices = [n if index is None else index for n, (_, _, index) in enumerate(rows)]
    known = [c for c in colors if c is not None]
    checks: tuple[tuple[str, list], ...] = (("class", names), ("colour", known), ("index", indices))
    for what, values in checks:
        if twice := [v for v in values if values.count(v) > 1]:
            both = [str(n) for n, v in zip(names, colors if what == "colour" else values, strict=True) if v == twice[0]]
            whose = "" if what == "class" else f", for {' and for '.join(both)}"
            raise DataError(f"the class table {path} has the {what} {twice[0]} twice{whose}; give each its own")
    return ClassTable(tuple(names), tuple(colors), tuple(indices), str(path), hashlib.sha256(raw).hexdigest())


Row = tuple[str, tuple[int, int, int] | None, int | None]


def _csv_rows(path: Path, text: str) -> list[Row]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    delimiter = next((d for d in (",", ";", "\t") if lines and d in lines[0]), ",")
    table = list(csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter, skipinitialspace=True))
    heads = [cell.strip().lower() for cell in table[0]] if table else []
    names = [h for h in heads if h in ("name", "class", "label", "class_name")]
    if not names:
        raise DataError(f"the class table {path} has no column 'name' in its first row ({', '.join(heads)}); {REMEDY}")
    columns = {k: heads.index(full) for k in "rgb" for full in ({"r": "red", "g": "green", "b": "blue"}[k], k)
               if full in heads}  # fmt: skip
    index = next((heads.index(h) for h in ("index", "id") if h in heads), None)
    rows: list[Row] = []
    for number, row in enumerate(table[1:], 2):
        try:
            color = tuple(_whole(row[columns[k]], 255) for k in "rgb") if len(columns) == 3 else None
            place = None if index is None else _whole(row[index], 65535)
            rows.append((_name(row[heads.index(names[0])]), color, place))  # type: ignore[arg-type]
        except (ValueError, IndexError) as e:
            raise DataError(f"the class table {path}, row {number}, is {','.join(row)!r} ({e}); {REMEDY}") from e
    return rows


def _yaml_rows(path: Path, text: str) -> list[Row]:
    try:
        content = parse_yaml(text)
        if isinstance(content, dict) and isinstance(content.get("names", content.get("classes")), list | dict):
            content = content.get("names", content.get("classes"))
        if isinstance(content, list):
            return [(_name(name), None, None) for name in content]
        if not isinstance(content, dict):
            raise ValueError("it is neither a list of names nor names with colours")
        if all(isinstance(key, int) for key in content):  # 0: road
            return [(_name(name), None, _whole(key, 65535)) for key, name in content.items()]
        rows: list[Row] = []
        for name, value in content.items():
            if isinstance(value, list) and len(value) == 3:
                r, g, b = (_whole(v, 255) for v in value)
                rows.append((_name(name), (r, g, b), None))
            else:
                rows.append((_name(name), None, _whole(value, 65535)))
        return rows
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        raise DataError(f"the class table {path} cannot be read ({' '.join(str(e).split())}); {REMEDY}") from e


def _whole(value, most: int) -> int:
    number = int(str(value).strip())
    if isinstance(value, bool) or not 0 <= number <= most:
        raise ValueError(f"{value} is none of 0 to {most}")
    return number


def _name(value) -> str:
    name = str(value).strip()
    if not name or isinstance(value, bool | None):
        raise ValueError("a class has no name")
    return name
