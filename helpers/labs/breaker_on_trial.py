"""A breaker of the learner's on trial: a clock that jumps, and scenes on a live backend.

What counts is what a caller is told, and how many requests come to the backend: in all, and at a
time. A scene refuses what does not fit the lab's table of states.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import wraps
from inspect import unwrap

import requests

from helpers.checks import LEARNERS, expect, expect_count, guard, situation
from helpers.claims import short
from helpers.labs.scripted_backend import Backend
from helpers.load import Outcome, at_once

# As the lab gives them to the learner.
THRESHOLD = 3  # failures in a row
REST = 0.3  # seconds

AT_ONCE = 8  # calls at the same moment
OPEN = "raises CircuitOpen"
FREEING = 1.5  # seconds that are spent on calls that wait for a lock


class Clock:
    """A clock that stands still, and jumps where somebody would wait.

    takes: seconds that a look at it takes: time enough for others to come in between.
    """

    def __init__(self, takes: float = 0.0):
        self._now, self._takes = time.monotonic(), takes
        self.looks = 0
        # Whether the learner's breaker looks here to see if the rest is over.
        self.is_used = False

    def __call__(self) -> float:
        self.looks += 1
        if self._takes:
            time.sleep(self._takes)
        return self._now

    @contextmanager
    def watched(self):
        """Note whether the breaker, which is open, looks at this clock."""
        before = self.looks
        yield
        self.is_used |= self.looks > before

    def jump(self, seconds: float) -> None:
        self._now += seconds

    def wait(self, seconds: float) -> None:
        """Let so much time pass; really, where the breaker goes by another clock."""
        self.jump(seconds)
        if not self.is_used:
            time.sleep(seconds)


# -- The learner's code -----------------------------------------------------------------


def attempt(function: Callable, is_sent: Callable[[Exception], bool]) -> Callable:
    """The learner's function as one that returns what it raises, if it may raise that.

    It may raise CircuitOpen, and what send() has raised: is_sent() tells.
    """
    learners = unwrap(function)

    @wraps(learners)  # so that a line in it is told as the learner's
    def attempted(*args: object) -> object:
        try:
            return learners(*args)
        except Exception as error:
            if is_open(error) or is_sent(error):
                return error
            raise

    return guard(attempted)


def is_open(outcome: object) -> bool:
    """Whether it is the lab's CircuitOpen, which cannot be imported."""
    return any(kind.__name__ == "CircuitOpen" for kind in type(outcome).__mro__)


def words(outcome: object) -> str:
    """What a caller was told."""
    if isinstance(outcome, requests.Response):
        return reply_of(outcome.status_code)
    if isinstance(outcome, Exception):
        return OPEN if is_open(outcome) else f"raises {type(outcome).__name__}"
    return f"returns {short(outcome)}"


def reply_of(status: int | str) -> str:
    return f"returns the reply {status}"


def method_of(thing: object, name: str) -> Callable:
    method = getattr(thing, name, None)
    if not callable(method):
        what = f"what {type(thing).__name__}() has by the name of {name}"
        expect(what, method, equals="a method", hint="keep the class as it was given")
    return method


@contextmanager
def freed_afterwards(things: list):
    """At the end, free the locks in these: a call that waits for one could not be ended."""
    try:
        yield
    finally:
        deadline = time.monotonic() + FREEING
        locks = _locks(things)
        stuck = any(lock.locked() for lock in locks)
        while stuck and time.monotonic() < deadline:
            for lock in locks:
                with suppress(RuntimeError):  # it is free
                    lock.release()
            time.sleep(0.005)
            stuck = any(each.name == LEARNERS for each in threading.enumerate())


def _locks(things: list) -> list:
    found = []
    for thing in things:
        parts = list(vars(thing).values()) if hasattr(thing, "__dict__") else []
        for part in [thing, *parts]:
            if isinstance(part, dict):
                found += _locks(list(part.values()))
            elif hasattr(part, "locked") and hasattr(part, "release"):
                found.append(part)
    return found


def value_of(call: Outcome) -> object:
    """What a call of at_once() returned; raises what it raised."""
    if call.error:
        raise call.error
    return call.value


# -- The scenes -------------------------------------------------------------------------


class Breaker:
    """A breaker of the learner's, in front of a backend of the check's.

    name: of the function that is called, in words; make: called with a clock, it returns that
    function, and what to call it with besides the function that sends.
    """

    def __init__(self, name: str, make: Callable, backend: Backend, things: list):
        self.name, self.backend, self.clock = name, backend, Clock()
        function, first = make(self.clock)
        things += [getattr(function, "__self__", None), *first]
        sent = backend.raised
        self._attempt = attempt(function, lambda e: any(e is each for each in sent))
        self._first = first

    def ask(self, fate: str, then: Exception | None = None) -> str:
        """Call it once; what the caller was told, in words."""
        return words(self._attempt(*self._first, self.backend.asks(fate, then)))

    def expect(
        self, when: str, fate: str, told: str, hint: str, then: Exception | None = None
    ) -> None:
        """Refuse unless the caller is told this."""
        situation(when)
        # A call that is refused changes no state: only the breaker itself looks at the clock.
        with self.clock.watched() if told == OPEN else nullcontext():
            got = self.ask(fate, then)
        if not self.backend.service.running:
            what, hint = f"Payments {when}", "your code has stopped it"
            expect(what, "stopped", equals="running", hint=hint)
        expect(f"what {self.name} does {when}", got, equals=told, hint=hint)

    def open(self) -> None:
        """Let it open, and see that it has."""
        self.backend.begin()
        for number in range(1, THRESHOLD + 1):
            when = f"when Payments answers 503, call number {number}"
            hint = "a reply goes back to the caller, whatever it says"
            self.expect(when, "503", reply_of(503), hint)
        hint = f"THRESHOLD is {THRESHOLD}, and a 5xx is a failure"
        when = f"right after {THRESHOLD} replies of 503"
        self.expect(when, "201", OPEN, hint)
        what = "requests that Payments gets from three failing calls and a refused one"
        hint = "one request for each call that was let through, and none for one that was refused"
        expect_count(what, self.backend.received, exactly=THRESHOLD, hint=hint)

    def rest(self) -> None:
        self.clock.wait(1.1 * REST)


