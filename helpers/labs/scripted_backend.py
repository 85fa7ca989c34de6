"""A backend for the checks: each request brings its fate along, and all are counted."""

import threading
from collections.abc import Callable

import requests

from helpers.load import session
from helpers.services import serve

PATIENCE = 1.0  # seconds that a request waits for others, or to be released
PHRASES = {
    200: "OK",
    201: "Created",
    402: "Payment Required",
    409: "Conflict",
    422: "Unprocessable Content",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class Backend:
    """A service in this kernel, from ``with`` until the block ends.

    What becomes of a request:
        "201", "402", "503", ...: it is answered with that status;
        "drop": the connection breaks, without a reply;
        "meet": 201, once as many as `meeting` says are here at a time, or after PATIENCE;
        "wait": 201 after release(), or after PATIENCE.
    """

    def __init__(self, name: str = "payments 2"):
        # Not "payments": it would take the place of the learner's own. A live view shows
        # a name with a number as the service of that name.
        self.name = name
        self.received = 0  # requests so far
        self.most = 0  # requests that were here at the same time, at most
        self.meeting = 1
        self.raised: list[Exception] = []  # what the functions of asks() have raised
        self._here = 0
        self._met = self._released = False
        self._changed = threading.Condition()

    def __enter__(self) -> "Backend":
        self.service = serve(self, name=self.name, threads=32)
        self._http = session()
        return self

    def __exit__(self, *_) -> None:
        self.release()
        self._http.close()
        self.service.stop()

    def asks(
        self, fate: str, then: Exception | None = None
    ) -> Callable[[], requests.Response]:
        """A function that sends one request with this fate and returns the reply.

        then: raised in its place once the reply is there, as by code that cannot read it.
        """

        def send() -> requests.Response:
            try:
                url = f"{self.service.url}/charges?{fate}"
                reply = self._http.post(url, json={"order": "order-1"}, timeout=5)
                if then:
                    raise then
                return reply
            except Exception as error:
                self.raised.append(error)
                raise

        return send

    def begin(self, meeting: int = 1) -> None:
        """Count anew; let "meet" wait for that many, and "wait" for release()."""
        with self._changed:
            self.received = self.most = 0
            self.meeting, self._met, self._released = meeting, False, False

    def release(self) -> None:
        """Let go on what waits, and what will."""
        with self._changed:
            self._met = self._released = True
            self._changed.notify_all()

    def wait_for(self, here: int) -> None:
        """Wait until that many requests are here, for PATIENCE at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._here >= here, PATIENCE)

    def __call__(self, environ, start_response):
        """The service, as a WSGI app."""
        fate = environ.get("QUERY_STRING", "")
        with self._changed:
            self.received += 1
            self._here += 1
            self.most = max(self.most, self._here)
            self._changed.notify_all()
        try:
            self._wait(fate)
        finally:
            with self._changed:
                self._here -= 1
        if fate == "drop":
            # An OSError tells the server that the connection is gone.
            raise ConnectionAbortedError("the check breaks the connection")
        status = int(fate) if fate.isdigit() else 201
        headers = [("Content-Type", "application/json")]
        start_response(f"{status} {PHRASES[status]}", headers)
        return [b'{"id": "ch-1"}' if status < 400 else b'{"detail": "no"}']

    def _wait(self, fate: str) -> None:
        with self._changed:
            if fate == "meet":
                self._changed.wait_for(
                    lambda: self._met or self._here >= self.meeting, PATIENCE
                )
                self._met = True  # who comes later need not wait again
                self._changed.notify_all()
            elif fate == "wait":
                self._changed.wait_for(lambda: self._released, PATIENCE)
