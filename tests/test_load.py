"""Load runs: the schedule, the latencies, the failures, and the end of every thread."""

import gc
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
import requests
from flask import Flask

from helpers import load
from helpers.load import Run, at_once, closed_loop, open_loop, progress, session
from helpers.services import serve
from helpers.timeline import timeline


@pytest.fixture(autouse=True)
def no_long_collection():
    """Left out: here it is a run that holds the garbage collector back, and lets it go again."""


@pytest.fixture(autouse=True)
def nothing_left_running():
    """No thread of a run, and no setting of the interpreter's, outlives it."""
    interval = sys.getswitchinterval()
    yield
    deadline = time.monotonic() + 2
    while [t for t in threading.enumerate() if t.name.startswith("load ")]:
        assert time.monotonic() < deadline, "a load thread was left running"
        time.sleep(0.01)
    assert sys.getswitchinterval() == interval
    assert gc.get_freeze_count() == 0


# -- open_loop --------------------------------------------------------------------------


def test_requests_leave_on_the_schedule():
    run = open_loop(lambda: "answer", 100, 0.3)
    assert len(run) == 30
    assert np.allclose(run.intended, np.arange(30) / 100)
    assert (run.schedule_error >= 0).all()
    assert np.percentile(run.schedule_error, 50) < 0.05
    assert run.ok.all()
    assert run.results == ["answer"] * 30
    assert run.errors == [None] * 30
    assert 0.3 <= run.seconds < 1
    assert run.rate == pytest.approx(30 / run.seconds)
    assert abs(run.began - time.time()) < 5


def test_a_slow_answer_does_not_hold_back_the_next_request():
    run = open_loop(lambda: time.sleep(0.6), 50, 0.2)
    assert run.started.max() < run.finished.min()  # all left before the first came back
    assert 0.6 <= run.percentile(50) < 1


def test_the_latency_counts_from_the_intended_start():
    # One thread for calls of 0.1 s, wanted every 0.05 s: each waits for those before it.
    run = open_loop(lambda: time.sleep(0.1), 20, 0.5, threads=1)
    assert len(run) == 10
    assert run.latency[-1] > 0.5
    assert run.schedule_error[-1] > 0.4
    assert np.allclose(run.latency, run.finished - run.intended)
    assert (run.finished - run.started >= 0.099).all()


def test_phases_follow_one_another():
    run = open_loop(lambda: None, [(20, 0.2), (0, 0.2), (100, 0.1)])
    assert np.allclose(run.intended, [0, 0.05, 0.1, 0.15, *(0.4 + np.arange(10) / 100)])
    assert run.seconds >= 0.5


def test_the_function_may_take_the_number_and_results_keep_their_order():
    def slower_first(number):
        time.sleep(0.1 if number == 0 else 0)
        return number

    assert open_loop(slower_first, 100, 0.1).results == list(range(10))


def test_a_default_argument_is_not_the_number():
    assert open_loop(lambda url="there": url, 50, 0.1).results == ["there"] * 5


def test_failures_are_kept_and_counted():
    def every_other(number):
        if number % 2:
            raise ConnectionError("refused")
        return number

    run = open_loop(every_other, 50, 0.2)
    assert list(run.ok) == [True, False] * 5
    assert run.failed == 5
    assert run.failures == {"ConnectionError": 5}
    assert run.results[1] is None
    assert isinstance(run.errors[1], ConnectionError)
    assert run.rate == pytest.approx(5 / run.seconds)


def test_a_response_that_is_not_ok_is_a_failure():
    class Response:
        def __init__(self, status_code):
            self.status_code, self.ok = status_code, status_code < 400

    run = open_loop(lambda number: Response([201, 503][number % 2]), 50, 0.2)
    assert run.failures == {"HTTP 503": 5}
    run = open_loop(
        lambda: Response(402), 50, 0.2, ok=lambda response: response.status_code < 500
    )
    assert run.failed == 0


def test_warm_up_calls_are_not_counted():
    seen = []
    run = open_loop(seen.append, 50, 0.1, warmup=3)
    assert sorted(seen) == [-3, -2, -1, 0, 1, 2, 3, 4]
    assert len(run) == 5


def test_a_call_that_does_not_come_back_fails_in_time():
    leave = threading.Event()
    run = open_loop(lambda number: number == 1 and leave.wait(5), 50, 0.1, timeout=0.2)
    leave.set()
    assert run.failures == {"TimeoutError": 1}
    assert 0.25 < run.latency[1] < 2


def test_requests_that_could_not_leave_fail_too():
    leave = threading.Event()
    run = open_loop(lambda: leave.wait(5), 50, 0.2, timeout=0.1, threads=2)
    leave.set()
    assert len(run) == 10
    assert run.failures == {"TimeoutError": 10}


