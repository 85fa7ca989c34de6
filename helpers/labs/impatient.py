"""Customers who wait only so long, in front of a Bank that takes its time."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field

SEED = 2
AT_A_TIME = 10  # customers
BANK_NEEDS_AT_MOST = 1.8  # seconds
# Seconds that a busy machine may take to tell Payments that somebody has gone.
ON_THE_WAY = 0.5
# How many of a kind, with how much time (s), how long the order lies at Payments before
# its turn (s), and how long the Bank needs (s).
KINDS = (
    (14, "in time", (2.6, 3.0), 0.0, (0.05, 0.4)),
    (8, "bank too slow", (0.3, 0.6), 0.0, (1.6, BANK_NEEDS_AT_MOST)),
    (3, "gone before", (0.15, 0.2), 1.0, (0.3, 0.4)),
)
GOOD = {"amount_cents": 5000, "currency": "USD", "card": "tok_visa"}
NO_MONEY = "There is not enough money on the account."  # says the Bank
BAD = (
    ({"card": "tok_declined"}, 0.1),
    ({"card": "tok_no_funds"}, 0.1),
    ({"amount_cents": 0}, 0.1),
    ({}, NO_MONEY),
    ({}, NO_MONEY),
)


@dataclass
class Customer:
    """An order, the time that its customer has, and what has become of both."""

    kind: str
    seconds: float  # until the customer leaves
    queue: float  # seconds
    bank: float | str  # the seconds that the Bank needs, or why it refuses
    fields: dict = field(default_factory=dict)  # of the order
    result: tuple[str, str] | None = None  # (ending, detail); None while not let in
    came: float = 0.0  # this and other moments on the clock of time.monotonic
    told: float = 0.0  # when the result was there
    asked: list = field(default_factory=list)  # the questions to the Bank: Asked

    @property
    def order(self) -> str:
        return self.fields["order"]

    @property
    def time_up(self) -> float:
        """When the customer's time is up."""
        return self.came + self.seconds

    @property
    def authorized(self) -> int:
        return sum(asked.authorized for asked in self.asked)

    @property
    def worked(self) -> float:
        """Seconds that the Bank was at work for this customer."""
        return sum((asked.ended or time.monotonic()) - asked.at for asked in self.asked)

    @property
    def overtime(self) -> float:
        """For how many seconds the Bank worked on when the customer's time was up."""
        ends = [asked.ended or time.monotonic() for asked in self.asked]
        return max(0.0, max(ends, default=0.0) - self.time_up)

    @property
    def story(self) -> str:
        """What happened, in a few words."""
        needs = "refuses" if isinstance(self.bank, str) else f"needs {self.bank:.2f} s"
        return (
            f"{self.order} had {self.seconds:.2f} s, the Bank {needs}; "
            f"told {self.result[0]}, authorized: {self.authorized}"
        )


def customers() -> list[Customer]:
    """All of them, in the order in which they come."""
    draw = random.Random(SEED)
    found = [
        Customer(kind, draw.uniform(*seconds), queue, draw.uniform(*bank))
        for number, kind, seconds, queue, bank in KINDS
        for _ in range(number)
    ]
    for fields, bank in BAD:
        found.append(Customer("bad", draw.uniform(2.6, 3.0), 0.0, bank, fields))
    draw.shuffle(found)
    for number, customer in enumerate(found, start=1):
        customer.fields = {"order": f"order-{number}", **GOOD, **customer.fields}
    return found


def trial() -> Customer:
    """A customer who comes before the others, and whose order is a good one."""
    return Customer("in time", 3.0, 0.0, 0.02, {"order": "order-0", **GOOD})


