"""The shop's services calling each other through real servers."""

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from flask import Flask

from helpers import serve, stop_all
from helpers.shop import (
    bank,
    email,
    fraud,
    inventory,
    orders,
    payments,
    problems,
    recommendations,
)
from helpers.shop.ledger import Ledger

PURCHASE = {"order": "order-1", "amount_cents": 5000, "currency": "USD"}
LAMP = {"item": "lamp"}


@pytest.fixture(autouse=True)
def stop_services(capsys):
    yield
    stop_all()


def start_chain(timeout=5.0):
    """Bank, Fraud check, Payments and Orders, in this order, each knowing the next."""
    last = serve(bank.create_app(work_seconds=0))
    check = serve(fraud.create_app(work_seconds=0, bank_url=last.url, timeout=timeout))
    pay = serve(
        payments.create_app(work_seconds=0, fraud_url=check.url, timeout=timeout)
    )
    first = serve(
        orders.create_app(work_seconds=0, payments_url=pay.url, timeout=timeout)
    )
    return last, check, pay, first


def ledgers(last, check, pay, first):
    """How many entries Bank, Fraud check, Payments and Orders have."""
    paths = {
        last: "/authorizations",
        check: "/checks",
        pay: "/charges",
        first: "/orders",
    }
    return [
        len(requests.get(s.url + path, timeout=5).json()) for s, path in paths.items()
    ]


def order(service, **changes):
    return requests.post(service.url + "/orders", json=LAMP | changes, timeout=10)


def assert_problem(reply, status, *words):
    assert reply.status_code == status, reply.text
    assert reply.headers["Content-Type"] == "application/problem+json"
    for word in words:
        assert word in reply.json()["detail"]


def test_an_order_goes_down_the_whole_chain():
    chain = last, check, pay, first = start_chain()
    reply = order(first, quantity=2)
    assert reply.status_code == 201
    assert reply.json()["charge"] == "ch-1"
    charge = requests.get(pay.url + "/charges/ch-1", timeout=5).json()
    assert (charge["order"], charge["amount_cents"]) == ("order-1", 10_000)
    assert ledgers(*chain) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "card, kind",
    [
        ("tok_declined", "card-declined"),
        ("tok_no_funds", "insufficient-funds"),
        ("tok_stolen", "suspected-fraud"),
    ],
)
def test_a_refusal_is_passed_on_and_leaves_nothing_behind(card, kind):
    chain = start_chain()
    reply = order(chain[-1], card=card)
    assert_problem(reply, 402)
    assert reply.json()["type"] == problems.KINDS + kind
    assert ledgers(*chain) == [0, 0, 0, 0]


def test_a_stolen_card_never_reaches_the_bank():
    nowhere = fraud.create_app(0, bank_url="http://127.0.0.1:1").test_client()
    reply = nowhere.post("/checks", json=PURCHASE | {"card": "tok_stolen"})
    assert reply.status_code == 402
    assert nowhere.post("/checks", json=PURCHASE).status_code == 503


def test_a_service_that_is_down_is_named_and_the_catalog_stays():
    last, _, _, first = start_chain()
    last.stop()
    reply = order(first)
    assert_problem(
        reply, 502, "Payments answered 502", "Fraud check answered 503", "Bank"
    )
    assert requests.get(first.url + "/catalog", timeout=5).status_code == 200


def test_the_next_service_being_down_is_a_503_until_it_is_back():
    _, _, pay, first = start_chain()
    assert order(first).status_code == 201
    pay.stop()
    assert_problem(order(first), 503, "Payments cannot be reached")
    assert requests.get(first.url + "/orders", timeout=5).json()[1:] == []
    pay.start()
    assert order(first).status_code == 201


