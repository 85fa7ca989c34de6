"""The checks of lab 4, "Fan out, and ride a spike": a group for each service, and enough workers.

A check places orders on a stream of its own and judges by counts: which service has done which
order, how often, and what the broker still holds for its group. For the spike it is also how long
it takes, and how much workers' time.
"""

import functools
import math
import operator
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager

from helpers.checks import (
    Refused,
    call,
    expect,
    expect_count,
    guard,
    judge,
    situation,
    task,
)
from helpers.labs import spike
from helpers.labs.crew import Crew
from helpers.labs.placed import Ledgers, PlacedStream, Shop
from helpers.labs.spike import MOST, RATE, SERVICE_SECONDS
from helpers.predict import reveal
from helpers.stalls import overslept
from helpers.streams import Backlog, backlog

# As the lab gives them to the learner, with those of helpers.labs.spike.
BLOCK_MS = 100
SERVICES = ("payments", "inventory", "email")
DRAIN_SECONDS = 0.5

LIMIT = 2.0  # seconds after which a call is taken to hang
SLACK = 0.6  # seconds: a slow and busy core is no fault of the learner's
BUDGET = 24.0  # seconds of workers' time, for the whole day


# -- Task 1 -----------------------------------------------------------------------------


@task(
    1,
    "a group for each service",
    limit=LIMIT,
    hint="xgroup_create, once a service; a group that is there already is fine",
)
def check_task_1(subscribe):
    with PlacedStream() as stream:
        situation("when three orders were placed before")
        stream.place(3)
        call(subscribe, stream.client, stream.name, list(SERVICES))
        _expect_groups(stream, SERVICES)
        hint = "the stream is Orders': only groups are added"
        expect_count("messages in the stream", stream.length, exactly=3, hint=hint)
        for service in SERVICES:
            what = f"orders for {service}, of three placed before it subscribed"
            hint = 'id="0" is the beginning of the stream, "$" its end'
            first = stream.news(service, 2)
            expect_count(
                what, len(first + stream.news(service, 1)), exactly=3, hint=hint
            )

        situation("when it is called again, with one service more")
        stream.place(1)
        stream.client.xack(
            stream.name, "payments", *_pending_ids(stream, "payments")[:1]
        )
        again = [*SERVICES, "recommendations"]
        call(subscribe, stream.client, stream.name, again)
        _expect_groups(stream, again)
        for service in SERVICES:
            hint = "it is there already: leave it as it is; made anew, it forgets what it was at"
            held = 2 if service == "payments" else 3
            what = f"orders that {service} has taken and not acknowledged, after a second call"
            expect_count(what, stream.pending(service), exactly=held, hint=hint)
            what = f"new orders for {service} after a second call"
            expect_count(what, len(stream.news(service)), exactly=1, hint=hint)
        hint = "the newcomer begins at the beginning, too"
        what = "orders for recommendations, of four placed before it subscribed"
        expect_count(what, len(stream.news("recommendations")), exactly=4, hint=hint)

    with PlacedStream() as stream:
        situation("when there is no stream yet")
        call(subscribe, stream.client, stream.name, list(SERVICES))
        _expect_groups(stream, SERVICES)
        hint = "mkstream=True makes an empty stream"
        expect_count("messages in the stream", stream.length, exactly=0, hint=hint)
    return "three services, three groups, from the first order on"


def _expect_groups(stream: PlacedStream, services) -> None:
    hint = "a group for each service, with the service's name, on the stream passed in"
    got = sorted(stream.groups())
    expect("the groups of the stream", got, equals=sorted(services), hint=hint)


def _pending_ids(stream: PlacedStream, group: str) -> list[str]:
    entries = stream.client.xpending_range(stream.name, group, "-", "+", 100)
    return [entry["message_id"] for entry in entries]


# -- Task 2 -----------------------------------------------------------------------------


class _OutOfPaper(Exception):
    """What a handler raises."""


