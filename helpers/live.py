"""Watch a system at work: its picture, moved by the same spans that a timeline is drawn from.

    shop = system("orders -> payments")
    with shop.live(client="orders") as t:
        requests.post(payments.url + "/charges", json=order, timeout=5)
    t.plot()

``live_facts`` says what happened, ``live_svg`` draws the picture, and live.js in the browser
shows the one in the other. Here is what brings them together.
"""

import threading
import time
from collections import deque
from functools import cache

from helpers import registry, scripts, tracing
from helpers.live_facts import Fact, Facts
from helpers.names import service_name
from helpers.services import Service
from helpers.spans import Span
from helpers.streams import BLOCK_MS, Workers
from helpers.system import System
from helpers.timeline import Timeline

EVERY = 0.1  # seconds between two messages to the browser, at least ...
AT_LEAST_EVERY = 0.24  # ... and at most
# What came in the first seconds is sent again, as the page may still be loading the view.
AGAIN_SECONDS, AGAIN_FACTS = 2.0, 400
DIGITS = 6  # after the point, of a time in seconds

# What earlier views have found out, for those to come.
_seen_running: set[tuple[type, str]] = set()  # services and workers, by name
_addresses: dict[str, str] = {}  # "127.0.0.1:PORT": the name of the service
_streams: dict[System, dict[str, str]] = {}  # the queue that a stream is in the picture

_recording: list["Live"] = []


def breaker(service: str, target: str, state: str) -> None:
    """Tell who watches that the circuit breaker in a service, in front of another, changed.

    state: "closed", "open" or "half-open". Without a live view that records, this does nothing.
    """
    if state not in ("closed", "open", "half-open"):
        raise ValueError(f'state={state!r}: give "closed", "open" or "half-open"')
    for live in _recording:
        live._news.append((service, target, state, time.time()))


class Live(Timeline):
    """A ``timeline()`` that is shown while it is recorded, and can be replayed afterwards.

    client: whoever makes calls from outside any service; by default the system's first node.
    Raises ValueError when the client is not in the picture.
    """

    def __init__(self, system: System, client: str | None = None):
        names = [node.name for node in system.nodes if node.kind != "queue"]
        super().__init__(names[0] if client is None else client)
        if service_name(self.client) not in names:
            raise ValueError(
                f"client={client!r} is not in the picture; these are: {', '.join(names)}"
            )
        self.system = system
        self.view = _view_class()(self)
        self._news: deque[Span | tuple] = deque()
        self._known_streams = _streams.setdefault(system, {})
        self._facts = Facts(system, time.time(), _address, self._known_streams)
        self._reading = threading.Lock()  # held while the facts are read or written
        self._over = threading.Event()
        self._sender: threading.Thread | None = None

    def __enter__(self) -> "Live":
        if self._opened is None:
            self.view.show()
        super().__enter__()
        try:
            self._begin()
        except BaseException:  # an interrupt, for example
            tracing.end(self._add)
            raise
        return self

    def _begin(self) -> None:
        if self._expect_workers():
            time.sleep(1.2 * BLOCK_MS / 1000)  # so that their next read is recorded
            self._opened = time.time()
        self._facts.opened = self._opened
        self._look_who_runs(self._opened)
        _recording.append(self)
        if self.view.watched:
            self._sender = threading.Thread(
                target=self._keep_sending, name="live view", daemon=True
            )
            self._sender.start()

    def __exit__(self, kind, error, traceback) -> None:
        try:
            super().__exit__(kind, error, traceback)
        finally:
            _recording.remove(self)
            self._over.set()
            if self._sender:
                self._sender.join()
            with self._reading:
                self._take_news()
                self._ask_for_levels(again=True)
            if self.view.watched:
                self.send_all()

    def _add(self, span: Span) -> None:
        super()._add(span)
        self._news.append(span)

    # --- what happened ------------------------------------------------------------------

    def facts(self) -> list[Fact]:
        """What there is to see, in order of start; times are seconds since the block began."""
        with self._reading:
            self._take_news()
            return self._facts.all()

    @property
    def length(self) -> float | None:
        """Seconds until the last thing was over, or the block; None while it is recorded."""
        if self._closed is None:
            return None
        closed = self._closed - self._opened
        facts = [
            f for f in self._facts.all() if f.kind not in ("held", "down", "breaker")
        ]
        return min(max((f.end or closed for f in facts), default=closed) + 1e-3, closed)

    def _take_news(self) -> None:
        while self._news:
            news = self._news.popleft()
            if isinstance(news, tuple):
                self._facts.breaker(*news)
            elif self._is_of_the_block(news):
                self._facts.add(news)

    def _expect_workers(self) -> bool:
        return any(registry.find(Workers, name) for name in self.system.services)

    def _look_who_runs(self, now: float) -> None:
        """What was seen to run and does so no more is down."""
        for name in self.system.services:
            runs = seen = False
            for kind in self._kinds(name):
                thing = registry.find(kind, name)
                if thing is not None and getattr(thing, "running", True):
                    runs = True
                    _seen_running.add((kind, name))
                    if kind is Service:
                        _addresses[thing.address] = name
                seen |= (kind, name) in _seen_running
            if runs:
                self._facts.up(name, now)
            elif seen:
                self._facts.down(name, now)

    def _kinds(self, name: str) -> set[type]:
        """What a service is in this picture: something that is called, workers, or both."""
        kinds = {"sync": Service, "async": Workers}
        return {kinds[a.kind] for a in self.system.arrows if a.target == name}

    def _ask_for_levels(self, again: bool = False) -> None:
        """Ask the broker once for the backlogs, and again at the end, when all is quiet."""
        known = {queue for queue, _ in self._facts.levels}
        for stream, queue in self._facts.streams.items():
            if again or queue not in known:
                for group, lag, pending in _groups(stream):
                    self._facts.level(stream, group, lag, pending)
        self._known_streams.update(self._facts.streams)

    # --- telling the browser ------------------------------------------------------------

    def _keep_sending(self) -> None:
        """In a thread of its own, so that whoever is measured does not wait for it."""
        sent = 0.0
        while not self._over.wait(EVERY):
            with self._reading:
                now = time.time() - self._opened
                self._take_news()
                self._look_who_runs(time.time())
                self._ask_for_levels()
                facts = self._facts.changed()
                if now < AGAIN_SECONDS and len(self._facts) < AGAIN_FACTS:
                    facts = [*facts, *self._facts.all()]
                message = self._message(facts, now)
            if facts or now - sent >= AT_LEAST_EVERY:
                self.view.send(message)
                sent = now

    def send_all(self) -> None:
        """Give the browser everything there is so far."""
        if self._opened is None:
            return
        with self._reading:
            self._take_news()
            now = (self._closed or time.time()) - self._opened
            message = self._message(self._facts.all(), now)
            message |= {"all": True, "closed": self.length}
        self.view.send(message)

    def _message(self, facts: list[Fact], now: float) -> dict:
        place = {node.name: number for number, node in enumerate(self.system.nodes)}
        levels = self._facts.levels.values()
        return {
            "rows": [_row(fact, place) for fact in facts],
            "levels": [[place[e.queue], e.group, e.backlog, e.pending] for e in levels],
            "now": round(now, DIGITS),
            "closed": None,  # there is more to come
        }


