"""The live view without a browser: spans in, facts out; what is sent, and when nothing is."""

import subprocess
import sys
import threading
import time
from xml.etree import ElementTree

import nbformat
import pytest
import requests
from flask import Flask
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from running import nothing_left, wait_until

from helpers import at_once, live, live_svg, run_workers, serve, start_broker, system
from helpers.activity import covered
from helpers.live_facts import Facts
from helpers.spans import SCOPE, THREAD, Message, Span
from helpers.system_svg import INK, WHITE, contrast

OPENED = 1024.0
CHAIN = "customer -> orders -> payments"
QUEUE = "orders ~> order stream ~> payments"


@pytest.fixture(autouse=True)
def tidy(tmp_path, monkeypatch):  # tmp_path is made before the temporary folder is ours
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.setattr(live, "_seen_running", set())
    with nothing_left():
        yield


def a_span(service, kind, start, end, id="", parent=None, error=None, **more):
    attributes = more.pop("attributes", {})
    if more.get("answered"):
        attributes = attributes | {"http.status_code": more["answered"]}
    return Span(
        service=service,
        name=more.get("name", "POST"),
        kind=kind,
        start=OPENED + start,
        end=None if end is None else OPENED + end,
        trace_id=more.get("trace", "t"),
        span_id=id or f"{service} {kind} {start}",
        parent_id=parent,
        error=error,
        attributes=attributes,
        messages=tuple(more.get("messages", ())),
    )


def a_command(service, name, start, end, *messages, thread=1):
    """A command to the broker; a message is (operation, id) or (operation, id, group)."""
    told = [
        Message(operation, "orders", id, *(group or [""]), "")
        for operation, id, *group in messages
    ]
    return a_span(
        service,
        "client",
        start,
        end,
        id=f"{service} {name} {start}",
        name=name,
        messages=told,
        attributes={SCOPE: "opentelemetry.instrumentation.redis", THREAD: thread},
    )


def facts_of(lines, *spans, **more):
    facts = Facts(system(*lines), OPENED, **more)
    for span in spans:
        facts.add(span)
    return facts


def seen(facts, *kinds):
    """(kind, source, target, start, end, note) of the facts of these kinds, in order of start."""
    return [
        (
            fact.kind,
            fact.source,
            fact.target,
            round(fact.start, 4),
            None if fact.end is None else round(fact.end, 4),
            fact.note,
        )
        for fact in facts.all()
        if fact.kind in kinds or not kinds
    ]


# --- calls -----------------------------------------------------------------------------


def call(service, start, end=None, **more):
    more.setdefault("id", "call")
    return a_span(service, "client", start, end, **more)


def served(service, start, end=None, **more):
    more.setdefault("id", "served")
    return a_span(service, "server", start, end, **{"parent": "call"} | more)


def test_a_call_blocks_who_makes_it_and_goes_there_and_back():
    facts = facts_of([CHAIN], call("customer", 0.1))
    assert seen(facts) == [
        ("busy", "customer", None, 0.1, None, ""),
        ("blocked", "customer", "orders", 0.1, None, ""),
        ("request", "customer", "orders", 0.1, None, ""),
    ]
    facts.add(served("orders", 0.2))
    facts.add(served("orders", 0.2, 0.5))
    facts.add(call("customer", 0.1, 0.6, answered=201))
    assert seen(facts) == [
        ("busy", "customer", None, 0.1, 0.6, ""),
        ("blocked", "customer", "orders", 0.1, 0.6, ""),
        ("request", "customer", "orders", 0.1, 0.2, ""),
        ("busy", "orders", None, 0.2, 0.5, ""),
        ("reply", "orders", "customer", 0.5, 0.6, ""),
    ]


def test_only_what_is_new_is_told_of():
    facts = facts_of([CHAIN], call("customer", 0.1))
    assert len(facts.changed()) == 3
    assert facts.changed() == []
    facts.add(served("orders", 0.2))
    assert sorted(fact.kind for fact in facts.changed()) == ["busy", "request"]
    facts.add(served("orders", 0.2))  # the same again
    assert facts.changed() == []


def test_a_call_in_the_course_of_a_request_blocks_that_request():
    facts = facts_of(
        [CHAIN],
        call("customer", 0.0),
        served("orders", 0.1),
        call("orders", 0.2, id="inner", parent="served"),
        served("payments", 0.3, id="inner served", parent="inner"),
    )
    [busy] = [f for f in facts.all() if (f.kind, f.source) == ("busy", "orders")]
    [wait] = [f for f in facts.all() if (f.kind, f.source) == ("blocked", "orders")]
    assert (wait.of, wait.target, wait.end) == (busy.id, "payments", None)


