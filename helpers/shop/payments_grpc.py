"""Payments in gRPC: the same charges, and the same rules, as the Payments of payments.py.

Its contract is payments.proto.

    serve(payments_grpc.Payments())                             # in this kernel
    serve("helpers.shop.payments_grpc:Payments(work_seconds=0.4)")  # in a process of its own
"""

import threading
import time
from contextlib import contextmanager

import grpc
from pydantic import ValidationError

from helpers.contracts import contract

from .api import Purchase, refuse_bad_card
from .ledger import Ledger
from .problems import Problem, refuse_invalid

messages, services = contract("helpers/shop/payments.proto")

# What the rules refuse they refuse as HTTP would; this is what gRPC calls it.
CODES = {
    402: grpc.StatusCode.FAILED_PRECONDITION,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    422: grpc.StatusCode.INVALID_ARGUMENT,
}
LAST = ("paid", "refused")  # after these an order's status does not change


class Payments(services.PaymentsServicer):
    """Payments as a servicer; a charge takes ``work_seconds``."""

    def __init__(self, work_seconds=0.02):
        if not isinstance(work_seconds, int | float) or not 0 <= work_seconds <= 60:
            raise ValueError(
                f"work_seconds={work_seconds!r}: give a number from 0 to 60"
            )
        self.work_seconds = work_seconds
        self._ledger = Ledger("ch")
        self._history = {}  # order: the statuses it has had
        self._changed = threading.Condition()

    def Charge(self, request, context):
        """Charge a card; every call is a new charge."""
        with _refusing(context):
            purchase = _purchase(request)
            self._note(request.order, "received")
            try:
                refuse_bad_card(purchase["card"])
            except Problem:
                self._note(request.order, "refused")
                raise
            self._note(request.order, "charging")
            time.sleep(self.work_seconds)
            charge = self._ledger.add(**purchase, status="paid")
            self._note(request.order, "paid")
            return _receipt(charge)

    def GetReceipt(self, request, context):
        """Read one charge."""
        with _refusing(context):
            return _receipt(self._ledger.get(request.id))

    def Refund(self, request, context):
        """Give the money of a charge back, once."""
        with _refusing(context), self._ledger.lock:
            charge = self._ledger.get(request.id)
            if charge["status"] == "refunded":
                raise Problem(409, f"{request.id} is refunded already.")
            return _receipt(self._ledger.put({**charge, "status": "refunded"}))

    def Watch(self, request, context):
        """Send every status of an order, those it has had first, until it is paid or refused."""
        context.add_callback(self._wake)  # when the caller has gone
        sent = 0
        while context.is_active():
            with self._changed:
                news = self._history.get(request.order, [])[sent:]
                if not news:
                    self._changed.wait(timeout=1)
            for status in news:
                yield messages.Status(status=status)
                if status in LAST:
                    return
            sent += len(news)

    def _note(self, order, status):
        with self._changed:
            self._history.setdefault(order, []).append(status)
            self._changed.notify_all()

    def _wake(self):
        with self._changed:
            self._changed.notify_all()


@contextmanager
def _refusing(context):
    """End the call with the fitting status code and the reason when a rule refuses it."""
    try:
        yield
    except Problem as problem:
        context.abort(CODES[problem.code], problem.description)


def _purchase(order):
    """The fields of an Order, checked by the rules that the Payments of payments.py has, too."""
    if any(item.quantity < 1 for item in order.items):
        raise Problem(422, "The quantity of an item must be at least 1.")
    fields = {
        field.name: getattr(order, field.name)
        for field in order.DESCRIPTOR.fields
        if field.name in Purchase.model_fields
    }
    try:
        return Purchase(**fields | {"card": order.card or "tok_visa"}).model_dump()
    except ValidationError as error:
        refuse_invalid(error)


def _receipt(charge):
    return messages.Receipt(
        **{name: charge[name] for name in ("id", "order", "status")}
    )


servicer = Payments()
