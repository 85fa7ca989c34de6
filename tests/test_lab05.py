"""Lab 5: right answers pass, whatever their make; wrong ones are refused in fitting words."""

import sys
import threading
import time
from types import SimpleNamespace

import lab_answers
import numpy as np
import pytest
import requests
from lab_answers import (
    assert_passed,
    assert_refused,
    assert_said,
    refusal,
    run_text,
    timed,
    to_do,
)

from helpers import at_once, serve, stop_all
from helpers.checks import Refused
from helpers.labs import hanging_bank, lab05
from helpers.labs.scripted_backend import Backend
from helpers.load import Run
from helpers.shop.inventory import create_app as create_inventory
from helpers.shop.payments import create_app
from tools import labs, notebooks

NAME = "05-break-the-circuit.ipynb"
NUMBER = {"admit": 1, "settle": 2, "call": 3, "Guard": 4, "Mended": 5}


def lab(*changes, solved=True):
    """What the notebook defines, with changes (old, new) to its text."""
    begins = ["import threading", "class ColleaguesBreaker"]
    names = {"requests": requests, "time": time}
    return lab_answers.lab(NAME, *changes, begins=begins, solved=solved, **names)


def check(name, answers):
    """Check one of the answers, as the notebook does."""
    run = getattr(lab05, f"check_task_{NUMBER[name]}")
    given = [answers.Circuit] if NUMBER[name] <= 3 else []
    run(*given, getattr(answers, name))


pytestmark = pytest.mark.usefixtures("nothing_is_left")


# -- Right answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NUMBER)
def test_the_solution_passes(name, capsys):
    timed(check, name, lab())
    said = capsys.readouterr().out
    assert_passed(NAME, NUMBER[name], said)


def test_the_verdict_on_the_solution(capsys, shown, mine):
    timed(lab05.verdict, lab().Guard)
    assert_they_answer(mine)
    first, *said = capsys.readouterr().out.splitlines()
    assert first == "✓ Verdict: a Bank that hangs for 1.8 s"
    assert said[0].startswith("  36 orders came while the Bank hung: ")
    assert "without a breaker it would be 9.0 s" in said[1]
    assert said[3] == (
        "  declined cards: 6, all told so; looks into the stock that failed: 0"
    )
    [(figure, alt)] = shown
    assert "of 36 orders go to the Bank that hangs" in figure.axes[0].get_title("left")
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert {"breaker closed", "breaker open", "breaker half-open"} <= set(labels)
    assert "shaded" in alt


def test_the_verdict_tells_what_came_of_the_prediction(told_after):
    told = told_after(NAME, "lab05/reached", "3")
    lab05._judged(a_day(), reached=10)
    [text] = told
    assert text.startswith("✗ Not as you predicted. You predicted “3”.")
    assert "What came out: about 10" in text and "a timeout to show" in text


def test_the_lab_and_its_checks_agree():
    given = lab()
    for name in ("THRESHOLD", "REST"):
        assert getattr(given, name) == getattr(lab05, name)
    text = notebooks.dumps(notebooks.read(labs.LABS / NAME))
    assert f"TIMEOUT = {hanging_bank.TIMEOUT}" in text
    orders = hanging_bank.orders_among(
        range(hanging_bank.FIRST_HUNG, hanging_bank.FIRST_AFTER)
    )
    assert f"{len(orders)} orders come" in text


