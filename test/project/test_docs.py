"""The pages agree with the code: parameters, the player, QoS of the topics; links and anchors lead somewhere."""

import re
import subprocess
from pathlib import Path

import pytest

from vit_perception import parameters

ROOT = Path(__file__).resolve().parents[2]
PAGES = [p for p in ROOT.rglob("*.md") if not {"out", "build", "install", "models"} & set(p.relative_to(ROOT).parts)]
PAGES = sorted(p for p in PAGES if not any(part.startswith(".") for part in p.relative_to(ROOT).parts))
FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2", re.MULTILINE | re.DOTALL)


def table_rows(page):
    """Cells of every row of every table of a page, without code marks."""
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]


def as_rows(specs):
    """The table row of each parameter."""
    for s in specs:
        default = "the bundle's" if s.default is None else shown(s.default)
        limits = "" if s.low is None else f"{s.low:g} to {s.high:g} {s.unit}".strip()
        yield [s.name, default, limits, "" if s.read_only else "yes", s.description]


def shown(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value) or "empty"


def test_the_parameter_page_has_every_parameter_as_the_node_declares_it():
    listed = [row for row in table_rows("docs/reference/parameters.md") if row[0] != "parameter"]
    assert sorted(listed) == sorted(as_rows(parameters.EVALUATED + parameters.SPECS))


def test_the_player_page_has_every_parameter_as_the_player_declares_it():
    pytest.importorskip("rclpy", reason="rclpy is not installed (make setup)")
    from vit_perception.player import SPECS

    listed = [row for row in table_rows("docs/reference/player.md") if row[0] != "parameter"]
    assert listed == [row[:3] + row[4:] for row in as_rows(SPECS)]


def slug(heading):
    """The anchor that GitHub, and MyST after it, give a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{target}: no such file"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", FENCED.sub("", there.read_text(encoding="utf-8")), re.MULTILINE)
            assert anchor in map(slug, headings), f"{target}: no such heading"


def test_every_page_stands_in_the_contents_of_the_site():
    contents = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("").as_posix()
        assert name == "index" or re.search(rf"^{name}$", contents, re.MULTILINE), name


def test_the_site_is_built_and_a_broken_link_or_reference_ends_it(tmp_path):
    pytest.importorskip("sphinx", reason="Sphinx is not installed (make setup)")
    import shutil
    import sys

    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs)
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config", "models"):
        (tmp_path / name).symlink_to(ROOT / name)
    (docs / "api.md").unlink()  # the reference takes most of the time, and `make docs` builds it

    def build():
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(docs), str(tmp_path / "site")]
        return subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, timeout=300)

    done = build()
    assert done.returncode == 0, done.stderr
