"""From spans to what a timeline shows: who was busy, who waited, what went from whom to whom."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from helpers.spans import CUT_OFF, THREAD, Span


@dataclass(frozen=True)
class Wait:
    """A stretch in which a service is blocked until somebody answers; seconds since the epoch."""

    start: float
    end: float
    error: str | None = None


@dataclass(eq=False)
class Activity:
    """One thread of a service being occupied: by a request, a call of its own, or a message.

    It works from start to end except in ``waits``. ``over`` is false when no end was seen.
    """

    service: str
    start: float
    end: float
    trace_ids: set[str] = field(default_factory=set)
    waits: list[Wait] = field(default_factory=list)
    error: str | None = None
    over: bool = True
    calling: bool = False  # nothing but a call to somebody else
    worker: tuple | None = None  # whose thread handles a message

    @property
    def waited(self) -> float:
        """Seconds blocked; calls made at the same time count once."""
        return sum(end - start for start, end in self.blocked())

    @property
    def worked(self) -> float:
        """Seconds not blocked."""
        return self.end - self.start - self.waited

    def working(self) -> list[tuple[float, float]]:
        """The stretches between the waits, as (start, end), in order."""
        edges = [
            self.start,
            *(edge for stretch in self.blocked() for edge in stretch),
            self.end,
        ]
        return [
            (start, end)
            for start, end in zip(edges[::2], edges[1::2], strict=True)
            if end > start
        ]

    def blocked(self) -> list[tuple[float, float]]:
        """The waits as (start, end), in order: overlapping ones joined, cut to the activity."""
        return _joined(
            (max(wait.start, self.start), min(wait.end, self.end))
            for wait in self.waits
        )


def covered(stretches: Iterable[tuple[float, float]]) -> float:
    """How long the stretches last together; where they overlap counts once."""
    return sum(end - start for start, end in _joined(stretches))


def _joined(stretches: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start, end in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        elif end > start:
            joined.append((start, end))
    return joined


@dataclass(frozen=True)
class Arrow:
    """Something that went from one activity to another. ``kind``: "request", "reply" or "message".

    A message that nobody took has no ``target``.
    """

    kind: str
    source: Activity
    sent: float
    target: Activity | None = None
    arrived: float | None = None


def activities_and_arrows(
    spans: list[Span], opened: float, closed: float
) -> tuple[list[Activity], list[Arrow]]:
    """What the spans say happened between two moments; what has no end lasts until ``closed``."""
    return _Reading(spans, opened, closed).result()


class _Reading:
    def __init__(self, spans: list[Span], opened: float, closed: float):
        self.opened, self.closed = opened, closed
        self.spans = sorted(spans, key=lambda span: span.start)
        self.by_id = {span.span_id: span for span in spans}
        self.activities: list[Activity] = []
        self.arrows: list[Arrow] = []
        self.of_span: dict[str, Activity] = {}  # span id: the activity it is part of

    def result(self) -> tuple[list[Activity], list[Arrow]]:
        self._requests_served()
        self._messages_handled()
        self._calls_made()
        self._synchronous_arrows()
        self._message_arrows()
        self.activities.sort(key=lambda activity: activity.start)
        return self.activities, self.arrows

    def _add(self, service: str, start: float, end: float | None, **facts) -> Activity:
        start = max(start, self.opened)
        end = max(start, self.closed if end is None else end)
        activity = Activity(service, start, end, **facts)
        self.activities.append(activity)
        return activity

    def _requests_served(self) -> None:
        for span in self.spans:
            parent = self.by_id.get(span.parent_id)
            # A request that is served inside the caller's thread makes an "internal" span.
            if span.kind == "server" or (
                span.kind == "internal" and parent and parent.service != span.service
            ):
                # Without an end of its own it went on at most until its caller was cut off.
                cut_off = parent.end if parent and parent.error in CUT_OFF else None
                self.of_span[span.span_id] = self._add(
                    span.service,
                    span.start,
                    span.end or cut_off,
                    trace_ids={span.trace_id},
                    error=span.error,
                    over=span.end is not None,
                )

    # --- messages: a worker is at one from its delivery to its acknowledgement ------

    def _messages_handled(self) -> None:
        self.sent: dict[tuple[str, str], Span] = {}
        self.taken: dict[tuple[str, str], list[tuple[Activity, float]]] = defaultdict(
            list
        )
        deliveries: list[_Delivery] = []
        reads: dict[tuple, list[float]] = defaultdict(list)
        for span in self.spans:
            for message in span.messages:
                if message.operation == "send" and message.id:
                    self.sent.setdefault((message.stream, message.id), span)
            if span.name.startswith(("XREAD", "XAUTOCLAIM")):
                reads[_worker(span)].append(span.start)
            received = defaultdict(list)
            for message in span.messages:
                if message.operation == "receive" and message.group:
                    received[message.stream, message.group].append(message.id)
            for (stream, group), ids in received.items():
                deliveries.append(_Delivery(span, span.end, stream, group, ids))
        for span in self.spans:
            for message in span.messages:
                if message.operation == "settle":
                    self._delivery_of(message, span, deliveries).settled[message.id] = (
                        span.start
                    )
        for delivery in deliveries:
            self._show_delivery(delivery, reads[_worker(delivery.span)])

    def _delivery_of(
        self, message, ack: Span, deliveries: list["_Delivery"]
    ) -> "_Delivery":
        stream, id, group = message.stream, message.id, message.group
        of_group = [
            each for each in deliveries if (each.stream, each.group) == (stream, group)
        ]
        for delivery in sorted(of_group, key=lambda delivery: -delivery.time):
            if id in delivery.ids and delivery.time <= ack.start:
                return delivery
        # Its read began before the timeline, so it was not traced. If it was blocked then, it
        # ended with the first message that was sent; else it brought a batch before.
        for delivery in of_group:
            if delivery.unseen and _worker(delivery.span) == _worker(ack):
                delivery.ids.append(id)
                return delivery
        sent = self.sent.get((stream, id))
        time = self._arrival(sent, ack) if sent else self.opened
        deliveries.append(_Delivery(ack, time, stream, group, [id], unseen=True))
        return deliveries[-1]

    def _arrival(self, sent: Span, ack: Span) -> float:
        """When a message came that nobody saw being read: when it was sent, at the latest."""
        # The worker may be at it before its sender hears from the broker that it is sent.
        signs = (
            span.start
            for span in self.spans
            if _worker(span) == _worker(ack) and span.start >= sent.start
        )
        return min(sent.end or sent.start, *signs)  # one of the signs is the ack

    def _show_delivery(self, delivery: "_Delivery", reads: list[float]) -> None:
        """A batch is worked off one message after the other; each ends with its acknowledgement."""
        start, worker = delivery.time, _worker(delivery.span)
        ended: dict[float, Activity] = {}
        for end in sorted(set(delivery.settled.values())):
            ended[end] = self._add(delivery.span.service, start, end, worker=worker)
            start = end
        unsettled = [id for id in delivery.ids if id not in delivery.settled]
        dropped = None
        if unsettled:
            next_read = min(
                (time for time in reads if time >= delivery.time), default=None
            )
            if next_read is None or next_read > start or not ended:
                dropped = self._add(
                    delivery.span.service, start, next_read, worker=worker
                )
                dropped.over = next_read is not None
                dropped.error = "not acknowledged" if dropped.over else None
            else:
                dropped = ended[max(ended)]
                dropped.error = "not acknowledged"
        for id in delivery.ids:
            activity = (
                ended[delivery.settled[id]] if id in delivery.settled else dropped
            )
            self.taken[delivery.stream, id].append((activity, delivery.time))

    # --- calls: whoever makes one is blocked ----------------------------------------

    def _calls_made(self) -> None:
        for span in self.spans:
            if span.kind not in ("client", "producer", "consumer"):
                continue
            end = self.closed if span.end is None else span.end
            host = self._busy_with(span)
            if host is not None:
                host.waits.append(Wait(span.start, end, span.error))
                host.trace_ids.add(span.trace_id)
                self.of_span[span.span_id] = host
            # On its own, a command to the broker is shown when it sends something: a worker that
            # looks for news is idle, not blocked.
            elif (
                not span.redis
                or span.kind == "producer"
                or span.name in ("XADD", "PUBLISH")
            ):
                activity = self._add(
                    span.service,
                    span.start,
                    span.end,
                    trace_ids={span.trace_id},
                    over=span.end is not None,
                    calling=True,
                )
                activity.waits.append(Wait(activity.start, activity.end, span.error))
                self.of_span[span.span_id] = activity

    def _busy_with(self, span: Span) -> Activity | None:
        """The activity in whose course a call was made, if any."""
        ancestor = self.by_id.get(span.parent_id)
        while ancestor is not None and ancestor.service == span.service:
            activity = self.of_span.get(ancestor.span_id)
            if activity is not None and span.start <= activity.end:
                return activity
            ancestor = self.by_id.get(ancestor.parent_id)
        if any(message.operation != "send" for message in span.messages):
            return None  # to take and to acknowledge a message is part of handling it
        for activity in self.activities:
            if (
                activity.worker == _worker(span)
                and activity.start <= span.start < activity.end
            ):
                return activity
        return None

    # --- arrows ---------------------------------------------------------------------

    def _synchronous_arrows(self) -> None:
        for span in self.spans:
            target = self.of_span.get(span.span_id)
            call = self.by_id.get(span.parent_id)
            source = call and self.of_span.get(call.span_id)
            if span.kind != "server" or source is None:
                continue
            self.arrows.append(Arrow("request", source, call.start, target, span.start))
            if call.answered and span.end is not None:
                # The caller may have the answer before the server is done with closing its span.
                self.arrows.append(
                    Arrow("reply", target, min(span.end, call.end), source, call.end)
                )

    def _message_arrows(self) -> None:
        for key, span in self.sent.items():
            source = self.of_span.get(span.span_id)
            if source is None:
                continue
            for target, arrived in self.taken[key]:
                self.arrows.append(
                    Arrow("message", source, span.start, target, arrived)
                )
            if not self.taken[key]:
                self.arrows.append(Arrow("message", source, span.start))


@dataclass(eq=False)
class _Delivery:
    span: Span  # the read that brought the messages; when that was unseen, an acknowledgement
    time: float
    stream: str
    group: str
    ids: list[str]
    unseen: bool = False
    settled: dict[str, float] = field(default_factory=dict)  # id: when


def _worker(span: Span) -> tuple:
    """Whose thread a span is of."""
    return span.service, span.attributes.get(THREAD)
