"""report.html: one self-contained page per run, for people: what was gained, what was lost, where, and how.

`page.py` gathers and renders, `tables.py` holds the figures, `plots.py` and `frames.py` the pictures. The page needs no
network, no other file and no JavaScript. It shows frames of the validation data, so it stays in the run folder.
"""

from .page import write_report

__all__ = ["write_report"]
