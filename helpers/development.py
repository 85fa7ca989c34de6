"""Flask's development server, to be compared with the server that serve() uses.

It makes a thread for each connection, and closes the connection after each answer.
"""

import re
import sys
import time

from helpers import registry
from helpers.processes import GuardedProcess
from helpers.services import START_SECONDS


def development_server(app: str) -> "DevelopmentServer":
    """Run ``flask run`` for an app, given as ``"package.module:app"``; return once it listens.

    The server of the same app that is already running is replaced, on its port. Raises
    RuntimeError with the reason when it does not start; then nothing is left behind.
    """
    old = registry.find(DevelopmentServer, _name(app))
    if old is not None:
        old.stop()
    server = DevelopmentServer(app, old.port if old else 0)
    registry.register(server)
    return server


def _name(app: str) -> str:
    return f"development server of {app}"


class DevelopmentServer:
    """A running development server.

    Attributes: ``name``; ``url``, ``address`` and ``port``, as services have them; ``pid``;
    ``running``; ``log``.
    """

    def __init__(self, app: str, port: int = 0):
        self.name = _name(app)
        flask = [
            sys.executable,
            "-m",
            "flask",
            "--app",
            app,
            "run",
            "--port",
            str(port),
        ]
        self._process = GuardedProcess(lambda folder, fd: flask)
        try:
            self.url = self._listens_at()
        except BaseException:
            self._process.stop()
            raise
        self.address = self.url.removeprefix("http://")
        self.port = int(self.address.rpartition(":")[2])
        self.pid = self._process.pid

    def __repr__(self) -> str:
        return f"{self.name}: {'running' if self.running else 'stopped'}"

    @property
    def running(self) -> bool:
        return self._process.running

    @property
    def log(self) -> str:
        return self._process.log

    def stop(self) -> None:
        """Stop listening, and end the process."""
        self._process.stop()
        registry.forget(self)

    def _listens_at(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while self.running and time.monotonic() < deadline:
            if found := re.search(r"Running on (http://[\d.]+:\d+)", self.log):
                return found[1]
            time.sleep(0.02)
        raise RuntimeError(f"cannot start {self.name}: it does not listen.\n{self.log}")