def rules_in_a_table():
    """The table as a dict, the lock taken by hand, and a clock looked at first."""
    given = lab()

    def admit(circuit):
        now = circuit.clock()
        circuit.lock.acquire()
        try:
            state = circuit.state
            if state == "open" and circuit.since + given.REST <= now:
                state = "rested"
            ticket = {"closed": "call", "rested": "probe"}.get(state, "refused")
            if ticket == "probe":
                circuit.enter("half-open")
        finally:
            circuit.lock.release()
        return ticket

    after = {
        ("half-open", "probe", True): lambda circuit: circuit.enter("closed"),
        ("half-open", "probe", False): lambda circuit: circuit.enter("open"),
        ("closed", "call", True): lambda circuit: vars(circuit).update(failures=0),
        ("closed", "call", False): lambda circuit: one_more(circuit),
    }

    def one_more(circuit):
        circuit.failures += 1
        if circuit.failures == given.THRESHOLD:
            circuit.enter("open")

    def settle(circuit, ticket, ok):
        with circuit.lock:
            after.get((circuit.state, ticket, ok), id)(circuit)

    def call(circuit, send):
        ticket = admit(circuit)
        if ticket == "refused":
            raise given.CircuitOpen
        try:
            reply = send()
        except BaseException:
            settle(circuit, ticket, False)
            raise
        settle(circuit, ticket, reply.status_code not in range(500, 600))
        return reply

    class Guard:
        def __init__(self):
            self.circuits = {}
            self.lock = threading.Lock()

        def call(self, backend, send):
            with self.lock:
                if backend not in self.circuits:
                    self.circuits[backend] = given.Circuit(backend)
            return call(self.circuits[backend], send)

    return SimpleNamespace(
        Circuit=given.Circuit, admit=admit, settle=settle, call=call, Guard=Guard
    )


def rules_by_another_clock():
    """A breaker that goes by time.monotonic, whatever clock it is given."""
    answers = lab(("circuit.clock()", "time.monotonic()"))
    answers.Mended = lab(("self.clock()", "time.monotonic()")).Mended
    return answers


def breakers_of_state_objects():
    """As well-known libraries do it: an object for each state, and a lease for the probe."""

    class CircuitOpen(RuntimeError):
        pass

    class State:
        def __init__(self, breaker):
            self.breaker = breaker

        def begin(self):
            pass

        def succeeded(self):
            pass

        def failed(self):
            pass

    class Closed(State):
        failures = 0

        def succeeded(self):
            self.failures = 0

        def failed(self):
            self.failures += 1
            if self.failures >= 3:
                self.breaker.state = Opened(self.breaker)

    class Opened(State):
        def __init__(self, breaker):
            super().__init__(breaker)
            self.until = breaker.clock() + 0.3

        def begin(self):
            if self.breaker.clock() < self.until:
                raise CircuitOpen
            self.breaker.state = HalfOpen(self.breaker)
            self.breaker.state.begin()

    class HalfOpen(State):
        taken = False

        def begin(self):
            if self.taken:
                raise CircuitOpen
            self.taken = True

        def succeeded(self):
            self.breaker.state = Closed(self.breaker)

        def failed(self):
            self.breaker.state = Opened(self.breaker)

    class Circuit:
        def __init__(self, backend, clock=time.monotonic):
            self.clock, self.lock = clock, threading.RLock()
            self.state = Closed(self)

        def call(self, send):
            with self.lock:
                self.state.begin()
                state = self.state
            succeeded = False
            try:
                reply = send()
                succeeded = reply.status_code < 500
            finally:
                with self.lock:
                    if state is self.state:
                        state.succeeded() if succeeded else state.failed()
            return reply

    class Guard(dict):
        def __missing__(self, backend):
            self[backend] = Circuit(backend)
            return self[backend]

        def call(self, backend, send):
            return self[backend].call(send)

    return SimpleNamespace(
        Circuit=Circuit, call=Circuit.call, Guard=Guard, Mended=Circuit
    )


def breakers_of_closures():
    """No class but the error; what is remembered are variables, and who is late has a number."""

    class CircuitOpen(Exception):
        pass

    def make(backend, clock=time.monotonic):
        lock, failures, opened, probing, era = threading.Lock(), 0, None, False, 0

        def call(send):
            nonlocal failures, opened, probing, era
            with lock:
                if opened is not None:
                    if probing or clock() - opened < 0.3:
                        raise CircuitOpen(backend)
                    probing = True
                mine = era
            try:
                reply = send()
                well = reply.status_code < 500
            except Exception:
                well = False
                raise
            finally:
                with lock:
                    if mine == era:
                        failures = 0 if well else failures + 1
                        if well and probing:
                            opened, probing, era = None, False, era + 1
                        elif probing or failures == 3:
                            opened, probing, era = clock(), False, era + 1
                            failures = 0
            return reply

        return SimpleNamespace(call=call)

    def guard():
        made, making = {}, threading.Lock()

        def call(backend, send):
            with making:
                breaker = made.get(backend) or make(backend)
                made[backend] = breaker
            return breaker.call(send)

        return SimpleNamespace(call=call)

    return SimpleNamespace(
        Circuit=make,
        call=lambda circuit, send: circuit.call(send),
        Guard=guard,
        Mended=make,
    )


