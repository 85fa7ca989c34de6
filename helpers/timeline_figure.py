"""Draw a timeline: a row per service, solid where it works, hatched where it waits."""

import math
import re
from collections import Counter, defaultdict

from helpers import figures, names
from helpers.activity import Activity, covered

MANY_CALLERS = 6  # more callers than that share a row
LANE, THIN_LANE, ROW_GAP = 0.28, 0.05, 0.26  # inches
LANES_HEIGHT = 3.4  # inches for all lanes together, unless there are so many that they get too thin
ROOM_FOR_WORDS = 0.16  # inches a lane must be high to have words in it
MANY_ARROWS = 40
SHORT = 0.2  # seconds; a shorter timeline counts in milliseconds
UNTAKEN = "(in the stream)"
UNENDED = "no end seen"
DARK = "#222222"

_ARROWS = {
    "request": {
        "color": figures.SYNC,
        "linewidth": 1.3,
        "arrowstyle": "-|>",
        "mutation_scale": 9,
        "zorder": 3,
    },
    "reply": {
        "color": figures.SYNC,
        "linewidth": 0.8,
        "arrowstyle": "->",
        "mutation_scale": 7,
        "zorder": 3,
    },
    "message": {
        "color": figures.ASYNC,
        "linewidth": 1.4,
        "linestyle": (0, (4, 2)),
        "arrowstyle": "-|>",
        "mutation_scale": 10,
        "zorder": 3,
    },
}


def draw(timeline, title: str | None = None):
    """The figure of a timeline that has ended."""
    with figures.drawing:
        return _Drawing(timeline).figure(title)


def describe(timeline) -> str:
    """An alternative text that is the same for every run in which the same services take part."""
    rows = _rows(timeline)
    activities = timeline.activities
    parts = [
        f"Timeline with a row each for {_listed(list(rows))}: solid where it works"
    ]
    if any(activity.waits for activity in activities):
        parts.append("hatched where it waits for an answer")
    kinds = {arrow.kind for arrow in timeline.arrows}
    if "request" in kinds:
        parts.append("solid arrows for requests and replies")
    if "message" in kinds:
        parts.append("dashed arrows for messages")
    return ", ".join(parts) + (
        "; crosses mark what failed." if any(map(_errors, activities)) else "."
    )


def headline(timeline) -> str:
    """A title that says what is seen: who waited how long, and for whose work."""
    activities, unit = timeline.activities, _unit(timeline)
    callers = [
        name
        for name in timeline.services
        if all(a.calling for a in activities if a.service == name)
    ]
    if not callers:
        busiest = max(timeline.services, key=timeline.worked)
        return (
            f"{names.label(busiest)} works {_duration(timeline.worked(busiest), unit)}"
        )
    caller = max(callers, key=timeline.waited)
    calls = [activity for activity in activities if activity.service == caller]
    waited = timeline.waited(caller)
    waits = f"{names.label(caller)} waits {_duration(waited, unit)}"
    later, meanwhile = Counter(), defaultdict(set)
    for activity in activities:
        if activity.worker:
            later[activity.service] += activity.worked
        elif not activity.calling:
            meanwhile[activity.service].update(
                (start, end)
                for call in calls
                if activity.trace_ids & call.trace_ids
                for start, end in _during(call, activity.working())
            )
    if later:
        worker, seconds = later.most_common(1)[0]
        return f"{waits}; {names.label(worker)} works {_duration(seconds, unit)} while nobody waits"
    seconds_of = {name: covered(stretches) for name, stretches in meanwhile.items()}
    worker, seconds = max(
        seconds_of.items(), key=lambda item: item[1], default=("", 0.0)
    )
    if seconds < 0.01 * waited:
        return f"{waits}, and nobody works for it meanwhile"
    return f"{waits}, of which {names.label(worker)} works {_duration(seconds, unit)}"


