"""The checks of lab 5, "Break the circuit": a breaker, and the fault in another one.

The rules are checked with a clock that jumps instead of waiting, the calls on live services.
"""

import time
from collections import Counter
from collections.abc import Callable

import requests

from helpers import checks
from helpers.checks import Refused, expect, expect_count, judge, situation, task
from helpers.labs import breaker_on_trial as trial
from helpers.labs import hanging_bank
from helpers.labs.breaker_on_trial import (
    AT_ONCE,
    OPEN,
    REST,
    THRESHOLD,
    Breaker,
    Clock,
    attempt,
    freed_afterwards,
    is_open,
    method_of,
    reply_of,
    value_of,
    words,
)
from helpers.labs.scripted_backend import Backend
from helpers.load import at_once
from helpers.predict import reveal

STATES = ("closed", "open", "half-open")
TICKETS = ("call", "probe", "refused")

LIMIT = 2.0  # seconds after which a call is taken to hang
MANY = 20  # who ask at the same moment


# -- Tasks 1 and 2: the rules -----------------------------------------------------------


@task(1, "who may pass", limit=LIMIT, hint="go by the second column of the table")
def check_task_1(Circuit, admit):
    circuits = []

    def new(state: str = "closed", clock: Clock | None = None):
        circuit = checks.call(Circuit, "payments", clock or Clock())
        circuits.append(circuit)
        if state != "closed":
            circuit.enter(state)
        return circuit

    def expect_ticket(when: str, circuit, ticket: str, hint: str) -> None:
        situation(when)
        got = checks.call(admit, circuit)
        what = f"what admit() returns {when}"
        if got not in TICKETS:
            hint = "a text: " + ", ".join(f'"{each}"' for each in TICKETS)
        expect(what, got, equals=ticket, hint=hint)

    with freed_afterwards(circuits):
        circuit = new()
        for failures in range(THRESHOLD):
            circuit.failures = failures
            when = f"while closed, after {failures} failures"
            expect_ticket(when, circuit, "call", "closed lets everybody through")

        circuit = new("open")
        clock = circuit.clock
        hint = (
            f"until it has been open for REST, {REST:g} s, everybody is refused at once"
        )
        with clock.watched():
            expect_ticket("just after it opened", circuit, "refused", hint)
        if clock.is_used:
            clock.wait(0.9 * REST)
            expect_ticket("shortly before the rest is over", circuit, "refused", hint)
            clock.wait(0.2 * REST)
        else:
            clock.wait(1.1 * REST)
        hint = "the rest is over: circuit.clock() - circuit.since tells for how long it is open"
        expect_ticket("when the rest is over", circuit, "probe", hint)
        hint = 'who gets the probe makes it half-open: circuit.enter("half-open")'
        state = circuit.state
        expect("the state during the probe", state, equals="half-open", hint=hint)
        hint = "one probe at a time: half-open refuses all others"
        expect_ticket("while a probe is under way", circuit, "refused", hint)
        clock.wait(10 * REST if clock.is_used else REST)
        hint = "a probe may take long; how long it has been half-open does not matter"
        expect_ticket("when the probe takes long", circuit, "refused", hint)

        # A look at this clock takes a moment, and all the others come in that moment.
        is_used, clock = clock.is_used, Clock(takes=0.005)
        circuit = new("open", clock)
        clock.is_used = is_used
        clock.wait(1.1 * REST)
        situation(f"when {MANY} ask at the same moment")
        asked = at_once(MANY, lambda: checks.call(admit, circuit))
        tickets = Counter(str(value_of(each)) for each in asked)
        what = f"probes that are let through when {MANY} ask at the same moment"
        hint = "look at the state and change it in one go: with circuit.lock:"
        expect_count(what, tickets["probe"], exactly=1, hint=hint)
        what = f"those who are refused when {MANY} ask at the same moment"
        expect_count(what, tickets["refused"], exactly=MANY - 1, hint=hint)
    return f"open, {MANY} asked at the same moment: 1 probe, {MANY - 1} refused"


