"""What a cell shows: at once, or held until it is certain that it is to be shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_held: ContextVar[list[Callable[[], None]] | None] = ContextVar("held", default=None)


def show(display: Callable[[], None]) -> None:
    """Call `display`, which displays one output; inside `held`, put it on the list instead."""
    held = _held.get()
    if held is None:
        display()
    else:
        held.append(display)


@contextmanager
def held() -> Iterator[list[Callable[[], None]]]:
    """Inside, nothing is shown: what would be gathers in the list, in order, to be called or dropped."""
    token = _held.set(outputs := [])
    try:
        yield outputs
    finally:
        _held.reset(token)
