"""A shop whose Bank hangs for a while: customers come on a schedule, and Orders asks through a guard."""

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO

import requests
from flask import Flask, request

from helpers.load import Run, open_loop, session
from helpers.services import serve
from helpers.shop import bank as the_bank
from helpers.shop import inventory as the_inventory

RATE = 30  # customers a second; of three, two order and one looks into the stock
HANGS, MENDED, END = 0.6, 2.4, 3.6  # seconds
TIMEOUT = 0.25  # seconds that Payments waits for the Bank
DECLINED = range(3, 12)  # numbers of customers whose cards the Bank declines
REFUSED = 503  # what Orders tells a customer whom the guard has refused

FIRST_HUNG, FIRST_AFTER = round(HANGS * RATE), round(MENDED * RATE)
CUSTOMERS = range(round(END * RATE))


def orders_among(numbers: range) -> list[int]:
    """The customers who order; the others look into the stock."""
    return [number for number in numbers if number % 3 != 2]


HUNG = {f"order-{n}" for n in orders_among(range(FIRST_HUNG, FIRST_AFTER))}


class Shop:
    """Orders, Payments, the Bank and Inventory in this kernel, until the ``with`` block ends.

    ask: called with a backend's name and a function that sends the request. It returns the reply,
        or None when it refuses the call; what it raises becomes a 500.
    """

    def __init__(self, ask: Callable):
        self.ask = ask
        self.reached = (
            0  # requests at the Bank, while it hung, of orders that came then
        )
        self.bank_answers = threading.Event()
        self.bank_answers.set()
        self._counting = threading.Lock()
        self._bank = the_bank.create_app(work_seconds=0.005)
        self._http = session()
        self._open = ExitStack()

    def __enter__(self) -> "Shop":
        # Names with a number: the learner's own services stay, and live views know these, too.
        self.bank = self._serve(self._bank_that_hangs, "bank 2", 32)
        self.payments = self._serve(self._payments(), "payments 2", 16)
        stock = the_inventory.create_app(work_seconds=0)
        self.inventory = self._serve(stock, "inventory 2", 8)
        self.orders = self._serve(self._orders(), "orders 2", 8)
        return self

    def __exit__(self, *_) -> None:
        self.bank_answers.set()
        self._open.close()
        self._http.close()

    def _serve(self, app, name: str, threads: int):
        service = serve(app, name=name, threads=threads)
        self._open.callback(service.stop)
        return service

    def _bank_that_hangs(self, environ, start_response):
        if not self.bank_answers.is_set():
            body = environ["wsgi.input"].read()
            environ["wsgi.input"] = BytesIO(body)
            with self._counting:
                self.reached += json.loads(body)["order"] in HUNG
            # Longer than anybody waits for it, and not so long that it runs out of threads.
            self.bank_answers.wait(3 * TIMEOUT)
        return self._bank(environ, start_response)

    def _payments(self) -> Flask:
        app = Flask("payments")

        @app.post("/charges")
        def charge():
            try:
                url, order = f"{self.bank.url}/authorizations", request.get_json()
                answer = self._http.post(url, json=order, timeout=TIMEOUT)
            except requests.RequestException:
                return {"detail": "The Bank gave no answer."}, 504
            return answer.json(), answer.status_code

        return app

    def _orders(self) -> Flask:
        app = Flask("orders")

        def through_the_guard(backend: str, send: Callable):
            try:
                reply = self.ask(backend, send)
                if reply is None:
                    return {"detail": "Please try again soon."}, REFUSED
                return reply.json(), reply.status_code
            except Exception as error:  # told by ask(), not by a log
                return {"detail": type(error).__name__}, 500

        @app.post("/orders")
        def place_order():
            url, order = f"{self.payments.url}/charges", request.get_json()
            return through_the_guard(
                "payments", lambda: self._http.post(url, json=order, timeout=2)
            )

        @app.get("/stock")
        def look():
            url = f"{self.inventory.url}/stock"
            return through_the_guard(
                "inventory", lambda: self._http.get(url, timeout=2)
            )

        return app

    def open(self, closing: Callable[[], bool]) -> Run:
        """Let the customers come, until `closing()`; each one's result is the reply's status."""

        def customer(number: int) -> int:
            if number == FIRST_HUNG:
                self.bank_answers.clear()
            if number == FIRST_AFTER:
                self.bank_answers.set()
            if number % 3 == 2:
                return self._http.get(f"{self.orders.url}/stock", timeout=4).status_code
            order = {
                "order": f"order-{number}",
                "amount_cents": 5000,
                "currency": "USD",
                "card": "tok_declined" if number in DECLINED else "tok_visa",
            }
            url = f"{self.orders.url}/orders"
            return self._http.post(url, json=order, timeout=4).status_code

        return open_loop(
            customer, RATE, END, timeout=4, ok=lambda s: s < 500, stopping=closing
        )


# -- The picture ------------------------------------------------------------------------


def show(run: Run, reached: int, states: list[tuple[float, str]]) -> None:
    """What each customer waited, and the states of the breaker in front of Payments above it."""
    import numpy as np

    from helpers import figures
    from helpers.load_figure import load_chart

    hung = orders_among(range(FIRST_HUNG, FIRST_AFTER))
    looks = np.arange(len(run)) % 3 == 2
    figure = load_chart(
        f"{reached} of {len(hung)} orders go to the Bank that hangs",
        run,
        {"order": ~looks, "look into the stock": looks},
        shaded=(HANGS, MENDED, "the Bank hangs"),
        states=states,
    )
    figure.axes[-1].set_ylim(bottom=-0.012)  # who is refused at once is not cut off
    figures.show(
        figure,
        alt="How long each customer waited for an answer, over the time of arrival, with a cross "
        "where an order failed. The time in which the Bank hangs is shaded. A strip above shows "
        "when the breaker in front of Payments was closed, open and half-open.",
    )