def test_too_slow_is_a_504_and_the_charge_may_still_happen():
    pay = serve(payments.create_app(work_seconds=1))
    first = serve(orders.create_app(0, payments_url=pay.url, timeout=0.2))
    begin = time.perf_counter()
    assert_problem(order(first), 504, "Payments gave no answer within 0.2 s")
    assert 0.2 <= time.perf_counter() - begin < 1
    assert requests.get(first.url + "/orders", timeout=5).json() == []
    deadline = time.monotonic() + 5
    while not (charges := requests.get(pay.url + "/charges", timeout=5).json()):
        assert time.monotonic() < deadline, "the charge never happened"
        time.sleep(0.05)
    assert charges[0]["order"] == "order-1"


@pytest.mark.parametrize(
    "status, text, expected",
    [
        (500, "oops", (502, "Payments answered 500")),
        (200, "oops", (502, "Payments answered 200 without a JSON object")),
        (201, "[1]", (502, "Payments answered 201 without a JSON object")),
        (422, '{"detail": "no such field"}', (502, "answered 422: no such field")),
        (404, '{"type": 7}', (502, "answered 404: NOT FOUND")),
        (402, '{"detail": "no"}', (402, "no")),
        (402, '{"type": [1], "detail": 7}', (402, "7")),
        (201, '{"id": "c"}', (201,)),
    ],
)
def test_whatever_a_neighbour_answers(status, text, expected):
    app = Flask("payments")
    app.post("/charges")(lambda: (text, status))
    first = serve(orders.create_app(0, payments_url=serve(app).url))
    if expected[0] == 201:
        assert order(first).json()["charge"] == "c"
    else:
        assert_problem(order(first), *expected)


def test_a_lost_answer_is_a_502_although_the_charge_was_made():
    pay = serve(payments.create_app(0))
    first = serve(orders.create_app(0, payments_url=pay.url))
    pay.inject(drop_next=1)
    assert_problem(order(first), 502, "Payments hung up without an answer")
    assert requests.get(first.url + "/orders", timeout=5).json() == []
    charges = requests.get(pay.url + "/charges", timeout=5).json()
    assert [charge["order"] for charge in charges] == ["order-1"]


def test_a_proxy_in_the_environment_is_not_asked(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    pay = serve(payments.create_app(0))
    client = orders.create_app(0, payments_url=pay.url).test_client()
    assert client.post("/orders", json=LAMP).status_code == 201


# Several at once


def at_the_same_moment(n, do):
    """do(i) in n threads that start together; their results."""
    gate = threading.Barrier(n)

    def one(i):
        gate.wait(10)
        return do(i)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(one, range(n)))


def test_duplicates_at_the_same_moment_under_one_key_are_one_charge():
    pay = serve(payments.create_app(work_seconds=0.2), threads=8)

    def charge(i):
        headers = {"Idempotency-Key": "k1"}
        return requests.post(
            pay.url + "/charges", json=PURCHASE, headers=headers, timeout=10
        )

    begin = time.perf_counter()
    replies = at_the_same_moment(8, charge)
    assert time.perf_counter() - begin < 8 * 0.2, "the lock is held during the work"
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.text for reply in replies}) == 1
    assert sum("Idempotent-Replayed" in reply.headers for reply in replies) == 7
    assert len(requests.get(pay.url + "/charges", timeout=5).json()) == 1


def test_a_failure_reaches_every_duplicate_that_waits_for_it():
    pay = serve(
        payments.create_app(work_seconds=0.2, fraud_url="http://127.0.0.1:1"), threads=4
    )

    def charge(i):
        headers = {"Idempotency-Key": "k1"}
        return requests.post(
            pay.url + "/charges", json=PURCHASE, headers=headers, timeout=10
        )

    for reply in at_the_same_moment(4, charge):
        assert_problem(reply, 503, "Fraud check cannot be reached")


