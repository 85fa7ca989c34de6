"""Draws the picture that the live view moves: that of ``system_svg``, with parts to switch.

The browser finds the parts by these attributes: ``data-node`` and ``data-arrow`` number the
nodes and arrows of the system as it lists them, ``data-part`` says which part of it that is.
"""

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from helpers import system_svg as still
from helpers.figures import colour
from helpers.system import System
from helpers.system_layout import (
    MARGIN,
    SMALL,
    Box,
    Shape,
    Text,
    layout,
    text_width,
)

IDLE_TINT = 0.13  # how much of its colour a service has that does nothing
SWATCH = 26  # width of a legend's sample
ROW = 24  # height of a legend's row
TAG = 14  # room for what the browser writes below the lowest arrow
GONE = "#6E7781"  # the frame of a service that is down
GREY = "#777777"  # of the samples in the legend
CELLS = 9  # height of the row of threads

_SERVICE_WORDS = {
    "idle": "idle",
    "busy": "works",
    "blocked": "blocked, waits",
    "down": "is down",
}
_TRAVELLERS = {"request": "request", "reply": "answer", "message": "message"}


def draw(system: System) -> str:
    """The picture as an SVG document; every service idle, every queue empty."""
    plan = layout(system)
    arrows = [
        kind for kind in still.LEGEND if any(a.kind == kind for a in system.arrows)
    ]
    rows = [
        [(kind, still._legend_width(kind)) for kind in arrows],
        [(key, SWATCH + 7 + text_width(words, SMALL)) for key, words in _words(arrows)],
    ]
    taken = [sum(width + MARGIN for _, width in row) + MARGIN for row in rows]
    width, height = max(plan.width, *taken), plan.height + TAG + 2 * ROW + 6

    root = still._root(system, width, height)
    _hatches(root, system)
    page = Box(1, 1, width - 2, height - 2)
    still._rect(root, page, rx=10, fill=still.BACKGROUND, stroke=still.BORDER)
    left = (width - plan.width) / 2
    picture = still._drawn_at(root, left, 0)
    for number, route in enumerate(plan.routes):
        group = still._add(picture, "g", data_arrow=str(number))
        still._route(group, route)
    shapes = {shape.node.name: shape for shape in plan.shapes}
    for number, node in enumerate(system.nodes):
        group = still._add(picture, "g", data_node=str(number))
        _shape(group, shapes[node.name], number)
    still._add(picture, "g", data_part="travellers")  # above everything else
    for kind in _TRAVELLERS:  # what the browser makes them from
        template = still._add(
            root, "g", data_part="template", data_kind=kind, visibility="hidden"
        )
        _traveller(template, kind)
    y = plan.height + TAG
    for row in rows:
        x = MARGIN
        for key, needed in row:
            if key in arrows:
                still._legend(root, key, x, y)
            else:
                _legend(root, key, x, y)
            x += needed + MARGIN
        y += ROW
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")


def _words(arrows: list[str]) -> list[tuple[str, str]]:
    """What the second row of the legend explains: what can happen in this system."""
    keys = ["idle", "busy", "blocked", "down", "request", "reply", "message"]
    missing = {"sync": {"blocked", "request", "reply"}, "async": {"message"}}
    for kind in missing.keys() - set(arrows):
        keys = [key for key in keys if key not in missing[kind]]
    return [(key, (_SERVICE_WORDS | _TRAVELLERS)[key]) for key in keys]


def _hatches(root: Element, system: System) -> None:
    """A pattern of stripes for each service, and one in grey for the legend."""
    definitions = still._add(root, "defs")
    fills = [*(colour(node.name) for node in system.nodes), GREY]
    for name, fill in zip([*range(len(system.nodes)), "legend"], fills, strict=True):
        pattern = still._add(
            definitions,
            "pattern",
            id=f"hatch-{name}",
            width="7",
            height="7",
            patternUnits="userSpaceOnUse",
            patternTransform="rotate(45)",
        )
        still._add(pattern, "rect", width="7", height="7", fill=still.WHITE)
        still._add(pattern, "rect", width="2.6", height="7", fill=fill)


def _shape(group: Element, shape: Shape, number: int) -> None:
    box = shape.box
    if shape.node.kind == "queue":
        _queue(group, shape)
    elif shape.node.kind == "customer":
        _customer(group, shape, number)
        _cells(group, shape, Box(box.x - 42, box.top - CELLS - 5, 84, CELLS))
    else:
        _service(group, shape, number)
        _cells(group, shape, Box(box.left, box.bottom + 4, box.width, CELLS))
    if shape.node.kind != "customer":  # a backlog, as text; empty at first
        look = {"x": box.x, "y": box.top - 5, "font_size": SMALL, "fill": still.INK}
        still._add(group, "text", "", data_part="chip", text_anchor="middle", **look)


def _cells(group: Element, shape: Shape, box: Box) -> None:
    """Room for the threads; the browser draws them, when several are at work."""
    place = {"x": box.left, "y": box.top, "width": box.width, "height": box.height}
    data = {f"data_{name}": still._number(value) for name, value in place.items()}
    still._add(group, "g", data_part="cells", fill=colour(shape.node.name), **data)


