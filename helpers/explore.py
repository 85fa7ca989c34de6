"""Explore widgets: controls joined to a drawing and, where there is one, to a real run.

    def draw(figure, points, threads, seconds):
        ax = figure.subplots()
        ...

    explore(
        draw,
        measure=measure,
        alt="Customers a second against threads: the line is n / L, the dots are measured.",
        threads=slider("Threads", 1, 8, 1, 2),
        seconds=slider("Payments takes", 0.0, 1.0, 0.05, 0.4, "s"),
    )

`draw` is a plain function that draws into the figure it is given; it follows the controls
as they are dragged. `measure` is a plain function too; it runs when its button is pressed.
"""

from __future__ import annotations

import html
import inspect
import itertools
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from helpers import garbage, scripts
from helpers.controls import check_position, extremes

NOTHING_RUNS = "No service is running. If this needs one, run the cells above again."


@dataclass(frozen=True)
class Point:
    """A measurement: the position of the controls, and what came out."""

    params: dict[str, object]
    result: object


def explore(draw: Callable, *, measure: Callable | None = None, alt: str, **controls):
    """Join controls to a drawing; return the widget, which a cell shows as its last line.

    draw: `draw(figure, **params)`, with the position of each control by its name; it draws
        into a matplotlib Figure that is empty each time. With `measure` it is
        `draw(figure, points, **params)`, where `points` are the `Point`s measured so far.
    measure: `measure(**params)`, a real run; what it returns becomes a `Point`. If it has a
        parameter `stopping`, it gets a function that is true once Stop was pressed.
    alt: what the picture shows, in a sentence, for whoever cannot see it.
    controls: a `slider` or a `choice` for each parameter of the two functions.

    What does not fit together raises a TypeError or a ValueError at once.
    For tests the widget has `.params`, `.figure`, `.points`, `.set(**params)`, `.measure()`
    and `.ends()`; an exception in `draw` or `measure` comes out of these as it is.
    """
    import ipywidgets

    if not callable(draw):
        raise TypeError(f"draw is a function that draws into a figure, not {draw!r}.")
    if measure is not None and not callable(measure):
        raise TypeError(f"measure is a function that makes a run, not {measure!r}.")
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError("Say in alt what the picture shows, in a sentence.")
    if not controls:
        raise ValueError("Give at least one control: name=slider(...).")
    for name, control in controls.items():
        if not isinstance(control, ipywidgets.ValueWidget):
            raise TypeError(
                f"{name} is a slider(...) or a choice(...), not {control!r}."
            )
    _check_takes(
        draw, ["figure"] if measure is None else ["figure", "points"], controls
    )
    if measure is not None:
        extra = {"stopping": None} if _can_stop(measure) else {}
        _check_takes(measure, [], controls | extra)
    return _explore_class()(draw, measure, alt, controls)


