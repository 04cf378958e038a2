"""How many threads a training takes on a machine that others work on, in a container, and when it is resumed."""

import logging

import pytest
import torch

from offline.training import threads


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    number = torch.get_num_threads()
    torch.set_num_threads(16)
    yield
    torch.set_num_threads(number)


@pytest.mark.parametrize(("cores", "load", "expected"), [(8, 0.2, 8), (8, 5.6, 2), (2, 7.0, 1), (32, 0.0, 16)])
def test_as_many_as_the_machine_can_spare(monkeypatch, caplog, cores, load, expected):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(threads, "usable_cores", lambda: cores)
    monkeypatch.setattr(threads, "busy", lambda: load)
    assert threads.choose_threads() == torch.get_num_threads() == expected
    assert f"training with {expected} threads" in caplog.text and "OMP_NUM_THREADS=N" in caplog.text
    assert threads.choose_threads(kept=3) == torch.get_num_threads() == 3  # a resumed run ends with the same bytes


def test_who_sets_the_number_decides(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads.choose_threads() is None and torch.get_num_threads() == 16


@pytest.mark.parametrize(("text", "quota"), [("200000 100000", 2.0), ("max 100000", None), ("junk", None)])
def test_a_containers_limit_counts(monkeypatch, tmp_path, text, quota):
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(threads, "V2_LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: set(range(12)))
    assert threads._quota() == quota and threads.usable_cores() == int(quota or 12)
