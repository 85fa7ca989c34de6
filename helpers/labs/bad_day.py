"""A bad day for Payments: forty customers order, and much goes wrong."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass

# How many orders, with which card, and the fates of their tries: see helpers.labs.payments.
DAY = (
    (12, "tok_visa", ()),
    (4, "tok_declined", ()),
    (2, "tok_no_funds", ("lost",)),
    (7, "tok_visa", ("slow",)),
    (5, "tok_visa", ("lost",)),
    (4, "tok_visa", ("error",)),
    (2, "tok_visa", ("bug",)),
    (1, "tok_visa", ("slow", "lost")),
    (2, "tok_visa", ("lost",) * 9),
    (1, "tok_visa", ("error",) * 9),
)
SEED = 1  # of the order in which they come
AT_A_TIME = 10  # customers
OPEN = 5.0  # seconds; who comes later is not let in


@dataclass
class Customer:
    """An order of this day, and what has become of it."""

    order: dict
    fates: tuple[str, ...]
    result: tuple[str, str] | None = None  # (ending, detail); None while not let in
    seconds: float = 0.0  # at the button
    charges: int = 0  # in the ledger, when all was over

    @property
    def good(self) -> bool:
        return self.order["card"] == "tok_visa"

    @property
    def misled(self) -> bool:
        """Whether the customer was told what is not so; "unknown" is always so."""
        match self.result[0]:
            case "paid":
                return self.charges == 0
            case "refused":
                return self.good or self.charges > 0
            case "failed":
                return self.charges > 0
        return False


def customers() -> list[Customer]:
    """All of them, in the order in which they come."""
    cases = [(card, fates) for number, card, fates in DAY for _ in range(number)]
    random.Random(SEED).shuffle(cases)
    return [
        Customer(
            {
                "order": f"order-{number}",
                "amount_cents": 5000,
                "currency": "USD",
                "card": card,
            },
            fates,
        )
        for number, (card, fates) in enumerate(cases, start=1)
    ]


def let_in(customers: list[Customer], place: Callable[[dict], tuple]) -> None:
    """Let them place their orders, AT_A_TIME at a time. What `place` raises closes the shop."""
    closed = threading.Event()
    closing = time.monotonic() + OPEN

    def serve(customer: Customer) -> None:
        start = time.monotonic()
        if closed.is_set() or start > closing:
            return
        try:
            customer.result = place(customer.order)
        except BaseException:
            closed.set()
            raise
        customer.seconds = time.monotonic() - start

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        # Each call in a copy of our context: it belongs to the check that runs here.
        served = [pool.submit(copy_context().run, serve, each) for each in customers]
    for each in served:
        each.result()


# -- The picture ------------------------------------------------------------------------

WRONG = "misled or charged twice"
ROWS = {"paid": 3, "refused": 2, "failed": 1, "unknown": 0}


def show(customers: list[Customer]) -> None:
    """A dot for each customer: how long it took, what was said, and what is so."""
    from helpers import figures

    wrong = sum(_kind(customer) == WRONG for customer in customers)
    unknown = sum(customer.result[0] == "unknown" for customer in customers)
    longest = max(customer.seconds for customer in customers)
    figure, ax = figures.chart(
        f"Of {len(customers)} customers, {wrong} misled or charged twice, {unknown} left in doubt",
        x="time at the button (s)",
        y="told (ending)",
        height=3.0,
    )
    orange, grey, red = figures.colour("payments"), "#555555", "#B00020"
    for kind, marker, size, face, edge in (
        ("charged once", "o", 40, orange, "white"),
        ("not charged", "o", 40, "none", grey),
        (WRONG, "X", 80, red, "white"),
    ):
        x, y = [], []
        for number, customer in enumerate(customers):
            if _kind(customer) == kind:
                x.append(customer.seconds)
                # Spread a little, so that dots do not hide each other.
                y.append(ROWS[customer.result[0]] + 0.09 * (number % 7 - 3))
        ax.scatter(x, y, size, face, marker=marker, edgecolors=edge, label=kind)
    ax.set_yticks(list(ROWS.values()), list(ROWS))
    ax.set(xlim=(-0.03, max(1.3, 1.4 * longest)), ylim=(-0.6, 3.6))
    ax.legend(loc="lower right")
    figures.show(
        figure,
        alt="A dot for each customer, by the time at the button and by what was told: "
        "paid, refused, failed or unknown. Full dots were charged once, hollow ones not; "
        "crosses were charged twice or told what is not so.",
    )


def _kind(customer: Customer) -> str:
    if customer.charges > 1 or customer.misled:
        return WRONG
    return "charged once" if customer.charges else "not charged"
