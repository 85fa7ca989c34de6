"""Payments in gRPC: the same answers in the kernel and in a process, and by the rules of REST."""

import grpc
import pytest
from running import nothing_left, together, wait_until

from helpers import serve
from helpers.shop import payments, payments_grpc
from helpers.shop.payments_grpc import messages, services

HOMES = {
    "kernel": lambda seconds: payments_grpc.Payments(work_seconds=seconds),
    "process": lambda seconds: (
        f"helpers.shop.payments_grpc:Payments(work_seconds={seconds})"
    ),
}
ORDER = {"order": "order-1", "amount_cents": 5000, "currency": "USD"}


@pytest.fixture(params=HOMES)
def home(request):
    with nothing_left():
        yield HOMES[request.param]


def stub_of(service):
    return services.PaymentsStub(grpc.insecure_channel(service.address))


@pytest.fixture
def stub(home):
    return stub_of(serve(home(0.0)))


def order(**changes):
    return messages.Order(**ORDER | changes)


def receipt_id(id):
    return messages.ReceiptId(id=id)


def refusal(call, message, timeout=5):
    with pytest.raises(grpc.RpcError) as refused:
        call(message, timeout=timeout)
    return refused.value.code().name, refused.value.details()


def test_a_charge_is_made_read_and_refunded_once(stub):
    made = stub.Charge(order(), timeout=5)
    assert (made.id, made.order, made.status) == ("ch-1", "order-1", "paid")
    assert stub.GetReceipt(receipt_id("ch-1"), timeout=5) == made
    assert stub.Refund(receipt_id("ch-1"), timeout=5).status == "refunded"
    assert refusal(stub.Refund, receipt_id("ch-1")) == (
        "FAILED_PRECONDITION",
        "ch-1 is refunded already.",
    )
    assert stub.GetReceipt(receipt_id("ch-1"), timeout=5).status == "refunded"
    assert stub.Charge(order(), timeout=5).id == "ch-2"


def test_what_is_not_there(stub):
    for call in (stub.GetReceipt, stub.Refund):
        assert refusal(call, receipt_id("ch-7")) == (
            "NOT_FOUND",
            "There is no ch-7 here.",
        )


def test_a_refused_card_is_a_failed_precondition_and_no_charge(stub):
    for card in ("tok_declined", "tok_no_funds", "tok_stolen"):
        code, why = refusal(stub.Charge, order(card=card))
        assert code == "FAILED_PRECONDITION" and why.endswith("."), card
    assert stub.Charge(order(), timeout=5).id == "ch-1"


BAD = {
    "nothing": (messages.Order(), "order must not be empty"),
    "no amount": (order(amount_cents=0), "amount_cents must be at least 1, not 0"),
    "negative": (order(amount_cents=-5000), "amount_cents must be at least 1"),
    "too much": (order(amount_cents=2**62), "amount_cents must be at most"),
    "currency": (order(currency="shells"), "currency must be"),
    "long": (order(order="x" * 65), "order must have at most 64 characters"),
    "card": (order(card="4242 4242"), "card must be"),
    "item": (order(items=[messages.Item(name="lamp", quantity=-1)]), "quantity"),
}


def test_bad_input_is_an_invalid_argument_with_a_reason(stub):
    for bad, (message, reason) in BAD.items():
        code, why = refusal(stub.Charge, message)
        assert code == "INVALID_ARGUMENT" and reason in why, bad
    assert stub.Charge(order(), timeout=5).id == "ch-1"


def test_bytes_that_are_no_order_leave_the_service_well(home):
    service = serve(home(0.0))
    with grpc.insecure_channel(service.address) as channel:
        raw = channel.unary_unary("/shop.Payments/Charge")
        with pytest.raises(grpc.RpcError):
            raw(b"\x0a\xff\xff\xff\xff\x0f not an order", timeout=5)
    assert stub_of(service).Charge(order(), timeout=5).id == "ch-1"


def test_refusals_have_the_words_of_rest():
    client = payments.create_app(work_seconds=0).test_client()
    with nothing_left():
        stub = stub_of(serve(payments_grpc.Payments(work_seconds=0)))
        for changes in (
            {"amount_cents": -1},
            {"currency": "EURO"},
            {"card": "tok_stolen"},
        ):
            said = client.post("/charges", json=ORDER | changes).json["detail"]
            assert refusal(stub.Charge, order(**changes))[1] == said


def test_the_status_of_an_order_comes_as_it_changes(home):
    stub = stub_of(serve(home(0.3)))
    watching = stub.Watch(messages.OrderId(order="order-1"), timeout=5)
    answer = stub.Charge.future(order(), timeout=5)
    assert [next(watching).status for _ in range(2)] == ["received", "charging"]
    assert not answer.done()
    assert [news.status for news in watching] == ["paid"]
    assert answer.result().status == "paid"
    late = stub.Watch(messages.OrderId(order="order-1"), timeout=5)
    assert [news.status for news in late] == ["received", "charging", "paid"]


def test_watching_ends_with_a_refusal_and_with_its_deadline(stub):
    refusal(stub.Charge, order(card="tok_declined"))
    seen = stub.Watch(messages.OrderId(order="order-1"), timeout=5)
    assert [news.status for news in seen] == ["received", "refused"]
    code, _ = refusal(
        lambda message, timeout: list(stub.Watch(message, timeout=timeout)),
        messages.OrderId(order="never"),
        timeout=0.2,
    )
    assert code == "DEADLINE_EXCEEDED"


def test_whoever_stops_watching_frees_the_thread(home):
    stub = stub_of(serve(home(0.0), threads=1))
    stub.Watch(messages.OrderId(order="never")).cancel()
    assert stub.Charge(order(), timeout=5).status == "paid"


def test_charges_at_the_same_moment_are_all_kept(home):
    stub = stub_of(serve(home(0.0), threads=4))
    together(*[lambda: [stub.Charge(order(), timeout=9) for _ in range(10)]] * 4)
    assert stub.Charge(order(), timeout=5).id == "ch-41"


def test_faults(home):
    service = serve(home(0.0))
    stub = stub_of(service)
    service.inject(fail_next=1)
    assert refusal(stub.Charge, order())[0] == "UNAVAILABLE"
    service.inject(drop_next=1)
    assert refusal(stub.Charge, order())[0] == "UNAVAILABLE"
    assert stub.GetReceipt(receipt_id("ch-1"), timeout=5).status == "paid"
    service.inject(latency=0.5)
    assert refusal(stub.Charge, order(), timeout=0.1)[0] == "DEADLINE_EXCEEDED"
    service.heal()
    assert stub.Charge(order(), timeout=5).status == "paid"


def test_a_charge_goes_on_after_its_deadline(home):
    stub = stub_of(serve(home(0.3)))
    assert refusal(stub.Charge, order(), timeout=0.1)[0] == "DEADLINE_EXCEEDED"
    wait_until(lambda: _status(stub, "ch-1") == "paid", seconds=3)


def _status(stub, id):
    try:
        return stub.GetReceipt(receipt_id(id), timeout=5).status
    except grpc.RpcError as error:
        return error.code().name


@pytest.mark.parametrize("seconds", [-1, 61, "soon", None])
def test_an_impossible_work_time_is_refused(seconds):
    with pytest.raises(ValueError, match="from 0 to 60"):
        payments_grpc.Payments(work_seconds=seconds)