@cache
def _explore_class() -> type:
    """The class of the widget. It is made at first use, since ipywidgets loads slowly."""
    import anywidget
    import ipywidgets
    from traitlets import Bytes, Int, Unicode

    from helpers import figures, load, registry
    from helpers.figure_layout import KeptLayout

    class Picture(anywidget.AnyWidget):
        """An SVG with an alternative text, which an ipywidgets.Image cannot have."""

        _esm = scripts.with_keys("explore.js")
        _css = scripts.FOLDER / "explore.css"
        value = Bytes().tag(sync=True)  # not as a text, which would be slower
        alt = Unicode().tag(sync=True)
        width = Int().tag(sync=True)  # as displayed, in pixels
        height = Int().tag(sync=True)

    class Explore(ipywidgets.VBox):
        """Controls, picture and buttons."""

        def __init__(
            self, draw: Callable, measure: Callable | None, alt: str, controls: dict
        ):
            self.figure = figures.figure()
            self._layout = KeptLayout()
            self.figure.set_layout_engine(self._layout)
            self.controls = controls
            self.points: list[Point] = []
            self._draw, self._measure, self._alt = draw, measure, alt
            self._saved = self.params
            self._placing = self._undrawn = False
            self._worker: threading.Thread | None = None
            self._starting = threading.Lock()
            self._stop = threading.Event()
            self._error: BaseException | None = None

            value = self._drawn()
            width, height = figures.shown_size(self.figure)
            self._picture = Picture(value=value, alt=alt, width=width, height=height)
            self._picture.add_class("course-picture")
            self._picture.layout.margin = "2px 0"  # or it would be wider than the box
            self._status = ipywidgets.HTML()
            self._status.add_class("course-status")
            buttons = ipywidgets.HBox(self._buttons())
            super().__init__([*controls.values(), self._picture, buttons, self._status])
            self.add_class("course-explore")
            for control in controls.values():
                control.observe(self._moved, "value")
            _take_over(self, draw)

        def _buttons(self) -> list:
            self._measure_button = _button(
                "Measure", "Make a real run with these settings", self._start
            )
            self._stop_button = _button("Stop", "End the run under way", self.stop)
            self._stop_button.disabled = True
            self._reset_button = _button(
                "Reset", "Back to where it started", self.reset
            )
            if self._measure is None:
                return [self._reset_button]
            if not _can_stop(self._measure):
                return [self._measure_button, self._reset_button]
            return [self._measure_button, self._stop_button, self._reset_button]

        # What tests and callbacks use

        @property
        def params(self) -> dict[str, object]:
            """The position of each control."""
            return {name: control.value for name, control in self.controls.items()}

        def set(self, **params: object) -> None:
            """Move controls and draw once."""
            for name, value in params.items():
                check_position(name, value, self.controls)
            self._place(params)
            self._redraw()

        def ends(self) -> Iterator[dict[str, object]]:
            """The positions with each control at one of its ends (or at one of its options)."""
            places = map(extremes, self.controls.values())
            for values in itertools.product(*places):
                yield dict(zip(self.controls, values, strict=True))

        def measure(self) -> Point:
            """Make a run as the button does, and wait for it."""
            if self._measure is None:
                raise RuntimeError(
                    "This widget has nothing to measure: it was made without measure=."
                )
            count = len(self.points)
            self._start()
            self._worker.join()
            if self._error:
                raise self._error
            if len(self.points) == count:
                raise RuntimeError("The run was stopped.")
            return self.points[-1]

        def stop(self) -> None:
            """Ask the run under way to end; its result is dropped."""
            self._stop.set()

        @property
        def running(self) -> bool:
            """Is a run under way?"""
            return self._worker is not None and self._worker.is_alive()

        def reset(self) -> None:
            """Back to the state in the saved notebook: the controls' start, and no measurements."""
            self.stop()
            self.points.clear()
            self._place(self._saved)
            self._say("")
            self._redraw()

        # Drawing

        def _drawn(self) -> bytes:
            with figures.drawing:
                for ax in self.figure.axes:
                    ax.remove()  # or clear() would make them afresh first
                self.figure.clear()
                points = [] if self._measure is None else [list(self.points)]
                self._draw(self.figure, *points, **self.params)
                return figures.svg(self.figure)

        def _redraw(self, quick: bool = False) -> None:
            # Locked until it is sent, so that pictures come in order; and to collect the
            # much garbage that a drawing makes would be a pause or two in it.
            with figures.drawing, garbage.left_for_later():
                if not quick:
                    self._layout.forget()
                self._picture.value = self._drawn()

        def _moved(self, _change: object) -> None:
            """A control was moved by hand."""
            if self._placing:
                return
            try:
                self._redraw(quick=True)
            except Exception as error:
                self._undrawn = True
                self._say(_told("This could not be drawn", error))
            else:
                if self._undrawn:
                    self._undrawn = False
                    self._say("")

        def _place(self, params: dict[str, object]) -> None:
            self._placing = True
            try:
                for name, value in params.items():
                    self.controls[name].value = value
            finally:
                self._placing = False

        # Measuring

        def _start(self) -> None:
            with self._starting:
                if self.running:
                    return
                self._error = None
                self._stop = threading.Event()
                self._busy(True)
                self._worker = threading.Thread(
                    target=self._run,
                    args=(self.params, self._stop),
                    name="measure",
                    daemon=True,
                )
                self._worker.start()

        def _run(self, params: dict[str, object], stop: threading.Event) -> None:
            extra = {"stopping": stop.is_set} if _can_stop(self._measure) else {}
            try:
                result = self._measure(**params, **extra)
                if stop.is_set():
                    self._say("Stopped. Nothing was added.")
                else:
                    self.points.append(Point(params, result))
                    self._redraw()
                    self._say(f"Measured {_times(len(self.points))}.")
            except BaseException as error:
                self._error = error
                told = _told("The run failed", error)
                if (
                    registry.is_empty()
                ):  # as after "Run All", at whose end is stop_all()
                    told = f"{NOTHING_RUNS} {told}"
                self._say(told)
            finally:
                self._busy(False)

        def _busy(self, busy: bool) -> None:
            self._measure_button.disabled = busy
            self._measure_button.description = "Measuring …" if busy else "Measure"
            self._stop_button.disabled = not busy
            if busy:
                self._status.value = load.bar("A real run is under way")

        def _say(self, text: str) -> None:
            self._status.value = html.escape(text)

        # Showing

        def __repr__(self) -> str:
            return self._alt

        def _repr_mimebundle_(self, **kwargs: object):
            """The live widget and, for pages without a kernel, the picture."""
            data = super()._repr_mimebundle_(**kwargs)
            return figures.widget_mimebundle(data, self.figure, self._alt)

    return Explore


# One drawing has one widget that measures: running its cell again ends the old one's run.
_widgets: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


def _take_over(widget: object, draw: Callable) -> None:
    key = getattr(draw, "__module__", ""), getattr(draw, "__qualname__", repr(draw))
    if old := _widgets.get(key):
        old.stop()
    _widgets[key] = widget


def _button(label: str, tooltip: str, pressed: Callable[[], None]):
    import ipywidgets

    button = ipywidgets.Button(description=label, tooltip=tooltip)
    button.on_click(lambda _: pressed())
    return button


def _told(what: str, error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{what}: {type(error).__name__}" + (f": {text[:200]}" if text else "")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _can_stop(measure: Callable) -> bool:
    return "stopping" in inspect.signature(measure).parameters


def _check_takes(function: Callable, positional: list[str], named: dict) -> None:
    """Will `function` take what it is going to be given? Better said now than at the first drag."""
    try:
        inspect.signature(function).bind(*positional, **named)
    except TypeError as error:
        wanted = ", ".join([*positional, *named])
        name = getattr(function, "__name__", "The function")
        raise TypeError(f"{name} must take ({wanted}): {error}.") from None
