"""The checks of lab 2, "Speak protobuf": a contract, both ends of a call, and its deadline.

A check starts a Payments and a Bank of its own, by the lab's contracts, and judges by what
goes over the wire: what is read, how calls end, and what the Bank was asked and has done.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import grpc

from helpers.checks import call, expect, expect_count, judge, situation, task
from helpers.labs import grpc_shop, impatient
from helpers.labs.grpc_shop import ending, in_calls, messages
from helpers.labs.two_contracts import METHOD, agree, compiled
from helpers.predict import reveal

# As the lab gives them to the learner.
DECLINED = {
    "tok_declined": "The bank declined the card.",
    "tok_no_funds": "There is not enough money on the account.",
}
LIMIT = 3.0  # seconds
RESERVE = 0.1  # seconds
ENDINGS = ("paid", "refused", "failed", "unknown")

HANGS = 3.5  # seconds after which a call is taken to hang
LATER = HANGS + 0.5  # seconds until a call in a service that hangs is known to
SLACK = 1.2  # seconds: a slow and busy core is no fault of the learner's
ABORT = (
    "context.abort(code, reason) ends a call; what you raise yourself becomes UNKNOWN"
)


class Result(NamedTuple):
    """The lab has one like it, which cannot be imported."""

    ending: str
    detail: str


def an_order(**changes):
    """A good order, with changes."""
    fields = {"order": "order-1", "amount_cents": 5000, "currency": "USD"}
    return messages.Order(**fields | {"card": "tok_visa"} | changes)


# -- Task 1 -----------------------------------------------------------------------------


@task(1, "write the contract", limit=HANGS, hint="compare it with the table")
def check_task_1(contract_text):
    text = call(contract_text)
    hint = "return the text, between three quotation marks before and after it"
    expect("what contract_text() returns", text, is_a=str, hint=hint)
    agree(*compiled(text))
    return f"orders went over and came back, and {METHOD} answers"


# -- Task 2 -----------------------------------------------------------------------------


@task(2, "serve it", limit=HANGS, hint=ABORT)
def check_task_2(answer):
    answer, made = in_calls(answer), []

    def make_charge(order):
        made.append(order.order)
        return f"ch-{len(made)}"

    def served(order, context):
        got = answer(context, order, context, make_charge)
        if context.code() is None and not hasattr(got, "SerializeToString"):
            returned.append(got)
        return got or messages.Receipt()

    returned: list = []
    with grpc_shop.payments(served) as (shop, _, stub):

        def ends(when: str, wanted: str, hint: str, order):
            shop.when = when
            made.clear()
            code, details, receipt = ending(stub, order, 2)
            shop.wait(LATER)
            shop.refuse()
            if returned:
                what = f"what answer() returns {when}"
                expect(
                    what, returned[0], is_a=messages.Receipt, hint="return a Receipt"
                )
            expect(f"how the call ends {when}", code, equals=wanted, hint=hint)
            charges = 1 if wanted == "OK" else 0
            hint = "make_charge(order) makes it, once"
            if not charges:
                hint = "look at the order first, and make the charge last"
            expect_count(f"charges made {when}", len(made), exactly=charges, hint=hint)
            return details, receipt

        for order in (an_order(), an_order(order="order-2", card="tok_other")):
            when = f"for a good order with the card {order.card}"
            _, receipt = ends(when, "OK", "nothing is wrong with it", order)
            hint = "make_charge(order) returns it"
            expect(
                f"the id in the receipt {when}", receipt.id, equals="ch-1", hint=hint
            )
            hint = "order.order, as the caller sent it"
            expect(
                f"the order in the receipt {when}",
                receipt.order,
                equals=order.order,
                hint=hint,
            )

        for field, value in (("amount_cents", 0), ("amount_cents", -5), ("order", "")):
            when = f"for {field} {value!r}"
            order = an_order(**{field: value})
            details, _ = ends(when, "INVALID_ARGUMENT", ABORT, order)
            if field not in details:
                hint = f"the second argument of abort: a sentence with {field} in it"
                expect(f"the details {when}", details, equals=f"… {field} …", hint=hint)

        for card, why in DECLINED.items():
            when = f"for the card {card}"
            hint = "the order has the right form; it is the card that is declined"
            details, _ = ends(when, "FAILED_PRECONDITION", hint, an_order(card=card))
            if why not in details:
                hint = "the reason is DECLINED[order.card]"
                expect(f"the details {when}", details, equals=why, hint=hint)
    return "two orders charged, five refused with a reason"


# -- Task 3 -----------------------------------------------------------------------------


class _Moods:
    """What the Payments of task 3 does with an order; it makes a charge except where it refuses."""

    def __init__(self):
        self.mood, self.service = "fine", None
        self.let_go = threading.Event()

    def __call__(self, order, context):
        match self.mood:
            case "busy":
                self.let_go.wait(0.4)
            case "stuck":
                self.let_go.wait(60)
            case "invalid":
                reason = f"amount_cents must be at least 1, not {order.amount_cents}."
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)
            case "declined":
                reason = DECLINED["tok_declined"]
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, reason)
            case "broken":
                raise KeyError("customer")
            case "lost":
                reason = "connection closed before the reply"
                context.abort(grpc.StatusCode.UNAVAILABLE, reason)
            case "crash":
                self.service.stop()
        return messages.Receipt(id="ch-1", order=order.order)


@task(
    3,
    "call it with a deadline",
    limit=HANGS,
    hint="charge() always comes back, with one of the four endings",
)
def check_task_3(charge):
    moods = _Moods()
    with grpc_shop.payments(moods) as (shop, moods.service, stub):

        def ends(mood: str, when: str, wanted: str, hint: str, seconds=3.0):
            """Refuse unless the charge ends as wanted, after one call; return the detail."""
            moods.mood = mood
            order = an_order(order=f"order-{mood}")
            result = told(charge, stub, order, seconds, when)
            what = f"the ending that charge() returns {when}"
            expect(what, result.ending, equals=wanted, hint=hint)
            hint = "call once: another call would be another charge"
            calls = sum(call.order == order.order for call in shop.calls)
            expect_count(f"calls of charge() {when}", calls, at_most=1, hint=hint)
            return result.detail

        def details(got: str, when: str, wanted: str, hint: str) -> None:
            if wanted not in str(got):
                what = f"the detail that charge() returns {when}"
                expect(what, got, equals=wanted, hint=hint)

        try:
            when = "for a charge that is made"
            got = ends("fine", when, "paid", "the call ended well")
            details(got, when, "ch-1", "the id is in the receipt: receipt.id")

            what = "the time that Payments sees left, of the 3 s of the caller"
            expect_left(
                what, shop.calls[-1].left, 3.0, "give the call its timeout: seconds"
            )

            when = "when the answer takes 0.4 s of 3 s"
            ends("busy", when, "paid", "wait as long as the deadline allows")

            when = "for a declined card"
            hint = "FAILED_PRECONDITION is an answer: Payments says no"
            got = ends("declined", when, "refused", hint)
            details(
                got, when, DECLINED["tok_declined"], "the reason is error.details()"
            )
            when = "for an impossible amount"
            hint = "INVALID_ARGUMENT is an answer: Payments says no"
            got = ends("invalid", when, "refused", hint)
            details(got, when, "amount_cents", "the reason is error.details()")

            when = "when no answer comes in time"
            start = time.monotonic()
            hint = "Payments has the order, and may charge yet"
            ends("stuck", when, "unknown", hint, seconds=0.3)
            took = time.monotonic() - start
            what = f"how long charge() takes {when}, of 0.3 s"
            hint = "the deadline is seconds, for all that charge() does"
            expect(what, took, at_most=0.3 + SLACK, unit="s", hint=hint)
            moods.let_go.set()

            when = "when Payments raises an error (UNKNOWN)"
            hint = "it does not say how far Payments got before the error"
            ends("broken", when, "unknown", hint)
            hint = "UNAVAILABLE alone does not say whether the order arrived"
            ends("lost", "when the reply is lost", "unknown", hint)
            ends("crash", "when Payments goes down during the call", "unknown", hint)
            hint = "no connection, so nothing was sent: never_connected(error) says so"
            ends("stopped", "when nobody listens", "failed", hint)
        finally:
            moods.let_go.set()
    return "paid, refused, failed and unknown, each where it belongs, and in time"


def told(charge: Callable, stub, order, seconds: float, when: str) -> Result:
    """What the learner's charge() returns; refuse unless it is a Result."""
    situation(when)
    got = call(charge, stub, order, seconds)
    if not isinstance(got, tuple) or len(got) != 2:
        what = f"what charge() returns {when}"
        expect(what, got, is_a=Result, hint="return Result(ending, detail)")
    result = Result(*got)
    if result.ending not in ENDINGS:
        expect(
            f"the ending that charge() returns {when}", result.ending, one_of=ENDINGS
        )
    return result