@task(
    2, "react", limit=LIMIT, hint="read, work, acknowledge: see work_off() in lesson 04"
)
def check_task_2(react):
    ledgers, seen = Ledgers(), []
    with PlacedStream() as stream:
        _subscribe(stream, SERVICES)

        def handle(event):
            seen.append((event, stream.groups()["payments"]))
            if isinstance(event, dict):
                ledgers.note("payments", event)

        def turn(service: str, worker: str, work: Callable = handle) -> None:
            call(react, stream.client, stream.name, service, worker, work)

        situation("when one order waits")
        stream.place(1)
        turn("payments", "payments-1")
        hint = "call handle(event) for the order that was read"
        expect_count("orders handled in one turn", len(seen), exactly=1, hint=hint)
        event, group = seen[0]
        hint = "handle(event) takes the fields of the message, without its id"
        expect("what handle() is given", event, equals=stream.event(1), hint=hint)
        hint = "read as the service: the group has its name"
        has_read = int(group["last-delivered-id"] != "0-0")
        what = "orders that the group payments has read"
        expect_count(what, has_read, exactly=1, hint=hint)
        hint = "if the work fails now, the order is lost: xack comes after handle()"
        what = "orders pending while handle() is at work"
        expect_count(what, group["pending"], exactly=1, hint=hint)
        hint = "handle() is done, so acknowledge the order: xack"
        what = "orders pending when the turn is over"
        expect_count(what, stream.pending("payments"), exactly=0, hint=hint)

        situation("when there is nothing new")
        start = time.monotonic()
        turn("payments", "payments-1")
        expect(
            "how long a turn waits for news",
            time.monotonic() - start,
            between=(0.5 * BLOCK_MS / 1000, BLOCK_MS / 1000 + 1.5),
            unit="s",
            hint=f"block=BLOCK_MS waits up to {BLOCK_MS} ms; without it, an idle worker asks and asks",
        )
        hint = 'the order is done; ">" is what nobody in the group has had yet'
        expect_count("orders handled, of one placed", len(seen), exactly=1, hint=hint)

        situation("when two workers take turns")
        stream.place(4)
        for worker in (1, 2, 1, 2):
            before = len(seen)
            turn("payments", f"payments-{worker}")
            hint = "count=1: who takes them all leaves nothing to the others"
            took = len(seen) - before
            what = "orders handled in one turn, of four that two workers share"
            expect_count(what, took, exactly=1, hint=hint)
        _expect_done(ledgers, "payments", stream.orders)

        situation("when another service has its turn")
        for _ in stream.orders:
            turn("email", "email-1", functools.partial(ledgers.note, "email"))
        hint = "each service has a group of its own: the group is `service`"
        _expect_done(ledgers, "email", stream.orders, hint)

        situation("when the work fails")
        stream.place(1)
        try:
            turn("email", "email-1", _fail)
        except Refused as refusal:
            if not isinstance(refusal.__cause__, _OutOfPaper):
                raise
        hint = "what has failed is not done: no xack"
        what = "orders pending after a turn in which handle() raised"
        expect_count(what, stream.pending("email"), exactly=1, hint=hint)

    _fan_out(guard(react))
    return "8 orders: 8 charges, 8 reservations, 8 mails"


def _fail(event: dict) -> None:
    raise _OutOfPaper("no mail today")


def _expect_done(ledgers: Ledgers, service: str, orders: list, hint: str = "") -> None:
    """Refuse unless the service has done each of the orders, once."""
    lost, doubled = ledgers.lost(service, orders), ledgers.doubled(service)
    hint = hint or "read what is new to the group of the service"
    expect_count(f"orders that {service} has not done", len(lost), exactly=0, hint=hint)
    hint = (
        "the workers of a service share one group, and each order goes to one of them"
    )
    what = f"orders that {service} has done more than once"
    expect_count(what, len(doubled), exactly=0, hint=hint)


