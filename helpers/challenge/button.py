"""The button: Orders as the customers see it, with the checkout that is judged inside."""

import threading
import traceback
from contextlib import contextmanager

from flask import Flask, request

from helpers.broker import start_broker
from helpers.challenge.wiring import TOLD, Refused, Shop, wired


def create_app(checkout, url, prefix):
    """Orders as a Flask app; `checkout` is an import string."""
    app = Flask("orders")
    start_broker()  # in a process of its own, this is the kernel's
    place = wired(checkout, Shop(url, prefix)).place
    counting, working = threading.Lock(), 0

    @contextmanager
    def at_work():
        nonlocal working
        with counting:
            working += 1
        try:
            yield
        finally:
            with counting:
                working -= 1

    @app.post("/orders")
    def create_order():
        """200 or 202 with what the customer is told; 409 refused, 500 the checkout failed."""
        with at_work():
            try:
                told = place(request.get_json())
            except Refused as why:
                return {"told": "refused", "because": str(why)}, 409
            except Exception as error:
                traceback.print_exc()  # for the service's log
                because = f"place() raised {type(error).__name__}: {error}"
                return {"told": "failed", "because": because}, 500
            if told not in TOLD:
                because = f"place() returned {told!r}, not 'confirmed' or 'received'"
                return {"told": "failed", "because": because}, 500
            return {"told": told}, 200 if told == "confirmed" else 202

    @app.get("/working")
    def read_working():
        """Orders in work. The answer comes when all that were waiting before it have begun."""
        return {"orders": working}

    return app
