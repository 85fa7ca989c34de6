"""The checks of lab 8, "Design the checkout": the challenge of lesson 10 as code.

The checks of the tasks run the learner's functions in this kernel, in a little shop with faults, and
look at what customers are told, at the ledgers and at the messages. The verdict runs the whole checkout
in processes of its own, under the judge of lesson 10. Neither asks for one design.
"""

import inspect
import os
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager

from helpers.challenge import words
from helpers.challenge.judge import Verdict
from helpers.challenge.wiring import Refused as SaysNo
from helpers.checks import (
    call,
    expect,
    expect_count,
    expect_raises,
    guard,
    judge,
    situation,
    task,
)
from helpers.labs import seven_scenarios
from helpers.labs.little_shop import LittleShop
from helpers.labs.promises import (
    NOT_NEEDED,
    expect_ending,
    expect_so,
    expect_told,
    expect_yes,
    in_short,
    tried,
)
from helpers.predict import reveal

TIMEOUT = 0.5  # seconds, as the lab gives it to the learner

IN_TIME = TIMEOUT + 0.7  # seconds: a slow and busy core is no fault of the learner's
QUICK = 0.4  # seconds at the button, for two short steps and a broker
LIMIT = 2.0  # seconds after which a call is taken to hang

NO_MAIL_HERE = "who needs the mail at the button? A message can wait for Email"

ID = "order-1"
ORDER = {"order": ID, "item": "lamp", "amount_cents": 5000, "card": "tok_visa"}
AS_TEXT = {name: str(value) for name, value in ORDER.items()}  # out of a stream


def order(number: int, **changes: str) -> dict:
    """Another order."""
    return {**ORDER, "order": f"order-{number}", **changes}


@contextmanager
def the_kernel_stays():
    """Inside, os._exit() raises: called by the learner's code, it would end the notebook's kernel."""

    def end(status: int) -> None:
        raise SystemError(f"os._exit({status}) ends the whole process")

    real, os._exit = os._exit, end
    try:
        yield
    finally:
        os._exit = real


# -- Task 1 -----------------------------------------------------------------------------


@task(
    1,
    "a no is an answer",
    limit=LIMIT,
    hint="one post to shop.url[service] + path, with json, headers and timeout",
)
def check_task_1(ask):
    with LittleShop() as little:
        shop = little.shop
        situation("for a reservation")
        wanted = {"order": ID, "item": "lamp"}
        call(ask, shop, "inventory", "/reservations", wanted)
        made = [{name: e[name] for name in wanted} for e in little.entries("inventory")]
        hint = "post the body as JSON: json=body"
        expect("what Inventory has reserved", made, equals=[wanted], hint=hint)
        _check_keys(ask, little)

        hint = "402 and 409 are answers: raise Refused(…)"
        when = "when the card is declined"
        _expect_no(ask, shop, when, "/charges", _purchase("tok_declined"), hint)
        little.set_stock("bike", 0)
        when, wanted = "when the item is sold out", {"order": "order-2", "item": "bike"}
        _expect_no(ask, shop, when, "/reservations", wanted, hint)

        asked = ask, shop, "payments", "/charges", _purchase()
        little.services["payments"].inject(fail_next=9)
        hint = "a 503 is no answer: reply.raise_for_status() raises an error for it"
        _expect_failure(*asked, when="for a 503", hint=hint)
        hint = "nobody has said no: let the error of requests pass"
        with little.down("payments"):
            _expect_failure(*asked, when="when nobody listens", hint=hint)
        with little.held("payments"):
            start = time.monotonic()
            _expect_failure(*asked, when="when no answer comes", hint=hint)
            expect(
                "how long ask() waits for a service that does not answer",
                time.monotonic() - start,
                at_most=IN_TIME,
                unit="s",
                hint=f"the timeout is TIMEOUT, {TIMEOUT} s, and there is one try",
            )
    return "a yes, two kinds of no, and three kinds of failure, each told as what it is"


def _check_keys(ask: Callable, little: LittleShop) -> None:
    mail = {"order": ID, "kind": "confirmation"}
    for what, key, exactly, hint in (
        (
            "mails for two requests with one key",
            ["key-1"],
            1,
            'the key goes into the header "Idempotency-Key"',
        ),
        (
            "mails in all, after two requests more without a key",
            [],
            3,
            "without a key there must be no such header",
        ),
    ):
        situation("with a key" if key else "without a key")
        for _ in range(2):
            call(ask, little.shop, "email", "/mails", mail, *key)
        expect_count(what, len(little.entries("email")), exactly=exactly, hint=hint)


