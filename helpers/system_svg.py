"""Draws the picture of a system as SVG, in the one visual language of the course.

A call is a solid arrow with a thinner one back, a message a dashed arrow through a row of
slots. Everything is said by shape or word as well as by colour. The picture has its own light
background, so that it reads the same in a light and a dark theme, and uses neither style
sheets nor fonts of its own, so that it also works inside an <img>.
"""

import base64
import zlib
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from helpers.figures import colour
from helpers.system import System
from helpers.system_layout import (
    LINE,
    MARGIN,
    NOTEBOOK_WIDTH,
    PAIR,
    SMALL,
    Box,
    Route,
    Shape,
    Text,
    layout,
    text_width,
)

BACKGROUND, BORDER, INK, WHITE = "#FFFFFF", "#C4CAD0", "#0D1117", "#FFFFFF"
FONTS = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
HEAD = 10  # length of an arrow's head
SLOT_COUNT, MESSAGES = 4, 3
LEGEND = {"sync": "calls, and waits for the answer", "async": "sends, and moves on"}
SAMPLE, LEGEND_HEIGHT = 44, 26

Points = Sequence[tuple[float, float]]


def draw(system: System) -> str:
    """The picture of a system: an SVG document, the same text for the same system every time."""
    plan = layout(system)
    kinds = [k for k in LEGEND if any(arrow.kind == k for arrow in system.arrows)]
    legend = [_legend_width(kind) + MARGIN for kind in kinds]
    width = max(plan.width, sum(legend) + MARGIN)
    height = plan.height + LEGEND_HEIGHT

    root = _root(system, width, height)
    page = Box(1, 1, width - 2, height - 2)
    _rect(root, page, rx=10, fill=BACKGROUND, stroke=BORDER)
    picture = _drawn_at(root, (width - plan.width) / 2, 0)
    for route in plan.routes:
        _route(picture, route)
    for shape in plan.shapes:
        _shape(picture, shape)
    x = MARGIN
    for kind, taken in zip(kinds, legend, strict=True):
        _legend(root, kind, x, plan.height)
        x += taken
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")


def img(svg: str, alt: str) -> str:
    """The picture as an HTML element, with a text for whoever cannot see it."""
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}">'


