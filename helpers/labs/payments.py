"""A Payments for the checks: each try of an order meets the fate that the check has chosen."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

from helpers import faults
from helpers.services import serve
from helpers.shop.payments import create_app

SLOW = 0.8  # seconds


@dataclass(frozen=True)
class Request:
    """What Payments was sent, and when."""

    method: str
    path: str  # with the query
    key: str | None  # the Idempotency-Key
    body: dict | str  # as text when it is not JSON
    at: float  # seconds, on the clock of time.monotonic


class Payments:
    """The shop's Payments in this kernel, from ``with`` until the block ends.

    fates_of: called with an order's id, gives the fates of its tries; further tries are "fine".
        "slow": the work begins after SLOW seconds; "stuck": it begins with release();
        "error": 503 before the work; "bug": 500 after it;
        "lost": after the work the connection breaks, without a reply; "crash": the same, and
        from then on nobody listens.
    look_ups: the fate of every GET, "fine", "stuck" or "error".
    """

    def __init__(
        self, fates_of: Callable[[str], Sequence[str]], look_ups: str = "fine"
    ):
        self.requests: list[Request] = []
        self._app = create_app(work_seconds=0.01)
        self._fates_of, self._look_ups = fates_of, look_ups
        self._tries: Counter[str] = Counter()
        self._released = threading.Event()
        self._under_way = 0
        self._changed = threading.Condition()

    def __enter__(self) -> "Payments":
        # Not "payments": it would take the place of the learner's own. A live view shows
        # a name with a number as the service of that name.
        self.service = serve(self, name="payments 2", threads=32)
        self.url = self.service.url
        return self

    def __exit__(self, *_) -> None:
        self.release()
        self.service.stop()

    @property
    def posts(self) -> list[Request]:
        return [request for request in self.requests if request.method == "POST"]

    def charges(self, order: str) -> list[dict]:
        """What is in the ledger for an order, also after the service was stopped."""
        ledger = self._app.test_client()
        return ledger.get("/charges", query_string={"order": order}).json

    def release(self) -> None:
        """Let go on what is slow or stuck, and wait until no request is under way."""
        self._released.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, timeout=2)

    def __call__(self, environ, start_response):
        """Payments as a WSGI app."""
        with self._changed:
            self._under_way += 1
            fate = self._next_fate(self._noted(environ))
        try:
            return self._meet(fate, environ, start_response)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _noted(self, environ) -> Request:
        data = environ["wsgi.input"].read()
        environ["wsgi.input"] = BytesIO(data)  # for the app
        try:
            body = json.loads(data)
        except ValueError:
            body = data.decode(errors="replace")
        path, query = environ["PATH_INFO"], environ.get("QUERY_STRING")
        request = Request(
            environ["REQUEST_METHOD"],
            f"{path}?{query}" if query else path,
            environ.get("HTTP_IDEMPOTENCY_KEY"),
            body,
            time.monotonic(),
        )
        self.requests.append(request)
        return request

    def _next_fate(self, request: Request) -> str:
        if request.method != "POST":
            return self._look_ups
        order = request.body.get("order") if isinstance(request.body, dict) else None
        fates = self._fates_of(str(order))
        self._tries[order] += 1
        tries = self._tries[order]
        return fates[tries - 1] if tries <= len(fates) else "fine"

    def _meet(self, fate: str, environ, start_response):
        if fate in ("slow", "stuck"):  # a wait that release() ends, unlike a sleep
            self._released.wait(SLOW if fate == "slow" else 60)
        if fate in ("bug", "crash"):
            b"".join(self._app(environ, lambda *_: None))
        if fate == "crash":
            self.service.stop()
            raise ConnectionAbortedError("crashed after the work was done")
        if fate == "bug":
            start_response("500 Internal Server Error", [("Content-Type", "text/html")])
            return [b"<h1>Internal Server Error</h1>"]
        known = _Known(faults.Fate(0, fail=fate == "error", drop=fate == "lost"))
        return faults.wsgi(self._app, known)(environ, start_response)


class _Known:
    """Faults whose next fate is known."""

    active = True

    def __init__(self, fate: faults.Fate):
        self.draw = lambda: fate


def payments(*fates: str, look_ups: str = "fine") -> Payments:
    """A Payments in which every order meets these fates, try by try."""
    return Payments(lambda order: fates, look_ups)
