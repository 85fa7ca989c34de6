"""Where everything in the picture of a system goes. Lengths are in pixels; y grows downward.

Nodes stand in columns, from left to right by the longest way from the first one; then each
column is put in an order and at heights that keep the arrows short and apart (Sugiyama's
method). An arrow that skips a column gets a bend there, so that it passes between the nodes
and not through them. An arrow that closes a circle is placed as if it led the other way.
"""

from dataclasses import dataclass, field
from functools import cache
from itertools import chain, combinations, pairwise
from statistics import fmean

from helpers.system import Arrow, Node, System

NOTEBOOK_WIDTH = 900
MARGIN = 24
FONT, SMALL = 15, 12.5  # sizes of names and labels
LINE = 1.25  # from line to line, in font sizes
NAME_WIDTH, LABEL_WIDTH = 124, 128  # where texts are broken into lines
PAIR = 10  # between a call and its answer
TOUCH = 3  # between an arrow and a node
STUB = 12  # an arrow leaves and arrives level for so long
LEAST_GAP, USUAL_GAP = 44, 64  # between columns
BETWEEN = 22  # between the nodes of a column
# Width and height; a service's grow with its name, any height with the number of arrows.
SIZES = {"service": (92, 54), "customer": (34, 52), "queue": (112, 36)}

LEFT, RIGHT = 0, 1


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    @property
    def x(self) -> float:
        """The middle."""
        return self.left + self.width / 2

    @property
    def y(self) -> float:
        return self.top + self.height / 2


@dataclass(frozen=True)
class Text:
    """Lines of text centred on x, the upper edge of the first at top."""

    lines: tuple[str, ...]
    x: float
    top: float
    size: float
    bold: bool = False

    @property
    def box(self) -> Box:
        width, height = text_size(self.lines, self.size, self.bold)
        return Box(self.x - width / 2, self.top, width, height)


@dataclass(frozen=True)
class Shape:
    """A node: its box (or figure, or row of slots), and its name in the box or below it."""

    node: Node
    box: Box
    text: Text


@dataclass(frozen=True)
class Route:
    """An arrow's way from source to target: straight where it is level, else a smooth S."""

    arrow: Arrow
    points: tuple[tuple[float, float], ...]
    text: Text | None = None


@dataclass(frozen=True)
class Layout:
    width: float
    height: float
    shapes: tuple[Shape, ...]
    routes: tuple[Route, ...]


def layout(system: System) -> Layout:
    """Give every node and arrow of the system its place."""
    ways = _ways(system)
    columns = _columns(system, ways)
    _order(columns)
    for side in (LEFT, RIGHT) * 3:
        _align(columns, side)
    return _place(columns, ways)


# How wide DejaVu Sans Bold sets a character, in font sizes. It is the widest of the fonts in
# question, so a text measured with it fits in all of them.
_WIDTHS = {
    letter: width
    for letters, width in {
        " 'ijlIJ/\\|": 0.38,
        ",.:;-f!()[]": 0.47,
        'tr_`*"': 0.53,
        "z?cs": 0.60,
        "LvxyakeEFTo": 0.69,
        "0123456789$hnubdgpqSYCPZ{}": 0.74,
        "BAKRVXUGD": 0.84,
        "HN#+<=>^~OQ&": 0.88,
        "w": 0.93,
        "M%": 1.01,
        "mW@": 1.11,
    }.items()
    for letter in letters
}
_REGULAR = 0.97  # the most that a letter has of its width in bold


def text_width(text: str, size: float, bold: bool = False) -> float:
    """The width a text needs in any common sans-serif font."""
    # What is not listed may be as wide as the widest letter of any alphabet.
    em = sum(_WIDTHS.get(letter, 1.3) for letter in text)
    return size * em * (1 if bold else _REGULAR)


def text_size(
    lines: tuple[str, ...], size: float, bold: bool = False
) -> tuple[float, float]:
    """The width and height of lines of text."""
    width = max((text_width(line, size, bold) for line in lines), default=0)
    return width, len(lines) * size * LINE


