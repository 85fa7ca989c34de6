"""run_workers() reads, handles and acknowledges; backlog() tells what is left."""

import os
import signal
import threading
import time

import pytest
import running

from helpers import registry
from helpers.broker import start_broker
from helpers.streams import Backlog, Workers, backlog, run_workers

STREAM, GROUP = "orders", "payments"


@pytest.fixture(autouse=True)
def tidy(tmp_path, monkeypatch):  # tmp_path is made before the temporary folder is ours
    monkeypatch.delenv("REDIS_URL", raising=False)
    with running.nothing_left():
        yield


@pytest.fixture
def client():
    client = start_broker().client
    client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    return client


def publish(client, count):
    with client.pipeline() as pipeline:
        for number in range(count):
            pipeline.xadd(STREAM, {"number": number})
        return pipeline.execute()


def pending_ids(client):
    entries = client.xpending_range(STREAM, GROUP, "-", "+", 1000)
    return [entry["message_id"] for entry in entries]


def ignore(message):
    pass


def test_every_message_is_handled_once_and_acknowledged(client):
    handled, lock = [], threading.Lock()

    def handle(message):
        with lock:
            handled.append(int(message["number"]))

    publish(client, 200)
    workers = run_workers(handle, STREAM, GROUP, workers=3)
    publish(client, 50)
    running.wait_until(lambda: workers.handled == 250)
    assert sorted(handled) == sorted([*range(200), *range(50)])
    assert workers.failed == 0
    assert backlog(STREAM, GROUP) == Backlog(lag=0, pending=0, length=250)


def test_a_message_is_acknowledged_after_its_work(client):
    at_work, finish = threading.Event(), threading.Event()

    def handle(message):
        at_work.set()
        finish.wait(10)

    publish(client, 1)
    workers = run_workers(handle, STREAM, GROUP)
    assert at_work.wait(5)
    assert backlog(STREAM, GROUP) == Backlog(lag=0, pending=1, length=1)
    assert workers.handled == 0
    finish.set()
    running.wait_until(lambda: workers.handled == 1)
    assert backlog(STREAM, GROUP).pending == 0


def test_a_message_whose_handling_raises_stays_pending(client):
    def handle(message):
        if message["number"] == "1":
            raise LookupError("no such card")

    ids = publish(client, 3)
    workers = run_workers(handle, STREAM, GROUP)
    running.wait_until(lambda: workers.handled == 2 and workers.failed == 1)
    assert pending_ids(client) == [ids[1]]
    assert "LookupError: no such card" in workers.log


def test_nothing_is_printed_when_handling_raises(client, capfd):
    def handle(message):
        raise LookupError("no such card")

    publish(client, 3)
    workers = run_workers(handle, STREAM, GROUP)
    running.wait_until(lambda: workers.failed == 3)
    workers.stop()
    assert capfd.readouterr() == ("", "")


def test_stop_waits_for_the_message_at_hand_and_leaves_the_rest_pending(client):
    at_work, finish = threading.Event(), threading.Event()

    def handle(message):
        at_work.set()
        finish.wait(10)

    ids = publish(client, 5)
    workers = run_workers(handle, STREAM, GROUP, batch=3)
    assert at_work.wait(5)
    threading.Timer(0.2, finish.set).start()
    workers.stop()
    assert workers.handled == 1
    assert pending_ids(client) == ids[1:3]
    assert backlog(STREAM, GROUP) == Backlog(lag=2, pending=2, length=5)
    time.sleep(0.2)
    assert workers.handled == 1  # nobody works on
    workers.stop()  # twice is no error


def test_idle_workers_stop_promptly(client):
    workers = run_workers(ignore, STREAM, GROUP, workers=3)
    time.sleep(0.1)
    start = time.monotonic()
    workers.stop()
    assert time.monotonic() - start < 2


def test_workers_of_a_name_are_replaced(client):
    first = run_workers(ignore, STREAM, GROUP)
    second = run_workers(ignore, STREAM, GROUP, workers=2)
    assert (repr(first), repr(second)) == ("payments: stopped", "payments: 2 workers")
    publish(client, 20)
    running.wait_until(lambda: second.handled == 20)
    assert first.handled == 0
    assert registry.find(Workers, "payments") is second