def test_requests_that_no_thread_has_taken_up_are_still_on_their_way():
    facts = facts_of(
        [CHAIN],
        *(call(f"customer {n}", 0.01 * n, id=f"call {n}") for n in (1, 2, 3)),
        served("orders", 0.05, parent="call 2"),
    )
    assert seen(facts, "request") == [
        ("request", "customer", "orders", 0.01, None, ""),
        ("request", "customer", "orders", 0.02, 0.05, ""),
        ("request", "customer", "orders", 0.03, None, ""),
    ]


def test_after_a_time_out_there_is_no_reply():
    facts = facts_of(
        [CHAIN],
        call("customer", 0.0),
        served("orders", 0.1),
        call("customer", 0.0, 0.3, error="timed out"),
        served("orders", 0.1, 0.5),
    )
    assert seen(facts, "reply") == []
    assert ("blocked", "customer", "orders", 0.0, 0.3, "timed out") in seen(facts)
    assert ("busy", "orders", None, 0.1, 0.5, "") in seen(facts)


def test_a_reply_that_is_lost_is_taken_back():
    facts = facts_of(
        [CHAIN],
        call("customer", 0.0),
        served("orders", 0.1),
        served("orders", 0.1, 0.2),
    )
    [reply] = [fact for fact in facts.all() if fact.kind == "reply"]
    facts.changed()
    facts.add(call("customer", 0.0, 0.3, error="connection lost"))
    assert seen(facts, "reply") == []
    assert reply in facts.changed() and reply.withdrawn
    assert live._row(reply, {})[4] is None


def test_an_error_travels_back_with_the_reply():
    facts = facts_of(
        [CHAIN],
        call("customer", 0.0),
        served("orders", 0.1, 0.2, error="503"),
        call("customer", 0.0, 0.3, error="503", answered=503),
    )
    assert seen(facts, "reply") == [("reply", "orders", "customer", 0.2, 0.3, "503")]


def test_who_refuses_connections_is_down_until_it_serves_again():
    url = {"attributes": {"http.url": "http://127.0.0.1:99/charges"}}
    facts = facts_of(
        ["orders -> payments", "orders -> bank"],
        call("orders", 0.0, 0.1, error="refused", id="one", **url),
        call("orders", 0.2, 0.3, error="refused", id="two", **url),
        served("payments", 0.5, parent="three"),
        address={"127.0.0.1:99": "payments"}.get,
    )
    assert seen(facts, "down") == [("down", "payments", None, 0.1, 0.5, "")]
    assert seen(facts, "request")[0] == (
        *("request", "orders", "payments", 0.0, 0.1),
        "refused",
    )


def test_whom_a_call_is_for_is_not_guessed():
    facts = facts_of(
        ["orders -> payments", "orders -> bank"],
        call("orders", 0.0, 0.1, error="refused"),
    )
    assert seen(facts, "blocked", "down") == [
        ("blocked", "orders", None, 0.0, 0.1, "refused")
    ]


def test_an_address_that_has_answered_is_known():
    where = {"http.url": "http://127.0.0.1:99/"}
    facts = facts_of(
        ["orders -> payments", "orders -> bank"],
        call("orders", 0.0, attributes=where),
        served("bank", 0.1, attributes={"http.host": "127.0.0.1:99"}),
        call("orders", 0.2, id="again", attributes=where),
    )
    assert [f.target for f in facts.all() if f.kind == "request"] == ["bank", "bank"]


def test_a_service_in_a_process_of_its_own_is_seen_to_wait_before_its_call_is_told_of():
    facts = facts_of(
        [CHAIN],
        call("customer", 0.0),
        served("orders", 0.1),
        served("payments", 0.3, id="there", parent="not yet told"),
    )
    assert ("blocked", "orders", "payments", 0.3, None, "") in seen(facts)
    facts.add(served("payments", 0.3, 0.6, id="there", parent="not yet told"))
    facts.add(
        call("orders", 0.2, 0.7, id="not yet told", parent="served", answered=201)
    )
    assert seen(facts, "blocked")[1:] == [
        ("blocked", "orders", "payments", 0.2, 0.7, "")
    ]
    assert ("request", "orders", "payments", 0.2, 0.3, "") in seen(facts)
    assert ("reply", "payments", "orders", 0.6, 0.7, "") in seen(facts)


