"""Every route of every shop service does what its own description says, whatever is sent."""

import json
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.specs.openapi.checks import positive_data_acceptance

from helpers.shop import (
    bank,
    email,
    fraud,
    inventory,
    orders,
    payments,
    recommendations,
)
from helpers.shop.problems import MAX_BODY, MEDIA_TYPE, ProblemDetails

MODULES = {
    "orders": orders,
    "payments": payments,
    "fraud": fraud,
    "bank": bank,
    "inventory": inventory,
    "email": email,
    "recommendations": recommendations,
}
WORK = {  # where a service takes work
    "orders": "/orders",
    "payments": "/charges",
    "fraud": "/checks",
    "bank": "/authorizations",
    "inventory": "/reservations",
    "email": "/mails",
    "recommendations": "/purchases",
}
REFUSALS = {  # the business reasons of a service
    **dict.fromkeys(["orders", "payments", "fraud", "bank"], {402}),
    "inventory": {409},
    "email": set(),
    "recommendations": set(),
}
BOUNDED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=list(HealthCheck),
)


def described(module):
    """A service as schemathesis reads it from its own description; all checks are on."""
    # What is well formed may still be refused: a bad card, an id that does not exist.
    accepted = PositiveDataAcceptanceConfig(
        expected_statuses=["2xx", "402", "404", "409"]
    )
    project = ProjectConfig(
        checks=ChecksConfig(positive_data_acceptance=accepted),
        generation=GenerationConfig(deterministic=True, database="none"),
    )
    config = SchemathesisConfig(seed=1, projects=ProjectsConfig(default=project))
    app = module.create_app(work_seconds=0)
    return schemathesis.openapi.from_wsgi("/openapi.json", app, config=config)


SCHEMAS = {name: described(module) for name, module in MODULES.items()}
answers = {name: Counter() for name in MODULES}  # (route, status): how often


@schemathesis.check
def errors_are_problems(ctx, response, case):
    """Also those that no description mentions, such as 405."""
    if response.status_code >= 400:
        assert response.headers["content-type"] == [MEDIA_TYPE]
        assert ProblemDetails(**response.json()).status == response.status_code


def fuzz(name):
    """A test of every route that the service's description names."""

    @SCHEMAS[name].parametrize()
    @BOUNDED
    def test(case):
        reply = case.call()
        # A key that was used for another body is refused, however well formed the body is.
        reused = b"key-reused" in reply.content
        case.validate_response(
            reply, excluded_checks=[positive_data_acceptance] if reused else []
        )
        answers[name][case.operation.label, reply.status_code] += 1

    return test


test_orders = fuzz("orders")
test_payments = fuzz("payments")
test_fraud = fuzz("fraud")
test_bank = fuzz("bank")
test_inventory = fuzz("inventory")
test_email = fuzz("email")
test_recommendations = fuzz("recommendations")


@pytest.mark.parametrize("name", MODULES)
def test_the_tests_above_met_success_and_every_kind_of_error(name):
    if not answers[name]:
        pytest.skip("the routes of this service were not tested in this run")
    met = answers[name]
    assert {route for route, _ in met} == {
        operation.ok().label for operation in SCHEMAS[name].get_all_operations()
    }
    post, get = f"POST {WORK[name]}", f"GET {WORK[name]}/{{id}}"
    expected = {201, 400, 415, 422} | REFUSALS[name]
    assert all(met[post, status] for status in expected), met
    assert met[get, 200] and met[get, 404] and met[get, 405], met


def test_a_charge_s_whole_life_is_as_described():
    schema = described(payments)
    client = schema.app.test_client()
    purchase = {"order": "order-1", "amount_cents": 5000, "currency": "USD"}
    key = {"Idempotency-Key": "k1"}
    life = [
        ("/charges", 201, {"json": purchase, "headers": key}),
        ("/charges", 201, {"json": purchase, "headers": key}),
        ("/charges", 422, {"json": purchase | {"order": "order-2"}, "headers": key}),
        ("/charges", 402, {"json": purchase | {"card": "tok_declined"}}),
        (
            "/charges",
            413,
            {"data": "x" * (MAX_BODY + 1), "content_type": "application/json"},
        ),
        ("/charges/{id}/refund", 200, {}),
        ("/charges/{id}/refund", 409, {}),
    ]
    for path, status, sent in life:
        reply = client.post(path.format(id="ch-1"), **sent)
        assert reply.status_code == status
        assert str(status) in schema[path]["POST"].definition.raw["responses"]
        schema[path]["POST"].validate_response(reply)
    for path in ("/charges", "/charges/{id}"):
        reply = client.get(path.format(id="ch-1"))
        assert "refunded" in reply.text
        schema[path]["GET"].validate_response(reply)


