"""The shop's services, route by route and refusal by refusal, each working alone."""

import time

import pytest
from flask import Flask, abort, request

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
from helpers.shop.api import REFUSED_CARDS
from helpers.shop.problems import Problem

PURCHASE = {"order": "order-1", "amount_cents": 5000, "currency": "USD"}
SERVICES = {
    "orders": (orders, "/orders", {"item": "lamp"}),
    "payments": (payments, "/charges", PURCHASE),
    "fraud": (fraud, "/checks", PURCHASE),
    "bank": (bank, "/authorizations", PURCHASE),
    "inventory": (inventory, "/reservations", {"order": "order-1", "item": "lamp"}),
    "email": (email, "/mails", {"order": "order-1", "kind": "confirmation"}),
    "recommendations": (
        recommendations,
        "/purchases",
        {"order": "order-1", "item": "lamp"},
    ),
}
CARDS = ["orders", "payments", "fraud", "bank"]  # those that are told a card


@pytest.fixture(params=SERVICES)
def service(request):
    """Each service in turn: its name, a client, the path it takes work at, a good body."""
    module, path, body = SERVICES[request.param]
    return request.param, module.create_app(work_seconds=0).test_client(), path, body


@pytest.fixture
def shop_payments():
    return payments.create_app(work_seconds=0).test_client()


def assert_problem(reply, status, *words, kind=None):
    """The reply is RFC 9457 problem details of this status that mention these words."""
    assert reply.status_code == status, reply.text
    assert reply.content_type == "application/problem+json"
    problem = reply.json
    assert problem["status"] == status
    assert problem["title"] and problem["detail"]
    assert problem["type"] == (problems.KINDS + kind if kind else "about:blank")
    for word in words:
        assert word in problem["detail"]
    return problem


def test_work_is_kept_and_can_be_read_back(service):
    _, client, path, body = service
    other = body | {"order": "order-2"} if "order" in body else body
    first, second = (client.post(path, json=each) for each in (body, other))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json.items() >= body.items()
    assert first.json["id"].endswith("-1") and second.json["id"].endswith("-2")
    assert first.headers["Location"] == f"{path}/{first.json['id']}"
    assert client.get(first.headers["Location"]).json == first.json
    assert client.get(path).json == [first.json, second.json]


def test_names_health_and_description(service):
    name, client, path, _ = service
    assert client.application.name == name
    assert SERVICES[name][0].app.name == name
    assert client.get("/health").json == {"status": "ok"}
    description = client.get("/openapi.json").json
    assert description["openapi"].startswith("3.1")
    assert {"/health", path, path + "/{id}"} <= set(description["paths"])


def test_description_tells_every_status_of_a_route(service):
    name, client, path, _ = service
    routes = client.get("/openapi.json").json["paths"]
    told = set(routes[path]["post"]["responses"])
    assert {"201", "400", "413", "415", "422"} <= told
    assert ("402" in told) == (name in CARDS)
    assert ("409" in told) == (name == "inventory")
    assert set(routes["/health"]["get"]["responses"]) == {"200", "500"}
    assert set(routes[path + "/{id}"]["get"]["responses"]) == {"200", "404", "500"}


def test_two_apps_of_one_module_share_nothing(service):
    name, client, path, body = service
    client.post(path, json=body)
    other = SERVICES[name][0].create_app(work_seconds=0).test_client()
    assert other.get(path).json == []


def test_work_takes_its_time_and_reading_does_not(service):
    _, client, path, body = service
    client.application.config["WORK_SECONDS"] = 0.1
    begin = time.perf_counter()
    client.post(path, json=body)
    worked = time.perf_counter()
    client.get(path)
    assert worked - begin >= 0.1 > time.perf_counter() - worked


@pytest.mark.parametrize("card", REFUSED_CARDS)
@pytest.mark.parametrize("service", CARDS, indirect=True)
def test_refused_cards(service, card):
    _, client, path, body = service
    kind, detail = REFUSED_CARDS[card]
    assert_problem(
        client.post(path, json=body | {"card": card}), 402, detail, kind=kind
    )
    assert client.get(path).json == []


def test_what_does_not_exist(service):
    _, client, path, _ = service
    assert_problem(client.get("/nothing"), 404, "/nothing")
    assert_problem(client.get(path + "/x-99"), 404, "x-99")
    reply = client.delete(path)
    assert_problem(reply, 405, "DELETE", path, "GET", "POST")
    assert {"GET", "POST"} <= set(reply.allow)