def test_who_is_not_in_the_picture_is_not_shown():
    facts = facts_of([CHAIN], call("stranger", 0.0), served("bank", 0.1))
    assert {(fact.source, fact.target) for fact in facts.all()} == {(None, None)}


# --- messages ----------------------------------------------------------------------------


def backlog(facts, group, moment):
    """A group's backlog and how much of it is taken at a moment, as the browser counts it."""
    level = next((e for e in facts.levels.values() if e.group == group), None)
    sent = sum(f.kind == "message" and f.end <= moment for f in facts.all())
    taken = [f for f in facts.all() if f.kind == "held" and f.note == group]
    over = [f for f in taken if f.end is not None and f.end <= moment]
    settled = sum(f.of is None for f in over)
    pending = sum(f.start <= moment for f in taken) - len(over)
    before, pending_before = (level.backlog, level.pending) if level else (0, 0)
    return before + sent - settled, pending_before + pending


WORKED_OFF = [
    a_command("orders", "XADD", 0.0, 0.1, ("send", "1")),
    a_command("orders", "XADD", 0.1, 0.2, ("send", "2")),
    a_command(
        "payments",
        "XREADGROUP",
        0.3,
        0.4,
        ("receive", "1", "payments"),
        ("receive", "2", "payments"),
    ),
    a_command("payments", "XACK", 0.6, 0.61, ("settle", "1", "payments")),
    a_command("payments", "XACK", 0.9, 0.91, ("settle", "2", "payments")),
    a_command("payments", "XREADGROUP", 0.92, None),
]


def test_a_message_is_queued_delivered_worked_on_and_acknowledged():
    facts = facts_of([QUEUE], *WORKED_OFF)
    assert seen(facts, "message", "delivery", "held") == [
        ("message", "orders", "order stream", 0.0, 0.1, ""),
        ("message", "orders", "order stream", 0.1, 0.2, ""),
        ("delivery", "order stream", "payments", 0.3, 0.4, "payments"),
        ("delivery", "order stream", "payments", 0.3, 0.4, "payments"),
        ("held", "order stream", "payments", 0.4, 0.6, "payments"),
        ("held", "order stream", "payments", 0.4, 0.9, "payments"),
    ]
    assert [row for row in seen(facts, "busy") if row[1] == "payments"] == [
        ("busy", "payments", None, 0.4, 0.6, ""),
        ("busy", "payments", None, 0.6, 0.9, ""),
    ]
    assert [backlog(facts, "payments", t) for t in (0.05, 0.15, 0.3, 0.5, 0.7, 1)] == [
        (0, 0),
        (1, 0),
        (2, 0),
        (2, 2),
        (1, 1),
        (0, 0),
    ]


def test_what_the_broker_says_tells_how_much_there_was_before():
    facts = facts_of([QUEUE], *WORKED_OFF)
    facts.level("orders", "payments", lag=5, pending=3)
    assert backlog(facts, "payments", 1) == (8, 3)
    assert backlog(facts, "payments", 0) == (8, 3)
    assert backlog(facts, "payments", 0.5) == (10, 5)


def test_each_group_has_a_backlog_of_its_own():
    facts = facts_of(
        ["orders ~> order stream ~> payments, email"],
        *WORKED_OFF,
        a_command(
            "email", "XREADGROUP", 0.2, 0.25, ("receive", "1", "email"), thread=2
        ),
    )
    assert backlog(facts, "payments", 1) == (0, 0)
    assert backlog(facts, "email", 1) == (2, 1)


def test_a_message_is_in_the_queue_before_it_is_delivered():
    """The reader was told before the sender, as often happens on a busy machine."""
    spans = [
        a_command("payments", "XREADGROUP", 0.0, 0.5, ("receive", "1", "payments")),
        a_command("orders", "XADD", 0.4, 0.6, ("send", "1")),
    ]
    for order in (spans, spans[::-1]):
        facts = facts_of([QUEUE], *order)
        [sent] = [fact for fact in facts.all() if fact.kind == "message"]
        [delivery] = [fact for fact in facts.all() if fact.kind == "delivery"]
        assert (
            0.3999 <= sent.start < sent.end <= delivery.start < delivery.end <= 0.5001
        )


