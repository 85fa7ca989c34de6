"""The verdict's picture: every delivery to a worker that dies again and again, and what came of it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from helpers.labs.card_bank import REFUSED
from helpers.labs.killed_often import Life

CHARGED = "charged"
CUT_BEFORE = "killed before the charge"
CUT_AFTER = "charged, killed before the ack"
REPEAT = "a repeat: nothing charged"
DOUBLE = "charged once more"
NO = "card refused"

AMBER, GREY, BLUE, RED = "#E69F00", "#555555", "#0072B2", "#B00020"
LOOKS = {  # marker, size, face, edge
    CHARGED: ("o", 30, AMBER, "white"),
    CUT_BEFORE: ("x", 34, RED, None),
    CUT_AFTER: ("X", 60, AMBER, RED),
    REPEAT: ("s", 30, "none", BLUE),
    DOUBLE: ("*", 170, RED, "white"),
    NO: ("D", 24, "none", GREY),
}


class Dot(NamedTuple):
    """A delivery: the number of the life that got it, the order, and what came of it."""

    life: int
    order: str
    kind: str


def dots_of(lives: Iterable[Life], cards: dict[str, str]) -> list[Dot]:
    """All deliveries in turn. cards: of the orders."""
    dots, done = [], set()
    for number, life in enumerate(lives):
        charged = list(life.charged)
        for message, order in life.delivered:
            cut = life.end != "returned" and message in life.pending
            if order in charged:
                charged.remove(order)
                kind = DOUBLE if order in done else CUT_AFTER if cut else CHARGED
                done.add(order)
            elif order in done:
                kind = REPEAT
            elif cut:
                kind = CUT_BEFORE
            else:
                kind = NO if cards.get(order) in REFUSED else REPEAT
            dots.append(Dot(number, order, kind))
    return dots


def show(
    lives: Sequence[Life], cards: dict[str, str], orders: int, doubles: int, losses: int
) -> None:
    """Draw the deliveries in turn, over the lives in which they came."""
    from helpers import figures

    dots = dots_of(lives, cards)
    kills = sum(life.end == "killed" for life in lives)
    over = bool(lives) and lives[-1].end == "returned"
    figure, ax = figures.chart(
        f"{kills} {'kill' if kills == 1 else 'kills'}, {len(dots)} deliveries: of {orders} orders, "
        f"{doubles} charged twice and {losses} {'lost' if over else 'not charged yet'}",
        x="deliveries to the worker, one after the other (count)",
        y="order (number)",
        height=4.2,
    )
    rows = {order: row for row, order in enumerate(cards, start=1)}
    for kind, (marker, size, face, edge) in LOOKS.items():
        x = [n for n, dot in enumerate(dots, start=1) if dot.kind == kind]
        if x:
            y = [rows.get(dots[n - 1].order, 0) for n in x]
            look = {"edgecolors": edge} if edge else {}
            ax.scatter(x, y, size, face, marker=marker, label=kind, zorder=3, **look)
    _draw_lives(ax, lives, dots)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlim=(0, len(dots) + 1), ylim=(-5, len(rows) + 2))
    ax.set_yticks([-2.5, *range(10, len(rows) + 1, 10)])
    ax.set_yticklabels(["lives", *range(10, len(rows) + 1, 10)])
    ax.legend(loc="upper left")
    figures.show(
        figure,
        alt="A mark for each delivery to the worker, in turn, by the number of its order. Bars "
        "below are the lives of the worker, and a stroke at the end of a bar is a kill. The marks "
        "climb from order to order; where a kill has struck, the order comes again in a later "
        "life. Squares are repeats, for which nothing is charged.",
    )


def _draw_lives(ax, lives: Sequence[Life], dots: Sequence[Dot]) -> None:
    """A bar for each life in which something was delivered, and a stroke where it was killed."""
    kills = []
    for number in sorted({dot.life for dot in dots}):
        mine = [n for n, dot in enumerate(dots, start=1) if dot.life == number]
        left, right = mine[0] - 0.4, mine[-1] + 0.3
        look = {"color": "#CCCCCC", "edgecolor": "#555555", "linewidth": 0.6}
        ax.barh(-2.5, right - left, 2.2, left, **look)
        if lives[number].end == "killed":
            kills.append(right + 0.15)
    look = {"marker": "|", "color": RED, "linestyle": "", "zorder": 4}
    low = [-2.5] * len(kills)
    ax.plot(kills, low, markersize=15, markeredgewidth=2, label="killed", **look)
