"""The learner's worker in a program of its own, killed and started again as often as a check wants."""

import random
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import isfunction, unwrap
from types import FunctionType

from helpers.broker import inherited_settings, start_broker
from helpers.checks import Refused, expect, situation
from helpers.labs.card_bank import REFUSED
from helpers.labs.charge_ledger import Ledger
from helpers.processes import GuardedProcess
from helpers.sources import source_of

GROUP = "payments"  # as the lab has it
STREAM = "order-placed of lab 6"  # the learner's own have other names
LONGEST = 40.0  # seconds for all lives together, on a slow machine
SLOW = 5.0  # seconds, for the few messages of a first life

RUN = "__import__('helpers.labs.worker_lives', fromlist=['main']).main({}, {})"


@dataclass
class Life:
    """What became of one life of the worker.

    end: "killed", "returned", "raised", "stuck", "endless" or "died"; at: before or after what.
    """

    end: str
    at: str = ""
    delivered: list[tuple[str, str]] = field(default_factory=list)  # (message, order)
    steps: int = 0
    charged: list[str] = field(default_factory=list)  # orders, in this life
    before: set[str] = field(default_factory=set)  # orders charged in earlier lives
    pending: list[str] = field(default_factory=list)  # messages, when it was over
    seconds: float = 0.0
    why: str = ""  # it raised, or died
    place: str = ""  # the learner's line

    @property
    def struck(self) -> str:
        """What the kill has cut in two: "before the charge", "before the ack", or nothing."""
        held = [order for message, order in self.delivered if message in self.pending]
        if self.end != "killed" or not held:
            return ""
        done = held[-1] in self.before or held[-1] in self.charged
        return "before the ack" if done else "before the charge"


