"""The checks of lab 3, "Publish and consume": a publisher, a worker, and its backlog.

Each check has a stream of its own at the real broker, and a Payments with a ledger. It judges by
what lies in the stream, what is acknowledged and what is charged. Task 3 and the verdict kill the
worker, a process of its own, while it charges.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable

import requests

from helpers.broker import connect
from helpers.checks import (
    call,
    expect,
    expect_count,
    expect_raises,
    judge,
    situation,
    task,
)
from helpers.labs import killed_worker
from helpers.labs.killed_worker import KillingPayments
from helpers.labs.order_stream import GROUP, OrderStream, order
from helpers.predict import reveal

# As the lab gives them to the learner.
CONSUMER = "payments-1"
BATCH = 5  # messages
BLOCK_MS = 100

LIMIT = 2.0  # seconds after which a call is taken to hang
IN_TIME = (
    BLOCK_MS / 1000 + 0.7
)  # seconds: a slow and busy core is no fault of the learner's
LONG_STREAM = 1_200  # messages; who trims a stream trims it to less


# -- Task 1 -----------------------------------------------------------------------------


@task(1, "publish", limit=LIMIT, hint="one xadd, and nothing else")
def check_task_1(publish):
    with OrderStream(group=False) as stream:
        situation(when := "when there is no stream yet")
        placed = order(1)
        published = _at(stream, publish, stream.client, stream.key, placed)
        hint = "client.xadd(stream, …) adds a message, and makes the stream if there is none"
        expect_count(
            f"messages in the stream {when}", stream.length(), exactly=1, hint=hint
        )
        [(id, fields)] = stream.messages()
        _expect_fields(fields, order(1))
        hint = "xadd returns the id of the new message"
        expect(f"what publish() returns {when}", published, equals=id, hint=hint)
        hint = "make a new dict for the message; this one is the caller's"
        expect("the caller's order, afterwards", placed, equals=order(1), hint=hint)

        situation("when a group comes later")
        _at(stream, publish, stream.client, stream.key, order(2))
        stream.make_group()
        hint = 'a group made with "$" skips what was there before; publish() needs no group at all'
        waiting = len(stream.take(CONSUMER, count=9))
        what = "messages that a group made later can read"
        expect_count(what, waiting, exactly=2, hint=hint)

    with OrderStream() as stream:
        situation(when := "when many orders wait already")
        stream.add([order(1)] * LONG_STREAM)
        _at(stream, publish, stream.client, stream.key, order(2))
        hint = "nobody has read them yet: a stream with maxlen drops them"
        there = stream.length()
        what = f"messages in the stream {when}"
        expect_count(what, there, exactly=LONG_STREAM + 1, hint=hint)

    situation("when the broker cannot be reached")
    nobody = connect("unix:///nobody-listens-here")
    hint = "let the error out: without it, Orders tells the customer that the order was received"
    what = "what publish() does when the broker cannot be reached"
    expect_raises(what, Exception, publish, nobody, "orders", order(1), hint=hint)
    return "one message with all the fields, kept until it is read"


def _expect_fields(fields: dict, placed: dict) -> None:
    hint = 'the first field says what has happened: {"event": "OrderPlaced", …}'
    event = fields.get("event", "none")
    expect("the field event of the message", event, equals="OrderPlaced", hint=hint)
    hint = (
        "a field of the message for each field of the order: {name: str(value) for …}"
    )
    names = sorted(fields.keys() - {"event"})
    expect("the other fields of the message", names, equals=sorted(placed), hint=hint)
    for name, value in placed.items():
        what = f"the field {name} of the message"
        if value is False:
            expect(what, fields[name].lower(), one_of=("false", "0", "no"), hint=hint)
        else:
            expect(what, fields[name], equals=str(value), hint=hint)


# -- Task 2 -----------------------------------------------------------------------------


class Handler:
    """A handle for the learner's code: it charges at Payments, and notes what is so meanwhile."""

    def __init__(self, stream: OrderStream, shop: KillingPayments):
        self._stream, self._shop = stream, shop
        self.handled: list[str] = []  # orders, as they came
        self.early: list[
            str
        ] = []  # those of them acknowledged before they were charged

    def __call__(self, event: dict) -> None:
        ids = {fields["order"]: id for id, fields in self._stream.messages()}
        self.handled.append(event["order"])
        if ids.get(event["order"]) not in self._stream.pending():
            self.early.append(event["order"])
        charge(self._shop.url, event)

    def times(self, number: int) -> int:
        """How often it was called for an order."""
        return self.handled.count(f"order-{number}")


