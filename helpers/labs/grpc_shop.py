"""Payments and the Bank in gRPC, for the checks: what they are asked and what they do is noted."""

import functools
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from helpers.checks import Refused, guard, situation
from helpers.contracts import contract
from helpers.services import serve

PAYMENTS_CONTRACT = """
syntax = "proto3";

package shop;

service Payments {
  rpc Charge(Order) returns (Receipt);
}

message Order {
  string order = 1;
  int64 amount_cents = 2;
  string currency = 3;
  string card = 5;
  repeated string items = 6;
}

message Receipt {
  string id = 1;
  string order = 2;
}
"""

# As the lab gives it to the learner.
BANK_CONTRACT = """
syntax = "proto3";

package bank;

service Bank {
  rpc Authorize(Request) returns (Authorization);
}

message Request {
  string order = 1;
  int64 amount_cents = 2;
}

message Authorization {
  string id = 1;
}
"""

messages, services = contract(text=PAYMENTS_CONTRACT)
bank_messages, bank_services = contract(text=BANK_CONTRACT)

STEP = 0.02  # seconds after which the Bank looks again whether anybody waits
ENDED = object()  # what a function has "returned" that has ended the call by itself


@contextmanager
def running(servicer, name: str):
    """The servicer as a service, and a channel to it, until the block ends."""
    service = serve(servicer, name=name, threads=32)
    # Connections of its own: others may have been refused at the same port, and would wait.
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(service.address, options) as channel:
        try:
            yield service, channel
        finally:
            service.stop()


def ending(
    stub, order, seconds: float | None, patience: float = 3.0
) -> tuple[str, str, object]:
    """How a call of Charge ends: the status code's name, the details and the receipt.

    seconds: the deadline; without one we give up after `patience`: "no answer".
    """
    call = stub.Charge.future(order, timeout=seconds)
    try:
        receipt = call.result(timeout=patience)
    except grpc.RpcError as error:
        return error.code().name, error.details() or "", None
    except grpc.FutureTimeoutError:
        call.cancel()
        return "no answer", "", None
    return "OK", "", receipt


def in_calls(function: Callable, more_time: float = 0) -> Callable:
    """The learner's function for a servicer: ``run(context, *args)``, in any thread.

    It returns what the function returns, or ENDED when that has ended the call by an abort.
    What else it raises becomes Refused, as does a call that does not come back.

    more_time: seconds on top of the check's limit, for what calls other code of the learner's.
    """
    learners = guard(function).__wrapped__

    @functools.wraps(learners, updated=())
    def run(context, *args):
        try:
            return learners(*args)
        except Exception:  # all that abort() raises
            if context.code() is None:
                raise
            return ENDED

    guarded = guard(run)
    limit = guarded.check.limit + more_time
    return lambda *args: guarded.within(limit, args, {})


# -- Payments ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A call of Charge as Payments has seen it."""

    order: str
    left: float  # seconds until the caller gives up, when the call came
    at: float  # on the clock of time.monotonic


class Payments(services.PaymentsServicer):
    """A Payments whose answers the check gives: ``answer(order, context)`` returns the receipt."""

    def __init__(self, answer: Callable):
        self._answer = answer
        self.when = ""  # the situation in which the next calls come
        self.calls: list[Call] = []
        self._refused: list[Refused] = []
        self._under_way = 0
        self._changed = threading.Condition()

    def Charge(self, order, context):
        left = context.time_remaining()
        situation(self.when)
        with self._changed:
            self.calls.append(Call(order.order, left, time.monotonic()))
            self._under_way += 1
        try:
            receipt = self._answer(order, context)
        except Refused as refused:
            self._refused.append(refused)
            raise
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()
        if receipt is ENDED:
            raise RuntimeError("the call has ended")
        # A receipt of the learner's own contract is not one of ours, to gRPC.
        return messages.Receipt.FromString(receipt.SerializeToString())

    def wait(self, seconds: float) -> None:
        """Wait until no call is under way, also of a caller who has gone, but not longer."""
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, seconds)

    def refuse(self, *, unless: tuple[type[Exception], ...] = ()) -> None:
        """Raise the first refusal for what the learner's code did in a call, if there is one.

        unless: errors that may be left to gRPC, which makes them the status UNKNOWN.
        """
        for refused in self._refused:
            if not isinstance(refused.__cause__, unless):
                raise refused


@contextmanager
def payments(answer: Callable):
    """A Payments with these answers as (servicer, service, stub), until the block ends."""
    servicer = Payments(answer)
    # Not "payments": it would take the place of the learner's own. A live view shows
    # a name with a number as the service of that name.
    with running(servicer, "payments 2") as (service, channel):
        yield servicer, service, services.PaymentsStub(channel)


# -- The Bank ---------------------------------------------------------------------------


@dataclass
class Asked:
    """A question to the Bank, and what it did with it. Moments are of time.monotonic."""

    order: str
    amount_cents: int
    left: float  # seconds until the caller gives up, as the Bank saw it
    at: float
    ended: float | None = None
    authorized: bool = False


class Bank(bank_services.BankServicer):
    """A Bank that looks at every step of its work whether anybody still waits for it.

    needs: the seconds of work for an order, or the reason why it is refused.
    """

    def __init__(self, needs: Callable[[str], float | str]):
        self._needs = needs
        self.asked: list[Asked] = []
        self._changed = threading.Condition()

    def Authorize(self, request, context):
        left, now = context.time_remaining(), time.monotonic()
        asked = Asked(request.order, request.amount_cents, left, now)
        with self._changed:
            self.asked.append(asked)
        try:
            self._work(asked, context)
            asked.authorized = True
            return bank_messages.Authorization(id=f"auth-{request.order}")
        finally:
            with self._changed:
                asked.ended = time.monotonic()
                self._changed.notify_all()

    def _work(self, asked: Asked, context) -> None:
        needs = self._needs(asked.order)
        if isinstance(needs, str):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, needs)
        while True:
            if not context.is_active():
                context.abort(grpc.StatusCode.CANCELLED, "nobody waits any more")
            left = asked.at + needs - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(STEP, left))

    def authorized(self, order: str) -> int:
        """How many times money was set aside for an order."""
        return sum(asked.order == order and asked.authorized for asked in self.asked)

    def wait(self, seconds: float) -> None:
        """Wait until the Bank has no work left, but not longer than this."""
        with self._changed:
            self._changed.wait_for(
                lambda: all(asked.ended for asked in self.asked), seconds
            )


class BankStub:
    """A stub that takes the messages of the learner's own compilation, too."""

    def __init__(self, channel):
        self.Authorize = channel.unary_unary(
            "/bank.Bank/Authorize",
            request_serializer=_packed_request,
            response_deserializer=bank_messages.Authorization.FromString,
        )


def _packed_request(message) -> bytes:
    if message.DESCRIPTOR.full_name != "bank.Request":
        raise TypeError("Authorize takes a Request")
    return message.SerializeToString()


@contextmanager
def bank(needs: Callable[[str], float | str]):
    """A Bank as (servicer, service, stub), until the block ends."""
    servicer = Bank(needs)
    with running(servicer, "bank 2") as (service, channel):
        yield servicer, service, BankStub(channel)
