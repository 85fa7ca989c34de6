"""Lab 2: right answers pass, whatever their make; wrong ones are refused in fitting words."""

import time
from itertools import count
from types import SimpleNamespace

import grpc
import lab_answers
import pytest
from lab_answers import (
    assert_passed,
    assert_refused,
    assert_said,
    nothing_runs_on,
    refusal,
    timed,
    to_do,
)

from helpers import contract, figures, serve
from helpers.labs import grpc_shop, impatient, lab02, two_contracts
from helpers.labs.grpc_shop import Asked
from tools import labs, notebooks

NAME = "02-speak-protobuf.ipynb"
CHECKS = {
    "contract_text": lab02.check_task_1,
    "answer": lab02.check_task_2,
    "charge": lab02.check_task_3,
    "authorize": lab02.check_task_4,
}
NUMBER = {name: number for number, name in enumerate(CHECKS, start=1)}
BEGINS = (
    "from itertools import count",
    "from typing import NamedTuple",
)


def lab(*changes, solved=True):
    """What the notebook defines, with changes (old, new) to its text."""
    names = {
        "grpc": grpc,
        "time": time,
        "contract": contract,
        "messages": grpc_shop.messages,
        "bank_messages": grpc_shop.bank_messages,
        "LIMIT": lab02.LIMIT,
        "RESERVE": lab02.RESERVE,
    }
    return lab_answers.lab(NAME, *changes, begins=BEGINS, solved=solved, **names)


@pytest.fixture(autouse=True)
def nothing_is_left(capsys):
    with nothing_runs_on():
        yield
    assert capsys.readouterr().err == ""


def all_of(answers):
    return [getattr(answers, name) for name in CHECKS]


# -- Right answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_passes(name, capsys):
    timed(CHECKS[name], getattr(lab(), name))
    said = capsys.readouterr().out
    assert_passed(NAME, NUMBER[name], said)


def test_the_verdict_on_the_solution(capsys, shown):
    timed(lab02.verdict, *all_of(lab()))
    assert capsys.readouterr().out.splitlines()[:3] == [
        "✓ Verdict: thirty customers, and a slow Bank",
        "  30 customers: 14 paid, 5 refused, 0 failed, 11 unknown",
        "  amounts set aside: 14, of them too late: 0, twice: 0; customers wrongly told: 0",
    ]
    [(figure, alt)] = shown
    title = figure.axes[0].get_title("left")
    assert title == "11 customers told unknown, and money set aside too late for 0"
    assert "red cross" in alt


def test_the_verdict_tells_what_came_of_the_prediction(told_after, shown):
    told = told_after(NAME, "lab02/overtime", "over a second")
    timed(lab02.verdict, *all_of(lab()))
    [text] = told
    assert text.startswith("✗ Not as you predicted. You predicted “over a second”.")
    assert "not at all, or for a moment (measured: " in text


def test_the_lab_and_its_checks_agree():
    given = lab()
    assert given.DECLINED == lab02.DECLINED
    assert given.Result._fields == lab02.Result._fields
    banks = lab_answers.lab(NAME, begins=["BANK_CONTRACT"], contract=contract)
    assert banks.BANK_CONTRACT == grpc_shop.BANK_CONTRACT
    code = "\n".join(
        c.source for c in notebooks.code_cells(notebooks.read(labs.LABS / NAME))
    )
    for name in ("LIMIT", "RESERVE"):
        assert f"\n{name} = {getattr(lab02, name)} " in code


def test_the_table_and_the_checks_agree():
    table = {}
    for cell in notebooks.read(labs.LABS / NAME).cells:
        for line in cell.source.splitlines():
            if cell.cell_type == "markdown" and line.count("|") == 5:
                message, field, kind, number = (
                    part.strip(" `") for part in line.split("|")[1:-1]
                )
                if number.isdecimal():
                    table.setdefault(message or last, {})[field] = int(number), kind  # noqa: F821
                    last = message or last  # noqa: F821, F841
    for name, fields in table.items():
        descriptor = getattr(grpc_shop.messages, name).DESCRIPTOR
        assert {f.name: f.number for f in descriptor.fields} == {
            field: number for field, (number, _) in fields.items()
        }
        assert list(two_contracts.FIELDS[name]) == list(fields)