def charge(url: str, event: dict) -> None:
    """As the lab gives it to the learner."""
    order = {name: event[name] for name in ("order", "currency", "card")}
    order["amount_cents"] = int(event["amount_cents"])
    key = {"Idempotency-Key": event["order"]}
    reply = requests.post(url + "/charges", json=order, headers=key, timeout=5)
    reply.raise_for_status()


@task(
    2,
    "read, work, acknowledge",
    limit=LIMIT,
    hint="handle(event) first, then xack, message by message",
)
def check_task_2(handle_batch):
    def work(stream, handle, after=">"):
        args = stream.client, stream.key, GROUP, CONSUMER, handle, after
        return _at(stream, handle_batch, *args)

    with OrderStream() as stream, KillingPayments(lambda _: ()) as shop:
        situation(when := "when three orders wait")
        handle = Handler(stream, shop)
        ids = stream.add(map(order, (1, 2, 3)))
        last = work(stream, handle)
        hint = "call handle(event) for each message that xreadgroup has brought"
        _expect_each_once(handle, (1, 2, 3), when, hint)
        _expect_none_early(handle, when)
        hint = "client.xack(stream, group, message_id) when the work is done"
        left = len(stream.pending())
        expect_count(
            f"charged orders not acknowledged {when}", left, exactly=0, hint=hint
        )
        hint = "return the id of the last message: Task 3 reads on from there"
        expect(f"what handle_batch() returns {when}", last, equals=ids[-1], hint=hint)

        situation(when := "when there is no news")
        start = time.monotonic()
        last = work(stream, handle)
        waited = time.monotonic() - start
        hint = "Task 3 reads on until it gets None"
        expect(f"what handle_batch() returns {when}", last, one_of=(None,), hint=hint)
        what = f"how long handle_batch() takes {when}"
        hint = "block=BLOCK_MS, which is in milliseconds"
        expect(what, waited, at_most=IN_TIME, unit="s", hint=hint)
        hint = "without block=BLOCK_MS, an idle worker asks thousands of times a second"
        expect(what, waited, at_least=BLOCK_MS / 2000, unit="s", hint=hint)

        situation(when := f"when {BATCH + 3} orders wait")
        stream.add(map(order, range(11, 11 + BATCH + 3)))
        before = len(handle.handled)
        work(stream, handle)
        taken = len(handle.handled) - before + len(stream.pending())
        hint = "count=BATCH: who takes all leaves nothing for the other workers of the group"
        expect_count(
            f"messages taken in one batch {when}", taken, exactly=BATCH, hint=hint
        )

    # Payments cannot take order-2, and order-4 cannot even be asked for.
    fates = {"order-2": ("error",) * 9}
    with OrderStream() as stream, KillingPayments(lambda id: fates.get(id, ())) as shop:
        situation(when := "when order-2 and order-4 fail")
        handle = Handler(stream, shop)
        bad = order(4, amount_cents="50 dollars")
        ids = stream.add([order(1), order(2), order(3), bad, order(5)])
        work(stream, handle)
        hint = "one that fails must not hold up the others: try … except Exception, inside the loop"
        _expect_each_once(handle, range(1, 6), when, hint)
        _expect_none_early(handle, when)
        pending = stream.pending()
        lost = sum(ids[n] not in pending for n in (1, 3))
        hint = "acknowledge only when handle(event) has not raised"
        expect_count(f"failed orders acknowledged {when}", lost, exactly=0, hint=hint)
        left = sum(ids[n] in pending for n in (0, 2, 4))
        hint = "acknowledge each message when its own work is done"
        expect_count(
            f"charged orders not acknowledged {when}", left, exactly=0, hint=hint
        )
        names = ", ".join(sorted(set(pending.values())))
        hint = "read as the consumer that was passed in: under another name nobody finds them again"
        expect(
            f"who has the failed orders pending {when}",
            names,
            equals=CONSUMER,
            hint=hint,
        )

    with OrderStream() as stream, KillingPayments(lambda _: ()) as shop:
        handle = Handler(stream, shop)
        ids = stream.add(map(order, range(1, 6)))
        stream.take(CONSUMER, count=4)  # and order-5 would be news
        for after, numbers, hint in (
            (ids[1], (3, 4), "an id asks for what this consumer has not acknowledged after it"),
            ("0", (1, 2), '"0" asks for all that this consumer has not acknowledged'),
        ):  # fmt: skip
            situation(when := f"when it is called with after={after!r}")
            handle.handled.clear()
            work(stream, handle, after)
            got = ", ".join(handle.handled) or "none"
            wanted = ", ".join(f"order-{number}" for number in numbers)
            hint = f"xreadgroup(…, {{stream: after}}, …): {hint}"
            expect(f"the orders handled {when}", got, equals=wanted, hint=hint)
    return "acknowledged: exactly what was charged"