def _purchase(card: str = "tok_visa") -> dict:
    return {"order": ID, "amount_cents": 5000, "currency": "USD", "card": card}


def _expect_no(ask, shop, when: str, path: str, body: dict, hint: str) -> None:
    """Refuse unless a no comes as Refused, with the service's reason."""
    situation(when)
    service = "payments" if path == "/charges" else "inventory"
    reason = "declined" if path == "/charges" else "There are only 0 of bike left."
    what = f"what ask() does {when}"
    error = expect_raises(what, SaysNo, ask, shop, service, path, body, hint=hint)
    if reason not in str(error):
        hint = 'the reason is in the reply: reply.json()["detail"]'
        what = f"the reason in Refused {when}"
        expect(what, str(error), equals=reason, hint=hint)


def _expect_failure(function: Callable, *args: object, when: str, hint: str) -> None:
    """Refuse unless there is an error, and one that is not Refused."""
    situation(when)
    _, error = tried(function, *args)
    got = "no error" if error is None else "an error"
    got = "Refused" if isinstance(error, SaysNo) else got
    name = getattr(function, "__name__", "your code")
    what = f"what {name}() raises {when}"
    expect(what, got, equals="an error", hint=hint)


# -- Task 2 -----------------------------------------------------------------------------


@task(
    2,
    "steps that may come twice",
    limit=LIMIT,
    hint="ask() takes a key: the same for each repeat of this step, and for nothing else",
)
def check_task_2(charge, send_mail):
    with LittleShop() as little:
        shop = little.shop
        situation("for an order at the button")
        call(charge, shop, ORDER)
        made = little.entries("payments")
        hint = 'ask(shop, "payments", "/charges", …)'
        expect_count("charges of one order", len(made), exactly=1, hint=hint)
        got = {name: made[0][name] for name in _purchase()}
        expect("the charge in the ledger", got, equals=_purchase())

        hint = "in a stream all is text, and Payments takes 5000 but not '5000': int(…)"
        _does(charge, shop, AS_TEXT, what="charge() with a message", hint=hint)
        charges = len(little.entries("payments"))
        hint = "a repeat needs the key of the first: what is the same about both?"
        what = "charges when the message comes twice"
        expect_count(what, charges, exactly=1, hint=hint)
        hint = "each order needs a key of its own"
        _does(charge, shop, order(2), what="charge() for another order", hint=hint)
        charges = little.paid("order-2")
        expect_count("charges of another order", charges, exactly=1, hint=hint)
        situation("when the card is declined")
        declined = order(3, card="tok_declined")
        what, hint = "what charge() does when the card is declined", "let Refused pass"
        expect_raises(what, SaysNo, charge, shop, declined, hint=hint)

        situation("for a mail")
        for _ in range(2):
            call(send_mail, shop, AS_TEXT, "confirmation")
        sent, hint = little.mails(ID, "confirmation"), "Email takes keys, too"
        what = "confirmations when the message comes twice"
        expect_count(what, sent, exactly=1, hint=hint)
        hint = "it is another mail than the confirmation, so it needs another key"
        what = "send_mail() for a cancellation"
        _does(send_mail, shop, AS_TEXT, "cancellation", what=what, hint=hint)
        sent = little.mails(ID, "cancellation")
        expect_count("cancellations of the same order", sent, exactly=1, hint=hint)
        hint, what = (
            "each order needs a key of its own",
            "send_mail() for another order",
        )
        _does(send_mail, shop, order(2), "confirmation", what=what, hint=hint)
        sent = little.mails("order-2", "confirmation")
        expect_count("confirmations of another order", sent, exactly=1, hint=hint)
    return "every step done twice: one charge an order, one mail of each kind"


def _does(function: Callable, *args: object, what: str, hint: str) -> None:
    """Refuse unless the call returns, with a hint to why a service has not taken it."""
    _, error = tried(function, *args)
    if error is not None:
        expect(f"what comes of {what}", in_short(error), equals="no error", hint=hint)


# -- Task 3 -----------------------------------------------------------------------------