@pytest.mark.parametrize(
    "data, content_type, status, word",
    [
        ("{", "application/json", 400, "line 1"),
        ("", "application/json", 400, "not valid JSON"),
        (b"\xff\xfe\xfd", "application/json", 400, "UTF-8"),
        ("[" * 10_000, "application/json", 400, "nested too deeply"),
        ('{"a": NaN}', "application/json", 400, "NaN"),
        ('{"a": -Infinity}', "application/json", 400, "-Infinity"),
        ('{"a": ' + "9" * 5000 + "}", "application/json", 400, "100 digits"),
        ("[]", "application/json", 422, "must be a JSON object"),
        ("null", "application/json", 422, "must be a JSON object"),
        ('"{}"', "application/json", 422, "must be a JSON object"),
        ("x" * (problems.MAX_BODY + 1), "application/json", 413, "16384 bytes"),
        ("{}", "text/plain", 415, "not text/plain"),
        ("{}", None, 415, "none was sent"),
        ("a=1", "application/x-www-form-urlencoded", 415, "application/json"),
    ],
)
def test_bodies_that_cannot_be_read(service, data, content_type, status, word):
    _, client, path, _ = service
    assert_problem(
        client.post(path, data=data, content_type=content_type), status, word
    )
    assert client.get(path).json == []


def test_json_inside_a_json_string_is_text(service):
    _, client, path, body = service
    text = client.application.json.dumps(client.application.json.dumps(body))
    reply = client.post(path, data=text, content_type="application/json")
    assert_problem(reply, 422, "must be a JSON object")


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("amount_cents", 0, "at least 1, not 0"),
        ("amount_cents", -50, "at least 1, not -50"),
        ("amount_cents", 10_000_001, "at most 10000000"),
        ("amount_cents", 10**90, "at most 10000000"),
        ("amount_cents", 49.99, "whole number, not 49.99"),
        ("amount_cents", 1e300, "at most 10000000"),
        ("amount_cents", "5000", 'whole number, not "5000"'),
        ("amount_cents", True, "whole number, not true"),
        ("amount_cents", None, "whole number, not null"),
        ("amount_cents", [5000], "whole number, not a list"),
        ("amount_cents", {"cents": 1}, "whole number, not an object"),
        ("currency", "XYZ", "'USD', 'EUR' or 'GBP', not \"XYZ\""),
        ("currency", "usd", "'USD', 'EUR' or 'GBP'"),
        ("order", 17, "must be text, not 17"),
        ("order", "", "must not be empty"),
        ("order", "x" * 65, "at most 64 characters"),
        ("order", "\ud800", "must be text"),
        ("card", "4242", "must be 'tok_visa'"),
        ("amout", 1, "is not known here"),
    ],
)
@pytest.mark.parametrize("name", ["payments", "fraud", "bank"])
def test_values_that_make_no_sense_name_their_field(name, field, value, words):
    module, path, body = SERVICES[name]
    client = module.create_app(work_seconds=0).test_client()
    problem = assert_problem(client.post(path, json=body | {field: value}), 422, words)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert client.get(path).json == []


def test_in_json_50_0_is_50(shop_payments):
    data = '{"order": "o", "amount_cents": 50.0, "currency": "USD"}'
    reply = shop_payments.post("/charges", data=data, content_type="application/json")
    assert reply.status_code == 201
    assert '"amount_cents":50,' in reply.text


def test_infinity_written_as_a_number(shop_payments):
    data = '{"order": "o", "amount_cents": 1e999, "currency": "USD"}'
    reply = shop_payments.post("/charges", data=data, content_type="application/json")
    assert_problem(reply, 422, "amount_cents must be a whole number")


def test_all_wrong_fields_are_told_at_once_but_not_without_end(shop_payments):
    problem = assert_problem(shop_payments.post("/charges", json={"order": 17}), 422)
    told = {error["field"]: error["detail"] for error in problem["errors"]}
    assert told == {
        "order": "must be text, not 17",
        "amount_cents": "is missing",
        "currency": "is missing",
    }
    many = shop_payments.post("/charges", json={f"field{i}": i for i in range(900)})
    assert len(assert_problem(many, 422)["errors"]) == problems.MAX_ERRORS


# Orders


def test_price_comes_from_the_catalog():
    client = orders.create_app(work_seconds=0).test_client()
    order = client.post("/orders", json={"item": "book", "quantity": 3}).json
    assert order["amount_cents"] == 3 * client.get("/catalog").json["book"]
    assert (order["currency"], order["charge"]) == ("USD", None)