def test_a_delivery_that_was_not_recorded_follows_from_the_acknowledgement():
    facts = facts_of(
        [QUEUE],
        a_command("orders", "XADD", 0.0, 0.1, ("send", "1")),
        a_command("payments", "XACK", 0.5, 0.51, ("settle", "1", "payments")),
    )
    assert seen(facts, "held") == [
        ("held", "order stream", "payments", 0.1, 0.5, "payments")
    ]
    assert ("busy", "payments", None, 0.1, 0.5, "") in seen(facts)


def test_what_is_not_acknowledged_stays_with_who_has_it():
    facts = facts_of(
        [QUEUE],
        a_command("payments", "XREADGROUP", 0.0, 0.1, ("receive", "1", "payments")),
        a_command("payments", "XREADGROUP", 0.4, None),
    )
    assert sorted(seen(facts, "busy", "held")) == [
        ("busy", "payments", None, 0.1, 0.4, "not acknowledged"),
        ("held", "order stream", "payments", 0.1, None, "payments"),
    ]
    assert backlog(facts, "payments", 1) == (0, 1)  # sent before: the level has it


def test_a_message_that_is_delivered_again_is_still_one_message():
    facts = facts_of(
        [QUEUE],
        a_command("orders", "XADD", 0.0, 0.1, ("send", "1")),
        a_command("payments", "XREADGROUP", 0.1, 0.2, ("receive", "1", "payments")),
        a_command("payments", "XREADGROUP", 0.3, 0.4, ("receive", "1", "payments")),
    )
    facts.level("orders", "payments", lag=0, pending=1)
    assert [backlog(facts, "payments", t) for t in (0.05, 0.15, 0.25, 0.5)] == [
        *((0, 0), (1, 0), (1, 1), (1, 1)),
    ]
    facts.add(a_command("payments", "XACK", 0.6, 0.61, ("settle", "1", "payments")))
    facts.level("orders", "payments", lag=0, pending=0)
    assert [backlog(facts, "payments", t) for t in (0, 0.5, 1)] == [
        *((0, 0), (1, 1), (0, 0)),
    ]


def test_to_hand_over_a_message_is_not_to_wait_for_a_service():
    facts = facts_of([QUEUE], a_command("orders", "XADD", 0.0, 0.1, ("send", "1")))
    assert [row[0] for row in seen(facts)] == ["busy", "sends", "message"]


def test_a_stream_is_the_queue_that_its_sender_leads_to_or_that_is_named_alike():
    lines = [
        "orders ~> order stream ~> payments ~> dead letters",
        "orders ~> report queue ~> email",
    ]
    facts = facts_of(lines, a_command("orders", "XADD", 0.0, 0.1, ("send", "1")))
    assert facts.streams == {"orders": "order stream"}
    facts = facts_of(lines, a_command("payments", "XADD", 0.0, 0.1, ("send", "1")))
    assert facts.streams == {"orders": "dead letters"}


# --- services that are down, breakers ------------------------------------------------------


def test_a_breaker_shows_one_state_after_the_other():
    facts = facts_of([CHAIN])
    for state, time_ in (("open", 0.1), ("open", 0.2), ("half-open", 0.5)):
        facts.breaker("orders", "payments", state, OPENED + time_)
    facts.breaker("orders", "nobody", "open", OPENED + 0.6)
    assert seen(facts) == [
        ("breaker", "orders", "payments", 0.1, 0.5, "open"),
        ("breaker", "orders", "payments", 0.5, None, "half-open"),
    ]


def test_breaker_is_told_to_the_views_that_record():
    live.breaker("orders", "payments", "open")  # nobody watches
    with system(CHAIN).live() as t:
        live.breaker("orders", "payments", "open")
    assert [(f.kind, f.source, f.note) for f in t.facts()] == [
        ("breaker", "orders", "open")
    ]
    with pytest.raises(ValueError, match="half-open"):
        live.breaker("orders", "payments", "ajar")


# --- the picture ---------------------------------------------------------------------------

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_has_every_part_and_is_the_same_each_time():
    shop = system(CHAIN, "orders ~> order stream ~> email")
    assert live_svg.draw(shop) == live_svg.draw(shop)
    root = ElementTree.fromstring(live_svg.draw(shop))
    for number, node in enumerate(shop.nodes):
        [group] = root.iterfind(f".//*[@data-node='{number}']")
        parts = [part.get("data-part") for part in group.iterfind(".//*[@data-part]")]
        states = ["idle", "busy", "blocked"]
        if node.kind == "queue":
            assert parts == ["letter"] * 4 + ["chip"]
        elif node.kind == "customer":
            assert parts == [*states, "cells"]
        else:
            assert parts == [*states, "down", "cells", "chip"]
    for number, arrow in enumerate(shop.arrows):
        [group] = root.iterfind(f".//*[@data-arrow='{number}']")
        assert len(group.findall(f"{SVG}path")) == (2 if arrow.kind == "sync" else 1)
    templates = root.iterfind(".//*[@data-part='template']")
    assert {each.get("data-kind") for each in templates} == {
        "request",
        "reply",
        "message",
    }


