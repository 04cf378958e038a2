"""The pages agree with the code: parameters, the player, QoS of the topics; links and anchors lead somewhere."""

import contextlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from segment_bundle import make_segment_bundle

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


def test_the_topic_page_has_every_topic_with_its_type_and_qos(ros_context, tmp_path):
    from flight import NAME, Client, running

    rows = [row for row in table_rows("docs/reference/topics.md") if "/" in row[1] and len(row) > 3]
    outputs = {row[0].replace("~", NAME): row[1:3] for row in rows if len(row) == 5}
    inputs = {row[0]: row[1:3] for row in rows if len(row) == 4}
    assert len(outputs) == 17 and len(inputs) == 10
    client = Client(ros_context)

    def compare(topic, listed, ends):
        end = next(e for e in ends if e.node_name == NAME[1:])
        assert end.topic_type.replace("/msg/", "/") in listed[0]
        assert listed[1].startswith(end.qos_profile.reliability.name.lower().replace("_", " ")), topic
        return end.qos_profile.durability.name.lower().replace("_", " ")

    model = make_segment_bundle(tmp_path / "both", "both")
    options = {"model": model, "publish_px4": True, "height_source": "range", "landing.enabled": True}
    with running("node", tmp_path / "log", **options):
        client.connect()
        graph = client.node
        found = {n for n, _ in graph.get_publisher_names_and_types_by_node(NAME[1:], "/")}
        ours = {n if n.startswith("/") else "/" + n: row for n, row in outputs.items() if "/mavros/" not in n}
        assert found - {"/rosout", "/parameter_events"} - set(ours) == {NAME + "/transition_event"}
        for topic, listed in ours.items():
            durability = compare(topic, listed, graph.get_publishers_info_by_topic(topic))
            assert durability in listed[1].split(", "), topic
        for topic, listed in inputs.items():
            if topic != "image_raw/compressed":  # instead of image_raw
                name = topic if topic.startswith("/") else "/" + topic
                compare(topic, listed, graph.get_subscriptions_info_by_topic(name))
    client.close()


def test_the_quick_start_works_in_three_terminals_as_written(ros_context, tmp_path):
    """Its very commands, but for the place and length of the flight; ros_context: only where ROS is."""
    text = (ROOT / "docs" / "quick_start.md").read_text(encoding="utf-8")
    section = text[text.index("in three terminals") :]
    commands = re.findall(r"^python (?:-m )?(?:vit_perception|offline|examples).*$", section, re.MULTILINE)[:4]
    commands = [
        c.replace("out/flight", str(tmp_path / "flight")).replace("--frames 90", "--frames 8") for c in commands
    ]
    node, listener, render, player = ([sys.executable, *shlex.split(c)[1:]] for c in commands)
    subprocess.run(render, cwd=ROOT, check=True, capture_output=True, timeout=120)
    log = tmp_path / "log"
    with contextlib.ExitStack() as stack:
        started = []
        for command, out in ((node, log), (listener, tmp_path / "heard")):
            file = stack.enter_context(out.open("wb"))
            started.append(subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT))
            stack.callback(started[-1].kill)
        played = subprocess.run(player, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert played.returncode == 0 and "8 images published" in played.stdout + played.stderr, played
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and len((tmp_path / "heard").read_text().splitlines()) < 2:
            time.sleep(0.1)
        for process in reversed(started):
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0, log.read_text()
    lines = (tmp_path / "heard").read_text().splitlines()
    assert len(lines) >= 2, log.read_text()
    assert all(re.fullmatch(r"\d+\.\d{9}: (nothing|((Person|Car|Bicycle) [01]\.\d\d(, )?)+)", line) for line in lines)


def test_make_shell_opens_the_environment_in_one_domain(monkeypatch):
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        pytest.skip("not running in .venv")
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    typed = 'echo "$ROS_DOMAIN_ID"; python -c "import sys, vit_perception; print(sys.prefix, vit_perception.__file__)"'
    command = ["make", "--silent", "--old-file=setup", "shell"]  # without installing anything
    done = subprocess.run(command, cwd=ROOT, input=typed, capture_output=True, text=True, timeout=60)
    domain, paths = done.stdout.splitlines()
    prefix, package = map(Path, paths.split())
    assert domain == "101", done
    assert prefix.resolve() == (ROOT / ".venv").resolve() and package == ROOT / "vit_perception" / "__init__.py"


def test_the_site_is_built_strictly_and_a_broken_link_ends_it(tmp_path):
    """Without the API reference, which `make docs` adds and which takes most of the time."""
    pytest.importorskip("sphinx", reason="Sphinx is not installed (make setup)")
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", docs)
    for entry in ROOT.iterdir():
        if entry.suffix == ".md":
            shutil.copy(entry, tmp_path)  # Sphinx follows links to where a file really is
        elif entry.name not in ("docs", "out", ".git", ".venv"):
            (tmp_path / entry.name).symlink_to(entry)
    api = docs / "reference" / "api.md"
    api.write_text(re.sub(r"```\{eval-rst\}.*?```", "", api.read_text(encoding="utf-8"), flags=re.DOTALL))

    def build():
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", "site"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)

    done = build()
    assert done.returncode == 0, done.stderr
    assert "Vision Transformer" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    page = docs / "faults.md"
    page.write_text(
        page.read_text(encoding="utf-8") + "\n[gone](no_such_page.md), [no heading](inputs.md#no-such-heading)\n"
    )
    done = build()
    assert done.returncode != 0 and "no_such_page.md" in done.stderr and "no-such-heading" in done.stderr
