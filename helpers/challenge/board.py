"""The board: all 16 designs run on a button, with a progress bar, and stand side by side."""

from __future__ import annotations

import base64
import html
import threading
from collections.abc import Mapping
from functools import cache

from helpers.challenge.design import Design, designs
from helpers.challenge.judge import Verdict, judge
from helpers.challenge.scenarios import SCENARIOS
from helpers.challenge.stage import Stopped


def board(runs: Mapping[Design, Verdict], *, mine: Design):
    """A widget with the designs that were run so far, and a button to run the others.

    runs: the verdicts that there are already, by design; they are not run again.
    mine: the design whose standing is told; it is one of them.

    For tests the widget has `.run()`, `.stop()`, `.running`, `.runs` and `.status`.
    """
    if mine not in runs:
        raise ValueError("mine is one of the runs: judge it first")
    return _board_class()(runs, mine)


_boards: list = []  # the newest one; running its cell again ends the old one's run


@cache
def _board_class() -> type:
    """Made at first use, since ipywidgets loads slowly."""
    import ipywidgets

    from helpers import figures
    from helpers.challenge import figure, words

    class Board(ipywidgets.VBox):
        def __init__(self, runs: Mapping[Design, Verdict], mine: Design):
            self.runs, self.mine = dict(runs), mine
            self.figure = figures.figure()
            self.error: BaseException | None = None
            self._stop, self._starting = threading.Event(), threading.Lock()
            self._worker: threading.Thread | None = None
            self._run_button = ipywidgets.Button(
                description="Run all 16", tooltip="Run the designs that are missing"
            )
            self._stop_button = ipywidgets.Button(
                description="Stop", tooltip="Stop the run", disabled=True
            )
            self._run_button.on_click(lambda _: self.start())
            self._stop_button.on_click(lambda _: self.stop())
            self._bar = ipywidgets.IntProgress(
                max=len(designs()) * len(SCENARIOS),
                tooltip="How many of the scenarios of all designs have been run",
                layout={"width": "16em"},
            )
            self._status, self._picture = ipywidgets.HTML(), ipywidgets.HTML()
            super().__init__(
                [
                    ipywidgets.HBox([self._run_button, self._stop_button, self._bar]),
                    self._status,
                    self._picture,
                ]
            )
            for old in _boards:
                old.stop()
            _boards[:] = [self]
            self._redraw()

        # What tests and buttons use

        def start(self) -> None:
            """Run the designs that are missing, in the background."""
            with self._starting:
                if self.running:
                    return
                self.error = None
                self._stop = threading.Event()
                self._busy(True)
                self._worker = threading.Thread(
                    target=self._run, args=(self._stop,), name="board", daemon=True
                )
                self._worker.start()

        def run(self) -> None:
            """The same, and wait for the end; raises what went wrong."""
            self.start()
            self._worker.join()
            if self.error:
                raise self.error

        def stop(self) -> None:
            """Ask the run to end; the design that is being run is dropped."""
            self._stop.set()

        @property
        def running(self) -> bool:
            return self._worker is not None and self._worker.is_alive()

        @property
        def status(self) -> str:
            """What the learner reads beside the bar."""
            return html.unescape(self._status.value)

        # Running

        def _run(self, stop: threading.Event) -> None:
            try:
                for design in designs():
                    if design in self.runs:
                        continue
                    self.runs[design] = judge(
                        design.checkout,
                        name=str(design),
                        stopping=stop.is_set,
                        before=lambda number, scenario, design=design: self._at(
                            number, f"{design}: {scenario.name}"
                        ),
                    )
                    self._redraw()
                self._say(words.standing(self.runs[self.mine], self.runs.values()))
            except Stopped:
                self._say("Stopped. What was run to its end stays.")
            except BaseException as error:
                self.error = error
                self._say(f"The run failed: {type(error).__name__}: {error}")
            finally:
                self._busy(False)

        def _at(self, number: int, text: str) -> None:
            self._bar.value = len(self.runs) * len(SCENARIOS) + number
            self._say(text)

        def _busy(self, busy: bool) -> None:
            self._bar.value = len(self.runs) * len(SCENARIOS)
            self._bar.description = f"{len(self.runs)} of {len(designs())}"
            self._run_button.disabled = busy or len(self.runs) == len(designs())
            self._stop_button.disabled = not busy

        def _say(self, text: str) -> None:
            self._status.value = f'<span role="status">{html.escape(text)}</span>'

        # Showing

        def _redraw(self) -> None:
            with figures.drawing:
                self.figure.clear()
                figure.compare(self.figure, self.runs, len(designs()))
                picture = base64.b64encode(figures.svg(self.figure)).decode()
            width, _ = figures.shown_size(self.figure)
            self._picture.value = (
                f'<img alt="{html.escape(figure.ALT)}" width="{width}" style="max-width: 100%" '
                f'src="data:image/svg+xml;base64,{picture}">'
            )
            self._busy(self.running)

        def __repr__(self) -> str:
            return figure.ALT

        def _repr_mimebundle_(self, **kwargs: object):
            """The live widget and, for pages without a kernel, the picture."""
            data = super()._repr_mimebundle_(**kwargs)
            return figures.widget_mimebundle(data, self.figure, figure.ALT)

    return Board
