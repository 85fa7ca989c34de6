"""The shop behind the checkout of lab 7: five services, two streams, and what can befall them."""

import itertools
import json
import threading
import time
from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple

import requests

from helpers.broker import start_broker
from helpers.labs.payments import Payments
from helpers.services import Service, serve
from helpers.shop import email, fraud, inventory, payments, recommendations

# As in the lab, in seconds.
WORK = {
    "inventory": 0.03,
    "fraud": 0.03,
    "payments": 0.05,
    "email": 0.25,
    "recommendations": 0.25,
}
PRICE = 5000  # cents
HANG = 1.0  # seconds that a request to a hanging service takes at most
THREADS = 16

_numbers = itertools.count(2)  # a live view shows "email 2" as Email


class Shop(NamedTuple):
    """The lab has one like it, which cannot be imported."""

    inventory: str
    payments: str
    email: str
    recommendations: str
    confirmed: str
    in_doubt: str
    client: object


class Door:
    """A WSGI app in front of another one: it notes who comes, and can be slow, or shut.

    posts: the path and the body of each POST; met: whether somebody has met a slow door.
    """

    def __init__(self, app):
        self.app = app
        self.posts: list[tuple[str, dict]] = []
        self.met = threading.Event()
        self._delay = 0.0
        self._open = threading.Event()
        self._open.set()
        self._under_way = 0
        self._changed = threading.Condition()

    def __call__(self, environ, start_response):
        with self._changed:
            self._under_way += 1
        try:
            if environ["REQUEST_METHOD"] == "POST":
                self._note(environ)
            self._open.wait(HANG)
            if self._delay:
                self.met.set()
                time.sleep(self._delay)
            return self.app(environ, start_response)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def _note(self, environ) -> None:
        data = environ["wsgi.input"].read()
        environ["wsgi.input"] = BytesIO(data)  # for the app
        try:
            self.posts.append((environ["PATH_INFO"], json.loads(data)))
        except ValueError:
            self.posts.append((environ["PATH_INFO"], {}))

    def slow_down(self, seconds: float) -> None:
        """Let each request wait for so many seconds, until release()."""
        self._delay = seconds
        self.met.clear()

    def shut(self) -> None:
        """Let requests wait, until release() or for HANG seconds."""
        self._open.clear()

    def release(self) -> None:
        """Let in at once whoever comes, and wait until no request is under way."""
        self._delay = 0.0
        self._open.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, timeout=2)