@pytest.mark.parametrize(
    "body, words",
    [
        ({}, "item is missing"),
        ({"item": "spoon"}, "item must be 'lamp', 'book' or 'bike', not \"spoon\""),
        ({"item": "lamp", "quantity": 0}, "quantity must be at least 1"),
        ({"item": "lamp", "quantity": 101}, "quantity must be at most 100"),
        ({"item": "lamp", "quantity": "2"}, "quantity must be a whole number"),
        ({"item": "lamp", "amount_cents": 1}, "amount_cents is not known here"),
    ],
)
def test_orders_that_make_no_sense(body, words):
    client = orders.create_app(work_seconds=0).test_client()
    assert_problem(client.post("/orders", json=body), 422, words)
    assert client.get("/orders").json == []


def test_every_item_can_be_ordered():
    client = orders.create_app(work_seconds=0).test_client()
    for item in client.get("/catalog").json:
        assert client.post("/orders", json={"item": item}).status_code == 201


# Payments


def test_the_ledger_can_be_asked_for_one_order(shop_payments):
    for order in ("order-1", "order-2", "order-1"):
        shop_payments.post("/charges", json=PURCHASE | {"order": order})
    found = shop_payments.get("/charges?order=order-1").json
    assert [charge["id"] for charge in found] == ["ch-1", "ch-3"]
    assert shop_payments.get("/charges?order=none").json == []
    assert_problem(
        shop_payments.get("/charges?odrer=1"), 422, "odrer is not known here"
    )


def test_a_charge_is_refunded_once(shop_payments):
    assert_problem(shop_payments.post("/charges/ch-1/refund"), 404, "ch-1")
    paid = shop_payments.post("/charges", json=PURCHASE).json
    refunded = shop_payments.post("/charges/ch-1/refund")
    assert (refunded.status_code, refunded.json) == (200, paid | {"status": "refunded"})
    assert shop_payments.get("/charges/ch-1").json == refunded.json
    again = shop_payments.post("/charges/ch-1/refund")
    assert_problem(again, 409, "ch-1", kind="already-refunded")


def test_without_a_key_a_repeat_charges_again(shop_payments):
    for _ in range(2):
        shop_payments.post("/charges", json=PURCHASE)
    assert len(shop_payments.get("/charges").json) == 2


def test_with_a_key_a_repeat_gets_the_first_charge(shop_payments):
    first, second = (
        shop_payments.post("/charges", json=PURCHASE, headers={"Idempotency-Key": "k1"})
        for _ in range(2)
    )
    assert (second.status_code, second.json) == (first.status_code, first.json)
    assert second.headers["Location"] == first.headers["Location"]
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert len(shop_payments.get("/charges").json) == 1
    shop_payments.post("/charges", json=PURCHASE, headers={"Idempotency-Key": "k2"})
    assert len(shop_payments.get("/charges").json) == 2


def test_a_key_belongs_to_one_request(shop_payments):
    key = {"Idempotency-Key": "k1"}
    shop_payments.post("/charges", json=PURCHASE, headers=key)
    other = shop_payments.post(
        "/charges", json=PURCHASE | {"amount_cents": 1}, headers=key
    )
    assert_problem(other, 422, "Idempotency-Key", kind="key-reused")
    assert len(shop_payments.get("/charges").json) == 1


def test_a_failed_attempt_leaves_the_key_free(shop_payments):
    key = {"Idempotency-Key": "k1"}
    declined = PURCHASE | {"card": "tok_declined"}
    for _ in range(2):
        reply = shop_payments.post("/charges", json=declined, headers=key)
        assert_problem(reply, 402, kind="card-declined")
    assert shop_payments.post("/charges", json=PURCHASE, headers=key).status_code == 201


@pytest.mark.parametrize("key", ["", "two words", "x" * 65, "schlüssel"])
def test_keys_that_make_no_sense(shop_payments, key):
    headers = {"Idempotency-Key": key.encode().decode("latin-1")}
    reply = shop_payments.post("/charges", json=PURCHASE, headers=headers)
    assert_problem(reply, 422, "Idempotency-Key must")


# Inventory

LAMP = {"order": "order-1", "item": "lamp"}


@pytest.fixture
def shop_inventory():
    return inventory.create_app(work_seconds=0, available=3).test_client()


def available(client, item="lamp"):
    return client.get(f"/stock/{item}").json["available"]


