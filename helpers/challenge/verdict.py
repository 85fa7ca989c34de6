"""The verdict: what the services' ledgers say, counted; and each finding in words.

Nothing here knows how a checkout is made. It sees what customers were told, and what is written
in the ledgers of the four services.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

from helpers.challenge.scenarios import Scenario
from helpers.challenge.stage import PATIENCE, Customer

SLOW = 0.3  # seconds; a p95 at the button above it is told


@dataclass(frozen=True)
class Facts:
    """What came of one scenario. Orders unless it says otherwise; times in seconds.

    HARMS go against a customer or the shop. The rest are costs: what a checkout may well choose to pay.
    """

    scenario: str
    customers: int
    p50: float  # time at the button
    p95: float
    # Harms
    confirmed_wrongly: int  # "confirmed", but not both paid and reserved
    oversold: int  # items promised beyond the stock
    mails_lost: int  # nothing told the customer how the order ended
    mails_doubled: int
    refused_needlessly: int  # could have been served
    charged_wrongly: int  # paid twice, or for an order that was refused
    held_for_nothing: int  # reserved for an order that is not paid
    never_done: int  # messages that are still not worked off when all services are well
    # Costs
    undone: int  # messages not yet worked off when the scenario ended
    only_received: int  # told "received": the customer does not know yet
    told_later: int  # of these, those that came to nothing
    refunded: int  # charges given back
    unnoted: int  # orders that stand, and that Recommendations was never told of
    # What the reasons need
    gave_up: int  # had no answer in time
    unseen: int  # of these, those whose order was taken all the same
    by_mail: int  # of those confirmed wrongly, were so by a mail
    because: str  # the reason that most of those refused needlessly were told
    killed: int  # messages a worker was at when it was killed

    @property
    def harm(self) -> int:
        return sum(getattr(self, name) for name in HARMS)


HARMS = (
    "confirmed_wrongly",
    "oversold",
    "mails_lost",
    "mails_doubled",
    "refused_needlessly",
    "charged_wrongly",
    "held_for_nothing",
    "never_done",
)


@dataclass(frozen=True)
class Finding:
    """Something that a scenario has shown; `kind` is a field of Facts, or "slow"."""

    scenario: str
    kind: str
    harm: bool
    text: str


def count_up(
    scenario: Scenario,
    customers: list[Customer],
    ledgers: dict[str, list[dict]],
    *,
    undone: int,
    never_done: int,
    killed: int = 0,
) -> Facts:
    """Count what happened to these customers, by the ledgers of the services."""
    import numpy as np

    charges, reservations, mails, purchases = (
        _by_order(ledgers.get(name, []))
        for name in ("payments", "inventory", "email", "recommendations")
    )
    n: Counter = Counter()
    reasons: Counter = Counter()
    served = promised = 0
    for customer in customers:
        paid = [c["status"] for c in charges[customer.order]].count("paid")
        refunded = len(charges[customer.order]) - paid
        reserved = any(r["status"] == "reserved" for r in reservations[customer.order])
        kinds = Counter(mail["kind"] for mail in mails[customer.order])
        stands = paid > 0 and reserved
        confirmed = customer.told == "confirmed" or kinds["confirmation"] > 0
        promised += confirmed
        accepted = customer.told in ("confirmed", "received")
        served += accepted
        if customer.card == "tok_visa" and not accepted:
            reasons[customer.because] += 1
        wrongly = confirmed and not stands
        due = kinds["confirmation"] if stands else kinds["cancellation"]
        waits_for_mail = stands or customer.told == "received"
        n["confirmed_wrongly"] += wrongly
        n["by_mail"] += wrongly and customer.told != "confirmed"
        n["mails_lost"] += waits_for_mail and not due and not never_done
        n["mails_doubled"] += max(0, kinds["confirmation"] - 1)
        n["charged_wrongly"] += max(0, paid - 1) + (
            customer.told == "refused" and paid > 0
        )
        n["refunded"] += refunded
        n["held_for_nothing"] += reserved and not paid and not never_done
        n["unnoted"] += stands and not purchases[customer.order] and not never_done
        n["only_received"] += customer.told == "received"
        n["told_later"] += customer.told == "received" and not stands
        n["gave_up"] += not customer.told
        n["unseen"] += not customer.told and stands
    could_be_served = sum(customer.card == "tok_visa" for customer in customers)
    if scenario.stock is not None:
        could_be_served = min(could_be_served, scenario.stock)
        n["oversold"] = max(0, promised - scenario.stock)
    seconds = [customer.seconds for customer in customers]
    return Facts(
        scenario.name,
        customers=len(customers),
        p50=float(np.percentile(seconds, 50)),
        p95=float(np.percentile(seconds, 95)),
        refused_needlessly=max(0, could_be_served - served),
        never_done=never_done,
        undone=undone,
        because=reasons.most_common(1)[0][0] if reasons else "",
        killed=killed,
        **{name: n[name] for name in _COUNTED},
    )


_COUNTED = (
    "confirmed_wrongly",
    "oversold",
    "mails_lost",
    "mails_doubled",
    "charged_wrongly",
    "held_for_nothing",
    "only_received",
    "told_later",
    "refunded",
    "unnoted",
    "gave_up",
    "unseen",
    "by_mail",
)


def _by_order(entries: list[dict]) -> dict[str, list[dict]]:
    orders = defaultdict(list)
    for entry in entries:
        orders[entry["order"]].append(entry)
    return orders


# -- In words ---------------------------------------------------------------------------


def findings(facts: Facts, calm: Facts) -> list[Finding]:
    """What the facts of a scenario show, worst first; `calm` is the calm hour, to compare with."""
    told = []

    def tell(kind: str, text: str) -> None:
        told.append(Finding(facts.scenario, kind, kind in HARMS, text))

    f = facts
    if f.confirmed_wrongly:
        how = "by a mail" if f.by_mail == f.confirmed_wrongly else "at the button"
        tell(
            "confirmed_wrongly",
            f"{_orders(f.confirmed_wrongly)} confirmed {how}, and not both paid and reserved. "
            "A confirmation went out before the answer it depends on was there.",
        )
    if f.oversold:
        tell(
            "oversold",
            f"{f.oversold} more promised than there were in stock: somebody was told yes before "
            "Inventory had said so.",
        )
    if f.charged_wrongly:
        tell(
            "charged_wrongly",
            f"{_orders(f.charged_wrongly)} charged twice, or for an order that was refused. A charge that "
            "may be repeated needs a key, and one that is in vain has to be refunded.",
        )
    if f.refused_needlessly:
        tell("refused_needlessly", _refused(f))
    if f.mails_lost:
        tell(
            "mails_lost",
            f"{_customers(f.mails_lost)} got no mail that says how the order ended, and no message is "
            "left that could bring it. Something was acknowledged, or given up, before it was done.",
        )
    if f.mails_doubled:
        tell("mails_doubled", _doubled(f))
    if f.held_for_nothing:
        tell(
            "held_for_nothing",
            f"{_items(f.held_for_nothing)} held for an order that is not paid, and never released. Nobody "
            "else can buy it.",
        )
    if f.never_done:
        tell(
            "never_done",
            f"{_messages(f.never_done)} still not worked off, although all services are well again.",
        )
    if f.p95 > SLOW:
        tell("slow", _slow(f, calm))
    if f.undone and not f.never_done:
        tell(
            "undone",
            f"{_messages(f.undone)} not worked off yet when it ended. They waited in the stream, "
            "and all were done once the service answered again.",
        )
    if f.told_later:
        tell(
            "told_later",
            f"{_customers(f.told_later)} read “received”, and later, in a mail, that there is no order. "
            "The refusal came after the answer.",
        )
    if f.refunded:
        tell(
            "refunded",
            f"{_orders(f.refunded)} charged and then refunded: the charge came before something "
            "else had said no. Banks take a fee for that.",
        )
    if f.unnoted:
        tell(
            "unnoted",
            f"{_orders(f.unnoted)} placed, and Recommendations was never told: it does not know what is "
            "bought.",
        )
    if f.only_received and f is calm:
        tell(
            "only_received",
            f"{_customers(f.only_received)} of {f.customers} left with “received”: whether the order "
            "stands, they learn from a mail. Nothing was wrong; they only do not know yet.",
        )
    return told


def _refused(f: Facts) -> str:
    text = f"{_orders(f.refused_needlessly)} lost that could have been served."
    if f.gave_up:
        return (
            f"{text} Those customers had no answer within {PATIENCE:g} s and gave up: the button had more "
            f"to wait for than its threads could serve. {f.unseen} of them were charged all the same."
        )
    return f"{text} They were told: “{f.because}”. What the button waits for can refuse the order."


def _doubled(f: Facts) -> str:
    text = f"{_orders(f.mails_doubled)} mailed twice."
    if f.killed:
        return (
            f"{text} The worker died after the mail was sent and before the message was acknowledged, so "
            "the message came again. A key that the provider knows would prevent it (lesson 09)."
        )
    return f"{text} A mail was asked for again, with nothing to tell that it had been sent."


def _slow(f: Facts, calm: Facts) -> str:
    text = f"At the button, p95 was {f.p95:.2f} s"
    if f is calm:
        return f"{text}, although nothing was wrong: it waits for too much."
    text = f"{text}; in the calm hour it was {calm.p95:.2f} s."
    if f.customers > 3 * calm.customers:
        return f"{text} More customers came at once than its threads could serve."
    return f"{text} What was slow is waited for there."


def _orders(n: int) -> str:
    return "1 order was" if n == 1 else f"{n} orders were"


def _items(n: int) -> str:
    return "1 item is" if n == 1 else f"{n} items are"


def _customers(n: int) -> str:
    return "1 customer" if n == 1 else f"{n} customers"


def _messages(n: int) -> str:
    return "1 message was" if n == 1 else f"{n} messages were"