def expect_left(
    what: str, left: float | None, of: float, hint: str, reserve: float = 0
) -> None:
    """Refuse unless a service saw about as much time left as its caller had."""
    left = math.inf if left is None or left > 1e6 else left
    # 0.02: gRPC rounds a timeout up on its way, by a hundredth at most.
    expect(what, left, at_most=of - reserve / 2 + 0.02, unit="s", hint=hint)
    hint = "give it all the time that there is"
    expect(what, left, at_least=of - reserve - SLACK, unit="s", hint=hint)


# -- Task 4 -----------------------------------------------------------------------------


@task(4, "pass the deadline on", limit=HANGS, hint=ABORT)
def check_task_4(authorize):
    authorize = in_calls(authorize)
    needs = {"slow": 1.6, "refused": DECLINED["tok_no_funds"]}
    before = {}  # what Payments does before it asks the Bank, by order
    left = {}  # the time left of each order when it does

    def served(order, context):
        before.get(order.order, lambda context: None)(context)
        left[order.order] = context.time_remaining()
        id = authorize(context, bank_stub, order, context)
        if context.code() is None and not isinstance(id, str):
            returned.append(id)
        return id if id is grpc_shop.ENDED else messages.Receipt(id=str(id))

    returned: list = []
    with (
        grpc_shop.bank(lambda order: needs.get(order, 0.02)) as (
            bank,
            bank_service,
            bank_stub,
        ),
        grpc_shop.payments(served) as (shop, _, stub),
    ):

        def ends(order: str, when: str, seconds: float | None):
            """How the customer's call ends; refuse what authorize() has raised or returned."""
            shop.when = when
            code, details, receipt = ending(stub, an_order(order=order), seconds)
            shop.wait(LATER)
            shop.refuse()
            if returned:
                what = f"what authorize() returns {when}"
                expect(what, returned[0], is_a=str, hint="the id of the authorization")
            return code, details, receipt

        def asked(order: str, times: int, when: str, hint: str):
            """What the Bank was asked about an order; refuse unless so many times."""
            questions = [asked for asked in bank.asked if asked.order == order]
            expect_count(
                f"questions to the Bank {when}",
                len(questions),
                exactly=times,
                hint=hint,
            )
            return questions

        for seconds in (2.8, 2.0, 1.2):
            when, order = f"for a customer with {seconds} s", f"order-{seconds}"
            code, _, receipt = ends(order, when, seconds)
            hint = "one Request, with the order and the amount, gets one Authorization"
            [question] = asked(order, 1, when, hint)
            what = f"the time that the Bank sees left {when}"
            hint = "the timeout for the Bank: what is left of the customer's time, minus RESERVE"
            expect_left(what, question.left, left[order], hint, RESERVE)
            expect(
                f"how the call ends {when}",
                code,
                equals="OK",
                hint="the Bank has agreed",
            )
            hint = "the id of the Bank's Authorization"
            what = f"what authorize() returns {when}"
            expect(what, receipt.id, equals=f"auth-{order}", hint=hint)
            hint = "amount_cents of the Request"
            expect(
                "the amount that the Bank is asked for",
                question.amount_cents,
                equals=5000,
                hint=hint,
            )

        when = "for a customer without a deadline"
        code, _, _ = ends("patient", when, None)
        hint = (
            "time_remaining() is enormous then: take LIMIT where it is more than that"
        )
        expect(f"how the call ends {when}", code, equals="OK", hint=hint)
        [question] = asked("patient", 1, when, "ask once")
        what = f"the time that the Bank sees left {when}"
        expect_left(what, question.left, LIMIT, hint)

        when = "for a customer who has gone"
        before["gone"] = _until_gone
        shop.when = when
        leaving = stub.Charge.future(an_order(order="gone"), timeout=5)
        _until(lambda: any(call.order == "gone" for call in shop.calls))
        leaving.cancel()
        shop.wait(3 + LATER)
        shop.refuse()
        hint = "context.is_active() says whether the customer still waits"
        asked("gone", 0, when, hint)

        when = "for a customer with less than RESERVE left"
        before["late"] = _until_late
        ends("late", when, 0.4)
        hint = "there is no time left to ask: end the call at once"
        asked("late", 0, when, hint)

        when = "when the Bank refuses"
        code, details, _ = ends("refused", when, 2.8)
        hint = "pass it on: context.abort(error.code(), error.details())"
        expect(
            f"how the call ends {when}", code, equals="FAILED_PRECONDITION", hint=hint
        )
        if needs["refused"] not in details:
            expect(f"the details {when}", details, equals=needs["refused"], hint=hint)

        when = "when the Bank is too slow"
        code, _, _ = ends("slow", when, 0.4)
        bank.wait(2)
        hint = "the customer had gone by then"
        times = bank.authorized("slow")
        expect_count(
            f"amounts that the Bank has set aside {when}", times, exactly=0, hint=hint
        )
        hint = "pass the Bank's code on: context.abort(error.code(), …)"
        expect(f"how the call ends {when}", code, equals="DEADLINE_EXCEEDED", hint=hint)

        when = "when the Bank is down"
        bank_service.stop()
        code, _, _ = ends("down", when, 2.8)
        expect(f"how the call ends {when}", code, equals="UNAVAILABLE", hint=hint)
    return "the Bank was never given more time than the customer had, and never asked in vain"


