"""Faults given to a service from outside it, seeded and so repeatable.

The service's own code knows nothing of them: they sit between the server and the app, as the fault
filter of a service mesh sits between the network and the service.
"""

import json
import random
import threading
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass, fields

from helpers.grpc_handlers import wrapped


@dataclass(frozen=True)
class Plan:
    """Which faults a service has. All off by default.

    latency, jitter: seconds added before the work; jitter is drawn evenly from 0 to its value.
    error_rate: fraction (0 to 1) of requests answered 503 (gRPC: UNAVAILABLE), the work not done.
    fail_next: that many requests fail like this, then all pass.
    drop_rate: fraction of requests whose work is done but whose reply never comes: the connection closes.
    drop_next: that many replies are dropped, then all are sent.
    seed: the same seed and the same order of requests give the same faults.
    """

    latency: float = 0.0
    jitter: float = 0.0
    error_rate: float = 0.0
    fail_next: int = 0
    drop_rate: float = 0.0
    drop_next: int = 0
    seed: int = 0

    @classmethod
    def of(cls, **faults: float) -> "Plan":
        """A checked plan. Raises TypeError for an unknown fault, ValueError for an impossible value."""
        known = [field.name for field in fields(cls)]
        for name, value in faults.items():
            if name not in known:
                raise TypeError(
                    f"no fault is called {name!r}; there are {', '.join(known)}"
                )
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not value >= 0
            ):
                raise ValueError(f"{name}={value!r}: give a number of at least 0")
            if name.endswith("_rate") and value > 1:
                raise ValueError(f"{name}={value!r}: a rate is a fraction from 0 to 1")
            if name.endswith("_next") and value != int(value):
                raise ValueError(f"{name}={value!r}: give a whole number of requests")
            if value == float("inf"):
                raise ValueError(f"{name}={value!r}: give a finite number")
        return cls(**faults)


@dataclass(frozen=True)
class Fate:
    """What the faults have decided for one request."""

    delay: float  # seconds
    fail: bool
    drop: bool


class Faults:
    """Draws the fate of each request of one service. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.set(Plan())

    def set(self, plan: Plan) -> None:
        with self._lock:
            self._random = random.Random(plan.seed)
            self._fail_next, self._drop_next = int(plan.fail_next), int(plan.drop_next)
            self.plan = plan
            self.active = plan != Plan(seed=plan.seed)

    def draw(self) -> Fate:
        """The fate of the next request. Three draws each, so that one fault never shifts another."""
        with self._lock:
            plan = self.plan
            delay = plan.latency + plan.jitter * self._random.random()
            fail, drop = (
                self._random.random() < plan.error_rate,
                self._random.random() < plan.drop_rate,
            )
            if self._fail_next:
                self._fail_next -= 1
                fail = True
            elif not fail and self._drop_next:
                self._drop_next -= 1
                drop = True
            return Fate(delay, fail, drop)


FAILED = json.dumps(
    {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "The service failed before it did the work.",
    }
).encode()


def wsgi(app, faults: Faults):
    """Put faults in front of a WSGI app."""

    def faulty(environ, start_response):
        if not faults.active:
            return app(environ, start_response)
        fate = faults.draw()
        time.sleep(fate.delay)
        if fate.fail:
            headers = [
                ("Content-Type", "application/problem+json"),
                ("Content-Length", str(len(FAILED))),
            ]
            start_response("503 Service Unavailable", headers)
            return [FAILED]
        reply = app(environ, start_response)
        if not fate.drop:
            return reply
        with closing(reply) if hasattr(reply, "close") else nullcontext():
            for _ in reply:  # an app may do its work as it makes the reply
                pass
        # An OSError tells the server that the connection is gone: it closes it and sends nothing.
        raise ConnectionAbortedError("reply dropped after the work was done")

    return faulty


def grpc_interceptor(faults: Faults):
    """The same for a gRPC server."""
    import grpc

    def faulty(behaviour, streams: bool):
        def before(context) -> Fate:
            fate = faults.draw()
            time.sleep(fate.delay)
            if fate.fail:
                context.abort(
                    grpc.StatusCode.UNAVAILABLE,
                    "the service failed before it did the work",
                )
            return fate

        def after(fate: Fate, context) -> None:
            if fate.drop:
                context.abort(
                    grpc.StatusCode.UNAVAILABLE, "connection closed before the reply"
                )

        def one(request, context):
            fate = before(context)
            reply = behaviour(request, context)
            after(fate, context)
            return reply

        def many(request, context):
            fate = before(context)
            for number, reply in enumerate(behaviour(request, context)):
                if number:  # a dropped stream breaks off after its first message
                    after(fate, context)
                yield reply
            after(fate, context)

        return many if streams else one

    class Interceptor(grpc.ServerInterceptor):
        def intercept_service(self, continuation, details):
            handler = continuation(details)
            if handler is None or not faults.active:
                return handler
            return wrapped(
                handler, lambda behaviour: faulty(behaviour, handler.response_streaming)
            )

    return Interceptor()
