"""Faults given to a service from outside it: seeded, repeatable, the same in both homes."""

import math
import time

import counter_grpc
import counter_http
import grpc
import pytest
import requests
import running
from counter_grpc import messages

from helpers.faults import Fate, Faults, Plan
from helpers.services import serve


class HttpClient:
    """Calls the counter over HTTP; says how each call ended."""

    apps = {"kernel": counter_http.create_app, "process": lambda: "counter_http:app"}

    def __init__(self, service):
        self.url, self.session = service.url, requests.Session()

    def work(self):
        try:
            status = self.session.post(self.url + "/work", timeout=5).status_code
        except requests.ConnectionError:
            return "lost"
        return {201: "done", 503: "failed"}[status]

    def done(self):
        return self.session.get(self.url + "/done", timeout=5).json()["done"]

    def close(self):
        self.session.close()


class GrpcClient:
    """Calls the counter over gRPC; says how each call ended."""

    apps = {"kernel": counter_grpc.Counter, "process": lambda: "counter_grpc:servicer"}

    def __init__(self, service):
        self.channel = grpc.insecure_channel(service.address)
        self.stub = counter_grpc.services.CounterStub(self.channel)

    def work(self):
        try:
            self.stub.Work(messages.Request(), timeout=5)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return "lost" if "reply" in error.details() else "failed"
        return "done"

    def done(self):
        return self.stub.Done(messages.Request(), timeout=5).done

    def close(self):
        self.channel.close()


@pytest.fixture(scope="module", autouse=True)
def tidy(tmp_path_factory):
    tmp_path_factory.getbasetemp()  # made before the temporary folder is ours
    with running.nothing_left():
        yield


@pytest.fixture(scope="module", params=["kernel", "process"])
def home(request):
    return request.param


@pytest.fixture(scope="module", params=[HttpClient, GrpcClient], ids=["http", "grpc"])
def started(home, request):
    service = serve(request.param.apps[home](), name=f"{home}-{request.param.__name__}")
    client = request.param(service)
    yield service, client
    client.close()
    service.stop()


@pytest.fixture
def service(started):
    started[0].heal()
    return started[0]


@pytest.fixture
def client(started):
    return started[1]


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# --- each fault, in both homes, over both protocols ----------------------------------


def test_without_faults_everything_works(service, client):
    assert [client.work() for _ in range(20)] == ["done"] * 20


def test_latency_comes_before_each_answer(service, client):
    client.work()
    service.inject(latency=0.15)
    assert seconds(client.work) >= 0.15
    service.heal()
    assert min(seconds(client.work) for _ in range(3)) < 0.15


def test_fail_next_fails_that_many_without_doing_the_work_and_then_passes(
    service, client
):
    before = client.done()
    service.inject(fail_next=3)
    assert [client.work() for _ in range(5)] == ["failed"] * 3 + ["done"] * 2
    assert client.done() == before + 2


def test_drop_next_loses_the_reply_after_the_work_is_done(service, client):
    before = client.done()
    service.inject(drop_next=2)
    assert [client.work() for _ in range(3)] == ["lost", "lost", "done"]
    assert client.done() == before + 3


def test_drop_rate_of_one_loses_every_reply(service, client):
    before = client.done()
    service.inject(drop_rate=1.0)
    assert [client.work() for _ in range(3)] == ["lost"] * 3
    service.heal()
    assert client.done() == before + 3


def test_the_same_seed_gives_the_same_errors(service, client):
    def forty_calls(seed):
        service.inject(error_rate=0.3, drop_rate=0.2, seed=seed)
        return [client.work() for _ in range(40)]

    first = forty_calls(seed=7)
    assert set(first) == {"done", "failed", "lost"}
    assert forty_calls(seed=7) == first
    assert forty_calls(seed=8) != first


def test_the_faults_are_the_same_in_both_homes_and_protocols(service, client):
    service.inject(error_rate=0.5, seed=3)
    faults = Faults()
    faults.set(Plan.of(error_rate=0.5, seed=3))
    expected = ["failed" if faults.draw().fail else "done" for _ in range(20)]
    assert [client.work() for _ in range(20)] == expected


def test_new_faults_take_the_place_of_the_old(service, client):
    service.inject(fail_next=100)
    service.inject(latency=0.0)
    assert client.work() == "done"


def test_a_service_started_again_has_no_faults(service, client):
    service.inject(error_rate=1.0)
    assert client.work() == "failed"
    service.stop()
    service.start()
    running.wait_until(lambda: client.work() == "done")
    assert [client.work() for _ in range(5)] == ["done"] * 5