def _at(stream: OrderStream, function: Callable, *args: object) -> object:
    """Call the learner's function, which may not end the broker."""
    try:
        return call(function, *args)
    finally:
        stream.still_there(f"{_name(function)}()")


def _name(function: Callable) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _expect_none_early(handle: Handler, when: str) -> None:
    hint = "xack comes after handle(event): who dies in between still has the order pending"
    what = f"orders acknowledged before they were charged {when}"
    expect_count(what, len(handle.early), exactly=0, hint=hint)


def _expect_each_once(
    handle: Handler, numbers: Iterable[int], when: str, hint: str = ""
) -> None:
    for number in numbers:
        what = f"times that order-{number} is handled {when}"
        expect_count(what, handle.times(number), exactly=1, hint=hint)


# -- Task 3 -----------------------------------------------------------------------------

READ_ON = 'what fails stays pending: from "0" it comes again at once, so read on after the last id'


@task(
    3,
    "survive a crash",
    limit=LIMIT,
    hint='first what is pending, from "0" on; then news',
)
def check_task_3(work_off, worker):
    def work(stream, handle):
        _at(stream, work_off, stream.client, stream.key, GROUP, CONSUMER, handle)

    taken, news = range(1, 2 * BATCH + 1), range(2 * BATCH + 1, 3 * BATCH + 4)
    with OrderStream() as stream, KillingPayments(lambda _: ()) as shop:
        situation(when := "when a crash has left two batches pending")
        handle = Handler(stream, shop)
        stream.add(map(order, (*taken, *news)))
        stream.take(CONSUMER, count=len(taken))
        work(stream, handle)
        left = sum(not handle.times(number) for number in taken)
        hint = (
            "that is all but the first batch: read on after its last id"
            if left == len(taken) - BATCH
            else 'news (">") never brings them: first read from "0" on, under the same name'
        )
        expect_count(f"pending orders left undone {when}", left, exactly=0, hint=hint)
        left = sum(not handle.times(number) for number in news)
        hint = 'then go on with ">", batch after batch, until there is no news'
        expect_count(f"new orders left undone {when}", left, exactly=0, hint=hint)
        _expect_each_once(handle, (*taken, *news), when, READ_ON)
        first = handle.handled[: len(taken)]
        late = sum(f"order-{number}" not in first for number in taken)
        hint = "they have waited longest: begin with what is pending, then take news"
        expect_count(
            f"pending orders done after new ones {when}", late, exactly=0, hint=hint
        )

    # Payments cannot take these two at first.
    fates = {"order-2": ("error",), "order-8": ("error",)}
    with OrderStream() as stream, KillingPayments(lambda id: fates.get(id, ())) as shop:
        situation(when := "when order-2 and order-8 fail")
        handle = Handler(stream, shop)
        stream.add(map(order, range(1, 11)))
        stream.take(CONSUMER, count=6)
        work(stream, handle)
        _expect_each_once(handle, range(1, 11), when, READ_ON)
        situation(when := "when they are tried again")
        work(stream, handle)
        what = f"failed orders still pending {when}"
        hint = 'begin each time with what is pending, from "0" on'
        expect_count(what, len(stream.pending()), exactly=0, hint=hint)

    fates = {"order-3": ("killed after",)}
    with OrderStream() as stream, KillingPayments(lambda id: fates.get(id, ())) as shop:
        situation(when := "when the worker is killed at order-3")
        orders = [order(number) for number in range(1, BATCH + 3)]
        stream.add(orders)
        day = killed_worker.live_through([], worker, stream, shop)
        tries = Counter(post.body["order"] for post in shop.posts)
        lost = sum(not shop.charges(each["order"]) for each in orders)
        hint = _where_they_are(stream) or "acknowledge each message after its charge"
        expect_count(f"orders never charged {when}", lost, exactly=0, hint=hint)
        expect_count(f"messages left {when}", day.left, exactly=0, hint=hint)
        again = sum(tries[id] - 1 for id in tries if id != "order-3")
        hint = (
            "what is acknowledged is done, and what was only read was not charged yet"
        )
        expect_count(f"other orders charged again {when}", again, exactly=0, hint=hint)
    return f"killed once: {len(orders)} orders, {sum(tries.values())} tries, none lost"