def test_it_can_be_stopped_early():
    began = time.monotonic()
    run = open_loop(
        lambda: None, 100, 10, stopping=lambda: time.monotonic() > began + 0.3
    )
    assert time.monotonic() - began < 3
    assert 1 < len(run) < 300
    assert run.ok.all()


def test_keeps_its_schedule_against_a_service_in_the_same_process():
    app = Flask("payments")
    app.add_url_rule("/charge", view_func=lambda: {"status": "paid"}, methods=["POST"])
    service, http = serve(app), session()

    def charge():
        return http.post(f"{service.url}/charge", json={"cents": 5000}, timeout=5)

    try:
        run = open_loop(charge, 50, 0.5, warmup=10)
    finally:
        http.close()
        service.stop()
    assert run.failed == 0
    assert np.percentile(run.schedule_error, 50) < 0.05  # the benchmark has the figure


def test_the_interpreter_is_kept_from_delaying_requests():
    run = open_loop(lambda: (sys.getswitchinterval(), gc.get_freeze_count()), 50, 0.1)
    for interval, frozen in run.results:
        assert interval == pytest.approx(load.SWITCH_INTERVAL)
        assert frozen > 1000


# -- closed_loop ------------------------------------------------------------------------


def test_each_caller_waits_for_its_answer():
    at_work, most, lock = 0, 0, threading.Lock()

    def call():
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.05)
        with lock:
            at_work -= 1

    run = closed_loop(call, 4, 0.4)
    assert most == 4
    assert 20 < run.rate <= 4 / 0.05  # Little's law sets the limit
    assert (run.schedule_error == 0).all()
    assert run.seconds >= 0.4


def test_closed_loop_numbers_its_calls_and_keeps_failures():
    def call(number):
        time.sleep(0.01)
        if number == 3:
            raise ConnectionError
        return number

    run = closed_loop(call, 2, 0.2, warmup=2)
    assert [r for r in run.results if r is not None] == [
        n for n in range(len(run)) if n != 3
    ]
    assert run.failures == {"ConnectionError": 1}


def test_closed_loop_can_be_stopped_early():
    began = time.monotonic()

    def stopping():
        return time.monotonic() > began + 0.2

    run = closed_loop(lambda: time.sleep(0.01), 2, 10, stopping=stopping)
    assert time.monotonic() - began < 3
    assert run.ok.all()


def test_a_warm_up_that_hangs_says_so():
    leave = threading.Event()
    with pytest.raises(TimeoutError, match="is the service up"):
        closed_loop(lambda: leave.wait(5), 2, 0.2, warmup=1, timeout=0.2)
    leave.set()


# -- at_once ----------------------------------------------------------------------------


def test_calls_are_let_go_at_one_moment():
    gate = threading.Barrier(3)  # breaks unless all three are under way together
    outcomes = at_once(3, lambda i: (gate.wait(2), i)[1])
    assert [outcome.value for outcome in outcomes] == [0, 1, 2]
    assert all(0 <= outcome.start < 0.5 for outcome in outcomes)
    assert all(outcome.error is None for outcome in outcomes)


def test_an_outcome_has_its_error_and_its_times():
    def call(i):
        time.sleep(0.1 * i)
        if i == 1:
            raise ConnectionError("refused")

    first, second = at_once(2, call)
    assert first.error is None
    assert first.seconds < second.seconds
    assert isinstance(second.error, ConnectionError)
    assert second.value is None
    assert second.seconds >= 0.099


def test_each_customer_has_a_row_of_its_own():
    app = Flask("shop")
    app.add_url_rule("/", view_func=lambda: "hello")
    service = serve(app)
    try:
        with timeline() as t:
            at_once(2, lambda: requests.get(service.url, timeout=5))
            at_once(1, lambda: requests.get(service.url, timeout=5), name="Alex")
    finally:
        service.stop()
    assert {span.service for span in t.spans} == {
        "customer 1",
        "customer 2",
        "Alex",
        "shop",
    }


def test_a_customer_who_gets_no_answer_has_a_time_out():
    leave = threading.Event()
    waits, _ = at_once(2, lambda i: i == 0 and leave.wait(5), timeout=0.2)
    leave.set()
    assert isinstance(waits.error, TimeoutError)
    assert 0.19 < waits.seconds < 2


# -- Interrupts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [
        lambda call: open_loop(call, 100, 5),
        lambda call: open_loop(call, 100, 5, warmup=1000),
        lambda call: closed_loop(call, 4, 5),
        lambda call: closed_loop(call, 4, 5, warmup=1000),
        lambda call: at_once(3, lambda: [call() for _ in range(20)]),
    ],
    ids=["open", "open, warming up", "closed", "closed, warming up", "at once"],
)
def test_an_interrupt_ends_the_run_and_all_its_calls(start):
    calls = []

    def call():
        calls.append(time.monotonic())
        time.sleep(0.02)

    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        start(call)
    timer.join()
    assert calls
    assert time.monotonic() - began < 4
    made = len(calls)
    time.sleep(0.1)
    assert len(calls) == made