def _during(call: Activity, stretches) -> list[tuple[float, float]]:
    """The parts of the stretches that fall into the call."""
    parts = ((max(start, call.start), min(end, call.end)) for start, end in stretches)
    return [(start, end) for start, end in parts if end > start]


def _duration(seconds: float, unit: str) -> str:
    if unit == "s" and seconds >= 0.0995:
        return f"{seconds:.2f} s"
    return (
        f"{seconds * 1000:.0f} ms" if seconds >= 0.00995 else f"{seconds * 1000:.1f} ms"
    )


def _unit(timeline) -> str:
    return "ms" if _length(timeline) < SHORT else "s"


def _length(timeline) -> float:
    """Seconds from the opening to the last thing that is drawn."""
    arrivals = [arrow.arrived or arrow.sent for arrow in timeline.arrows]
    ends = [activity.end for activity in timeline.activities]
    return max([*ends, *arrivals, timeline.opened + 1e-4]) - timeline.opened


def _rows(timeline) -> dict[str, list[Activity]]:
    """Row label: what is in it. Many callers share one, and messages nobody took have one."""
    services = timeline.services
    stems = Counter(_stem(name) for name in services)
    rows: dict[str, list[Activity]] = {}
    for name in services:
        stem = _stem(name)
        many = stems[stem] > MANY_CALLERS
        rows.setdefault(
            f"{stems[stem]} {stem}s" if many else names.label(name), []
        ).extend(a for a in timeline.activities if a.service == name)
    if any(
        arrow.kind == "message" and arrow.target is None for arrow in timeline.arrows
    ):
        rows[UNTAKEN] = []
    return rows


def _stem(name: str) -> str:
    return re.sub(r" \d+$", "", name)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _errors(activity: Activity) -> list[tuple[float, str]]:
    """(when, why) for what went wrong; of a failure that was passed on, when it arrived."""
    errors = [(wait.end, wait.error) for wait in activity.waits if wait.error]
    return errors or ([(activity.end, activity.error)] if activity.error else [])


def _lanes(activities: list[Activity]) -> dict[Activity, int]:
    """Put each activity in the first lane that is free, so that what overlaps is seen side by side.

    Callers that share a row have a lane each.
    """
    free_from: list[tuple[str, float]] = []
    lanes = {}
    alone = len({activity.service for activity in activities}) > 1
    for activity in sorted(activities, key=lambda activity: activity.start):
        free = (
            lane
            for lane, (owner, time) in enumerate(free_from)
            if time <= activity.start and (not alone or owner == activity.service)
        )
        lane = next(free, len(free_from))
        free_from[lane : lane + 1] = [(activity.service, activity.end)]
        lanes[activity] = lane
    return lanes


