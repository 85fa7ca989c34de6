"""Functions of a notebook as programs of their own."""

import os
import signal
import time

import pytest

from helpers import start_broker, stop_all
from helpers.programs import run_program

FACTOR = 3


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    stop_all()


def threefold(number):
    return FACTOR * number


def tell(number):
    print(threefold(number), os.getpid())


def until_killed(path):
    with open(path, "w") as file:
        file.write("here")
    time.sleep(60)


client = object()  # of the same name as an attribute below


def publish(stream):
    start_broker().client.xadd(stream, {"from": "the program"})


def test_runs_with_what_it_uses_and_has_a_memory_of_its_own():
    program = run_program(tell, number=14)
    assert program.wait(10)
    assert program.returncode == 0
    product, pid = program.log.split()
    assert (product, int(pid)) == ("42", program.pid)
    assert program.pid != os.getpid()
    program.stop()
    assert program.log.startswith("42")


def test_is_killed_without_a_chance_to_tidy_up(tmp_path):
    program = run_program(until_killed, path=str(tmp_path / "mark"))
    while not (tmp_path / "mark").exists():
        time.sleep(0.01)
    assert program.running
    program.kill()
    assert program.returncode == -signal.SIGKILL
    assert not program.running


def test_uses_the_broker_of_the_kernel():
    broker = start_broker()
    stream = broker.key("programs")
    assert run_program(publish, stream=stream).wait(10)
    [(_, fields)] = broker.client.xrange(stream)
    assert fields == {"from": "the program"}


def test_one_of_the_same_name_is_replaced(tmp_path):
    first = run_program(until_killed, path=str(tmp_path / "mark"))
    second = run_program(until_killed, path=str(tmp_path / "mark"))
    assert (first.running, second.running) == (False, True)


def test_a_failure_is_in_the_log():
    def broken():
        raise ValueError("no such order")

    program = run_program(broken)
    assert program.wait(10)
    assert program.returncode == 1
    assert "ValueError: no such order" in program.log


LEDGER = []


def append(order):
    LEDGER.append(order)


class Order:
    """Of this module, as a class of a notebook would be of that."""


def make_an_order():
    return Order()


def inside():
    secret = [1]
    return lambda: secret


@pytest.mark.parametrize(
    ("function", "arguments", "says"),
    [
        (append, {"order": 1}, "uses 'LEDGER', which is in the memory of this"),
        (make_an_order, {}, "uses 'Order', which is in the memory of this"),
        (inside(), {}, "uses its secret"),
        (tell, {}, "missing a required argument: 'number'"),
        (tell, {"number": object()}, "must be numbers, texts, lists or dicts"),
        ("tell", {}, "takes a function of yours"),
        (print, {}, "takes a function of yours"),
    ],
)
def test_what_cannot_be_taken_along_is_refused(function, arguments, says):
    with pytest.raises((TypeError, ValueError), match=says):
        run_program(function, **arguments)