def _customer(group: Element, shape: Shape, number: int) -> None:
    fill = colour(shape.node.name)
    for part, paint in _looks(fill, number).items():
        person = still._drawn_at(_part(group, part), shape.box.x, shape.box.y)
        still._person(person, paint)
        for piece in person:
            piece.set("stroke", fill)
            piece.set("stroke-width", "1.5")
    still._text(group, shape.text, still.INK)


def _looks(fill: str, number: int | str) -> dict[str, str]:
    return {
        "idle": still._mix(fill, still.WHITE, IDLE_TINT),
        "busy": fill,
        "blocked": f"url(#hatch-{number})",
    }


def _service(group: Element, shape: Shape, number: int) -> None:
    fill = colour(shape.node.name)
    frame = still._mix(fill, still.INK, 0.7)
    for part, paint in _looks(fill, number).items():
        look = {"rx": 9, "fill": paint, "stroke": frame, "stroke_width": 1.5}
        state = _part(group, part)
        still._rect(state, shape.box, **look)
        if part == "blocked":
            _plate(state, shape.text)
        ink = still.ink_on(fill) if part == "busy" else still.INK
        still._text(state, shape.text, ink)
    down = _part(group, "down")
    look = {"fill": still.WHITE, "stroke": GONE, "stroke_width": 2, "rx": 9}
    still._rect(down, shape.box, **look, stroke_dasharray="6 4")
    _cross(down, shape.box)
    _plate(down, shape.text)
    still._text(down, shape.text, still.INK)


def _plate(parent: Element, text: Text) -> None:
    """White ground for a text, so that it stays readable on stripes and lines."""
    box = text.box
    plate = Box(box.left - 4, box.top, box.width + 8, box.height)
    still._rect(parent, plate, rx=4, fill=still.WHITE)


def _cross(parent: Element, box: Box) -> None:
    edge = 7
    left, right = box.left + edge, box.right - edge
    top, bottom = box.top + edge, box.bottom - edge
    n = still._number
    path = f"M{n(left)} {n(top)}L{n(right)} {n(bottom)}M{n(left)} {n(bottom)}L{n(right)} {n(top)}"
    look = {"stroke": still.INK, "stroke_width": 3, "stroke_linecap": "round"}
    still._add(parent, "path", d=path, **look)


def _queue(group: Element, shape: Shape) -> None:
    box, line = shape.box, colour("async")
    fill = still._mix(line, still.WHITE, 0.08)
    still._rect(group, box, rx=6, fill=fill, stroke=line, stroke_width=2)
    slot = box.width / still.SLOT_COUNT
    for number in range(still.SLOT_COUNT):
        left = box.left + number * slot
        if number:
            edge = f"M{still._number(left)} {still._number(box.top)}v{still._number(box.height)}"
            still._add(group, "path", d=edge, stroke=line)
        letter = _part(group, "letter")
        still._letter(still._drawn_at(letter, left + slot / 2, box.y))
    still._text(group, shape.text, still.INK)


def _part(group: Element, name: str) -> Element:
    """A group that the browser shows and hides; at first, nobody does anything."""
    shown = {} if name == "idle" else {"visibility": "hidden"}
    return still._add(group, "g", data_part=name, **shown)


def _legend(parent: Element, key: str, x: float, y: float) -> None:
    if key in _SERVICE_WORDS:
        _sample(parent, key, x, y)
    else:
        _traveller(still._drawn_at(parent, x + SWATCH / 2, y), key)
    words = _SERVICE_WORDS.get(key) or _TRAVELLERS[key]
    look = {"x": x + SWATCH + 7, "y": y + 0.35 * SMALL, "font_size": SMALL}
    still._add(parent, "text", words, fill=still.INK, **look)


def _sample(parent: Element, state: str, x: float, y: float) -> None:
    looks = _looks(GREY, "legend") | {"down": still.WHITE}
    look = {"rx": 4, "fill": looks[state], "stroke": "#555555", "stroke_width": 1.2}
    if state == "down":
        look["stroke_dasharray"] = "4 3"
    still._rect(parent, Box(x, y - 7, SWATCH, 14), **look)
    if state == "down":
        mark = f"M{still._number(x + 8)} {still._number(y - 4)}l10 8m0 -8l-10 8"
        still._add(parent, "path", d=mark, stroke=still.INK, stroke_width=1.8)


def _traveller(parent: Element, kind: str) -> None:
    """What moves along an arrow: a disc that calls, a ring that answers, an envelope."""
    line = colour("sync")
    if kind == "message":
        still._letter(parent)
    elif kind == "request":
        still._add(
            parent, "circle", r=6, fill=line, stroke=still.WHITE, stroke_width=1.5
        )
    else:
        still._add(
            parent, "circle", r=4.5, fill=still.WHITE, stroke=line, stroke_width=2.6
        )
