"""The checks of lab 6, "One charge only": a Payments for which a repeat is harmless.

They judge by what is committed in the ledger, as another program sees it, after repeats,
crashes, lost replies and calls at the same moment. The worker runs in a program of its own.
"""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from helpers.checks import (
    Refused,
    call,
    expect,
    expect_count,
    expect_raises,
    judge,
    situation,
    task,
)
from helpers.folders import folder_for_now
from helpers.labs import charge_calls, lives_figure
from helpers.labs.card_bank import REFUSED, CardRefused, heard_by
from helpers.labs.charge_calls import Customers, Heard, Payments
from helpers.labs.charge_ledger import Charge, Ledger, Moments, revived
from helpers.labs.killed_often import KILLS, Life, Worker, deaths
from helpers.labs.own_connection import use, with_connection
from helpers.labs.settled import expect_no_double, expect_settled
from helpers.predict import reveal

LIMIT = 2.0  # seconds after which a call is taken to hang
LIMIT_AT_ONCE = 4.0  # the same, for one of many at the same moment
DUPLICATES = 20  # at the same moment

KEY, ID = "click-1", "order-1"
ORDER = {"order": ID, "amount_cents": 5000, "card": "tok_visa"}
OTHER_ORDER = {**ORDER, "order": "order-2"}
BAD_CARD = {**ORDER, "card": "tok_declined"}


# -- What the learner's function says, and what is so --------------------------------------


def _name(function: Callable) -> str:
    return getattr(function, "__name__", type(function).__name__)


def made(
    function: Callable,
    ledger: Ledger,
    when: str,
    *,
    repeat: bool,
    key: str = KEY,
    order: dict = ORDER,
    moments: Moments | None = None,
) -> dict:
    """The charge that the function returns; refuse unless it is one, and is (no) repeat."""
    situation(when)
    got = use(function, ledger, key, order, moments)
    what = f"what {_name(function)}() returns {when}"
    hint = (
        "return a pair: the charge, as charge_of() gives it, and whether it is a repeat"
    )
    if not isinstance(got, tuple | list) or len(got) != 2:
        expect(what, got, is_a=tuple, hint=hint)
    charge, is_repeat = got
    if not isinstance(charge, dict) or "id" not in charge:
        expect(what, charge, is_a=dict, hint=hint)
    hint = (
        "the charge was there already" if repeat else "nobody had used this key before"
    )
    what = f"whether {_name(function)}() says that it is a repeat {when}"
    expect(what, bool(is_repeat), equals=repeat, hint=hint)
    return charge


def the_charge(ledger: Ledger, when: str, hint: str, order: str = ID) -> Charge:
    """The one charge of an order; refuse unless there is exactly one."""
    found = ledger.charges(order)
    expect_count(f"charges in the ledger {when}", len(found), exactly=1, hint=hint)
    return found[0]


def expect_same(function: Callable, got: dict, charge: Charge, when: str) -> None:
    """Refuse unless the function has returned the charge that is in the ledger."""
    what = f"the charge that {_name(function)}() returns {when}"
    came = {name: got.get(name) for name in charge._fields}
    expect(what, came, equals=charge.as_dict, hint="charge_of(db, key) gives it")


class Files:
    """Ledgers, each another file in one folder."""

    def __init__(self, folder: Path):
        self._folder, self._number = folder, 0

    def path(self) -> Path:
        self._number += 1
        return self._folder / f"{self._number}.db"

    def ledger(self) -> Ledger:
        return Ledger(self.path())


def expect_survival(function: Callable, files: Files, moments: Moments) -> None:
    """Crash at each of these moments and try again: refuse unless there is one charge then."""
    for moment in moments.seen[1:]:  # the first is as if nothing had happened
        ledger = revived(moment, files.path())
        left = len(ledger.charges(ID)), len(ledger.keys())
        when = f"after a crash just before {moment.step}, and another try"
        situation(when)
        got = use(function, ledger, KEY, ORDER)
        hint = "both belong into one transaction, one `with db:`"
        if left == (1, 0):
            hint = f"the charge was committed, and its key was not: {hint}"
        if left == (0, 1):
            hint = f"the key was committed, and its charge was not: {hint}"
        charge = the_charge(ledger, when, hint)
        if isinstance(got, tuple | list) and got and isinstance(got[0], dict):
            expect_same(function, got[0], charge, when)


