"""What a checkout tells its customers, and whether it is so: at the button, and in the end."""

from collections.abc import Callable, Mapping

from requests import RequestException

from helpers.challenge.wiring import TOLD
from helpers.challenge.wiring import Refused as SaysNo
from helpers.checks import Refused, call, expect, expect_count, situation
from helpers.labs.little_shop import LittleShop

STANDS, NOTHING = "paid and reserved", "neither paid nor reserved"
NOT_NEEDED = "nobody needs this step to buy: if it fails, the order need not fail"


def tried(function: Callable, *args: object) -> tuple[object, Exception | None]:
    """What the learner's function has returned, and what it has raised."""
    try:
        return call(function, *args), None
    except Refused as refusal:
        error = refusal.__cause__
        if not isinstance(error, Exception) or isinstance(error, NotImplementedError):
            raise
        return None, error


def in_short(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}"
    return text if len(text) < 90 else f"{text[:89]}…"


def expect_told(
    place: Callable, little: LittleShop, when: str, order: Mapping, hint: str = ""
) -> str:
    """What the customer is told: "confirmed", "received" or "refused"; refuse anything else."""
    situation(when)
    what = f"what place() does {when}"
    try:
        told = call(place, little.shop, dict(order))
    except Refused as refusal:
        error = refusal.__cause__
        if isinstance(error, SaysNo):
            return "refused"
        little.expect_open("place()")
        if isinstance(error, RequestException):
            hint = hint or (
                "a customer waits for a word: a step that fails refuses the order, or is left "
                "for later"
            )
            wanted = "returns, or raises Refused"
            expect(what, f"raises {in_short(error)}", equals=wanted, hint=hint)
        raise
    little.expect_open("place()")
    hint = 'return "confirmed" or "received", or raise Refused'
    expect(what, told, one_of=TOLD, hint=hint)
    return str(told)


def expect_yes(told: str, when: str, hint: str = "") -> None:
    """Refuse the refusal of an order that can be served."""
    if told == "refused":
        hint = hint or "why should this order be refused?"
        expect(f"what the customer is told {when}", told, one_of=TOLD, hint=hint)


def expect_so(place: Callable, little: LittleShop, when: str, order: Mapping) -> str:
    """What the customer is told; refuse unless it is so at this moment."""
    told = expect_told(place, little, when, order)
    id = order["order"]
    paid, state = little.paid(id), state_of(little, id)
    waiting = len(little.messages_of(id))
    if told == "confirmed" or little.mails(id, "confirmation"):
        hint = "before the customer is told so, both answers must be there"
        expect(f"an order that was confirmed {when}", state, equals=STANDS, hint=hint)
    if told == "refused" and not waiting:
        hint = (
            "what was taken has to be given back: by undo() here, or by a message to a "
            "worker that calls it"
        )
        expect(f"an order that was refused {when}", state, equals=NOTHING, hint=hint)
    if told == "received" and state != STANDS:
        what = f"messages of an order that was received {when}"
        hint = "“received” promises that somebody sees to it: publish a message"
        expect_count(what, waiting, at_least=1, hint=hint)
    hint = "a charge that is tried again needs its key"
    expect_count(f"charges of one order {when}", paid, at_most=1, hint=hint)
    return told


def expect_ending(little: LittleShop, when: str, order: Mapping, told: str) -> None:
    """Refuse unless all is as the customer believes, now that the workers are done."""
    id = order["order"]
    state = state_of(little, id)
    confirmed = little.mails(id, "confirmation")
    cancelled = little.mails(id, "cancellation")
    hint = "charge() with its key charges once"
    expect_count(f"charges {when}", little.paid(id), at_most=1, hint=hint)
    if told == "confirmed" or confirmed:
        hint = "a confirmation goes out when the order stands, and not before"
        expect(f"a confirmed order {when}", state, equals=STANDS, hint=hint)
    if state == STANDS:
        _expect_one_confirmation(when, confirmed)
        what = f"cancellations of an order that stands {when}"
        expect_count(what, cancelled, exactly=0, hint="it is paid and reserved")
        return
    hint = (
        "the customer has gone home: undo(shop, order), and a mail of the kind cancellation"
        if told == "received"
        else "who calls undo(shop, order)?"
    )
    expect(f"an order that came to nothing {when}", state, equals=NOTHING, hint=hint)
    if told == "received":
        expect_count(f"cancellations {when}", cancelled, at_least=1, hint=hint)


def _expect_one_confirmation(when: str, confirmed: int) -> None:
    hint = "send_mail() with its key sends once"
    if not confirmed:
        hint = (
            "what a handler raises leaves its message for another try; a message whose "
            "handler returns is done"
        )
    expect_count(f"confirmations {when}", confirmed, exactly=1, hint=hint)


def state_of(little: LittleShop, order: str) -> str:
    paid, reserved = little.paid(order), little.reserved(order)
    if paid and reserved:
        return STANDS
    if paid or reserved:
        return "paid, not reserved" if paid else "reserved, not paid"
    return NOTHING
