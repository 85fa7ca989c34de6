"""Lab checks: right answers pass, and every wrong one is refused with words that fit."""

import contextlib
import threading
import time

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from helpers import registry
from helpers.checks import (
    Refused,
    call,
    expect,
    expect_count,
    expect_raises,
    guard,
    judge,
    situation,
    task,
)


@task(1, "square a number", hint="a number times itself")
def check_square(square):
    expect("what square(3) returns", square(3), equals=9)


def refusal(check, *args):
    with pytest.raises(Refused) as refused:
        check(*args)
    assert refused.value._render_traceback_() == str(refused.value).splitlines()
    return str(refused.value)


# -- The learner's code -----------------------------------------------------------------


def test_a_right_answer_passes(capsys):
    check_square(lambda n: n * n)
    assert capsys.readouterr().out == "✓ Task 1: square a number\n"


def test_a_wrong_answer_is_refused_with_expected_got_and_hint(capsys):
    assert refusal(check_square, lambda n: n + n).splitlines() == [
        "✗ Task 1: square a number",
        "  what square(3) returns",
        "  expected: 9",
        "  got:      6",
        "  hint:     a number times itself",
    ]
    assert capsys.readouterr().out == ""


def test_a_stub_is_still_to_do():
    def stub(n):
        raise NotImplementedError("Task 1: square a number")

    def bare(n):
        raise NotImplementedError()

    def of_another_task(n):
        raise NotImplementedError("Task 3: multiply")

    assert refusal(check_square, stub) == "Task 1 is still to do: square a number"
    assert refusal(check_square, bare) == "Task 1 is still to do: square a number"
    assert refusal(check_square, of_another_task) == "Task 3 is still to do: multiply"


def test_an_exception_shows_the_learners_own_line():
    def halves(n):
        return n / (n - 3)

    said = refusal(check_square, halves)
    line = halves.__code__.co_firstlineno + 1
    assert "your code raised ZeroDivisionError" in said
    assert f"line {line}, in halves(): return n / (n - 3)" in said
    assert "checks.py" not in said


def test_the_line_shown_is_the_learners_even_when_a_library_raises():
    def parses(n):
        return int("nine")  # fails inside, but this is the line to look at

    def sorts(n):
        return sorted([n, "x"], key=lambda value: value + 1)

    assert "int(" in refusal(check_square, parses)
    assert "key=lambda value: value + 1" in refusal(check_square, sorts)


def test_a_call_that_hangs_is_refused_in_time_with_its_line():
    @task(2, "come back", limit=0.2)
    def check(fn):
        fn()

    def sleeps():
        time.sleep(3)

    began = time.perf_counter()
    said = refusal(check, sleeps)
    assert time.perf_counter() - began < 2
    assert "did not come back within 0.2 s" in said
    assert "in sleeps(): time.sleep(3)" in said


def test_a_call_that_hangs_is_ended_with_the_check(capsys):
    threads = set(threading.enumerate())

    @task(2, "come back", limit=0.1)
    def check(fn):
        fn()

    def tries_for_ever():
        while True:
            try:
                print("once more")
                raise ConnectionError
            except Exception:
                time.sleep(0.001)

    assert "did not come back within 0.1 s" in refusal(check, tries_for_ever)
    assert set(threading.enumerate()) <= threads
    capsys.readouterr()
    time.sleep(0.05)
    assert capsys.readouterr().out == ""


def test_a_call_that_cannot_be_ended_does_not_hold_up_the_check():
    @task(2, "come back", limit=0.1)
    def check(fn):
        fn()

    began = time.perf_counter()
    refusal(check, lambda: time.sleep(2))
    assert time.perf_counter() - began < 1.5


def test_the_case_is_named_when_the_code_raises_or_hangs():
    @task(2, "come back", limit=0.1)
    def check(fn):
        situation("for a number")
        fn(1)
        situation("for a text")
        fn("1")

    assert "\n  case: for a text\n  at: " in refusal(check, lambda n: n + 1)
    assert "\n  case: for a number\n" in refusal(check, lambda n: time.sleep(0.3))

    @task(3, "another check")
    def other(fn):
        fn()

    assert "\n  case:" not in refusal(other, lambda: 1 / 0)


def test_a_check_that_is_refused_still_cleans_up():
    closed = []

    @task(2, "come back", limit=0.1)
    def check(fn):
        try:
            fn()
        finally:
            closed.append(True)

    refusal(check, lambda: time.sleep(2))
    assert closed == [True]


