"""Record what services do in a stretch of code, ask how long who worked and waited, and draw it.

with timeline() as t:
    requests.post(orders.url + "/orders", json=order, timeout=2)
t.plot()
t.waited("customer"), t.worked("payments")      # seconds, from the same spans as the picture
"""

import threading
import time

from helpers import tracing
from helpers.activity import Activity, Arrow, activities_and_arrows
from helpers.spans import Span

# Leaving a timeline waits so long, in seconds, for what is still under way ...
PATIENCE = 0.5
# ... and so long for the first sign of a server that has answered already; it may not be traced.
FIRST_SIGN = 0.1

NOTHING = "Nothing was recorded: no call to a service or a stream ran inside the block."


def timeline(client: str = "customer") -> "Timeline":
    """Record what happens inside a ``with`` block, in this kernel and in service processes.

    client: the name of whoever makes calls from outside any service.
    """
    return Timeline(client)


class Timeline:
    """What happened in a ``with timeline() as t`` block; to be asked once it has ended."""

    def __init__(self, client: str = "customer"):
        if not isinstance(client, str) or not client.strip():
            raise ValueError(
                f"client={client!r}: give the caller a name, such as 'customer'"
            )
        self.client = client
        self._listens_since = self._opened = self._closed = None
        self._spans: dict[str, Span] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        if self._opened is None:
            return "timeline: not opened"
        return (
            "timeline: being recorded"
            if self._closed is None
            else f"timeline of {', '.join(self.services)}"
        )

    def __enter__(self) -> "Timeline":
        if self._opened is not None:
            raise RuntimeError(
                "a timeline records one block; make a new one: with timeline() as t:"
            )
        self._listens_since = time.time()
        tracing.begin(self._add, self.client)
        self._opened = time.time()
        return self

    def __exit__(self, kind, error, traceback) -> None:
        try:
            if error is None or isinstance(
                error, Exception
            ):  # an interrupt waits for nothing
                self._wait_for_what_is_under_way()
        finally:
            tracing.end(self._add)
            self._closed = time.time()
        spans = filter(self._is_of_the_block, self._spans.values())
        self._spans = {
            span.span_id: span for span in sorted(spans, key=lambda span: span.start)
        }
        self._activities, self._arrows = activities_and_arrows(
            self.spans, self._opened, self._closed
        )

    @property
    def spans(self) -> list[Span]:
        """Everything that was recorded, in order of start. Times are seconds since the epoch."""
        self._check_ended()
        return list(self._spans.values())

    @property
    def activities(self) -> list[Activity]:
        """What is drawn as bars: who was occupied from when to when, and in which parts blocked."""
        self._check_ended()
        return self._activities

    @property
    def arrows(self) -> list[Arrow]:
        """What is drawn as arrows: requests, replies and messages."""
        self._check_ended()
        return self._arrows

    @property
    def opened(self) -> float:
        """When the block began, in seconds since the epoch: the zero of the picture's time axis."""
        self._check_ended()
        return self._opened

    @property
    def services(self) -> list[str]:
        """The rows from top to bottom: first who only makes calls, the others as they appear."""
        self._check_ended()
        callers, others = {}, {}
        for activity in self._activities:
            others.setdefault(activity.service, activity.start)
        for name in list(others):
            if all(
                activity.calling
                for activity in self._activities
                if activity.service == name
            ):
                callers[name] = others.pop(name)
        return sorted(callers, key=_natural) + list(others)

    def spans_of(self, service: str) -> list[Span]:
        """The spans of one service, in order of start."""
        self._check_service(service)
        return [span for span in self.spans if span.service == service]

    def worked(self, service: str) -> float:
        """Seconds the service was occupied and not waiting, all its threads added up."""
        self._check_service(service)
        return sum(
            activity.worked
            for activity in self._activities
            if activity.service == service
        )

    def waited(self, service: str) -> float:
        """Seconds the service was blocked, waiting for an answer, all its threads added up."""
        self._check_service(service)
        return sum(
            activity.waited
            for activity in self._activities
            if activity.service == service
        )

    def plot(
        self,
        title: str | None = None,
        alt: str | None = None,
        *,
        predicted: str | None = None,
    ) -> None:
        """Show a row per service: solid where it works, hatched where it waits, with arrows.

        title: what is to be seen; by default who waited how long for whose work.
        alt: the same for who cannot see it; validation compares it, but for numbers with a unit.
        predicted: the name of a prediction of a moment, which is marked where it was made.
        """
        self._check_ended()
        if not self._activities:
            print(NOTHING)
            return
        from helpers.figures import show
        from helpers.predict import mark_prediction
        from helpers.timeline_figure import describe

        figure = self.figure(title)
        if predicted:
            mark_prediction(predicted, figure.axes[0])
        show(figure, alt or describe(self))

    def figure(self, title: str | None = None):
        """The picture that ``plot`` shows, as a matplotlib Figure."""
        self._check_ended()
        if not self._activities:
            raise ValueError(NOTHING)
        from helpers.timeline_figure import draw

        return draw(self, title)

    def _check_ended(self) -> None:
        if self._opened is None:
            raise RuntimeError(
                "this timeline has recorded nothing yet: with timeline() as t: ..."
            )
        if self._closed is None:
            raise RuntimeError(
                "the timeline is still being recorded: use it after the with block"
            )

    def _check_service(self, service: str) -> None:
        self._check_ended()
        known = {span.service for span in self._spans.values()}
        if service not in known:
            names = ", ".join(sorted(known)) or "nobody"
            raise ValueError(
                f"{service!r} does not appear in this timeline; these do: {names}. "
                f"To ask whether it took part: {service!r} in t.services"
            )

    # --- recording, from any thread -------------------------------------------------

    def _add(self, span: Span) -> None:
        with self._lock:
            known = self._spans.get(span.span_id)
            if known is None or known.end is None:
                self._spans[span.span_id] = span

    def _is_of_the_block(self, span: Span) -> bool:
        """Whether a span belongs to the block, and not to what was before."""
        if span.start >= self._opened:
            return True
        if span.end is not None and span.end < self._opened + 0.001:
            return False
        # A service closes its span after the answer has left, perhaps in the next block. But a
        # read that began long ago may have brought a message only now.
        return span.start >= self._listens_since or bool(span.messages)

    def _wait_for_what_is_under_way(self) -> None:
        left = time.monotonic()
        while (waited := time.monotonic() - left) < PATIENCE:
            with self._lock:
                spans = list(self._spans.values())
            if not self._under_way(spans, expect_first_signs=waited < FIRST_SIGN):
                break
            time.sleep(0.002)

    def _under_way(self, spans: list[Span], expect_first_signs: bool) -> bool:
        served = {span.parent_id for span in spans if span.kind == "server"}
        for span in spans:
            if span.redis:
                continue  # a worker that looks for news does so for ever
            if span.end is None:
                return True
            # After a time-out the request may still wait in the server's queue.
            may_be_served = (
                span.answered and expect_first_signs
            ) or span.error == "timed out"
            if span.kind == "client" and may_be_served and span.span_id not in served:
                return True
        return self._messages_under_way(spans)

    def _messages_under_way(self, spans) -> bool:
        sent, taken, settled = set(), set(), set()
        for span in spans:
            for message in span.messages:
                if message.operation == "send" and message.id:
                    sent.add((message.stream, message.id))
                elif message.operation == "receive" and message.group:
                    taken.add((message.stream, message.id, message.group))
                elif message.operation == "settle":
                    settled.add((message.stream, message.id, message.group))
        handled = {key[:2] for key in settled}
        if sent - handled or taken - settled:
            return True
        # Another group may be at it, with a read that began before the timeline and was not seen.
        return tracing.unfinished({stream for stream, _ in sent})


def _natural(name: str) -> tuple:
    """A sort key that puts "customer 10" behind "customer 9"."""
    stem, _, number = name.rpartition(" ")
    return (stem, int(number)) if number.isdigit() else (name, 0)