PROBE = "the rest is over: one call goes through"


def answers_are_passed_on(breaker: Breaker) -> None:
    breaker.backend.begin()
    when = "when Payments answers 201"
    breaker.expect(when, "201", reply_of(201), "return what send() returns")
    what = "requests that Payments gets from one call"
    expect_count(what, breaker.backend.received, exactly=1, hint="call send() once")
    for status in ("402", "409", "422") * 2:
        when = f"when Payments answers {status}, after other refusals"
        hint = f"a {status} is an answer, and no failure: Payments is well. Only 5xx counts"
        breaker.expect(when, status, reply_of(status), hint)
    when = "after six refusals such as 402"
    breaker.expect(when, "201", reply_of(201), "a refusal is an answer, and no failure")


def failures_open_it(breaker: Breaker) -> None:
    for fate in ("503", "503", "201", "503", "503"):
        when = "while fewer than three in a row have failed"
        hint = "a success settles as ok, too: only failures in a row count"
        breaker.expect(when, fate, reply_of(fate), hint)
    breaker.expect(when, "201", reply_of(201), hint)
    breaker.open()


def errors_open_it(breaker: Breaker) -> None:
    breaker.backend.begin()
    for _ in range(THRESHOLD):
        when = "when the connection breaks"
        hint = "the caller has to know: let what send() raises go on to the caller"
        breaker.expect(when, "drop", "raises ConnectionError", hint)
    hint = "what send() raises is a failure, too"
    breaker.expect("after three broken connections", "201", OPEN, hint)


def it_closes_again(breaker: Breaker) -> None:
    breaker.open()
    breaker.rest()
    breaker.expect("when the rest is over", "503", reply_of(503), PROBE)
    hint = "the probe has failed: it opens anew, and the rest begins anew"
    breaker.expect("right after a probe that failed", "201", OPEN, hint)
    breaker.rest()
    breaker.expect("after the second rest", "201", reply_of(201), PROBE)
    for _ in range(2):
        hint = "the probe has succeeded: it closes"
        breaker.expect("after a probe that succeeded", "201", reply_of(201), hint)


def a_probe_may_raise(breaker: Breaker) -> None:
    breaker.open()
    breaker.rest()
    when = "when the probe raises a KeyError"
    hint = "not only requests can fail: whatever send() raises goes on to the caller"
    breaker.expect(when, "201", "raises KeyError", hint, then=KeyError("id"))
    breaker.rest()
    when = "one rest after a probe that raised a KeyError"
    hint = "half-open for ever: every probe has to be settled, whatever it raises (try, finally)"
    breaker.expect(when, "201", reply_of(201), hint)


def calls_run_side_by_side(breaker: Breaker) -> None:
    backend = breaker.backend
    backend.begin(meeting=AT_ONCE)
    situation(f"when {AT_ONCE} call at the same moment")
    told = Counter(value_of(c) for c in at_once(AT_ONCE, lambda: breaker.ask("meet")))
    what = f"calls that are at Payments at the same time, of {AT_ONCE} let go at once"
    hint = "a lock is held while send() waits for Payments: the others stand in line for it"
    expect_count(what, backend.most, exactly=AT_ONCE, hint=hint)
    what = f"callers who get their reply, of {AT_ONCE} at once while closed"
    expect_count(what, told[reply_of(201)], exactly=AT_ONCE)


def one_probe_at_a_time(breaker: Breaker) -> None:
    breaker.open()
    breaker.rest()
    backend, told = breaker.backend, []
    backend.begin()

    def customer() -> None:
        told.append(breaker.ask("wait"))
        if told.count(OPEN) == AT_ONCE - 1:
            backend.release()  # the probe was under way until all the others were told

    situation(f"when {AT_ONCE} call at the same moment, and the rest is over")
    for ended in at_once(AT_ONCE, customer):
        value_of(ended)
    what = f"calls that reach Payments, of {AT_ONCE} at once when the rest is over"
    hint = (
        "half-open: while the probe is under way, all others are refused, and at once"
    )
    expect_count(what, backend.received, exactly=1, hint=hint)
    what = (
        f"callers who are told CircuitOpen, of {AT_ONCE} at once when the rest is over"
    )
    expect_count(what, told.count(OPEN), exactly=AT_ONCE - 1, hint=hint)
    hint = "the probe has succeeded: it closes"
    breaker.expect("after a probe that succeeded", "201", reply_of(201), hint)


def old_news_is_ignored(breaker: Breaker) -> None:
    backend = breaker.backend
    backend.begin()
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(breaker.ask, "wait")
        backend.wait_for(here=1)
        for _ in range(THRESHOLD):
            breaker.ask("503")
        when = "right after three replies of 503, and one call still under way"
        breaker.expect(when, "201", OPEN, f"THRESHOLD is {THRESHOLD}")
        backend.release()
        late.result()
    when = "while open, when a call from before has succeeded late"
    hint = "it was let through while closed; when it ends the state is another one: old news"
    breaker.expect(when, "201", OPEN, hint)
