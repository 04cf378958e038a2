"""bench/sitl.py against a stand-in for the simulation: the project's model of ArduCopter behind MAVLink."""

import importlib.util
import json
import sys

import pytest

pytest.importorskip("pymavlink", reason="pymavlink is the user's own, and not installed: pip install pymavlink")

from pathlib import Path  # noqa: E402

from simulated_copter import SimulatedCopter  # noqa: E402

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def sitl(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    spec = importlib.util.spec_from_file_location("sitl", BENCH / "sitl.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in ("closed_loop", "parts.sitl_flight"):
        sys.modules.pop(name, None)


def run(sitl, capsys, *arguments):
    code = sitl.main(list(arguments))
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_dead_node_stops_what_flies_up_to_a_person(sitl, capsys):
    with SimulatedCopter(6.0) as copter:
        code, figures = run(sitl, capsys, "--mavlink", copter.url, "--speed", "6", "--scenario", "dead_node", "--quick")
        assert (code, figures["tests_run"], figures["good"]) == (0, 1, 1), figures
        flown = copter.vehicle.position
        assert abs(flown[1] - 4.0) > 5.0 and flown[0] > 3.5, "along its heading"


def test_without_a_simulation_nothing_is_run_and_it_says_so(sitl, capsys):
    code, figures = run(sitl, capsys, "--mavlink", "tcp:127.0.0.1:9")
    assert code == 0 and figures["tests_run"] == 0 and "Connection refused" in figures["why"]


def test_another_autopilot_is_refused(sitl, capsys):
    from scripted_autopilot import ScriptedAutopilot

    with ScriptedAutopilot(autopilot=12) as px4:
        assert "PX4 answers" in run(sitl, capsys, "--mavlink", px4.url)[1]["why"]
