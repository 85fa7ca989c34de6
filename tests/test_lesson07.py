"""Lesson 07: the breaker in it, tested. (Its claims: tests/trials/07.toml.)"""

import threading
import time
from types import SimpleNamespace

import pytest
from running import wait_until

from helpers import at_once
from tools import notebooks

LESSON = notebooks.ROOT / "notebooks" / "07-chains-and-cascades.ipynb"
STEPS = ("class Circuit:", "class Rules(Circuit):", "class CircuitBreaker(Rules):")

# Faults that breakers are known to have.
HOLDS_ITS_LOCK = {"answer = ask()": "with self.lock:\n                answer = ask()"}
COUNTS_REFUSALS = {"answer.status_code >= 500": "answer.status_code >= 400"}
LETS_ALL_IN = {'self.probing = self.state == "half-open"': "pass"}
BELIEVES_OLD_NEWS = {"if ticket != len(self.history):": "if False:"}
FORGETS_A_CRASH = {"finally:": "except ZeroDivisionError:"}
NEVER_HALF_OPEN = {'self.enter("half-open")': "pass"}
ADDS_UP_FOR_EVER = {"self.failures + 1 if failed else 0": "self.failures + failed"}


def lesson(changes=None):
    """What the cells with the breaker define, with texts in them replaced."""
    cells = notebooks.code_cells(notebooks.read(LESSON))
    source = "\n\n".join(
        cell.source for step in STEPS for cell in cells if step in cell.source
    ).replace("from helpers import show_breaker", "")
    for old, new in (changes or {}).items():
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    told = []
    names = {
        "threading": threading,
        "time": time,
        "show_breaker": lambda *state: told.append(state),
    }
    exec(compile(source, LESSON.name, "exec"), names)
    return SimpleNamespace(**names, told=told)


def answer(status):
    return lambda: SimpleNamespace(status_code=status)


def crash():
    raise OSError("no answer")


def broken(breaker, failures=3):
    for _ in range(failures):
        breaker.call(answer(503))
    return breaker


# Each check takes what the lesson defines, and fails when the breaker has the fault.


def check_no_lock_is_held_during_a_call(made):
    breaker = made.CircuitBreaker("bank")

    def slow():
        time.sleep(0.2)
        return answer(200)()

    calls = at_once(8, lambda: breaker.call(slow))
    assert [call.error for call in calls] == [None] * 8
    assert max(call.end for call in calls) < 0.8  # one after the other: 1.6 s


def check_refusals_are_no_failures(made):
    breaker = made.CircuitBreaker("bank")
    for status in (402, 409, 422) * 3:
        assert breaker.call(answer(status)).status_code == status
    assert breaker.state == "closed"


def check_one_probe_at_a_time(made):
    breaker = broken(made.CircuitBreaker("bank", rest=0.01))
    time.sleep(0.02)
    probe, asked = threading.Event(), []

    def hanging():
        asked.append(1)
        probe.wait(5)
        return answer(200)()

    first = threading.Thread(target=breaker.call, args=(hanging,))
    first.start()
    wait_until(lambda: asked)
    others = at_once(8, lambda: breaker.call(lambda: asked.append(1) or answer(200)()))
    probe.set()
    first.join()
    assert {type(other.error) for other in others} == {made.CircuitOpen}
    assert len(asked) == 1
    assert breaker.state == "closed"
    assert breaker.call(answer(200)).status_code == 200


def check_a_crash_is_a_failure(made):
    breaker = made.CircuitBreaker("bank", rest=0.01)
    for _ in range(3):
        with pytest.raises(OSError, match="no answer"):
            breaker.call(crash)
    assert breaker.state == "open"
    time.sleep(0.02)
    with pytest.raises(OSError):  # a probe that crashes leaves its place to the next
        breaker.call(crash)
    assert breaker.state == "open"


def check_it_tries_again_after_its_rest(made):
    now = 0.0
    breaker = broken(made.CircuitBreaker("bank", rest=5, clock=lambda: now))
    now = 4.9
    with pytest.raises(made.CircuitOpen, match="bank"):
        breaker.call(answer(200))
    now = 5.0
    assert breaker.call(answer(503)).status_code == 503  # the probe fails
    assert breaker.state == "open"
    now = 9.9
    with pytest.raises(made.CircuitOpen):
        breaker.call(answer(200))
    now = 10.0
    assert breaker.call(answer(200)).status_code == 200
    states = ["closed", "open", "half-open", "open", "half-open", "closed"]
    assert [state for _, state in breaker.history] == states
    assert made.told == [("orders", "bank", state) for state in states]


def check_old_news_changes_nothing(made):
    now = 0.0
    breaker = made.CircuitBreaker("bank", rest=1, clock=lambda: now)
    late = [breaker.admit() for _ in range(5)]  # let through while closed
    broken(breaker)
    breaker.settle(late[0], failed=False)
    assert breaker.state == "open"
    now = 1.0
    probe = breaker.admit()
    assert breaker.state == "half-open"
    breaker.settle(late[1], failed=False)
    breaker.settle(late[2], failed=True)
    assert breaker.state == "half-open"
    breaker.settle(probe, failed=False)
    assert breaker.state == "closed"


def check_only_failures_in_a_row_count(made):
    breaker = made.CircuitBreaker("bank")
    for _ in range(5):
        broken(breaker, failures=2)
        breaker.call(answer(200))
    assert breaker.state == "closed"


CHECKS = {
    check_no_lock_is_held_during_a_call: HOLDS_ITS_LOCK,
    check_refusals_are_no_failures: COUNTS_REFUSALS,
    check_one_probe_at_a_time: LETS_ALL_IN,
    check_a_crash_is_a_failure: FORGETS_A_CRASH,
    check_it_tries_again_after_its_rest: NEVER_HALF_OPEN,
    check_old_news_changes_nothing: BELIEVES_OLD_NEWS,
    check_only_failures_in_a_row_count: ADDS_UP_FOR_EVER,
}
each_check = pytest.mark.parametrize(
    "check, fault", CHECKS.items(), ids=[check.__name__[6:] for check in CHECKS]
)


@each_check
def test_the_breaker_of_the_lesson(check, fault):
    check(lesson())


@each_check
def test_a_breaker_with_the_fault_is_found_out(check, fault):
    made = lesson(fault)
    with pytest.raises((AssertionError, made.CircuitOpen, pytest.fail.Exception)):
        check(made)


def test_the_breaker_is_about_forty_lines():
    cells = notebooks.code_cells(notebooks.read(LESSON))
    cells = [cell.source for step in STEPS for cell in cells if step in cell.source]
    code = "\n".join(cells).split("def guarded_by")[0].splitlines()
    assert sum(1 for line in code if line.strip()) <= 50
