"""The checks of lab 1, "Call and wait": a client for Payments.

A check starts a Payments of its own, with the fates that matter, and judges by three things: what
the learner's function says, what Payments was sent, and what is in the ledger.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import requests

from helpers.checks import Refused, call, expect, expect_count, judge, situation, task
from helpers.labs import bad_day
from helpers.labs.payments import Payments, payments
from helpers.predict import reveal

# As the lab gives them to the learner.
TIMEOUT = 0.5  # seconds
TRIES = 3
PAUSE = 0.1  # seconds
ENDINGS = ("paid", "refused", "failed", "unknown")

ID = "order-1"
ORDER = {"order": ID, "amount_cents": 5000, "currency": "USD", "card": "tok_visa"}
OTHER_ORDER = {**ORDER, "order": "order-2"}

IN_TIME = TIMEOUT + 0.7  # seconds: a slow and busy core is no fault of the learner's
LIMIT = 2.0  # seconds after which a call is taken to hang


class Result(NamedTuple):
    """The lab has one like it, which cannot be imported."""

    ending: str
    detail: str


# -- What the learner's function says ---------------------------------------------------


def told(function: Callable, shop: Payments, when: str, order: dict = ORDER) -> Result:
    """What the function returns for the order; refuse unless it is a Result."""
    situation(when)
    got = call(function, shop.url, order)
    if not isinstance(got, tuple) or len(got) != 2:
        what = f"what {_name(function)}() returns {when}"
        expect(what, got, is_a=Result, hint="return Result(ending, detail)")
    result = Result(*got)
    if result.ending not in ENDINGS:
        expect(_ending(function, when), result.ending, one_of=ENDINGS)
    return result


def expect_ending(
    function: Callable,
    shop: Payments,
    when: str,
    ending: str,
    hint: str,
    order: dict = ORDER,
) -> Result:
    """Refuse unless the function says that the order ended like this."""
    result = told(function, shop, when, order)
    expect(_ending(function, when), result.ending, equals=ending, hint=hint)
    return result


def expect_detail(
    function: Callable, when: str, result: Result, words: str, hint: str
) -> None:
    """Refuse unless the detail of the result has these words."""
    if words not in str(result.detail):
        what = f"the detail that {_name(function)}() returns {when}"
        expect(what, result.detail, equals=words, hint=hint)


def the_charge(shop: Payments, when: str, hint: str = "") -> dict:
    """The one charge of ORDER in the ledger; refuse unless there is one."""
    made = shop.charges(ID)
    expect_count(f"charges {when}", len(made), exactly=1, hint=hint)
    return made[0]


def _ending(function: Callable, when: str) -> str:
    return f"the ending that {_name(function)}() returns {when}"


def _name(function: Callable) -> str:
    return getattr(function, "__name__", type(function).__name__)


# -- The tasks --------------------------------------------------------------------------


@task(
    1, "ask with a timeout", limit=LIMIT, hint="requests.post has no timeout by itself"
)
def check_task_1(send):
    requests_of_one = "requests that Payments gets from one send()"
    with payments() as shop:
        reply = call(send, shop.url, ORDER)
        hint = "one post, to the url that was passed in"
        expect_count(requests_of_one, len(shop.requests), exactly=1, hint=hint)
        [request] = shop.requests
        asked = f"{request.method} {request.path}"
        hint = 'the address is url + "/charges"'
        expect("what Payments is asked", asked, equals="POST /charges", hint=hint)
        hint = "send the order as JSON: json=order"
        expect("the body that arrives", request.body, equals=ORDER, hint=hint)
        if reply is None:
            hint = "return the reply"
            expect("what send() returns", reply, is_a=requests.Response, hint=hint)
    with payments() as shop:
        call(send, shop.url, ORDER, {"Idempotency-Key": "key-1"})
        key = next((request.key for request in shop.requests), None) or "none"
        hint = "pass the headers on; Task 3 needs them"
        expect("the Idempotency-Key that arrives", key, equals="key-1", hint=hint)
    with payments("stuck", "stuck", "stuck") as shop:
        situation("when no answer comes")
        expect(
            "how long send() waits for a Payments that does not answer",
            _seconds_until_back(send, shop.url, ORDER),
            at_most=IN_TIME,
            unit="s",
            hint=f"the timeout is TIMEOUT, {TIMEOUT} s, and there is one try",
        )
        hint = "to try again is for Task 3, which knows when that is safe"
        expect_count(requests_of_one, len(shop.requests), exactly=1, hint=hint)
    return "a reply, or an error in time"


def _seconds_until_back(function: Callable, *args: object) -> float:
    """How long a call takes that may as well raise."""
    start = time.monotonic()
    try:
        call(function, *args)
    except Refused as refusal:
        if refusal.__cause__ is None:  # it raised nothing: it has not come back
            raise
    return time.monotonic() - start


@task(
    2,
    "tell the endings apart",
    limit=LIMIT,
    hint="charge() always comes back, with one of the four endings",
)
def check_task_2(charge):
    when = "for a charge that is made"
    with payments() as shop:
        hint = "201 says that the charge was made"
        result = expect_ending(charge, shop, when, "paid", hint)
        made = the_charge(shop, when, "call send() once")
        hint = 'the id is in the reply: reply.json()["id"]'
        expect_detail(charge, when, result, made["id"], hint)

    for wrong, words in (
        ({"card": "tok_declined"}, "The bank declined the card."),
        ({"card": "tok_no_funds"}, "There is not enough money on the account."),
        ({"amount_cents": -5}, "amount_cents must be at least 1, not -5."),
    ):
        [(field, value)] = wrong.items()
        when = f"for {field} {value}"
        with payments() as shop:
            hint = "a 4xx is an answer: Payments says no"
            order = {**ORDER, **wrong}
            result = expect_ending(charge, shop, when, "refused", hint, order)
            hint = 'the reason is in the problem details: reply.json()["detail"]'
            expect_detail(charge, when, result, words, hint)

    with payments() as shop:
        shop.service.stop()
        hint = "no connection, so nothing was sent: never_connected(error) says so"
        expect_ending(charge, shop, "when nobody listens", "failed", hint)

    for fate, when, hint in (
        ("stuck", "when no answer comes in time", "Payments has the request, and will charge yet"),
        ("lost", "when the reply is lost", "the charge was made; is never_connected(error) asked?"),
        ("bug", "for a 500", "the charge was made before it failed: a 5xx does not say how far it got"),
    ):  # fmt: skip
        with payments(fate) as shop:
            expect_ending(charge, shop, when, "unknown", hint)
            hint = "charge() tries once; to try again is for Task 3"
            expect_count(f"tries {when}", len(shop.posts), exactly=1, hint=hint)
    return "paid, refused, failed and unknown, each where it belongs"


@task(
    3,
    "retry only what is safe",
    limit=LIMIT,
    hint="at most TRIES tries, then return what is known",
)
def check_task_3(pay):
    # An answer is an answer.
    for card, ending in (("tok_visa", "paid"), ("tok_declined", "refused")):
        when = f"for the card {card}"
        with payments() as shop:
            hint = "return what charge() says"
            expect_ending(pay, shop, when, ending, hint, {**ORDER, "card": card})
            hint = f"{ending} is an answer, and asking again does not change it"
            expect_count(f"tries {when}", len(shop.posts), exactly=1, hint=hint)

    # One order, one key.
    when = "when two replies are lost"
    with payments("lost", "lost") as shop:
        result = told(pay, shop, when)
        made = the_charge(shop, when, _about_keys(shop))
        hint = "unknown is safe to try again, with the same key"
        expect(_ending(pay, when), result.ending, equals="paid", hint=hint)
        expect_detail(pay, when, result, made["id"], "return what the last try says")
        when = "for another order"
        hint = "each order needs a key of its own"
        expect_ending(pay, shop, when, "paid", hint, OTHER_ORDER)

    # Not for ever, and not at once.
    when = "when every try gets a 503"
    with payments(*["error"] * 8) as shop:
        result = told(pay, shop, when)
        hint = f"TRIES is {TRIES}, the first try included"
        tries = shop.posts
        expect_count(f"tries {when}", len(tries), between=(2, TRIES), hint=hint)
        expect(
            "the shortest pause between two tries",
            min(tries[n].at - tries[n - 1].at for n in range(1, len(tries))),
            at_least=0.9 * PAUSE,
            unit="s",
            hint="a service in trouble needs a moment: time.sleep(PAUSE) before another try",
        )
        hint = "no try brought an answer"
        expect(
            _ending(pay, when), result.ending, one_of=("unknown", "failed"), hint=hint
        )

    # Nobody there: nothing was done.
    with payments() as shop:
        shop.service.stop()
        back = threading.Timer(PAUSE / 2, shop.service.start)
        back.start()
        try:
            hint = "failed is safe to try again: nothing was done"
            when = "when Payments is back after a moment"
            expect_ending(pay, shop, when, "paid", hint)
        finally:
            back.join()
    with payments() as shop:
        shop.service.stop()
        hint = "no try got through, so nothing was done"
        expect_ending(pay, shop, "when nobody listens", "failed", hint)

    # A later failure does not undo what an earlier try did.
    with payments("crash") as shop:
        when = "when Payments charges, then crashes"
        hint = "the first try was unknown, and did charge; that nobody is there now proves nothing"
        expect_ending(pay, shop, when, "unknown", hint)
    return "two replies lost, three tries, one charge"


def _about_keys(shop: Payments) -> str:
    keys = [request.key for request in shop.posts]
    if None in keys:
        return "without an Idempotency-Key, every try is a new charge"
    if len(set(keys)) > 1:
        return "each try had a key of its own: make the key once, before the first try"
    return ""


@task(
    4,
    "find out what happened",
    limit=LIMIT,
    hint="ask once, with a timeout, and never raise",
)
def check_task_4(checkout):
    passed_on = "return what pay() says"
    with payments() as shop:
        order = {**ORDER, "card": "tok_declined"}
        expect_ending(
            checkout, shop, "for a declined card", "refused", passed_on, order
        )

    # The charge was made, and no reply has ever arrived.
    with Payments(lambda order: ["lost"] * 9 if order == ID else []) as shop:
        when = "for a charge that is made"
        expect_ending(checkout, shop, when, "paid", passed_on, OTHER_ORDER)
        when = "when every reply is lost"
        hint = "the charge is in the ledger: ask GET /charges?order=…"
        result = expect_ending(checkout, shop, when, "paid", hint)
        made = the_charge(shop, when)
        hint = "the id of this order's charge, not of another's: params={\"order\": …}"
        expect_detail(checkout, when, result, made["id"], hint)

    # Not charged yet is not the same as not charged.
    with payments("stuck", "error", "error") as shop:
        when = "when there is no charge yet"
        result = told(checkout, shop, when)
        shop.release()
        late = len(shop.charges(ID))
        hint = f"Payments was still at work, and has made {late} charge since"
        expect(_ending(checkout, when), result.ending, equals="unknown", hint=hint)

    # The question may fail, too.
    with payments("crash") as shop:
        when = "when nobody is there to ask"
        expect_ending(checkout, shop, when, "unknown", "then it stays unknown")
    with payments(*["lost"] * 9, look_ups="stuck") as shop:
        when = "when the question gets no answer"
        expect_ending(checkout, shop, when, "unknown", "then it stays unknown")
    with payments(*["lost"] * 9, look_ups="error") as shop:
        when = "when the answer to the question is a 503"
        expect_ending(checkout, shop, when, "unknown", "then it stays unknown")
    return "found the charge whose replies were lost, and claimed nothing that it cannot know"


# -- The verdict ------------------------------------------------------------------------


@judge("Verdict", "forty orders on a bad day", limit=LIMIT)
def verdict(checkout):
    customers = bad_day.customers()
    fates = {customer.order["order"]: customer.fates for customer in customers}
    with Payments(lambda order: fates.get(order, ())) as shop:
        bad_day.let_in(
            customers,
            lambda order: told(checkout, shop, f"for {order['order']}", order),
        )
        shop.release()
        for customer in customers:
            customer.charges = len(shop.charges(customer.order["order"]))

    served = [customer for customer in customers if customer.result]
    expect_count(
        f"orders taken within {bad_day.OPEN:g} s",
        len(served),
        exactly=len(customers),
        hint="each takes too long: is the timeout TIMEOUT, and the pause PAUSE?",
    )
    bad_day.show(customers)

    says = Counter(customer.result.ending for customer in customers)
    doubled = [customer for customer in customers if customer.charges > 1]
    misled = [customer for customer in customers if customer.misled]
    lost = [
        customer for customer in customers if customer.good and not customer.charges
    ]
    expect_count("orders charged twice", len(doubled), exactly=0, hint=_first(doubled))
    expect_count("orders wrongly reported", len(misled), exactly=0, hint=_first(misled))
    hint = "failed or unknown is worth another try, and unknown a look into the ledger"
    expect_count("orders left unknown", says["unknown"], at_most=2, hint=hint)
    expect_count("good orders not charged", len(lost), at_most=2, hint=hint)

    seconds = sorted(customer.seconds for customer in customers)
    because = (
        "At worst, a slow Payments and then a lost reply: one timeout and two pauses."
    )
    reveal("lab01/slowest", seconds[-1], because=because)
    return "\n  ".join(
        [
            f"{len(customers)} orders: {', '.join(f'{says[e]} {e}' for e in ENDINGS)}",
            f"{sum(customer.charges for customer in customers)} charges, "
            f"charged twice: {len(doubled)}, wrongly reported: {len(misled)}, "
            f"good orders not charged: {len(lost)}",
            f"time at the button: p50 {seconds[len(seconds) // 2]:.2f} s, "
            f"p95 {seconds[len(seconds) * 95 // 100]:.2f} s, longest {seconds[-1]:.2f} s",
        ]
    )


def _first(customers: list[bad_day.Customer]) -> str:
    """The first of them, as a hint."""
    if not customers:
        return ""
    first = customers[0]
    met = " and ".join(first.fates[:TRIES]) or "no mishap"
    return (
        f"{first.order['order']}, {first.order['card']}, met {met}: "
        f"told {first.result.ending}, charges: {first.charges}"
    )