def wrap(text: str, size: float, width: float, bold: bool = False) -> tuple[str, ...]:
    """Break a text between words into lines no wider than ``width``, as far as its words allow."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, bold) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return tuple(lines)


@dataclass(eq=False)
class _Cell:
    """A place in a column: a node, or (node is None) the bend of an arrow that skips the column."""

    node: Node | None = None
    least: float = 0  # the services of a column are all as wide as the widest
    y: float = 0  # of the middle of the shape
    links: list[list["_Link"]] = field(default_factory=lambda: [[], []])  # left, right

    @property
    def lines(self) -> tuple[str, ...]:
        return wrap(self.node.label, FONT, NAME_WIDTH, bold=True) if self.node else ()

    @property
    def shape(self) -> tuple[float, float]:
        """Width and height, without a name that stands below."""
        if not self.node:
            return 0, 0
        width, height = SIZES[self.node.kind]
        if self.node.kind == "service":
            name_width, name_height = text_size(self.lines, FONT, bold=True)
            width = max(width, self.least, name_width + 28)
            height = max(height, name_height + 16)
        for side, links in enumerate(self.links):
            if len(links) > 1:
                height = max(height, sum(sum(link.needs(1 - side)) for link in links))
        return width, height

    @property
    def width(self) -> float:
        return max(self.shape[0], text_size(self.lines, FONT, bold=True)[0])

    @property
    def reach(self) -> tuple[float, float]:
        """What the cell needs above and below y, with its name and an arrow to its middle."""
        above = below = self.shape[1] / 2
        if self.node and self.node.kind != "service":
            below += 4 + text_size(self.lines, FONT)[1]
        for side, links in enumerate(self.links):
            if len(links) == 1:
                up, down = links[0].needs(1 - side)
                above, below = max(above, up), max(below, down)
        return above, below


@dataclass(eq=False)
class _Link:
    """One arrow's way across one gap between columns."""

    ends: tuple[_Cell, _Cell]  # left, right
    backward: bool = False  # the arrow points to the left
    label: tuple[str, ...] = ()
    label_side: int = LEFT  # the end that the label is nearer to

    def needs(self, side: int) -> tuple[float, float]:
        """What the arrow needs above and below itself at its left or right end."""
        if self.label and self.label_side == side:
            return text_size(self.label, SMALL)[1] + PAIR + 4, PAIR + 2
        cell = self.ends[side]
        one_way = all(link.backward == self.backward for link in cell.links[1 - side])
        if cell.node and cell.node.kind == "queue" and one_way:
            return (
                0,
                0,
            )  # a queue has one point where all goes in, and one where all comes out
        return PAIR + 2, PAIR + 2

    def y(self, side: int) -> float:
        """The height at which the arrow meets its left or right end."""
        cell = self.ends[side]
        links = sorted(cell.links[1 - side], key=lambda link: link.ends[1 - side].y)
        heights = [0.0]
        for upper, lower in pairwise(links):
            heights.append(heights[-1] + upper.needs(side)[1] + lower.needs(side)[0])
        return round(cell.y + heights[links.index(self)] - heights[-1] / 2, 1)


@dataclass(eq=False)
class _Way:
    """All of an arrow's way."""

    arrow: Arrow
    backward: bool
    links: list[_Link] = field(default_factory=list)

    @property
    def ends(self) -> tuple[str, str]:
        ends = self.arrow.source, self.arrow.target
        return ends[::-1] if self.backward else ends


def _ways(system: System) -> list[_Way]:
    finished: dict[str, bool] = {}  # False while a node's arrows are being followed
    backward = set()

    def follow(name: str) -> None:
        finished[name] = False
        for arrow in system.arrows:
            if arrow.source == name:
                if arrow.target not in finished:
                    follow(arrow.target)
                elif not finished[arrow.target]:
                    backward.add(arrow)
        finished[name] = True

    for node in system.nodes:
        if node.name not in finished:
            follow(node.name)
    return [_Way(arrow, arrow in backward) for arrow in system.arrows]