def let_in(customers: list[Customer], place: Callable[[Customer], tuple]) -> None:
    """Let them place their orders, AT_A_TIME at a time. What `place` raises closes the shop."""
    closed = threading.Event()

    def serve(customer: Customer) -> None:
        if closed.is_set():
            return
        customer.came = time.monotonic()
        try:
            customer.result = place(customer)
        except BaseException:
            closed.set()
            raise
        customer.told = time.monotonic()

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        # Each call in a copy of our context: it belongs to the check that runs here.
        served = [pool.submit(copy_context().run, serve, each) for each in customers]
    for each in served:
        each.result()


def note(customers: list[Customer], asked: list) -> None:
    """Give each customer what the Bank was asked for them."""
    for customer in customers:
        customer.asked = [one for one in asked if one.order == customer.order]


# -- What may have gone wrong -----------------------------------------------------------


def for_nobody(customer: Customer) -> bool:
    """Was money set aside when the customer's time was up?"""
    return any(_too_late(one, customer) for one in customer.asked)


def _too_late(asked, customer: Customer) -> bool:
    return asked.authorized and asked.ended > customer.time_up


def in_vain(customer: Customer) -> bool:
    """Was the Bank asked when the customer had long gone?"""
    return any(one.at > customer.time_up + ON_THE_WAY for one in customer.asked)


def twice(customer: Customer) -> bool:
    return customer.authorized > 1


def misled(customer: Customer) -> bool:
    """Was the customer told what is not so? "unknown" is always so."""
    if customer.result[0] == "paid":
        return not customer.authorized
    return customer.result[0] in ("refused", "failed") and customer.authorized > 0


# -- The picture ------------------------------------------------------------------------

TOLD = {"paid": "o", "refused": "s", "failed": "v", "unknown": "D"}


def show(customers: list[Customer]) -> None:
    """A row for each customer: how long they waited, and when the Bank worked for them."""
    from helpers import figures

    unknown = sum(customer.result[0] == "unknown" for customer in customers)
    wrong = sum(map(for_nobody, customers))
    figure, ax = figures.chart(
        f"{unknown} customers told unknown, and money set aside too late for {wrong}",
        x="since the customer came (s)",
        y="customers (rows)",
        height=5.0,
    )
    rows = sorted(customers, key=lambda customer: customer.told - customer.came)
    green, grey, red = figures.colour("bank"), "#555555", "#B00020"
    told, time_up, too_late = {ending: [] for ending in TOLD}, [], []
    for y, customer in enumerate(rows):
        waited = customer.told - customer.came
        ax.plot([0, waited], [y, y], color=grey, linestyle="-", linewidth=1)
        told[customer.result[0]].append((waited, y))
        if customer.result[0] == "unknown" and customer.seconds < waited + 0.5:
            time_up.append((customer.seconds, y))
        for one in customer.asked:
            start, end = one.at - customer.came, one.ended - customer.came
            ax.barh(y, end - start, 0.62, start, color=green, alpha=0.5, zorder=2)
            if _too_late(one, customer):
                too_late.append((end, y))
    ax.barh(-9, 0, color=green, alpha=0.5, label="the Bank at work")
    for label, at, marker, size, face, edge in (
        *((f"told {ending}", told[ending], TOLD[ending], 34, grey, "white") for ending in TOLD),
        ("their time is up", time_up, "|", 110, "black", None),
        ("set aside too late", too_late, "X", 70, red, "white"),
    ):  # fmt: skip
        if at:
            x, y = zip(*at, strict=True)
            face = "white" if label == "told unknown" else face
            edge = grey if label == "told unknown" else edge
            ax.scatter(
                x, y, size, face, marker=marker, edgecolors=edge, zorder=3, label=label
            )
    ax.set(xlim=(0, None), ylim=(-0.8, len(rows) - 0.2))
    ax.set_yticks([])
    ax.legend(loc="lower right")
    figures.show(
        figure,
        alt="A row for each customer, the one who waited least at the bottom. A line ends in a "
        "mark where they were told how their order ended; where that is unknown, a tick shows "
        "when their time was up. A bar shows when the Bank worked for them, and a red cross "
        "where it set money aside too late.",
    )
