"""The text of functions and classes, as another process gets it."""

import pytest
from lab_answers import run_text

from helpers.sources import source_of

CELL = '''
import time as clock
from functools import partial, wraps
from typing import Optional

TIMEOUT, STEPS, order = 0.5, ("reserve", ("charge", 2)), object()
memory = []


def noted(function):
    @wraps(function)
    def call(*args):
        return ("noted", function(*args))

    return call


def total(number):
    return number if number == 0 else 1 + total(number - 1)


count = total


@noted
def ask(order: Optional[dict], timeout=TIMEOUT):
    return timeout, STEPS, clock.gmtime(0).tm_year, count(3), partial(max, 1)(order["n"])


class Desk:
    """A class with a property, a static method, and one that calls its parent's."""

    steps = STEPS
    first = steps[0]

    def __init__(self, n):
        super().__init__()
        self.n = n

    @property
    def double(self):
        return total(2 * self.n)

    @staticmethod
    def name():
        return __name__


def at_the_desk(n):
    order = Desk(n)  # a name of its own, whatever else has it
    return order.double, order.first


def remembers(order):
    memory.append(order)


def uses_a_lambda():
    return key({})


key = lambda order: 1
earlier = total


def total(number):
    return earlier(number)


class Plain:
    pass


def makes_plain():
    return Plain()
'''


@pytest.fixture(scope="module")
def cell():
    return run_text(CELL, __name__="a notebook")


def elsewhere(*functions):
    """What the text of these functions defines, in a place where there is nothing else."""
    names = {"__name__": "elsewhere"}
    exec(source_of(*functions), names)
    return names


def test_functions_come_with_all_they_use_also_in_their_head(cell):
    before = CELL.partition("key = lambda")[0]
    ask = run_text(before, __name__="a notebook").ask
    there = elsewhere(ask)
    assert there["ask"]({"n": 7}) == (
        "noted",
        (0.5, ("reserve", ("charge", 2)), 1970, 3, 7),
    )
    assert "memory" not in there and "Desk" not in there


def test_a_class_comes_along(cell):
    before = CELL.partition("key = lambda")[0]
    there = elsewhere(run_text(before, __name__="a notebook").at_the_desk)
    assert there["at_the_desk"](4) == (8, "reserve")
    assert there["Desk"].name() == "elsewhere"


def test_several_functions_make_one_text(cell):
    before = run_text(CELL.partition("key = lambda")[0], __name__="a notebook")
    text = source_of(before.at_the_desk, before.ask, before.total)
    for once in ("def total(", "class Desk", "TIMEOUT = 0.5", "STEPS = "):
        assert text.count(once) == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("remembers", r"remembers\(\) uses 'memory', which is in the memory of this"),
        ("uses_a_lambda", "key is a lambda: write it with def"),
        ("key", "a lambda has no name of its own"),
        ("total", "earlier is an earlier total"),
        ("makes_plain", r"makes_plain\(\) uses 'Plain', which is in the memory"),
    ],
)
def test_what_cannot_be_taken_along_is_named(cell, name, says):
    with pytest.raises(ValueError, match=says):
        source_of(getattr(cell, name))


def test_a_class_of_a_function_that_uses_what_is_there_is_refused():
    text = """
def outer(secret):
    class Inside:
        def tell(self):
            return secret
    return Inside

Inside = outer(1)

def use():
    return Inside().tell()
"""
    with pytest.raises(ValueError, match="Inside is defined inside a function"):
        source_of(run_text(text, __name__="a notebook").use)


def test_a_function_without_a_text_is_refused():
    names = {}
    exec("def typed():\n    pass", names)
    with pytest.raises(ValueError, match="write it in a cell"):
        source_of(names["typed"])