def _row(fact: Fact, place: dict[str, int]) -> list:
    """A fact as the browser takes it; without a start it is to be forgotten."""
    return [
        fact.id,
        fact.kind,
        place.get(fact.source),
        place.get(fact.target),
        None if fact.withdrawn else round(fact.start, DIGITS),
        None if fact.end is None else round(fact.end, DIGITS),
        fact.note,
        fact.of,
    ]


def _address(address: str) -> str | None:
    return _addresses.get(address)


def _groups(stream: str) -> list[tuple[str, int, int]]:
    """(name, lag, pending) of each consumer group; none when the broker cannot tell."""
    import redis
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    from helpers.broker import running_broker

    try:
        with suppress_instrumentation():
            groups = running_broker().client.xinfo_groups(stream)
    except (RuntimeError, redis.RedisError):
        return []
    return [
        (group["name"], group["lag"], group["pending"])
        for group in groups
        if group.get("lag") is not None
    ]


@cache
def _view_class() -> type:
    """The class of the widget. It is made at first use, since ipywidgets loads slowly."""
    import anywidget
    from IPython import get_ipython
    from IPython.display import display
    from traitlets import Dict

    from helpers import live_svg, system_svg

    class View(anywidget.AnyWidget):
        """The picture that moves: the half of it that is in the kernel."""

        _esm = scripts.with_keys("live.js")
        _css = scripts.FOLDER / "live.css"
        plan = Dict().tag(sync=True)

        def __init__(self, live: Live):
            system = live.system
            self.system = system
            self.watched = False  # whether there is a page that shows it
            place = {node.name: number for number, node in enumerate(system.nodes)}
            arrows = [[place[a.source], place[a.target]] for a in system.arrows]
            plan = {
                "nodes": [vars(node) for node in system.nodes],
                "arrows": arrows,
                "picture": live_svg.draw(system),
                "description": system.description,
            }
            super().__init__(plan=plan)
            self.on_msg(lambda *_: self._asked(live))

        def show(self) -> None:
            """Display it in the output of the cell, if there is one."""
            shell = get_ipython()
            if shell is None:
                return
            display(self)
            # A page that can show widgets says which of its cells it runs; validation and
            # export do not. A view that asks proves it, but only when the cell is done.
            kernel = getattr(shell, "kernel", None)
            request = kernel.get_parent() if kernel else {}
            self.watched = "cellId" in request.get("metadata", {})

        def _asked(self, live: Live) -> None:
            self.watched = True
            live.send_all()

        def __repr__(self) -> str:
            return self.system.description

        def _repr_mimebundle_(self, **kwargs):
            """The live view and, for pages without a kernel, the still picture."""
            data, metadata = super()._repr_mimebundle_(**kwargs)
            still = system_svg.img(self.system.svg, self.system.description)
            return data | {"text/html": still, "text/plain": repr(self)}, metadata

    return View
