"""What the tests of the labs share: a lab's code with changes, and how a check refuses it."""

import linecache
import threading
import time
import uuid
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from running import nothing_left, wait_until

from helpers import registry
from helpers.checks import Refused
from tools import labs, notebooks

MOST_SECONDS = 10  # that a check may take until it refuses


def path_of(name, solved=True):
    """The notebook of a lab, by its file's name: the solution, or the learner's copy."""
    return labs.LABS / ("solutions" if solved else "") / name


def lab(name, *changes, begins=(), solved=True, **names):
    """What the code of a lab defines, with changes (old, new) to its text.

    begins: the cells to run besides those of the tasks, by the texts they begin with.
    names: what the cells find there, beside what they import themselves.
    """
    begins = ("# Task ", *begins)
    cells = notebooks.code_cells(notebooks.read(path_of(name, solved)))
    source = "\n\n".join(
        cell.source for cell in cells if cell.source.startswith(begins)
    )
    for old, new in changes:
        assert source.count(old) >= 1, old
        source = source.replace(old, new)
    return run_text(source, **names)


def run_text(source, **names):
    """Run code as a cell would: under a file name of its own, with its lines at hand."""
    file = f"lab of {uuid.uuid4()}"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    exec(compile(source, file, "exec"), names)
    return SimpleNamespace(**names)


def tasks(name):
    """The cells of a lab's tasks, in order, as text."""
    return [
        cell.source
        for cell in notebooks.code_cells(notebooks.read(path_of(name)))
        if cell.source.startswith("# Task ")
    ]


def heading(name, number):
    """What a check says of a lab's task before all else: "Task 2: charge once"."""
    return tasks(name)[number - 1].splitlines()[0].removeprefix("# ")


def to_do(name, number):
    """All that is said when the function of a lab's task is a stub."""
    task, _, title = heading(name, number).partition(": ")
    return f"{task} is still to do: {title}"


def assert_passed(name, number, said):
    """Fail unless a check has said that a lab's task is done, and what it saw in a line."""
    first, *others = said.splitlines()
    assert first == f"✓ {heading(name, number)}"
    assert len(others) == 1, said


def assert_refused(name, number, words, said):
    """Fail unless a lab's task was refused, in words that are in the text."""
    assert said.startswith(f"✗ {heading(name, number)}\n")
    assert_said(words, said)


def timed(check, *answer):
    """Run a check, which must come to its end in time."""
    start = time.monotonic()
    try:
        check(*answer)
    finally:
        assert time.monotonic() - start < MOST_SECONDS


def refusal(check, *answer):
    """What a check says to a wrong answer."""
    with pytest.raises(Refused) as refused:
        timed(check, *answer)
    said = str(refused.value)
    assert "could not go on" not in said and "helpers/labs" not in said
    return said


def assert_said(words, said):
    """Fail with the whole of what was said unless all the words are in it."""
    assert [word for word in words if word not in said] == [], said


@contextmanager
def nothing_runs_on():
    """No thread, service, process or folder may be left when the block ends."""
    threads = set(threading.enumerate())
    with nothing_left():
        yield
        left = [thing for thing in registry.running() if thing.name != "broker"]
        assert left == []  # nothing but a broker for nothing_left() to stop
    wait_until(lambda: set(threading.enumerate()) <= threads, seconds=3)
