"""What the course comes down to: its one decision as a picture, and what the lessons measured.

findings()                 # a table: lesson, sentence, the number it held with on this machine
call_or_message(...)       # a figure: when to call, when to send, and what each needs
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from itertools import groupby

from helpers import course, figures, progress
from helpers.claims import last_measured


@dataclass(frozen=True)
class Finding:
    """A claim of a lesson, and how to read the number that it held with."""

    lesson: str
    sentence: str
    reading: str  # a format for the number, with what it says: "{:.2f} s"
    times: float = 1  # the number is multiplied by this first

    @property
    def text(self) -> str:
        """The sentence without the number that some lessons put before theirs."""
        return re.sub(r"^\d\. ", "", self.sentence)

    @property
    def measured(self) -> str | None:
        """The learner's number, such as "0.52 s"; None when the claim has not held yet."""
        found = last_measured(self.sentence)
        return found and self.reading.format(self.times * found[0])


FINDINGS = (
    Finding(
        "01",
        "Call and wait: Orders is blocked for at least as long as Payments works",
        "{:.2f} s",
    ),
    Finding(
        "01",
        "Send and move on: Orders is free in under a tenth of the time",
        "{:.1f} ms",
        times=1000,
    ),
    Finding(
        "02",
        "With one thread, the last of three customers waited for all three charges",
        "{:.2f} s",
    ),
    Finding(
        "02",
        "1, 2 and 4 threads never serve more than n / L customers a second",
        "{:.0f} % of n / L",
        times=100,
    ),
    Finding(
        "03",
        "The order takes less than half the bytes as protobuf",
        "{:.0f} % of the JSON",
        times=100,
    ),
    Finding(
        "03",
        "Passed on, the Bank saw what was left of the 0.3 s",
        "{:.2f} s",
    ),
    Finding(
        "04",
        "Alex has his answer in under half the time that Payments takes",
        "{:.0f} ms",
        times=1000,
    ),
    Finding(
        "04",
        "Orders accepts at least twice as many orders a second when it does not wait",
        "{:.1f} times",
    ),
    Finding(
        "05",
        "3. Receiver busy: of twenty called at once, at least three are sent away",
        "{:.0f} of 20",
    ),
    Finding(
        "05",
        "6. Among calls to a slow service, a page that does not need it waits for it all the same",
        "{:.2f} s",
    ),
    Finding(
        "06",
        "Called through a bounded pool, more than half of all orders are lost",
        "{:.0f} %",
        times=100,
    ),
    Finding(
        "06",
        "The pool goes on failing after the spike: over half of the calls are lost that come then",
        "{:.0f} %",
        times=100,
    ),
    Finding(
        "06",
        "Sent, hardly an order is refused: at least 98 % are accepted",
        "{:.0f} %",
        times=100,
    ),
    Finding(
        "07",
        "All three services in front of the slow Bank were blocked for at least its 0.6 s",
        "{:.2f} s",
    ),
    Finding(
        "07",
        "While the Bank hangs, all of Orders' threads are in use",
        "{:.0f} % of them",
    ),
    Finding(
        "07",
        "With the breaker, most of the orders that fail do so in under half the timeout",
        "{:.0f} ms",
        times=1000,
    ),
    Finding(
        "08",
        "One at a time, gRPC is not 7 times as fast as the fastest REST pair",
        "{:.1f} times",
    ),
    Finding(
        "08",
        "One REST call for all 50: at least 3 times as fast as 50 by gRPC",
        "{:.0f} times",
    ),
    Finding(
        "09",
        "2. A question put behind twenty jobs takes at least three times as long "
        "as the same question by call",
        "{:.1f} times",
    ),
    Finding(
        "09",
        "3. Eight links take at least eight times the work of one",
        "{:.2f} s",
    ),
    Finding(
        "10",
        "When e-mail is slower, so is a button that waits for it",
        "{:.2f} s slower",
    ),
    Finding(
        "10",
        "In the spike, customers of a button that waits for everything give up",
        "{:.0f} customers",
    ),
)


def findings() -> Findings:
    """What the lessons measured on this machine, as a table for a cell's last line."""
    titles = {
        each.path.name[:2]: (each.title, each.path.name)
        for each in course.chapters(progress.COURSE)
        if each.path.parent.name == "notebooks"
    }
    return Findings(tuple((each, each.measured) for each in FINDINGS), titles)


