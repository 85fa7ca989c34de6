"""Programs that some tests need: skipped without them on your machine, never in CI."""

import gc
import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from helpers import figures, predict, progress
from tools import browser, labs, notebooks


def _program(names, what, package):
    """The path of the first of *names* that is installed.

    Without one the test is skipped, with a line that says so; in CI it fails.
    """
    for name in names:
        if path := shutil.which(name):
            return path
    message = f"{what} is not installed (Debian: apt-get install {package})"
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(message)
    pytest.fail(f"{message}, and CI may not skip this test", pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def pytests_own_folder(tmp_path_factory):
    """Made first: later it might be made in a temporary folder that a test takes away."""
    tmp_path_factory.getbasetemp()


@pytest.fixture(autouse=True)
def no_long_collection():
    """The garbage of the tests before is collected now, and what they keep is left alone.

    After a thousand tests a full collection stops this process, and all services in it, for 0.8 s.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def chromium():
    """The path of Chromium or Chrome, for playwright's ``executable_path``."""
    return _program(browser.PROGRAMS, "chromium", "chromium")


# Of a module and not of the session: while playwright runs, no other test could use
# asyncio.
@pytest.fixture(scope="module")
def chrome(chromium):
    """Chromium, driven by playwright."""
    with browser.browser(chromium) as chrome:
        yield chrome


@pytest.fixture
def shown(monkeypatch):
    """The pictures that were shown, as pairs (figure, alternative text); none is drawn."""
    shown = []
    monkeypatch.setattr(
        figures, "_display", lambda figure, alt: shown.append((figure, alt))
    )
    return shown


@pytest.fixture
def told_after(monkeypatch, tmp_path):
    """Make a prediction of a lab; then all that is told of predictions gathers in a list.

    told_after("01-….ipynb", "lab01/slowest", "under 0.5 s") -> list of texts
    """
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "progress.json"))
    monkeypatch.setattr(sys.modules["helpers.predict"], "_asked", {})

    def make(lab, name, choice):
        [asked] = [
            cell.source
            for cell in notebooks.code_cells(notebooks.read(labs.LABS / lab))
            if f'"{name}"' in cell.source
        ]
        told = []
        monkeypatch.setattr(
            "IPython.display.display",
            lambda data, raw: told.append(data["text/plain"]),
        )
        eval(asked, {"predict": predict}).predict(choice)
        return told

    return make


@pytest.fixture
def nothing_is_left():
    """A test that leaves something running fails."""
    from lab_answers import nothing_runs_on  # what only the labs' tests need

    with nothing_runs_on():
        yield


@pytest.fixture
def redis_server(tmp_path_factory):
    """The URL of a real redis-server on a free loopback port, ended after the test."""
    program = _program(["redis-server"], "redis-server", "redis-server")
    folder = tmp_path_factory.mktemp("redis")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    log = (folder / "log").open("w+")
    server = subprocess.Popen(
        [program, *where, "--save", "", "--appendonly", "no"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        _wait_until_redis_answers(server, port, log)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()


def _wait_until_redis_answers(server, port, log, seconds=10):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(7) == b"+PONG\r\n":
                    return
        except OSError:
            pass
        time.sleep(0.02)
    log.seek(0)
    raise RuntimeError(f"redis-server does not answer on port {port}:\n{log.read()}")
