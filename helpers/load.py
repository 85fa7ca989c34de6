"""Load on a service, and what came of it.

- `open_loop`: requests leave on a schedule, however slow the answers are.
- `closed_loop`: a fixed number of callers, each calling again when it has its answer.
- `at_once`: a few calls let go at one moment.

All of them call a function of yours, `fn()` or `fn(number)`, from threads.
"""

from __future__ import annotations

import contextvars
import gc
import html
import inspect
import math
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loaded when a run is summed up: services' processes never need it
    import numpy as np

MOST_THREADS = 200
MOST_REQUESTS = 1_000_000
SWITCH_INTERVAL = 0.0005  # seconds a busy thread may keep the interpreter during a run
LEAD_IN = (
    0.05  # seconds between "go" and the first request: threads start, the bar is drawn
)
GRACE = 1.0  # seconds that calls on their way get to end after a run was stopped

clock = time.perf_counter


# -- What comes out ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """What happened to each request of a load run, in the order they left.

    Times are numpy arrays in seconds since the start of the run. In an open loop
    `intended` is the moment the schedule asked for; in a closed loop it is `started`.
    """

    intended: np.ndarray
    started: np.ndarray
    finished: np.ndarray
    ok: np.ndarray  #: bool: did it succeed?
    results: list  #: what `fn` returned; None where it raised
    errors: list  #: what `fn` raised; None where it returned
    seconds: float  #: from the start to the end of the schedule or the last answer
    began: (
        float  #: the start as `time.time()` gives it, to join a run with other records
    )

    def __len__(self) -> int:
        return len(self.intended)

    def __repr__(self) -> str:
        return self.summary()

    @property
    def latency(self) -> np.ndarray:
        """Seconds from the intended start to the end, so that a late start counts."""
        return self.finished - self.intended

    @property
    def schedule_error(self) -> np.ndarray:
        """Seconds by which each request left later than the schedule asked for."""
        return self.started - self.intended

    @property
    def rate(self) -> float:
        """Successes a second."""
        return float(self.ok.sum()) / self.seconds if self.seconds else 0.0

    @property
    def failed(self) -> int:
        """How many requests failed."""
        return int(len(self) - self.ok.sum())

    @property
    def failures(self) -> Counter:
        """The failures by kind: the exception's name, or the HTTP status."""
        return Counter(
            _kind(result, error)
            for result, error, ok in zip(
                self.results, self.errors, self.ok, strict=True
            )
            if not ok
        )

    def percentile(self, q: float) -> float:
        """The latency, in seconds, that `q` percent of all requests stayed within.

        Failures count too: a time-out is what somebody waited. `run.latency[run.ok]` has
        the successes alone.
        """
        if not len(self):
            raise ValueError(
                "The run has no requests, so it has no percentiles: let it run longer."
            )
        if not 0 <= q <= 100:
            raise ValueError(f"A percentile lies between 0 and 100, not at {q}.")
        import numpy as np

        return float(np.percentile(self.latency, q))

    def summary(self) -> str:
        """One line: the number of requests, p50, p95, p99 and the share that failed."""
        if not len(self):
            return "n = 0 requests"
        times = ", ".join(
            f"p{q} {_milliseconds(self.percentile(q))}" for q in (50, 95, 99)
        )
        return f"n = {len(self)} requests: {times}, failed {100 * self.failed / len(self):.3g} %"


