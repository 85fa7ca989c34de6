"""Call the learner's code with a connection to the ledger that is opened and closed around it.

All of it happens in the thread of the call. Were the connection touched from another one while
code that hangs, or floods, is at work with it, each might wait for the other for ever.
"""

from collections.abc import Callable
from contextlib import closing, nullcontext
from inspect import isfunction, unwrap

from helpers.checks import call, guard
from helpers.labs.charge_ledger import Ledger, Moments


def learners(function: Callable) -> Callable:
    """The learner's function itself, without the guard of a check."""
    return unwrap(function, stop=isfunction)


def with_connection(
    function: Callable,
    ledger: Ledger,
    moments: Moments | None = None,
    then: Callable[[], object] = lambda: None,
) -> Callable:
    """The function of (db, key, order) as one of (key, order).

    moments: notes what a crash would leave. then: called when it has ended, however, and before
    the connection is closed.
    """
    itself = learners(function)

    def connected(*args: object) -> object:
        with closing(ledger.open()) as db:
            try:
                with moments.noted(db) if moments else nullcontext():
                    return itself(db, *args)
            finally:
                then()

    connected.__name__ = getattr(function, "__name__", type(function).__name__)
    return connected


def use(
    function: Callable,
    ledger: Ledger,
    key: str,
    order: dict,
    moments: Moments | None = None,
    limit: float | None = None,
) -> object:
    """What the learner's function returns for a key and an order, within the time limit."""
    return call(with_connection(function, ledger, moments), key, order, limit=limit)


def guarded(function: Callable, ledger: Ledger) -> Callable:
    """The function of (db, key, order) as one of (key, order), for a service to call."""
    return guard(with_connection(function, ledger))
