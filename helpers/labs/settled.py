"""What must be so when the learner's worker has worked off a stream, and why it may not be."""

from collections import Counter

from helpers.checks import expect_count, situation
from helpers.labs.card_bank import REFUSED
from helpers.labs.killed_often import Worker


def doubled(worker: Worker) -> list[str]:
    """The orders that were charged more than once."""
    charged = Counter(each.order for each in worker.ledger.charges())
    return [order for order, times in charged.items() if times > 1]


def expect_no_double(worker: Worker, when: str) -> None:
    """Refuse as soon as an order was charged twice."""
    situation(when)
    found = doubled(worker)
    hint = _why_doubled(worker, found[0]) if found else ""
    expect_count(f"orders charged twice {when}", len(found), exactly=0, hint=hint)


def expect_settled(worker: Worker, when: str) -> None:
    """Refuse unless each good order is charged once, and every message is done with."""
    expect_no_double(worker, when)
    charged = {each.order for each in worker.ledger.charges()}
    lost = [order for order in worker.good if order not in charged]
    hint = _why_lost(worker, lost[0]) if lost else ""
    expect_count(f"good orders not charged {when}", len(lost), exactly=0, hint=hint)
    wrong = [order for order in charged if worker.cards.get(order) in REFUSED]
    hint = "the bank has refused the card"
    expect_count(f"refused orders charged {when}", len(wrong), exactly=0, hint=hint)
    pending = worker.pending()
    hint = ""
    if pending:
        order = worker.messages.get(pending[0], "?")
        card = worker.cards.get(order)
        hint = f"the message of {order} was never acknowledged"
        if card in REFUSED:
            hint += ": a refusal is an answer, too, and there is nothing left to do"
    expect_count(f"messages left pending {when}", len(pending), exactly=0, hint=hint)
    hint = "it ends when nothing has come for BLOCK ms, not before"
    expect_count(f"messages not read {when}", worker.unread(), exactly=0, hint=hint)


def _why_doubled(worker: Worker, order: str) -> str:
    keys = worker.ledger.keys_of(order)
    if len(set(keys)) < 2:
        return f"{order}: see Task 1, charge and key in one transaction"
    ids = set(worker.messages)
    said = f"{order} was charged with the keys {keys[0]!r} and {keys[1]!r}"
    if ids.issuperset(keys[:2]):
        return f"{said}: it was published twice, and each message has an id of its own"
    return f"{said}: it needs the same key whenever it comes"


def _why_lost(worker: Worker, order: str) -> str:
    message = next(each for each, name in worker.messages.items() if name == order)
    if message in worker.pending():
        return f"the message of {order} is pending: read what is pending first, with the id 0"
    if worker.unread():
        return f"{order} may not have been read yet"
    return f"the message of {order} was acknowledged without a charge: acknowledge after it"
