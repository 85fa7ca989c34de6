"""A day on which the worker is killed: orders come in, and Payments decides who dies when."""

import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import isfunction, unwrap
from types import FunctionType

from helpers.checks import Refused, expect, expect_count
from helpers.labs.order_stream import OrderStream, order
from helpers.labs.payments import Payments
from helpers.programs import Program, run_program
from helpers.sources import source_of

# What the tries of an order meet; see Payments of helpers.labs for "error" and "lost".
FATES = (
    *[("killed before",)] * 1,  # the worker is killed before the charge is made
    *[("killed after",)] * 2,  # ... when it is made, and before the worker hears of it
    *[("error",)] * 5,
    *[("lost",)] * 2,
)
ORDERS = 40
EVERY = 0.05  # seconds from one order to the next
SEED = 19

STARTING = 4.0  # seconds within which a worker that was started must ask for messages
QUIET = 1.0  # seconds without any change after which no more is to be expected
LONGEST = 4.0  # seconds of work after the last order, without the starts
LOOK_EVERY = 0.015  # seconds


class KillingPayments(Payments):
    """A Payments for which the worker that calls it may die: fates "killed before" and "killed after"."""

    program: Program | None = None

    def _meet(self, fate: str, environ, start_response):
        if not fate.startswith("killed"):
            return super()._meet(fate, environ, start_response)
        if fate == "killed after":
            b"".join(self._app(environ, lambda *_: None))
        self.program.kill()
        raise ConnectionAbortedError("whoever has asked is dead")


@dataclass
class Look:
    """What there was to see at a moment."""

    at: float  # seconds since the first order
    lag: int
    pending: int
    told: object = None  # by the learner's backlog_of


class KeptRunning:
    """The learner's worker in a process of its own, started again whenever it was killed.

    worker: called there with stream= and url=, those of `stream` and `shop`.
    kills: when it was killed, on the clock of time.monotonic.
    came_up: whether it has asked for messages since its last start.
    Raises Refused when it cannot run, ends by itself, or never asks for messages.
    """

    def __init__(
        self, worker: Callable, stream: OrderStream, shop: KillingPayments
    ) -> None:
        self._worker = unwrap(worker, stop=isfunction)
        self._stream, self._shop = stream, shop
        self.kills: list[float] = []
        self._starts = 0.0  # seconds
        self._start()

    def _start(self) -> None:
        self._begun, self.came_up = time.monotonic(), False
        try:
            # Of no name that the notebook may use for a program of its own.
            self._program = run_program(
                self._worker,
                name="worker 2",
                stream=self._stream.key,
                url=self._shop.url,
            )
        except (TypeError, ValueError, OSError) as error:
            what = "your worker as a program of its own"
            hint = "it can take along functions, classes, modules and constants of the notebook"
            expect(what, f"{error}", equals="it runs", hint=hint)
        self._shop.program = self._program

    def look_after(self) -> None:
        """Start it again if it was killed; see whether it has come up."""
        if not self._program.running:
            if self._program.returncode != -9:
                _refuse_the_end(self._program, self._worker)
            self.kills.append(time.monotonic())
            self._start()
        elif not self.came_up:
            took = time.monotonic() - self._begun
            ago = self._stream.asked_ago()
            self.came_up = ago is not None and ago < took - 0.02  # clocks are rounded
            if self.came_up:
                self._starts += took
            elif took > STARTING:
                hint = "does your worker read the stream and the group it was given?"
                what = f"reads of your worker in the {STARTING:g} s after its start"
                expect_count(what, 0, at_least=1, hint=hint)

    @property
    def starting(self) -> float:
        """Seconds spent on starts so far."""
        now = 0 if self.came_up else time.monotonic() - self._begun
        return self._starts + now

    @property
    def asks(self) -> bool:
        """Whether it runs, and has asked for messages just now."""
        ago = self._stream.asked_ago()
        return self._program.running and ago is not None and ago < QUIET / 2

    def await_next_read(self) -> None:
        """Wait until it asks for messages once more, other than it was about to."""
        after = time.monotonic() + 0.15
        while time.monotonic() < after + STARTING:
            self.look_after()
            ago = self._stream.asked_ago()
            if ago is not None and time.monotonic() - ago > after:
                return
            time.sleep(LOOK_EVERY)

    def stop(self) -> None:
        self._program.stop()


@dataclass
class Day:
    """What came of some orders and of a worker that was killed meanwhile."""

    looks: list[Look]
    kills: list[float]  # seconds since the first order
    seconds: float  # until all was done, or no more was to be expected
    left: int  # messages, at the end