@pytest.mark.parametrize(
    "make",
    [
        rules_in_a_table,
        rules_by_another_clock,
        breakers_of_state_objects,
        breakers_of_closures,
    ],
)
def test_right_answers_of_another_make_pass(make):
    answers = make()
    for name in reversed(NUMBER):  # the checks go in any order
        if hasattr(answers, name):
            timed(check, name, answers)


def test_the_verdict_on_an_answer_of_another_make(shown, capsys):
    timed(lab05.verdict, breakers_of_closures().Guard)
    assert capsys.readouterr().out.startswith("✓ Verdict")
    assert len(shown) == 1  # without a strip: nobody knows its states


def test_a_mended_breaker_may_use_what_the_learner_has_written_before():
    """The rules of tasks 1 to 3, given to the colleague's class."""
    answers = lab()

    class Mended(answers.ColleaguesBreaker):
        enter = answers.Circuit.enter
        history = ()

        def __init__(self, backend, clock):
            super().__init__(backend, clock)
            self.circuit = answers.Circuit(backend, clock)

        def call(self, send):
            return answers.call(self.circuit, send)

    timed(lab05.check_task_5, Mended)


# -- Wrong answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", NUMBER)
def test_a_stub_is_still_to_do(name):
    said = refusal(check, name, lab(solved=False))
    assert said == to_do(NAME, NUMBER[name])


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_check_names_the_earlier_task_that_is_still_to_do(number):
    """Task 3 needs tasks 1 and 2, and Task 4 needs all of them."""
    stub = {
        1: ("    with circuit.lock:\n        if circuit.state ==", "admit"),
        2: ("    with circuit.lock:\n        if ticket", "settle"),
        3: ("    ticket, ok = admit", "call"),
    }[number]
    raises = f'    raise NotImplementedError("Task {number}: a title")\n'
    answers = lab((stub[0], raises + stub[0]))
    for name in list(NUMBER)[max(2, number - 1) : 4]:
        said = refusal(check, name, answers)
        assert said == f"Task {number} is still to do: a title"


def test_the_verdict_on_a_stub(shown):
    said = refusal(lab05.verdict, lab(solved=False).Guard)
    assert said == "Task 4 is still to do: one breaker for each backend"
    assert shown == []


# Where the changes below are made.
ADMIT = "    with circuit.lock:\n        if circuit.state =="
RESTED = "circuit.clock() - circuit.since >= REST"
ONE_PROBE = 'circuit.state == "half-open" or not rested'
NO_PROBE_LIMIT = ONE_PROBE, 'circuit.state == "open" and not rested'
SETTLE = "    with circuit.lock:\n        if ticket =="
ONE_MORE = "circuit.failures = 0 if ok else circuit.failures + 1"
ON_PROBE = 'circuit.enter("closed" if ok else "open")'
ASK_FIRST = "    ticket, ok = admit(circuit), False\n"
REFUSE = "        raise CircuitOpen(circuit.backend)\n"
TRY = "    try:\n        reply = send()\n"
OK = "        ok = reply.status_code < 500\n        return reply\n"
FINALLY = "    finally:\n        settle(circuit, ticket, ok)"
GUARD = "circuit = self.circuits.setdefault(backend, Circuit(backend))"
MENDED = "class Mended(ColleaguesBreaker):\n"
REFUSES = 'if self.state != "closed" and not probe:'
SEND = "            reply = send()\n            ok = reply.status_code < 500\n            return"
AT_LAST = " reply\n        finally:\n            with self.lock:"
IF_NEW = 'if probe or self.state == "closed":\n                    self.settle'

