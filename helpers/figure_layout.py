"""A constrained layout that is kept while nothing around the axes changes its size."""

from __future__ import annotations

from matplotlib.layout_engine import ConstrainedLayoutEngine


class KeptLayout(ConstrainedLayoutEngine):
    """matplotlib's constrained layout, kept as long as the same room is needed around the axes.

    What is needed is told by the lines of the titles and labels and the lengths of the tick
    labels, as to measure it takes as long as to lay out anew. Where that is not exact, the
    picture is off by a pixel or so; `forget()` before the next drawing makes it exact.
    """

    _places: list | None = None  # where the axes were put
    _needs: list | None = None  # what was around them then

    def forget(self) -> None:
        """Lay out anew the next time."""
        self._places = self._needs = None

    def execute(self, figure) -> None:
        for ax in figure.axes:
            _remember_ticks(ax.xaxis)
            _remember_ticks(ax.yaxis)
        # An inset, a colour bar or a subfigure has a place of its own.
        axes = [] if figure.subfigs else figure.axes
        if not axes or not all(ax.get_subplotspec() for ax in axes):
            super().execute(figure)
            return
        places = self._places or []
        if len(places) == len(axes):  # before the ticks are made, which depend on it
            _place(axes, places)
        if _needs(figure, axes) != self._needs:
            super().execute(figure)
            self._places = [ax.get_position() for ax in axes]
            self._needs = _needs(figure, axes)


def _place(axes: list, places: list) -> None:
    for ax, place in zip(axes, places, strict=True):
        ax.set_position(place)
        ax.set_in_layout(True)  # which set_position has ended


def _remember_ticks(axis) -> None:
    """Let an axis make its ticks once for the same limits and size.

    A drawing asks for them four times, which is a third of the time it takes.
    """
    if hasattr(axis, "_course_ticks"):
        return
    axis._course_ticks, make = {}, axis._update_ticks

    def ticks() -> list:
        known, now = (
            axis._course_ticks,
            (*axis.get_view_interval(), *axis.axes.bbox.size),
        )
        if now not in known:
            known.clear()
            known[now] = make()
        return known[now]

    axis._update_ticks = ticks


def _needs(figure, axes: list) -> list:
    found = [figure.get_size_inches().tolist(), *map(_lines, figure.texts)]
    for legend in figure.legends:
        found.append([len(text.get_text()) for text in legend.get_texts()])
    for ax in axes:
        spec = ax.get_subplotspec()
        grid = spec.get_gridspec()
        found += [
            spec.get_geometry(),
            grid.get_width_ratios(),
            grid.get_height_ratios(),
        ]
        found += [
            ax.get_title(where).count("\n") for where in ("left", "center", "right")
        ]
        for axis in (ax.xaxis, ax.yaxis):
            ticks = [text.get_text() for text in axis.get_majorticklabels()]
            found += [_lines(axis.label), max(map(len, ticks), default=0)]
    return found


def _lines(text) -> tuple[bool, int]:
    return bool(text.get_text()), text.get_text().count("\n")
