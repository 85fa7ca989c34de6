"""The real services around a checkout, the customers, and what can happen to them.

Payments, Inventory, Email and Recommendations run in this kernel, since the judge reads their
ledgers; the button and the workers run in processes of their own, with the checkout inside.
"""

import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, cycle, islice

from helpers import registry
from helpers.broker import Broker, inherited_settings, start_broker
from helpers.load import at_once, open_loop, session
from helpers.processes import GuardedProcess
from helpers.services import serve

# Seconds of work. They are short, so that seven scenarios take seconds and not hours.
WORK = {
    "inventory": 0.01,
    "payments": 0.03,
    "recommendations": 0.04,
    "email": 0.06,
}
LEDGERS = {
    "inventory": "/reservations",
    "payments": "/charges",
    "recommendations": "/purchases",
    "email": "/mails",
}
BUTTON_THREADS = 2
PATIENCE = 1.0  # seconds that a customer waits for an answer
STUCK = 0.5  # seconds without progress after which nothing more will happen by itself
LONGEST = 6.0  # seconds to wait for the rest of the work in any case
HELD = 0.6  # seconds until every worker that can be caught mid-message is
NO_THREAD = 4.0  # seconds after which a button that does not answer at all is stuck
FLOOD = 1000  # messages; no checkout has a use for so many at once


class Stopped(Exception):
    """The run was stopped before its end."""


class CheckoutFailed(Exception):
    """The checkout cannot be judged; the message says what is wrong with it."""


@dataclass
class Customer:
    """Somebody who placed an order, and what became of it."""

    order: str
    item: str
    card: str
    told: str = ""  # "confirmed", "received", "refused", or "" for no answer in time
    because: str = ""
    seconds: float = 0.0  # at the button

    @property
    def body(self) -> dict:
        return {
            "order": self.order,
            "item": self.item,
            "amount_cents": 5000,
            "card": self.card,
        }


class Trap:
    """A service as the workers see it. It can hold a reply back once the work is done.

    Whoever waits for that reply has had an effect and does not know it: killed in this moment,
    it is killed mid-message.
    """

    def __init__(self, app):
        self.app, self.name = app, f"{app.name}, for the workers of a checkout"
        self._lock, self._open = threading.Lock(), threading.Event()
        self._until = None
        self.caught = 0

    def arm(self, number: int) -> None:
        """Hold the reply to the POST of this number, counted from now."""
        with self._lock:
            self._open.clear()
            self._until, self.caught = number, 0

    def release(self) -> None:
        with self._lock:
            self._until = None
            self._open.set()

    def __call__(self, environ, start_response):
        reply = self.app(environ, start_response)  # the work is done here
        with self._lock:
            holds = False
            if self._until and environ["REQUEST_METHOD"] == "POST":
                self._until -= 1
                holds = self._until == 0
                self.caught += holds
        if holds:
            self._open.wait(LONGEST)
        return reply