def _fan_out(react: Callable) -> None:
    """Eight orders for the shop's own services; Payments has two workers."""
    situation("when the shop's services react")
    with PlacedStream() as stream, Shop() as shop:
        _subscribe(stream, SERVICES)
        stream.place(8)
        with crews() as start:
            for service in SERVICES:
                handle = shop.handler(service)
                crew = start(react, stream, service, handle)
                crew.resize(2 if service == "payments" else 1)
            _wait_until_done(stream, SERVICES, 4, start.all)
        for service, (_, _, entries) in Shop.SERVICES.items():
            times = Counter(shop.ledger(service))
            hint = f"of eight orders, each once; {len(times)} of them are there"
            expect_count(entries, times.total(), exactly=8, hint=hint)
            expect_count(f"orders with {entries}", len(times), exactly=8)


@contextmanager
def crews():
    """Gives start(react, stream, service, handle); what it has started ends with the block."""
    started: list[Crew] = []

    def start(react, stream, service, handle) -> Crew:
        def turn(worker: str) -> None:
            react(stream.client, stream.name, service, worker, handle)

        crew = Crew(f"{service} 2", turn)
        started.append(crew)
        return crew

    start.all = started
    try:
        yield start
    finally:
        for crew in started:
            crew.resize(0)  # all of them at the same time
        for crew in started:
            crew.stop()