def contrast(one: str, other: str) -> float:
    """The contrast of two colours such as "#0072B2", 1 to 21, as WCAG defines it."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def ink_on(fill: str) -> str:
    """Dark or white, whichever is easier to read on the fill."""
    return max(INK, WHITE, key=lambda ink: contrast(ink, fill))


def _luminance(code: str) -> float:
    parts = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _mix(one: str, other: str, share: float) -> str:
    """A colour between two: ``share`` of the first, the rest of the second."""
    pairs = [(int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02X}" for a, b in pairs)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _add(
    parent: Element, tag: str, content: str | None = None, **attributes
) -> Element:
    """Add an element; stroke_width stands for the attribute stroke-width."""
    texts = {
        name.replace("_", "-"): value if isinstance(value, str) else _number(value)
        for name, value in attributes.items()
    }
    element = SubElement(parent, tag, texts)
    element.text = content
    return element


def _root(system: System, width: float, height: float) -> Element:
    # The same picture twice on a page has the same ids, which then name the same texts.
    mark = f"system-{zlib.crc32(system.description.encode()):08x}"
    shown = min(width, NOTEBOOK_WIDTH)
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "width": _number(shown),
            "height": _number(height * shown / width),
            "viewBox": f"0 0 {_number(width)} {_number(height)}",
            "role": "img",
            "aria-labelledby": f"{mark}-title {mark}-desc",
            "font-family": FONTS,
        },
    )
    names = ", ".join(node.label for node in system.nodes)
    _add(root, "title", f"A system: {names}", id=f"{mark}-title")
    _add(root, "desc", system.description, id=f"{mark}-desc")
    return root


def _text(parent: Element, text: Text, fill: str) -> None:
    style = {"font_size": text.size, "fill": fill, "text_anchor": "middle"}
    if text.bold:
        style["font_weight"] = "bold"
    for number, line in enumerate(text.lines):
        # The middle of a line's capitals, some 0.7 high, in the middle of the line.
        baseline = text.top + text.size * (LINE * (number + 0.5) + 0.35)
        _add(parent, "text", line, x=text.x, y=baseline, **style)


def _rect(parent: Element, box: Box, **style) -> None:
    edges = {"x": box.left, "y": box.top, "width": box.width, "height": box.height}
    _add(parent, "rect", **edges, **style)


def _drawn_at(parent: Element, x: float, y: float) -> Element:
    """A group whose origin is moved."""
    return _add(parent, "g", transform=f"translate({_number(x)} {_number(y)})")


def _shape(parent: Element, shape: Shape) -> None:
    fill = colour(shape.node.name)
    if shape.node.kind == "service":
        frame = _mix(fill, INK, 0.7)
        _rect(parent, shape.box, rx=9, fill=fill, stroke=frame, stroke_width=1.5)
        _text(parent, shape.text, ink_on(fill))
        return
    if shape.node.kind == "customer":
        _person(_drawn_at(parent, shape.box.x, shape.box.y), fill)
    else:
        _slots(parent, shape.box)
    _text(parent, shape.text, INK)


def _person(parent: Element, fill: str) -> None:
    """A head and shoulders, 34 wide and 52 high around the origin."""
    _add(parent, "circle", cx=0, cy=-16, r=10, fill=fill)
    _add(parent, "path", d="M-17 26V15a17 17 0 0 1 34 0V26Z", fill=fill)


def _slots(parent: Element, box: Box) -> None:
    """A queue: a row of slots, the messages at the end where they are taken out."""
    line = colour("async")
    _rect(parent, box, rx=6, fill=_mix(line, WHITE, 0.08), stroke=line, stroke_width=2)
    slot = box.width / SLOT_COUNT
    for number in range(SLOT_COUNT):
        left = box.left + number * slot
        if number:
            edge = f"M{_number(left)} {_number(box.top)}v{_number(box.height)}"
            _add(parent, "path", d=edge, stroke=line)
        if number >= SLOT_COUNT - MESSAGES:
            _letter(_drawn_at(parent, left + slot / 2, box.y))


def _letter(parent: Element) -> None:
    envelope = "M-9 -6.5h18v13h-18zM-9 -5.5L0 1.5L9 -5.5"
    style = {
        "fill": WHITE,
        "stroke": INK,
        "stroke_width": 1.3,
        "stroke_linejoin": "round",
    }
    _add(parent, "path", d=envelope, **style)


def _route(parent: Element, route: Route) -> None:
    _arrow(parent, route.arrow.kind, route.points)
    if route.text:
        _text(parent, route.text, INK)


def _arrow(parent: Element, kind: str, points: Points, pair: float = PAIR) -> None:
    line = colour(kind)
    if kind == "async":
        _line(parent, points, line, 2.2, HEAD, stroke_dasharray="7 5")
        return
    call = [(x, y - pair / 2) for x, y in points]
    answer = [(x, y + pair / 2) for x, y in reversed(points)]
    _line(parent, call, line, 2.6, HEAD)
    _line(parent, answer, line, 1.2, 0.7 * HEAD)


def _line(
    parent: Element, points: Points, stroke: str, width: float, head: float, **style
) -> None:
    """An arrow through the points; its head is level, as every way ends level."""
    (before, _), (x, y) = points[-2:]
    back = -head if x > before else head
    path = f"M{_number(points[0][0])} {_number(points[0][1])}"
    for (x0, y0), (x1, y1) in pairwise([*points[:-1], (x + 0.8 * back, y)]):
        middle = _number((x0 + x1) / 2)
        path += f"C{middle} {_number(y0)} {middle} {_number(y1)} " if y0 != y1 else "L"
        path += f"{_number(x1)} {_number(y1)}"
    _add(
        parent, "path", d=path, fill="none", stroke=stroke, stroke_width=width, **style
    )
    corners = (x, y), (x + back, y - head / 2), (x + back, y + head / 2)
    tip = " ".join(f"{_number(x)},{_number(y)}" for x, y in corners)
    _add(parent, "polygon", points=tip, fill=stroke)


def _legend_width(kind: str) -> float:
    return SAMPLE + 8 + text_width(LEGEND[kind], SMALL)


def _legend(parent: Element, kind: str, x: float, y: float) -> None:
    _arrow(parent, kind, ((x, y), (x + SAMPLE, y)), pair=8)
    text = {"x": x + SAMPLE + 8, "y": y + 0.35 * SMALL, "font_size": SMALL, "fill": INK}
    _add(parent, "text", LEGEND[kind], **text)
