"""check_autopilot against a scripted autopilot (a stand-in) with the parameters of several firmwares."""

from pathlib import Path

import pytest

pytest.importorskip("pymavlink", reason="pymavlink is the user's own, and not installed: pip install pymavlink")

from scripted_autopilot import ScriptedAutopilot, common  # noqa: E402

from vit_perception.autopilot import check as checking  # noqa: E402
from vit_perception.autopilot import parameters  # noqa: E402
from vit_perception.check_autopilot import main  # noqa: E402

CONFIG = Path(__file__).resolve().parents[3] / "config"
COPTER_47 = {
    "PRX1_TYPE": 0, "PRX_FILT": 0.25, "AVOID_ENABLE": 3, "AVOID_MARGIN": 2.0, "AVOID_BEHAVE": 0,
    "AVOID_BACKUP_SPD": 0.75,
    "LOIT_SPEED_MS": 12.5, "WP_YAW_BEHAVIOR": 2, "OA_TYPE": 0, "GUID_OPTIONS": 0,
    "PRX1_ORIENT": 0, "PRX1_YAW_CORR": 0, "PRX1_MIN": 0.0, "PRX1_MAX": 0.0, "PRX_IGN_GND": 0, "AVOID_ALT_MIN": 0.0,
}  # fmt: skip
COPTER_40 = {
    "PRX_TYPE": 2,
    "LOIT_SPEED": 1250,
    "AVOID_ENABLE": 3,
    "AVOID_MARGIN": 3.0,
    "AVOID_BEHAVE": 1,
    "OA_TYPE": 1,
    "GUID_OPTIONS": 0,
}
PX4_115 = {
    "CP_DIST": -1.0,
    "MPC_VEL_MANUAL": 10.0,
    "CP_DELAY": 0.4,
    "CP_GUIDE_ANG": 30.0,
    "CP_GO_NO_DATA": 0,
    "MPC_POS_MODE": 4,
}


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(checking, "ANSWER_S", 0.08)
    monkeypatch.setattr(checking, "TRIES", 2)
    monkeypatch.setattr(checking, "HEARTBEAT_S", 1.5)


