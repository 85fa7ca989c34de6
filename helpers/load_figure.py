"""Draw a load run: what each request waited, the threads in use above it, a breaker's states.

figure = load_chart("The pool fills", run, {"order": is_order, "catalog": ~is_order},
                    held=(moments, counts), threads=8, shaded=(0.2, 1.1, "the Bank hangs"))
show(figure, alt="...")
"""

from collections.abc import Iterable, Mapping
from itertools import pairwise

from helpers import figures

_KINDS = (("o", 5, figures.SYNC), ("s", 3, "0.45"), ("^", 4, figures.ASYNC))
_STATES = {  # face, hatch: told apart without colour, too
    "closed": ("white", ""),
    "open": ("0.35", ""),
    "half-open": ("white", "/////"),
}
STRIP = (
    0.9  # where the strip of a breaker's states begins, as a share of the axes' height
)


def load_chart(
    title: str,
    run,
    kinds: Mapping[str, object],
    *,
    held: tuple | None = None,
    threads: int | None = None,
    shaded: tuple[float, float, str] | None = None,
    states: Iterable[tuple[float, str]] = (),
):
    """A figure of a `Run`: when each request was to leave, and after how many seconds it was answered.

    kinds: up to three, as {label: which of the requests, a boolean array}; a cross is one that failed.
    held: (moments, counts), seconds in the run and how many threads are in use from then on; it is
        drawn above. threads: how many there are.
    shaded: (begin, end, what was then), in seconds.
    states: (moment, state) of a circuit breaker, the moment as time.time() gives it; a strip.
    """
    if not 1 <= len(kinds) <= len(_KINDS):
        raise ValueError(f"kinds has {len(kinds)} entries: give one to {len(_KINDS)}")
    states = list(states)
    unknown = {state for _, state in states} - set(_STATES)
    if unknown:
        raise ValueError(f"states are {', '.join(_STATES)}, not {unknown.pop()!r}")
    x, y = "time (s)", "answered after (s)"
    with figures.drawing:
        if held is None:
            figure, low = figures.chart(title, x=x, y=y, height=3.8)
            rows = [low]
        else:
            figure, top = figures.chart(title, x=x, y="in use (threads)", height=5)
            grid = figure.add_gridspec(2, 1, height_ratios=[2, 3])
            top.set_subplotspec(grid[0])
            top.set_xlabel("")
            low = figure.add_subplot(grid[1], sharex=top, xlabel=x, ylabel=y)
            rows = [top, low]
            _draw_pool(top, held, threads)
        if shaded:
            begin, end, what = shaded
            for ax in rows:
                ax.axvspan(begin, end, color="0.92", zorder=0, label=what)
        _draw_waits(low, run, kinds)
        _draw_states(low, run, states)
        handles, labels = low.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _draw_pool(ax, held: tuple, threads: int | None) -> None:
    moments, counts = held
    ax.step(moments, counts, where="post", color=figures.SYNC)
    if threads:
        ax.axhline(threads, color="0.3", linestyle=":")
        ax.set_ylim(0, 1.12 * threads)


def _draw_waits(ax, run, kinds: Mapping[str, object]) -> None:
    for (label, which), (mark, size, colour) in zip(
        kinds.items(), _KINDS, strict=False
    ):
        good, bad = which & run.ok, which & ~run.ok
        look = {"linestyle": "", "color": colour, "markersize": size}
        ax.plot(run.intended[good], run.latency[good], mark, **look, label=label)
        if bad.any():
            failed = f"{label}, failed"
            cross = look | {"markersize": size + 1, "markeredgewidth": 1.5, "zorder": 3}
            ax.plot(run.intended[bad], run.latency[bad], "x", **cross, label=failed)
    ax.set_xlim(0, None)
    ax.set_ylim(0, 1.2 * max(0.1, *run.latency))  # below the strip


def _draw_states(ax, run, states: list[tuple[float, str]]) -> None:
    moments = [(max(0.0, moment - run.began), state) for moment, state in states]
    labels = {state: f"breaker {state}" for _, state in states}
    for (begin, state), (end, _) in pairwise([*moments, (run.seconds, "")]):
        face, hatch = _STATES[state]
        ax.axvspan(
            begin,
            end,
            STRIP,
            1,
            facecolor=face,
            hatch=hatch,
            edgecolor="0.3",
            zorder=4,
            label=labels.pop(state, None),  # one entry in the legend for each state
        )
