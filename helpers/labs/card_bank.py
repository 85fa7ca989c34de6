"""The bank that Payments asks about a card. It only answers: the money moves with the ledger."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

BANK_SECONDS = 0.01  # that an answer takes

REFUSED = {
    "tok_declined": "The bank declined the card.",
    "tok_no_funds": "There is not enough money on the account.",
}

# Called with each order that the bank is asked about, before it answers.
_listeners: list[Callable[[dict], object]] = []


class CardRefused(Exception):
    """The bank says no to a card; the text says why."""


def ask_bank(order: dict) -> None:
    """Come back when the card of the order is good. Raises CardRefused, with the reason, when not."""
    for tell in list(_listeners):
        tell(order)
    time.sleep(BANK_SECONDS)
    if reason := REFUSED.get(order["card"]):
        raise CardRefused(reason)


@contextmanager
def heard_by(tell: Callable[[dict], object]) -> Iterator[None]:
    """Within the block, `tell` hears of each question first; what it raises is the bank's answer."""
    _listeners.append(tell)
    try:
        yield
    finally:
        _listeners.remove(tell)