def test_names_can_be_read_on_every_ground():
    services = "orders, payments, fraud, bank, inventory, email, recommendations, other"
    root = ElementTree.fromstring(live_svg.draw(system(f"customer -> {services}")))
    grounds = 0
    for part in root.iterfind(".//*[@data-part]"):
        texts = part.findall(f"{SVG}text")
        rects = [r for r in part.findall(f"{SVG}rect") if r.get("fill", "")[0] == "#"]
        for text in texts if rects else []:
            assert contrast(text.get("fill"), rects[-1].get("fill")) >= 4.5
            grounds += 1
    assert grounds == 4 * 8  # idle, busy, blocked, down
    assert contrast(INK, WHITE) >= 4.5


# --- real services -----------------------------------------------------------------------


def a_payments(seconds):
    app = Flask("payments")
    app.post("/charges")(lambda: (time.sleep(seconds), ({}, 201))[1])
    return serve(app)


def an_orders(payments, threads=4):
    app = Flask("orders")

    @app.post("/orders")
    def order():
        requests.post(payments.url + "/charges", json={}, timeout=5)
        return {}, 201

    return serve(app, threads=threads)


def test_the_view_says_the_same_as_the_timeline():
    orders = an_orders(a_payments(0.1), threads=1)
    with system(CHAIN).live() as t:
        at_once(3, lambda: requests.post(orders.url + "/orders", json={}, timeout=5))
    facts = t.facts()
    for service in ("orders", "payments"):
        blocked = busy = 0.0
        for fact in facts:
            if (fact.kind, fact.source) == ("busy", service):
                busy += fact.end - fact.start
                waits = [(w.start, w.end) for w in facts if w.of == fact.id]
                blocked += covered(waits)
        assert blocked == pytest.approx(t.waited(service), abs=1e-6)
        assert busy - blocked == pytest.approx(t.worked(service), abs=1e-6)
    requests_ = [f for f in facts if (f.kind, f.target) == ("request", "orders")]
    waiting = sorted(fact.end - fact.start for fact in requests_)
    assert waiting[2] > waiting[1] + 0.09 > waiting[0] + 0.18  # one thread: in line
    assert 0.3 < t.length < 1


def test_messages_queue_up_while_the_worker_is_stopped_and_then_drain():
    broker = start_broker()
    stream = broker.key("live")
    broker.client.delete(stream)
    broker.client.xgroup_create(stream, "payments", id="0", mkstream=True)
    shop = system("orders ~> order stream ~> payments")

    def work(fields):
        time.sleep(0.02)

    def publish():
        broker.client.xadd(stream, {"order": "1"})

    worker = run_workers(work, stream, "payments")
    with shop.live() as t:
        publish()
        wait_until(lambda: worker.handled == 1)
    assert [round(f.start) for f in t.facts() if f.kind == "down"] == []
    assert [f.kind for f in t.facts() if f.kind in ("delivery", "held")] == [
        "delivery",
        "held",
    ]
    worker.stop()
    with shop.live() as t:
        publish()
        publish()
    assert [(f.kind, f.source, f.end) for f in t.facts() if f.kind == "down"] == [
        ("down", "payments", None)
    ]
    assert backlog(t._facts, "payments", t.length) == (2, 0)
    with shop.live() as t:
        worker = run_workers(work, stream, "payments")
        wait_until(lambda: worker.handled == 2)
    assert backlog(t._facts, "payments", 0) == (2, 0)
    assert backlog(t._facts, "payments", t.length) == (0, 0)
    worker.stop()


def test_a_service_that_was_stopped_is_down():
    payments = a_payments(0)
    with system("orders -> payments").live():
        requests.post(payments.url + "/charges", json={}, timeout=5)
    payments.stop()
    with (
        system("orders -> payments").live() as t,
        pytest.raises(requests.ConnectionError),
    ):
        requests.post(payments.url + "/charges", json={}, timeout=5)
    assert [(f.kind, f.source, f.start) for f in t.facts() if f.kind == "down"] == [
        ("down", "payments", 0)
    ]
    payments.start()
    with system("orders -> payments").live() as t:
        requests.post(payments.url + "/charges", json={}, timeout=5)
    assert [f for f in t.facts() if f.kind == "down"] == []