def _until(condition: Callable[[], bool], seconds: float = 3.0) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)


def _until_gone(context) -> None:
    _until(lambda: not context.is_active())


def _until_late(context) -> None:
    _until(lambda: context.time_remaining() < RESERVE / 2)


# -- The verdict ------------------------------------------------------------------------


@judge("Verdict", "thirty customers, and a slow Bank", limit=HANGS)
def verdict(contract_text, answer, charge, authorize):
    theirs, their_services = compiled(call(contract_text))
    answer, authorize = in_calls(answer, more_time=0.4), in_calls(authorize)
    customers = impatient.customers()
    of = {customer.order: customer for customer in customers}

    def served(order, context):
        time.sleep(of[order.order].queue)

        def at_the_bank(order):
            id = authorize(context, bank_stub, order, context)
            if id is grpc_shop.ENDED:
                raise RuntimeError("the call has ended")
            return id

        return answer(context, order, context, at_the_bank)

    with (
        grpc_shop.bank(lambda order: of[order].bank) as (bank, _, bank_stub),
        grpc_shop.payments(served) as (shop, service, _),
        grpc.insecure_channel(service.address) as channel,
    ):
        stub = their_services.PaymentsStub(channel)

        def place(customer):
            order = theirs.Order(**customer.fields)
            when = f"for {customer.order}"
            result = told(charge, stub, order, customer.seconds, when)
            shop.refuse(unless=(grpc.RpcError,))
            return result

        # What hangs or raises anyway is told at once, by one customer.
        trial = impatient.trial()
        of[trial.order] = trial
        place(trial)
        shop.wait(LATER)
        shop.refuse(unless=(grpc.RpcError,))
        impatient.let_in(customers, place)
        shop.wait(LATER)
        bank.wait(impatient.BANK_NEEDS_AT_MOST)
        shop.refuse(unless=(grpc.RpcError,))
        impatient.note(customers, bank.asked)
    impatient.show(customers)
    return _judged(customers)