# -- What is asked for ------------------------------------------------------------------


async def asynchronous():
    pass


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (lambda: open_loop(None, 10, 1), "a function to call, not None"),
        (lambda: open_loop(asynchronous, 10, 1), "async"),
        (lambda: open_loop(lambda a, b: None, 10, 1), "the number of the request"),
        (lambda: open_loop(print, 10), "Say how long"),
        (lambda: open_loop(print, 0, 1), "more than 0, not 0"),
        (lambda: open_loop(print, -5, 1), "more than 0, not -5"),
        (lambda: open_loop(print, float("nan"), 1), "more than 0"),
        (lambda: open_loop(print, "10", 1), "phases such as"),
        (lambda: open_loop(print, 10, 0), "seconds is how long"),
        (lambda: open_loop(print, 10, "1"), "seconds is how long"),
        (lambda: open_loop(print, 1e9, 10), "more than 1,000,000 requests"),
        (lambda: open_loop(print, [(10, 1)], 1), "leave out the argument seconds"),
        (lambda: open_loop(print, [(10, -1)]), "seconds above 0"),
        (lambda: open_loop(print, [10, 20]), "phases such as"),
        (lambda: open_loop(print, []), "no request would leave"),
        (lambda: open_loop(print, [(0, 1)]), "no request would leave"),
        (lambda: open_loop(print, 10, 1, warmup=-1), "warmup must be at least 0"),
        (
            lambda: open_loop(print, 10, 1, threads=1000),
            "threads must be from 1 to 200",
        ),
        (lambda: open_loop(print, 10, 1, timeout=0), "timeout"),
        (lambda: closed_loop(print, 0, 1), "concurrency must be from 1 to 200"),
        (lambda: closed_loop(print, 1.5, 1), "concurrency is a whole number"),
        (lambda: closed_loop(print, 1, -1), "seconds is how long"),
        (lambda: closed_loop("print", 1, 1), "a function to call"),
        (lambda: at_once(0, print), "n must be from 1 to 200"),
        (lambda: at_once("3", print), "n is a whole number"),
        (lambda: session(0), "pool must be at least 1"),
        (lambda: progress("run", 0), "more than 0"),
    ],
)
def test_bad_input_says_what_to_do(start, says):
    with pytest.raises((TypeError, ValueError), match=says):
        start()


def test_an_ok_that_is_wrong_is_not_hidden():
    with pytest.raises(AttributeError):
        open_loop(lambda: None, 50, 0.1, ok=lambda result: result.status_code < 500)


# -- Run --------------------------------------------------------------------------------


def a_run(latencies, ok=True):
    count = len(latencies)
    start = np.arange(count) * 0.01
    return Run(
        intended=start,
        started=start,
        finished=start + np.array(latencies),
        ok=np.full(count, ok),
        results=[None] * count,
        errors=[None] * count,
        seconds=1.0,
        began=0.0,
    )


def test_percentiles_and_summary():
    run = a_run(np.arange(1, 101) / 1000)
    assert run.percentile(50) == pytest.approx(0.0505)
    assert run.percentile(100) == pytest.approx(0.1)
    assert (
        run.summary()
        == "n = 100 requests: p50 50.5 ms, p95 95.1 ms, p99 99.0 ms, failed 0 %"
    )
    assert repr(run) == run.summary()
    assert "failed 100 %" in a_run([1.234], ok=False).summary()
    assert "p50 1234 ms" in a_run([1.234]).summary()


def test_an_empty_run_has_no_percentiles():
    with pytest.raises(ValueError, match="no requests"):
        a_run([]).percentile(50)
    assert a_run([]).summary() == "n = 0 requests"
    assert a_run([]).rate == 0


@pytest.mark.parametrize("q", [-1, 101])
def test_a_percentile_is_between_0_and_100(q):
    with pytest.raises(ValueError, match="between 0 and 100"):
        a_run([0.1]).percentile(q)


# -- The bar ----------------------------------------------------------------------------


def test_the_bar_is_labelled_and_the_same_every_time():
    bar = load.bar("open loop: 200 requests/s for 2 s", 2)
    assert 'role="progressbar" aria-label="open loop: 200 requests/s for 2 s"' in bar
    assert "--course-seconds: 2s" in bar
    assert "prefers-reduced-motion" in bar
    assert bar == load.bar("open loop: 200 requests/s for 2 s", 2)
    assert "<script>" not in load.bar("<script>", 2)


def test_outside_a_notebook_nothing_is_shown(capsys):
    progress("anything", 2)
    assert capsys.readouterr().out == ""