class Worker:
    """The learner's `work_off` with a stream and a ledger of its own, until the ``with`` block ends.

    Raises Refused where the function cannot be taken to another process.
    """

    def __init__(self, work_off: Callable):
        self._function = unwrap(work_off, stop=isfunction)
        self._name = getattr(self._function, "__name__", type(self._function).__name__)
        self._source = self._take_along()
        self.cards: dict[str, str] = {}  # of the orders that were published
        self.messages: dict[str, str] = {}  # the order of each message

    def _take_along(self) -> str:
        what = f"{self._name}() in a process of its own"
        hint = "it takes along functions, classes, modules and constants, no more"
        if not isinstance(self._function, FunctionType):
            got = f"{self._name} is no function"
            expect(what, got, equals="it can run there", hint=hint)
        try:
            return source_of(self._function)
        except (TypeError, ValueError, OSError) as error:
            expect(what, str(error), equals="it can run there", hint=hint)
            raise

    def __enter__(self) -> "Worker":
        broker = start_broker()
        self._client, self.stream = broker.client, broker.key(STREAM)
        self._client.delete(self.stream)
        self._client.xgroup_create(self.stream, GROUP, id="0", mkstream=True)
        name = self._function.__name__

        def command(folder, fd):
            text = f"{self._source}\n{RUN.format(name, fd)}"
            return [sys.executable, "-u", "-c", text]

        self._process = GuardedProcess(command, env=inherited_settings())
        try:
            self.ledger = Ledger(self._process.folder / "ledger.db")
            where = {"database": str(self.ledger.path), "stream": self.stream}
            self._process.channel.send({**where, "url": broker.url})
        except BaseException:  # an interrupt, for example
            self._process.stop()
            raise
        # A program that answers no more is ended, and with it the wait for its answer.
        self._alarm = threading.Timer(LONGEST, self._process.kill)
        self._alarm.daemon = True
        self._alarm.start()
        return self

    def __exit__(self, *_) -> None:
        self._alarm.cancel()
        if printed := self._process.log[:4000]:
            print(printed.rstrip())
        self._process.stop()
        self._client.delete(self.stream)

    def publish(self, order: str, card: str = "tok_visa", amount: int = 5000) -> None:
        """Put `OrderPlaced` into the stream. An order that was published before is there twice."""
        event = {"event": "OrderPlaced", "order": order, "amount_cents": amount}
        message = self._client.xadd(self.stream, {**event, "card": card})
        self.cards[order], self.messages[message] = card, order

    def live(self, **life: object) -> Life:
        """Let it live once.

        kill_at: the step at which it is killed; kill_before: or the kind of step, the first such.
        bank_down: whether the bank fails to answer the first question.
        """
        before, start = self.ledger.charges(), time.monotonic()
        self._process.channel.send(life)
        facts = self._process.channel.receive()
        if facts is None:
            self._process.wait(1)
            code = self._process.returncode
            why = f"the program around it was ended, with exit code {code}"
            return Life("died", why=why)
        lived = Life(facts["end"], facts.get("at", ""), steps=facts["steps"])
        lived.seconds = time.monotonic() - start
        lived.delivered = [(message, order) for message, order in facts["delivered"]]
        lived.before = {each.order for each in before}
        lived.charged = [each.order for each in self.ledger.charges()[len(before) :]]
        lived.pending = self.pending()
        lived.place = self._line(facts.get("places", []))
        if lived.end == "raised":
            if to_do := re.fullmatch(r"(Task \d+): (.+)", facts["to_do"]):
                raise Refused(f"{to_do[1]} is still to do: {to_do[2]}")
            lived.why = f"{facts['raised']}: {facts['text']}"
        elif lived.end == "died":
            lived.why = f"its process ended with exit code {facts['code']}"
        return lived

    def _line(self, places: list[tuple[int, str]]) -> str:
        """The learner's line that is furthest in: "in work_off(): order = …"."""
        lines = self._source.splitlines()
        for number, name in reversed(places):
            if number <= len(lines):
                return f"in {name}(): {lines[number - 1].strip()}"
        return ""

    def expect_swift(self, life: Life, when: str) -> None:
        """Refuse a worker that would need minutes for the rest."""
        number = len(life.delivered)
        what = f"how long {self._name}() takes for {number} messages {when}"
        hint = "the bank needs 10 ms for a card; is there a sleep in your code?"
        expect(what, life.seconds, at_most=SLOW, unit="s", hint=hint)

    def rehearse(self, orders: int) -> float:
        """Let it work off so many orders undisturbed; how many steps it took for each."""
        for number in range(orders):
            self.publish(f"rehearsal-{number}")
        life = self.live()
        self.expect_end(life, "in a rehearsal")
        self.expect_swift(life, "in a rehearsal")
        self.cards.clear()
        self.messages.clear()
        return life.steps / orders

    def pending(self) -> list[str]:
        """The messages that were delivered and not acknowledged."""
        found = self._client.xpending_range(
            self.stream, GROUP, min="-", max="+", count=1000
        )
        return [entry["message_id"] for entry in found]

    def unread(self) -> int:
        """How many messages nobody has had yet."""
        [group] = self._client.xinfo_groups(self.stream)
        return group["lag"] or 0

    @property
    def good(self) -> list[str]:
        """The orders whose card the bank does not refuse."""
        return [order for order, card in self.cards.items() if card not in REFUSED]

    def expect_end(self, life: Life, when: str) -> None:
        """Refuse unless the worker came to its end by itself."""
        situation(when)
        what = f"how {self._name}() ends {when}"
        came = {
            "returned": "it returns",
            "raised": f"it raises {life.why}",
            "stuck": "it does not come back",
            "endless": f"it goes on for ever: {life.at}",
            "died": life.why,
            "killed": "it was killed",
        }[life.end]
        hints = {
            "raised": life.place,
            "stuck": life.place,
            "endless": "it ends when nothing has come for BLOCK ms; are messages acknowledged?",
            "died": "a worker goes on with the next message, and returns when there is none",
        }
        expect(what, came, equals="it returns", hint=hints.get(life.end, ""))


# -- Which life dies where ----------------------------------------------------------------

SEED = 6
KILLS = 24
FARTHEST = 3.5  # messages that a life works off before it is killed, at most
AT_THE_WORST = 4  # of the kills come just before an ack, the others anywhere


def deaths(steps: float) -> list[dict]:
    """The moments at which the verdict kills the worker, one for each life.

    steps: how many steps the worker takes for a message, so that each worker dies as often.
    """
    draw = random.Random(SEED)
    farthest = max(4, round(FARTHEST * steps))
    lives = [{"kill_at": draw.randint(1, farthest)} for _ in range(KILLS)]
    for place in draw.sample(range(KILLS), AT_THE_WORST):
        lives[place] = {"kill_at": round(2 * steps) + 6, "kill_before": "before XACK"}
    return lives