@task(
    3,
    "give back what was taken",
    limit=LIMIT,
    hint="look into both ledgers: GET /charges and GET /reservations, with params",
)
def check_task_3(undo):
    with LittleShop() as little:
        for each in (ORDER, order(2)):
            _take(little, each)
        _undo(undo, little, AS_TEXT, "for an order that is reserved and paid")
        hint = "post to /charges/ID/refund, with the id of the entry"
        expect_count("charges not refunded", little.paid(ID), exactly=0, hint=hint)
        hint = "post to /reservations/ID/release, with the id of the entry"
        held = little.reserved(ID)
        expect_count("reservations not released", held, exactly=0, hint=hint)
        kept = little.paid("order-2") + little.reserved("order-2")
        what = "what another order keeps, a charge and a reservation"
        hint = 'ask for this order alone: params={"order": order["order"]}'
        expect_count(what, kept, exactly=2, hint=hint)

        _undo(undo, little, ORDER, "for an order that is undone already")
        _take(little, order(3), charge=False)
        when = "for an order that is only reserved"
        _undo(undo, little, order(3), when)
        hint = "it was never charged, and is to be released all the same"
        held = little.reserved("order-3")
        expect_count(f"reservations {when}", held, exactly=0, hint=hint)
        _undo(undo, little, order(4), "for an order of which nothing was taken")

        hint = "then nobody knows that the money is back: let the error pass"
        with little.down("payments"):
            when = "when Payments cannot be reached"
            _expect_failure(undo, little.shop, order(2), when=when, hint=hint)
    return "money and item given back, once, and only those of the order"


def _take(little: LittleShop, order: Mapping, charge: bool = True) -> None:
    post, url = little.shop.http.post, little.shop.url
    wanted = {"order": order["order"], "item": order["item"]}
    post(url["inventory"] + "/reservations", json=wanted, timeout=2)
    if charge:
        purchase = {**_purchase(), "order": order["order"]}
        post(url["payments"] + "/charges", json=purchase, timeout=2)


def _undo(undo: Callable, little: LittleShop, order: Mapping, when: str) -> None:
    situation(when)
    call(undo, little.shop, order)


# -- Task 4 -----------------------------------------------------------------------------


@task(
    4,
    "at the button",
    limit=LIMIT,
    hint="first what decides about the order, then what may come later",
)
def check_task_4(place):
    with LittleShop() as little, the_kernel_stays():
        little.set_stock("bike", 0)
        when = "when all is well"
        expect_yes(expect_so(place, little, when, ORDER), when)
        when, declined = "when the card is declined", order(2, card="tok_declined")
        expect_so(place, little, when, declined)
        expect_so(place, little, "when the item is sold out", order(3, item="bike"))

        little.services["payments"].inject(drop_next=1)  # charged, and nobody is told
        expect_so(place, little, "when the reply of Payments is lost", order(4))
        with little.down("payments"):
            expect_so(place, little, "when Payments cannot be reached", order(5))
        with little.down("recommendations"):
            when = "when Recommendations is down"
            expect_yes(expect_so(place, little, when, order(6)), when, NOT_NEEDED)

        expect(
            "how long place() takes when Email does not answer",
            _quickest(place, little),
            at_most=QUICK,
            unit="s",
            hint=NO_MAIL_HERE,
        )
        what = "messages for the workers and mails, of an order that can be served"
        sent = len(little.messages_of(ID)) + len(little.entries("email", ID))
        hint = "who is to send the mail, if place() neither sends nor publishes?"
        expect_count(what, sent, at_least=1, hint=hint)
    return "what customers are told is so, and nobody waits for what they do not need"


def _quickest(place: Callable, little: LittleShop) -> float:
    """Seconds at the button with Email held; tried again when slow, as the machine may be."""
    seconds = []
    for number in (7, 8, 9):
        with little.held("email"):
            start = time.monotonic()
            when = "when Email does not answer"
            expect_told(place, little, when, order(number), NO_MAIL_HERE)
            seconds.append(time.monotonic() - start)
        if seconds[-1] <= QUICK:
            break
    return min(seconds)


# -- Task 5 -----------------------------------------------------------------------------