@task(2, "what a call has come to", limit=LIMIT, hint="go by the table's last columns")
def check_task_2(Circuit, settle):
    circuits = []

    def new(state: str = "closed", takes: float = 0.0):
        circuit = checks.call(Circuit, "payments", Clock(takes))
        circuits.append(circuit)
        if state != "closed":
            circuit.enter(state)
        return circuit

    def expect_state(when: str, circuit, ticket: str, said: str, state: str, hint: str):
        """Settle, "+" a call that succeeded and "-" one that failed."""
        situation(when)
        for sign in said:
            checks.call(settle, circuit, ticket, sign == "+")
        expect(f"the state {when}", circuit.state, equals=state, hint=hint)

    with freed_afterwards(circuits):
        circuit = new()
        hint = f"it opens with the failure number THRESHOLD, {THRESHOLD}"
        few = "-" * (THRESHOLD - 1)
        when = f"after {THRESHOLD - 1} failures"
        expect_state(when, circuit, "call", few, "closed", hint)
        when = f"after {THRESHOLD} failures in a row"
        expect_state(when, circuit, "call", "-", "open", hint)

        hint = "only failures in a row count: a success sets circuit.failures back to 0"
        when = "after two failures, a success, and two failures"
        expect_state(when, new(), "call", f"{few}+{few}", "closed", hint)

        circuit = new("half-open")
        hint = "a probe that succeeds shows that the backend is well again"
        expect_state("after a probe that succeeded", circuit, "probe", "+", "closed", hint)  # fmt: skip
        hint = "closed begins with no failures: circuit.enter() sees to that"
        when = "after that, and one failure"
        expect_state(when, circuit, "call", "-", "closed", hint)

        circuit = new("half-open")
        circuit.clock.jump(5)
        hint = "a probe that fails opens it anew, whatever was counted before"
        expect_state("after a probe that failed", circuit, "probe", "-", "open", hint)
        expect(
            "how long it has been open, by circuit.since, right after a probe that failed",
            float(circuit.clock() - circuit.since),
            at_most=0.0,
            unit="s",
            hint='the rest begins anew: circuit.enter("open") notes the moment',
        )

        # Let through while closed, and ended only now.
        hint = "a call that was let through while closed, and ends now, is old news"
        for state in ("open", "half-open"):
            for said, ended in (("+", "succeeds"), ("-" * THRESHOLD, "fails")):
                circuit = new(state)
                since = circuit.since
                circuit.clock.jump(0.1)
                when = f"when it is {state}, and a call from before {ended}"
                expect_state(when, circuit, "call", said, state, hint)
                expect(f"circuit.since {when}", circuit.since, equals=since, hint=hint)

        circuit = new(takes=0.005)
        situation(f"when {MANY} calls fail at the same moment")
        for ended in at_once(MANY, lambda: checks.call(settle, circuit, "call", False)):
            value_of(ended)
        opened = [state for _, state in circuit.history].count("open")
        what = f"times that it opens when {MANY} calls fail at the same moment"
        hint = "count, compare and change the state in one go: with circuit.lock:"
        expect_count(what, opened, exactly=1, hint=hint)
    return f"opens after {THRESHOLD} failures in a row, closes after a probe"


# -- Tasks 3 and 5: the call ------------------------------------------------------------

RULES = (
    trial.answers_are_passed_on,
    trial.failures_open_it,
    trial.errors_open_it,
    trial.it_closes_again,
    trial.a_probe_may_raise,
)
SIDE_BY_SIDE = (trial.calls_run_side_by_side, trial.one_probe_at_a_time)


def on_trial(make: Callable, things: list, scenes: tuple) -> str:
    """Play the scenes with the breaker that ``make`` makes; return the line for who passes."""
    with Backend() as backend, freed_afterwards(things):
        for scene in (*scenes, trial.old_news_is_ignored):
            scene(Breaker("call()", make, backend, things))
    return (
        f"{AT_ONCE} calls at Payments at a time; when the rest is over, 1 of {AT_ONCE}"
    )