# -- Task 1 -------------------------------------------------------------------------------


@task(
    1,
    "charge and key, both or neither",
    limit=LIMIT,
    hint="look whether the key is there; if not, both INSERTs in one `with db:`",
)
def check_task_1(record):
    with folder_for_now() as folder:
        files = Files(folder)
        ledger = files.ledger()
        moments = Moments(ledger)
        when = "for a new key"
        first = made(record, ledger, when, repeat=False, moments=moments)
        hint = "nobody else sees it: is it committed? `with db:` does that at its end"
        charge = the_charge(ledger, when, hint)
        expect_same(record, first, charge, when)
        what, hint = "the amount in the ledger", "amount_cents is the order's"
        expect(what, charge.amount_cents, equals=5000, hint=hint)

        when = "when the same key comes again"
        second = made(record, ledger, when, repeat=True)
        hint = "a key that is in the ledger was charged: give that charge back"
        expect_same(record, second, the_charge(ledger, when, hint), when)

        when = "for another key"
        made(record, ledger, when, repeat=False, key="click-2", order=OTHER_ORDER)
        hint = "each key has a charge of its own"
        the_charge(ledger, when, hint, OTHER_ORDER["order"])

        when = "in a ledger that is still empty"
        situation(when)
        fresh = files.ledger()
        use(record, fresh, KEY, ORDER)
        hint = "what a function remembers is gone after a crash: the key has to be in the ledger"
        the_charge(fresh, when, hint)

        expect_survival(record, files, moments)
    return "1 charge, however often it comes, and wherever Payments crashes"


# -- Task 2 -------------------------------------------------------------------------------


@task(
    2,
    "ask the bank once",
    limit=LIMIT,
    hint="one `with db:`, and in it: BEGIN IMMEDIATE, look, ask, record",
)
def check_task_2(charge):
    asked: list[dict] = []
    with folder_for_now() as folder, heard_by(asked.append):
        files = Files(folder)
        ledger = files.ledger()
        moments = Moments(ledger)
        when = "for a good card"
        first = made(charge, ledger, when, repeat=False, moments=moments)
        hint = "when the bank has agreed, record() does the rest"
        expect_same(charge, first, the_charge(ledger, when, hint), when)
        hint = "ask_bank(order), once for each new key"
        expect_count(f"questions to the bank {when}", len(asked), exactly=1, hint=hint)

        when = "when the same key comes again"
        second = made(charge, ledger, when, repeat=True)
        expect_same(charge, second, the_charge(ledger, when, ""), when)
        hint = "look whether the key was charged before you ask: charge_of(db, key)"
        expect_count(f"questions to the bank {when}", len(asked), exactly=1, hint=hint)

        expect_survival(charge, files, moments)
        _check_refusal(charge, files.ledger())
        _check_bank_down(charge, files.ledger())
        del asked[:]
        _check_duplicates(charge, files.ledger(), asked)
        _check_others_at_once(charge, files.ledger())
    return f"{DUPLICATES} at the same moment: 1 question to the bank, 1 charge, one answer for all"


def _check_refusal(charge: Callable, ledger: Ledger) -> None:
    when = "for a card that the bank refuses"
    situation(when)
    free: list[bool] = []
    refuse = with_connection(charge, ledger, then=lambda: free.append(ledger.is_free()))
    what, hint = (
        f"what {_name(charge)}() does {when}",
        "let through what ask_bank() raises",
    )
    expect_raises(what, CardRefused, refuse, KEY, BAD_CARD, hint=hint)
    number = len(ledger.charges())
    hint = "ask the bank before anything is written, or write in the same transaction"
    expect_count(f"charges in the ledger {when}", number, exactly=0, hint=hint)
    _expect_free(free[0], when)

    when = "when the customer takes another card, with the same key"
    hint = "a refusal leaves the key free"
    try:
        got = made(charge, ledger, when, repeat=False)
    except Refused as refusal:
        if isinstance(refusal.__cause__, CardRefused):
            what = f"what {_name(charge)}() does {when}"
            expect(what, "it refuses", equals="it charges", hint=hint)
        raise
    expect_same(charge, got, the_charge(ledger, when, hint), when)