class Words(grpc.Status):
    """A status as abort_with_status() takes it."""

    def __init__(self, code, details):
        self.code, self.details, self.trailing_metadata = code, details, ()


def answers_of_classes():
    """Objects that are called, futures, and a call that ends with the customer's."""
    given = lab()
    status = grpc.StatusCode

    class ContractText:
        def __call__(self):
            return """
                // Messages first, on one line each, in another order.
                syntax = "proto3"; package shop;
                message Item { string name = 1; }
                message Receipt { string order = 2; string id = 1; repeated Item items = 7; }
                message Order {
                    repeated string items = 6; string card = 5; string currency = 3;
                    int64 amount_cents = 2; string order = 1; bool gift = 9;
                }
                service Refunds { rpc Refund(Receipt) returns (Receipt); }
                service Payments {
                    rpc Look(Receipt) returns (Receipt);
                    rpc Charge(Order) returns (Receipt);
                }"""

    class Answer:
        rules = (
            (lambda o: not o.order, status.INVALID_ARGUMENT, "there is no order"),
            (lambda o: o.amount_cents <= 0, status.INVALID_ARGUMENT, "amount_cents?"),
        )

        def __call__(self, order, context, make_charge):
            for breaks, code, reason in self.rules:
                if breaks(order):
                    context.abort_with_status(Words(code, reason))
            reason = given.DECLINED.get(order.card)
            if reason:
                context.abort_with_status(Words(status.FAILED_PRECONDITION, reason))
            messages, _ = contract(text=ContractText()())
            return messages.Receipt(order=order.order, id=make_charge(order))

    class Charge:
        def __call__(self, stub, order, seconds):
            call = stub.Charge.future(order, timeout=seconds)
            error = call.exception()
            if error is None:
                return given.Result("paid", call.result().id)
            if call.code() in (status.INVALID_ARGUMENT, status.FAILED_PRECONDITION):
                return given.Result("refused", "Payments says: " + call.details())
            sent = "failed to connect" not in call.details()
            return given.Result("unknown" if sent else "failed", str(call.code()))

    class Authorize:
        def __call__(self, bank, order, context):
            if not context.is_active():
                context.abort(status.DEADLINE_EXCEEDED, "gone")
            left = min(context.time_remaining() - given.RESERVE, given.LIMIT)
            if left < 0:
                context.abort(status.DEADLINE_EXCEEDED, "too late")
            request = given.bank_messages.Request(order=order.order)
            request.amount_cents = order.amount_cents
            call = bank.Authorize.future(request, timeout=left)
            context.add_callback(call.cancel)
            if call.exception():
                context.abort(call.code(), "the Bank: " + call.details())
            return call.result().id

    return SimpleNamespace(
        contract_text=ContractText(),
        answer=Answer(),
        charge=Charge(),
        authorize=Authorize(),
    )


def answers_with_set_code():
    """No abort at all in Payments; with_call; and a contract of an edition, with other types."""
    given = lab()
    status = grpc.StatusCode

    def contract_text():
        text = given.contract_text().replace(
            'syntax = "proto3";', 'edition = "2023";\n'
        )
        return text.replace("  reserved 4;\n", "")

    def answer(order, context, make_charge):
        messages, _ = contract(text=contract_text())

        def refuse(code, details):
            context.set_code(code)
            context.set_details(details)
            return messages.Receipt()

        for field in ("order", "amount_cents"):
            value = getattr(order, field)
            if not value or (field == "amount_cents" and value < 0):
                return refuse(status.INVALID_ARGUMENT, f"{field} is {value!r}")
        if why := given.DECLINED.get(order.card):
            return refuse(status.FAILED_PRECONDITION, why)
        id = make_charge(order)
        return messages.Receipt(id=id, order=order.order)

    def charge(stub, order, seconds):
        endings = {"INVALID_ARGUMENT": "refused", "FAILED_PRECONDITION": "refused"}
        try:
            receipt, call = stub.Charge.with_call(order, timeout=seconds)
            return "paid", receipt.id
        except grpc.RpcError as error:
            if given.never_connected(error):
                return "failed", error.details()
            return endings.get(error.code().name, "unknown"), error.details()

    def authorize(bank, order, context):
        left = context.time_remaining()
        if left is None or left > given.LIMIT:
            left = given.LIMIT
        if context.is_active() and left > given.RESERVE:
            try:
                fields = {"order": order.order, "amount_cents": order.amount_cents}
                request = given.bank_messages.Request(**fields)
                authorization, _ = bank.Authorize.with_call(
                    request, timeout=left - given.RESERVE
                )
            except grpc.RpcError as error:
                code, details = error.code(), error.details()
            else:
                return authorization.id
        else:
            code, details = status.DEADLINE_EXCEEDED, "no time left"
        context.abort(code, details)

    return SimpleNamespace(
        contract_text=contract_text, answer=answer, charge=charge, authorize=authorize
    )