# What is put there.
WAITING = f"""\
    while circuit.state == "open" and not {RESTED}:
        time.sleep(0.01)
"""
SLEEPING = """\
    if circuit.state == "open":
        time.sleep(REST)
        circuit.enter("half-open")
        return "probe"
"""
LATE_SUCCESS = """\
if ok and circuit.state != "closed":
            circuit.enter("closed")
        elif ticket == "probe":"""
A_LOCK_OF_ITS_OWN = """\
    ok, gate = False, vars(circuit).setdefault("gate", threading.Lock())
    with gate:
        ticket = admit(circuit)
"""
HELD = "    try:\n        with circuit.gate:\n            reply = send()\n"
SWALLOWED = "    except Exception:\n        pass\n"
ITS_OWN = """\
    except Exception as error:
        raise ValueError("broken") from error
"""
ONLY_REPLIES = """\
    reply = send()
    settle(circuit, ticket, reply.status_code < 500)
    return reply"""
ONLY_REQUESTS = """\
    try:
        reply = send()
    except requests.RequestException:
        settle(circuit, ticket, False)
        raise
    settle(circuit, ticket, reply.status_code < 500)
    return reply"""
AGAIN = "        if reply.status_code >= 500:\n            reply = send()\n"
MADE_UP = (
    "    try:\n        reply = requests.Response()\n        reply.status_code = 201\n"
)
HELD_IN_MENDED = """\
            with self.lock:
                reply = send()
            ok = reply.status_code < 500
            return"""
HALF_OPEN_PASSES = 'if self.state == "open" and not probe:'
SLOWLY = "            time.sleep(0.02)\n            if probe:\n"

