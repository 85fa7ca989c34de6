"""A stall of the machine is noticed, and a check does not blame the learner for it."""

import ctypes
import threading

import pytest

from helpers import checks, figures
from helpers.checks import Refused, expect, task
from helpers.stalls import StallWatch, overslept

STALL = 0.5  # seconds


def stand_still(seconds=STALL):
    """Nothing else in this process gets on meanwhile: PyDLL keeps the interpreter's lock."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def test_a_stall_is_noticed():
    with StallWatch() as watch:
        stand_still()
    assert watch.longest > 0.7 * STALL
    assert watch._thread not in threading.enumerate()


def test_a_sleep_that_is_in_time_is_no_stall(monkeypatch):
    moments = iter([10.0, 10.04, 20.0, 20.3])
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("time.monotonic", lambda: next(moments))
    assert overslept(0.02) == 0
    assert overslept(0.02) == pytest.approx(0.23)


def check_of(*stalls):
    """A check that refuses whenever it is slow: it stands still for so long at each run."""
    left = list(stalls)

    @task(1, "answer at once")
    def check(fn):
        stand_still(slow := left.pop(0))
        expect("what comes", fn(slow), equals="in time", hint="do not wait")

    return check, left


def answer(slow):
    return "too late" if slow else "in time"


def test_what_a_stall_has_spoilt_is_judged_once_more(capsys):
    check, left = check_of(STALL, 0)
    check(answer)
    assert left == []
    assert capsys.readouterr().out == "✓ Task 1: answer at once\n"


def test_only_the_last_run_is_shown(shown):
    left = [STALL, 0]

    @task(1, "answer at once")
    def check(fn):
        stand_still(slow := left.pop(0))
        figures.show(f"picture {slow}", "alt")
        expect("what comes", fn(slow), equals="in time")
        assert shown == []  # until it is certain

    check(answer)
    assert shown == [("picture 0", "alt")]


def test_a_refusal_comes_after_what_it_shows(shown):
    @task(1, "answer at once")
    def check(fn):
        figures.show("picture", "alt")
        expect("what comes", fn(True), equals="in time")

    with pytest.raises(Refused):
        check(answer)
    assert shown == [("picture", "alt")]


def test_without_a_stall_a_refusal_stands(monkeypatch):
    monkeypatch.setattr(checks, "STALL", 10 * STALL)
    check, left = check_of(STALL, 0)
    with pytest.raises(Refused):
        check(answer)
    assert left == [0]


def test_after_a_while_it_is_left_to_the_learner_to_try_again(monkeypatch):
    monkeypatch.setattr(checks, "AGAIN_WITHIN", 1.5 * STALL)
    check, left = check_of(STALL, STALL, 0)
    with pytest.raises(Refused) as refused:
        check(answer)
    assert left == [0]
    *said, told = str(refused.value).splitlines()
    assert said[:2] == ["✗ Task 1: answer at once", "  what comes"]
    assert "this machine stood still for 0." in told and "once more" in told