@dataclass(frozen=True)
class Outcome:
    """What one of the calls of `at_once` came to. Times in seconds since all were let go."""

    value: object
    error: BaseException | None
    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long the call took."""
        return self.end - self.start


# -- Making load ------------------------------------------------------------------------


def open_loop(
    fn: Callable,
    rate: float | list[tuple[float, float]],
    seconds: float | None = None,
    *,
    warmup: int = 0,
    timeout: float = 30.0,
    threads: int = MOST_THREADS,
    ok: Callable[[object], bool] | None = None,
    stopping: Callable[[], bool] | None = None,
) -> Run:
    """Call `fn` on a schedule and return a `Run`.

    A slow answer does not hold back the next request, and latency counts from the moment
    a request was meant to leave: nothing is hidden by waiting (no coordinated omission).

    fn: called as `fn()` or `fn(number)`, from many threads. What it raises is kept in
        `run.errors` and counts as a failure.
    rate: requests a second, evenly spaced; or phases `[(rate, seconds), ...]`, where a
        rate of 0 is a pause.
    warmup: calls made before the run, one after another, numbered below zero, not counted.
    timeout: seconds to wait for answers after the schedule's end. What is missing then is
        a failure with a `TimeoutError`; its latency is only a lower bound.
    threads: calls on their way at the same time, at most. Past that, requests leave late:
        it shows in `run.schedule_error`, and the latency includes it.
    ok: says whether a returned value is a success. By default anything is, except what has
        an `.ok` that is false (a `requests.Response` with a status of 400 or above).
    stopping: asked several times a second; true ends the run early. The `Run` then holds
        the requests that had left.
    """
    call = _caller(fn)
    intended, planned = _departures(rate, seconds)
    _check_count("warmup", warmup, least=0)
    _check_count("threads", threads, least=1, most=MOST_THREADS)
    _check_seconds("timeout", timeout)

    records: list[_Record] = []
    crew = _Crew()
    turn = threading.Lock()
    ready = deque([True])  # an entry for each thread that has a turn to come

    def depart() -> _Record | None:
        """Wait for the next request's moment and note it; None when there are no more.

        One thread at a time waits here. Before it does, it makes sure that another one
        is there to take the next turn.
        """
        with turn:
            ready.pop()
            number = len(records)
            if number == len(intended):
                return None
            if not ready and len(crew.threads) < threads:
                ready.append(True)
                crew.start(work)
            if crew.stop.wait(max(0.0, start + intended[number] - clock())):
                return None
            record = _Record(number, intended[number], clock() - start)
            records.append(record)
            return record

    def work() -> None:
        while record := depart():
            record.answer(call, start)
            ready.append(True)

    with _undisturbed(), crew:
        for number in range(-warmup, 0):
            _try(call, number)
        if planned > 1:
            progress(_open_label(rate, planned), planned)
        start, began = clock() + LEAD_IN, time.time() + LEAD_IN
        crew.start(work)
        stopped = crew.wait(start + planned + timeout, stopping)

    with turn:
        if not stopped:  # what could not leave in time has failed
            now = clock() - start
            records += [
                _Record(k, intended[k], now) for k in range(len(records), len(intended))
            ]
        return _run(records, start, began, 0.0 if stopped else planned, ok)


def closed_loop(
    fn: Callable,
    concurrency: int,
    seconds: float,
    *,
    warmup: int = 0,
    timeout: float = 30.0,
    ok: Callable[[object], bool] | None = None,
    stopping: Callable[[], bool] | None = None,
) -> Run:
    """Let `concurrency` callers call `fn` again and again for `seconds`; return a `Run`.

    A slow answer holds back its caller's next request, so the latencies flatter an
    overloaded service: use it where concurrency itself is the question.

    warmup: calls that each caller makes before the run, numbered below zero, not counted.
    The rest is as in `open_loop`.
    """
    call = _caller(fn)
    _check_count("concurrency", concurrency, least=1, most=MOST_THREADS)
    _check_count("warmup", warmup, least=0)
    _check_seconds("seconds", seconds, "how long to keep calling")
    _check_seconds("timeout", timeout)

    records: list[_Record] = []
    crew = _Crew()
    warm, numbering = threading.Semaphore(0), threading.Lock()

    def work() -> None:
        for number in range(-warmup, 0):
            if crew.stop.is_set():
                return
            _try(call, number)
        warm.release()
        crew.go.wait()
        while not crew.stop.is_set() and clock() < start + seconds:
            with numbering:
                now = clock() - start
                records.append(record := _Record(len(records), now, now))
            record.answer(call, start)

    with _undisturbed(), crew:
        for _ in range(concurrency):
            crew.start(work)
        if not all(warm.acquire(timeout=timeout) for _ in range(concurrency)):
            raise TimeoutError(
                f"The warm-up calls did not end within {timeout:g} s: is the service up?"
            )
        if seconds > 1:
            progress(f"closed loop: {concurrency} at a time for {seconds:g} s", seconds)
            time.sleep(LEAD_IN)
        start, began = clock(), time.time()
        crew.go.set()
        stopped = crew.wait(start + seconds + timeout, stopping)

    with numbering:
        return _run(records, start, began, 0.0 if stopped else seconds, ok)


def at_once(
    n: int, fn: Callable, name: str = "customer", *, timeout: float = 60.0
) -> list[Outcome]:
    """Make `n` calls of `fn()` or `fn(i)` at one moment; return their `Outcome`s in order.

    Each call has a thread of its own, and a row of its own in a `timeline()`: "customer 1",
    "customer 2", … (or just the name, when there is one call). What `fn` raises is kept in
    `.error`. A call that has not ended `timeout` seconds later has a `TimeoutError` there.
    """
    from helpers.tracing import as_service

    call = _caller(fn)
    _check_count("n", n, least=1, most=MOST_THREADS)
    _check_seconds("timeout", timeout)

    records = [_Record(i, math.nan, math.nan) for i in range(n)]
    crew = _Crew()
    warm = threading.Semaphore(0)

    def work(record: _Record) -> None:
        with as_service(name if n == 1 else f"{name} {record.number + 1}"):
            warm.release()
            crew.go.wait()
            if not crew.stop.is_set():
                record.started = clock() - start
                record.answer(call, start)

    with _undisturbed(), crew:
        for record in records:
            crew.start(contextvars.copy_context().run, work, record)
        for _ in records:
            warm.acquire()
        start = clock()
        crew.go.set()
        crew.wait(start + timeout)

    now = clock() - start
    return [_outcome(record, now, timeout) for record in records]


def session(pool: int = MOST_THREADS):
    """A `requests.Session` whose connections are kept open for up to `pool` threads.

    A plain `requests.Session` keeps 10, and opens a new one for each further request on
    its way; it also looks up proxies for every request, which loopback never needs.
    """
    import requests
    from requests.adapters import HTTPAdapter

    _check_count("pool", pool, least=1)
    http = requests.Session()
    http.trust_env = False
    http.mount("http://", HTTPAdapter(pool_connections=10, pool_maxsize=pool))
    return http


# -- The bar ----------------------------------------------------------------------------

_STYLE = """<style>
.course-progress i { display: inline-block; width: 12em; height: .7em; margin-right: .7em;
  border: 1px solid currentColor; border-radius: .35em; overflow: hidden; }
