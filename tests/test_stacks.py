"""Where threads are in their code, and that it is safe to ask while they go on."""

import subprocess
import sys
import threading
import time

import pytest

from helpers import stacks

LINE = 3  # of WAIT, in which it waits
WAIT = """
def {name}(begun, over):
    begun.set(), over.wait()
"""

# Threads whose errors and generators leave garbage that takes a moment to go, while somebody
# asks all the time where they are. Without garbage.left_for_later in helpers/stacks.py every
# second run fails on Python 3.11.7.
RESTLESS = """
import random, sys, threading, time
from helpers import stacks

class Closing:
    def __del__(self):
        time.sleep(0)

def deep(calls):
    closing = Closing()
    if calls:
        try:
            return deep(calls - 1)
        finally:
            sum(closing is None for closing in each(3))
    time.sleep(random.choice([0, 0.0001]))
    try:
        raise ValueError
    except ValueError as error:
        return error

def each(number):
    for _ in range(number):
        closing = Closing()
        yield closing

def work():
    while not over.is_set():
        error = deep(random.randrange(12))

sys.setswitchinterval(1e-5)
end = time.monotonic() + 3
asked = found = 0
while time.monotonic() < end:
    over = threading.Event()
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        at = stacks.of_threads()
        asked += 1
        found += any(place.function == "deep" for thread in threads for place in at.get(thread.ident, ()))
    over.set()
    for thread in threads:
        thread.join()
print(asked, found)
"""


@pytest.fixture
def waiting():
    """waiting(name) starts a thread that waits in a function of that name, until the test ends."""
    over, threads = threading.Event(), []

    def start(name):
        defined, begun = {}, threading.Event()
        exec(compile(WAIT.format(name=name), "pay.py", "exec"), defined)
        threads.append(threading.Thread(target=defined[name], args=(begun, over)))
        threads[-1].start()
        assert begun.wait(5)
        return threads[-1].ident

    yield start
    over.set()
    for thread in threads:
        thread.join()


def test_where_a_thread_waits(waiting):
    ident = waiting("charge")
    at = stacks.of_threads()[ident]
    assert stacks.Place("pay.py", LINE, "charge") in at
    functions = [place.function for place in at]
    assert functions.index("charge") < functions.index("run"), (
        "the innermost comes first"
    )


def test_every_thread_is_told_of(waiting):
    idents = {waiting(f"work_{number}") for number in range(20)}
    at = stacks.of_threads()
    assert idents <= set(at)
    assert "test_every_thread_is_told_of" in [
        place.function for place in at[threading.get_ident()]
    ]


def test_a_thread_that_has_ended_is_not_told_of():
    thread = threading.Thread(target=time.sleep, args=(0,))
    thread.start()
    ident = thread.ident
    thread.join()
    assert ident not in stacks.of_threads()


def test_threads_that_go_on_are_safe_to_ask():
    ran = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", RESTLESS],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    asked, found = map(int, ran.stdout.split())
    assert asked >= 30
    assert found > asked / 2
