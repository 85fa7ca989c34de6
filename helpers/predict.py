"""Predictions: the learner says what will come out, and sees it beside what did.

    predict("01/blocked", "When can Orders do something else?",
            {"at once": 0, "after about 0.25 s": 0.25, "after about 0.5 s": 0.5}, unit="s")
    ...                                                  # the run
    mark_prediction("01/blocked", ax)                    # a line in the figure
    reveal("01/blocked", sync.waited("orders"), because="A call waits for its answer.")

Who predicts nothing is told nothing: there is no line, and nothing is shown.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from numbers import Real

from helpers import forms, outputs, progress

Value = str | float
SECONDS = {"µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0}


def predict(
    name: str,
    question: str,
    choices: Sequence[str] | Mapping[str, float | None] | None = None,
    *,
    unit: str = "",
):
    """Ask for a prediction; return the widget, which a cell shows as its last line.

    name: the lesson or lab, and a word: "01/blocked", "lab01/slowest". It is the name for `reveal`.
    choices: texts, or texts with the number each stands for (None: for none, as "never" does).
        With numbers, `reveal` takes a measurement, and it decides which choice came out.
        Without choices, a number is asked for.
    unit: of the numbers. What was predicted before, in this or another kernel, is still there.
    """
    _check_name(name)
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"The prediction {name!r} needs a question.")
    values = None
    if choices is None:
        if not unit:
            raise ValueError(f"The prediction {name!r} of a number needs a unit.")
    elif (
        isinstance(choices, str) or len(choices) < 2 or len(set(choices)) < len(choices)
    ):
        raise ValueError(
            f"The prediction {name!r} needs two choices or more, each another."
        )
    elif isinstance(choices, Mapping):
        values = dict(choices)
        numbers = [value for value in values.values() if value is not None]
        if not numbers or not all(map(_is_number, numbers)):
            raise TypeError(
                f"Each choice of {name!r} stands for a number, or None; some number must be there."
            )
    widget = _prediction_class()(
        name, question, choices and list(choices), values, unit
    )
    _asked[name] = widget
    return widget


def predicted(name: str) -> Value | None:
    """What the learner predicted: a choice, or a number; None when nothing."""
    _check_name(name)
    return _asked[name].predicted if name in _asked else None


def reveal(name: str, came_out: Value, *, because: str = "") -> None:
    """Show what was predicted beside what came out; nothing when nothing was predicted.

    came_out: the choice that is right, or a number as it was measured, in the prediction's unit.
    because: why, in a sentence or two.
    """
    _check_name(name)
    asked = _asked.get(name)
    if asked is not None:
        asked.check(came_out)
    elif not isinstance(came_out, str) and not _is_number(came_out):
        raise TypeError(
            f"What came out of {name!r} is a text or a number, not {came_out!r}."
        )
    if asked is None or (guess := asked.predicted) is None:
        return
    outcome = asked.outcome(came_out)
    verdict = _verdict(guess, outcome, asked.told(came_out), asked.unit)
    said = progress.note(
        "predictions", name, predicted=guess, unit=asked.unit, came_out=_kept(outcome)
    )
    asked.finish()
    outputs.show(lambda: _display(verdict, because, said))


def mark_prediction(name: str, ax, axis: str = "x") -> None:
    """Draw a labelled line where the learner predicted; nothing when no number was predicted.

    axis: "x" or "y", the one with the prediction's unit; seconds find their place on an axis in
    milliseconds, too. Call it when all else is drawn: a prediction outside the axes is told at
    their edge.
    """
    _check_name(name)
    if axis not in ("x", "y"):
        raise ValueError(f'axis is "x" or "y", not {axis!r}.')
    asked = _asked.get(name)
    value = asked.number if asked else None
    if value is not None:
        label = f"you predicted {_number(value, asked.unit)}"
        _draw_line(ax, axis, value * _factor(ax, axis, asked.unit), label)


# -- The widget -------------------------------------------------------------------------

#: The predictions asked for in this kernel, by name.
_asked: dict[str, object] = {}


@cache
def _prediction_class() -> type:
    """Made at first use, since ipywidgets loads slowly."""
    import ipywidgets

    class Prediction(forms.form_class()):
        """A question, its choices or a field for a number, and a line that says it is noted."""

        def __init__(self, name, question, options, values, unit):
            self.name, self.unit = name, unit
            self.options, self.values = options, values
            self.predicted: Value | None = self._earlier()
            self._status = forms.announcement()
            asked = f"<strong>Predict.</strong> {forms.prose(question)}"
            if options:
                self.control = forms.choices(options, question=asked)
                if self.predicted is not None:
                    self.control.pick(options.index(self.predicted))
                self.control.on_pick(self._picked)
                shown = [self.control]
                offered = "".join(f"<li>{forms.prose(text)}</li>" for text in options)
                offered = f"<ul>{offered}</ul>"
                listed = " · ".join(map(forms.plain, options))
            else:
                self.control = ipywidgets.Text(
                    value="" if self.predicted is None else f"{self.predicted:g}",
                    placeholder="a number",
                    continuous_update=False,
                    description="Your prediction",
                    tooltip=f"{forms.plain(question)} A number, in {unit}.",
                    style={"description_width": "initial"},
                    layout={"width": "16em"},
                )
                self.control.observe(lambda _: self._picked(), "value")
                field = ipywidgets.HBox([self.control, ipywidgets.Label(unit)])
                shown = [forms.paragraph(f"<p>{asked}</p>"), field]
                offered = f"<p>(a number, in {html.escape(unit)})</p>"
                listed = f"a number, in {unit}"
            if self.predicted is not None:
                self._say("You predicted this earlier. You can still change it.")
            super().__init__(
                [*shown, self._status],
                text=f"Predict. {forms.plain(question)} ( {listed} )",
                static=f"<p>{asked}</p>{offered}<p><em>To predict, run this cell.</em></p>",
            )

        def predict(self, value: Value) -> None:
            """Predict as the learner does: pick a choice, or type a number."""
            if self.options:
                if value not in self.options:
                    raise ValueError(f"{value!r} is none of {self.options}.")
                self.control.pick(self.options.index(value))
            else:
                self.control.value = str(value)

        @property
        def number(self) -> float | None:
            """Where the prediction stands on an axis; None when nowhere."""
            if isinstance(self.predicted, str):
                return self.values.get(self.predicted) if self.values else None
            return self.predicted

        def check(self, came_out: Value) -> None:
            """Raise TypeError or ValueError for what cannot have come out."""
            if isinstance(came_out, str):
                if not self.options:
                    raise TypeError(
                        f"What came out of {self.name!r} is a number, not a text."
                    )
                if came_out not in self.options:
                    raise ValueError(
                        f"{came_out!r} is none of the choices of {self.name!r}: "
                        f"{', '.join(self.options)}."
                    )
            elif self.options and not self.values:
                raise TypeError(
                    f"What came out of {self.name!r} is one of its choices, not {came_out!r}: "
                    "they have no numbers."
                )
            elif not _is_number(came_out):
                raise TypeError(
                    f"What came out of {self.name!r} is a number, not {came_out!r}."
                )

        def outcome(self, came_out: Value) -> Value:
            """What came out, as it could be predicted: of choices, the one that is nearest."""
            if isinstance(came_out, str) or not self.options:
                return came_out
            numbers = {text: n for text, n in self.values.items() if n is not None}
            return min(numbers, key=lambda text: abs(numbers[text] - came_out))

        def told(self, came_out: Value) -> str:
            """What came out, in words, with the number that was measured."""
            if isinstance(came_out, str):
                return came_out
            if not self.options:
                return _number(came_out, self.unit)
            nearest = self.outcome(came_out)
            measured = f" (measured: {_number(came_out, self.unit)})"
            return nearest + measured * bool(self.unit)

        def finish(self) -> None:
            """It was revealed: what was predicted stands."""
            self.control.disabled = True
            self._say("Revealed. To predict anew, run this cell again.")

        def _earlier(self) -> Value | None:
            value = progress.noted("predictions").get(self.name, {}).get("predicted")
            fits = value in self.options if self.options else _is_number(value)
            return value if fits else None

        def _picked(self) -> None:
            try:
                self.predicted = self._read()
            except ValueError as error:
                self.predicted = None
                self._say(str(error))
                return
            if self.predicted is None:
                self._say("")
                return
            said = progress.note(
                "predictions", self.name, predicted=self.predicted, unit=self.unit
            )
            self._say(f"✓ Noted. Now run it and see. {said}".strip())

        def _read(self) -> Value | None:
            if self.options:
                return next((self.options[n] for n in self.control.picked), None)
            text = self.control.value.strip().removesuffix(self.unit).strip()
            return parse_number(text) if text else None

        def _say(self, text: str) -> None:
            self._status.value = f"<p>{html.escape(text)}</p>" * bool(text)

    return Prediction


def parse_number(text: str) -> float:
    """The number that somebody typed, such as 0.5, 0,5, 1,200 or 1e3. Raises ValueError."""
    text = text.strip()
    if re.fullmatch(r"[-+]?[1-9]\d{0,2}([, \u00a0\u202f]\d{3})+(\.\d+)?", text):
        text = re.sub(r"[, \u00a0\u202f]", "", text)
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("Please write a number, such as 0.5 or 12.")
    return value


# -- Words and lines --------------------------------------------------------------------


def _verdict(guess: Value, outcome: Value, told: str, unit: str) -> tuple[str, str]:
    """What was predicted and what came out, in words: a title and a sentence."""
    if isinstance(guess, str):
        right = guess == outcome
        title = "✓ As you predicted." if right else "✗ Not as you predicted."
        return title, f"You predicted “{guess}”. What came out: {told}."
    given = _number(guess, unit)
    off = float(outcome) - guess
    if told == given:
        title = "✓ As you predicted."
    else:
        title = (
            f"You were {_number(abs(off), unit)} too {'low' if off > 0 else 'high'}."
        )
    return title, f"You predicted {given}. What came out: {told}."


def _display(verdict: tuple[str, str], because: str, said: str) -> None:
    from IPython.display import display

    title, told = verdict
    more = [text for text in (because, said) if text]
    paragraphs = [f"<strong>{html.escape(title)}</strong> {forms.prose(told)}"]
    paragraphs += map(forms.prose, more)
    shown = (
        '<div style="max-width: 672px; padding: 2px 14px;'
        ' border-left: 4px solid var(--jp-brand-color1, #1976d2)">'
        + "".join(f'<p style="margin: 4px 0">{text}</p>' for text in paragraphs)
        + "</div>"
    )
    text = "\n".join(map(forms.plain, [f"{title} {told}", *more]))
    display({"text/html": shown, "text/plain": text}, raw=True)


def _draw_line(ax, axis: str, value: float, label: str) -> None:
    from helpers import figures

    with figures.drawing:
        (
            ax.get_xlim(),
            ax.get_ylim(),
        )  # which are up to date only when they are asked for
        point = (value, value)  # one half of it is of no interest
        place = ax.transAxes.inverted().transform(ax.transData.transform(point))[
            "xy".index(axis)
        ]
        arrows = ("← ", " →") if axis == "x" else ("↓ ", " ↑")
        if place < 0:
            label = f"{arrows[0]}{label}"
        elif place > 1:
            label = f"{label}{arrows[1]}"
        else:
            getattr(ax, f"ax{'v' if axis == 'x' else 'h'}line")(
                value, color="0.15", linestyle=(0, (6, 2, 1, 2)), linewidth=1.6
            )
        place = min(max(place, 0.0), 1.0)
        late = place > 0.5  # the label then stands before the line
        where = {
            "x": {
                "xy": (place, 0.04),
                "ha": "right" if late else "left",
                "va": "bottom",
            },
            "y": {
                "xy": (0.98, place),
                "ha": "right",
                "va": "top" if late else "bottom",
            },
        }[axis]
        step = -4 if late else 4
        ax.annotate(
            label,
            xycoords="axes fraction",
            xytext=(step, 0) if axis == "x" else (0, step),
            textcoords="offset points",
            color="0.15",
            fontsize="small",
            fontstyle="italic",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
            **where,
        )


def _factor(ax, axis: str, unit: str) -> float:
    """From the prediction's unit to the one in the axis's label, when both are of time."""
    label = getattr(ax, f"get_{axis}label")()
    found = re.search(r"\((\S+)\)$", label)
    if found and found[1] in SECONDS and unit in SECONDS:
        return SECONDS[unit] / SECONDS[found[1]]
    return 1


def _number(value: float, unit: str) -> str:
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{text} {unit}".strip()


def _kept(value: Value) -> Value:
    return value if isinstance(value, str) else float(value)


def _is_number(value: object) -> bool:
    return (
        isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    )


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"(lab)?\d\d/[a-z0-9-]+", name):
        raise ValueError(
            f'A prediction is named by its lesson and a word, as in "01/blocked", not {name!r}.'
        )