@task(
    3,
    "the call",
    limit=LIMIT,
    hint="return the reply, whatever its status; raise what send() raises",
)
def check_task_3(Circuit, call):
    things = []

    def make(clock: Clock):
        return call, [checks.call(Circuit, "payments", clock)]

    return on_trial(make, things, RULES + SIDE_BY_SIDE)


@task(
    5,
    "find the fault, and mend it",
    limit=LIMIT,
    hint="where do seven of the eight wait?",
)
def check_task_5(Mended):
    things = []

    def make(clock: Clock):
        breaker = checks.call(Mended, "payments", clock)
        things.append(breaker)
        return method_of(breaker, "call"), []

    # The fault that is to be found comes first.
    return on_trial(make, things, SIDE_BY_SIDE + RULES)


# -- Task 4: one for each backend -------------------------------------------------------


@task(
    4,
    "one breaker for each backend",
    limit=LIMIT,
    hint="a dict of circuits, by backend",
)
def check_task_4(Guard):
    things = []
    with Backend() as payments, Backend("inventory 2") as inventory, freed_afterwards(things):  # fmt: skip
        sent = payments.raised

        def new() -> Callable:
            made = checks.call(Guard)
            things.append(made)
            method = method_of(made, "call")
            return attempt(method, lambda e: any(e is each for each in sent))

        def expect_told(when: str, got: str, told: str, hint: str) -> None:
            expect(f"what Guard.call() does {when}", got, equals=told, hint=hint)

        for _ in range(
            5
        ):  # a machine that stands still for a REST is no fault of anybody
            ask = new()
            situation("when Payments answers 503")
            for _ in range(THRESHOLD):
                began = time.monotonic()
                got = words(ask("payments", payments.asks("503")))
                hint = "return what call() returns"
                expect_told("when Payments answers 503", got, reply_of(503), hint)
            got = words(ask("payments", payments.asks("201")))
            if time.monotonic() - began < REST:
                break
        when = f"for Payments, after {THRESHOLD} replies of 503"
        hint = "is it the same circuit for every call to a backend?"
        expect_told(when, got, OPEN, hint)

        situation("for Inventory, while Payments is down")
        got = words(ask("inventory", inventory.asks("200")))
        hint = "Inventory is well: it needs a circuit of its own"
        expect_told("for Inventory, while Payments is down", got, reply_of(200), hint)
        got = words(new()("payments", payments.asks("201")))
        hint = (
            "another Guard knows nothing of this one's circuits: make them in __init__"
        )
        expect_told("for Payments, in a new Guard", got, reply_of(201), hint)
    return "Payments is refused, Inventory is asked"


# -- The verdict ------------------------------------------------------------------------

MOST_REACHED = 17  # of 36 orders; about 10 with a breaker that is right
SETTLED = 0.75  # seconds after which a breaker has noticed that the Bank is mended


@judge("Verdict", "a Bank that hangs for 1.8 s", limit=1.5)
def verdict(Guard):
    made = checks.call(Guard)
    ask = attempt(
        method_of(made, "call"), lambda e: isinstance(e, requests.RequestException)
    )
    trouble: list[Refused | str] = []

    def through(backend: str, send: Callable) -> requests.Response | None:
        if trouble:  # it is over, and nothing need be begun
            return None
        try:
            outcome = ask(backend, send)
        except Refused as refusal:
            trouble.append(refusal)
            raise
        if is_open(outcome):
            return None
        if isinstance(outcome, requests.RequestException):
            raise outcome
        if not isinstance(outcome, requests.Response):
            trouble.append(words(outcome))
        return outcome

    with freed_afterwards([made]), hanging_bank.Shop(through) as shop:
        run = shop.open(closing=lambda: bool(trouble))
    for first in trouble[:1]:
        if isinstance(first, Refused):
            raise first
        what = "what Guard.call() does in Orders"
        expect(what, first, one_of=("returns the reply", OPEN), hint="return the reply")
    hanging_bank.show(run, shop.reached, _history(made))
    return _judged(run, shop.reached)