def _judged(customers: list[impatient.Customer]) -> str:
    """Refuse what went wrong; else the counts."""
    says = Counter(customer.result.ending for customer in customers)
    for what, wrong, hint in (
        ("amounts set aside for customers whose time was up", impatient.for_nobody,
         "the Bank does not know: is the customer's deadline passed on?"),
        ("questions to the Bank for customers whose time was up", impatient.in_vain,
         "look at is_active() and at the time left before you ask"),
        ("orders that the Bank has authorized twice", impatient.twice, "ask the Bank once an order"),
        ("customers wrongly told", impatient.misled, "look at charge() again"),
    ):  # fmt: skip
        found = [customer for customer in customers if wrong(customer)]
        hint = f"{found[0].story}; {hint}" if found else ""
        expect_count(what, len(found), exactly=0, hint=hint)
    kinds = Counter(customer.kind for customer in customers)
    for ending_, kind in (("paid", "in time"), ("refused", "bad")):
        others = [
            c.story for c in customers if c.kind == kind and c.result.ending != ending_
        ]
        expect_count(
            f"customers who are {ending_}",
            says[ending_],
            at_least=kinds[kind] * 4 // 5,  # on a busy machine one may be too late
            hint=others[0] if others else "",
        )
    longest = max(customer.overtime for customer in customers)
    because = (
        "It was told a little less than the time they had, and looks before each step."
    )
    reveal("lab02/overtime", longest, because=because)
    aside = sum(customer.authorized for customer in customers)
    return "\n  ".join(
        [
            f"{len(customers)} customers: {', '.join(f'{says[e]} {e}' for e in ENDINGS)}",
            f"amounts set aside: {aside}, of them too late: 0, twice: 0; customers wrongly told: 0",
            f"the Bank worked for {sum(c.worked for c in customers):.1f} s; "
            f"when a customer's time was up, it went on for {longest:.2f} s at most",
        ]
    )