.course-progress b { display: block; width: 100%; height: 100%; background: #0072B2;
  animation: course-progress var(--course-seconds) linear alternate; }
@keyframes course-progress { from { width: 0; } }
@media (prefers-reduced-motion: reduce) {
  .course-progress b { animation-timing-function: steps(4); } }
</style>"""
_ENDLESS = """<style>
.course-progress .course-endless { animation-iteration-count: infinite; }
@media (prefers-reduced-motion: reduce) {
  .course-progress .course-endless { animation: none; } }
</style>"""


def progress(label: str, seconds: float) -> None:
    """Show in a notebook a bar that fills in `seconds`, with what is running beside it.

    The browser moves the bar by itself, so nothing is sent while a run is timed. The
    output is the same text every time, and the bar stays full afterwards. Outside a
    notebook cell, and in a background thread, nothing is shown.
    """
    _check_seconds("seconds", seconds)
    if not _in_a_cell():
        return
    from IPython.display import HTML, display

    display(HTML(bar(label, seconds)))


def bar(label: str, seconds: float | None = None) -> str:
    """The HTML of a bar that fills in `seconds`; without them, it moves to and fro."""
    label = html.escape(label)
    time_ = f"--course-seconds: {seconds or 1.5:g}s"
    style, kind = _STYLE, ""
    if not seconds:
        style, kind = _STYLE + _ENDLESS, ' class="course-endless"'
    return (
        f'{style}<div class="course-progress" role="progressbar" aria-label="{label}" '
        f'style="{time_}"><i><b{kind}></b></i>{label}</div>'
    )


def _in_a_cell() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return (
        hasattr(shell, "kernel")
        and threading.current_thread() is threading.main_thread()
    )


# -- Threads ----------------------------------------------------------------------------


class _Crew:
    """Threads that make calls, and that make no more once the block is left."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.go = threading.Event()
        self.stop = threading.Event()

    def start(self, target: Callable, *args: object) -> None:
        thread = threading.Thread(
            target=target, args=args, name=f"load {len(self.threads) + 1}", daemon=True
        )
        self.threads.append(thread)
        thread.start()

    def wait(self, deadline: float, stopping: Callable[[], bool] | None = None) -> bool:
        """Wait for the threads to end, until `deadline`; was the run stopped before?"""
        for thread in self.threads:  # a thread may add another one meanwhile
            while thread.is_alive() and (left := deadline - clock()) > 0:
                thread.join(min(left, 0.05) if stopping else left)
                if stopping and not self.stop.is_set() and stopping():
                    self.stop.set()
                    deadline = min(deadline, clock() + GRACE)
        return self.stop.is_set()

    def __enter__(self) -> _Crew:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.stop.set()
        self.go.set()
        if kind:  # interrupted: what is on its way gets a moment to end
            self.wait(clock() + GRACE)