def _check_bank_down(charge: Callable, ledger: Ledger) -> None:
    calls = []

    def down(order: dict) -> None:
        calls.append(order)
        if len(calls) == 1:
            raise ConnectionError("the bank does not answer")

    when = "when the bank does not answer"
    situation(when)
    free: list[bool] = []
    ask = with_connection(charge, ledger, then=lambda: free.append(ledger.is_free()))
    with heard_by(down):
        try:
            call(ask, KEY, ORDER)
        except Refused as refusal:
            if not isinstance(refusal.__cause__, Exception):
                raise  # it hangs
        if len(calls) == 1:  # else it has asked again by itself, and may have charged
            number = len(ledger.charges())
            hint = "without the bank's yes, nothing may be written"
            expect_count(f"charges in the ledger {when}", number, exactly=0, hint=hint)
        _expect_free(free[0], when)
        when = "when the bank answers again"
        situation(when)
        use(charge, ledger, KEY, ORDER)
        the_charge(ledger, when, "an error leaves the key free")


def _expect_free(is_free: bool, when: str) -> None:
    what, came = f"the ledger {when}", "free" if is_free else "locked"
    hint = (
        "a `with db:` around it all ends the transaction, also when something is raised"
    )
    expect(what, came, equals="free", hint=hint)


def _check_duplicates(charge: Callable, ledger: Ledger, asked: list) -> None:
    when = f"when the same order comes {DUPLICATES} times at the same moment"
    situation(when)

    def one(n: int) -> tuple[dict, bool]:
        got = use(charge, ledger, KEY, ORDER, limit=LIMIT_AT_ONCE)
        if not isinstance(got, tuple | list) or len(got) != 2:
            expect(f"what {_name(charge)}() returns {when}", got, is_a=tuple)
        return got

    def think(order: dict) -> None:
        if len(asked) == 1:  # so that the others come meanwhile, on a slow machine, too
            time.sleep(0.15)

    with heard_by(think):
        answers = charge_calls.at_once(DUPLICATES, one)
    hint = "between looking and writing, others look: BEGIN IMMEDIATE before you look"
    charged = the_charge(ledger, when, hint)
    for got, _ in answers:
        expect_same(charge, got, charged, when)
    first = sum(not is_repeat for _, is_repeat in answers)
    what = f"answers that are no repeat {when}"
    expect_count(what, first, exactly=1, hint="the others get the first one's charge")
    expect_count(f"questions to the bank {when}", len(asked), exactly=1, hint=hint)


def _check_others_at_once(charge: Callable, ledger: Ledger) -> None:
    when = "when five orders come at the same moment"
    situation(when)

    def one(n: int) -> None:
        order = {**ORDER, "order": f"order-{n}"}
        use(charge, ledger, f"click-{n}", order, limit=LIMIT_AT_ONCE)

    charge_calls.at_once(5, one)
    charged = Counter(each.order for each in ledger.charges())
    hint = "each key has a charge of its own"
    what = f"orders charged once {when}"
    expect_count(what, list(charged.values()).count(1), exactly=5, hint=hint)


# -- Task 3 -------------------------------------------------------------------------------


def expect_status(
    payments: Payments, heard: Heard, status: int, when: str, hint: str
) -> None:
    """Refuse unless the answer has this status."""
    hint = f"{payments.odd}; a route returns (body, status)" if payments.odd else hint
    if not heard.status and not payments.service.running:
        hint = "the service is gone: does your code stop it?"
    expect(f"the status {when}", heard.told, equals=status, hint=hint)


def expect_body(heard: Heard, charge: Charge, when: str) -> None:
    """Refuse unless the answer's body is the charge."""
    body = heard.body
    if isinstance(body, dict):
        body = {name: body.get(name) for name in charge._fields}
    hint = "the body is the charge, as charge() returns it"
    expect(f"the body of the answer {when}", body, equals=charge.as_dict, hint=hint)