@task(
    5,
    "afterwards, in a worker",
    limit=LIMIT,
    hint="a dict: for each stream that place() publishes to, a function of a message",
)
def check_task_5(place, handlers):
    with LittleShop() as little, the_kernel_stays():
        working = wired(handlers, little)
        when = "when each message comes twice"
        told = expect_told(place, little, when, ORDER)
        little.work_off(working, times=2)
        _expect_all_read(little, working)
        expect_ending(little, when, ORDER, told)
        bought = [each["order"] for each in little.entries("recommendations")]
        what = "purchases of this order that Recommendations knows of"
        hint = "which handler calls recommend(shop, order)?"
        expect_count(what, bought.count(ID), at_least=1, hint=hint)

        down = ("email", "recommendations", "payments")
        for number, service in enumerate(down, start=2):
            when = f"when {service.capitalize()} is down for a while"
            with little.down(service):
                told = expect_told(place, little, when, order(number))
                little.work_off(working, patient=True)
            if service != "payments":
                expect_yes(told, when, NOT_NEEDED)
            little.work_off(working)
            expect_ending(little, when, order(number), told)

        little.set_stock("bike", 0)
        for when, each in (
            ("when the card is declined", order(5, card="tok_declined")),
            ("when the item is sold out", order(6, item="bike")),
        ):
            told = expect_told(place, little, when, each)
            little.work_off(working, times=2)
            expect_ending(little, when, each, told)
        _expect_all_read(little, working)
    return "every message twice, services down: one mail for an order, and it is true"


def wired(handlers: Callable, little: LittleShop) -> dict[str, Callable]:
    """The learner's handlers, by the stream's name; refuse what is none."""
    situation("when the workers start")
    made = call(handlers, little.shop)
    hint = "{name of the stream: function of a message, …}"
    expect("what handlers() returns", made, is_a=dict, hint=hint)
    for name, handle in made.items():
        if not callable(handle):
            hint = "give the function, not what it returns: lambda order: …"
            what = f"the handler of {name!r}"
            expect(what, handle, equals="a function of a message", hint=hint)
        if needs := _lacks(handle):
            hint = "a worker has only the message: lambda order: …(shop, order)"
            what = f"what the handler of {name!r} needs"
            expect(what, needs, equals="one argument, the message", hint=hint)
    return {name: guard(handle) for name, handle in made.items()}


def _lacks(handle: Callable) -> str:
    """The arguments of a handler that cannot be called with a message alone, else nothing."""
    try:
        signature = inspect.signature(handle)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind({})
    except TypeError:
        return str(signature)
    return ""


def _expect_all_read(little: LittleShop, working: Mapping) -> None:
    unread = sorted({each.name for each in little.messages()} - set(working))
    named = ", ".join(map(repr, working)) or "none"
    hint = (
        f"nobody reads {', '.join(map(repr, unread))}; there are handlers for {named}"
    )
    what = "streams that nobody reads"
    expect_count(what, len(unread), exactly=0, hint=hint)


# -- The verdict ------------------------------------------------------------------------

_last: list[Verdict] = []


@judge("Verdict", "seven scenarios, in processes of their own", limit=LIMIT)
def verdict(place, handlers):
    _rehearse(place, handlers)
    made = seven_scenarios.run(place, handlers)
    _last[:] = [made]
    made.plot()
    seven_scenarios.expect_no_harm(made)
    calm, slow = made["a calm hour"], made["slow e-mail"]
    spike = made["tenfold spike"]
    because = "Each order holds one of the 2 threads for as long as the button waits."
    reveal("lab08/spike", spike.p95, because=because)
    customers = sum(facts.customers for facts in made.facts)
    later = sum(facts.told_later for facts in made.facts)
    refunded = sum(facts.refunded for facts in made.facts)
    return "\n  ".join(
        [
            f"{customers} customers in {len(made.facts)} scenarios; harm: {made.harm}",
            f"told “received”: {made.in_doubt}, of these refused later: {later}; "
            f"charges refunded: {refunded}",
            f"p50 at the button: {calm.p50:.2f} s in the calm hour, "
            f"{slow.p50:.2f} s when e-mail is slow; p95 {spike.p95:.2f} s in the spike",
        ]
    )


def _rehearse(place: Callable, handlers: Callable) -> None:
    """One order in this kernel: what is no checkout at all is told here, with its line."""
    with LittleShop() as little, the_kernel_stays():
        when = "when all is well"
        expect_yes(expect_told(place, little, when, ORDER), when)
        _expect_all_read(little, wired(handlers, little))


def findings() -> None:
    """Print what the last verdict has found, in the words of lesson 10."""
    if _last:
        print(words.report(_last[0]))
    else:
        print("There is no verdict yet.")
