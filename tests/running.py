"""What the tests of running parts share: nothing may be left behind, and how to wait."""

import contextlib
import io
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

from helpers import registry
from tools import browser
from tools.processes import alive, family  # noqa: F401 - as running.alive


def wait_until(true, seconds=10.0, every=0.01):
    """Wait for ``true()``; returns its value, and fails when it does not come."""
    deadline = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {true}"
        time.sleep(every)
    return value


def soon(got, wanted, seconds=browser.ANSWER_SECONDS):
    """Wait until ``got()`` is *wanted*; fail with both when it does not come to that."""
    deadline = time.monotonic() + seconds
    while (value := got()) != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    assert value == wanted


def folders():
    """The course's folders in the temporary folder."""
    return sorted(Path(tempfile.gettempdir()).glob("course-*"))


def together(*functions):
    """Run the functions at the same moment, in a thread each; raises what one raises."""
    start, errors = threading.Barrier(len(functions)), []

    def run(function):
        start.wait()
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(each,)) for each in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]


@contextlib.contextmanager
def temporary_folder():
    """A temporary folder of its own; its path is short, as a unix socket needs it."""
    before, folder = os.environ.get("TMPDIR"), tempfile.mkdtemp(prefix="t-")
    os.environ["TMPDIR"], tempfile.tempdir = folder, None
    try:
        yield Path(folder)
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def nothing_left():
    """Stop everything at the end: no process of ours, no folder may be left then."""
    before = family()
    with temporary_folder():
        try:
            yield
        finally:
            with contextlib.redirect_stdout(io.StringIO()):
                registry.stop_all()
        assert registry._running == []
        assert [process for process in family() if process not in before] == []
        assert folders() == []