def test_what_the_learner_prints_comes_below_the_verdict(capsys):
    def chatty(n):
        print("squaring", n)
        return n * n

    check_square(chatty)
    assert capsys.readouterr().out.splitlines() == [
        "✓ Task 1: square a number",
        "  printed meanwhile:",
        "    squaring 3",
    ]


def test_prints_are_shown_with_a_refusal_and_cut_short(capsys):
    def chatty(n):
        for k in range(50):
            print("line", k)

    said = refusal(check_square, chatty)
    assert "got:      None (nothing was returned)" in said
    assert "    line 9\n    … and 40 more lines" in said
    assert "line 10" not in said
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("nonsense", "got"),
    [
        (None, "None (nothing was returned)"),
        ("9", "'9'"),
        (float("nan"), "nan"),
        ([9], "[9]"),
        ("x" * 1000, "x" * 150),
    ],
)
def test_nonsense_is_refused(nonsense, got):
    said = refusal(check_square, lambda n: nonsense)
    assert got in said
    assert len(said) < 500


def test_an_object_that_breaks_when_compared_is_refused_with_its_line():
    class Odd:
        def __eq__(self, other):
            raise RuntimeError("no")

    said = refusal(check_square, lambda n: Odd())
    assert "your code raised RuntimeError: no" in said
    assert "in __eq__()" in said


@pytest.mark.parametrize("missing", [None, ...])
def test_a_missing_function_is_refused(missing):
    said = refusal(check_square, missing)
    assert "expected: your square" in said
    assert "run it" in said


def test_exiting_does_not_end_the_kernel():
    assert "SystemExit" in refusal(check_square, lambda n: exit(1))


def test_a_class_is_passed_as_it_is_and_its_line_shown():
    class Breaker:
        def call(self, fn):
            return self.missing

    @task(3, "build a breaker")
    def check(breaker):
        breaker().call(lambda: 1)

    said = refusal(check, Breaker)
    assert "AttributeError" in said
    assert "in call(): return self.missing" in said


def test_call_guards_a_method():
    class Breaker:
        def call(self):
            time.sleep(3)

    @task(3, "build a breaker")
    def check(breaker):
        call(breaker().call, limit=0.1)

    assert "did not come back within 0.1 s" in refusal(check, Breaker)


def in_a_thread(function, *args):
    """Run it as a service would: what it raises stays there."""

    def run():
        with contextlib.suppress(Refused):
            function(*args)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


@task(3, "handle a message", limit=0.3)
def check_handle(handle):
    in_a_thread(guard(handle), {"order": "order-1"})
    expect_count("orders handled", 0, exactly=1, hint="handle each")


def test_what_goes_wrong_in_another_thread_is_told_with_the_refusal():
    def raises(message):
        return message["item"]

    def hangs(message):
        time.sleep(0.6)

    said = refusal(check_handle, raises)
    assert said.splitlines()[:5] == [
        "✗ Task 3: handle a message",
        "  orders handled",
        "  expected:  exactly 1",
        "  got:       0",
        "  meanwhile: your code raised KeyError: 'item'",
    ]
    assert "in raises(): return message[" in said and "handle each" in said
    said = refusal(check_handle, hangs)
    assert "meanwhile: your code did not come back within 0.3 s" in said
    assert "in hangs(): time.sleep(0.6)" in said


def test_a_stub_in_another_thread_is_still_to_do():
    def stub(message):
        raise NotImplementedError("Task 3: handle a message")

    assert refusal(check_handle, stub) == "Task 3 is still to do: handle a message"


def test_what_goes_wrong_in_another_thread_and_does_no_harm_is_not_told(capsys):
    @task(3, "handle a message")
    def check(handle):
        in_a_thread(guard(handle))

    check(lambda: 1 / 0)
    assert capsys.readouterr().out == "✓ Task 3: handle a message\n"


def test_threads_and_services_of_the_learners_end_with_the_check():
    stopped = []

    class Thing:
        name = "a service"

        def stop(self):
            stopped.append(self)
            registry.forget(self)

    mine, other = Thing(), Thing()

    def leaves_much():
        def count():
            while True:
                time.sleep(0.01)

        threading.Thread(target=count, name="left", daemon=True).start()
        registry.register(other)

    @task(1, "leave nothing")
    def check(work):
        work()

    registry.register(mine)
    try:
        check(leaves_much)
        assert stopped == [other]
        assert not [one for one in threading.enumerate() if one.name == "left"]
    finally:
        mine.stop()