def answers_of_closures():
    """Functions made by functions; the amount looked at last; a reserve that is larger."""
    given = lab()

    def refusing(*rules):
        def answer(order, context, make_charge):
            for broken, code, reason in rules:
                if broken(order):
                    context.abort(getattr(grpc.StatusCode, code), reason(order))
            return given.messages.Receipt(id=make_charge(order), order=order.order)

        return answer

    answer = refusing(
        (lambda o: o.card in given.DECLINED, "FAILED_PRECONDITION",
         lambda o: given.DECLINED[o.card]),
        (lambda o: o.order == "", "INVALID_ARGUMENT", lambda o: "order is empty"),
        (lambda o: not o.amount_cents > 0, "INVALID_ARGUMENT", lambda o: "amount_cents is too small"),
    )  # fmt: skip

    def calling(method, handle):
        def call(message, seconds):
            try:
                return method(message, timeout=seconds), None
            except grpc.RpcError as error:
                return None, handle(error)

        return call

    def charge(stub, order, seconds):
        def told(error):
            said = error.code(), error.details()
            if said[0].name in ("INVALID_ARGUMENT", "FAILED_PRECONDITION"):
                return given.Result("refused", said[1])
            ending = "failed" if given.never_connected(error) else "unknown"
            return given.Result(ending, repr(said))

        receipt, result = calling(stub.Charge, told)(order, seconds)
        return result or given.Result("paid", receipt.id)

    def authorize(bank, order, context):
        def leave(code=grpc.StatusCode.DEADLINE_EXCEEDED, details="too late"):
            context.abort(code, details)

        start, left = time.monotonic(), min(context.time_remaining(), given.LIMIT)
        request = given.bank_messages.Request(
            order=order.order, amount_cents=order.amount_cents
        )
        left -= time.monotonic() - start + 1.2 * given.RESERVE
        _ = context.is_active() and left > 0 or leave()
        ask = calling(
            bank.Authorize, lambda error: leave(error.code(), error.details())
        )
        return ask(request, left)[0].id

    return SimpleNamespace(
        contract_text=given.contract_text,
        answer=answer,
        charge=charge,
        authorize=authorize,
    )


@pytest.mark.parametrize(
    "make", [answers_of_classes, answers_with_set_code, answers_of_closures]
)
def test_right_answers_of_another_make_pass(make, shown):
    answers = make()
    for name in reversed(CHECKS):  # the checks go in any order
        timed(CHECKS[name], getattr(answers, name))
    timed(lab02.verdict, *all_of(answers))


# -- Wrong answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_a_stub_is_still_to_do(name):
    said = refusal(CHECKS[name], getattr(lab(solved=False), name))
    assert said == to_do(NAME, NUMBER[name])


@pytest.mark.parametrize("name", CHECKS)
def test_the_verdict_on_a_stub(name, shown):
    answers = lab()
    setattr(answers, name, getattr(lab(solved=False), name))
    said = refusal(lab02.verdict, *all_of(answers))
    assert said == to_do(NAME, NUMBER[name])
    assert shown == []


AMOUNT = "int64 amount_cents = 2;"
RETURN = "return messages.Receipt(id=make_charge(order), order=order.order)"
LOOK = "    if not order.order:\n"
NEGATIVE = "context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)\n    if order.card"
CALL = "receipt = stub.Charge(order, timeout=seconds)"
NEVER = 'if never_connected(error):\n            return Result("failed", "Payments cannot be reached.")'
UNKNOWN = 'return Result("unknown", f"The call ended with {error.code().name}.")'
IF_UNKNOWN = 'if error.code() == status.UNKNOWN:\n            return Result("failed", "")\n        '
SECONDS = "seconds = min(context.time_remaining(), LIMIT) - RESERVE"
ASK = "return bank.Authorize(request, timeout=seconds).id"
PASS_ON = "context.abort(error.code(), error.details())"

