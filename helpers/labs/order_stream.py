"""A stream for the checks: its own name, a client that is lent out, and what the broker says of it."""

import itertools
import threading
from collections.abc import Iterable

from helpers.broker import connect, start_broker
from helpers.checks import expect

GROUP = "payments"  # as the lab has it
_numbers = itertools.count(1)


def order(number: int, **changes: object) -> dict:
    """An order as Orders has it: not all of it is text."""
    plain = {
        "order": f"order-{number}",
        "amount_cents": 5000,
        "currency": "USD",
        "card": "tok_visa",
        "gift": False,
    }
    return plain | changes


class OrderStream:
    """A stream of `OrderPlaced`, from ``with`` until the block ends; then it is deleted.

    key: its name at the broker. client: for the learner's code, and of no use after the block:
        code that has not come back by then cannot make the stream anew.
    group: whether to make the consumer group, and with it the stream.
    """

    def __init__(self, group: bool = True):
        self._group = group

    def __enter__(self) -> "OrderStream":
        broker = start_broker()
        self._own = broker.client
        self.key = broker.key(f"order-placed of a check {next(_numbers)}")
        self.client = connect(broker.url)
        self._lent = _Lent(self.client)
        if self._group:
            self.make_group()
        return self

    def __exit__(self, *_) -> None:
        self._lent.take_back()
        if _answers(self._own):
            self._own.delete(self.key)

    def make_group(self, name: str = GROUP) -> None:
        """Make a group that reads from the very first message on, unless there is one."""
        import redis

        try:
            self._own.xgroup_create(self.key, name, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    # -- Doing ---------------------------------------------------------------------------

    def add(self, orders: Iterable[dict]) -> list[str]:
        """Publish orders as they should be; return the ids."""
        texts = (
            {name: str(value) for name, value in order.items()} for order in orders
        )
        return [
            self._own.xadd(self.key, {"event": "OrderPlaced", **each}) for each in texts
        ]

    def take(self, consumer: str, count: int) -> list[str]:
        """Read news as a consumer that then does no more; return the ids."""
        news = self._own.xreadgroup(GROUP, consumer, {self.key: ">"}, count=count)
        return [id for _, messages in news for id, _ in messages]

    def acknowledge(self, *ids: str) -> None:
        self._own.xack(self.key, GROUP, *ids)

    def withdraw(self, id: str) -> None:
        """Take a message out of the stream."""
        self._own.xdel(self.key, id)

    # -- Asking --------------------------------------------------------------------------

    def still_there(self, after: str) -> None:
        """Refuse if the broker is gone, as after stop_all(). `after` names the learner's call."""
        runs = "running" if _answers(self._own) else "gone"
        hint = (
            "stop_all() and shutdown() end what the whole notebook works with: leave them out, "
            "and run the notebook again from the top"
        )
        expect(f"the broker, after {after}", runs, equals="running", hint=hint)

    def messages(self) -> list[tuple[str, dict]]:
        """(id, fields) of all that is in the stream."""
        return self._own.xrange(self.key)

    def length(self) -> int:
        return self._own.xlen(self.key)

    def levels(self, group: str = GROUP) -> tuple[int, int]:
        """(lag, pending) of a group, in messages."""
        groups = {info["name"]: info for info in self._own.xinfo_groups(self.key)}
        return groups[group]["lag"] or 0, groups[group]["pending"]

    def pending(self) -> dict[str, str]:
        """The consumer that has each message which is not acknowledged, by the message's id."""
        entries = self._own.xpending_range(self.key, GROUP, min="-", max="+", count=999)
        return {entry["message_id"]: entry["consumer"] for entry in entries}

    def asked_ago(self) -> float | None:
        """Seconds since any consumer of the group asked for messages; None if none ever has."""
        consumers = self._own.xinfo_consumers(self.key, GROUP)
        return min((each["idle"] / 1000 for each in consumers), default=None)


class _Lent:
    """A client whose commands can be ended, also those that another thread is at."""

    def __init__(self, client):
        self._client, self._execute = client, client.execute_command
        self._over, self._under_way = False, 0
        self._changed = threading.Condition()
        client.execute_command = self._one_command

    def _one_command(self, *args: object, **options: object) -> object:
        with self._changed:
            if self._over:
                raise ConnectionError("the check is over, and its client taken back")
            self._under_way += 1
        try:
            return self._execute(*args, **options)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def take_back(self) -> None:
        """Let no command begin any more, and wait for the end of those that have."""
        with self._changed:
            self._over = True
        pool = self._client.connection_pool
        for _ in range(20):  # one that has just begun connects anew
            pool.disconnect()  # wakes who waits for news
            with self._changed:
                if self._changed.wait_for(lambda: not self._under_way, timeout=0.1):
                    break
        pool.disconnect()


def _answers(client) -> bool:
    import redis

    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
