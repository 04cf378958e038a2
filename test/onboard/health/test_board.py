"""What the board tells of itself, from files as Linux writes them."""

import ctypes
import os

import pytest

from vit_perception.health.board import return_free_memory, rss_mb, temperature_c, throttling


def write(folder, **files):
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def test_temperature_is_the_hottest_readable_zone(tmp_path):
    for name, text in (("zone0", "41500\n"), ("zone1", "58000\n"), ("zone2", "garbage")):
        (tmp_path / name).write_text(text)
    assert temperature_c(str(tmp_path / "zone*")) == 58.0
    assert temperature_c(str(tmp_path / "none*")) is None


def test_throttling_names_what_slows_the_board_down(tmp_path):
    thermal, cpus = tmp_path / "thermal", tmp_path / "cpu"
    assert throttling(str(thermal), str(cpus)) == ""
    write(thermal / "cooling_device0", type="gpu-balanced\n", cur_state="0\n")
    write(thermal / "cooling_device1", type="pwm-fan\n", cur_state="3\n")
    write(cpus / "cpu0" / "cpufreq", scaling_max_freq="1479000\n", cpuinfo_max_freq="1479000\n")
    assert throttling(str(thermal), str(cpus)) == ""
    (thermal / "cooling_device0" / "cur_state").write_text("2\n")
    (cpus / "cpu0" / "cpufreq" / "scaling_max_freq").write_text("918000\n")
    assert throttling(str(thermal), str(cpus)) == "gpu-balanced 2, cpu0 918 of 1479 MHz"


def test_unreadable_files_say_nothing(tmp_path):
    write(tmp_path / "thermal" / "cooling_device0", type="cpu", cur_state="?")
    assert throttling(str(tmp_path / "thermal"), str(tmp_path)) == ""


def test_resident_memory_of_this_process():
    assert 5 < rss_mb() < 10000
    assert rss_mb("/no/such/file") is None
    assert rss_mb() * 0.99 < rss_mb(field="VmHWM") < 10000
    assert rss_mb(field="VmNothing") is None
    with open("/proc/self/statm") as f:
        pages = int(f.read().split()[1])
    assert rss_mb() == pytest.approx(pages * os.sysconf("SC_PAGESIZE") / 2**20, rel=0.05)


def test_freed_pages_go_back_to_linux():
    """Blocks under the newest one stay with the C library when they are freed, until it is asked."""
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("the C library of this machine is not glibc")
    blocks = [bytes(1000) for _ in range(60_000)]
    newest = bytes(1000)
    del blocks
    before = rss_mb()
    return_free_memory()
    assert rss_mb() < before - 30 and len(newest) == 1000