WRONG = [
    # Task 1
    ("never half-opens", "admit", [(RESTED, "False")],
     ["what admit() returns when the rest is over", "expected: 'probe'", "got:      'refused'"]),
    ("half-open lets everybody through", "admit", [NO_PROBE_LIMIT],
     ["what admit() returns while a probe is under way", "expected: 'refused'", "one probe at a time"]),
    ("another probe when one takes long", "admit", [(ONE_PROBE, "not rested")],
     ["what admit() returns when the probe takes long", "expected: 'refused'", "got:      'probe'"]),
    ("the rest the wrong way round", "admit", [(RESTED, RESTED.replace(">", "<"))],
     ["what admit() returns just after it opened", "expected: 'refused'", "for REST, 0.3 s"]),
    ("open lets through", "admit", [('return "refused"', 'return "call"')],
     ["just after it opened", "got:      'call'"]),
    ("a rest of half the time", "admit", [(">= REST", ">= REST / 2")],
     ["shortly before the rest is over", "expected: 'refused'"]),
    ("does not change the state", "admit", [('        circuit.enter("half-open")\n', "")],
     ["the state during the probe", "expected: 'half-open'", "got:      'open'", "circuit.enter("]),
    ("no lock", "admit", [(ADMIT, ADMIT.replace("circuit.lock", "threading.Lock()"))],
     ["probes that are let through when 20 ask at the same moment", "exactly 1", "with circuit.lock:"]),
    ("waits for the end of the rest", "admit", [(ADMIT, WAITING + ADMIT)],
     ["your code did not come back within 2 s", "case: just after it opened", "in admit()"]),
    ("sleeps for the rest", "admit", [(ADMIT, SLEEPING + ADMIT)],
     ["just after it opened", "expected: 'refused'", "got:      'probe'"]),
    ("True and False", "admit", [('return "call"', "return True"), ('return "refused"', "return False")],
     ["while closed, after 0 failures", "got:      True", 'a text: "call", "probe", "refused"']),
    ("nothing", "admit", [('return "call"', "return")],
     ["while closed", "None (nothing was returned)", 'a text: "call"']),
    ("raises", "admit", [('return "call"', 'raise CircuitOpen("no")')],
     ["your code raised CircuitOpen: no", 'in admit(): raise CircuitOpen("no")']),
    ("keeps the lock", "admit", [(ADMIT, "    circuit.lock.acquire()\n" + ADMIT)],
     ["your code did not come back within 2 s", "in admit(): with circuit.lock:"]),
    # Task 2
    ("opens with the first failure", "settle", [(">= THRESHOLD", ">= 1")],
     ["the state after 2 failures", "expected: 'closed'", "got:      'open'", "THRESHOLD, 3"]),
    ("one failure too many", "settle", [(">= THRESHOLD", "> THRESHOLD")],
     ["the state after 3 failures in a row", "expected: 'open'", "got:      'closed'"]),
    ("never resets the count", "settle", [(ONE_MORE, "circuit.failures += not ok")],
     ["after two failures, a success, and two failures", "expected: 'closed'", "failures in a row count"]),
    ("a probe that succeeds does not close it", "settle",
     [(ON_PROBE, ON_PROBE.replace("closed", "half-open"))],
     ["the state after a probe that succeeded", "expected: 'closed'", "got:      'half-open'"]),
    ("a probe that fails closes it", "settle", [(ON_PROBE, 'circuit.enter("closed")')],
     ["the state after a probe that failed", "expected: 'open'", "opens it anew"]),
    ("the rest does not begin anew", "settle", [(ON_PROBE, 'circuit.state = "closed" if ok else "open"')],
     ["how long it has been open, by circuit.since", "at most 0 s", "got:      5 s", "begins anew"]),
    ("old failures remain", "settle", [(ON_PROBE, ON_PROBE + "; circuit.failures = 2")],
     ["after that, and one failure", "expected: 'closed'", "got:      'open'"]),
    ("a late success closes it", "settle", [('if ticket == "probe":', LATE_SUCCESS)],
     ["when it is open, and a call from before succeeds", "expected: 'open'", "old news"]),
    ("a late failure restarts the rest", "settle", [('elif circuit.state == "closed":', "else:")],
     ["circuit.since when it is open, and a call from before fails", "old news"]),
    ("any end settles the probe", "settle", [('if ticket == "probe":', 'if circuit.state == "half-open":')],
     ["when it is half-open, and a call from before succeeds", "expected: 'half-open'", "old news"]),
    ("no lock, either", "settle", [(SETTLE, SETTLE.replace("circuit.lock", "threading.Lock()"))],
     ["times that it opens when 20 calls fail at the same moment", "exactly 1", "with circuit.lock:"]),
    # Task 3
    ("counts a 402 as a failure", "call", [("reply.status_code < 500", "reply.status_code < 400")],
     ["what call() does when Payments answers 402", "expected: 'returns the reply 402'",
      "got:      'raises CircuitOpen'", "is an answer, and no failure"]),
    ("a 402 raises", "call", [(TRY, TRY + "        reply.raise_for_status()\n")],
     ["your code raised HTTPError: 402", "case: when Payments answers 402",
      "return the reply, whatever its status"]),
    ("a 5xx is no failure", "call", [("ok = reply.status_code < 500", "ok = True")],
     ["right after 3 replies of 503", "expected: 'raises CircuitOpen'", "got:      'returns the reply 201'"]),
    ("holds the lock during the call", "call", [(ASK_FIRST, A_LOCK_OF_ITS_OWN), (TRY, HELD)],
     ["calls that are at Payments at the same time, of 8 let go at once", "exactly 8", "got:      1",
      "a lock is held while send() waits"]),
    ("takes the lock twice", "call", [(ASK_FIRST, "    with circuit.lock:\n    " + ASK_FIRST)],
     ["your code did not come back within 2 s", "in admit(): with circuit.lock"]),
    ("forgets the reply", "call", [(OK + FINALLY, OK.replace("return reply", "pass") + FINALLY)],
     ["when Payments answers 201", "expected: 'returns the reply 201'", "got:      'returns None'"]),
    ("swallows errors", "call", [(FINALLY, SWALLOWED + FINALLY)],
     ["when the connection breaks", "expected: 'raises ConnectionError'", "got:      'returns None'",
      "go on to the caller"]),
    ("an error of its own", "call", [(FINALLY, ITS_OWN + FINALLY)],
     ["your code raised ValueError: broken", "case: when the connection breaks"]),
    ("errors are not settled", "call", [(TRY + OK + FINALLY, ONLY_REPLIES)],
     ["after three broken connections", "expected: 'raises CircuitOpen'", "is a failure, too"]),
    ("the probe's slot is lost", "call", [(TRY + OK + FINALLY, ONLY_REQUESTS)],
     ["one rest after a probe that raised a KeyError", "expected: 'returns the reply 201'",
      "half-open for ever"]),
    ("retries while open", "call", [(REFUSE, "        send()\n" + REFUSE)],
     ["requests that Payments gets from three failing calls and a refused one", "exactly 3", "got:      4"]),
    ("retries what fails", "call", [(TRY, TRY + AGAIN)],
     ["requests that Payments gets from three failing calls", "exactly 3", "got:      6",
      "one request for each call"]),
    ("calls twice", "call", [(TRY, TRY + "        reply = send()\n")],
     ["requests that Payments gets from one call", "exactly 1", "got:      2", "call send() once"]),
    ("returns None when open", "call", [(REFUSE, "        return None\n")],
     ["right after 3 replies of 503", "expected: 'raises CircuitOpen'", "got:      'returns None'"]),
    ("another error when open", "call", [(REFUSE, "        raise RuntimeError('open')\n")],
     ["your code raised RuntimeError: open", "case: right after 3 replies of 503"]),
    ("floods Payments", "call", [(TRY, TRY + "        while send(): pass\n")],
     ["your code did not come back within 2 s", "in call(): while send(): pass"]),
    ("never calls", "call", [(TRY, MADE_UP)],
     ["requests that Payments gets from one call", "exactly 1", "got:      0"]),
    # Task 4
    ("one for all backends", "Guard", [("setdefault(backend,", 'setdefault("all",')],
     ["for Inventory, while Payments is down", "expected: 'returns the reply 200'",
      "got:      'raises CircuitOpen'", "a circuit of its own"]),
    ("a new circuit for each call", "Guard", [(GUARD, "circuit = Circuit(backend)")],
     ["for Payments, after 3 replies of 503", "expected: 'raises CircuitOpen'", "the same circuit"]),
    ("one dict for all guards", "Guard",
     [("self.circuits = {}", "self.circuits = CIRCUITS"), ("class Guard", "CIRCUITS = {}\nclass Guard")],
     ["for Payments, in a new Guard", "make them in __init__"]),
    ("no circuit at first", "Guard", [(GUARD, "circuit = self.circuits[backend]")],
     ["your code raised KeyError: 'payments'", "in call(): circuit = self.circuits[backend]"]),
    ("forgets to return", "Guard", [("return call(circuit, send)", "call(circuit, send)")],
     ["when Payments answers 503", "got:      'returns None'", "return what call() returns"]),
    ("no method", "Guard", [("def call(self, backend", "def ask(self, backend")],
     ["by the name of call", "expected: 'a method'", "keep the class as it was given"]),
    # Task 5
    ("as it was", "Mended", [(MENDED + "    def call", MENDED + "    def other")],
     ["calls that are at Payments at the same time, of 8 let go at once", "exactly 8", "got:      1",
      "stand in line for it"]),
    ("no probe limit any more", "Mended", [(REFUSES, HALF_OPEN_PASSES)],
     ["calls that reach Payments, of 8 at once when the rest is over", "exactly 1", "got:      8",
      "while the probe is under way, all others are refused"]),
    ("old news counts", "Mended", [(IF_NEW, "if True:\n                    self.settle")],
     ["while open, when a call from before has succeeded late", "expected: 'raises CircuitOpen'",
      "old news"]),
    ("no lock at all", "Mended",
     [("with self.lock:\n            probe", "if True:\n            probe"),
      ("            if probe:\n", SLOWLY)],
     ["calls that reach Payments, of 8 at once when the rest is over", "exactly 1"]),
    ("calls under the lock after all", "Mended", [(SEND + AT_LAST, HELD_IN_MENDED + AT_LAST)],
     ["calls that are at Payments at the same time", "got:      1"]),
    ("settles under a lock it holds", "Mended", [(AT_LAST, AT_LAST + "\n              with self.lock:")],
     ["your code did not come back within 2 s", "in call(): with self.lock:"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [case[1:] for case in WRONG],
    ids=[case[0] for case in WRONG],
)
def test_a_wrong_answer_is_refused_in_fitting_words(name, changes, words):
    said = refusal(check, name, lab(*changes))
    assert_refused(NAME, NUMBER[name], words, said)


# -- The verdict ------------------------------------------------------------------------


def a_day(statuses=None, waited=None):
    """A run as it should be, with changes {number of a customer: status, or seconds}."""
    numbers = np.array(hanging_bank.CUSTOMERS)
    hung = range(hanging_bank.FIRST_HUNG, hanging_bank.FIRST_AFTER)
    results, latency = [], []
    for number in numbers:
        status, took = 201, 0.01
        if number % 3 == 2:
            status = 200
        elif number in hanging_bank.DECLINED:
            status = 402
        elif number in hung:
            first = number < hung[0] + 10
            status, took = (504, 0.25) if first else (503, 0.01)
        results.append((statuses or {}).get(number, status))
        latency.append((waited or {}).get(number, took))
    intended = numbers / hanging_bank.RATE
    return Run(
        intended=intended,
        started=intended,
        finished=intended + latency,
        ok=np.array([status is not None and status < 500 for status in results]),
        results=results,
        errors=[None] * len(results),
        seconds=hanging_bank.END,
        began=time.time(),
    )


def test_the_numbers_of_a_day_in_words():
    assert lab05._judged(a_day(), reached=9).splitlines() == [
        "36 orders came while the Bank hung: 25 % went to the Bank, 81 % were refused at once",
        "  they waited for 2.0 s in all; without a breaker it would be 9.0 s",
        "  paid again 0.01 s after the Bank was mended",
        "  declined cards: 6, all told so; looks into the stock that failed: 0",
    ]


@pytest.mark.parametrize(
    ("day", "reached", "words"),
    [
        (a_day({13: 503}), 9,
         ["the breaker refused before the Bank hung", "got:      1", "402, is an answer"]),
        (a_day({4: 201}), 9,
         ["customers with a declined card who are told so", "exactly 6", "got:      5"]),
        (a_day({41: 503}), 9,
         ["looks into the stock that failed", "exactly 0", "got:      1", "Inventory was well"]),
        (a_day({41: None}), 9, ["looks into the stock that failed", "got:      1"]),
        (a_day(), 22, ["orders that reached the Bank while it hung, of 36", "at most 17", "got:      22"]),
        (a_day({n: 201 for n in range(18, 72) if n % 3 < 2}), 0,
         ["orders that failed while the Bank hung", "at least 1"]),
        (a_day(waited=dict.fromkeys(range(18, 72), 0.6)), 9,
         ["how long the middle one of these customers waited", "at most 0.125 s", "got:      0.6 s",
          "not for a lock"]),
        (a_day(dict.fromkeys([96, 97, 99], 503)), 9,
         ["orders paid, of the 9 that came 0.75 s or more after", "at least 7", "got:      6",
          "a probe goes through"]),
    ],
)  # fmt: skip
def test_a_day_that_went_wrong(day, reached, words):
    with pytest.raises(Refused) as refused:
        lab05._judged(day, reached)
    assert_said(words, str(refused.value))


IN_GUARD = "        " + GUARD + "\n        return call(circuit, send)"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([NO_PROBE_LIMIT],
         ["orders that reached the Bank while it hung", "at most 17", "a probe after each REST"]),
        ([(RESTED, "False")],
         ["orders paid, of the 9 that came", "at least 7", "got:      0"]),
    ],
    ids=["lets everybody probe", "never closes"],
)  # fmt: skip
def test_the_verdict_on_wrong_answers(changes, words, shown):
    said = refusal(lab05.verdict, lab(*changes).Guard)
    assert said.startswith("✗ Verdict: a Bank that hangs for 1.8 s\n")
    assert_said(words, said)
    assert len(shown) == 1