def live_through(
    orders: Sequence[dict],
    worker: Callable,
    stream: OrderStream,
    shop: KillingPayments,
    publish: Callable[[dict], object] = lambda order: None,
    told: Callable[[], object] = lambda: None,
) -> Day:
    """Let the orders come in, one EVERY so many seconds, while the worker runs.

    publish: called for each order. told: whenever the backlog is read.
    It ends when all is done, or when that is not to be expected any more.
    """
    to_come, looks, state = list(orders), [], None
    kept = KeptRunning(worker, stream, shop)
    try:
        while not kept.came_up:
            time.sleep(LOOK_EVERY)
            kept.look_after()
        began, before = time.monotonic(), kept.starting
        while True:
            now = time.monotonic()
            while to_come and now - began >= EVERY * (len(orders) - len(to_come)):
                publish(to_come.pop(0))
            kept.look_after()
            lag, pending = stream.levels()
            looks.append(Look(now - began, lag, pending, told()))
            before_that, state = state, (lag, pending, len(shop.posts), kept.starting)
            if to_come or state != before_that:
                changed = now
            if not to_come and not lag + pending:
                kept.await_next_read()  # a worker goes on when there is no news
                break
            if not to_come and now - changed > QUIET and kept.asks:
                break
            at_work = now - began - (kept.starting - before)
            if at_work > LONGEST + EVERY * len(orders):
                break
            time.sleep(LOOK_EVERY)
    finally:
        kept.stop()
    kills = [moment - began for moment in kept.kills]
    return Day(looks, kills, looks[-1].at, lag + pending)


def orders_of_the_day() -> tuple[list[dict], dict[str, tuple[str, ...]]]:
    """The orders, as they come in, and the fates of their tries by order."""
    draw = random.Random(SEED)
    # One mishap in each stretch, so that they do not fall together.
    stretch = ORDERS // len(FATES)
    places = [stretch * n + draw.randrange(stretch) for n in range(len(FATES))]
    draw.shuffle(places)
    orders = [order(number) for number in range(1, ORDERS + 1)]
    return orders, {
        orders[place]["order"]: fates
        for place, fates in zip(places, FATES, strict=True)
    }


# -- A worker that has ended by itself ----------------------------------------------------


def _refuse_the_end(program: Program, worker: FunctionType) -> None:
    """Refuse a worker that was not killed, and yet has ended."""
    last = program.log.strip().splitlines()[-1:] or ["no error"]
    if to_do := re.search(r"NotImplementedError: (Task \d+): (.+)", last[0]):
        raise Refused(f"{to_do[1]} is still to do: {to_do[2]}")
    at = _line_of(program.log, worker)
    hint = f"look at {at}" if at else "a worker goes on for ever"
    what = "how your worker ends when nobody kills it"
    expect(what, last[0], equals="never", hint=hint)


def _line_of(log: str, worker: FunctionType) -> str:
    """The line of the worker's text that a traceback names last: "in charge(): reply = …"."""
    places = re.findall(r'File "<string>", line (\d+), in (\w+)', log)
    if not places:
        return ""
    number, function = places[-1]
    lines = source_of(worker).splitlines()
    text = lines[int(number) - 1].strip() if int(number) <= len(lines) else ""
    return f"{function}(): {text}"


# -- The picture --------------------------------------------------------------------------

RED = "#B00020"


def show(day: Day, charged: int) -> None:
    """The backlog over time, what of it is pending, and when the worker was killed."""
    from helpers import figures

    times = len(day.kills)
    figure, ax = figures.chart(
        f"The worker is killed {times} times, and {charged} of {ORDERS} orders are charged",
        x="time since the first order (s)",
        y="backlog (messages)",
        height=3.6,
    )
    at = [look.at for look in day.looks]
    pending = [look.pending for look in day.looks]
    both = [look.lag + look.pending for look in day.looks]
    amber = figures.colour("payments")
    area = {"step": "post", "edgecolor": "white", "linewidth": 0.6}
    ax.fill_between(at, pending, facecolor=amber, hatch="//", label="pending", **area)
    ax.fill_between(at, pending, both, facecolor="#F7DDA5", label="lag", **area)
    told = [
        (look.at, look.told)
        for look in day.looks[::4]
        if isinstance(look.told, int | float)
    ]
    if told:
        dots = {"marker": "o", "markersize": 4, "linestyle": "", "color": "0.15"}
        ax.plot(*zip(*told, strict=True), **dots, label="your backlog_of()")
    top = max([*both, 1])
    for n, moment in enumerate(day.kills):
        ax.axvline(moment, color=RED, linestyle="--", linewidth=1.2)
        words = {"va": "top", "color": RED, "fontsize": 9}
        ax.text(
            moment, 1.5 * top, " killed" if n else " killed, started again", **words
        )
    ax.set(xlim=(0, None), ylim=(0, 1.52 * top))
    ax.yaxis.get_major_locator().set_params(integer=True)
    over_lines = {"frameon": True, "facecolor": "white", "edgecolor": "white"}
    ax.legend(
        loc="upper right", bbox_to_anchor=(1, 0.92), ncols=3, framealpha=1, **over_lines
    )
    figures.show(
        figure,
        alt="The backlog of the learner's worker over time: pending below, lag above it, and the "
        "learner's own count as dots. Dashed lines are the moments in which the worker was killed; "
        "from there nobody reads until it runs again.",
    )