def _columns(system: System, ways: list[_Way]) -> list[list[_Cell]]:
    """The cells of each column; gives the ways their links."""

    @cache
    def longest(name: str) -> int:
        before = [way.ends[LEFT] for way in ways if way.ends[RIGHT] == name]
        return max((longest(left) + 1 for left in before), default=0)

    place = {node.name: longest(node.name) for node in system.nodes}
    for node in system.nodes:
        if node.kind != "customer" and not place[node.name]:
            # Nothing leads here: move close to what it leads to.
            after = [way.ends[RIGHT] for way in ways if way.ends[LEFT] == node.name]
            place[node.name] = min(place[name] for name in after) - 1

    cells = {node.name: _Cell(node) for node in system.nodes}
    columns: list[list[_Cell]] = [[] for _ in range(max(place.values()) + 1)]
    for name, cell in cells.items():
        columns[place[name]].append(cell)
    for way in ways:
        left, right = way.ends
        bends = [_Cell() for _ in range(place[left] + 1, place[right])]
        for number, bend in enumerate(bends, place[left] + 1):
            columns[number].append(bend)
        for ends in pairwise([cells[left], *bends, cells[right]]):
            link = _Link(ends, way.backward)
            way.links.append(link)
            ends[LEFT].links[RIGHT].append(link)
            ends[RIGHT].links[LEFT].append(link)
        way.links[-1].label = wrap(way.arrow.label, SMALL, LABEL_WIDTH)
    for column in columns:
        # Labels stand where the arrows are apart: near the targets, if one source has several.
        side = RIGHT if any(len(cell.links[RIGHT]) > 1 for cell in column) else LEFT
        for link in chain.from_iterable(cell.links[RIGHT] for cell in column):
            link.label_side = side
        services = [
            cell for cell in column if cell.node and cell.node.kind == "service"
        ]
        widest = max((cell.shape[0] for cell in services), default=0)
        for cell in services:
            cell.least = widest
    return columns


def _order(columns: list[list[_Cell]]) -> None:
    """Sort columns by the middle of each cell's neighbours, if fewer arrows cross then."""
    best, fewest = [column[:] for column in columns], _crossings(columns)
    for side in (LEFT, RIGHT) * 3:
        for before, column in pairwise(columns if side == LEFT else columns[::-1]):
            middles = {}
            for place, cell in enumerate(column):
                places = [before.index(link.ends[side]) for link in cell.links[side]]
                middles[cell] = fmean(places or [place])
            column.sort(key=middles.__getitem__)
        if _crossings(columns) < fewest:
            best, fewest = [column[:] for column in columns], _crossings(columns)
    columns[:] = best


def _crossings(columns: list[list[_Cell]]) -> int:
    number = 0
    for left, right in pairwise(columns):
        links = [link for cell in left for link in cell.links[RIGHT]]
        ends = [
            (left.index(link.ends[LEFT]), right.index(link.ends[RIGHT]))
            for link in links
        ]
        number += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(ends, 2))
    return number


def _align(columns: list[list[_Cell]], side: int) -> None:
    """Move each cell as near as possible to the middle of its neighbours on one side.

    As near as possible: of all heights that keep the order and the distances, those with
    the least sum of squares (found by pooling adjacent violators).
    """
    for column in columns if side == LEFT else columns[::-1]:
        offsets = [0.0]
        for upper, lower in pairwise(column):
            offsets.append(offsets[-1] + upper.reach[1] + BETWEEN + lower.reach[0])
        pools: list[list[float]] = []  # the wishes of cells that move together
        for cell, offset in zip(column, offsets, strict=True):
            heights = [link.ends[side].y for link in cell.links[side]] or [cell.y]
            pools.append([fmean(heights) - offset])
            while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
                last = pools.pop()
                pools[-1] += last
        heights = [fmean(pool) for pool in pools for _ in pool]
        for cell, height, offset in zip(column, heights, offsets, strict=True):
            cell.y = height + offset