WRONG = [
    # Task 1
    ("a semicolon is missing", "contract_text", [(AMOUNT, AMOUNT[:-1])],
     ["what the compiler says", "expected: 'no mistake'", 'line 12: Expected ";"',
      "line 12 is “string currency = 3;”; look at the line before it, too"]),
    ("an unknown type", "contract_text", [(AMOUNT, "money amount_cents = 2;")],
     ['line 11: "money" is not defined', "line 11 is “money amount_cents = 2;”"]),
    ("no version", "contract_text", [('syntax = "proto3";', "")],
     ["what the compiler says", 'it must begin with its version: syntax = "proto3";']),
    ("the numbers in a row", "contract_text",
     [("  reserved 4;\n", ""), ("card = 5", "card = 4"), ("items = 6", "items = 5")],
     ["what your Order reads as card when the other side sends 'tok_visa'", "expected: 'tok_visa'",
      "got:      ''", "card is number 4 in your contract, and 5 in the table"]),
    ("two numbers mixed up", "contract_text",
     [("order = 1;\n  int64 amount_cents = 2", "order = 2;\n  int64 amount_cents = 1")],
     ["what your Order reads as order", "order is number 2 in your contract, and 1 in the table"]),
    ("double for cents", "contract_text", [("int64", "double")],
     ["what your Order reads as amount_cents when the other side sends 5000", "expected: 5000",
      "got:      0",
      "amount_cents is “double” in your contract, and “int64” in the table"]),
    ("too small for large amounts", "contract_text", [("int64", "int32")],
     ["sends 5000000000", "“int32” in your contract, and “int64” in the table"]),
    ("no amounts below 0", "contract_text", [("int64", "uint64")],
     ["sends -5", "“uint64” in your contract"]),
    ("bytes for a text", "contract_text", [("string currency", "bytes currency")],
     ["got:      b'USD'", "currency is “bytes” in your contract, and “string” in the table"]),
    ("one item only", "contract_text", [("repeated string items", "string items")],
     ["what your Order reads as items", "expected: ['bread', 'butter']", "got:      'butter'",
      "items is “string” in your contract, and “repeated string” in the table"]),
    ("a message in a field", "contract_text", [("string card = 5", "Receipt card = 5")],
     ["what your Order reads as card", "got:      'bytes that it cannot read'",
      "“message” in your contract"]),
    ("a field is missing", "contract_text", [("  string currency = 3;\n", "")],
     ["fields of your Order", "expected: 'order, amount_cents, currency, card, items'",
      "got:      'order, amount_cents, card, items'", "currency is missing"]),
    ("a message is missing", "contract_text",
     [("message Receipt", "message Reply"), ("(Receipt)", "(Reply)")],
     ["messages of your contract", "expected: 'Order, Receipt'", "got:      'Order, Reply'",
      "Receipt is missing"]),
    ("number 4 used again", "contract_text", [("reserved 4;", "string coupon = 4;")],
     ["in the order of an old program, which still sends number 4",
      "got:      'amount_cents, card, coupon, currency, order'",
      "number 4 must not mean anything any more"]),
    ("wrong service", "contract_text", [("service Payments", "service Payment")],
     ["services of your contract", "expected: 'Payments'", "got:      'Payment'"]),
    ("wrong method", "contract_text", [("rpc Charge", "rpc Pay")],
     ["calls of your Payments", "expected: 'Charge'", "got:      'Pay'", "Charge is missing"]),
    ("no package", "contract_text", [("package shop;", "")],
     ["how a call of /shop.Payments/Charge ends when the service's contract is yours", "expected: 'OK'",
      "got:      'UNIMPLEMENTED", "your contract makes it /Payments/Charge; is its package shop?"]),
    ("returns a stream", "contract_text", [("returns (Receipt)", "returns (stream Receipt)")],
     ["what Charge returns", "expected: 'Receipt'", "got:      'stream Receipt'"]),
    ("takes the receipt", "contract_text", [("Charge(Order)", "Charge(Receipt)")],
     ["what Charge takes", "expected: 'Order'", "got:      'Receipt'"]),
    ("returns bytes", "contract_text", [("    return \"\"\"", "    return b\"\"\"")],
     ["what contract_text() returns", "expected: a str", "return the text"]),
    # Task 2
    ("raises for what is bad", "answer", [(NEGATIVE, "raise ValueError(reason)\n    if order.card")],
     ["your code raised ValueError: amount_cents must be at least 1", "case: for amount_cents 0",
      "in answer(): raise ValueError(reason)", "what you raise yourself becomes UNKNOWN"]),
    ("takes any amount", "answer", [("order.amount_cents < 1", "False")],
     ["how the call ends for amount_cents 0", "expected: 'INVALID_ARGUMENT'", "got:      'OK'"]),
    ("takes negative amounts", "answer", [("order.amount_cents < 1", "order.amount_cents == 0")],
     ["how the call ends for amount_cents -5", "got:      'OK'"]),
    ("takes an order without a name", "answer", [("if not order.order", "if order.order is None")],
     ["how the call ends for order ''", "expected: 'INVALID_ARGUMENT'"]),
    ("takes every card", "answer", [("order.card in DECLINED", "False")],
     ["how the call ends for the card tok_declined", "expected: 'FAILED_PRECONDITION'", "got:      'OK'"]),
    ("one code for all", "answer", [("FAILED_PRECONDITION", "INVALID_ARGUMENT")],
     ["for the card tok_declined", "expected: 'FAILED_PRECONDITION'", "got:      'INVALID_ARGUMENT'",
      "the order has the right form"]),
    ("charges before it looks", "answer",
     [(LOOK, "    id = make_charge(order)\n" + LOOK), (RETURN, RETURN.replace("make_charge(order)", "id"))],
     ["charges made for amount_cents 0", "exactly 0", "got:      1", "look at the order first"]),
    ("charges twice", "answer", [(RETURN, "make_charge(order)\n    " + RETURN)],
     ["charges made for a good order", "exactly 1", "got:      2"]),
    ("never charges", "answer", [("id=make_charge(order)", 'id="ch-1"')],
     ["charges made for a good order", "exactly 1", "got:      0", "make_charge(order) makes it"]),
    ("no reason", "answer", [("DECLINED[order.card])", '"no")')],
     ["the details for the card tok_declined", "expected: 'The bank declined the card.'",
      "got:      'no'"]),
    ("a reason without the field", "answer",
     [('f"amount_cents must be at least 1, not {order.amount_cents}."', '"bad"')],
     ["the details for amount_cents 0", "got:      'bad'", "a sentence with amount_cents in it"]),
    ("returns nothing", "answer", [(RETURN, "make_charge(order)")],
     ["what answer() returns for a good order", "expected: a Receipt", "None (nothing was returned)"]),
    ("returns the id", "answer", [(RETURN, "return make_charge(order)")],
     ["what answer() returns for a good order", "expected: a Receipt", "got:      'ch-1'"]),
    ("forgets the order", "answer", [(", order=order.order)", ")")],
     ["the order in the receipt", "expected: 'order-1'", "got:      ''"]),
    ("hangs", "answer", [(LOOK, "    while True: pass\n" + LOOK)],
     ["your code did not come back within 3.5 s", "in answer(): while True: pass"]),
    ("stops everything", "answer", [(LOOK, "    from helpers import stop_all; stop_all()\n" + LOOK)],
     ["how the call ends for a good order", "expected: 'OK'", "got:      'UNAVAILABLE'"]),
    # Task 3
    ("no deadline", "charge", [(CALL, "receipt = stub.Charge(order)")],
     ["the time that Payments sees left, of the 3 s", "got:      inf s",
      "give the call its timeout: seconds"]),
    ("a deadline of its own", "charge", [("timeout=seconds", "timeout=0.5")],
     ["the time that Payments sees left", "expected: at least 1.8 s",
      "give it all the time that there is"]),
    ("twice the deadline", "charge", [("timeout=seconds", "timeout=2 * seconds")],
     ["the time that Payments sees left", "expected: at most 3.02 s"]),
    ("lets errors through", "charge", [("except grpc.RpcError as error", "except KeyError as error")],
     ["your code raised _InactiveRpcError", "case: for a declined card", "in charge(): " + CALL]),
    ("a refusal is a failure", "charge", [('Result("refused"', 'Result("failed"')],
     ["for a declined card", "expected: 'refused'", "got:      'failed'",
      "FAILED_PRECONDITION is an answer"]),
    ("a bad order is no refusal", "charge",
     [("(status.INVALID_ARGUMENT, status.FAILED_PRECONDITION)", "(status.FAILED_PRECONDITION,)")],
     ["for an impossible amount", "expected: 'refused'", "got:      'unknown'"]),
    ("swallows the reason", "charge", [('Result("refused", error.details())', 'Result("refused", "no")')],
     ["expected: 'The bank declined the card.'", "got:      'no'", "the reason is error.details()"]),
    ("no answer is a failure", "charge", [(UNKNOWN, UNKNOWN.replace("unknown", "failed"))],
     ["when no answer comes in time", "expected: 'unknown'", "got:      'failed'", "and may charge yet"]),
    ("UNKNOWN is a failure", "charge", [(UNKNOWN, IF_UNKNOWN + UNKNOWN)],
     ["when Payments raises an error (UNKNOWN)", "expected: 'unknown'", "how far Payments got"]),
    ("UNAVAILABLE is a failure", "charge",
     [("if never_connected(error)", "if error.code() == status.UNAVAILABLE")],
     ["when the reply is lost", "expected: 'unknown'", "got:      'failed'",
      "does not say whether the order arrived"]),
    ("never failed", "charge", [(NEVER, "")],
     ["when nobody listens", "expected: 'failed'", "got:      'unknown'",
      "never_connected(error) says so"]),
    ("tries again", "charge",
     [("        if never_connected(error)",
      "        stub.Charge.future(order, timeout=0.1).exception()\n        if never_connected(error)")],
     ["calls of charge()", "at most 1", "got:      2", "another call would be another charge"]),
    ("returns the receipt", "charge", [('return Result("paid", receipt.id)', "return receipt")],
     ["what charge() returns for a charge that is made", "expected: a Result"]),
    ("forgets the id", "charge", [("receipt.id", "order.order")],
     ["the detail that charge() returns", "expected: 'ch-1'", "got:      'order-fine'"]),
    ("a word of its own", "charge", [('Result("unknown"', 'Result("timeout"')],
     ["expected: 'paid' or 'refused' or 'failed' or 'unknown'", "got:      'timeout'"]),
    ("waits for ever afterwards", "charge", [(UNKNOWN, f"while True: time.sleep(0.01)\n        {UNKNOWN}")],
     ["your code did not come back within 3.5 s", "case: when no answer comes in time",
      "in charge(): while True: time.sleep(0.01)"]),
    # Task 4
    ("no timeout", "authorize", [("request, timeout=seconds", "request")],
     ["the time that the Bank sees left for a customer with 2.8 s", "got:      inf s", "minus RESERVE"]),
    ("a timeout of its own", "authorize", [("request, timeout=seconds", "request, timeout=1.7")],
     ["the time that the Bank sees left for a customer with 1.2 s", "expected: at most", "got:      1.7"]),
    ("far too short a timeout", "authorize", [("request, timeout=seconds", "request, timeout=0.3")],
     ["the time that the Bank sees left for a customer with 2.8 s", "expected: at least",
      "all the time that there is"]),
    ("no limit", "authorize", [(SECONDS, "seconds = context.time_remaining() - RESERVE")],
     ["how the call ends for a customer without a deadline", "expected: 'OK'",
      "time_remaining() is enormous then"]),
    ("no deadline becomes none", "authorize",
     [(SECONDS, SECONDS + "\n    if context.time_remaining() > 9: seconds = None"),
      ("seconds <= 0 or", "seconds and seconds <= 0 or")],
     ["the time that the Bank sees left for a customer without a deadline", "got:      inf s",
      "take LIMIT"]),
    ("no look at the customer", "authorize", [(" or not context.is_active()", "")],
     ["questions to the Bank for a customer who has gone", "exactly 0", "got:      1",
      "context.is_active()"]),
    ("asks, and then looks", "authorize",
     [(ASK, "id = bank.Authorize(request, timeout=seconds).id\n"
       "        return id if context.is_active() else None"),
      ("if seconds <= 0 or not context.is_active()", "if seconds <= 0")],
     ["questions to the Bank for a customer who has gone", "exactly 0", "got:      1"]),
    ("lets the Bank's refusal out", "authorize",
     [("except grpc.RpcError as error", "except KeyError as error")],
     ["your code raised _InactiveRpcError", "case: when the Bank refuses", "in authorize(): " + ASK]),
    ("a refusal becomes a delay", "authorize",
     [(PASS_ON, 'context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no")')],
     ["how the call ends when the Bank refuses", "expected: 'FAILED_PRECONDITION'",
      "got:      'DEADLINE_EXCEEDED'", "pass it on"]),
    ("swallows the Bank's reason", "authorize", [(PASS_ON, 'context.abort(error.code(), "no")')],
     ["the details when the Bank refuses", "expected: 'There is not enough money on the account.'"]),
    ("asks twice", "authorize",
     [("        return bank", "        bank.Authorize(request, timeout=seconds)\n        return bank")],
     ["questions to the Bank for a customer with 2.8 s", "exactly 1", "got:      2"]),
    ("asks nobody", "authorize", [(ASK, 'return "auth-1"')],
     ["questions to the Bank for a customer with 2.8 s", "exactly 1", "got:      0"]),
    ("asks for nothing", "authorize", [("amount_cents=order.amount_cents", "amount_cents=0")],
     ["the amount that the Bank is asked for", "expected: 5000", "got:      0"]),
    ("returns the message", "authorize", [(ASK, ASK[:-3])],
     ["what authorize() returns for a customer with 2.8 s", "expected: a str",
      "the id of the authorization"]),
    ("returns nothing", "authorize", [(ASK, ASK.removeprefix("return "))],
     ["what authorize() returns", "None (nothing was returned)"]),
    ("hangs", "authorize", [("    request = ", "    while True: time.sleep(0.01)\n    request = ")],
     ["your code did not come back within 3.5 s", "in authorize(): while True: time.sleep(0.01)"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [case[1:] for case in WRONG],
    ids=[f"{case[1]}: {case[0]}" for case in WRONG],
)
def test_a_wrong_answer_is_refused_in_fitting_words(name, changes, words):
    said = refusal(CHECKS[name], getattr(lab(*changes), name))
    assert_refused(NAME, NUMBER[name], words, said)


def test_without_a_reserve():
    """What the Bank sees differs by a tenth of a second only: a busy machine may hide it once."""
    for _ in range(3):
        try:
            timed(CHECKS["authorize"], lab((SECONDS, SECONDS[:-10])).authorize)
        except AssertionError as refused:
            words = ["the time that the Bank sees left", "minus RESERVE"]
            return assert_said(words, str(refused))
    raise AssertionError("never refused")


def test_what_the_learner_prints_is_shown(capsys):
    answer = lab((LOOK, "    print('Payments is asked')\n" + LOOK)).answer
    timed(CHECKS["answer"], answer)
    assert "printed meanwhile:\n    Payments is asked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([("request, timeout=seconds", "request, timeout=LIMIT"), (" or not context.is_active()", "")],
         ["amounts set aside for customers whose time was up", "exactly 0", "got:      8",
          "told unknown, authorized: 1", "is the customer's deadline passed on?"]),
        ([(SECONDS, "seconds = 1.0"), (" or not context.is_active()", "")],
         ["set aside for customers whose time was up", "exactly 0", "got:      3"]),
        ([("        return bank", "        bank.Authorize(request, timeout=seconds)\n        return bank")],
         ["authorized twice", "exactly 0", "got:      14"]),
        ([(UNKNOWN, 'return Result("paid", "probably")')],
         ["customers wrongly told", "exactly 0", "got:      11", "told paid, authorized: 0"]),
        ([("request, timeout=seconds", "request, timeout=0.01")],
         ["customers who are paid", "at least 11", "got:      0", "told unknown, authorized: 0"]),
        ([("        context.abort(error.code(), error.details())", "        raise")],
         ["customers who are refused", "at least 4", "got:       3",
         "meanwhile: your code raised _InactiveRpcError"]),
        ([(SECONDS, "raise ValueError('which?')")],
         ["your code raised ValueError: which?", "in authorize(): raise ValueError('which?')"]),
        ([(SECONDS, "while True: time.sleep(0.01)")], ["your code did not come back within 3.5 s",
        "in authorize(): while True: time.sleep(0.01)"]),
        ([(CALL, "while True: time.sleep(0.01)")], ["your code did not come back within 3.5 s",
        "in charge(): while True: time.sleep(0.01)"]),
    ],
    ids=["forgetful", "fixed", "doubles", "misled", "hasty", "raises on", "raises", "hangs",
         "charge hangs"],
)  # fmt: skip
def test_the_verdict_on_wrong_answers(changes, words, shown):
    said = refusal(lab02.verdict, *all_of(lab(*changes)))
    assert said.startswith("✗ Verdict: thirty customers, and a slow Bank\n")
    assert_said(words, said)


