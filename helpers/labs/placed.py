"""A stream of OrderPlaced for the checks, and the services that react to it."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable

import redis
import requests

from helpers.broker import start_broker
from helpers.checks import expect
from helpers.services import serve
from helpers.shop import email, inventory, payments
from helpers.streams import backlog


class PlacedStream:
    """A stream of its own on the kernel's broker, from ``with`` until the block ends.

    Orders placed here are "order-1", "order-2" and so on. Refuses when the broker has gone meanwhile.
    """

    def __enter__(self) -> "PlacedStream":
        self._broker = start_broker()
        self.client = self._broker.client
        self.name = self._broker.key(f"order-placed-{uuid.uuid4().hex[:8]}")
        self.orders: list[str] = []
        return self

    def __exit__(self, kind, error, traceback) -> None:
        try:
            # Whoever still waits for news of this stream hears at once that there will be none.
            self.client.delete(self.name)
        except (redis.RedisError, OSError, ValueError):
            hint = "stop_all() is for the end; now run the notebook again from its top"
            got = "stopped by your code"
            expect("the broker, after the check", got, equals="running", hint=hint)

    def place(self, number: int = 1) -> str:
        """Place so many orders, as Orders does it; returns the last."""
        for _ in range(number):
            order = f"order-{len(self.orders) + 1}"
            self.orders.append(order)
            self.client.xadd(self.name, self.event(len(self.orders)))
        return order

    def event(self, number: int) -> dict[str, str]:
        """What Orders publishes for the order of that number."""
        return {"event": "OrderPlaced", "order": f"order-{number}", "item": "lamp"}

    @property
    def length(self) -> int:
        return self.client.xlen(self.name)

    def groups(self) -> dict[str, dict]:
        """What the broker knows of each group, by name; none when there is no stream."""
        try:
            found = self.client.xinfo_groups(self.name)
        except redis.ResponseError:
            return {}
        return {group["name"]: group for group in found}

    def pending(self, group: str) -> int:
        """Orders that the group has taken and not acknowledged; none when there is no group."""
        return self.groups().get(group, {"pending": 0})["pending"]

    def left(self, group: str, unread: bool = False) -> int:
        """Orders that the group has still before it: not read, and unless `unread`, pending."""
        state = backlog(self.name, group)
        return (state.lag or 0) + (0 if unread else state.pending)

    def news(self, group: str, number: int = 100) -> list[str]:
        """Take what is new to the group, and leave it pending; the orders."""
        found = self.client.xreadgroup(group, "a check", {self.name: ">"}, count=number)
        return [event["order"] for _, entries in found or () for _, event in entries]


class Ledgers:
    """What each service has done: (order, moment by time.monotonic()), in the order it was done."""

    def __init__(self):
        self._entries: dict[str, list[tuple[str, float]]] = {}
        self._lock = threading.Lock()

    def note(self, service: str, event: dict) -> None:
        with self._lock:
            entry = event["order"], time.monotonic()
            self._entries.setdefault(service, []).append(entry)

    def orders(self, service: str) -> list[str]:
        return [order for order, _ in self._entries.get(service, ())]

    def moments(self, service: str) -> dict[str, float]:
        """When each order was done; the last time, if more than once."""
        return dict(self._entries.get(service, ()))

    def different(self, service: str) -> int:
        """How many different orders the service has done."""
        return len(set(self.orders(service)))

    def lost(self, service: str, orders: list[str]) -> list[str]:
        """The orders that the service has not done."""
        done = set(self.orders(service))
        return [order for order in orders if order not in done]

    def doubled(self, service: str) -> list[str]:
        """The orders that it has done more than once."""
        times = Counter(self.orders(service))
        return [order for order, number in times.items() if number > 1]


class Shop:
    """The shop's Payments, Inventory and Email in this kernel, until the block ends."""

    #: service: (its app, where it takes an order, what its ledger holds)
    SERVICES = {
        "payments": (payments, "/charges", "charges"),
        "inventory": (inventory, "/reservations", "reservations"),
        "email": (email, "/mails", "mails"),
    }

    def __enter__(self) -> "Shop":
        # Not "payments": it would take the place of the learner's own.
        self._services = {
            name: serve(module.create_app(work_seconds=0.01), name=f"{name} 2")
            for name, (module, _, _) in self.SERVICES.items()
        }
        self._session = requests.Session()
        return self

    def __exit__(self, *_) -> None:
        self._session.close()
        for service in self._services.values():
            service.stop()

    def handler(self, service: str) -> Callable[[dict], None]:
        """What a worker of this service does with an OrderPlaced."""

        def handle(event: dict) -> None:
            order = event["order"]
            body = {
                "payments": {
                    "order": order,
                    "amount_cents": 5000,
                    "currency": "USD",
                    "card": "tok_visa",
                },
                "inventory": {"order": order, "item": event["item"]},
                "email": {"order": order},
            }[service]
            reply = self._session.post(self._address(service), json=body, timeout=2)
            reply.raise_for_status()

        return handle

    def ledger(self, service: str) -> list[str]:
        """The orders in its ledger, one for each entry."""
        reply = self._session.get(self._address(service), timeout=2)
        return [entry["order"] for entry in reply.json()]

    def _address(self, service: str) -> str:
        return self._services[service].url + self.SERVICES[service][1]