def test_a_reservation_takes_from_the_stock_until_it_is_sold_out(shop_inventory):
    assert shop_inventory.get("/stock").json == [
        {"item": item, "available": 3} for item in ("lamp", "book", "bike")
    ]
    made = shop_inventory.post("/reservations", json=LAMP | {"quantity": 2}).json
    assert (made["status"], available(shop_inventory)) == ("reserved", 1)
    more = LAMP | {"order": "order-2", "quantity": 2}
    reply = shop_inventory.post("/reservations", json=more)
    assert_problem(reply, 409, "only 1 of lamp", kind="sold-out")
    assert available(shop_inventory) == 1
    last = LAMP | {"order": "order-2"}
    assert shop_inventory.post("/reservations", json=last).status_code == 201
    assert (available(shop_inventory), available(shop_inventory, "book")) == (0, 3)


def test_a_repeat_for_an_order_gets_the_first_reservation(shop_inventory):
    first, second = (shop_inventory.post("/reservations", json=LAMP) for _ in range(2))
    assert (second.status_code, second.json) == (201, first.json)
    assert second.headers["Location"] == first.headers["Location"]
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert available(shop_inventory) == 2


@pytest.mark.parametrize("change", [{"item": "book"}, {"quantity": 2}])
def test_an_order_has_one_reservation(shop_inventory, change):
    shop_inventory.post("/reservations", json=LAMP)
    reply = shop_inventory.post("/reservations", json=LAMP | change)
    assert_problem(reply, 409, "order-1 has 1 of lamp", kind="already-reserved")
    assert (available(shop_inventory), available(shop_inventory, "book")) == (2, 3)


def test_a_reservation_is_released_once(shop_inventory):
    assert_problem(shop_inventory.post("/reservations/res-1/release"), 404, "res-1")
    made = shop_inventory.post("/reservations", json=LAMP | {"quantity": 2}).json
    released = shop_inventory.post("/reservations/res-1/release")
    assert (released.status_code, released.json) == (200, made | {"status": "released"})
    assert shop_inventory.get("/reservations/res-1").json == released.json
    for path, body in (("/res-1/release", None), ("", LAMP | {"quantity": 2})):
        again = shop_inventory.post("/reservations" + path, json=body)
        assert_problem(again, 409, "released", kind="already-released")
    assert available(shop_inventory) == 3


def test_the_stock_can_be_set(shop_inventory):
    shop_inventory.post("/reservations", json=LAMP)
    reply = shop_inventory.put("/stock/lamp", json={"available": 7})
    assert (reply.status_code, reply.json) == (200, {"item": "lamp", "available": 7})
    shop_inventory.post("/reservations/res-1/release")
    assert available(shop_inventory) == 8
    for path in ("/stock/spoon", "/stock/LAMP"):
        assert_problem(shop_inventory.get(path), 404, "There is no")
        assert_problem(shop_inventory.put(path, json={"available": 1}), 404)
    for wrong in (-1, 1.5, "7", None, 10**9):
        reply = shop_inventory.put("/stock/lamp", json={"available": wrong})
        assert_problem(reply, 422, "available must be")
    assert_problem(shop_inventory.put("/stock/lamp", json={}), 422, "is missing")
    assert available(shop_inventory) == 8


@pytest.mark.parametrize("pieces", [-1, 1.5, True, "7", None, 10**9])
def test_a_stock_that_makes_no_sense(pieces):
    with pytest.raises(ValueError, match="available=.*: give a whole number"):
        inventory.create_app(available=pieces)


# Email and Recommendations


def test_without_a_key_a_repeat_is_another_mail_and_with_one_it_is_not():
    client = email.create_app(work_seconds=0).test_client()
    mail = {"order": "order-1"}
    for _ in range(2):
        client.post("/mails", json=mail)
    assert len(client.get("/mails").json) == 2
    key = {"Idempotency-Key": "order-2"}
    replies = [client.post("/mails", json=mail, headers=key) for _ in range(2)]
    assert [reply.json["id"] for reply in replies] == ["mail-3", "mail-3"]
    assert replies[1].headers["Idempotent-Replayed"] == "true"
    assert len(client.get("/mails").json) == 3
    other = client.post("/mails", json={"order": "order-3"}, headers=key)
    assert_problem(other, 422, kind="key-reused")


