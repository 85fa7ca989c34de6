"""From spans to what the live view shows, one span at a time, while they come in.

    facts = Facts(system("orders -> payments"), opened=time.time())
    facts.add(span)         # when it starts, and again when it ends
    facts.changed()         # what is new since the last time

A fact is something that lasts: a service is busy, a call blocks it, a request is on its way.
It changes when more is known: a request that has left has no end until somebody serves it.
All that is shown comes from a span, or from what the broker says about a stream.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from helpers.names import service_name
from helpers.spans import CUT_OFF, THREAD, Span
from helpers.system import QUEUE_WORDS, System

# Every fact takes time on its way; the picture needs a little, and the clocks are no better.
INSTANT = 1e-5
_DOWN = {"refused", "UNAVAILABLE"}
_READS = ("XREAD", "XAUTOCLAIM", "XCLAIM")


@dataclass(eq=False)
class Fact:
    """Something that lasts from start to end, in seconds since the block began.

    kind:
        "busy"      source works, or waits
        "blocked"   source waits for target; ``of`` is the busy fact it is a part of
        "sends"     source hands something to the broker; ``of`` as above
        "request"   on its way from source to target, until it is served
        "reply"     on its way back, from source to target
        "message"   on its way from source into the queue target
        "delivery"  on its way from the queue source to target
        "held"      delivered to target from the queue source, and not yet acknowledged; ``of`` is
                    the held fact that followed, if it was delivered again
        "down"      nobody answers at source
        "breaker"   the breaker in source, in front of target, is in the state ``note``
    end: None while it is not over.
    note: how it failed ("timed out", "503"); of a delivery, the consumer group.
    """

    id: int
    kind: str
    source: str
    target: str | None
    start: float
    end: float | None = None
    note: str = ""
    of: int | None = None
    withdrawn: bool = False  # it did not happen after all


@dataclass(frozen=True)
class Level:
    """What a group's backlog was before anything that the facts tell, in messages.

    backlog: not yet acknowledged; pending: of those, delivered to somebody.
    """

    queue: str
    group: str
    backlog: int
    pending: int


@dataclass
class _Call:
    """A call for an answer: its span, and who answers."""

    span: Span
    request: Fact
    blocked: Fact
    own: Fact | None  # the caller does nothing else
    server: Span | None = None


@dataclass
class _Worker:
    """A thread that handles messages, one after the other."""

    busy: Fact | None = None
    batch: set[tuple] = field(default_factory=set)  # (stream, group, id)
    free: float = 0.0  # since when


class Facts:
    """What happened in a system since ``opened``, in seconds since the epoch.

    address: gives the name of the service at "127.0.0.1:PORT", if it knows.
    streams: which queue of the picture a stream is, as far as known before.
    """

    def __init__(
        self,
        system: System,
        opened: float,
        address: Callable[[str], str | None] = lambda address: None,
        streams: dict[str, str] | None = None,
    ):
        self.system, self.opened = system, opened
        self.streams = dict(streams or {})
        self.levels: dict[tuple[str, str], Level] = {}
        self._address = address
        self._addresses: dict[str, str] = {}
        self._nodes = {node.name for node in system.nodes}
        self._callers = defaultdict(set)  # who is called: by whom, in the picture
        for arrow in system.arrows:
            if arrow.kind == "sync":
                self._callers[arrow.target].add(arrow.source)
        self._number = itertools.count(1)
        self._facts: dict[tuple, Fact] = {}
        self._changed: dict[int, Fact] = {}
        self._spans: dict[str, Span] = {}
        self._calls: dict[str, _Call] = {}
        self._at_work: dict[str, Fact] = {}  # span id: a request that is being served
        self._early: dict[str, Span] = {}  # served, though the call is not yet known of
        self._deliveries: dict[tuple, list[Fact]] = defaultdict(list)
        self._workers: dict[tuple, _Worker] = defaultdict(_Worker)
        self._down: dict[str, Fact] = {}
        self._breakers: dict[tuple[str, str], Fact] = {}

    def __len__(self) -> int:
        return len(self._facts)

    def all(self) -> list[Fact]:
        """Every fact, in order of start."""
        facts = (fact for fact in self._facts.values() if not fact.withdrawn)
        return sorted(facts, key=lambda fact: (fact.start, fact.id))

    def changed(self) -> list[Fact]:
        """The facts that are new or different since the last time."""
        changed, self._changed = self._changed, {}
        return list(changed.values())

    def add(self, span: Span) -> None:
        """Take a span that starts or ends."""
        known = self._spans.get(span.span_id)
        if known is not None and known.end is not None:
            return
        self._spans[span.span_id] = span
        caller = self._spans.get(span.parent_id)
        if span.kind == "server" or (
            span.kind == "internal" and caller and caller.service != span.service
        ):
            self._served(span)
        elif span.redis or span.messages:
            self._command(span)
        elif span.kind == "client":
            self._called(span)

    # --- calls ----------------------------------------------------------------------

    def _called(self, span: Span) -> None:
        call = self._calls.get(span.span_id)
        if call is None:
            call = self._calls[span.span_id] = self._new_call(span)
        call.span = span
        if span.end is not None:
            self._call_is_over(call)

    def _new_call(self, span: Span) -> _Call:
        start, target = self._since(span.start), self._target(span)
        host, own = self._busy_with(span), None
        if host is None:
            host = own = self._fact("busy", span.span_id, span.service, None, start)
        blocked = self._fact(
            "blocked", span.span_id, span.service, target, start, of=host.id
        )
        request = self._fact("request", span.span_id, span.service, target, start)
        call = _Call(span, request, blocked, own)
        if served := self._early.pop(span.span_id, None):
            self._join(call, served)
        return call

    def _call_is_over(self, call: _Call) -> None:
        span, end = call.span, self._since(call.span.end)
        for fact in filter(None, (call.blocked, call.own)):
            self._change(fact, end=end, note=span.error or "")
        if call.server is None:
            self._change(call.request, end=end, note=span.error or "")
            if span.error in _DOWN and call.request.target:
                self.down(call.request.target, span.end)
            return
        if span.error in CUT_OFF and call.server.end is None:
            self._change(self._facts["busy", call.server.span_id], end=end)
        self._replied(call)

    def _served(self, span: Span) -> None:
        key, start = ("busy", span.span_id), self._since(span.start)
        fact = self._facts.get(key)
        if fact is None:
            fact = self._fact("busy", span.span_id, span.service, None, start)
            self._at_work[span.span_id] = fact
            self.up(span.service, span.start)
        if span.end is not None:
            self._change(fact, end=self._since(span.end), note=span.error or "")
            self._at_work.pop(span.span_id, None)
        address = span.attributes.get("http.host")
        if address:
            self._addresses[address] = self._node(span.service) or ""
        call = self._calls.get(span.parent_id)
        if call is not None:
            self._join(call, span)
        elif span.parent_id:
            self._early[span.parent_id] = span
            self._guess_call(span)

    def _join(self, call: _Call, served: Span) -> None:
        call.server = served
        arrived = max(self._since(served.start), call.request.start + INSTANT)
        target = self._node(served.service)
        self._change(call.request, target=target, end=arrived, note="")
        self._change(call.blocked, target=target)
        if guess := self._facts.get(("guess", served.parent_id)):
            self._withdraw(guess)
        self._replied(call)

    def _replied(self, call: _Call) -> None:
        served, span = call.server, call.span
        key = "reply", span.span_id
        if span.end is not None and not span.answered:
            if key in self._facts:  # it was given, but nobody was there to take it
                self._withdraw(self._facts[key])
        elif served.end is not None:
            # The caller may have it before the server is done with closing its span.
            start, end = self._since(served.end), None
            if span.end is not None:
                end = self._since(span.end)
                start = min(start, end - INSTANT)
            reply = self._facts.get(key) or self._fact(
                "reply", span.span_id, served.service, span.service, start
            )
            error = _error_answer(span) or _error_answer(served)
            self._change(reply, start=start, end=end, note=error)

    def _guess_call(self, served: Span) -> None:
        """Show that a caller is blocked, though its own span comes only when the call is over.

        Spans of calls come at their end from services in processes of their own. The caller is
        known if, of those that may call the service, only one is at work on the same trace.
        """
        key, target = ("guess", served.parent_id), self._node(served.service)
        if served.end is not None:
            if key in self._facts:
                self._change(self._facts[key], end=self._since(served.end))
            return
        callers = [
            fact
            for id, fact in self._at_work.items()
            if self._spans[id].trace_id == served.trace_id
            and fact.source in self._callers[target]
        ]
        if len(callers) == 1:
            (caller,) = callers
            start = self._since(served.start)
            self._fact(*key, caller.source, target, start, of=caller.id)

    def _target(self, span: Span) -> str | None:
        """Whom a call is for, before anybody serves it."""
        address = urlsplit(str(span.attributes.get("http.url", ""))).netloc
        known = self._addresses.get(address) or (address and self._address(address))
        if known:
            return self._node(known)
        source = self._node(span.service)
        targets = [who for who, callers in self._callers.items() if source in callers]
        return targets[0] if len(targets) == 1 else None

    def _busy_with(self, span: Span) -> Fact | None:
        """What its service was doing when it made a call."""
        ancestor = self._spans.get(span.parent_id)
        while ancestor is not None and ancestor.service == span.service:
            fact = self._facts.get(("busy", ancestor.span_id))
            if fact is not None:
                return fact
            ancestor = self._spans.get(ancestor.parent_id)
        worker = self._workers.get(_thread(span))
        if worker and worker.busy and worker.busy.end is None:
            return worker.busy
        return None

    # --- commands to the broker -----------------------------------------------------

    def _command(self, span: Span) -> None:
        if span.name.startswith(_READS):
            self._worker_reads(span)
        self._handed_over(span)
        received = defaultdict(list)
        for message in span.messages:
            if message.operation == "send":
                self._sent(span, message)
            elif message.operation == "receive" and message.group:
                received[message.stream, message.group].append(message.id)
            elif message.operation == "settle":
                self._settled(span, (message.stream, message.group, message.id))
        for (stream, group), ids in received.items():
            self._received(span, [(stream, group, id) for id in ids])

    def _handed_over(self, span: Span) -> None:
        """Who sends is busy until the broker has the message; who looks for some is idle."""
        if span.name.startswith((*_READS, "XACK")):
            return
        end = self._since(span.end) if span.end is not None else None
        if ("sends", span.span_id) not in self._facts:
            host = self._busy_with(span)
            if host is None and not span.name.startswith(("XADD", "PUBLISH")):
                return
            start = self._since(span.start)
            if host is None:
                host = self._fact("busy", span.span_id, span.service, None, start)
            self._fact("sends", span.span_id, span.service, None, start, of=host.id)
        if end is not None:
            for kind in ("sends", "busy"):
                if fact := self._facts.get((kind, span.span_id)):
                    self._change(fact, end=end, note=span.error or "")

    def _sent(self, span: Span, message) -> None:
        queue = self._queue_to(span.service, message.stream)
        start, end = self._since(span.start), self._since(span.end)
        key = message.stream, message.id or span.span_id
        end = max(end, start + INSTANT)
        sent = self._fact("message", key, span.service, queue, start, end)
        for delivery in self._deliveries[
            key
        ]:  # its reader may be told before its sender
            self._in_order(sent, delivery)

    def _in_order(self, sent: Fact | None, delivery: Fact) -> None:
        """A message is in the queue before it is delivered, if not for long."""
        if sent is not None and delivery.start < sent.end:
            between = (sent.start + min(sent.end, delivery.end)) / 2
            self._change(sent, end=between)
            self._change(delivery, start=between)

    def _received(self, span: Span, messages: list[tuple]) -> None:
        end = self._since(span.end)
        worker = self._worker(span)
        start = min(self._since(span.start), end - INSTANT)
        for key in messages:
            queue = self._queue_from(span.service, key[0])
            self._delivered(key, queue, span.service, start, end)
        worker.batch |= set(messages)
        if worker.busy is None:
            self._worker_starts(worker, span, end)

    def _settled(self, span: Span, key: tuple) -> None:
        worker, acknowledged = self._worker(span), self._since(span.start)
        held = self._facts.get(("held", key))
        if held is None:
            held = self._taken_unseen(worker, span, key)
        if held.end is not None:
            return
        self._change(held, end=max(acknowledged, held.start))
        worker.batch.discard(key)
        if worker.busy is not None:
            self._change(worker.busy, end=max(acknowledged, worker.busy.start))
            worker.busy = None
        worker.free = acknowledged
        if worker.batch:
            self._worker_starts(worker, span, acknowledged)

    def _taken_unseen(self, worker: _Worker, span: Span, key: tuple) -> Fact:
        """A message whose delivery was not traced, as the worker asked for it before the block."""
        stream, group, id = key
        message = self._facts.get(("message", (stream, id)))
        latest = self._since(span.start)
        time = min(max(message.end if message else 0, worker.free), latest)
        start = time - INSTANT
        queue = self._queue_from(span.service, stream)
        if worker.busy is None:
            self._worker_starts(worker, span, time)
        return self._delivered(key, queue, span.service, start, time)

    def _delivered(self, key: tuple, queue, service: str, start, end) -> Fact:
        stream, group, id = key
        start = max(start, 0.0)
        # A message that was not acknowledged may be delivered again.
        before = self._facts.get(("held", key))
        if before:
            self._facts["held", (key, before.id)] = before
        delivery = self._fact("delivery", (key, end), queue, service, start, end, group)
        self._deliveries[stream, id].append(delivery)
        self._in_order(self._facts.get(("message", (stream, id))), delivery)
        held = self._fact("held", key, queue, service, end, note=group)
        if before:
            self._change(before, end=before.end or end, of=held.id)
        return held

    def _worker_reads(self, span: Span) -> None:
        """Who asks for more has left what it had."""
        worker = self._workers.get(_thread(span))
        if worker and worker.busy and span.start - self.opened > worker.busy.start:
            self._change(
                worker.busy, end=self._since(span.start), note="not acknowledged"
            )
            worker.busy, worker.batch = None, set()

    def _worker_starts(self, worker: _Worker, span: Span, time: float) -> None:
        key = "message", span.span_id, time
        worker.busy = self._fact("busy", key, span.service, None, time)

    def _worker(self, span: Span) -> _Worker:
        return self._workers[_thread(span)]

    # --- queues ---------------------------------------------------------------------

    def _queue_to(self, sender: str, stream: str) -> str | None:
        node = self._node(sender)
        return self._queue(
            stream,
            (arrow.target for arrow in self.system.arrows if arrow.source == node),
        )

    def _queue_from(self, reader: str, stream: str) -> str | None:
        node = self._node(reader)
        return self._queue(
            stream,
            (arrow.source for arrow in self.system.arrows if arrow.target == node),
        )

    def _queue(self, stream: str, nodes: Iterable[str]) -> str | None:
        """The queue of the picture that a stream is: the only one there, or named alike."""
        if stream not in self.streams:
            queues = [node for node in nodes if node in self.system.queues]
            if len(queues) > 1:
                queues = [queue for queue in queues if _alike(queue, stream)]
            if len(queues) != 1:
                return None
            self.streams[stream] = queues[0]
        return self.streams[stream]

    def level(self, stream: str, group: str, lag: int, pending: int) -> None:
        """Take what the broker says now of a consumer group: the facts tell what came before."""
        queue = self.streams.get(stream)
        if queue is None:
            return
        sent = held = settled = 0
        for fact in self._facts.values():
            if fact.kind == "message" and fact.target == queue:
                sent += 1
            elif fact.of is not None:
                continue  # delivered again: the fact that followed counts
            elif (fact.kind, fact.source, fact.note) == ("held", queue, group):
                held, settled = held + 1, settled + (fact.end is not None)
        self.levels[queue, group] = Level(
            queue,
            group,
            backlog=max(lag + pending - sent + settled, 0),
            pending=max(pending - (held - settled), 0),
        )

    # --- services that are down, and breakers ----------------------------------------

    def down(self, service: str, time: float) -> None:
        """From this moment nobody answers there."""
        node, start = self._node(service), self._since(time)
        if node and node not in self._down:
            self._down[node] = self._fact("down", (node, start), node, None, start)

    def up(self, service: str, time: float) -> None:
        """From this moment there is somebody again."""
        node, end = self._node(service), self._since(time)
        if node in self._down and end > self._down[node].start:
            self._change(self._down.pop(node), end=end)

    def breaker(self, service: str, target: str, state: str, time: float) -> None:
        """From this moment the breaker in a service, in front of another, is in this state."""
        ends, start = (self._node(service), self._node(target)), self._since(time)
        before = self._breakers.get(ends)
        if not all(ends) or (before and before.note == state):
            return
        if before:
            self._change(before, end=start)
        self._breakers[ends] = self._fact(
            "breaker", (ends, start), *ends, start, note=state
        )

    # --- small things -----------------------------------------------------------------

    def _since(self, time: float) -> float:
        return max(time - self.opened, 0.0)

    def _node(self, service: str | None) -> str | None:
        """A service's name in the picture; "customer 2" may be one of the customers."""
        name = service_name(service or "")
        for known in (name, re.sub(r" \d+$", "", name), re.sub(r" \d+$", "s", name)):
            if known in self._nodes:
                return known
        return None

    def _fact(
        self, kind, key, source, target, start, end=None, note="", of=None
    ) -> Fact:
        """Make a fact; source and target are services or queues, as spans name them."""
        source, target = self._node(source), self._node(target)
        number = next(self._number)
        fact = Fact(number, kind, source, target, start, end, note, of)
        if kind == "guess":
            fact.kind = "blocked"
        self._facts[kind, key] = self._changed[number] = fact
        return fact

    def _change(self, fact: Fact, **changes) -> None:
        for name, value in changes.items():
            if getattr(fact, name) != value:
                setattr(fact, name, value)
                self._changed[fact.id] = fact

    def _withdraw(self, fact: Fact) -> None:
        self._change(fact, withdrawn=True)


def _error_answer(span: Span) -> str:
    """The error that an answer carries: "503"."""
    return span.error if span.error and span.error != "reply dropped" else ""


def _thread(span: Span) -> tuple:
    return span.service, span.attributes.get(THREAD)


def _alike(queue: str, stream: str) -> bool:
    """Whether "order stream" may be the name of "orders" or "course:orders"."""
    words = [word for word in re.split(r"[\s_.:-]+", queue) if word not in QUEUE_WORDS]
    return any(word.rstrip("s") in stream.lower() for word in words)