def expect_replayed(heard: Heard, is_repeat: bool, when: str) -> None:
    """Refuse unless the header says what is so."""
    what = f"the header Idempotent-Replayed {when}"
    wanted = "true" if is_repeat else "not there"
    hint = 'for a repeat, and for nothing else: {"Idempotent-Replayed": "true"}'
    came = "not there" if heard.replayed is None else heard.replayed.lower()
    expect(what, came, equals=wanted, hint=hint)


@task(3, "answer a call", limit=LIMIT)
def check_task_3(answer):
    with folder_for_now() as folder:
        files = Files(folder)
        with Payments(answer, files.ledger()) as payments:
            _check_answers(payments)
        with Payments(answer, files.ledger()) as payments:
            _check_other_orders(payments)
        with Payments(answer, files.ledger()) as payments:
            _check_lost_replies(payments)
        with Payments(answer, files.ledger()) as payments:
            when = f"when the same call comes {DUPLICATES} times at the same moment"
            situation(when)
            all_heard = payments.post_at_once(DUPLICATES, ORDER, KEY)
            for heard in all_heard:
                expect_status(
                    payments, heard, 201, when, "a repeat is answered as the first"
                )
            charge = the_charge(payments.ledger, when, "")
            for heard in all_heard:
                expect_body(heard, charge, when)
    return "201 for the first and for each repeat; 402, 422 and 400 where nothing is charged"


def _check_answers(payments: Payments) -> None:
    when = "for a card that the bank refuses"
    situation(when)
    heard = payments.post(BAD_CARD, KEY)
    hint = "charge() raises CardRefused: catch it"
    expect_status(payments, heard, 402, when, hint)
    said = heard.body.get("detail") if isinstance(heard.body, dict) else heard.body
    hint = '{"detail": str(refusal)}'
    reason = REFUSED[BAD_CARD["card"]]
    expect(f"the detail of the answer {when}", said or "", equals=reason, hint=hint)

    when = "for a charge"
    situation(when)
    heard = payments.post(ORDER, KEY)
    expect_status(payments, heard, 201, when, "201: the charge was made")
    charge = the_charge(payments.ledger, when, "one charge() for a call")
    expect_body(heard, charge, when)
    expect_replayed(heard, False, when)

    when = "when the same call comes again"
    situation(when)
    heard = payments.post(ORDER, KEY)
    hint = "a repeat is no error: the customer wants to hear that the order is paid"
    expect_status(payments, heard, 201, when, hint)
    expect_body(heard, the_charge(payments.ledger, when, ""), when)
    expect_replayed(heard, True, when)

    when = "without an Idempotency-Key"
    situation(when)
    heard = payments.post(OTHER_ORDER, None)
    hint = "key is None then: refuse it before anything is charged"
    expect_status(payments, heard, 400, when, hint)
    number = len(payments.ledger.charges(OTHER_ORDER["order"]))
    expect_count(f"charges {when}", number, exactly=0, hint=hint)


def _check_other_orders(payments: Payments) -> None:
    for other, when in (
        (OTHER_ORDER, "for the same key with another order"),
        ({**ORDER, "amount_cents": 9900}, "for the same key with another amount"),
    ):
        situation(when)
        payments.post(ORDER, KEY)
        heard = payments.post(other, KEY)
        hint = "compare the charge that charge() returns with the order"
        expect_status(payments, heard, 422, when, hint)
        number = len(payments.ledger.charges())
        expect_count(f"charges {when}", number, exactly=1, hint=hint)


def _check_lost_replies(payments: Payments) -> None:
    when = "when two replies are lost"
    situation(when)
    payments.service.inject(drop_next=2)
    heard = payments.post_until_answered(ORDER, KEY)
    expect_status(payments, heard, 201, when, "the third try is answered as the first")
    expect_body(heard, the_charge(payments.ledger, when, ""), when)
    expect_replayed(heard, True, when)


# -- Task 4 -------------------------------------------------------------------------------

STEPS_IN_TURN = 16  # a message takes about a dozen