# -- Counting and drawing ---------------------------------------------------------------


def customer(ending="unknown", seconds=0.5, told=0.5, kind="bank too slow", asked=()):
    return impatient.Customer(
        kind, seconds, 0, 1.0, {"order": "order-1"}, (ending, ""), 100, 100 + told,
        [Asked("order-1", 5000, 0.5, 100 + start, 100 + end, done) for start, end, done in asked],
    )  # fmt: skip


def test_what_may_go_wrong_is_told_apart():
    cases = {
        "nothing": (customer(asked=[(0, 0.45, False)]), []),
        "paid": (customer("paid", 1.5, 0.4, asked=[(0, 0.4, True)]), []),
        "late": (customer(asked=[(0, 1, True)]), [impatient.for_nobody]),
        "in vain": (customer(asked=[(1.1, 1.2, False)]), [impatient.in_vain]),
        "twice": (
            customer("paid", 2, 1, asked=[(0, 0.4, True), (0.5, 1, True)]),
            [impatient.twice],
        ),
        "not paid": (customer("paid"), [impatient.misled]),
        "not refused": (
            customer("refused", 2, 1, asked=[(0, 1, True)]),
            [impatient.misled],
        ),
    }
    tests = [
        impatient.for_nobody,
        impatient.in_vain,
        impatient.twice,
        impatient.misled,
    ]
    for name, (who, wrong) in cases.items():
        assert [test for test in tests if test(who)] == wrong, name