def test_what_is_bought_most_is_recommended_first():
    client = recommendations.create_app(work_seconds=0).test_client()
    assert client.get("/recommendations").json == []
    for number, item in enumerate(("book", "lamp", "lamp")):
        client.post("/purchases", json={"order": f"order-{number}", "item": item})
    assert client.get("/recommendations").json == [
        {"item": "lamp", "bought": 2},
        {"item": "book", "bought": 1},
    ]


@pytest.mark.parametrize("name", ["inventory", "email", "recommendations"])
def test_each_ledger_can_be_asked_for_one_order(name):
    module, path, body = SERVICES[name]
    client = module.create_app(work_seconds=0).test_client()
    for order in ("order-1", "order-2"):
        client.post(path, json=body | {"order": order})
    [found] = client.get(path + "?order=order-2").json
    assert found["order"] == "order-2"
    assert client.get(path + "?order=none").json == []
    assert_problem(client.get(path + "?odrer=1"), 422, "odrer is not known here")


@pytest.mark.parametrize(
    "name, body, words",
    [
        ("inventory", {"item": "lamp"}, "order is missing"),
        ("inventory", {"order": "o", "item": "spoon"}, "item must be 'lamp'"),
        ("inventory", {"order": "o", "item": ["lamp"]}, "not a list"),
        ("inventory", LAMP | {"quantity": 0}, "quantity must be at least 1"),
        ("inventory", LAMP | {"quantity": 1.5}, "quantity must be a whole number"),
        ("email", {"order": ""}, "order must not be empty"),
        ("email", {"order": "o", "kind": "spam"}, "kind must be 'received'"),
        ("email", {"order": "o", "to": "alex"}, "to is not known here"),
        ("recommendations", {"order": "o"}, "item is missing"),
        ("recommendations", {"order": 1, "item": "lamp"}, "order must be text"),
    ],
)
def test_requests_that_make_no_sense(name, body, words):
    module, path, _ = SERVICES[name]
    client = module.create_app(work_seconds=0).test_client()
    assert_problem(client.post(path, json=body), 422, words)
    assert client.get(path).json == []


# Settings


@pytest.mark.parametrize("seconds", [-1, 61, float("nan"), "fast", None])
def test_work_seconds_that_make_no_sense(service, seconds):
    with pytest.raises(ValueError, match="work_seconds=.*: give a number"):
        SERVICES[service[0]][0].create_app(work_seconds=seconds)


@pytest.mark.parametrize(
    "create_app, setting",
    [
        (orders.create_app, "payments_url"),
        (payments.create_app, "fraud_url"),
        (fraud.create_app, "bank_url"),
    ],
)
def test_addresses_and_timeouts_that_make_no_sense(create_app, setting):
    with pytest.raises(ValueError, match="give a service's .url"):
        create_app(**{setting: "127.0.0.1:8000"})
    for timeout in (0, -1, None, "1"):
        with pytest.raises(ValueError, match="give a number of seconds above 0"):
            create_app(**{setting: "http://127.0.0.1:1"}, timeout=timeout)


# problems.install on a plain Flask app


@pytest.fixture
def plain():
    app = Flask("plain")
    problems.install(app, max_body=50)

    @app.post("/echo")
    def echo():
        return request.get_json()

    @app.get("/mistake")
    def mistake():
        return {"answer": 1 / 0}

    @app.get("/gone")
    def gone():
        abort(410, "It was sold.")

    @app.get("/refused")
    def refused():
        raise Problem(402, "No money.", kind="no-money")

    return app.test_client()


def test_install_serves_any_flask_app(plain):
    assert plain.post("/echo", json={"b": 1, "a": 2}).text.strip() == '{"b":1,"a":2}'
    data = {"content_type": "application/json"}
    assert_problem(plain.post("/echo", data="{", **data), 400, "not valid JSON")
    assert_problem(plain.post("/echo", data="[" * 49, **data), 400)
    assert_problem(plain.post("/echo", data='{"a": NaN}', **data), 400, "NaN")
    assert_problem(plain.post("/echo", data="x" * 51, **data), 413, "50 bytes")
    assert_problem(plain.post("/echo", data="{}"), 415, "application/json")
    assert_problem(plain.get("/echo"), 405, "GET", "POST")
    assert_problem(plain.get("/gone"), 410, "It was sold.")
    assert_problem(plain.get("/refused"), 402, "No money.", kind="no-money")


def test_a_mistake_in_a_route_is_a_500_that_tells_nothing_of_the_inside(plain, caplog):
    problem = assert_problem(plain.get("/mistake"), 500, "its log")
    assert "division" not in str(problem)
    assert "ZeroDivisionError" in caplog.text
