"""A hard day for a checkout: twenty customers, five scenarios."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import partial

from helpers.labs.checkout_shop import Stage, jobs, wait_for_the_rest
from helpers.labs.rounds import again_and_again

CUSTOMERS = 4  # in each scenario
EVERY = 0.05  # seconds between two customers
TOLD = ("confirmed", "refused", "in doubt")


@dataclass(frozen=True)
class Scenario:
    """What happens while the customers are there; when they have gone, all is well again."""

    name: str
    declined: tuple[int, ...] = ()  # which customers have a bad card
    slow: str = ""  # the service that is 0.8 s slower
    down: str = ""  # the service that is stopped
    hangs: str = ""  # the service that gives no answer

    def begin(self, stage: Stage) -> None:
        if self.slow:
            stage.doors[self.slow].slow_down(0.8)
        if self.down:
            stage.services[self.down].stop()
        if self.hangs:
            stage.doors[self.hangs].shut()


SCENARIOS = (
    Scenario("calm"),
    Scenario("declined cards", declined=(1, 3)),
    Scenario("slow e-mail", slow="email"),
    Scenario("no recommendations", down="recommendations"),
    Scenario("Payments hangs", declined=(2,), hangs="payments"),
)


@dataclass
class Customer:
    """An order of this day, and what has become of it."""

    order: dict
    scenario: Scenario
    told: str = ""
    seconds: float = 0.0  # at the button
    charges: int = 0  # in the ledgers, when all was over
    mails: int = 0
    purchases: int = 0

    @property
    def name(self) -> str:
        return self.order["order"]

    @property
    def good(self) -> bool:
        """Whether the card can pay."""
        return self.order["card"] == "tok_visa"

    @property
    def answerable(self) -> bool:
        """Whether an answer could come within the budget."""
        return not self.scenario.hangs

    # What may have gone wrong with the order.

    @property
    def charged_twice(self) -> bool:
        return self.charges > 1

    @property
    def confirmed_without_charge(self) -> bool:
        return self.told == "confirmed" and not self.charges

    @property
    def refused_with_charge(self) -> bool:
        return self.told == "refused" and self.charges > 0

    @property
    def refused_for_nothing(self) -> bool:
        return self.told == "refused" and self.good and self.answerable

    @property
    def doubted_for_nothing(self) -> bool:
        return self.told == "in doubt" and self.answerable

    @property
    def unsettled(self) -> bool:
        return self.told == "in doubt" and self.good and not self.charges

    @property
    def undue_mail(self) -> bool:
        return self.mails > 0 and not self.charges

    @property
    def mail_lost(self) -> bool:
        return self.charges > 0 and not self.mails

    @property
    def mailed_twice(self) -> bool:
        return self.mails > 1

    @property
    def purchase_lost(self) -> bool:
        return self.charges > 0 and not self.purchases


def customers_of(scenario: Scenario, again: int = 0) -> list[Customer]:
    """In the order in which they come, always the same but for the names when they come again."""
    word = scenario.name.split()[0].lower()
    return [
        Customer(
            {
                "order": f"{word}-{number + 1}{again * '-again'}",
                "item": ("lamp", "book", "bike")[number % 3],
                "card": "tok_declined" if number in scenario.declined else "tok_visa",
            },
            scenario,
        )
        for number in range(CUSTOMERS)
    ]


@contextmanager
def behind_the_cut(stage: Stage, work_off: Callable | None):
    """Groups for the work behind the cut, and for each a worker, if there is somebody to do it.

    work_off: called again and again with client, stream, group and job, from a thread for each job.
    """
    workers = []
    try:
        for group, (stream, do) in jobs(stage).items():
            stage.client.xgroup_create(stream, group, id="0", mkstream=True)
            if work_off:
                name = f"{group} worker 2"
                work = work_off, stage.client, stream, group, do
                workers.append(again_and_again(*work, name=name, pause=0.02))
        yield
    finally:
        stage.release()
        for worker in workers:
            worker.stop(patience=0.3)


def live_through(
    scenario: Scenario, stage: Stage, place: Callable[[dict], str], again: int = 0
) -> list[Customer]:
    """The customers of a scenario, with what they were told.

    place: called with an order, from a thread for each customer; what it raises, is raised.
    """
    customers = customers_of(scenario, again)
    scenario.begin(stage)
    _let_in(customers, place)
    return customers


def let_finish(scenario: Scenario, stage: Stage, seconds: float) -> float:
    """All is well, and the work behind the cut gets so many seconds; how many it took."""
    begun = time.monotonic()
    if (
        scenario.slow
    ):  # also for the work behind the cut: one job at least has to meet it
        stage.doors[scenario.slow].met.wait(0.5)
    stage.mend(quick=True)
    wait_for_the_rest(stage, seconds)
    stage.mend()
    return time.monotonic() - begun


def count(customers: list[Customer], stage: Stage) -> None:
    """Look up in the ledgers what came of the orders."""
    for customer in customers:
        customer.charges = stage.charges(customer.name)
        customer.mails = stage.mails(customer.name)
        customer.purchases = stage.purchases(customer.name)


def _let_in(customers: list[Customer], place: Callable[[dict], str]) -> None:
    """Let them order, one every EVERY seconds, however long the others wait."""
    start, closed = time.monotonic(), threading.Event()

    def serve(number: int, customer: Customer) -> None:
        closed.wait(max(0.0, start + number * EVERY - time.monotonic()))
        if closed.is_set():
            return
        begun = time.monotonic()
        try:
            customer.told = place(dict(customer.order))
        except BaseException:
            closed.set()
            raise
        customer.seconds = time.monotonic() - begun

    with ThreadPoolExecutor(len(customers)) as pool:
        # Each call in a copy of our context: it belongs to the check that runs here.
        served = [
            pool.submit(copy_context().run, serve, number, customer)
            for number, customer in enumerate(customers)
        ]
    for each in served:
        each.result()


# -- The checkout that was there before ---------------------------------------------------


@dataclass
class Day:
    """All customers of a day. Shown, it tells in counts what came of their orders."""

    customers: list[Customer] = field(default_factory=list)

    def __repr__(self) -> str:
        rows = [f"{'':20}{'told':33}charged   mailed"]
        for scenario in SCENARIOS:
            mine = [each for each in self.customers if each.scenario == scenario]
            charged = [each for each in mine if each.charges]
            mailed = [each for each in mine if each.mails]
            told = in_words(mine)
            rows.append(f"{scenario.name:20}{told:33}{len(charged):7}{len(mailed):9}")
        return "\n".join(rows)

    @property
    def longest(self) -> float:
        """Seconds at the button."""
        return max(customer.seconds for customer in self.customers)

    @property
    def charged_in_error(self) -> int:
        """Customers who were told of an error, and charged."""
        return sum(each.told == "error" and each.charges > 0 for each in self.customers)


def in_words(customers: list[Customer]) -> str:
    """What they were told: "3 confirmed, 3 refused"."""
    says = Counter(customer.told for customer in customers)
    return ", ".join(f"{says[told]} {told}" for told in (*TOLD, "error") if says[told])


def hard_day(checkout: Callable) -> Day:
    """Send the day's customers to a checkout; what it raises, they see as an error.

    All scenarios at the same time, each at its own branch of the shop.
    """

    def place(stage: Stage, order: dict) -> str:
        try:
            return checkout(stage.shop, order)
        except Exception:
            return "error"

    def live(scenario: Scenario) -> list[Customer]:
        with Stage(branch_of=main) as stage:
            return live_through(scenario, stage, partial(place, stage))

    with Stage() as main:
        with ThreadPoolExecutor(len(SCENARIOS)) as pool:
            customers = [each for some in pool.map(live, SCENARIOS) for each in some]
        count(customers, main)
    return Day(customers)


# -- The picture --------------------------------------------------------------------------

MARKERS = {"confirmed": "o", "refused": "^", "in doubt": "s", "error": "X"}


def show(customers: list[Customer], before: Day | None, budget: float) -> None:
    """A dot for each customer: how long they waited in which scenario, before and now."""
    from helpers import figures

    longest = max(customer.seconds for customer in customers)
    title = f"Now nobody waits longer than {longest:.2f} s"
    if before:
        title = f"The longest wait: before {before.longest:.2f} s, now {longest:.2f} s"
    figure, ax = figures.chart(
        f"{title} (budget {budget:g} s)",
        x="time at the button (s)",
        y="what happens (scenario)",
        height=4.2,
    )
    with figures.drawing:
        ax.axvline(budget, color="0.2", linestyle="--", label="budget", zorder=1)
        if before:
            _dots(ax, before.customers, -0.22, "none", "0.45", "before")
        _dots(ax, customers, 0.22, figures.colour("orders"), "white", "now")
        ax.set_yticks(range(len(SCENARIOS)), [each.name for each in SCENARIOS])
        seconds = [
            each.seconds for each in (*customers, *(before.customers if before else []))
        ]
        ax.set(xlim=(0, 1.08 * max(seconds)), ylim=(len(SCENARIOS) - 0.4, -0.6))
        figure.legend(
            *ax.get_legend_handles_labels(), loc="outside lower center", ncols=4
        )
    figures.show(
        figure,
        alt="A row for each scenario and a mark for each customer, by the time at the button. "
        "Hollow: the checkout before. Filled: the checkout now. A line marks the budget.",
    )


def _dots(ax, customers, shift: float, face: str, edge: str, when: str) -> None:
    for told, marker in MARKERS.items():
        mine = [(n, each) for n, each in enumerate(customers) if each.told == told]
        if not mine:
            continue
        x = [each.seconds for _, each in mine]
        # One below the other, so that marks do not hide each other.
        y = [
            SCENARIOS.index(each.scenario)
            + shift
            + 0.1 * (number % CUSTOMERS - (CUSTOMERS - 1) / 2)
            for number, each in mine
        ]
        look = {"marker": marker, "edgecolors": edge, "zorder": 2}
        ax.scatter(x, y, 34, face, **look, label=f"{when}: {told}")
