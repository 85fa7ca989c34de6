"""serve(): the same service in the kernel and in a process of its own."""

import http.client
import os
import signal
import socket
import textwrap
import threading
import time

import counter_grpc
import counter_http
import grpc
import psutil
import pytest
import requests
import running
from counter_grpc import messages
from flask import Flask

from helpers import registry, services
from helpers.service_process import load
from helpers.services import Service, serve

HOMES = ["kernel", "process"]
HTTP = {
    "kernel": counter_http.create_app,
    "process": lambda: "counter_http:create_app()",
}
GRPC = {"kernel": counter_grpc.Counter, "process": lambda: "counter_grpc:Counter()"}


@pytest.fixture(autouse=True)
def tidy(tmp_path):  # whose parent is made before the temporary folder is ours
    with running.nothing_left():
        yield


@pytest.fixture(params=HOMES)
def home(request):
    return request.param


@pytest.fixture
def stub():
    """Make a gRPC stub for a service."""
    channels = []

    def make(service):
        channels.append(grpc.insecure_channel(service.address))
        return counter_grpc.services.CounterStub(channels[-1])

    yield make
    for channel in channels:
        channel.close()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module that an import string can name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))

    return write


def refused(port):
    """Whether nothing listens on the port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


def saying(answer, name="teller"):
    app = Flask(name)
    app.get("/")(lambda: answer)
    return app


def says(service):
    return requests.get(service.url, timeout=5).text


# --- the same in both homes ----------------------------------------------------------


def test_flask_answers_alike(home):
    service = serve(HTTP[home]())
    made = requests.post(service.url + "/work", timeout=5)
    assert (made.status_code, made.json()) == (201, {"done": 1, "answer": "counted"})
    missing = requests.get(service.url + "/nowhere", timeout=5)
    assert missing.status_code == 404
    where = requests.get(service.url + "/where", timeout=5).json()
    assert where["pid"] == service.pid
    assert (service.pid == os.getpid()) == (home == "kernel")


def test_grpc_answers_alike(home, stub):
    service = serve(GRPC[home]())
    counter = stub(service)
    assert service.name == "counter"
    assert counter.Work(messages.Request(), timeout=5).done == 1
    twice = counter.WorkTwice(messages.Request(), timeout=5)
    assert [count.done for count in twice] == [2, 3]
    assert counter.Done(messages.Request(), timeout=5).pid == service.pid


def test_only_the_loopback_interface_is_listened_on(home):
    service = serve(HTTP[home]())
    listening = [
        connection.laddr
        for connection in psutil.Process(service.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert ("127.0.0.1", service.port) in listening
    assert all(address.ip == "127.0.0.1" for address in listening)


def test_connections_are_kept(home):
    service = serve(HTTP[home]())
    with requests.Session() as session:
        ports = {
            session.get(service.url + "/where", timeout=5).json()["client_port"]
            for _ in range(5)
        }
    assert len(ports) == 1


def test_repr_is_stable(home):
    service = serve(HTTP[home](), threads=1)
    place = {"kernel": "this kernel", "process": "a process of its own"}[home]
    assert repr(service) == f"counter: running in {place}, 1 thread"
    service.stop()
    assert repr(service) == "counter: stopped"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_thread_pool_is_bounded(home, protocol, stub):
    def seconds_for_five_calls_at_once(threads):
        if protocol == "http":
            service = serve(HTTP[home](), threads=threads)
            slow = service.url + "/work?seconds=0.2"
            calls = [lambda: requests.post(slow, timeout=5)] * 5
        else:
            counter = stub(serve(GRPC[home](), threads=threads))
            counter.Done(messages.Request(), timeout=5)
            calls = [lambda: counter.Work(messages.Request(seconds=0.2), timeout=5)] * 5
        start = time.monotonic()
        running.together(*calls)
        return time.monotonic() - start

    assert seconds_for_five_calls_at_once(threads=1) >= 1.0
    assert seconds_for_five_calls_at_once(threads=5) < 0.8


def test_more_clients_stay_connected_than_there_are_threads(home):
    service = serve(HTTP[home](), threads=1)
    clients = [
        socket.create_connection(("127.0.0.1", service.port)) for _ in range(150)
    ]
    try:
        done = requests.get(service.url + "/done", timeout=5)
        assert done.status_code == 200
    finally:
        for client in clients:
            client.close()


# --- stopping, starting again, replacing ---------------------------------------------


def test_a_stopped_service_refuses_and_starts_again_on_its_port(home):
    service = serve(HTTP[home]())
    port = service.port
    service.stop()
    assert not service.running
    with pytest.raises(requests.ConnectionError):
        says(service)
    service.stop()  # twice is no error
    service.start()
    assert service.port == port
    assert requests.post(service.url + "/work", timeout=5).status_code == 201
    service.start()  # so is starting a running service
    assert requests.get(service.url + "/done", timeout=5).json()["done"] == 1


def test_grpc_stops_and_starts_again_on_its_port(home, stub):
    service = serve(GRPC[home]())
    counter, port = stub(service), service.port
    counter.Work(messages.Request(), timeout=5)
    service.stop()
    with pytest.raises(grpc.RpcError) as error:
        counter.Work(messages.Request(), timeout=5)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    service.start()
    assert service.port == port
    assert counter.Work(messages.Request(), timeout=5, wait_for_ready=True).done


@pytest.mark.parametrize("old", HOMES)
def test_serving_a_name_again_replaces_the_old_service(home, old):
    first = serve(HTTP[old]())
    with requests.Session() as session:
        session.post(first.url + "/work", timeout=5)
        second = serve(HTTP[home]())
        assert (first.running, second.running) == (False, True)
        assert second.url == first.url
        # the client was there before, and its connection is gone
        done = session.get(second.url + "/done", timeout=5)
        assert done.json()["done"] == 0
    assert registry._running == [second]


def test_a_replaced_servicer_answers_on_the_same_channel(stub):
    counter = stub(serve(counter_grpc.Counter()))
    assert counter.Work(messages.Request(), timeout=5).done == 1
    serve(counter_grpc.Counter())
    assert counter.Work(messages.Request(), timeout=5, wait_for_ready=True).done == 1


def test_two_names_are_two_services():
    one, two = serve(saying("one"), name="one"), serve(saying("two"), name="two")
    assert (says(one), says(two)) == ("one", "two")


def test_the_port_can_be_chosen():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert serve(saying("hello"), port=port).url == f"http://127.0.0.1:{port}"


def test_a_killed_service_is_gone_at_once_and_can_be_started_again():
    service = serve("counter_http:app")
    port, pid = service.port, service.pid
    service.kill()
    assert not service.running
    assert refused(port)
    service.kill()  # twice is no error
    service.start()
    assert service.port == port
    assert service.pid != pid
    assert requests.get(service.url + "/done", timeout=5).json() == {"done": 0}


def test_a_service_in_the_kernel_cannot_be_killed():
    service = serve(saying("still here"))
    with pytest.raises(RuntimeError, match="runs in this kernel.*Use stop()"):
        service.kill()
    assert says(service) == "still here"


def test_a_stopped_service_tells_to_start_it(home):
    service = serve(HTTP[home]())
    service.stop()
    with pytest.raises(RuntimeError, match="counter is stopped: call its start()"):
        service.inject(latency=0.1)
    with pytest.raises(RuntimeError, match="call its start()"):
        service.heal()
    assert service.pid == (os.getpid() if home == "kernel" else None)


def test_stop_does_not_wait_for_a_request_in_work(home):
    service = serve(HTTP[home]())
    ended = []

    def call():
        with pytest.raises(requests.ConnectionError):
            requests.post(service.url + "/work?seconds=3", timeout=10)
        ended.append(time.monotonic())

    client = threading.Thread(target=call)
    client.start()
    time.sleep(0.3)
    start = time.monotonic()
    service.stop()
    assert time.monotonic() - start < 2
    client.join()
    assert ended[0] - start < 2


def test_stop_ends_idle_connections(home):
    service = serve(HTTP[home]())
    client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=5)
    client.request("GET", "/done")
    client.getresponse().read()
    service.stop()
    assert client.sock.recv(1) == b""
    client.close()


def test_a_reply_nobody_reads_does_not_hold_up_a_stop():
    app = Flask("big")
    app.get("/")(lambda: (b"x" * 1_000_000 for _ in range(100)))
    before = threading.active_count()
    service = serve(app, threads=1)
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(1)
        time.sleep(0.3)  # until the server waits for its client to read on
        service.stop()
        running.wait_until(lambda: threading.active_count() <= before, seconds=5)


def test_stop_all_stops_everything_and_says_so(capsys):
    one, two = serve(saying("one"), name="one"), serve("counter_http:app")
    registry.stop_all()
    assert capsys.readouterr().out == "Stopped: counter, one.\n"
    assert refused(one.port)
    assert refused(two.port)
    registry.stop_all()
    assert capsys.readouterr().out == "Nothing was running.\n"


# --- what a service logs -------------------------------------------------------------


def test_what_goes_wrong_in_flask_is_in_the_log_and_nowhere_else(home, capfd):
    service = serve(HTTP[home]())
    assert requests.get(service.url + "/boom", timeout=5).status_code == 500
    running.wait_until(lambda: "LookupError: no such card" in service.log)
    captured = capfd.readouterr()
    assert captured.err == ""
    if home == "process":
        assert "about to fail" in service.log
        assert captured.out == ""
    service.stop()
    assert "LookupError: no such card" in service.log  # still there


def test_what_goes_wrong_in_a_servicer_is_in_the_log_and_nowhere_else(
    home, stub, capfd
):
    service = serve(GRPC[home]())
    counter = stub(service)
    with pytest.raises(grpc.RpcError) as error:
        counter.Boom(messages.Request(), timeout=5)
    assert error.value.code() is grpc.StatusCode.UNKNOWN
    with pytest.raises(grpc.RpcError):
        list(counter.BoomInStream(messages.Request(), timeout=5))
    running.wait_until(lambda: "LookupError: no such stream" in service.log)
    assert "LookupError: no such card" in service.log
    assert capfd.readouterr() == ("", "")


def test_what_goes_wrong_in_a_bare_wsgi_app_is_in_the_log(capfd):
    def broken(environ, start_response):
        raise LookupError("no such card")

    service = serve(broken)
    assert service.name == "broken"
    assert requests.get(service.url, timeout=5).status_code == 500
    assert "LookupError: no such card" in service.log
    assert capfd.readouterr() == ("", "")


def test_a_busy_service_prints_nothing(home, capfd):
    service = serve(HTTP[home](), threads=1)
    slow = [lambda: requests.post(service.url + "/work?seconds=0.05", timeout=5)] * 5
    running.together(*slow)
    with pytest.raises(requests.ReadTimeout):
        requests.post(service.url + "/work?seconds=0.3", timeout=0.05)
    time.sleep(0.4)  # the reply has nobody to go to
    service.stop()
    assert capfd.readouterr() == ("", "")


# --- import strings ------------------------------------------------------------------


def test_an_import_string_may_call_a_factory():
    service = serve("counter_http:create_app(name='till', answer='ok')", name="cashier")
    assert service.name == "cashier"
    made = requests.post(service.url + "/work", timeout=5)
    assert made.json()["answer"] == "ok"


def test_a_module_may_print_and_start_children(module):
    module("chatty", "print('at import')\nfrom counter_http import app")
    service = serve("chatty:app")
    assert "at import" in service.log
    answer = requests.get(service.url + "/start-child", timeout=5).json()
    child = psutil.Process(answer["pid"])
    service.kill()
    assert not service.running
    running.wait_until(lambda: not running.alive(child), seconds=3)
    service.start()  # no child of the old one holds its port


def test_a_service_that_closes_its_channel_is_told_apart_from_one_that_answers(module):
    module(
        "closing",
        """
        import os, sys
        from counter_http import app
        app.get("/close")(lambda: (os.close(int(sys.argv[1])), "closed")[1])
        """,
    )
    service = serve("closing:app")
    assert requests.get(service.url + "/close", timeout=5).text == "closed"
    with pytest.raises(RuntimeError, match="cannot serve 'closing:app'"):
        service.inject(latency=0.1)


@pytest.mark.parametrize(
    "app, error, hint",
    [
        (42, TypeError, "takes a Flask app, a gRPC servicer, or an import string"),
        (None, TypeError, "takes a Flask app"),
        (counter_grpc.Counter, TypeError, r"serve\(Counter\(\)\)"),
        (Flask("__main__"), ValueError, r'make it Flask\("payments"\)'),
        ("counter_http", RuntimeError, "write it as 'package.module:app'"),
        ("shop.tills:app", RuntimeError, "No module named 'shop"),
        ("counter_http:ap", RuntimeError, "'counter_http' has no 'ap'; check the part"),
        ("counter_http:os", RuntimeError, "takes a Flask app"),
    ],
    ids=str,
)
def test_what_cannot_be_served_is_refused_and_leaves_nothing(app, error, hint):
    with pytest.raises(error, match=hint):
        serve(app)
    assert running.family() == []
    assert running.folders() == []
    assert registry._running == []


@pytest.mark.parametrize(
    "target, error, hint",
    [
        ("counter_http:", ValueError, "write it as 'package.module:app'"),
        (":app", ValueError, "write it as 'package.module:app'"),
        ("counter_http:a b", ValueError, "neither a name nor a call"),
        ("counter_http:create_app('x')", ValueError, "nor a call with keywords"),
        ("counter_http:create_app(name=x)", ValueError, "nor a call with keywords"),
        ("counter_http:create_app(nam='x')", TypeError, "keyword argument 'nam'"),
        ("counter_http:os.environ", ValueError, "neither a name nor a call"),
    ],
)
def test_what_an_import_string_may_be(target, error, hint):
    with pytest.raises(error, match=hint):
        load(target)


@pytest.mark.parametrize(
    "text, hint",
    {
        "raise LookupError('no card reader')": "LookupError: no card reader",
        "import sys; sys.exit('cannot start')": "its process ended.\ncannot start",
        "import os; os.kill(os.getpid(), 9)": "its process ended",
        "def app(:": "SyntaxError",
        "import os; os.closerange(3, 100); import time; time.sleep(60)": "process ended",
    }.items(),
)
def test_a_service_that_dies_at_start_tells_why_and_leaves_nothing(module, text, hint):
    module("dying", text)
    with pytest.raises(RuntimeError, match=f"cannot serve 'dying:app': .*{hint}"):
        serve("dying:app")
    assert running.family() == []
    assert running.folders() == []
    assert registry._running == []


def test_a_service_that_hangs_at_start_is_given_up(module, monkeypatch):
    monkeypatch.setattr(services, "START_SECONDS", 1)
    module("hanging", "print('waiting'); import time; time.sleep(60)")
    with pytest.raises(RuntimeError, match="did not answer within 1 s.\nwaiting"):
        serve("hanging:app")
    assert running.family() == []
    assert running.folders() == []


def test_an_interrupted_start_leaves_nothing(module):
    module("hanging", "import time; time.sleep(60)")
    main = threading.get_ident()
    interrupt = threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        serve("hanging:app")
    assert running.family() == []
    assert running.folders() == []


def test_an_interrupt_while_a_service_is_slow_to_answer_does_not_end_it():
    service = serve("counter_http:app")
    process, main = psutil.Process(service.pid), threading.get_ident()
    process.suspend()
    interrupt = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        service.inject(fail_next=1)
    process.resume()
    assert requests.post(service.url + "/work", timeout=5).status_code in (201, 503)
    assert service.running


@pytest.mark.parametrize(
    "wrong",
    [
        {"threads": 0},
        {"threads": 2.0},
        {"threads": True},
        {"threads": "4"},
        {"port": -1},
        {"port": 70_000},
        {"port": "80"},
        {"name": ""},
        {"name": 7},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(home, wrong):
    [(setting, value)] = wrong.items()
    with pytest.raises(ValueError, match=f"{setting}={value!r}: give a"):
        serve(HTTP[home](), **wrong)
    assert running.family() == []


@pytest.mark.parametrize("protocol", [HTTP, GRPC], ids=["http", "grpc"])
def test_a_taken_port_is_refused(home, protocol):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"cannot listen on port {port}"):
            serve(protocol[home](), port=port)
    assert running.family() == []
    assert registry._running == []
    assert refused(port)


def test_a_start_that_fails_leaves_the_old_service_running(module):
    module("dying", "import os; os._exit(3)")
    service = serve(saying("still here"), name="teller")
    with pytest.raises(RuntimeError):
        serve("dying:app", name="teller")
    with pytest.raises(TypeError):
        serve(42, name="teller")
    assert says(service) == "still here"


# --- many times, and from several threads --------------------------------------------


def test_fifty_starts_and_stops_leak_nothing():
    app = saying("hello")
    serve(app).stop()
    process = psutil.Process()
    descriptors, threads = process.num_fds(), threading.active_count()
    for _ in range(50):
        service = serve(app)
        assert says(service) == "hello"
        service.stop()
    running.wait_until(lambda: threading.active_count() <= threads, seconds=2)
    running.wait_until(lambda: process.num_fds() <= descriptors, seconds=2)


def test_grpc_starts_and_stops_leak_nothing(stub):
    servicer = counter_grpc.Counter()
    stub(serve(servicer)).Work(messages.Request(), timeout=5)
    registry.find(Service, "counter").stop()
    process = psutil.Process()
    descriptors, threads = process.num_fds(), threading.active_count()
    for _ in range(20):
        serve(servicer).stop()
    running.wait_until(lambda: threading.active_count() <= threads + 1, seconds=5)
    running.wait_until(lambda: process.num_fds() <= descriptors + 5, seconds=5)


def test_one_name_served_from_several_threads_at_once_runs_once():
    apps = [saying(str(number)) for number in range(8)]
    running.together(*[lambda app=app: serve(app) for app in apps])
    [service] = registry._running
    assert service.running
    listening = [
        connection
        for connection in psutil.Process().net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert [connection.laddr.port for connection in listening] == [service.port]


def test_starting_and_stopping_from_several_threads_leaves_one_process():
    service = serve("counter_http:app")
    service.stop()
    running.together(service.start, service.start, service.start)
    guards = psutil.Process().children()
    assert len(guards) == 1
    running.together(service.stop, service.kill, service.stop)
    assert running.family() == []
    assert refused(service.port)


def test_a_service_started_from_a_thread_that_ends_lives_on(home):
    started = []
    thread = threading.Thread(target=lambda: started.append(serve(HTTP[home]())))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert requests.get(started[0].url + "/done", timeout=5).status_code == 200