_runs = 0
_interval = 0.0
_counting = threading.Lock()


@contextmanager
def _undisturbed():
    """Keep the interpreter itself from delaying calls while they are timed.

    A busy thread may hold the interpreter for 5 ms, and a full garbage collection of a
    notebook's kernel stops everything for 70 ms. So threads take turns more often, and
    the collector leaves alone what was there before.
    """
    global _runs, _interval
    with _counting:
        _runs += 1
        if _runs == 1:
            _interval = sys.getswitchinterval()
    try:
        sys.setswitchinterval(min(_interval, SWITCH_INTERVAL))
        gc.freeze()
        yield
    finally:
        with _counting:
            _runs -= 1
            if _runs == 0:
                sys.setswitchinterval(_interval)
                gc.unfreeze()


# -- One call ---------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Record:
    number: int
    intended: float
    started: float
    finished: float = math.nan
    result: object = None
    error: BaseException | None = None

    def answer(self, call: Callable, start: float) -> None:
        """Make the call and note what came back, and when."""
        try:
            self.result = call(self.number)
        except BaseException as error:
            self.error = error
        self.finished = clock() - start


def _try(call: Callable, number: int) -> None:
    """A call whose outcome does not matter."""
    with suppress(Exception):
        call(number)


def _run(
    records: list[_Record],
    start: float,
    began: float,
    planned: float,
    ok: Callable | None,
) -> Run:
    """Sum up. A call that is still on its way failed now."""
    import numpy as np

    now = clock() - start
    finished = [record.finished for record in records]
    missing = [math.isnan(moment) for moment in finished]
    results = [
        None if gone else r.result for r, gone in zip(records, missing, strict=True)
    ]
    errors = [
        TimeoutError("no answer within the time-out of the run")
        if gone
        else record.error
        for record, gone in zip(records, missing, strict=True)
    ]
    succeeded = ok or _succeeded
    finished = np.array(
        [now if gone else end for end, gone in zip(finished, missing, strict=True)]
    )
    return Run(
        intended=np.array([record.intended for record in records]),
        started=np.array([record.started for record in records]),
        finished=finished,
        ok=np.array(
            [
                e is None and bool(succeeded(r))
                for r, e in zip(results, errors, strict=True)
            ],
            dtype=bool,
        ),
        results=results,
        errors=errors,
        seconds=max(planned, *finished) if len(finished) else planned,
        began=began,
    )