def test_two_names_share_the_messages_of_a_group(client):
    busy = threading.Event()

    def wait(message):
        busy.wait(10)

    one = run_workers(wait, STREAM, GROUP, batch=1, name="one")
    publish(client, 1)
    running.wait_until(lambda: backlog(STREAM, GROUP).pending == 1)
    two = run_workers(ignore, STREAM, GROUP, batch=1, name="two")
    publish(client, 9)
    running.wait_until(lambda: two.handled == 9)
    busy.set()
    running.wait_until(lambda: one.handled == 1)
    assert repr(one) == "one: 1 worker"


def test_each_group_gets_every_message(client):
    client.xgroup_create(STREAM, "email", id="0")
    payments = run_workers(ignore, STREAM, GROUP)
    email = run_workers(ignore, STREAM, "email")
    publish(client, 30)
    running.wait_until(lambda: payments.handled == email.handled == 30)


def test_the_backlog_counts_what_is_not_delivered_and_what_is_not_acknowledged(client):
    assert backlog(STREAM, GROUP) == Backlog(lag=0, pending=0, length=0)
    publish(client, 7)
    assert backlog(STREAM, GROUP) == Backlog(lag=7, pending=0, length=7)
    [[_, [(first, _), _]]] = client.xreadgroup(GROUP, "me", {STREAM: ">"}, count=2)
    assert backlog(STREAM, GROUP) == Backlog(lag=5, pending=2, length=7)
    client.xack(STREAM, GROUP, first)
    assert backlog(STREAM, GROUP) == Backlog(lag=5, pending=1, length=7)


def test_a_missing_group_says_how_to_make_it():
    client = start_broker().client
    hint = r"no group 'payments'. Make it first: client.xgroup_create\('orders', 'paym"
    for call in (
        lambda: backlog(STREAM, GROUP),
        lambda: run_workers(ignore, STREAM, GROUP),
    ):
        with pytest.raises(ValueError, match=hint):
            call()
        client.xgroup_create(STREAM, "another", id="0", mkstream=True)
        with pytest.raises(ValueError, match=hint):
            call()
        client.delete(STREAM)
    assert registry.find(Workers, GROUP) is None


def test_a_failed_start_leaves_the_old_workers_running(client):
    workers = run_workers(ignore, STREAM, GROUP)
    with pytest.raises(ValueError, match="no group"):
        run_workers(ignore, "nowhere", GROUP)
    with pytest.raises(
        TypeError, match="a function that takes a message; this is a str"
    ):
        run_workers("ignore", STREAM, GROUP)
    with pytest.raises(
        ValueError, match="workers=0: give a whole number of at least 1"
    ):
        run_workers(ignore, STREAM, GROUP, workers=0)
    with pytest.raises(ValueError, match="batch=1.5: give a whole number"):
        run_workers(ignore, STREAM, GROUP, batch=1.5)
    publish(client, 3)
    running.wait_until(lambda: workers.handled == 3)


def test_workers_go_on_after_the_broker_was_killed_and_started_again(client, capfd):
    publish(client, 2)
    workers = run_workers(ignore, STREAM, GROUP, workers=2)
    running.wait_until(lambda: workers.handled == 2)
    os.kill(start_broker().pid, signal.SIGKILL)
    time.sleep(0.2)
    again = start_broker().client  # another server, and empty: make the group again
    again.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    publish(again, 5)
    running.wait_until(lambda: workers.handled == 7)
    assert repr(workers) == "payments: 2 workers"
    assert workers.failed == 0  # no message failed
    assert capfd.readouterr() == ("", "")


def test_workers_stop_promptly_without_a_broker(client):
    workers = run_workers(ignore, STREAM, GROUP, workers=2)
    start_broker().stop()
    time.sleep(0.2)
    start = time.monotonic()
    workers.stop()
    assert time.monotonic() - start < 2
    assert repr(workers) == "payments: stopped"


def test_stop_all_names_the_workers(client, capsys):
    run_workers(ignore, STREAM, GROUP)
    run_workers(ignore, STREAM, GROUP, name="more")
    registry.stop_all()
    assert capsys.readouterr().out == "Stopped: broker, more, payments.\n"


def test_on_a_server_of_others_workers_keep_to_this_kernels_keys(
    redis_server, monkeypatch
):
    monkeypatch.setenv("REDIS_URL", redis_server)
    broker = start_broker()
    stream = broker.key(STREAM)
    broker.client.xgroup_create(stream, GROUP, id="0", mkstream=True)
    workers = run_workers(ignore, stream, GROUP)
    for number in range(10):
        broker.client.xadd(stream, {"number": number})
    running.wait_until(lambda: workers.handled == 10)
    assert backlog(stream, GROUP) == Backlog(lag=0, pending=0, length=10)
    assert broker.client.keys() == [stream]