def test_charges_at_the_same_moment_have_ids_of_their_own_and_do_not_wait():
    pay = serve(payments.create_app(work_seconds=0.2), threads=8)

    def charge(i):
        return requests.post(pay.url + "/charges", json=PURCHASE, timeout=10).json()[
            "id"
        ]

    begin = time.perf_counter()
    ids = at_the_same_moment(8, charge)
    assert time.perf_counter() - begin < 8 * 0.2, "the lock is held during the work"
    assert sorted(ids) == [f"ch-{i}" for i in range(1, 9)]


@pytest.fixture
def eager_threads():
    """Threads take turns as often as they can, so that a missing lock shows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_refunds_at_the_same_moment_give_the_money_back_once(eager_threads):
    app = payments.create_app(work_seconds=0)
    for i in range(1, 31):
        app.test_client().post("/charges", json=PURCHASE)

        def refund(_, path=f"/charges/ch-{i}/refund"):
            return app.test_client().post(path).status_code

        assert sorted(at_the_same_moment(4, refund)) == [200] + [409] * 3


def test_ids_are_never_given_out_twice(eager_threads):
    ledger = Ledger("x")
    taken = at_the_same_moment(4, lambda _: [ledger.new_id() for _ in range(5000)])
    assert len(set().union(*taken)) == 4 * 5000


@pytest.fixture
def slow_ledger(monkeypatch):
    """Whatever is looked up in a ledger or added to it takes a moment: a missing lock shows."""

    def slowly(method):
        def slow(*args, **fields):
            found = method(*args, **fields)
            time.sleep(0.005)
            return found

        return slow

    for name in ("all", "get", "add"):
        monkeypatch.setattr(Ledger, name, slowly(getattr(Ledger, name)))


def test_the_last_items_are_never_sold_twice(slow_ledger):
    app = inventory.create_app(work_seconds=0, available=0)
    for turn in range(3):
        app.test_client().put("/stock/bike", json={"available": 2})

        def reserve(i, turn=turn):
            wanted = {"order": f"order-{turn}-{i}", "item": "bike"}
            return app.test_client().post("/reservations", json=wanted).status_code

        assert sorted(at_the_same_moment(6, reserve)) == [201] * 2 + [409] * 4
        assert app.test_client().get("/stock/bike").json["available"] == 0
    assert len(app.test_client().get("/reservations").json) == 3 * 2


def test_one_order_at_the_same_moment_is_one_reservation(slow_ledger):
    app = inventory.create_app(work_seconds=0, available=50)
    for turn in range(3):

        def reserve(_, turn=turn):
            wanted = {"order": f"order-{turn}", "item": "lamp"}
            return app.test_client().post("/reservations", json=wanted).json["id"]

        assert len(set(at_the_same_moment(4, reserve))) == 1
    assert app.test_client().get("/stock/lamp").json["available"] == 47


def test_releases_at_the_same_moment_put_the_items_back_once(slow_ledger):
    app = inventory.create_app(work_seconds=0, available=50)
    for i in range(1, 4):
        wanted = {"order": f"order-{i}", "item": "lamp"}
        app.test_client().post("/reservations", json=wanted)

        def release(_, path=f"/reservations/res-{i}/release"):
            return app.test_client().post(path).status_code

        assert sorted(at_the_same_moment(4, release)) == [200] + [409] * 3
    assert app.test_client().get("/stock/lamp").json["available"] == 50


def test_reservations_at_the_same_moment_do_not_wait_for_each_other():
    stock = serve(inventory.create_app(work_seconds=0.2), threads=8)

    def reserve(i):
        wanted = {"order": f"order-{i}", "item": "lamp"}
        return requests.post(
            stock.url + "/reservations", json=wanted, timeout=10
        ).json()

    begin = time.perf_counter()
    made = at_the_same_moment(8, reserve)
    assert time.perf_counter() - begin < 8 * 0.2, "the lock is held during the work"
    assert sorted(each["id"] for each in made) == [f"res-{i}" for i in range(1, 9)]


# Both homes

CONVERSATION = [
    ("GET", "/health", None),
    ("GET", "/openapi.json", None),
    ("GET", "{path}", None),
    ("POST", "{path}", "good"),
    ("POST", "{path}", "another"),
    ("POST", "{path}", "bad card"),
    ("GET", "{path}", None),
    ("GET", "{path}/x-1", None),
    ("POST", "{path}", {}),
    ("POST", "{path}", []),
    ("POST", "{path}", {"amount_cents": -1, "quantity": -1}),
    ("POST", "{path}", "broken"),
    ("POST", "{path}", "nested"),
    ("POST", "{path}", "text"),
    ("POST", "{path}", "huge"),
    ("DELETE", "{path}", None),
    ("GET", "/nothing", None),
    ("POST", "/charges/ch-1/refund", None),
    ("POST", "/charges/ch-1/refund", None),
    ("POST", "{path}", "again"),
    ("POST", "/reservations/res-1/release", None),
    ("POST", "/reservations/res-1/release", None),
    ("POST", "{path}", "good"),
    ("GET", "/stock", None),
    ("PUT", "/stock/lamp", {"available": 1}),
    ("PUT", "/stock/spoon", {"available": 1}),
    ("GET", "/recommendations", None),
]
SERVICES = {
    "orders": (orders, "/orders", LAMP),
    "payments": (payments, "/charges", PURCHASE),
    "fraud": (fraud, "/checks", PURCHASE),
    "bank": (bank, "/authorizations", PURCHASE),
    "inventory": (inventory, "/reservations", LAMP | {"order": "order-1"}),
    "email": (email, "/mails", {"order": "order-1"}),
    "recommendations": (recommendations, "/purchases", LAMP | {"order": "order-1"}),
}


def converse(service, path, good):
    """What a service answers, one request after another: status, headers, body."""
    as_json = {"headers": {"Content-Type": "application/json"}}
    bodies = {
        "good": {"json": good},
        "another": {"json": good | {"order": "order-2"} if "order" in good else good},
        "again": {"json": good},
        "bad card": {"json": good | {"card": "tok_declined"}},
        "broken": {"data": "{", **as_json},
        "nested": {"data": "[" * 10_000, **as_json},
        "text": {"data": "hello"},
        "huge": {"data": "x" * (problems.MAX_BODY + 1), **as_json},
    }
    answers = []
    with requests.Session() as session:
        for method, where, body in CONVERSATION:
            sent = bodies[body] if isinstance(body, str) else {"json": body}
            url = service.url + where.format(path=path)
            reply = session.request(method, url, timeout=10, **sent)
            headers = {k: v for k, v in reply.headers.items() if k != "Date"}
            if "Allow" in headers:  # Flask keeps the methods in a set
                headers["Allow"] = sorted(headers["Allow"].split(", "))
            answers.append((method, where, reply.status_code, headers, reply.text))
    return answers


@pytest.mark.parametrize("name", SERVICES)
def test_a_module_answers_the_same_in_the_kernel_and_in_a_process(name):
    module, path, good = SERVICES[name]
    target = f"helpers.shop.{name}:create_app(work_seconds=0)"
    in_kernel = serve(module.create_app(work_seconds=0), name=f"{name} here")
    in_process = serve(target, name=f"{name} there")
    assert in_kernel.pid != in_process.pid
    here = converse(in_kernel, path, good)
    there = converse(in_process, path, good)
    for one, other in zip(here, there, strict=True):
        assert one == other
    assert {status for _, _, status, _, _ in here} >= {
        *(200, 201, 400, 404, 405, 413, 415, 422),
        *({"inventory": [409], "email": [], "recommendations": []}.get(name, [402])),
    }
    assert len(json.loads(here[6][-1])) == 2
    assert in_process.log == "", "a request ended in a mistake"


def test_the_module_s_own_app_can_be_served_by_its_name():
    service = serve("helpers.shop.payments:app")
    assert service.name == "payments"
    reply = requests.post(service.url + "/charges", json=PURCHASE, timeout=10)
    assert reply.json()["id"] == "ch-1"