def _outcome(record: _Record, now: float, timeout: float) -> Outcome:
    if math.isnan(record.finished):
        error = TimeoutError(f"no answer within {timeout:g} s")
        return Outcome(None, error, record.started, now)
    return Outcome(record.result, record.error, record.started, record.finished)


def _succeeded(result: object) -> bool:
    return bool(getattr(result, "ok", True))


def _kind(result: object, error: BaseException | None) -> str:
    if error is not None:
        return type(error).__name__
    status = getattr(result, "status_code", None)
    return f"HTTP {status}" if status else "not ok"


def _milliseconds(seconds: float) -> str:
    ms = 1000 * seconds
    return f"{ms:.1f} ms" if ms < 100 else f"{ms:.0f} ms"


# -- Arguments --------------------------------------------------------------------------


def _caller(fn: Callable) -> Callable[[int], object]:
    """`fn` as a function of the request's number, whether or not it wants it."""
    if not callable(fn):
        raise TypeError(
            f"The first thing to give is a function to call, not {fn!r}. "
            "Write lambda: ... around the call you want to make."
        )
    if inspect.iscoroutinefunction(fn):
        raise TypeError(
            "An async function would not run here: give one that makes the call itself."
        )
    try:
        signature = inspect.signature(fn)
    except ValueError:  # some built-in functions do not tell
        return lambda number: fn()
    for arguments, call in (((), lambda number: fn()), ((0,), fn)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return call
    raise TypeError(
        f"The function to call takes either nothing or the number of the request, not {signature}."
    )


def _departures(rate: object, seconds: object) -> tuple[list[float], float]:
    """The moment each request is meant to leave, and when the schedule ends (in seconds)."""
    if isinstance(rate, Real):
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(
                f"rate is requests a second and must be more than 0, not {rate!r}."
            )
        if seconds is None:
            raise ValueError("Say how long: open_loop(fn, rate, seconds).")
        _check_seconds("seconds", seconds, "how long to keep sending")
        phases = [(rate, seconds)]
    else:
        phases = _phases(rate, seconds)
    if sum(rate * length for rate, length in phases) > MOST_REQUESTS:
        raise ValueError(
            f"That is more than {MOST_REQUESTS:,} requests: lower the rate or the time."
        )

    moments, begin = [], 0.0
    for rate, length in phases:
        moments += [begin + k / rate for k in range(math.ceil(rate * length - 1e-9))]
        begin += length
    if not moments:
        raise ValueError(
            "At these rates no request would leave: raise one of them above 0."
        )
    return moments, begin


def _phases(rate: object, seconds: object) -> list[tuple[float, float]]:
    wanted = "rate is a number of requests a second, or phases such as [(40, 0.5), (400, 0.5)]"
    try:
        phases = [(float(rate), float(length)) for rate, length in rate]
    except (TypeError, ValueError):
        raise TypeError(f"{wanted}, not {rate!r}.") from None
    if seconds is not None:
        raise ValueError(
            "Each phase has its own seconds: leave out the argument seconds."
        )
    for rate, length in phases:
        if not (0 <= rate < math.inf and 0 < length < math.inf):
            raise ValueError(
                "A phase is (requests a second, seconds) with seconds above 0, "
                f"not {(rate, length)}."
            )
    return phases


def _open_label(rate: object, planned: float) -> str:
    rates = (
        f"{rate:g}"
        if isinstance(rate, Real)
        else ", then ".join(f"{r:g}" for r, _ in rate)
    )
    return f"open loop: {rates} requests/s for {planned:g} s"


def _check_seconds(name: str, value: object, meaning: str = "a time") -> None:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {meaning} in seconds, a number, not {value!r}.")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(
            f"{name} is {meaning} in seconds and must be more than 0, not {value!r}."
        )


def _check_count(
    name: str, value: object, *, least: int, most: int = sys.maxsize
) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} is a whole number, not {value!r}.")
    if not least <= value <= most:
        limit = (
            f"at least {least}" if most == sys.maxsize else f"from {least} to {most}"
        )
        raise ValueError(f"{name} must be {limit}, not {value}.")
