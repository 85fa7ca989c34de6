"""A spike: for a moment ten times as many orders come, and Payments' crew grows and shrinks with it."""

import bisect
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from helpers.labs.crew import Crew
from helpers.stalls import overslept
from helpers.streams import Backlog

# As the lab gives them to the learner.
SERVICE_SECONDS = 0.04  # that Payments needs for an order
RATE = 20  # orders a second on an ordinary day
MOST = 12  # workers that the bank lets Payments have
EVERY = 0.1  # seconds between two steps of the control loop

#: (orders a second, seconds): an ordinary day, with the spike in it.
DAY = ((RATE, 0.5), (10 * RATE, 0.8), (RATE, 1.25))
SPIKE = 1  # which of these it is
SEED = 4  # of the moments at which the orders come
LONGEST = 2.0  # seconds from the spike's end until its last order is done, at most
GRACE = 1.0  # seconds after the last order is placed and done, to be back at one worker


def schedule(phases: Sequence[tuple[float, float]], seed: int = SEED) -> list[float]:
    """When the orders of these phases come: (orders a second, seconds), one after the other."""
    draw, moments, begin = random.Random(seed), [], 0.0
    for rate, seconds in phases:
        moments += sorted(
            begin + seconds * draw.random() for _ in range(round(rate * seconds))
        )
        begin += seconds
    return moments


@dataclass
class Ride:
    """What happened. Moments are in seconds since the first order could come.

    spike: from when to when; first, in_spike: the number of its first order, from 0, and how many
    there are in it; before: orders that were placed before the first could come; placed, done:
    when each order came, and when the crew had done it; waiting: (when, lag + pending); scaled:
    (when, workers wanted); seconds: until all was over.

    stalled, slowness: what is nobody's fault: seconds that the machine stood still, and how many
    times SERVICE_SECONDS an order really took, at least 1.
    """

    spike: tuple[float, float]
    first: int
    in_spike: int
    before: int = 0
    placed: dict[str, float] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)
    waiting: list[tuple[float, int]] = field(default_factory=list)
    scaled: list[tuple[float, int]] = field(default_factory=list)
    worker_seconds: float = 0.0
    seconds: float = 0.0
    stalled: float = 0.0
    slowness: float = 1.0

    @property
    def longest(self) -> float:
        """Seconds from the spike's end that its last order may take, on a machine as slow as this."""
        return LONGEST * self.slowness + self.stalled

    @property
    def work(self) -> float:
        """Seconds of work that there were for the crew."""
        return (self.before + len(self.placed)) * SERVICE_SECONDS

    @property
    def late(self) -> int:
        """How many of the spike's orders were not done in the end."""
        return self.in_spike - len(self._done_of_the_spike())

    @property
    def drained(self) -> float | None:
        """Seconds from the spike's end until its last order was done; None when one never was."""
        return None if self.late else max(self._done_of_the_spike()) - self.spike[1]

    def _done_of_the_spike(self) -> list[float]:
        orders = list(self.placed)[self.first : self.first + self.in_spike]
        return [self.done[order] for order in orders if order in self.done]


def ride(
    scale: Callable[[Backlog, int], int],
    crew: Crew,
    *,
    crews: Sequence[Crew],
    place: Callable[[], str],
    look: Callable[[], Backlog],
    done: Callable[[], dict[str, float]],
    slowness: Callable[[], float],
    phases: Sequence[tuple[float, float]] = (),
    spike: int = SPIKE,
    before: int = 0,
    joins: Callable[[], None] | None = None,
    progress: Callable[[], int] = lambda: 0,
    expected: int = 0,
) -> Ride:
    """Let the orders come, and ask scale() every EVERY seconds how many workers there should be.

    crew: whose size it is; crews: all that are at work, for what their turns raise; place: places
    an order and returns it; look: the crew's backlog; done: when, by time.monotonic(), the crew
    has done which order; slowness: as in Ride; phases: by default DAY; before: orders placed
    already; joins: called once, in the middle of the spike; progress: how much all services have
    done; expected: how much it is when that is all.

    Ends when all is done and one worker is left, or when that has taken too long. Raises what
    scale(), joins(), place() or a turn raises.
    """
    phases = phases or DAY
    begin = sum(seconds for _, seconds in phases[:spike])
    end = begin + phases[spike][1]
    closing = sum(seconds for _, seconds in phases)
    first, in_spike = len(schedule(phases[:spike])), len(schedule([phases[spike]]))
    told = Ride((begin, end), first, in_spike, before)
    moments, start = schedule(phases), time.monotonic()
    next_step, seen, moved, finished = 0.0, 0, 0.0, None
    with _publishing(moments, place, start) as publisher:
        while True:
            now = time.monotonic() - start
            told.placed = dict(publisher.placed)
            state = (
                look()
            )  # and then what is done, so that it is all there when nothing waits
            told.slowness = slowness()
            told.done = {order: at - start for order, at in done().items()}
            told.waiting.append((now, (state.lag or 0) + state.pending))
            if joins and now > (begin + end) / 2:
                joins()
                joins = None
            if now >= next_step:
                next_step = max(next_step + EVERY, now)
                told.scaled.append((now, scale(state, crew.size)))
                crew.resize(told.scaled[-1][1])
            for trouble in (publisher.error, *(each.error for each in crews)):
                if trouble:
                    raise trouble
            if progress() != seen:
                seen, moved = progress(), now
            if len(told.placed) == len(moments) and not told.waiting[-1][1]:
                if seen >= expected:
                    finished = finished or now
                if finished and now > closing and crew.size == 1:
                    break
            if now > _patience(told, closing, moved, finished):
                break
            told.stalled += overslept(EVERY / 2)
    told.seconds, told.worker_seconds = now, crew.seconds
    return told