@dataclass(frozen=True)
class Findings:
    """The findings, each with the learner's number or None; titles and files by lesson."""

    rows: tuple[tuple[Finding, str | None], ...]
    titles: dict[str, tuple[str, str]]

    def __repr__(self) -> str:
        return "\n".join(
            f"{each.lesson}  {each.text}: {number or _where(each)}"
            for each, number in self.rows
        )

    def _repr_html_(self) -> str:
        names = ("Lesson", "What held", "Your number")
        head = "".join(f'<th scope="col" {_LEFT}>{name}</th>' for name in names)
        body = "".join(
            self._part(lesson, list(rows))
            for lesson, rows in groupby(self.rows, lambda row: row[0].lesson)
        )
        return f"<table><thead><tr>{head}</tr></thead>{body}</table>"

    def _part(self, lesson: str, rows: list) -> str:
        """The rows of a lesson."""
        title, file = self.titles.get(lesson, (lesson, ""))
        name = html.escape(title)
        link = f'<a href="{file}">{name}</a>' if file else name
        first = f'<th scope="rowgroup" rowspan="{len(rows)}" {_LEFT}>{link}</th>'
        lines = "</tr><tr>".join(
            f"<td {_LEFT}>{html.escape(each.text)}</td><td {_LEFT}>{_cell(each, number)}</td>"
            for each, number in rows
        )
        return f"<tbody><tr>{first}{lines}</tr></tbody>"


_LEFT = 'style="text-align: left; vertical-align: top"'


def _where(finding: Finding) -> str:
    return f"run lesson {finding.lesson}"


def _cell(finding: Finding, number: str | None) -> str:
    return f"<strong>{number}</strong>" if number else f"<em>{_where(finding)}</em>"


# -- The picture ------------------------------------------------------------------------

_CALL, _MESSAGE, _BOTH = figures.SYNC, figures.ASYNC, "#444444"


def call_or_message(title: str, *, call: str, message: str):
    """The course's decision as a figure: one question, two ways, and what each needs.

    call, message: what came of either way, in a few words, for the middle of the picture.
    """
    fig = figures.figure(9.4, 5.4)
    with figures.drawing:
        ax = fig.subplots()
        ax.set(xlim=(0, 100), ylim=(0, 100))
        ax.set_axis_off()
        figures.set_title(ax, title)
        _box(
            ax, 50, 93, "Does the next step need the answer now?", "#444444", bold=True
        )
        for way, came in zip(_WAYS, (call, message), strict=True):
            x, colour = way["x"], way["colour"]
            _arrow(ax, (50, 88.5), (x, 80.5), colour)
            _box(ax, x, 76, way["name"], colour, filled=True)
            ax.text(x, 68, came, ha="center", va="center", style="italic")
            _arrow(ax, (x, 64.5), (x, 60.5), colour)
            _box(ax, x, 48.5, "\n".join(way["needs"]), colour)
            _arrow(ax, (x, 36.5), (x, 31.5), colour)
            _box(ax, x, 27, way["ask"], colour, bold=True)
            for at, (when, then) in zip((x - 12, x + 12), way["then"], strict=True):
                _arrow(ax, (x, 22.5), (at, 16.5), colour)
                ax.text(at, 12.5, when, ha="center", va="center", linespacing=1.3)
                _box(ax, at, 4, then, colour, filled=True)
    return fig


_WAYS = (
    {
        "x": 25,
        "colour": figures.SYNC,
        "name": "Yes: call and wait",
        "needs": (
            "always with a timeout",
            "no answer: the outcome is unknown",
            "try again only with a key",
            "few links, a breaker before the weak one",
        ),
        "ask": "Who calls?",
        "then": (("anybody, or seldom", "REST"), ("own services, often", "gRPC")),
    },
    {
        "x": 75,
        "colour": figures.ASYNC,
        "name": "No: send and move on",
        "needs": (
            "acknowledge after the work",
            "may come twice: a key makes it harmless",
            "carry a correlation id",
            "watch lag and pending",
        ),
        "ask": "Who gets it?",
        "then": (
            ("one worker of many", "message queue"),
            ("all who care", "event bus"),
        ),
    },
)


def _box(ax, x, y, text, colour, *, bold=False, filled=False) -> None:
    ax.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        color="white" if filled else "black",
        weight="bold" if bold or filled else "normal",
        linespacing=1.5,
        bbox={
            "boxstyle": "round,pad=0.5",
            "facecolor": colour if filled else "white",
            "edgecolor": colour,
            "linewidth": 1.5,
        },
    )


def _arrow(ax, start, end, colour) -> None:
    ax.annotate(
        "",
        xy=end,
        xytext=start,
        arrowprops={
            "arrowstyle": "-|>",
            "color": colour,
            "linewidth": 1.5,
            "shrinkA": 0,
            "shrinkB": 0,
        },
    )
