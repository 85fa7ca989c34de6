"""A system described in a line or two, and shown as a picture.

    system("customer -> orders -> payments")
    system("customer -> orders", "orders ~> order stream ~> payments, email")
    system("customer -> orders: place order -> payments: charge 50 dollars")

``->`` calls and waits for the answer; ``~>`` sends and moves on, always by way of a queue
or stream: a name that ends in queue, stream, bus, topic, channel or letters. A comma stands
between several senders or receivers, and ``name: label`` labels the arrow into that name.

This module holds the description only. ``system_layout`` gives everything its place, and
``system_svg`` draws it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from helpers import names

ARROWS = {"->": "sync", "~>": "async"}
QUEUE_WORDS = ("queue", "stream", "bus", "topic", "channel", "letters")

_NAME = re.compile(r"\w([\w '&/.-]*\w)?")
_CUSTOMER = re.compile(r"(alex|customers?)( \d+)?")
_HOW = (
    'Write -> (call and wait) or ~> (send and move on) between names: "customer -> orders", '
    '"orders ~> order stream ~> payments, email".'
)


@dataclass(frozen=True)
class Node:
    """Something an arrow leads to: kind is "customer", "service" or "queue"."""

    name: str  # as in spans and colours: "fraud"
    label: str  # as people read it: "Fraud check"
    kind: str


@dataclass(frozen=True)
class Arrow:
    """source and target are names of nodes; kind is "sync" or "async"."""

    source: str
    target: str
    kind: str
    label: str = ""


@dataclass(frozen=True)
class System:
    """What ``system()`` returns: a picture in a notebook, its description anywhere else."""

    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]

    @property
    def services(self) -> tuple[str, ...]:
        """The names of the services, in the order of their first mention."""
        return tuple(node.name for node in self.nodes if node.kind == "service")

    @property
    def queues(self) -> tuple[str, ...]:
        """The names of the queues and streams, in the order of their first mention."""
        return tuple(node.name for node in self.nodes if node.kind == "queue")

    @property
    def description(self) -> str:
        """The picture in words."""
        return " ".join(_sentences(self))

    @property
    def svg(self) -> str:
        """The picture, the same text for the same system every time."""
        from helpers.system_svg import draw

        return draw(self)

    def live(self, client: str | None = None):
        """A ``timeline()`` that is also shown in this picture, as it happens and in slow motion.

        client: whoever makes calls from outside any service; by default the first name.
        """
        from helpers.live import Live

        return Live(self, client)

    def __repr__(self) -> str:
        return self.description

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        from helpers.system_svg import img

        # JupyterLab shows a bare SVG without alternative text, and not at all before
        # a notebook is trusted; so it gets an <img> too, which it prefers.
        return {
            "text/html": img(self.svg, self.description),
            "image/svg+xml": self.svg,
            "text/plain": self.description,
        }


def system(*lines: str) -> System:
    """Read the description of a system, one or more lines as shown at the top of this module.

    Raises ValueError for a line that cannot be read; it says which piece and what is allowed.
    """
    if not lines:
        raise ValueError(f"a system needs at least one line. {_HOW}")
    nodes: dict[str, Node] = {}
    arrows: dict[tuple[str, str], Arrow] = {}
    for line in lines:
        if not isinstance(line, str):
            raise TypeError(f"a line of a system is a text, this is {line!r}. {_HOW}")
        for arrow in _read(line, nodes):
            key = arrow.source, arrow.target
            before = arrows.get(key, arrow)
            if arrow.label and before.label and arrow.label != before.label:
                raise ValueError(
                    f'"{line}" labels the arrow from {arrow.source} to {arrow.target} '
                    f"{arrow.label!r}, but it is {before.label!r} already: an arrow has one label."
                )
            arrows[key] = before if before.label else arrow
    return System(tuple(nodes.values()), tuple(arrows.values()))


def _read(line: str, nodes: dict[str, Node]) -> list[Arrow]:
    """The arrows of one line; adds its nodes to ``nodes``."""
    first, *rest = re.split(r"(->|~>)", line)
    if not rest:
        raise ValueError(f'"{line}" has no arrow. {_HOW}')
    senders = _group(line, first, nodes)
    if any(label for _, label in senders):
        raise ValueError(
            f'"{line}" labels {first.strip()!r}, but no arrow leads there: '
            "label what comes after an arrow."
        )
    arrows = []
    for sign, text in zip(rest[::2], rest[1::2], strict=True):
        receivers = _group(line, text, nodes)
        for source, _ in senders:
            for target, label in receivers:
                _check(line, source, sign, target)
                arrows.append(Arrow(source.name, target.name, ARROWS[sign], label))
        senders = receivers
    return arrows


def _group(line: str, text: str, nodes: dict[str, Node]) -> list[tuple[Node, str]]:
    """The nodes between two arrows, each with the label of the arrow into it."""
    group = []
    for piece in text.split(","):
        name, colon, label = (part.strip() for part in piece.partition(":"))
        if not _NAME.fullmatch(name):
            problem = f"{name!r} is not a name" if name else "a name is missing"
            raise ValueError(
                f'"{line}" cannot be read: {problem}. A name has letters, digits, spaces, '
                f"and ' & / . - inside it. {_HOW}"
            )
        if colon and not label:
            raise ValueError(
                f'"{line}" cannot be read: nothing stands after the colon in {piece.strip()!r}.'
            )
        node = _node(name)
        group.append((nodes.setdefault(node.name, node), label))
    return group


def _node(text: str) -> Node:
    words = " ".join(text.split())
    name = names.service_name(words)
    label = names.label(name) if name != words.lower() else names.label(words)
    if re.split(r"[\s_.-]+", name)[-1] in QUEUE_WORDS:
        return Node(name, label, "queue")
    return Node(name, label, "customer" if _CUSTOMER.fullmatch(name) else "service")


def _check(line: str, source: Node, sign: str, target: Node) -> None:
    """Raise ValueError for an arrow that makes no sense."""
    queues = [node for node in (source, target) if node.kind == "queue"]
    if source.name == target.name:
        raise ValueError(
            f'"{line}": an arrow from {source.name} to itself; it needs two different ends.'
        )
    if sign == "->" and queues:
        raise ValueError(
            f'"{line}": nobody waits for an answer from {queues[0].name}, '
            f'as it only keeps messages; write "{source.name} ~> {target.name}".'
        )
    if sign == "~>" and not queues:
        raise ValueError(
            f'"{line}": a message from {source.name} to {target.name} waits in a queue '
            f'or stream; name it, as in "{source.name} ~> order stream ~> {target.name}" '
            f"(its last word is one of {', '.join(QUEUE_WORDS)})."
        )
    if len(queues) == 2:
        raise ValueError(
            f'"{line}": {source.name} cannot send by itself; name the service that takes '
            f"the messages from it and puts them into {target.name}."
        )


def _sentences(system: System) -> Iterator[str]:
    nodes = {node.name: node for node in system.nodes}

    def name(end: str, label: str = "") -> str:
        node = nodes[end]
        known = (
            f"the {node.label[0].lower()}{node.label[1:]}"
            if node.kind == "queue"
            else node.label
        )
        return f"{known} ({label})" if label else known

    for (source, kind), arrows in groupby(
        system.arrows, key=lambda arrow: (arrow.source, arrow.kind)
    ):
        targets = [name(arrow.target, arrow.label) for arrow in arrows]
        several = len(targets) > 1
        listed = " and ".join(filter(None, [", ".join(targets[:-1]), targets[-1]]))
        if nodes[source].kind == "queue":
            yield f"{listed} {'take' if several else 'takes'} messages from {name(source)}."
        elif kind == "async":
            yield f"{name(source)} sends to {listed}{',' * several} and moves on."
        else:
            waits = "and waits for each answer" if several else "and waits"
            yield f"{name(source)} calls {listed}{',' * several} {waits}."