def test_the_bank_may_not_work_on():
    who = customer(asked=[(0, 0.3, False), (0.3, 1.2, True)])
    assert (who.worked, who.overtime) == (pytest.approx(1.2), pytest.approx(0.7))
    assert customer("refused", asked=[]).overtime == 0


def test_the_customers_are_the_same_every_day():
    first, second = impatient.customers(), impatient.customers()
    assert first == second
    assert len({c.order for c in first}) == 30
    assert all(c.seconds + 1 <= c.bank for c in first if c.kind == "bank too slow")


def test_the_picture(shown):
    customers = [
        customer("paid", 1.5, 0.4, asked=[(0, 0.4, True)]),
        customer(asked=[(0, 1, True)]),
        customer("refused", 1.5, 0.01, asked=[]),
        customer("failed", 1.5, 0.02, asked=[]),
        customer("unknown", 1.9, 0.02, kind="bad", asked=[]),
    ]
    impatient.show(customers)
    [(figure, _)] = shown
    [axes] = figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(labels) == sorted(
        ["the Bank at work", "told paid", "told refused", "told failed", "told unknown",
         "their time is up", "set aside too late"]
    )  # fmt: skip
    assert figures.png(figure).startswith(b"\x89PNG")


# -- The learner's own ------------------------------------------------------------------


def test_the_learners_own_services_stay():
    given, made = lab(), count(1)
    messages, services = contract(text=given.contract_text())

    class Payments(services.PaymentsServicer):
        def Charge(self, order, context):
            return given.answer(order, context, lambda order: f"ch-{next(made)}")

    mine = serve(Payments())
    try:
        timed(CHECKS["charge"], given.charge)
        timed(CHECKS["authorize"], given.authorize)
        with grpc.insecure_channel(mine.address) as channel:
            order = messages.Order(order="order-1", amount_cents=1)
            stub = services.PaymentsStub(channel)
            assert given.charge(stub, order, 2) == ("paid", "ch-1")
    finally:
        mine.stop()