def test_a_reservation_s_whole_life_is_as_described():
    schema = described(inventory)
    client = schema.app.test_client()
    wanted = {"order": "order-1", "item": "lamp"}
    life = [
        ("PUT", "/stock/{item}", 200, {"json": {"available": 1}}),
        ("PUT", "/stock/{item}", 422, {"json": {"available": -1}}),
        ("POST", "/reservations", 201, {"json": wanted}),
        ("POST", "/reservations", 201, {"json": wanted}),
        ("POST", "/reservations", 409, {"json": wanted | {"order": "order-2"}}),
        ("POST", "/reservations", 409, {"json": wanted | {"item": "book"}}),
        ("GET", "/stock", 200, {}),
        ("GET", "/stock/{item}", 200, {}),
        ("GET", "/reservations/{id}", 200, {}),
        ("POST", "/reservations/{id}/release", 200, {}),
        ("POST", "/reservations/{id}/release", 409, {}),
        ("GET", "/reservations", 200, {}),
    ]
    for method, path, status, sent in life:
        where = path.format(id="res-1", item="lamp")
        reply = client.open(where, method=method, **sent)
        assert reply.status_code == status
        assert str(status) in schema[path][method].definition.raw["responses"]
        schema[path][method].validate_response(reply)


# Bodies nastier than a description can ask for

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
)
fields = st.sampled_from(
    [
        "order",
        "item",
        "quantity",
        "amount_cents",
        "currency",
        "card",
        "kind",
        "available",
    ]
)
almost_right = st.dictionaries(
    fields,
    st.sampled_from([-1, 0, 1, 0.1, 5000, 10**99, float("nan"), "", "lamp", "order-1"])
    | st.sampled_from(["USD", "usd", "tok_visa", "tok_declined", "confirmation"])
    | anything,
)
bodies = (
    st.binary(max_size=99)
    | (anything | almost_right).map(json.dumps).map(str.encode)
    | st.tuples(almost_right.map(json.dumps), st.integers(0, 99)).map(
        lambda cut: cut[0][: cut[1]].encode()
    )
    | st.tuples(
        st.sampled_from(["[", '{"a":', "9", "x"]),
        st.sampled_from([1, 900, 9000, MAX_BODY + 1]),
    ).map(lambda many: (many[0] * many[1]).encode())
)
types = st.sampled_from(
    [
        "application/json",
        "application/json",
        "text/plain",
        "application/xml",
        "",
        "x/y/z",
    ]
)


@pytest.mark.parametrize("name", MODULES)
def test_no_body_whatsoever_ends_in_a_500(name):
    client = MODULES[name].create_app(work_seconds=0).test_client()
    statuses = Counter()

    @example(b"x" * (MAX_BODY + 1), "application/json")
    @given(bodies, types)
    @settings(BOUNDED, max_examples=100)
    def post(data, content_type):
        reply = client.post(WORK[name], data=data, content_type=content_type)
        statuses[reply.status_code] += 1
        assert reply.status_code in {201, 400, 413, 415, 422} | REFUSALS[name], (
            reply.text
        )
        if reply.status_code >= 400:
            assert reply.content_type == MEDIA_TYPE
            assert ProblemDetails(**reply.json).detail

    post()
    assert {400, 413, 415, 422} <= set(statuses)
    kept = len(client.get(WORK[name]).json)
    # A repeat of an order is answered with 201 as well, and keeps nothing new.
    assert kept <= statuses[201] if name == "inventory" else kept == statuses[201]