def test_a_stub_that_another_cell_calls_is_told_in_the_same_words():
    cells = [
        "import helpers.labs",
        "def f():\n    raise NotImplementedError('Task 4: multiply')\nf()",
        "raise NotImplementedError('one day')",
        "raise NotImplementedError('Task 2')",
    ]
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, allow_errors=True).execute()
    nothing, *errors = [cell.outputs for cell in notebook.cells]
    assert nothing == []
    shown = [["\n".join(each.traceback) for each in outputs] for outputs in errors]
    assert shown[0] == ["Task 4 is still to do: multiply"]
    assert "one day" in shown[1][0] and "Traceback" in shown[1][0]
    assert shown[2] == ["Task 2 is still to do"]


def test_a_fault_of_the_check_itself_is_not_blamed_on_the_learner():
    @task(4, "anything")
    def check(fn):
        fn()
        raise ConnectionError("no broker")

    said = refusal(check, lambda: 1)
    assert "the check could not go on: ConnectionError: no broker" in said
    assert "your code raised" not in said


def test_a_verdict_is_printed(capsys):
    @task(5, "charge once")
    def check(fn):
        return "40 orders, 40 charges, 0 doubles"

    check(lambda: 1)
    assert (
        capsys.readouterr().out.splitlines()[1] == "  40 orders, 40 charges, 0 doubles"
    )


def test_a_check_of_a_whole_lab_has_a_name_of_its_own(capsys):
    @judge("Verdict", "a bad day")
    def verdict(fn):
        expect("what comes out", fn(), equals=1)

    def stub():
        raise NotImplementedError("Task 5: all of it")

    verdict(lambda: 1)
    assert capsys.readouterr().out == "✓ Verdict: a bad day\n"
    assert refusal(verdict, lambda: 2).startswith("✗ Verdict: a bad day\n")
    assert refusal(verdict, stub) == "Task 5 is still to do: all of it"


# -- Comparisons ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("got", "condition"),
    [
        ("paid", {"equals": "paid"}),
        (True, {"equals": True}),
        ({"a": [1]}, {"equals": {"a": [1]}}),
        (None, {"one_of": (None, 0)}),
        ("retry", {"one_of": ("retry", "unknown")}),
        (0.5, {"is_a": float}),
        (0.5, {"at_least": 0.5}),
        (0.5, {"between": (0.4, 0.6)}),
    ],
)
def test_expect_accepts(got, condition):
    expect("the value", got, **condition)


@pytest.mark.parametrize(
    ("got", "condition", "expected"),
    [
        ("refused", {"equals": "paid"}, "'paid'"),
        (1, {"equals": True}, "True"),
        ("x", {"one_of": ("retry", "unknown")}, "'retry' or 'unknown'"),
        ("0.5", {"is_a": float}, "a float"),
        ("0.5", {"at_least": 0.1}, "at least 0.1"),
        (None, {"at_most": 0.1}, "at most 0.1"),
        (0.7, {"between": (0.4, 0.6)}, "between 0.4 and 0.6"),
    ],
)
def test_expect_refuses(got, condition, expected):
    with pytest.raises(Refused) as refused:
        expect("the value", got, **condition, hint="look here")
    said = str(refused.value)
    assert f"expected: {expected}" in said
    assert "hint:     look here" in said


@pytest.mark.parametrize(
    "conditions", [{}, {"equals": 1, "at_least": 1}, {"is_a": int, "equals": 1}]
)
def test_expect_wants_one_condition(conditions):
    with pytest.raises(TypeError, match="exactly one"):
        expect("the value", 1, **conditions)


def test_counts():
    expect_count("charges", 1, exactly=1)
    expect_count("charges", 0, exactly=0)
    expect_count("tries", 2, between=(1, 3))
    with pytest.raises(
        Refused, match=r"charges in the ledger\n  expected: exactly 1\n  got:      2"
    ):
        expect_count("charges in the ledger", 2, exactly=1)
    with pytest.raises(Refused, match="at most 3"):
        expect_count("tries", 4, at_most=3)


@pytest.mark.parametrize("got", [None, "2", 2.0, True, -1])
def test_a_count_is_a_whole_number(got):
    with pytest.raises(TypeError, match="whole number"):
        expect_count("charges", got, exactly=1)


def test_expect_raises():
    @task(6, "refuse bad amounts")
    def check(charge):
        expect_raises("charge(-1)", ValueError, charge, -1, hint="check it first")

    def right(amount):
        raise ValueError("negative")

    def other(amount):
        raise KeyError("amount")

    def stub(amount):
        raise NotImplementedError("Task 6: refuse bad amounts")

    check(right)
    assert "expected: a ValueError\n  got:      KeyError: 'amount'" in refusal(
        check, other
    )
    assert "got:      no error, and None (nothing was returned)" in refusal(
        check, lambda amount: None
    )
    assert refusal(check, stub) == "Task 6 is still to do: refuse bad amounts"