def _where_they_are(stream: OrderStream) -> str:
    """If messages are pending: with whom, as a hint."""
    pending = stream.pending()
    if not pending:
        return ""
    first, *more = sorted(set(pending.values()))
    whom = f"{first} and {len(more)} more" if more else first
    return f'pending with {whom}: {len(pending)}. Only a worker of that name gets them, and from "0" on'


# -- Task 4 -----------------------------------------------------------------------------


@task(
    4,
    "read the backlog",
    limit=LIMIT,
    hint="lag and pending of this group, from client.xinfo_groups(stream)",
)
def check_task_4(backlog_of):
    def expect_backlog(stream, number, when, hint, group=GROUP):
        situation(when)
        before = stream.levels(group), stream.length()
        got = _at(stream, backlog_of, stream.client, stream.key, group)
        expect(f"what backlog_of() returns {when}", got, equals=number, hint=hint)
        hint = "only ask: xinfo_groups changes nothing, but xreadgroup does"
        what = "lag, pending and length, after backlog_of()"
        after = stream.levels(group), stream.length()
        expect(what, after, equals=before, hint=hint)

    own = "each group has a backlog of its own: look for the group by its name"
    with OrderStream() as stream:
        ids = stream.add(map(order, range(1, 6)))
        when = "when five orders wait, and nobody has read any"
        expect_backlog(stream, 5, when, "lag counts what nobody has read yet")
        stream.take(CONSUMER, count=2)
        stream.take("payments-2", count=1)
        when = "when three of five are read, and none is done"
        hint = "read and not acknowledged is still to do: lag + pending"
        expect_backlog(stream, 5, when, hint)
        stream.acknowledge(*ids[:2])
        hint = "XLEN counts all that was ever published; the backlog is lag + pending"
        expect_backlog(stream, 3, "when two of five are done", hint)
        stream.make_group("email")
        when = "for a second group that has read nothing"
        expect_backlog(stream, 5, when, own, group="email")
        expect_backlog(stream, 3, "for the first of two groups", own)

        stream.withdraw(ids[3])  # from here on lag is None
        hint = (
            "lag is None, for the broker cannot tell: count what comes after "
            'info["last-delivered-id"], with xrange'
        )
        when = "when an order that nobody has read is deleted"
        expect_backlog(stream, 2, when, hint)

        situation("for a group that does not exist")
        hint = "0 would mean that all is done, when nobody works at all"
        what = "what backlog_of() does for a group that does not exist"
        args = stream.client, stream.key, "nobody"
        expect_raises(what, ValueError, backlog_of, *args, hint=hint)
        situation("for a stream that does not exist")
        what = "what backlog_of() does for a stream that does not exist"
        args = stream.client, stream.key + " of nobody", GROUP
        expect_raises(what, Exception, backlog_of, *args, hint=hint)

    # Not with a message deleted: Redis 7.0 counts that one as lag for good.
    with OrderStream() as stream:
        stream.add(map(order, (1, 2, 3)))
        stream.acknowledge(*stream.take(CONSUMER, count=9))
        hint = "nothing is left to read, and nothing is pending"
        expect_backlog(stream, 0, "when all is done", hint)
    return "lag and pending, of the group that was asked for"


