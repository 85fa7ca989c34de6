"""Workers on a stream, and how far behind they are."""

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from helpers import registry, tracing
from helpers.broker import running_broker, start_broker

BLOCK_MS = (
    100  # how long a worker waits for news before it looks whether it should stop
)


@dataclass(frozen=True)
class Backlog:
    """What a consumer group still has before it, in messages.

    lag: not yet delivered to anybody (None when the server cannot tell); pending: delivered, not yet
    acknowledged; length: entries in the stream, handled ones included.
    """

    lag: int | None
    pending: int
    length: int


def backlog(stream: str, group: str) -> Backlog:
    """How far behind a consumer group is. Raises ValueError when stream or group does not exist."""
    client = start_broker().client
    info = _group(client, stream, group)
    return Backlog(info.get("lag"), info["pending"], client.xlen(stream))


def run_workers(
    handle: Callable[[dict], object],
    stream: str,
    group: str,
    *,
    workers: int = 1,
    batch: int = 10,
    name: str | None = None,
) -> "Workers":
    """Let threads read a stream as one consumer group: read, handle, acknowledge, read on.

    handle: called with a message's fields; when it raises, the message stays pending, and the next
        workers of this name begin with it.
    batch: messages a worker takes at a time.
    name: the service they are; by default the group's name. Workers of that name are replaced.
    """
    if not callable(handle):
        raise TypeError(
            f"handle must be a function that takes a message; this is a {type(handle).__name__}"
        )
    for label, value in (("workers", workers), ("batch", batch)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{label}={value!r}: give a whole number of at least 1")
    _group(start_broker().client, stream, group)
    name = name or group
    old = registry.find(Workers, name)
    if old is not None:
        old.stop()
    return Workers(handle, stream, group, workers, batch, name)


class Workers:
    """Running workers. ``handled`` and ``failed`` count messages; ``log`` tells why some failed."""

    def __init__(self, handle, stream, group, workers, batch, name):
        self._handle, self._stream, self._group = handle, stream, group
        self._batch, self.name = batch, name
        self.handled = self.failed = 0
        self.log = ""
        self._count, self._stopping = threading.Lock(), threading.Event()
        self._threads = [
            threading.Thread(
                target=self._work, args=(f"{name}-{number + 1}",), daemon=True
            )
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()
        registry.register(self)

    def __repr__(self) -> str:
        alive = sum(thread.is_alive() for thread in self._threads)
        if not alive:
            return f"{self.name}: stopped"
        return f"{self.name}: {alive} {'worker' if alive == 1 else 'workers'}"

    def _work(self, consumer: str) -> None:
        # First what an earlier worker of this name has taken and not finished, then what is new.
        after = "0"
        with tracing.as_service(self.name):
            while not self._stopping.is_set():
                try:
                    after = self._read_and_handle(consumer, after)
                except Exception:  # the broker is gone: go on when there is one again
                    self._note()
                    self._stopping.wait(0.1)

    def _read_and_handle(self, consumer: str, after: str) -> str:
        """Take a batch; return after which entry to read on, ">" being those new to the group."""
        client = running_broker().client
        news = client.xreadgroup(
            self._group,
            consumer,
            {self._stream: after},
            count=self._batch,
            block=BLOCK_MS,
        )
        messages = news[0][1] if news else []
        for message_id, fields in messages:
            if self._stopping.is_set():
                break  # the rest stays pending, for the next worker of this name
            try:
                self._handle(fields)
            except Exception:
                self._note()
                with self._count:
                    self.failed += 1
            else:
                client.xack(self._stream, self._group, message_id)
                with self._count:
                    self.handled += 1
        return messages[-1][0] if messages and after != ">" else ">"

    def _note(self) -> None:
        """Keep why it failed, for whoever reads ``log``."""
        with self._count:
            self.log = (self.log + traceback.format_exc())[-20_000:]

    def stop(self) -> None:
        """Let each worker finish the message it is at, then end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(10)
        registry.forget(self)


def _group(client, stream: str, group: str) -> dict:
    import redis

    try:
        groups = {info["name"]: info for info in client.xinfo_groups(stream)}
    except redis.ResponseError:
        groups = {}
    if group not in groups:
        raise ValueError(
            f"stream {stream!r} has no group {group!r}. "
            f"Make it first: client.xgroup_create({stream!r}, {group!r}, id='0', mkstream=True)"
        )
    return groups[group]
