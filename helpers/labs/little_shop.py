"""The shop's four services in this kernel, for one check, and a worker that can be watched."""

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

from redis import RedisError

from helpers.broker import start_broker
from helpers.challenge.stage import LEDGERS
from helpers.challenge.wiring import Refused as SaysNo
from helpers.challenge.wiring import Shop
from helpers.checks import Refused, call, expect, expect_count
from helpers.services import Service, serve
from helpers.shop import email, inventory, payments, recommendations

WORK = 0.01  # seconds, in each service
LONGEST = 5.0  # seconds that a request is held at most
MOST_MESSAGES = 30  # that a worker handles in one go; an order needs a few
APPS = {
    "inventory": inventory,
    "payments": payments,
    "recommendations": recommendations,
    "email": email,
}


class Message(NamedTuple):
    """An entry of a stream: `name` as the checkout calls the stream."""

    name: str
    stream: str
    id: str
    fields: dict


class LittleShop:
    """Four services and their streams, from `with` until the block ends; `shop` is for the checkout."""

    def __enter__(self) -> "LittleShop":
        self._closing = ExitStack()
        self._client = start_broker().client
        self.prefix = start_broker().key(f"lab08-{secrets.token_hex(4)}:")
        self._apps = {name: APPS[name].create_app(WORK) for name in APPS}
        self._doors = {name: _Door(app) for name, app in self._apps.items()}
        self.services: dict[str, Service] = {}
        self._down: set[str] = set()  # by our own doing
        for name, door in self._doors.items():
            # Not "payments": it would take the place of the learner's own.
            self.services[name] = serve(door, name=f"{name} 2", threads=8)
            self._closing.callback(self.services[name].stop)
        urls = {name: service.url for name, service in self.services.items()}
        self.shop = Shop(urls, self.prefix)
        self.shop.client = _Client(self._client)
        self._closing.callback(self._remove_streams)
        self._closing.callback(self.shop.http.close)
        return self

    def __exit__(self, *_) -> None:
        for door in self._doors.values():
            door.open()
        self.shop.client.close()  # for code of the learner's that goes on publishing
        self._closing.close()

    def _remove_streams(self) -> None:
        with suppress(RedisError):  # the learner's code may have stopped the broker
            for stream in self._streams():
                self._client.delete(stream)

    def expect_open(self, who: str) -> None:
        """Refuse code that has stopped a service or the broker."""
        running = {name for name, each in self.services.items() if each.running}
        stopped = [name for name in APPS if name not in running | self._down]
        try:
            self._client.ping()
        except RedisError:
            stopped.append("the broker")
        hint = f"{', '.join(stopped)}: what others use is not yours to stop"
        expect_count(
            f"services that {who} has stopped", len(stopped), exactly=0, hint=hint
        )

    # What can happen to a service

    @contextmanager
    def held(self, name: str):
        """The service takes requests, and does nothing about them until the block ends."""
        self._doors[name].shut()
        try:
            yield
        finally:
            self._doors[name].open()

    @contextmanager
    def down(self, *names: str):
        """The services are stopped; connections to them are refused."""
        for name in names:
            self.services[name].stop()
        self._down = set(names)
        try:
            yield
        finally:
            self._down = set()
            for name in names:
                self.services[name].start()

    def set_stock(self, item: str, available: int) -> None:
        at_the_shelf = self._apps["inventory"].test_client()
        at_the_shelf.put(f"/stock/{item}", json={"available": available})

    # What is in the ledgers

    def entries(self, name: str, order: str | None = None) -> list[dict]:
        """What a service has done, for one order or for all, whatever befalls its door."""
        asked = {"order": order} if order else {}
        ledger = self._apps[name].test_client()
        return ledger.get(LEDGERS[name], query_string=asked).json

    def paid(self, order: str) -> int:
        """Charges of an order that were not refunded."""
        return [each["status"] for each in self.entries("payments", order)].count(
            "paid"
        )

    def reserved(self, order: str) -> int:
        """Reservations of an order that were not released."""
        found = [each["status"] for each in self.entries("inventory", order)]
        return found.count("reserved")

    def mails(self, order: str, kind: str) -> int:
        return [each["kind"] for each in self.entries("email", order)].count(kind)

    # Messages

    def messages(self) -> list[Message]:
        """What waits in the streams."""
        return [
            Message(stream.removeprefix(self.prefix), stream, id, fields)
            for stream in self._streams()
            for id, fields in self._client.xrange(stream, count=2 * MOST_MESSAGES)
        ]

    def messages_of(self, order: str) -> list[Message]:
        return [each for each in self.messages() if each.fields.get("order") == order]

    def _streams(self) -> list[str]:
        # Sorted, so that a worker takes them in the same order every time.
        return sorted(self._client.scan_iter(match=self.prefix + "*", _type="stream"))

    def work_off(
        self, handlers: Mapping[str, Callable], *, times: int = 1, patient: bool = False
    ) -> None:
        """Let a worker handle all messages, those of streams without a handler excepted.

        times: how often each is delivered; twice is as after a crash that came before the
            acknowledgement.
        patient: what a handler raises leaves its message where it is, for the next time. Otherwise
            it refuses the learner's code.
        """
        left: set[str] = set()
        for _ in range(MOST_MESSAGES):
            message = next(self._waiting(handlers, left), None)
            if message is None:
                return
            try:
                for _ in range(times):
                    call(handlers[message.name], dict(message.fields))
            except Refused as refusal:
                _expect_no_no(message, refusal.__cause__)
                if not patient or not isinstance(refusal.__cause__, Exception):
                    raise
                left.add(message.id)
            else:
                self.expect_open(f"the handler of {message.name!r}")
                self._client.xdel(message.stream, message.id)
        expect_count(
            "messages that come of one order",
            MOST_MESSAGES,
            at_most=MOST_MESSAGES - 1,
            hint="a handler publishes a message that leads to itself again",
        )

    def _waiting(self, handlers: Mapping, left: set[str]) -> Iterator[Message]:
        for message in self.messages():
            if message.name in handlers and message.id not in left:
                yield message


def _expect_no_no(message: Message, error: BaseException | None) -> None:
    if isinstance(error, SaysNo):
        expect(
            f"what the handler of {message.name!r} raises",
            f"Refused: {error}",
            equals="nothing, or a failure that another try may mend",
            hint="nobody is at the button any more: undo(shop, order), and a mail of the kind "
            "cancellation",
        )


class _Door:
    """A service that can be made to wait before it works on anything."""

    def __init__(self, app):
        self.app, self.name = app, app.name
        self._open = threading.Event()
        self.open()

    def open(self) -> None:
        self._open.set()

    def shut(self) -> None:
        self._open.clear()

    def __call__(self, environ, start_response):
        self._open.wait(LONGEST)
        return self.app(environ, start_response)


class _Client:
    """A client of the broker that can be closed for good, though others have it, too."""

    def __init__(self, client):
        self._client = client

    def close(self) -> None:
        self._client = None

    def __getattr__(self, name: str):
        if self._client is None:
            raise ConnectionError("the check is over")
        return getattr(self._client, name)