class Stage:
    """The shop for one check, from ``with`` until the block ends.

    fates: the fates of the tries of some orders at Payments, by the order's id, as in
        helpers.labs.payments. Without them Payments is the shop's, asks the Fraud check and
        works as long as in the lab.
    branch_of: a stage that goes on meanwhile, with whose services this one shares all but the
        doors: what befalls a service here does not befall it there.
    """

    def __init__(
        self,
        fates: dict[str, tuple[str, ...]] | None = None,
        work: dict[str, float] = WORK,
        branch_of: "Stage | None" = None,
    ):
        self._fates, self._work, self._branch_of = fates, work, branch_of
        self.doors: dict[str, Door] = {}
        self.services: dict[str, Service] = {}
        self._apps: dict = {}
        self.payments: Payments | None = None

    def __enter__(self) -> "Stage":
        self.number = next(_numbers)
        broker = start_broker()
        self.client = broker.client
        self._streams = [
            broker.key(f"lab07 {self.number} {name}")
            for name in ("confirmed", "in doubt")
        ]
        try:
            return self._open()
        except BaseException:
            self.__exit__()
            raise

    def _open(self) -> "Stage":
        if self._branch_of:
            for name in ("inventory", "payments", "email", "recommendations"):
                self._serve(name, self._branch_of._apps[name])
        else:
            self._open_services()
        urls = [self.services[name].url for name in Shop._fields if name in WORK]
        self.shop = Shop(*urls, *self._streams, self.client)
        return self

    def _open_services(self) -> None:
        work = self._work
        self._serve("inventory", inventory.create_app(work["inventory"]))
        self._serve("email", email.create_app(work["email"]))
        self._serve(
            "recommendations", recommendations.create_app(work["recommendations"])
        )
        if self._fates is None:
            self._serve("fraud", fraud.create_app(work["fraud"]))
            url = self.services["fraud"].url
            self._serve("payments", payments.create_app(work["payments"], url, 5.0))
        else:
            self.payments = Payments(lambda order: self._fates.get(order, ()))
            self.payments.__enter__()
            self.services["payments"] = self.payments.service

    def _serve(self, name: str, app) -> None:
        self._apps[name], self.doors[name] = app, Door(app)
        self.services[name] = serve(
            self.doors[name], name=f"{name} {self.number}", threads=THREADS
        )

    def __exit__(self, *_) -> None:
        if self.payments:
            self.payments.__exit__()
        self.release()
        for service in self.services.values():
            service.stop()
        # The learner's code may have stopped the broker; then there is nothing to delete.
        start_broker().client.delete(*self._streams)

    def release(self) -> None:
        """Open every door, and wait until no request is under way."""
        for door in self.doors.values():
            door.release()

    def mend(self, quick: bool = False) -> None:
        """All is well again; and, if so wished, quick, so that nobody waits long for the rest."""
        for name, service in self.services.items():
            service.start()
            service.heal()
            if name in self._apps:
                seconds = 0.005 if quick else self._work[name]
                self._apps[name].config["WORK_SECONDS"] = seconds
        self.release()

    def sell_out(self) -> None:
        for stock in self.entries("inventory", "/stock"):
            shelf = self._apps["inventory"].test_client()
            shelf.put(f"/stock/{stock['item']}", json={"available": 0})

    def entries(self, service: str, path: str, **query: str) -> list[dict]:
        """What is in the ledger of a service, also after it was stopped."""
        ledger = self._apps[service].test_client()
        return ledger.get(path, query_string=query).json

    def charges(self, order: str) -> int:
        if self.payments:
            return len(self.payments.charges(order))
        return len(self.entries("payments", "/charges", order=order))

    def mails(self, order: str) -> int:
        """How many confirmations were sent."""
        mails = self.entries("email", "/mails", order=order)
        return sum(mail["kind"] == "confirmation" for mail in mails)

    def purchases(self, order: str) -> int:
        return len(self.entries("recommendations", "/purchases", order=order))

    def events(self, stream: str) -> list[dict]:
        return [fields for _, fields in self.client.xrange(stream)]


# -- As the lab gives them to the learner -------------------------------------------------


def post(url: str, body: dict, key: str, timeout: float) -> requests.Response:
    headers = {"Idempotency-Key": key}
    return requests.post(url, json=body, headers=headers, timeout=timeout)


def charge(shop: Shop, order: dict) -> tuple[str, dict]:
    name, card = order["order"], order["card"]
    body = {"order": name, "amount_cents": PRICE, "currency": "USD", "card": card}
    return shop.payments + "/charges", body


def jobs(stage: Stage) -> dict[str, tuple[str, Callable]]:
    """The work behind the cut: for each group, its stream and what is done with an order."""
    shop = stage.shop

    def send_mail(order, key):
        body = {"order": order["order"]}
        post(shop.email + "/mails", body, key, timeout=0.5).raise_for_status()

    def note_purchase(order, key):
        url, body = shop.recommendations + "/purchases", {"order": order["order"]}
        noted = requests.get(url, params=body, timeout=0.5)
        noted.raise_for_status()
        if not noted.json():
            body["item"] = order["item"]
            post(url, body, key, timeout=0.5).raise_for_status()

    def settle(order, key):
        reply = post(*charge(shop, order), key, timeout=2)
        if reply.status_code == 201:
            stage.client.xadd(shop.confirmed, order)
        elif reply.status_code == 402:
            body = {"order": order["order"], "kind": "cancellation"}
            post(shop.email + "/mails", body, key, timeout=0.5).raise_for_status()
        else:
            reply.raise_for_status()

    return {
        "email": (shop.confirmed, send_mail),
        "recommendations": (shop.confirmed, note_purchase),
        "payments": (shop.in_doubt, settle),
    }


def unfinished(stage: Stage) -> int:
    """Messages that some group of the stage has yet to finish."""
    left = 0
    # What is in doubt may yet become confirmed, so it is looked at first.
    for stream in (stage.shop.in_doubt, stage.shop.confirmed):
        for group in stage.client.xinfo_groups(stream):
            left += (group["lag"] or 0) + group["pending"]
    return left


def wait_for_the_rest(stage: Stage, seconds: float) -> None:
    """Wait until the work behind the cut is done, for at most so many seconds."""
    ends = time.monotonic() + seconds
    while unfinished(stage) and time.monotonic() < ends:
        time.sleep(0.01)
