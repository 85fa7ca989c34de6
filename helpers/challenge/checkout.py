"""The checkout: four steps, each synchronous or asynchronous, as a design says."""

from functools import partial

import requests

from helpers.challenge.wiring import Refused

ESSENTIAL = ("reserve", "charge")  # without these two there is no order
AFTERWARDS = ("recommend", "confirm")  # a mail cannot be taken back, so it comes last
STEPS = ESSENTIAL + AFTERWARDS
TIMEOUT = 1.0  # seconds of patience with a service


class Checkout:
    """Alex's checkout. `waits` holds the steps that are synchronous; the others are not."""

    def __init__(self, shop, waits):
        self.shop = shop
        self.waits = [step for step in STEPS if step in waits]
        self.later = [step for step in STEPS if step not in waits]
        self.handlers = {step: partial(self.work, step) for step in self.later}

    # The four steps

    def reserve(self, order):
        wanted = {"order": order["order"], "item": order["item"]}
        self.call("inventory", "/reservations", wanted)

    def charge(self, order):
        purchase = {
            "order": order["order"],
            "amount_cents": int(order["amount_cents"]),  # in a stream, all is text
            "currency": "USD",
            "card": order["card"],
        }
        key = {"Idempotency-Key": order["order"]}
        self.call("payments", "/charges", purchase, headers=key)

    def recommend(self, order):
        bought = {"order": order["order"], "item": order["item"]}
        self.call("recommendations", "/purchases", bought)

    def confirm(self, order, kind="confirmation"):
        self.call("email", "/mails", {"order": order["order"], "kind": kind})

    def call(self, service, path, body, **more):
        url = self.shop.url[service] + path
        reply = self.shop.http.post(url, json=body, timeout=TIMEOUT, **more)
        if reply.status_code in (402, 409):  # no failure: it says no
            raise Refused(reply.json()["detail"])
        reply.raise_for_status()

    # At the button

    def place(self, order):
        """Do what is synchronous, publish what is not, and tell the customer."""
        try:
            for step in self.waits:
                getattr(self, step)(order)
        except (Refused, requests.RequestException) as problem:
            self.undo(order)
            raise Refused(f"{step}: {why(problem)}") from problem
        self.publish(order, self.later)
        to_come = set(self.later) & set(ESSENTIAL)
        return "received" if to_come else "confirmed"

    def publish(self, order, steps):
        """The essential steps come one after the other, the rest then all at once."""
        essential = [step for step in steps if step in ESSENTIAL]
        for step in essential[:1] or steps:
            self.shop.client.xadd(self.shop.stream(step), order)

    # In a worker, for each message; what it raises leaves the message pending, for another try

    def work(self, step, order):
        try:
            getattr(self, step)(order)
        except Refused:  # the customer has gone home: only a mail can tell
            self.undo(order)
            self.confirm(order, kind="cancellation")
        else:
            if step in ESSENTIAL:
                self.publish(order, self.later[self.later.index(step) + 1 :])

    # Both

    def undo(self, order):
        """Give back what the order has taken."""
        for service, entries, done, undo in (
            ("payments", "/charges", "paid", "refund"),
            ("inventory", "/reservations", "reserved", "release"),
        ):
            ledger = self.shop.url[service] + entries
            mine = {"order": order["order"]}
            for entry in self.shop.http.get(
                ledger, params=mine, timeout=TIMEOUT
            ).json():
                if entry["status"] == done:
                    self.shop.http.post(
                        f"{ledger}/{entry['id']}/{undo}", timeout=TIMEOUT
                    )


def why(problem):
    return problem if isinstance(problem, Refused) else type(problem).__name__


def wire(**design):
    """The checkout for a design, such as wire(charge="sync", …), to be given its shop."""
    return partial(Checkout, waits=[step for step in design if design[step] == "sync"])