def _patience(
    told: Ride, closing: float, moved: float, finished: float | None
) -> float:
    """Until when to wait for the end, half a second more than is asked for.

    moved: when somebody did something last.
    """
    if finished is not None:
        return finished + told.stalled + GRACE + 0.5
    if told.drained is None:
        return max(closing, told.spike[1] + told.longest) + 0.5
    return min(max(closing, moved + told.stalled + GRACE), closing + 6) + 0.5


class _publishing(threading.Thread):
    """Places the orders, each at its moment, until the block ends."""

    def __init__(self, moments: list[float], place: Callable[[], str], start: float):
        super().__init__(name="publisher", daemon=True)
        self._moments, self._place, self._start = moments, place, start
        self._over = threading.Event()
        self.placed: dict[str, float] = {}
        self.error: Exception | None = None

    def __enter__(self) -> "_publishing":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self.join(2)

    def run(self) -> None:
        try:
            for moment in self._moments:
                if self._over.wait(max(0.0, self._start + moment - time.monotonic())):
                    return
                self.placed[self._place()] = time.monotonic() - self._start
        except Exception as error:
            self.error = error


# -- The model and the picture ------------------------------------------------------------

STEP = 0.002  # seconds


def model(told: Ride) -> tuple[list[float], list[int]]:
    """(moments, waiting) as bookkeeping has it: these orders, these workers, no delay anywhere.

    An order is begun when it has come and a worker is free, and is done SERVICE_SECONDS later.
    """
    come, next_order = sorted(told.placed.values()), 0
    moments, counts, at_work, line = [], [], [], told.before
    for step in range(round(told.seconds / STEP)):
        now = step * STEP
        while next_order < len(come) and come[next_order] <= now:
            line, next_order = line + 1, next_order + 1
        at_work = [until for until in at_work if until > now]
        index = bisect.bisect(told.scaled, (now, MOST)) - 1
        workers = told.scaled[max(index, 0)][1]
        while line and len(at_work) < workers:
            at_work.append(now + SERVICE_SECONDS)
            line -= 1
        moments.append(now)
        counts.append(line + len(at_work))
    return moments, counts


def show(told: Ride) -> None:
    """The backlog over time, measured and as the model has it, and below it the workers."""
    from helpers import figures
    from helpers.predict import mark_prediction

    zero = told.spike[1]
    most = max(count for _, count in told.waiting)
    workers = max(number for _, number in told.scaled)
    took = (
        "is never done" if told.drained is None else f"is done in {told.drained:.1f} s"
    )
    title = f"{most} orders wait at most, {workers} workers at most: the spike {took}"
    figure = figures.figure(height=4.6)
    with figures.drawing:
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.4))
    figures.set_title(top, title)
    amber = figures.colour("payments")
    for ax in (top, below):
        ax.axvspan(told.spike[0] - zero, 0, color="0.92", zorder=0)
    moments, counts = model(told)
    shifted = [moment - zero for moment in moments]
    top.plot(shifted, counts, color=amber, label="model, with these workers")
    x, y = zip(*told.waiting, strict=True)
    dots = {"markersize": 4, "color": "0.25"}
    top.plot([at - zero for at in x], y, "o", label="measured", **dots)
    top.set(ylabel="lag + pending (orders)", ylim=(0, 1.15 * max(most, *counts)))
    top.legend(loc="upper right")
    top.text(
        (told.spike[0] - zero) / 2, 0.03 * most, "the spike", ha="center", color="0.3"
    )
    steps = [*told.scaled, (told.seconds, told.scaled[-1][1])]
    x, y = zip(*steps, strict=True)
    at = [moment - zero for moment in x]
    below.step(at, y, where="post", color=amber)
    below.fill_between(at, y, step="post", color=amber, alpha=0.25)
    below.set(
        xlabel="time since the spike ended (s)",
        ylabel="workers (count)",
        ylim=(0, workers + 1),
    )
    mark_prediction("lab04/drained", top)
    figures.show(
        figure,
        alt="Above, the backlog of Payments: near zero, rising in the spike, and falling after it; the "
        "dots lie near the line of the model. Below, the number of workers, which follows the backlog.",
    )