class Stage:
    """All that runs for one checkout; use it in a `with`, and nothing is left behind."""

    def __init__(self, checkout: str, stopping: Callable[[], bool] = lambda: False):
        self.checkout, self.stopping = checkout, stopping
        self._id, self._numbers = secrets.token_hex(4), count(1)
        self._closing = ExitStack()

    def __enter__(self) -> "Stage":
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._closing.close()

    def _start(self) -> None:
        had_broker = registry.find(Broker, Broker.name) is not None
        self._broker = start_broker()
        if not had_broker:
            self._closing.callback(self._broker.stop)
        self.prefix = self._broker.key(f"challenge-{self._id}:")
        self._closing.callback(self._remove_streams)

        self._direct, self._trapped, self._traps = {}, {}, {}
        for name, app in _apps().items():
            self._traps[name] = trap = Trap(app)
            self._direct[name] = self._serve(app, name=f"{name} of a checkout")
            self._trapped[name] = self._serve(trap, name=trap.name)
            self._closing.callback(trap.release)

        # Both processes at once: each spends half a second on its imports.
        self._worker, failed = None, []

        def start_worker() -> None:
            try:
                self._start_worker()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=start_worker)
        thread.start()
        self._closing.callback(self._stop_worker)
        try:
            urls = {name: service.url for name, service in self._direct.items()}
            self._button = self._serve(
                f"helpers.challenge.button:create_app(checkout={self.checkout!r}, "
                f"url={urls!r}, prefix={self.prefix!r})",
                name="orders of a checkout",
                threads=BUTTON_THREADS,
            )
        except RuntimeError as error:
            self._stop_worker()
            raise CheckoutFailed(f"The checkout does not start: {error}") from None
        finally:
            thread.join()
        if failed:
            raise failed[0]
        self._http = session()
        self._closing.callback(self._http.close)

    def _serve(self, app, name: str, threads: int = 8):
        service = serve(app, name=name, threads=threads)
        self._closing.callback(service.stop)
        return service

    # Customers

    def arrive(self, phases, item: str = "lamp", cards=("tok_visa",)) -> list[Customer]:
        """Let customers come on a schedule, [(customers a second, seconds), …], with these cards."""
        number = sum(round(rate * seconds) for rate, seconds in phases)
        customers = [
            self._customer(item, card) for card in islice(cycle(cards), number)
        ]
        run = open_loop(
            lambda i: self._click(customers[i]),
            phases,
            timeout=2 * PATIENCE,
            stopping=self.stopping,
        )
        if self.stopping():
            raise Stopped
        return self._heard(customers, run.latency, run.errors)

    def at_once(self, number: int, item: str) -> list[Customer]:
        """Let that many customers click at one moment."""
        customers = [self._customer(item) for _ in range(number)]
        outcomes = at_once(number, lambda i: self._click(customers[i]))
        return self._heard(
            customers,
            [outcome.seconds for outcome in outcomes],
            [outcome.error for outcome in outcomes],
        )

    def _customer(self, item: str, card: str = "tok_visa") -> Customer:
        return Customer(f"{self._id}-{next(self._numbers)}", item, card)

    def _click(self, customer: Customer) -> None:
        import requests

        try:
            reply = self._http.post(
                self._button.url + "/orders", json=customer.body, timeout=PATIENCE
            )
        except requests.Timeout:
            return
        answer = reply.json()
        customer.told, customer.because = answer["told"], answer.get("because", "")

    def _heard(self, customers: list[Customer], seconds, errors) -> list[Customer]:
        if any(map(_is_broken, errors)):
            raise self._ended()
        for customer, waited, error in zip(customers, seconds, errors, strict=True):
            customer.seconds = float(waited)
            if error is not None or customer.told == "failed":
                because = error or customer.because
                raise CheckoutFailed(
                    f"The checkout failed at the button: {because}\n{self._button.log}".rstrip()
                )
        return customers

    # What can happen

    def set_stock(self, item: str, available: int) -> None:
        url = f"{self._direct['inventory'].url}/stock/{item}"
        self._http.put(
            url, json={"available": available}, timeout=PATIENCE
        ).raise_for_status()

    @contextmanager
    def slow(self, name: str, seconds: float) -> Iterator[None]:
        """Every answer of the service takes so much longer."""
        both = self._direct[name], self._trapped[name]
        for service in both:
            service.inject(latency=seconds)
        try:
            yield
        finally:
            for service in both:
                service.heal()

    @contextmanager
    def down(self, name: str) -> Iterator[None]:
        """The service is stopped; connections to it are refused."""
        both = self._direct[name], self._trapped[name]
        for service in both:
            service.stop()
        try:
            yield
        finally:
            for service in both:
                service.start()

    @contextmanager
    def worker_killed(self) -> Iterator[None]:
        """Kill the workers' process, with SIGKILL, mid-message, and start another one.

        In the block the customers come. At its end each service holds back its reply to one worker;
        then the process is killed: after the effects, before the messages are acknowledged.
        """
        for trap in self._traps.values():
            trap.arm(2)
        try:
            yield
            deadline = time.monotonic() + HELD
            while time.monotonic() < deadline and self.backlog() > self.caught:
                time.sleep(0.01)
            if self._streams:  # or there is nobody to kill
                self._worker.kill()
        finally:
            for trap in self._traps.values():
                trap.release()
        if self._streams:
            self._stop_worker()
            self._start_worker()

    @property
    def log(self) -> str:
        """What the workers' process has written so far, tracebacks of the handlers included."""
        return self._worker.log if self._worker else ""

    def forget(self) -> None:
        """Begin a new scenario: nobody has been caught in it."""
        for trap in self._traps.values():
            trap.caught = 0

    @property
    def caught(self) -> int:
        """How many messages a worker was at when it was killed: work done, not acknowledged."""
        return sum(trap.caught for trap in self._traps.values())

    # The workers' process

    def _start_worker(self) -> None:
        self._worker = GuardedProcess(
            lambda folder, fd: [
                sys.executable,
                "-u",
                "-m",
                "helpers.challenge.worker",
                str(fd),
            ],
            env=inherited_settings(),
        )
        urls = {name: service.url for name, service in self._trapped.items()}
        self._worker.channel.send(
            {"checkout": self.checkout, "url": urls, "prefix": self.prefix}
        )
        answer = self._worker.channel.receive()
        if not answer or "ready" not in answer:
            why = (answer or {}).get("failed") or self._worker.log
            raise CheckoutFailed(f"The workers of the checkout do not start: {why}")
        self._streams = answer["ready"]  # those that have workers

    def _stop_worker(self) -> None:
        if self._worker:
            self._worker.stop()
            self._worker = None

    # What is left to do, and what was done

    def backlog(self) -> int:
        """Messages that are not acknowledged yet, in all the checkout's streams."""
        client, number = self._broker.client, 0
        for stream in client.scan_iter(match=self.prefix + "*", _type="stream"):
            groups = client.xinfo_groups(stream)
            if not groups:
                number += client.xlen(stream)
            for group in groups:
                lag = group["lag"]
                number += group["pending"] + (
                    client.xlen(stream) if lag is None else lag
                )
        return number

    def settle(self) -> int:
        """Wait until all is done, or nothing moves any more; return the backlog that is left.

        Raises CheckoutFailed when that cannot come: the workers' process has ended, the messages
        become more and more, or the button is stuck.
        """
        begin = moved = time.monotonic()
        before = None
        while True:
            if self.stopping():
                raise Stopped
            now = time.monotonic()
            state = self._working(), self.backlog()
            if state == (0, 0):
                return 0
            if state[1] > FLOOD:
                raise CheckoutFailed(
                    f"Over {FLOOD:,} messages have piled up: the checkout publishes without end."
                )
            if not self._worker.running:
                raise CheckoutFailed(
                    f"The workers' process has ended by itself.\n{self.log}".rstrip()
                )
            if state != before:
                before, moved = state, now
            if (state[0] == 0 and now - moved > STUCK) or now - begin > LONGEST:
                return state[1]
            time.sleep(0.04)

    def _working(self) -> int:
        """Orders that the button is still at, abandoned ones too."""
        import requests

        url = self._button.url + "/working"
        try:
            return self._http.get(url, timeout=NO_THREAD).json()["orders"]
        except requests.Timeout:
            raise CheckoutFailed(
                f"place() did not come back within {NO_THREAD:g} s: no thread of the button is free."
            ) from None
        except requests.ConnectionError:
            raise self._ended() from None

    def _ended(self) -> CheckoutFailed:
        text = f"The button's process has ended by itself.\n{self._button.log}"
        return CheckoutFailed(text.rstrip())

    def entries(self, name: str) -> list[dict]:
        """What a service has in its ledger."""
        return self._http.get(
            self._direct[name].url + LEDGERS[name], timeout=LONGEST
        ).json()

    def _remove_streams(self) -> None:
        client = self._broker.client
        for key in client.scan_iter(match=self.prefix + "*"):
            client.delete(key)


def _is_broken(error: BaseException | None) -> bool:
    import requests

    return isinstance(error, requests.ConnectionError)


def _apps() -> dict:
    from helpers.shop import email, inventory, payments, recommendations

    modules = {
        "inventory": inventory,
        "payments": payments,
        "recommendations": recommendations,
        "email": email,
    }
    return {name: modules[name].create_app(WORK[name]) for name in WORK}
