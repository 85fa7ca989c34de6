"""What this kernel has running, so that one call can stop it all."""

from contextlib import suppress
from typing import Protocol


class Running(Protocol):
    """Something with a name that can be stopped."""

    name: str

    def stop(self) -> None: ...


_running: list[Running] = []


def register(thing: Running) -> None:
    if thing not in _running:
        _running.append(thing)


def forget(thing: Running) -> None:
    with suppress(ValueError):
        _running.remove(thing)


def find(kind: type, name: str) -> Running | None:
    """The running thing of this class and name, or None."""
    return next(
        (thing for thing in _running if isinstance(thing, kind) and thing.name == name),
        None,
    )


def running() -> list[Running]:
    """All that is running, the oldest first."""
    return _running[:]


def is_empty() -> bool:
    """Is nothing running?"""
    return not _running


def stop_all() -> None:
    """Stop every service, worker and broker of this kernel, the newest first."""
    names = sorted(
        {thing.name for thing in _running}
    )  # a service and its workers share one
    for thing in reversed(running()):
        thing.stop()
    print("Stopped: " + ", ".join(names) + "." if names else "Nothing was running.")