def run(capsys, url, *arguments):
    code = main(["--mavlink", url, *arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_copter_with_its_defaults_is_unsafe_and_nothing_is_written_unasked(capsys):
    with ScriptedAutopilot(3, COPTER_47) as autopilot:
        code, out, _ = run(capsys, autopilot.url)
        assert code == 2 and autopilot.parameters == COPTER_47 and not autopilot.kinds("PARAM_SET")
    lines = {line.split()[1]: line for line in out.splitlines() if line.startswith("  ")}
    assert {n for n, line in lines.items() if "UNSAFE" in line} == {
        "PRX1_TYPE", "PRX_FILT", "AVOID_MARGIN", "AVOID_BEHAVE", "AVOID_BACKUP_SPD", "WP_YAW_BEHAVIOR", "LOIT_SPEED_MS"
    }  # fmt: skip
    assert "0.25 Hz, set 5: " in lines["PRX_FILT"] and lines["AVOID_ENABLE"].split()[0] == "ok"
    assert "position targets in Guided get no avoidance" in out


def test_what_is_written_is_said_with_what_was_before(capsys):
    with ScriptedAutopilot(3, COPTER_47) as autopilot:
        code, out, _ = run(capsys, autopilot.url, "--write")
        assert code == 0 and "AVOID_BACKUP_SPD   was 0.75 and is set to 0" in out
        assert autopilot.parameters == {**COPTER_47, **wanted(parameters.ARDUPILOT), "AVOID_ENABLE": 3, "OA_TYPE": 0}
        assert run(capsys, autopilot.url)[0] == 0


def wanted(table):
    return {w.name: w.value for w in table if w.value is not None}


def test_an_old_copter_is_known_by_its_names_and_what_it_lacks_is_told(capsys):
    with ScriptedAutopilot(3, COPTER_40) as autopilot:
        code, out, _ = run(capsys, autopilot.url)
    assert code == 2 and "ok      PRX_TYPE" in out and "PRX1_TYPE" not in out
    assert "UNSAFE  PRX_FILT           missing" in out and "LOIT_SPEED         1250 cm/s, set 400" in out
    assert "OA_TYPE is 1, but GUID_OPTIONS has no bit 6" in out


def test_what_turns_cuts_or_switches_off_the_scan_is_told(capsys):
    """Of another sensor, left behind: each alone lets the vehicle fly into what the scan tells."""
    left = {"PRX1_ORIENT": 1, "PRX1_YAW_CORR": 90, "PRX1_MIN": 0.6, "PRX1_MAX": 12.0, "PRX_IGN_GND": 1}
    left["AVOID_ALT_MIN"] = 2.0
    safe = {**COPTER_47, **wanted(parameters.ARDUPILOT)}
    with ScriptedAutopilot(3, {**safe, **left}) as autopilot:
        code, out, _ = run(capsys, autopilot.url)
        assert code == 2 and {line.split()[1] for line in out.splitlines() if "UNSAFE" in line} == set(left)
        assert run(capsys, autopilot.url, "--write")[0] == 0 and autopilot.parameters == safe
    old = {{"PRX1_ORIENT": "PRX_ORIENT"}.get(k, k): v for k, v in left.items()}
    with ScriptedAutopilot(
        3, {**{k: v for k, v in safe.items() if k not in left}, "PRX_ORIENT": old["PRX_ORIENT"]}
    ) as a:
        code, out, _ = run(capsys, a.url)
        assert code == 2 and [line.split()[1] for line in out.splitlines() if "UNSAFE" in line] == ["PRX_ORIENT"]
        assert "-       AVOID_ALT_MIN      missing: nothing to set" in out, "an older release does nothing of it"


def test_what_needs_a_reboot_is_told_and_what_is_no_copter(capsys):
    with ScriptedAutopilot(3, {"PRX_TYPE": 0, "AVOID_ENABLE": 3}, type=10) as rover:
        _, out, _ = run(capsys, rover.url)
        assert "reboot" not in out and "no multicopter (MAV_TYPE 10)" in out
        _, out, _ = run(capsys, rover.url, "--write")
        assert "PRX_TYPE was set: it takes effect when the autopilot starts anew" in out


def test_a_vehicle_that_is_armed_while_parameters_are_written_is_left_alone(capsys):
    with ScriptedAutopilot(3, COPTER_47) as autopilot:
        answer = autopilot._answer

        def arms(msg):
            answer(msg)
            if msg.get_type() == "PARAM_SET":
                autopilot.armed = True
                autopilot.send(common.MAVLink_heartbeat_message(2, 3, 128, 0, 4, 3))

        autopilot._answer = arms
        code, _, err = run(capsys, autopilot.url, "--write")
        assert code == 1 and "armed" in err and len(autopilot.kinds("PARAM_SET")) <= 2


def test_px4_and_its_integers_in_the_bytes_of_a_float(capsys):
    with ScriptedAutopilot(12, {**PX4_115, "MPC_POS_MODE": 0}) as autopilot:
        code, out, _ = run(capsys, autopilot.url, "--write")
        assert autopilot.parameters["MPC_POS_MODE"] == 4 and autopilot.parameters["CP_DIST"] == 2.0
    assert code == 0 and "MPC_POS_MODE       was 0 and is set to 4" in out


def test_a_parameter_that_does_not_take_its_value_stays_unsafe(capsys):
    with ScriptedAutopilot(12, PX4_115) as autopilot:
        autopilot.refuses = {"CP_DIST"}
        code, out, _ = run(capsys, autopilot.url, "--write")
    assert code == 2 and "UNSAFE  CP_DIST            -1 m, set 2" in out


@pytest.mark.parametrize("armed", [True])
def test_nothing_is_written_in_flight(capsys, armed):
    with ScriptedAutopilot(3, COPTER_47, armed=armed) as autopilot:
        code, _, err = run(capsys, autopilot.url, "--write")
        assert code == 1 and "armed" in err and autopilot.parameters == COPTER_47
        assert run(capsys, autopilot.url)[0] == 2, "but read"


def test_another_kind_and_nobody_are_one_sentence_each(capsys):
    with ScriptedAutopilot(autopilot=14) as autopilot:
        code, _, err = run(capsys, autopilot.url)
        assert code == 1 and "only PX4 and ArduPilot are known" in err
        autopilot.silent = True
        code, _, err = run(capsys, autopilot.url)
        assert code == 1 and "no HEARTBEAT" in err and err.count("\n") == 1
    assert run(capsys, "udp:5")[0] == 1


def test_two_autopilots_are_told(capsys):
    with ScriptedAutopilot(3, COPTER_47) as autopilot:
        original = autopilot._answer

        def both(msg):
            autopilot.send(common.MAVLink_heartbeat_message(2, 3, 0, 0, 4, 3), system=9)
            autopilot._mav.srcSystem = 1
            original(msg)

        autopilot._answer = both
        _, out, _ = run(capsys, autopilot.url)
    assert "several autopilots answer: systems [1, 9]; only" in out


def test_the_parameter_files_hold_what_the_table_asks_for():
    copter = dict(line.split(",") for line in (CONFIG / "ardupilot.parm").read_text().splitlines() if line[0] != "#")
    copter = {k: float(v) for k, v in copter.items()}
    copter["LOIT_SPEED_MS"] = 0.01 * copter.pop("LOIT_SPEED")
    assert copter == {**wanted(parameters.ARDUPILOT), "OA_TYPE": 0}
    rows = [line.split("\t") for line in (CONFIG / "px4.params").read_text().splitlines() if line[0] != "#"]
    assert {r[2]: float(r[3]) for r in rows} == wanted(parameters.PX4)
    assert all((r[4] == "6") == isinstance(wanted(parameters.PX4)[r[2]], int) for r in rows)
