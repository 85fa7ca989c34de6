"""The order history's twins, the development server and the wiretap: what lesson 08 measures with."""

import gzip
import json
import socket
import threading

import grpc
import pytest
import requests
import running
from google.protobuf.json_format import MessageToDict

from helpers import contract, registry, serve
from helpers.development import development_server
from helpers.shop import history, history_rest
from helpers.wiretap import wiretap

APP = "helpers.shop.history_rest:app"
messages, services = contract("helpers/shop/history.proto")


@pytest.fixture(autouse=True)
def tidy(tmp_path):
    threads = set(threading.enumerate())
    with running.nothing_left():
        yield
    running.wait_until(lambda: set(threading.enumerate()) <= threads, seconds=5)


@pytest.fixture
def rest():
    return history_rest.app.test_client()


@pytest.fixture
def stub():
    from helpers.shop.history_grpc import History

    service = serve(History())
    with grpc.insecure_channel(service.address) as channel:
        yield services.HistoryStub(channel)


def as_dict(message):
    return MessageToDict(message, preserving_proto_field_name=True)


@pytest.mark.parametrize("id", ["order-1", "order-50", "long", "wordy"])
def test_the_twins_give_the_same_order(rest, stub, id):
    assert rest.get(f"/orders/{id}").json == history.ORDERS[id]
    assert (
        as_dict(stub.GetOrder(messages.OrderRequest(id=id), timeout=5))
        == history.ORDERS[id]
    )


def test_the_twins_compress_when_asked(rest, stub):
    plain, packed = (rest.get("/orders/long" + ask).data for ask in ("", "?gzip"))
    assert gzip.decompress(packed) == plain and len(packed) < len(plain) / 3
    wanted = messages.OrderRequest(id="long", gzip=True)
    assert as_dict(stub.GetOrder(wanted, timeout=5)) == history.ORDERS["long"]


@pytest.mark.parametrize("limit, number", [(1, 1), (50, 50), (99, 50), (0, 0)])
def test_the_twins_give_the_same_list(rest, stub, limit, number):
    orders = rest.get(f"/orders?limit={limit}").json["orders"]
    assert len(orders) == number
    listed = stub.ListOrders(messages.ListRequest(limit=limit), timeout=5)
    assert [as_dict(order) for order in listed.orders] == orders


def test_an_order_that_is_not_there(rest, stub):
    assert rest.get("/orders/order-99").status_code == 404
    with pytest.raises(grpc.RpcError) as refused:
        stub.GetOrder(messages.OrderRequest(id="order-99"), timeout=5)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert "order-99" in refused.value.details()


def test_orders_are_the_same_in_every_process():
    assert history._order("order-1", items=2) == history.ORDERS["order-1"]
    assert len(history.ORDERS["long"]["items"]) == 200
    assert len(history.ORDERS["wordy"]["note"].split()) == 1000


# The development server


def test_the_development_server_serves_and_closes_every_connection():
    server = development_server(APP)
    assert server.running and server.address in server.url
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(
            b"GET /orders/order-1 HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
        )
        answer = connection.makefile("rb").read()  # returns when the server closes
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == history.ORDERS["order-1"]
    server.stop()
    assert not server.running and repr(server).endswith("stopped")
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url, timeout=2)


def test_a_second_development_server_takes_the_place_of_the_first(capsys):
    first = development_server(APP)
    second = development_server(APP)
    assert second.port == first.port and second.pid != first.pid
    assert not first.running
    assert requests.get(second.url + "/orders/order-2", timeout=5).ok
    registry.stop_all()
    assert not second.running
    assert APP in capsys.readouterr().out


@pytest.mark.parametrize("app", ["helpers.shop.history_rest:nothing", "no.such:app"])
def test_an_app_that_is_not_there_is_named_with_the_reason(app):
    with pytest.raises(RuntimeError, match="does not listen") as refused:
        development_server(app)
    assert app in str(refused.value) and "Error" in str(refused.value)
    assert registry.is_empty()


# The wiretap


@pytest.fixture
def echo():
    """The address of a server that sends everything back."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_one(connection):
            with connection:
                while data := connection.recv(1000):
                    connection.sendall(data.upper())

        def accept():
            try:
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=serve_one, args=(connection,)).start()
            except OSError:
                pass

        threading.Thread(target=accept).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def connect(address):
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def test_a_wiretap_notes_what_passes_and_passes_it_on(echo):
    with wiretap(echo) as tap:
        with connect(tap.address) as client:
            client.sendall(b"hello")
            assert client.recv(1000) == b"HELLO"
            assert (tap.sent, tap.received, tap.connections) == (b"hello", b"HELLO", 1)
            tap.clear()
            assert (tap.sent, tap.received, tap.connections) == (b"", b"", 0)
            client.sendall(b"again")
            assert client.recv(1000) == b"AGAIN"
        with connect(tap.address) as client:
            client.sendall(b"!")
            assert client.recv(1000) == b"!"
        assert (tap.sent, tap.connections) == (b"again!", 1)


def test_when_one_side_closes_the_other_hears_of_it(echo):
    with wiretap(echo) as tap, connect(tap.address) as client:
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1000) == b""


def test_after_the_block_connections_are_closed_and_refused(echo):
    with wiretap(echo) as tap:
        client = connect(tap.address)
        client.sendall(b"hello")
        assert client.recv(1000)
    with client:
        assert client.recv(1000) == b""
    with pytest.raises(ConnectionError):
        connect(tap.address)


def test_a_wiretap_needs_a_service():
    with pytest.raises(ValueError, match="service.address"):
        wiretap("http://127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = f"127.0.0.1:{gone.getsockname()[1]}"
    with pytest.raises(ConnectionError), wiretap(address):
        pass