@pytest.mark.parametrize(
    "faults, error, hint",
    [
        ({"latancy": 1}, TypeError, "no fault is called 'latancy'; there are latency,"),
        ({"latency": -0.1}, ValueError, "latency=-0.1: give a number of at least 0"),
        ({"latency": "slow"}, ValueError, "latency='slow': give a number"),
        ({"latency": math.nan}, ValueError, "latency=nan: give a number"),
        ({"latency": math.inf}, ValueError, "latency=inf: give a finite number"),
        ({"latency": None}, ValueError, "latency=None: give a number"),
        ({"error_rate": 1.5}, ValueError, "error_rate=1.5: a rate is a fraction"),
        ({"drop_rate": 20}, ValueError, "drop_rate=20: a rate is a fraction"),
        ({"fail_next": 1.5}, ValueError, "fail_next=1.5: give a whole number"),
        ({"drop_next": True}, ValueError, "drop_next=True: give a number"),
    ],
    ids=str,
)
def test_an_impossible_fault_is_refused_and_changes_nothing(
    service, client, faults, error, hint
):
    service.inject(fail_next=1)
    with pytest.raises(error, match=hint):
        service.inject(**faults)
    assert [client.work(), client.work()] == ["failed", "done"]


# --- streams over gRPC ---------------------------------------------------------------


@pytest.fixture
def stream(home):
    service = serve(GrpcClient.apps[home](), name="streaming")
    client = GrpcClient(service)
    yield service, lambda: client.stub.WorkTwice(messages.Request(), timeout=5)
    client.close()
    service.stop()


def test_faults_on_a_stream(stream):
    service, work_twice = stream
    assert len(list(work_twice())) == 2

    service.inject(fail_next=1)
    with pytest.raises(grpc.RpcError) as error:
        next(work_twice())
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE

    service.inject(latency=0.1)
    assert seconds(lambda: list(work_twice())) >= 0.1

    service.inject(drop_next=1)
    replies = work_twice()
    next(replies)  # the first message comes, then the stream breaks off
    with pytest.raises(grpc.RpcError) as error:
        next(replies)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert len(list(work_twice())) == 2


# --- how fates are drawn -------------------------------------------------------------


def fates(count, **faults):
    drawn = Faults()
    drawn.set(Plan.of(**faults))
    return [drawn.draw() for _ in range(count)]


def test_rates_are_near_what_was_asked_for():
    drawn = fates(4000, error_rate=0.3, drop_rate=0.1, seed=1)
    assert 0.27 < sum(fate.fail for fate in drawn) / 4000 < 0.33
    assert 0.08 < sum(fate.drop for fate in drawn) / 4000 < 0.12


def test_rates_of_zero_and_one_are_exact():
    assert not any(fate.fail or fate.drop for fate in fates(2000))
    assert all(fate.fail for fate in fates(2000, error_rate=1))


def test_jitter_is_spread_evenly_above_the_latency():
    delays = [fate.delay for fate in fates(2000, latency=0.1, jitter=0.2)]
    assert 0.1 <= min(delays) < 0.11
    assert 0.29 < max(delays) <= 0.3
    assert 0.19 < sum(delays) / 2000 < 0.21


def test_one_fault_does_not_shift_another():
    alone = [fate.fail for fate in fates(100, error_rate=0.3, seed=5)]
    mixed = fates(100, error_rate=0.3, drop_rate=0.5, latency=1, jitter=2, seed=5)
    assert [fate.fail for fate in mixed] == alone


def test_counted_faults_come_first_and_leave_the_random_ones_as_they_are():
    drawn = [fate.fail for fate in fates(50, error_rate=0.3, fail_next=4, seed=5)]
    alone = [fate.fail for fate in fates(50, error_rate=0.3, seed=5)]
    assert drawn == [True] * 4 + alone[4:]


def test_a_request_that_fails_uses_up_no_dropped_reply():
    drawn = fates(4, fail_next=2, drop_next=1)
    assert drawn == [
        Fate(0.0, fail=True, drop=False),
        Fate(0.0, fail=True, drop=False),
        Fate(0.0, fail=False, drop=True),
        Fate(0.0, fail=False, drop=False),
    ]


def test_counts_are_exact_when_drawn_from_several_threads():
    faults, drawn = Faults(), []
    faults.set(Plan.of(fail_next=300))
    draw = [lambda: drawn.extend(faults.draw() for _ in range(100))] * 5
    running.together(*draw)
    assert sum(fate.fail for fate in drawn) == 300


def test_a_dropped_reply_of_a_lazy_app_is_dropped_after_its_work():
    worked = []

    def lazy(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"begun"
        worked.append(True)
        yield b"done"

    service = serve(lazy)
    service.inject(drop_next=1)
    with pytest.raises(requests.ConnectionError):
        requests.get(service.url, timeout=5)
    assert worked == [True]
    assert requests.get(service.url, timeout=5).text == "begundone"
    service.stop()


def test_a_failed_request_gets_problem_details():
    service = serve(counter_http.create_app("problem"))
    service.inject(fail_next=1)
    answer = requests.post(service.url + "/work", timeout=5)
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == 503
    service.stop()