class _Drawing:
    """The y axis counts inches from the top, so that what is measured there is what is seen."""

    def __init__(self, timeline):
        self.timeline = timeline
        self.rows = _rows(timeline)
        self.unit = _unit(timeline)
        lanes = {label: _lanes(activities) for label, activities in self.rows.items()}
        counts = {
            label: max(of_row.values(), default=0) + 1
            for label, of_row in lanes.items()
        }
        self.lane = max(THIN_LANE, min(LANE, LANES_HEIGHT / sum(counts.values())))
        self.bar = self.lane * 0.86
        self.y: dict[Activity, float] = {}  # where the middle of its lane is
        self.middle: dict[str, float] = {}  # of a row
        self.between: list[float] = []
        top = ROW_GAP / 2
        for label, of_row in lanes.items():
            height = max(counts[label] * self.lane, 0.16)
            for activity, lane in of_row.items():
                self.y[activity] = top + (lane + 0.5) * self.lane
            self.middle[label] = top + height / 2
            top += height + ROW_GAP
            self.between.append(top - ROW_GAP / 2)
        self.height = top - ROW_GAP / 2
        self.legend: dict[str, object] = {}
        self.words: list = []
        self.unwritten: set[str] = set()

    def figure(self, title: str | None):
        title = title or headline(self.timeline)
        fig = figures.figure(height=self.height + 1.05 + 0.2 * figures.lines_of(title))
        self.ax = ax = fig.subplots()
        figures.set_title(ax, title)
        end = self.at(self.timeline.opened + _length(self.timeline))
        ax.set(
            xlim=(-0.015 * end, 1.03 * end),
            ylim=(self.height, 0),
            xlabel=f"time since the block began ({self.unit})",
        )
        ax.set_yticks(list(self.middle.values()), list(self.middle))
        ax.tick_params(axis="y", length=0, labelsize=10)
        ax.grid(False, axis="y")
        for y in self.between[:-1]:
            ax.axhline(y, color="#BBBBBB", linewidth=0.6, zorder=0.5)
        for activity in self.y:
            self.draw_bars(activity)
        for arrow in self.timeline.arrows:
            self.draw_arrow(arrow)
        for activity in self.y:
            self.draw_ending(activity)
        self.place_words(fig)
        self.draw_legend(fig)
        return fig

    def at(self, time: float) -> float:
        """A moment's place on the x axis."""
        return max(time - self.timeline.opened, 0) * (1000 if self.unit == "ms" else 1)

    def draw_bars(self, activity: Activity) -> None:
        for start, end in activity.blocked():
            self.draw_bar(activity, "waiting", start, end)
        for start, end in activity.working() or (
            [] if activity.waits else [(activity.start, activity.end)]
        ):
            self.draw_bar(activity, "working", start, end)
        if activity.worker:  # one message's work ends where the next one's begins
            x, y, half = self.at(activity.end), self.y[activity], self.bar / 2
            self.ax.plot(
                [x, x],
                [y - half, y + half],
                color="white",
                linewidth=1,
                linestyle="-",
                zorder=2.5,
            )

    def draw_bar(self, activity: Activity, what: str, start: float, end: float) -> None:
        colour = figures.colour(activity.service)
        self.ax.add_patch(
            _rectangle(
                (self.at(start), self.y[activity] - self.bar / 2),
                self.at(end) - self.at(start),
                self.bar,
                what,
                colour,
                dense=self.lane < ROOM_FOR_WORDS,
                zorder=2,
                gid=f"{what}: {activity.service}",
            )
        )
        self.legend[what] = _rectangle((0, 0), 1, 1, what, "#777777")

    def draw_arrow(self, arrow) -> None:
        from matplotlib.patches import FancyArrowPatch

        look = dict(_ARROWS[arrow.kind])
        if (
            len(self.timeline.arrows) > MANY_ARROWS
        ):  # then they are thin, and go behind the bars
            look |= {"linewidth": 0.6, "mutation_scale": 6, "zorder": 1.5, "alpha": 0.8}
        start, sent = self.y[arrow.source], self.at(arrow.sent)
        if arrow.target is None:
            end, arrived = self.middle[UNTAKEN], sent
            self.ax.plot(
                [arrived],
                [end],
                "o",
                markersize=7,
                markerfacecolor="white",
                color=look["color"],
                zorder=4,
            )
        else:
            end, arrived = self.y[arrow.target], self.at(arrow.arrived)
        down = 1 if end > start else -1
        self.ax.add_patch(
            FancyArrowPatch(
                (sent, start + down * self.bar / 2),
                (arrived, end - down * (self.bar / 2 if arrow.target else 0.05)),
                shrinkA=0,
                shrinkB=0,
                gid=arrow.kind,
                **look,
            )
        )
        self.legend[arrow.kind] = FancyArrowPatch((0, 0), (1, 0), **_ARROWS[arrow.kind])

    def draw_ending(self, activity: Activity) -> None:
        """Crosses where something failed, and words where there is room for them."""
        from matplotlib.lines import Line2D

        look = {
            "linestyle": "",
            "marker": "X",
            "markersize": 9 if self.lane >= ROOM_FOR_WORDS else 6,
            "markerfacecolor": DARK,
            "markeredgecolor": "white",
        }
        for time, why in _errors(activity):
            self.ax.plot(
                [self.at(time)], [self.y[activity]], zorder=5, gid="failed", **look
            )
            self.legend["failed"] = Line2D([], [], **look)
            self.write(activity, time, why)
        if not activity.over:
            self.write(activity, activity.end, UNENDED)

    def write(self, activity: Activity, time: float, words: str) -> None:
        if self.lane < ROOM_FOR_WORDS:
            self.unwritten |= {words} - {UNENDED}
            return
        text = self.ax.annotate(
            words,
            (self.at(time), self.y[activity]),
            xytext=(8, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            bbox={
                "boxstyle": "round,pad=0.15",
                "facecolor": "white",
                "edgecolor": "none",
                "alpha": 0.85,
            },
            zorder=6,
            gid="reason",
        )
        self.words.append(text)

    def place_words(self, fig) -> None:
        """Let the time axis run on until all words are inside; the legend has what does not fit."""
        if not self.words:
            return
        fig.draw_without_rendering()  # a word's width is known once it is laid out
        inside = self.ax.get_window_extent()
        left, right = self.ax.get_xlim()
        for text in self.words:
            place = self.ax.transData.transform(text.xy)[0]
            needed = text.get_window_extent().x1 - place + 8  # pixels
            share = inside.width / (inside.width - needed)
            right = max(right, left + (text.xy[0] - left) * share)
        self.ax.set_xlim(left, right)
        fig.draw_without_rendering()
        placed = []
        for text in sorted(self.words, key=lambda text: -text.xy[0]):
            if any(text.get_window_extent().overlaps(other) for other in placed):
                text.set(ha="right", x=-8)
                if any(text.get_window_extent().overlaps(other) for other in placed):
                    text.remove()
                    self.unwritten |= {text.get_text()} - {UNENDED}
                    continue
            placed.append(text.get_window_extent())

    def draw_legend(self, fig) -> None:
        from matplotlib.legend_handler import HandlerPatch
        from matplotlib.patches import FancyArrowPatch

        names = {
            "working": "working",
            "waiting": "waiting for an answer",
            "request": "request",
            "reply": "reply",
            "message": "message",
            "failed": ": ".join(
                ["failed", *filter(None, [", ".join(sorted(self.unwritten))])]
            ),
        }
        shown = [name for name in names if name in self.legend]
        in_one_row = sum(len(names[name]) + 8 for name in shown) <= 96
        if not in_one_row:
            fig.set_figheight(fig.get_figheight() + 0.2)
        fig.legend(
            [self.legend[name] for name in shown],
            [names[name] for name in shown],
            loc="outside lower center",
            ncols=len(shown) if in_one_row else math.ceil(len(shown) / 2),
            handlelength=2.4,
            columnspacing=1.4,
            handler_map={FancyArrowPatch: HandlerPatch(patch_func=_legend_arrow)},
        )


def _rectangle(
    corner, width: float, height: float, what: str, colour: str, dense=False, **options
):
    from matplotlib.patches import Rectangle

    if what == "working":
        options["facecolor"] = colour
    else:
        options |= {"facecolor": "white", "hatch": "//////" if dense else "////"}
    return Rectangle(corner, width, height, edgecolor=colour, linewidth=0.8, **options)


def _legend_arrow(legend, orig_handle, xdescent, ydescent, width, height, fontsize):
    from matplotlib.patches import FancyArrowPatch

    middle = height / 2 - ydescent
    return FancyArrowPatch(
        (-xdescent, middle),
        (width - xdescent, middle),
        arrowstyle=orig_handle.get_arrowstyle(),
        mutation_scale=orig_handle.get_mutation_scale(),
        shrinkA=0,
        shrinkB=0,
    )