# -- The verdict ------------------------------------------------------------------------


@judge("Verdict", "forty orders, and a worker that is killed", limit=LIMIT)
def verdict(publish, worker, backlog_of):
    orders, fates = killed_worker.orders_of_the_day()
    with OrderStream() as stream, KillingPayments(lambda id: fates.get(id, ())) as shop:
        day = killed_worker.live_through(
            orders,
            worker,
            stream,
            shop,
            publish=lambda each: _at(stream, publish, stream.client, stream.key, each),
            told=lambda: _at(stream, backlog_of, stream.client, stream.key, GROUP),
        )
        published = stream.length()
        charges = {each["order"]: len(shop.charges(each["order"])) for each in orders}
        tries, where = len(shop.posts), _where_they_are(stream)

    charged, made = sum(map(bool, charges.values())), sum(charges.values())
    lost = [id for id, number in charges.items() if not number]
    doubled = [id for id, number in charges.items() if number > 1]
    killed_worker.show(day, charged)
    hint = "xadd puts a message into the stream"
    expect_count("messages in the stream", published, exactly=len(orders), hint=hint)
    expect_count("orders lost", len(lost), exactly=0, hint=where or _first(lost, fates))
    hint = _first(doubled, fates) + ": is its id the Idempotency-Key?"
    expect_count("orders charged twice", len(doubled), exactly=0, hint=hint)
    hint = where or "is each message acknowledged when its work is done?"
    expect_count("messages left at the end", day.left, exactly=0, hint=hint)
    what = "what backlog_of() returns when all is done"
    expect(what, day.looks[-1].told, equals=0, hint="lag + pending")

    because = "Each order once, and once more for each failure, lost reply and kill."
    reveal("lab03/asked", tries, because=because)
    return "\n  ".join(
        [
            f"{len(orders)} orders, the worker was killed {len(day.kills)} times",
            f"Payments was asked {tries} times and made {made} charges",
            f"doubles: {len(doubled)}, losses: {len(lost)}, backlog at the end: {day.left}",
            f"all done after {day.seconds:.1f} s",
        ]
    )


def _first(orders: list[str], fates: dict[str, tuple[str, ...]]) -> str:
    """The first of these orders, and what it met, as a hint."""
    if not orders:
        return ""
    met = fates.get(orders[0], ("no mishap",))[0]
    words = {
        "killed before": "the worker was killed before the charge was made",
        "killed after": "the worker was killed just after the charge",
        "error": "the first answer was a 503",
        "lost": "the first reply was lost, after the charge",
    }
    return f"{orders[0]}: {words.get(met, met)}"