def _wait_until_done(stream, services, seconds: float, crews: list[Crew]) -> None:
    """Wait until nothing is unread or pending. Raises what a worker has raised."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for crew in crews:
            if crew.error:
                raise crew.error
        if not any(stream.left(service) for service in services):
            return
        time.sleep(0.02)


# -- Task 3 -----------------------------------------------------------------------------


@task(3, "a fourth service", limit=LIMIT, hint="a group that begins where it should")
def check_task_3(join):
    with PlacedStream() as stream:
        _subscribe(stream, ("payments", "email"))
        stream.place(5)
        taken = stream.news("payments", 3)
        stream.client.xack(stream.name, "payments", _pending_ids(stream, "payments")[0])
        others = _others(stream)

        situation("when it joins with the history")
        call(join, stream.client, stream.name, "recommendations", True)
        _expect_newcomer(stream, "recommendations", others)
        situation("when it joins without the history")
        call(join, stream.client, stream.name, "newsletter", False)
        _expect_newcomer(stream, "newsletter", others)
        hint = "nothing is published again: the stream has kept it"
        expect_count("messages in the stream", stream.length, exactly=5, hint=hint)

        stream.place(2)
        situation("when it joins with the history")
        got = len(stream.news("recommendations"))
        what = "orders for recommendations, of five before it joined and two after"
        hint = 'with history, the group begins at "0"'
        expect_count(what, got, exactly=7, hint=hint)
        situation("when it joins without the history")
        hint = 'without history, the group begins at "$", the end of the stream'
        got = len(stream.news("newsletter"))
        what = "orders for newsletter, of five before it joined and two after"
        expect_count(what, got, exactly=2, hint=hint)
        got = len(stream.news("payments")) + len(taken)
        expect_count("orders that payments was given in all", got, exactly=7)

        situation("when a service starts again, and joins again")
        stream.place(3)
        for service, history in (("newsletter", False), ("recommendations", True)):
            call(join, stream.client, stream.name, service, history)
            hint = "it was away; what it has missed waits in its group, unless the group is made anew"
            what = f"orders for {service}, of three placed while it was away"
            expect_count(what, len(stream.news(service)), exactly=3, hint=hint)

    with PlacedStream() as stream:
        situation("when there is no stream yet")
        call(join, stream.client, stream.name, "recommendations", True)
        expect(
            "the groups of the stream", [*stream.groups()], equals=["recommendations"]
        )
    return "one has the past as well, one only what is new, and nobody else noticed"


def _others(stream: PlacedStream) -> dict[str, dict]:
    """What matters of the groups that were there before."""
    keys = ("last-delivered-id", "pending", "consumers")
    groups = stream.groups()
    return {
        name: {key: groups[name][key] for key in keys}
        for name in ("payments", "email")
        if name in groups
    }


def _expect_newcomer(stream: PlacedStream, service: str, others: dict) -> None:
    got = service if service in stream.groups() else sorted(stream.groups())
    hint = "a group with the service's name, on the stream passed in"
    expect(f"the group that join() makes for {service}", got, equals=service, hint=hint)
    hint = "a group of its own is all that a newcomer needs"
    what = f"the groups of the others, after {service} has joined"
    expect(what, _others(stream), equals=others, hint=hint)


# -- Task 4 -----------------------------------------------------------------------------

WAITING, IN = 40, 0.4  # orders in line, and seconds in which to drain them

#: (waiting, rate, service_seconds, drain_seconds): the cases by arithmetic alone.
CASES = (
    (1000, 50, 0.03, 10),
    (20, 100, 0.02, 1),
    (90, 0, 0.1, 2),
    (500, 400, 0.05, 0.5),
    (45, 15, 0.1, 30),
    (3, 10, 0.04, 1),
    (0, 0, 0.04, 1),
)


@task(
    4, "how many workers", limit=LIMIT, hint="what comes meanwhile has to be done, too"
)
def check_task_4(workers_needed):
    situation(f"when {WAITING} orders wait and {RATE} a second come")
    asked = f"{WAITING}, {RATE}, {SERVICE_SECONDS:g}, {IN:g}"
    number = call(workers_needed, WAITING, RATE, SERVICE_SECONDS, IN)
    number = _whole(f"workers_needed({asked})", number)
    expect(
        f"workers_needed({asked})",
        number,
        between=(1, 30),
        hint=_what_comes_of(number, WAITING, RATE, SERVICE_SECONDS, IN),
    )
    left = _left_in_line(number, IN + SLACK, fair=True)
    who = f"{number} worker{'s' * (number > 1)}"
    hint = _what_comes_of(number, WAITING, RATE, SERVICE_SECONDS, IN)
    what = f"orders still in line when {who} had {IN:g} s, and {SLACK:g} s of grace"
    expect_count(what, left, exactly=0, hint=hint)
    if number // 2:
        left = _left_in_line(number // 2, IN)
        hint = f"half of your {number} workers would do; how many are just enough?"
        what = f"orders still in line when only {number // 2} had {IN:g} s"
        expect_count(what, left, at_least=1, hint=hint)

    for case in CASES:
        waiting, rate, service_seconds, drain_seconds = case
        asked = f"workers_needed({', '.join(f'{each:g}' for each in case)})"
        situation(f"for {asked}")
        number = _whole(asked, call(workers_needed, *case))
        needed = (waiting + rate * drain_seconds) * service_seconds / drain_seconds
        least = max(1, math.ceil(needed - 1e-9))
        # One to spare is as right: they are counted in more ways than one.
        hint = _what_comes_of(number, *case)
        expect(asked, number, between=(least, least + 1), hint=hint)
    return f"{WAITING} orders drained in {IN:g} s, and no worker too many"


def _whole(what: str, got: object) -> int:
    """The answer as a whole number; refuse any other."""
    try:
        return operator.index(got)
    except TypeError:
        hint = "a whole number of workers; math.ceil() rounds up to one"
        expect(f"what {what} returns", got, is_a=int, hint=hint)
        raise


def _what_comes_of(
    workers: int,
    waiting: int,
    rate: float,
    service_seconds: float,
    drain_seconds: float,
) -> str:
    """What so many workers would do, as a hint."""
    if workers < 1:
        return "even with nothing to do, one stays: somebody has to be there for the next order"
    gain = workers / service_seconds - rate
    do = "does" if workers == 1 else "do"
    does = f"{workers} {do} {workers / service_seconds:.3g} a second, {rate:g} come"
    if gain <= 1e-9:
        return f"{does}: the line never gets shorter"
    return f"{does}: the {waiting} in line take {waiting / gain:.3g} s, not {drain_seconds:g} s"


def _left_in_line(workers: int, seconds: float, fair: bool = False) -> int:
    """How many of WAITING orders, and those that come, are still unread after these seconds.

    fair: seconds in which the machine stood still are added. Ends as soon as nobody is in line.
    """

    def work(event: dict) -> None:
        time.sleep(SERVICE_SECONDS)

    with PlacedStream() as stream, crews() as start:
        _subscribe(stream, ["payments"])
        stream.place(WAITING)
        crew = start(_react, stream, "payments", work)
        began, came = time.monotonic(), 0
        crew.resize(workers)
        while (now := time.monotonic() - began) < seconds:
            if came < RATE * now:
                stream.place(1)
                came += 1
            if not (left := stream.left("payments", unread=True)):
                break
            stalled = overslept(0.01)
            began += stalled if fair else 0
    return left


# -- Task 5 -----------------------------------------------------------------------------

SHORT_DAY = ((10 * RATE, 0.4), (0, 0.1))


@task(5, "scale by the backlog", limit=LIMIT, hint="workers_needed() knows how many")
def check_task_5(scale):
    situation("when nothing waits and one works")
    _expect_workers("when nothing waits", call(scale, Backlog(0, 0, 0), 1), one_of=(1,))

    situation("when nothing waits any more")
    number = 8
    for _ in range(40):  # some come down a step at a time, or after a while
        number = call(scale, Backlog(0, 0, 5000), number)
        _expect_workers("when nothing waits", number)
        if number == 1:
            break
        time.sleep(0.02)
    hint = "length is all that was ever published; what waits is lag + pending"
    what = "workers in the end, when nothing waits of 5000 orders that were published"
    expect_count(what, number, exactly=1, hint=hint)

    situation("when 500 orders wait")
    for _ in range(40):
        number = call(scale, Backlog(490, 10, 500), number)
        _expect_workers("when 500 orders wait", number)
        if number >= 4:
            break
        time.sleep(0.02)
    hint = "one worker does 25 orders a second"
    what = "workers in the end, when 500 orders wait"
    expect_count(what, number, at_least=4, hint=hint)

    situation("in a spike of 80 orders")
    with PlacedStream() as stream, crews() as start:
        _subscribe(stream, ["payments"])
        told = _spike(stream, start, _react, scale, phases=SHORT_DAY, spike=0)
    _expect_in_time(told)
    _expect_down_again(told)
    return f"80 orders at once, and one worker before and after; never more than {MOST}"


def _expect_workers(when: str, number: object, one_of: tuple | None = None) -> int:
    """The number of workers that scale() asks for; refuse what cannot be."""
    what = f"workers that scale() asks for {when}"
    number = _whole(f"scale() {when}", number)
    if one_of:
        hint = "one worker is enough to wait for the next order"
        expect(what, number, one_of=one_of, hint=hint)
    hint = f"at least 1, or nobody takes the next order; at most MOST, {MOST}"
    expect(what, number, between=(1, MOST), hint=hint)
    return number


def _spike(stream, start, react, scale, work=None, **how) -> spike.Ride:
    """Ride a spike with a crew of Payments that scale() makes larger and smaller."""
    ledgers = how.pop("ledgers", None) or Ledgers()
    scale = guard(scale)

    took: list[float] = []  # seconds of each order

    def charge(event: dict) -> None:
        start = time.monotonic()
        time.sleep(SERVICE_SECONDS)
        took.append(time.monotonic() - start)
        ledgers.note("payments", event)

    def slowness() -> float:
        return max(1.0, sum(took) / len(took) / SERVICE_SECONDS) if took else 1.0

    def workers(now: Backlog, running: int) -> int:
        waiting = (now.lag or 0) + now.pending
        return _expect_workers(f"when {waiting} orders wait", scale(now, running))

    crew = start(react, stream, "payments", charge)
    crew.resize(1)
    return spike.ride(
        workers,
        crew,
        crews=start.all,
        place=stream.place,
        look=lambda: backlog(stream.name, "payments"),
        done=lambda: ledgers.moments("payments"),
        slowness=slowness,
        **how,
    )


def _expect_in_time(told: spike.Ride) -> None:
    most = max(number for _, number in told.scaled)
    hint = f"there were {most} workers at most; are more needed, or sooner?"
    if told.drained is None:
        late = told.seconds - told.spike[1]
        what = f"orders of the spike that are not done {late:.1f} s after its end"
        expect_count(what, told.late, exactly=0, hint=hint)
    what = "time from the end of the spike until its last order is done"
    if told.drained > told.longest:
        expect(what, told.drained, at_most=spike.LONGEST, unit="s", hint=hint)


def _expect_down_again(told: spike.Ride) -> None:
    hint = "when the backlog is gone, one is enough: does scale() come down by itself?"
    what = f"workers {spike.GRACE:g} s after all was done"
    expect_count(what, told.scaled[-1][1], exactly=1, hint=hint)


# -- The verdict ------------------------------------------------------------------------

EARLY = 5  # orders, placed before anybody subscribes


@judge("Verdict", "two hundred orders, and a spike among them", limit=LIMIT)
def verdict(subscribe, react, join, scale):
    ledgers = Ledgers()
    everybody = (*SERVICES, "recommendations")
    react = guard(react)
    with PlacedStream() as stream, crews() as start:
        stream.place(EARLY)
        call(subscribe, stream.client, stream.name, list(SERVICES))

        def begin(service: str) -> None:
            note = functools.partial(ledgers.note, service)
            start(react, stream, service, note).resize(1)

        def newcomer() -> None:
            call(join, stream.client, stream.name, "recommendations", True)
            begin("recommendations")

        def progress() -> int:
            return sum(ledgers.different(service) for service in everybody)

        _expect_groups(stream, SERVICES)
        for service in SERVICES[1:]:
            begin(service)
        told = _spike(
            stream,
            start,
            react,
            scale,
            ledgers=ledgers,
            before=EARLY,
            joins=newcomer,
            progress=progress,
            expected=len(everybody) * (EARLY + len(spike.schedule(spike.DAY))),
        )
        unfinished = {service: stream.pending(service) for service in everybody}
    spike.show(told)

    for service in everybody:
        hint = "does each order of a group go to one worker?"
        what = f"orders that {service} has done more than once"
        doubled = ledgers.doubled(service)
        expect_count(what, len(doubled), exactly=0, hint=hint)
    _expect_in_time(told)
    for service in everybody:
        hint = (
            f"of {len(stream.orders)}; {EARLY} of them came before anybody subscribed"
        )
        what = f"orders that {service} has not done"
        lost = ledgers.lost(service, stream.orders)
        expect_count(what, len(lost), exactly=0, hint=hint)
        what = f"orders that {service} has done and not acknowledged"
        expect_count(what, unfinished[service], exactly=0, hint="see Task 2")
    _expect_down_again(told)
    hint = (
        f"there were {told.work:.1f} s of work; workers with nothing to do cost as much"
    )
    what = "the time of all workers of Payments, added up"
    if told.worker_seconds > BUDGET * told.slowness + told.stalled:
        expect(what, told.worker_seconds, at_most=BUDGET, unit="s", hint=hint)

    because = (
        f"{told.in_spike} orders of {SERVICE_SECONDS:g} s each come in the spike. How soon they are "
        "done is up to the workers that your `scale` asks for, step by step."
    )
    reveal("lab04/drained", told.drained, because=because)
    done = [f"{service} {len(ledgers.orders(service))}" for service in everybody]
    return "\n  ".join(
        [
            f"{len(stream.orders)} orders accepted; done by {', '.join(done)}",
            "lost: 0, done twice: 0, not acknowledged: 0",
            f"the last order of the spike was done {told.drained:.2f} s after its end",
            f"all workers of Payments: {told.worker_seconds:.1f} s, for {told.work:.1f} s of work",
        ]
    )


# -- The lab's own answers, for the checks of other tasks -------------------------------


def _subscribe(stream: PlacedStream, services) -> None:
    for service in services:
        stream.client.xgroup_create(stream.name, service, id="0", mkstream=True)


def _react(client, stream: str, service: str, worker: str, handle: Callable) -> None:
    news = client.xreadgroup(service, worker, {stream: ">"}, count=1, block=BLOCK_MS)
    for _, entries in news or ():
        for message_id, event in entries:
            handle(event)
            client.xack(stream, service, message_id)