def _history(made: object) -> list[tuple[float, str]]:
    """The states of the circuit in front of Payments; none where it is built in another way."""
    try:
        history = list(made.circuits["payments"].history)
        known = all(state in STATES and moment > 0 for moment, state in history)
    except (AttributeError, KeyError, TypeError, ValueError):
        return []
    return history if known else []


def _judged(run, reached: int) -> str:
    """Refuse what has gone wrong; the numbers, in words."""
    status = run.results  # of each customer; None without an answer
    before = hanging_bank.orders_among(range(hanging_bank.FIRST_HUNG))
    hung = hanging_bank.orders_among(
        range(hanging_bank.FIRST_HUNG, hanging_bank.FIRST_AFTER)
    )
    settled = round((hanging_bank.MENDED + SETTLED) * hanging_bank.RATE)
    after = hanging_bank.orders_among(range(settled, len(status)))
    looks = [number for number in range(len(status)) if number % 3 == 2]

    def count(numbers: list[int], *wanted: int | None) -> int:
        return sum(status[number] in wanted for number in numbers)

    refused = hanging_bank.REFUSED
    hint = "while the Bank was well: a declined card, 402, is an answer and no failure"
    what = "orders that the breaker refused before the Bank hung"
    expect_count(what, count(before, refused), exactly=0, hint=hint)
    declined = [number for number in before if number in hanging_bank.DECLINED]
    what = "customers with a declined card who are told so"
    hint = "return the reply as it is"
    expect_count(what, count(declined, 402), exactly=len(declined), hint=hint)
    what = "looks into the stock that failed"
    hint = "Inventory was well all the time: does it share a breaker with Payments, or a lock?"
    expect_count(what, len(looks) - count(looks, 200), exactly=0, hint=hint)
    what = f"orders that reached the Bank while it hung, of {len(hung)}"
    hint = "open after THRESHOLD failures in a row of Payments alone, then a probe after each REST"
    expect_count(what, reached, at_most=MOST_REACHED, hint=hint)

    failed = [number for number in hung if not run.ok[number]]
    what = f"orders that failed while the Bank hung, of {len(hung)}"
    expect_count(what, len(failed), at_least=1, hint="nothing can be paid then")
    waits = sorted(float(run.latency[number]) for number in failed)
    expect(
        "how long the middle one of these customers waited",
        waits[len(waits) // 2],
        at_most=hanging_bank.TIMEOUT / 2,
        unit="s",
        hint="a refusal needs no waiting: not for the Bank, and not for a lock",
    )
    what = f"orders paid, of the {len(after)} that came {SETTLED:g} s or more after the Bank was mended"
    hint = "after a REST a probe goes through, and when it succeeds the breaker closes"
    expect_count(what, count(after, 201), at_least=len(after) - 2, hint=hint)

    because = (
        "The third failure opens it, but the first one takes a timeout to show, and by then more "
        "orders are on their way. And each probe is a call, too."
    )
    reveal("lab05/reached", reached, because=because)
    mended = run.started[hanging_bank.FIRST_AFTER]
    paid = [run.finished[n] for n in range(len(status)) if status[n] == 201]
    share = 100 / len(hung)
    return "\n  ".join(
        [
            f"{len(hung)} orders came while the Bank hung: {share * reached:.0f} % went to the Bank, "
            f"{share * count(hung, refused):.0f} % were refused at once",
            f"they waited for {sum(waits):.1f} s in all; without a breaker it would be "
            f"{len(hung) * hanging_bank.TIMEOUT:.1f} s",
            f"paid again {min(end for end in paid if end > mended) - mended:.2f} s after the Bank "
            "was mended",
            f"declined cards: {len(declined)}, all told so; looks into the stock that failed: 0",
        ]
    )