def test_the_verdict_on_no_breaker(shown):
    """As the lab proposes."""
    [no_guard] = [
        cell.source.partition("```python\n")[2].partition("\n\nlab05")[0]
        for cell in notebooks.read(labs.LABS / NAME).cells
        if "class NoGuard" in cell.source
    ]
    said = refusal(lab05.verdict, run_text(no_guard).NoGuard)
    assert "of 36\n  expected: at most 17\n  got:      36" in said
    assert "36 of 36 orders" in shown[0][0].axes[0].get_title("left")


@pytest.mark.parametrize(
    ("in_guard", "words"),
    [
        ("raise ValueError('which?')",
         ["your code raised ValueError: which?", "in call(): raise ValueError('which?')"]),
        ("while True: pass", ["your code did not come back within 1.5 s", "in call(): while True: pass"]),
        ("while True: send()", ["your code did not come back within 1.5 s", "in call(): while True: send()"]),
        ("return None", ["what Guard.call() does in Orders", "got:      'returns None'"]),
        ("return 201", ["got:      'returns 201'"]),
        ("from helpers import stop_all; stop_all()",
         ["what Guard.call() does in Orders", "got:      'returns None'"]),
        ("with circuit.lock: return call(circuit, send)", ["did not come back within 1.5 s", "in admit()"]),
    ],
    ids=["raises", "hangs", "floods", "returns nothing", "nonsense", "stops it all", "waits for itself"],
)  # fmt: skip
def test_the_verdict_on_answers_that_go_wild(in_guard, words, shown):
    change = IN_GUARD, f"        {GUARD}\n        {in_guard}"
    said = refusal(lab05.verdict, lab(change).Guard)
    assert said.startswith("✗ Verdict: a Bank that hangs for 1.8 s\n")
    assert_said(words, said)
    assert shown == []


