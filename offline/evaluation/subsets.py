r"""Images grouped by what their file names say: altitude, time of day, camera angle.

    Grouping.parse(r"^\d_(?P<altitude>\d+)_", ["altitude=60,80,100,130"])

Every named group of the pattern is one way to group the images: by what it finds in the file name, or, where it has
bands, by which of them that number falls into.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from vit_perception.images.files import show

from ..data import Dataset
from ..errors import DataError

NAMELESS = "other names"  # of images whose file name does not match


@dataclass
class Grouping:
    """pattern: regular expression with named groups, searched in the file name; '': no groups. bands: {name of a
    group: ascending numbers}, each band from one number up to the next, the last one with its end.

    Raises:
        DataError: the pattern is none, or bands do not fit it.
    """

    pattern: str = ""
    bands: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            names = list(re.compile(self.pattern).groupindex)
        except (re.error, TypeError) as e:
            raise DataError(f"groups: {self.pattern!r} is no regular expression ({e})") from e
        if self.pattern and not names:
            raise DataError(f"groups: {self.pattern!r} names no group; write e.g. '^\\d_(?P<altitude>\\d+)_'")
        for name, edges in self.bands.items():
            if name not in names:
                known = ", ".join(names) or "none"
                raise DataError(f"bands: '{name}' is no group of the pattern {self.pattern!r}; it has: {known}")
            numbers = isinstance(edges, list) and all(isinstance(e, (int, float)) for e in edges)
            if not (numbers and len(edges) > 1 and edges == sorted(set(edges))):
                raise DataError(f"bands: {name} needs two or more ascending numbers, not {edges}")

    @classmethod
    def parse(cls, pattern: str | None, bands: list[str]) -> "Grouping":
        """From a command line: bands as 'NAME=60,80,100'. Raises DataError."""
        edges: dict[str, list[float]] = {}
        for text in bands:
            name, _, numbers = text.partition("=")
            try:
                edges[name] = [float(n) for n in numbers.split(",")]
            except ValueError:
                raise DataError(f"--bands {text} is not of the form NAME=NUMBER,NUMBER, e.g. altitude=60,80") from None
        return cls(pattern or "", edges)

    def split(self, data: Dataset) -> dict[str, dict[str, list[int]]]:
        """{name of the grouping: {group: indices of its images}}, groups in ascending order.

        Raises:
            DataError: no file name matches, or one says no number where there are bands.
        """
        pattern = re.compile(self.pattern)
        found = [pattern.search(show(s.path.name)) for s in data.samples]
        if self.pattern and not any(found):
            example = show(data.samples[0].path.name)
            raise DataError(f"groups: no file name of {data.name} matches {self.pattern!r}, e.g. '{example}'")
        groupings: dict[str, dict[str, list[int]]] = {}
        for name in pattern.groupindex:
            groups: dict[tuple, list[int]] = {}
            for i, hit in enumerate(found):
                groups.setdefault(self._group(name, hit and hit[name]), []).append(i)
            groupings[name] = {key[-1]: groups[key] for key in sorted(groups)}
        return groupings

    def _group(self, name: str, value: str | None) -> tuple:
        """(sort keys..., name) of the group that holds `value`."""
        if value is None:
            return (1, 0.0, NAMELESS)
        edges = self.bands.get(name)
        try:
            number = float(value)
        except ValueError:
            if edges:
                raise DataError(f"bands: group '{name}' finds '{value}', which is no number") from None
            return (0, 0.0, value)
        if not edges:
            return (0, number, value)
        if number < edges[0]:
            return (0, -np.inf, f"under {edges[0]:g}")
        if number > edges[-1]:
            return (0, np.inf, f"over {edges[-1]:g}")
        low = min(int(np.searchsorted(edges, number, side="right")) - 1, len(edges) - 2)
        return (0, edges[low], f"{edges[low]:g}-{edges[low + 1]:g}")
