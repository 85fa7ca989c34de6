"""Payments as a service around the learner's `answer`, and customers who call it."""

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass

import requests
from flask import Flask, request

from helpers.labs.charge_ledger import Ledger
from helpers.labs.own_connection import guarded
from helpers.services import serve

TRIES = 3  # that a customer makes when there is no answer
PATIENCE = 3.0  # seconds


@dataclass(frozen=True)
class Heard:
    """What a customer got: a status, 0 for no answer at all, and what came with it."""

    status: int
    body: object = None
    replayed: str | None = None  # the header Idempotent-Replayed
    why: str = ""  # no answer came

    @property
    def told(self) -> int | str:
        """The status, or what came in place of one."""
        return self.status or f"no answer ({self.why})"


class Payments:
    """The learner's `answer` behind POST /charges, with a ledger, until the ``with`` block ends."""

    def __init__(self, answer: Callable, ledger: Ledger):
        self._answer, self.ledger = guarded(answer, ledger), ledger
        self.odd = ""  # what it returned that is no answer, in words

    def __enter__(self) -> "Payments":
        # Not "payments": it would take the place of the learner's own.
        app = Flask("payments 2")
        # What the learner's code raises is told by the check.
        app.logger.disabled = True
        app.add_url_rule("/charges", view_func=self._create_charge, methods=["POST"])
        self._app, self.service = app, serve(app, threads=32)
        return self

    def __exit__(self, *_) -> None:
        self.service.stop()

    def _create_charge(self):
        key, order = request.headers.get("Idempotency-Key"), request.get_json()
        got = self._answer(key, order)
        try:
            return self._app.make_response(got)
        except Exception:
            self.odd = self.odd or f"it returns {got!r:.80}"
            return {}, 500

    def post(self, order: dict, key: str | None) -> Heard:
        """Send an order once."""
        headers = {"Idempotency-Key": key} if key else {}
        url = self.service.url + "/charges"
        try:
            reply = requests.post(url, json=order, headers=headers, timeout=PATIENCE)
        except requests.RequestException as error:
            return Heard(0, why=type(error).__name__)
        try:
            body = reply.json()
        except ValueError:
            body = None
        return Heard(reply.status_code, body, reply.headers.get("Idempotent-Replayed"))

    def post_until_answered(self, order: dict, key: str) -> Heard:
        """Send it again, with the same key, when the reply is lost."""
        for _ in range(TRIES):
            heard = self.post(order, key)
            if heard.status:
                break
        return heard

    def post_at_once(self, number: int, order: dict, key: str) -> list[Heard]:
        """Send it so many times at the same moment."""
        return at_once(number, lambda n: self.post(order, key))


def at_once(number: int, function: Callable[[int], object]) -> list:
    """Call function(0), function(1), … at the same moment; their results, or raise what one raises."""
    start = threading.Barrier(number)

    def run(n: int) -> object:
        start.wait(20)  # seconds
        return function(n)

    with ThreadPoolExecutor(number) as pool:
        # Each call in a copy of our context: it belongs to the check that runs here.
        calls = [pool.submit(copy_context().run, run, n) for n in range(number)]
    return [each.result() for each in calls]


# -- The customers of the verdict, who call ------------------------------------------------

# How many orders come by call, and what happens to them.
CALLS = ((8, "plain"), (6, "reply lost"), (6, "clicked twice"))
SEED = 7


class Customers:
    """Customers who call while the ``with`` block runs, one after the other; all have, at its end.

    orders: theirs. heard: what they got, in the end.
    """

    def __init__(self, answer: Callable, ledger: Ledger):
        self._payments = Payments(answer, ledger)
        kinds = [kind for number, kind in CALLS for _ in range(number)]
        random.Random(SEED).shuffle(kinds)
        self._kinds = {f"call-{n}": kind for n, kind in enumerate(kinds, start=1)}
        self.heard: dict[str, Sequence[Heard]] = {}
        self.requests = 0

    @property
    def orders(self) -> list[str]:
        return list(self._kinds)

    def _call(self) -> None:
        for name, kind in self._kinds.items():
            order = {"order": name, "amount_cents": 5000, "card": "tok_visa"}
            key = f"click for {name}"
            if kind == "clicked twice":
                self.heard[name] = self._payments.post_at_once(2, order, key)
            else:
                if kind == "reply lost":
                    self._payments.service.inject(drop_next=1)
                self.heard[name] = [self._payments.post_until_answered(order, key)]
            self.requests += 1 if kind == "plain" else 2
            if self._closed.is_set() or any(h.status != 201 for h in self.heard[name]):
                return  # something is wrong; it will be told

    @contextmanager
    def calling(self):
        """Let them call while the block runs; its end waits for the last of them."""
        self._closed = threading.Event()
        with self._payments as payments, ThreadPoolExecutor(1) as pool:
            called = pool.submit(copy_context().run, self._call)
            try:
                yield payments
            except BaseException:
                self._closed.set()
                raise
        called.result()