@task(4, "work off the stream", limit=LIMIT)
def check_task_4(work_off):
    with Worker(work_off) as worker:
        when = "when nobody kills it"
        for order in (ID, "order-2", "order-2", "order-4"):
            worker.publish(order)
        worker.publish("order-3", card="tok_declined")
        life = worker.live()
        worker.expect_end(life, when)
        worker.expect_swift(life, when)
        expect_settled(worker, when)

        when = "when it is killed, at one step after the other"
        for number in range(STEPS_IN_TURN):
            worker.publish(f"order-{10 + number}")
        for step in range(1, STEPS_IN_TURN + 1):
            life = worker.live(kill_at=step)
            if life.end != "killed":
                break
            expect_no_double(worker, f"{when}, this time {life.at}")
        if life.end != "returned":
            life = worker.live() if life.end == "killed" else life
        worker.expect_end(life, when)
        expect_settled(worker, when)

        when = "when the bank does not answer once, and it is started again"
        for order in ("order-50", "order-51"):
            worker.publish(order)
        worker.live(bank_down=True)
        worker.expect_end(worker.live(), when)
        expect_settled(worker, when)
    return f"killed at {STEPS_IN_TURN} steps in turn: each order charged once, nothing left"


# -- The verdict --------------------------------------------------------------------------

BY_MESSAGE = 40  # orders
PUBLISHED_TWICE = 8  # of them: the first of each five
CARDS = {13: "tok_declined", 27: "tok_no_funds", 34: "tok_declined"}  # by number


def publish_all(worker: Worker) -> None:
    """The orders of the verdict that come by message."""
    for number in range(1, BY_MESSAGE + 1):
        order, card = f"order-{number}", CARDS.get(number, "tok_visa")
        worker.publish(order, card)
        if number % (BY_MESSAGE // PUBLISHED_TWICE) == 1:
            worker.publish(order, card)


@judge(
    "Verdict", f"sixty orders, and a worker that is killed {KILLS} times", limit=LIMIT
)
def verdict(answer, work_off):
    lives: list[Life] = []
    with Worker(work_off) as worker:
        steps = worker.rehearse(3)
        publish_all(worker)
        customers = Customers(answer, worker.ledger)
        with customers.calling() as payments:
            for death in [*deaths(steps), {}]:
                lives.append(worker.live(**death))
                if lives[-1].end != "killed":
                    break
        kills = [life for life in lives if life.end == "killed"]
        orders = [*worker.cards, *customers.orders]
        charged = Counter(each.order for each in worker.ledger.charges())
        charges = sum(charged[order] for order in orders)
        doubles = charges - sum(charged[order] > 0 for order in orders)
        losses = sum(not charged[order] for order in [*worker.good, *customers.orders])
        lives_figure.show(lives, worker.cards, len(orders), doubles, losses)

        expect_no_double(worker, "in all")
        for order, all_heard in customers.heard.items():
            for heard in all_heard:
                expect_status(payments, heard, 201, f"for {order}", "see Task 3")
        if lives[-1].end != "killed":
            worker.expect_end(lives[-1], f"after {len(kills)} kills")
        expect_settled(worker, "in the end")
        hint = "use the db and the client that work_off() is given, for one message after the other"
        expect_count("kills", len(kills), exactly=KILLS, hint=hint)
        hint = "a call is answered when it is charged"
        expect_count("good orders not charged", losses, exactly=0, hint=hint)

    struck = Counter(life.struck for life in kills)
    delivered = sum(len(life.delivered) for life in lives)
    because = "A kill between a delivery and its ack brings the message once more."
    reveal("lab06/deliveries", delivered, because=because)
    return "\n  ".join(
        [
            f"{len(orders)} orders: {BY_MESSAGE} by message, {len(customers.orders)} by call, "
            f"{len(CARDS)} with a card that is refused",
            f"{len(kills)} kills: {struck['before the charge']} between delivery and charge, "
            f"{struck['before the ack']} between charge and ack, {struck['']} elsewhere",
            f"{len(worker.messages)} messages, {delivered} deliveries; "
            f"{customers.requests} calls for {len(customers.orders)} orders",
            f"{charges} charges, doubles: {doubles}, losses: {losses}",
        ]
    )
