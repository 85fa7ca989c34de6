"""Timelines of real services: what they say, and what their pictures show."""

import contextlib
import io
import os
import re
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import requests
from flask import Flask
from PIL import Image
from test_tracing import serving, valkey  # noqa: F401

from helpers import figures, timeline, tracing
from helpers.activity import activities_and_arrows
from helpers.spans import SCOPE, THREAD, Message, Span
from helpers.timeline_figure import describe, headline

WORK = 0.06  # seconds


@contextlib.contextmanager
def a_service(name, work=WORK, onward=None, status=200, timeout=5, threads=4):
    """A service that works, asks the next one if there is one, and works on; gives its URL."""
    app = Flask(name)

    @app.get("/")
    def serve():
        time.sleep(work / 2)
        code = status
        if onward:
            try:
                code = requests.get(onward, timeout=timeout).status_code
            except requests.Timeout:
                code = 504
        time.sleep(work / 2)
        return {}, code

    with serving(app, threads=threads) as url:
        yield url


@contextlib.contextmanager
def a_chain(*names, **last):
    """Services of these names, each asking the next; gives the URL of the first."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(a_service(names[-1], **last))
        for name in reversed(names[:-1]):
            url = stack.enter_context(a_service(name, onward=url))
        yield url


@pytest.fixture
def stream(valkey):  # noqa: F811
    with redis.Redis(unix_socket_path=valkey, decode_responses=True) as client:
        client.flushall()
        yield client


@contextlib.contextmanager
def workers(client, group, *consumers, work=WORK, stream="orders", ack=True):
    """Threads that read the stream as one group: read, work, acknowledge."""
    with contextlib.suppress(redis.ResponseError):  # it is there
        client.xgroup_create(stream, group, "0", mkstream=True)
    stop, ready = threading.Event(), threading.Barrier(len(consumers) + 1)

    def run(consumer):
        with tracing.as_service(group):
            ready.wait()
            while not stop.is_set():
                news = client.xreadgroup(
                    group, consumer, {stream: ">"}, count=10, block=50
                )
                for _, entries in news or []:
                    for id, _fields in entries:
                        time.sleep(work)
                        if ack:
                            client.xack(stream, group, id)

    threads = [threading.Thread(target=run, args=(consumer,)) for consumer in consumers]
    for thread in threads:
        thread.start()
    ready.wait()
    time.sleep(0.01)  # they are reading now
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(5)


@contextlib.contextmanager
def taking_orders(client):
    app = Flask("orders")

    @app.get("/")
    def place():
        client.xadd("orders", {"total": 50})
        return {}, 202

    with serving(app) as url:
        yield url


def all_at_once(url, count, **options):
    def call(number):
        with (
            tracing.as_service(f"customer {number + 1}"),
            contextlib.suppress(requests.Timeout),
        ):
            requests.get(url, **options)

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(call, range(count)))


# --- looking at a picture ---------------------------------------------------------------


class Picture:
    """What is in the figure of a timeline, by what it stands for."""

    def __init__(self, timeline, title=None):
        self.figure = timeline.figure(title)
        (self.axes,) = self.figure.axes
        picture = figures.png(self.figure)
        self.size = Image.open(io.BytesIO(picture)).size
        folder = os.environ.get("SAVE_FIGURES")
        if folder:
            name = os.environ["PYTEST_CURRENT_TEST"].split("::")[1].split(" ")[0]
            with open(os.path.join(folder, f"{name}.png"), "wb") as file:
                file.write(picture)

    def bars(self, what, service):
        gid = f"{what}: {service}"
        return [patch for patch in self.axes.patches if patch.get_gid() == gid]

    def arrows(self, kind):
        return [patch for patch in self.axes.patches if patch.get_gid() == kind]

    @property
    def rows(self):
        return [label.get_text() for label in self.axes.get_yticklabels()]

    @property
    def crosses(self):
        return [line for line in self.axes.lines if line.get_gid() == "failed"]

    @property
    def reasons(self):
        return [
            text.get_text() for text in self.axes.texts if text.get_gid() == "reason"
        ]

    @property
    def legend(self):
        return [text.get_text() for text in self.figure.legends[0].get_texts()]

    def check(self):
        """Nothing is cut off, nothing runs out of the axes, words do not cover each other."""
        width, height = self.figure.get_size_inches()
        box = self.figure.get_tightbbox()
        assert box.x0 >= -0.02 and box.y0 >= -0.02
        assert box.x1 <= width + 0.02 and box.y1 <= height + 0.02
        inside = self.axes.get_window_extent().padded(2)
        words = [text.get_window_extent() for text in self.axes.texts]
        for extent in [
            patch.get_window_extent() for patch in self.axes.patches
        ] + words:
            assert inside.x0 <= extent.x0 and extent.x1 <= inside.x1
            assert inside.y0 <= extent.y0 and extent.y1 <= inside.y1
        for number, word in enumerate(words):
            assert not any(word.overlaps(other) for other in words[:number])
        for bar in self.axes.patches:
            what = str(bar.get_gid()).partition(":")[0]
            if what in ("working", "waiting"):
                assert bool(bar.get_hatch()) is (what == "waiting")
        assert self.axes.get_xlim()[0] <= 0 in self.axes.get_xticks()


# --- calls --------------------------------------------------------------------------------


def test_one_call():
    with a_service("payments", work=0.25) as url:
        before = time.time()
        with timeline() as t:
            requests.get(url)
    assert before <= t.opened <= t.spans[0].start
    assert t.services == ["customer", "payments"]
    assert [span.service for span in t.spans] == ["customer", "payments"]
    assert t.spans_of("payments") == [t.spans[1]]
    assert t.waited("payments") == 0 and t.worked("customer") == pytest.approx(
        0, abs=1e-6
    )
    assert 0.25 <= t.worked("payments") <= t.waited("customer")
    assert [arrow.kind for arrow in t.arrows] == ["request", "reply"]
    assert headline(t) == (
        f"Customer waits {t.waited('customer'):.2f} s, "
        f"of which Payments works {t.worked('payments'):.2f} s"
    )
    picture = Picture(t)
    picture.check()
    assert picture.rows == ["Customer", "Payments"]
    assert picture.axes.get_title(loc="left") == headline(t)
    (waiting,), (working,) = (
        picture.bars("waiting", "customer"),
        picture.bars("working", "payments"),
    )
    assert not picture.bars("working", "customer")
    assert waiting.get_width() == pytest.approx(t.waited("customer"))
    assert working.get_width() == pytest.approx(t.worked("payments"))
    assert waiting.get_x() <= working.get_x()
    assert len(picture.arrows("request")) == len(picture.arrows("reply")) == 1
    (request,), (reply,) = picture.arrows("request"), picture.arrows("reply")
    assert reply.get_linewidth() < request.get_linewidth()
    assert picture.axes.get_xlabel() == "time since the block began (s)"
    assert picture.legend == [
        "working",
        "waiting for an answer",
        "request",
        "reply",
    ]


def test_a_short_timeline_counts_in_milliseconds():
    with a_service("payments", work=0.002) as url, timeline() as t:
        requests.get(url)
    picture = Picture(t)
    picture.check()
    assert picture.axes.get_xlabel() == "time since the block began (ms)"
    (bar,) = picture.bars("waiting", "customer")
    assert bar.get_width() == pytest.approx(t.waited("customer") * 1000)
    assert " ms" in headline(t) and " s," not in headline(t)


def test_a_chain_of_four():
    with (
        a_chain("orders", "payments", "fraud", "bank", work=0.2) as url,
        timeline() as t,
    ):
        requests.get(url)
    assert t.services == ["customer", "orders", "payments", "fraud", "bank"]
    assert (
        t.waited("customer")
        > t.waited("orders")
        > t.waited("payments")
        > t.waited("fraud")
    )
    for name in ("orders", "payments", "fraud"):
        assert WORK <= t.worked(name) < WORK + 0.15
    assert t.worked("bank") >= 0.2 and t.waited("bank") == 0
    assert "of which Bank works" in headline(t)
    picture = Picture(t)
    picture.check()
    assert [len(picture.bars("working", name)) for name in t.services] == [
        0,
        2,
        2,
        2,
        1,
    ]
    assert [len(picture.bars("waiting", name)) for name in t.services] == [
        1,
        1,
        1,
        1,
        0,
    ]
    assert len(picture.arrows("request")) == len(picture.arrows("reply")) == 4
    assert describe(t) == (
        "Timeline with a row each for Customer, Orders, Payments, Fraud check and Bank: "
        "solid where it works, hatched where it waits for an answer, "
        "solid arrows for requests and replies."
    )


def test_three_customers_and_one_thread():
    with (
        a_service("payments", work=0.15) as payments,
        a_service("orders", work=0.01, onward=payments, threads=1) as orders,
        timeline() as t,
    ):
        all_at_once(orders, 3)
    assert t.services == [
        "customer 1",
        "customer 2",
        "customer 3",
        "orders",
        "payments",
    ]
    waits = sorted(t.waited(f"customer {number}") for number in (1, 2, 3))
    assert waits[0] >= 0.15 and waits[1] >= 0.3 and waits[2] >= 0.45
    assert waits[2] > waits[1] + 0.1 > waits[0] + 0.2
    picture = Picture(t)
    picture.check()
    lanes = {round(bar.get_y(), 3) for bar in picture.bars("waiting", "orders")}
    assert len(lanes) == 1  # one thread: one after the other


def test_what_overlaps_has_lanes_of_its_own():
    with a_service("payments", work=0.15) as url, timeline() as t:
        all_at_once(url, 3)
    picture = Picture(t)
    picture.check()
    lanes = sorted(bar.get_y() for bar in picture.bars("working", "payments"))
    height = picture.bars("working", "payments")[0].get_height()
    assert (
        len(lanes) == 3
        and lanes[1] - lanes[0] > height
        and lanes[2] - lanes[1] > height
    )
    assert t.worked("payments") >= 0.45  # all threads added up


def test_thirty_requests():
    with (
        a_service("payments", work=0.01, threads=2) as payments,
        a_service("orders", work=0.01, onward=payments) as orders,
    ):
        with timeline() as together:
            all_at_once(orders, 30)
        with timeline() as in_turn:
            for _ in range(30):
                requests.get(orders)
    picture = Picture(together)
    picture.check()
    assert picture.rows == ["30 customers", "Orders", "Payments"]
    bars = [
        bar for n in range(30) for bar in picture.bars("waiting", f"customer {n + 1}")
    ]
    assert len({round(bar.get_y(), 4) for bar in bars}) == 30
    assert picture.size[1] < 1500
    assert describe(together).startswith(
        "Timeline with a row each for 30 customers, Orders"
    )
    picture = Picture(in_turn)
    picture.check()
    assert len(picture.bars("waiting", "customer")) == 30
    assert len({bar.get_y() for bar in picture.bars("waiting", "customer")}) == 1


# --- what goes wrong ------------------------------------------------------------------------


def test_a_failure_that_is_passed_on():
    with a_chain("orders", "payments", "bank", status=503) as url, timeline() as t:
        requests.get(url)
    picture = Picture(t)
    picture.check()
    assert len(picture.crosses) == 4  # at the bank, and where each caller learns of it
    assert picture.reasons == ["503"] * 4
    assert picture.legend[-1] == "failed"
    assert describe(t).endswith("crosses mark what failed.")


def test_a_caller_that_gives_up_and_a_service_that_works_on():
    with (
        a_service("payments", work=0.5) as url,
        timeline() as t,
        pytest.raises(requests.Timeout),
    ):
        requests.get(url, timeout=0.1)
    assert 0.1 <= t.waited("customer") < 0.5
    assert t.worked("payments") >= 0.5  # leaving the block waited for its end
    assert [arrow.kind for arrow in t.arrows] == ["request"]
    picture = Picture(t)
    picture.check()
    assert picture.reasons == ["timed out"] and len(picture.crosses) == 1
    assert re.fullmatch(
        r"Customer waits 0.[1-4]\d s, of which Payments works .*", headline(t)
    )


def test_what_has_no_end_yet_is_shown_without_one():
    with a_service("payments", work=1.2) as url:
        with timeline() as t, pytest.raises(requests.Timeout):
            requests.get(url, timeout=0.05)
        (span,) = t.spans_of("payments")
        assert span.end is None and span.seconds is None
        assert 0.4 < t.worked("payments") < 1.2
        picture = Picture(t)
        picture.check()
        assert "no end seen" in picture.reasons
        time.sleep(0.8)


def test_refused_and_timed_out_in_turn_can_both_be_read():
    with a_service("payments", work=0.3) as url, timeline() as t:
        for target in (url, "http://127.0.0.1:1"):
            with pytest.raises(requests.RequestException):
                requests.get(target, timeout=0.2)
    picture = Picture(t)
    picture.check()
    assert sorted(picture.reasons) == ["refused", "timed out"]


def test_reasons_without_room_are_in_the_legend():
    with a_service("payments", work=0.1, threads=1, status=500) as url, timeline() as t:
        all_at_once(url, 30, timeout=0.15)
    picture = Picture(t)
    picture.check()
    assert picture.reasons == []
    assert picture.legend[-1] == "failed: 500, timed out"


# --- messages -------------------------------------------------------------------------------


def test_publish_and_work_later(stream):
    with (
        workers(stream, "payments", "w1"),
        taking_orders(stream) as url,
        timeline() as t,
    ):
        requests.get(url)
    assert t.services == ["customer", "orders", "payments"]
    assert t.waited("customer") < t.worked("payments")
    assert WORK <= t.worked("payments") < WORK + 0.15
    (message,) = [arrow for arrow in t.arrows if arrow.kind == "message"]
    assert (message.source.service, message.target.service) == ("orders", "payments")
    assert message.sent <= message.arrived <= message.target.start + 1e-6
    assert headline(t).endswith(" while nobody waits")
    picture = Picture(t)
    picture.check()
    (arrow,) = picture.arrows("message")
    assert arrow.get_linestyle() != "-" and picture.legend[-1] == "message"
    assert len(picture.bars("working", "payments")) == 1


@pytest.fixture
def patient(monkeypatch):
    """Leaving a block waits for long, if it waits at all."""
    monkeypatch.setattr(sys.modules["helpers.timeline"], "PATIENCE", 3.0)


def test_polls_that_bring_nothing_are_not_drawn(stream, patient):
    with workers(stream, "payments", "w1", "w2"):
        before = time.monotonic()
        with timeline() as t:
            time.sleep(0.2)
        assert time.monotonic() - before < 2
    assert len(t.spans) >= 2 and t.activities == []


def test_a_batch_is_worked_off_message_by_message(stream):
    stream.xgroup_create("orders", "payments", "0", mkstream=True)
    with timeline(client="orders") as t:
        for number in range(3):
            stream.xadd("orders", {"n": number})
        with workers(stream, "payments", "w1"):
            time.sleep(4.5 * WORK)
    bars = [activity for activity in t.activities if activity.service == "payments"]
    assert len(bars) == 3
    assert [one.end for one in bars[:2]] == [other.start for other in bars[1:]]
    assert 3 * WORK <= t.worked("payments") < 6 * WORK
    messages = [arrow for arrow in t.arrows if arrow.kind == "message"]
    assert [arrow.target for arrow in messages] == bars
    Picture(t).check()


def test_workers_share_a_stream_and_groups_each_get_everything(stream):
    stream.xgroup_create("orders", "payments", "0", mkstream=True)
    with (
        workers(stream, "payments", "w1", "w2", work=0.1),
        workers(stream, "email", "w1", work=0.02),
        taking_orders(stream) as url,
        timeline() as t,
    ):
        requests.get(url)
        requests.get(url)
    messages = [arrow for arrow in t.arrows if arrow.kind == "message"]
    assert (
        sorted(arrow.target.service for arrow in messages)
        == ["email"] * 2 + ["payments"] * 2
    )
    picture = Picture(t)
    picture.check()
    assert len({bar.get_y() for bar in picture.bars("working", "payments")}) == 2
    assert len({bar.get_y() for bar in picture.bars("working", "email")}) == 1


def test_a_worker_that_calls_a_service_waits_for_it(stream):
    with a_service("bank", work=0.1) as bank:
        stream.xgroup_create("orders", "payments", "0", mkstream=True)

        def work():
            with tracing.as_service("payments"):
                ((_, ((id, _),)),) = stream.xreadgroup(
                    "payments", "w", {"orders": ">"}, block=1000
                )
                time.sleep(WORK)
                requests.get(bank)
                stream.xack("orders", "payments", id)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.02)
        with timeline() as t:
            stream.xadd("orders", {"n": 1})
            thread.join()
    assert t.services == ["customer", "payments", "bank"]
    assert WORK <= t.worked("payments") < WORK + 0.15
    assert 0.1 <= t.waited("payments") < 0.3
    Picture(t).check()


def test_a_message_that_nobody_takes_stays_in_the_stream(stream):
    with taking_orders(stream) as url, timeline() as t:
        requests.get(url)
    (message,) = [arrow for arrow in t.arrows if arrow.kind == "message"]
    assert message.target is None and message.arrived is None
    picture = Picture(t)
    picture.check()
    assert picture.rows == ["Customer", "Orders", "(in the stream)"]
    assert len(picture.arrows("message")) == 1


def test_work_that_is_not_acknowledged_says_so(stream):
    with (
        workers(stream, "payments", "w1", ack=False),
        taking_orders(stream) as url,
        timeline() as t,
    ):
        time.sleep(0.1)  # a read that is traced
        requests.get(url)
        time.sleep(0.2)
    (work,) = [activity for activity in t.activities if activity.service == "payments"]
    assert work.error == "not acknowledged"
    assert WORK <= work.worked < WORK + 0.15
    picture = Picture(t)
    picture.check()
    assert picture.reasons == ["not acknowledged"]


# --- reading spans, made by hand ------------------------------------------------------------


def span(service, kind, start, end, id, parent=None, name="x", redis=False, **facts):
    attributes = {
        THREAD: 1,
        SCOPE: "opentelemetry.instrumentation.redis" if redis else "http",
    }
    return Span(
        service, name, kind, start, end, "t", id, parent, attributes=attributes, **facts
    )


def test_calls_made_at_the_same_time_count_once():
    spans = [
        span("orders", "server", 0.0, 1.0, "a"),
        span("orders", "client", 0.2, 0.6, "b", "a"),
        span("orders", "client", 0.4, 0.9, "c", "a"),
    ]
    ((orders,), _) = activities_and_arrows(spans, 0.0, 1.0)
    assert orders.blocked() == [(0.2, 0.9)]
    assert orders.waited == pytest.approx(0.7) and orders.worked == pytest.approx(0.3)
    assert orders.working() == [(0.0, 0.2), (0.9, 1.0)]


def test_what_began_before_is_cut_at_the_opening():
    spans = [
        span("orders", "server", 0.0, 1.0, "a"),
        span("orders", "client", 0.2, 0.6, "b", "a"),
    ]
    ((orders,), _) = activities_and_arrows(spans, 0.5, 1.0)
    assert (orders.start, orders.end) == (0.5, 1.0)
    assert orders.blocked() == [(0.5, 0.6)]


def test_a_service_that_was_killed_ends_where_its_caller_was_cut_off():
    spans = [
        span("customer", "client", 0.0, 0.3, "a", error="connection lost"),
        span("payments", "server", 0.1, None, "b", "a"),
    ]
    activities, arrows = activities_and_arrows(spans, 0.0, 0.9)
    payments = activities[1]
    assert (payments.end, payments.over) == (0.3, False)
    assert [arrow.kind for arrow in arrows] == ["request"]


def test_a_claimed_message_is_acknowledged_by_who_claimed_it():
    def receive(consumer, start, end, id):
        message = Message("receive", "s", "1-0", "g", consumer)
        return span(
            consumer, "consumer", start, end, id, redis=True, messages=(message,)
        )

    sent, settle = Message("send", "s", "1-0"), Message("settle", "s", "1-0", "g")
    spans = [
        span(
            "orders",
            "producer",
            0,
            0.1,
            "a",
            redis=True,
            messages=(sent,),
        ),
        receive("w1", 0, 0.1, "b"),
        receive("w2", 0.5, 0.6, "c"),
        span("w2", "client", 0.9, 1.0, "d", redis=True, messages=(settle,)),
    ]
    activities, arrows = activities_and_arrows(spans, 0, 1.2)
    found = {each.service: (each.start, each.end, each.over) for each in activities}
    assert found["w1"] == (0.1, 1.2, False)
    assert found["w2"] == (0.6, 0.9, True)
    assert [arrow.target.service for arrow in arrows] == ["w1", "w2"]


def test_a_delivery_that_was_not_seen_is_told_by_its_acknowledgement():
    sent, settled = Message("send", "s", "1-0"), Message("settle", "s", "1-0", "g")
    spans = [
        span("orders", "producer", 0.2, 0.25, "a", redis=True, messages=(sent,)),
        span("w", "client", 0.8, 0.9, "b", redis=True, messages=(settled,)),
    ]
    activities, (arrow,) = activities_and_arrows(spans, 0, 1)
    assert (activities[1].start, activities[1].end) == (0.25, 0.8)
    assert arrow.target is activities[1] and arrow.arrived == 0.25


def test_a_worker_may_be_at_a_message_before_its_sender_hears_that_it_is_sent():
    sent, settled = Message("send", "s", "1-0"), Message("settle", "s", "1-0", "g")
    spans = [
        span("orders", "producer", 0.2, 0.25, "a", redis=True, messages=(sent,)),
        span("w", "client", 0.23, 0.7, "b"),
        span("w", "client", 0.8, 0.9, "c", redis=True, messages=(settled,)),
    ]
    (_, worker), (arrow,) = activities_and_arrows(spans, 0, 1)
    assert (worker.start, worker.end) == (0.23, 0.8)
    assert worker.blocked() == [(0.23, 0.7)]
    assert arrow.target is worker and arrow.arrived == 0.23


def test_a_batch_that_was_read_before_is_worked_off_in_one_lane():
    def settled(id, at):
        message = Message("settle", "s", id, "g")
        return span("w", "client", at, at + 0.1, id, redis=True, messages=(message,))

    activities, arrows = activities_and_arrows(
        [settled("1-0", 0.3), settled("2-0", 0.7)], 0, 1
    )
    assert [(each.start, each.end) for each in activities] == [(0, 0.3), (0.3, 0.7)]
    assert arrows == []


# --- using it ---------------------------------------------------------------------------------


def test_plot_shows_the_picture_and_its_text(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda *args, **kw: shown.append((args, kw))
    )
    with a_service("payments") as url, timeline() as t:
        requests.get(url)
    assert t.plot() is None
    t.plot(title="Payments is asked", alt="One call.")
    assert shown[0][0][0]["text/plain"] == describe(t)
    assert shown[1][0][0]["text/plain"] == "One call."
    assert (
        Picture(t, "Payments is asked").axes.get_title(loc="left")
        == "Payments is asked"
    )


def test_the_alternative_text_does_not_vary():
    texts = set()
    with a_chain("orders", "payments") as url:
        for _ in range(3):
            with timeline() as t:
                requests.get(url)
            texts.add(describe(t))
    assert len(texts) == 1 and not any(letter.isdigit() for letter in texts.pop())


def test_nothing_recorded_is_said_in_words(capsys):
    with timeline() as t:
        pass
    t.plot()
    assert capsys.readouterr().out == (
        "Nothing was recorded: no call to a service or a stream ran inside the block.\n"
    )
    assert t.spans == [] and t.services == []
    with pytest.raises(ValueError, match="Nothing was recorded"):
        t.figure()


def test_what_is_asked_too_early_or_of_nobody():
    t = timeline()
    with pytest.raises(RuntimeError, match="with timeline\\(\\) as t"):
        t.plot()
    with a_service("payments") as url, t:
        requests.get(url)
        for ask in (t.plot, lambda: t.spans, lambda: t.worked("payments"), t.figure):
            with pytest.raises(RuntimeError, match="after the with block"):
                ask()
    with pytest.raises(
        ValueError, match="'bank' does not appear .* customer, payments"
    ):
        t.worked("bank")
    with pytest.raises(RuntimeError, match="make a new one"), t:
        pass
    for client in ("", None, 3):
        with pytest.raises(ValueError, match="give the caller a name"):
            timeline(client)
    assert repr(t) == "timeline of customer, payments"


def test_an_exception_in_the_block_comes_out_and_the_timeline_is_closed():
    send = requests.Session.send
    with a_service("payments") as url, pytest.raises(KeyError), timeline() as t:
        requests.get(url)
        raise KeyError("mine")
    assert requests.Session.send is send and not tracing._timelines
    assert t.services == ["customer", "payments"]


def test_an_interrupt_is_not_held_up(patient):
    with a_service("payments", work=1.5) as url:
        before = time.monotonic()
        with pytest.raises(KeyboardInterrupt), timeline():
            with contextlib.suppress(requests.Timeout):
                requests.get(url, timeout=0.05)
            raise KeyboardInterrupt
        assert time.monotonic() - before < 1.3


def test_nested_timelines_each_show_their_own_block():
    with a_service("payments") as url, timeline() as outer:
        requests.get(url)
        with timeline(client="Alex") as inner:
            requests.get(url)
        requests.get(url)
    assert inner.services == ["Alex", "payments"]
    assert sorted(outer.services[:2]) == ["Alex", "customer"]
    assert (len(inner.spans), len(outer.spans)) == (2, 6)


def test_what_began_before_the_block_belongs_to_what_was_before():
    with (
        a_service("payments", work=0.4) as url,
        timeline() as outer,
        ThreadPoolExecutor() as pool,
    ):
        asked = pool.submit(requests.get, url)
        time.sleep(0.2)
        with timeline() as inner:
            asked.result()
    assert (inner.spans, len(outer.spans)) == ([], 2)


def test_leaving_a_block_takes_no_longer_than_it_must():
    with a_chain("orders", "payments", work=0.0) as url:
        requests.get(url)
        with timeline():
            requests.get(url)
        times = []
        for _ in range(5):
            with timeline() as t:
                requests.get(url)
                left = time.monotonic()
            times.append(time.monotonic() - left)
            assert len(t.spans) == 4 and all(span.end for span in t.spans)
    assert sorted(times)[2] < 0.09


def test_a_server_that_is_not_traced_is_not_waited_for_long(patient):
    import http.server

    class Quiet(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with timeline() as t:
            requests.get(f"http://127.0.0.1:{server.server_port}")
            left = time.monotonic()
        assert time.monotonic() - left < 2
        server.shutdown()
    assert headline(t).endswith("and nobody works for it meanwhile")
    Picture(t).check()