# --- what is sent ----------------------------------------------------------------------


def sent_by(shop, block, *, watched, monkeypatch):
    """The messages to the browser while the block runs, as (seconds, message)."""
    sent = []
    t = shop.live("orders")
    monkeypatch.setattr(t.view, "show", lambda: setattr(t.view, "watched", watched))
    monkeypatch.setattr(t.view, "send", lambda m: sent.append((time.monotonic(), m)))
    with t:
        block()
    return t, sent


def test_nothing_is_sent_when_nobody_looks(monkeypatch):
    payments, before = a_payments(0.05), threading.active_count()
    during = []

    def block():
        requests.post(payments.url + "/charges", json={}, timeout=5)
        during.append(any(th.name == "live view" for th in threading.enumerate()))

    shop = system("orders -> payments")
    t, sent = sent_by(shop, block, watched=False, monkeypatch=monkeypatch)
    assert sent == [] and during == [False] and threading.active_count() <= before
    t.view._asked(t)  # a page has come after all
    [(_, message)] = sent
    assert message["all"] and len(message["rows"]) == len(t.facts()) > 0


def test_few_messages_are_sent_and_the_last_has_everything(monkeypatch):
    payments = a_payments(0.001)
    start = time.monotonic()

    def block():
        while time.monotonic() < start + 1:
            requests.post(payments.url + "/charges", json={}, timeout=5)

    shop = system("orders -> payments")
    t, sent = sent_by(shop, block, watched=True, monkeypatch=monkeypatch)
    times = [at for at, _ in sent]
    assert 5 <= len(times) <= 16
    assert all(message["closed"] is None for _, message in sent[:-1])
    last = sent[-1][1]
    assert last["all"] and last["closed"] == pytest.approx(t.length)
    place = {"orders": 0, "payments": 1}
    assert last["rows"] == [live._row(fact, place) for fact in t.facts()]
    told = {}  # what a page knows that has put together all messages but the last
    for _, message in sent[:-1]:
        told |= {row[0]: row for row in message["rows"]}
    known = sum(told.get(row[0]) == row for row in last["rows"])
    assert known > 0.5 * len(last["rows"])


def test_an_interrupt_or_an_error_ends_the_view(monkeypatch):
    def block():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sent_by(
            system("orders -> payments"), block, watched=True, monkeypatch=monkeypatch
        )
    assert live._recording == []
    assert not any(thread.name == "live view" for thread in threading.enumerate())


# --- in a notebook ---------------------------------------------------------------------


def test_who_calls_must_be_in_the_picture():
    with pytest.raises(ValueError, match="customer, orders, payments"):
        system(CHAIN).live(client="nobody")
    assert system(CHAIN).live().client == "customer"
    assert system(QUEUE).live().client == "orders"
    assert system("fraud check -> bank").live(client="Fraud check").client


def test_what_is_saved_is_the_still_picture_with_its_text():
    shop = system(CHAIN)
    data, metadata = shop.live().view._repr_mimebundle_()
    assert data["text/plain"] == shop.description and metadata == {}
    assert data["text/html"] == shop._repr_mimebundle_()["text/html"]
    assert f'alt="{shop.description}"' in data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in data


def test_a_lesson_that_uses_it_passes_strict_validation(tmp_path):
    source = """\
import time, requests
from flask import Flask
from helpers import serve, stop_all, system

app = Flask("payments")
app.post("/charges")(lambda: (time.sleep(0.05), ({}, 201))[1])
payments = serve(app)
shop = system("orders -> payments")
with shop.live() as t:
    requests.post(payments.url + "/charges", json={}, timeout=5)
print(t.view.watched, t.services)
stop_all()"""
    cell = nbformat.v4.new_code_cell(source)
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, timeout=60).execute()
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, tmp_path / "lesson.ipynb")
    shown, printed = cell.outputs
    assert "text/html" in shown.data and shown.metadata == {}
    assert printed.text.startswith("False ['orders', 'payments']")
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert '<img alt="Orders calls Payments and waits."' in page
    validate = [sys.executable, "-m", "pytest", "-q", "--nbval", "--nbval-current-env"]
    settings = ["-c", "/dev/null", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [*validate, *settings, "lesson.ipynb"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
