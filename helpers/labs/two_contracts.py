"""The learner's contract held against the lab's: what one side packs, the other one reads.

Every function refuses, in the words of the lab's table, what the two do not agree on.
"""

from google.protobuf.message import DecodeError

from helpers.checks import expect
from helpers.contracts import contract
from helpers.labs import grpc_shop
from helpers.labs.grpc_shop import ending, messages

# For each field: values that must arrive as they were sent.
FIELDS = {
    "Order": {
        "order": ["order-1"],
        "amount_cents": [5000, 5_000_000_000, -5],
        "currency": ["USD"],
        "card": ["tok_visa"],
        "items": [["bread", "butter"]],
    },
    "Receipt": {"id": ["ch-1"], "order": ["order-1"]},
}
METHOD = "/shop.Payments/Charge"


def compiled(text: str):
    """The messages and services of the learner's text."""
    try:
        return contract(text=text)
    except ValueError as error:
        mistake = str(error).splitlines()[0]
    lines, (where, _, _) = text.splitlines(), mistake.partition(":")
    number = where.removeprefix("line ")
    hint = ""
    if number.isdecimal() and int(number) <= len(lines):
        hint = f"line {number} is “{lines[int(number) - 1].strip()}”; look at the line before it, too"
    expect("what the compiler says", mistake, equals="no mistake", hint=hint)


def agree(theirs, their_services) -> None:
    """Refuse unless messages and services, the learner's, fit those of the lab."""
    for name, fields in FIELDS.items():
        _expect_names("messages of your contract", _messages_in(theirs), FIELDS)
        message = getattr(theirs, name)
        has = [field.name for field in message.DESCRIPTOR.fields]
        _expect_names(f"fields of your {name}", has, fields)
        for field, values in fields.items():
            for value in values:
                _exchange(name, field, value, message)
    _send_number_4(theirs.Order)
    _expect_the_call(theirs.DESCRIPTOR)
    _call_both_ways(theirs, their_services)


def _messages_in(module) -> list[str]:
    return list(module.DESCRIPTOR.message_types_by_name)


def _expect_names(what: str, has: list[str], needs) -> None:
    """Refuse unless all the names are there; others may be, too."""
    if missing := [name for name in needs if name not in has]:
        listed, wanted = ", ".join(has) or "none", ", ".join(needs)
        hint = f"{missing[0]} is missing"
        expect(f"the {what}", listed, equals=wanted, hint=hint)


def _exchange(name: str, field: str, value, theirs) -> None:
    """Refuse unless the value of a field arrives, from the lab's message to the learner's and back."""
    ours = getattr(messages, name)
    hint = _difference(ours.DESCRIPTOR, theirs.DESCRIPTOR, field)
    try:
        packed = ours(**{field: value}).SerializeToString()
        got = _plain(getattr(theirs.FromString(packed), field))
    except DecodeError:
        got = "bytes that it cannot read"
    what = f"what your {name} reads as {field} when the other side sends {value!r}"
    expect(what, got, equals=value, hint=hint)
    try:
        packed = theirs(**{field: value}).SerializeToString()
        got = _plain(getattr(ours.FromString(packed), field))
    except (TypeError, ValueError) as error:
        got = f"{type(error).__name__}: {error}"
    except DecodeError:
        got = "bytes that it cannot read"
    what = f"what the other side reads as {field} when your {name} sends {value!r}"
    expect(what, got, equals=value, hint=hint)


def _plain(value):
    """A field's value to compare and to show: repeated ones as a list."""
    if isinstance(value, str | bytes | int | float):
        return value
    return list(value) if hasattr(value, "append") else str(value)


def _difference(ours, theirs, name: str) -> str:
    """In which way a field of two contracts differs, as a hint."""
    ours, theirs = ours.fields_by_name[name], theirs.fields_by_name[name]
    if ours.number != theirs.number:
        return f"{name} is number {theirs.number} in your contract, and {ours.number} in the table"
    if _type_of(ours) != _type_of(theirs):
        return f"{name} is {_type_of(theirs)} in your contract, and {_type_of(ours)} in the table"
    return ""


def _type_of(field) -> str:
    kinds = {
        getattr(field, name): name.removeprefix("TYPE_").lower()
        for name in dir(field)
        if name.startswith("TYPE_")
    }
    repeated = "repeated " if field.is_repeated else ""
    return f"“{repeated}{kinds[field.type]}”"


def _send_number_4(order) -> None:
    """Refuse if the order of an old program, which has a field 4, is read as something else."""
    fields = {"order": "order-1", "amount_cents": 5000, "currency": "USD"}
    old = messages.Order(**fields, card="tok_visa").SerializeToString()
    old += bytes([4 * 8 + 2, 4]) + b"Alex"
    try:
        read = [field.name for field, _ in order.FromString(old).ListFields()]
    except DecodeError:
        read = ["bytes that it cannot read"]
    expect(
        "the fields that your Order reads in the order of an old program, which still sends number 4",
        ", ".join(sorted(read)),
        equals="amount_cents, card, currency, order",
        hint="number 4 must not mean anything any more",
    )


def _expect_the_call(file) -> None:
    _expect_names(
        "services of your contract", list(file.services_by_name), ["Payments"]
    )
    calls = file.services_by_name["Payments"].methods_by_name
    _expect_names("calls of your Payments", list(calls), ["Charge"])
    charge = calls["Charge"]
    for what, message, streams, wanted in (
        ("takes", charge.input_type, charge.client_streaming, "Order"),
        ("returns", charge.output_type, charge.server_streaming, "Receipt"),
    ):
        got = f"stream {message.name}" if streams else message.name
        hint = "rpc Charge(…) returns (…);"
        expect(f"what Charge {what}", got, equals=wanted, hint=hint)


def _call_both_ways(theirs, their_services) -> None:
    """Refuse unless the lab's caller reaches a service by the learner's contract, and the reverse."""
    name = theirs.DESCRIPTOR.services_by_name["Payments"].full_name
    hint = f"your contract makes it /{name}/Charge; is its package shop?"
    for whose, server, client, order, receipt in (
        ("yours", their_services, grpc_shop.services, messages.Order, theirs.Receipt),
        ("the table's", grpc_shop.services, their_services, theirs.Order, messages.Receipt),
    ):  # fmt: skip
        servicer = server.PaymentsServicer()
        servicer.Charge = lambda order, context, receipt=receipt: receipt(
            id=order.order
        )
        with grpc_shop.running(servicer, "payments 2") as (_, channel):
            stub = client.PaymentsStub(channel)
            code, details, answer = ending(stub, order(order="order-1"), 2)
        what = f"how a call of {METHOD} ends when the service's contract is {whose}"
        code = f"{code} ({details})" if details else code
        expect(what, code, equals="OK", hint=hint)
        expect("the id of the receipt", answer.id, equals="order-1")