def test_a_breaker_that_stops_services_is_told_so():
    answers = lab(("        reply = send()", "        stop_all(); reply = send()"))
    vars(sys.modules["builtins"])["stop_all"] = stop_all
    try:
        said = refusal(check, "call", answers)
    finally:
        del vars(sys.modules["builtins"])["stop_all"]
    assert_said(["Payments when Payments answers 201", "'stopped'", "your code"], said)


def test_what_the_learner_prints_stands_below_the_verdict():
    printing = lab(("        reply = send()", "        print('hello'); reply = send()"))
    assert "printed meanwhile:" not in refusal(check, "call", lab(solved=False))
    check("call", printing)


# -- The learner's own ------------------------------------------------------------------


@pytest.fixture
def mine():
    """Services that the learner has in the notebook."""
    mine = [serve(create_app(work_seconds=0)), serve(create_inventory(work_seconds=0))]
    yield mine
    for service in mine:
        service.stop()


def test_the_learners_own_services_stay(mine):
    for name in ("call", "Guard", "Mended"):
        check(name, lab())
    assert_they_answer(mine)


def assert_they_answer(mine):
    payments, inventory = mine
    assert requests.get(payments.url + "/charges", timeout=2).json() == []
    assert requests.get(inventory.url + "/stock", timeout=2).ok


# -- The backend of the checks ----------------------------------------------------------


def test_a_backend_does_what_each_request_says():
    with Backend() as backend:
        assert backend.asks("409")().status_code == 409
        with pytest.raises(requests.ConnectionError) as broken:
            backend.asks("drop")()
        error = KeyError("id")
        with pytest.raises(KeyError):
            backend.asks("201", then=error)()
        assert backend.raised == [broken.value, error] and backend.received == 3


def test_a_backend_counts_who_is_there_at_the_same_time():
    with Backend() as backend:
        backend.begin(meeting=3)
        assert [each.error for each in at_once(3, backend.asks("meet"))] == [None] * 3
        assert (backend.received, backend.most) == (3, 3)
        backend.begin()
        threading.Timer(0.05, backend.release).start()
        assert backend.asks("wait")().status_code == 201
        assert (backend.received, backend.most) == (1, 1)