@dataclass(frozen=True)
class _Gap:
    """The room between two columns: arrows change height in one part, labels stand in the other."""

    width: float
    curve: tuple[float, float]
    label_x: float

    @classmethod
    def after(cls, x: float, links: list[_Link], usual: float) -> "_Gap":
        labels = [text_size(link.label, SMALL)[0] for link in links if link.label]
        climb = max((abs(link.y(RIGHT) - link.y(LEFT)) for link in links), default=0)
        curve = 40 + min(climb / 5, 50) if climb else 0
        width = max(usual, max(labels, default=0) + curve + 2 * STUB)
        start, end = x + STUB, x + width - STUB
        if not labels:
            return cls(width, (start, end), x + width / 2)
        if links[0].label_side == RIGHT:
            start, end = start, start + curve
            return cls(width, (start, end), (end + x + width) / 2)
        start, end = end - curve, end
        return cls(width, (start, end), (x + start) / 2)


def _place(columns: list[list[_Cell]], ways: list[_Way]) -> Layout:
    """Turn columns and heights into boxes and points."""
    cells = list(chain.from_iterable(columns))
    top = min(cell.y - cell.reach[0] for cell in cells) - MARGIN
    bottom = max(cell.y + cell.reach[1] for cell in cells) + MARGIN
    for cell in cells:
        cell.y -= top
    widths = [max(cell.width for cell in column) for column in columns]
    room = (NOTEBOOK_WIDTH - 2 * MARGIN - sum(widths)) / max(len(columns) - 1, 1)
    usual = min(max(room, LEAST_GAP), USUAL_GAP)

    middle: dict[_Cell, float] = {}
    gaps: dict[_Link, _Gap] = {}
    left = right = MARGIN
    for column, width in zip(columns, widths, strict=True):
        right = left + width
        middle.update(dict.fromkeys(column, left + width / 2))
        links = [link for cell in column for link in cell.links[RIGHT]]
        gap = _Gap.after(right, links, usual)
        gaps.update(dict.fromkeys(links, gap))
        left = right + gap.width

    shapes = tuple(_shape(cell, middle[cell]) for cell in cells if cell.node)
    routes = tuple(_route(way, middle, gaps) for way in ways)
    return Layout(right + MARGIN, bottom - top, shapes, routes)


def _shape(cell: _Cell, x: float) -> Shape:
    width, height = cell.shape
    box = Box(x - width / 2, cell.y - height / 2, width, height)
    inside = cell.node.kind == "service"
    top = cell.y - text_size(cell.lines, FONT)[1] / 2 if inside else box.bottom + 4
    return Shape(cell.node, box, Text(cell.lines, x, top, FONT, bold=True))


def _route(way: _Way, middle: dict[_Cell, float], gaps: dict[_Link, _Gap]) -> Route:
    points: list[tuple[float, float]] = []
    for link in way.links:
        (left, right), (start, end) = link.ends, gaps[link].curve
        x0 = middle[left] + (left.shape[0] / 2 + TOUCH if left.node else 0)
        x1 = middle[right] - (right.shape[0] / 2 + TOUCH if right.node else 0)
        y0, y1 = link.y(LEFT), link.y(RIGHT)
        points += (
            [(x0, y0), (start, y0), (end, y1), (x1, y1)]
            if y0 != y1
            else [(x0, y0), (x1, y1)]
        )
    text = None
    if link.label:
        bottom = link.y(link.label_side) - PAIR / 2 - 4
        text = Text(
            link.label,
            gaps[link].label_x,
            bottom - text_size(link.label, SMALL)[1],
            SMALL,
        )
    return Route(way.arrow, tuple(points[::-1] if way.backward else points), text)
