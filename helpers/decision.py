"""A decision helper: tick which questions have the answer yes, and read an advice with its reasons.

    def advise(answers):                      # {"wait": True, "spikes": False}
        ...
        return "Call and wait", ["The next step needs the answer."]

    decision({"wait": "Does the next step need the answer?", "spikes": "..."}, advise)

What is advised is up to the function: here is only the form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from helpers import forms


def decision(
    questions: Mapping[str, str],
    advise: Callable[[dict[str, bool]], tuple[str, list[str]]],
):
    """The questions as boxes to tick; return the widget, which a cell shows as its last line.

    questions: each by a short name.
    advise: called with the answer to each question by its name, at first and after each tick;
        returns the advice and its reasons.

    For tests the widget has `.answers`, `.tick(*names)` and `.advice`, the HTML it shows.
    Raises TypeError or ValueError when it cannot be made, and what `advise` raises at first.
    """
    if not callable(advise):
        raise TypeError(f"advise is a function that takes the answers, not {advise!r}.")
    if len(questions) < 2:
        raise ValueError("A decision needs two questions or more.")
    return _decision_class()(dict(questions), advise)


@cache
def _decision_class() -> type:
    """Made at first use, since ipywidgets loads slowly."""

    class Decision(forms.form_class()):
        """A box to tick for each question, and the advice below."""

        def __init__(self, questions: dict[str, str], advise: Callable):
            self._names, self._advise = list(questions), advise
            self._boxes = forms.choices(
                list(questions.values()), several=True, question=_HEAD
            )
            self._shown = forms.announcement()
            self._shown.value = self._advised()
            self._boxes.on_pick(self._changed)
            listed = "".join(f"<li>{forms.prose(q)}</li>" for q in questions.values())
            super().__init__(
                [self._boxes, self._shown],
                text="\n".join(
                    ["Think of a step. Tick what is true of it:"]
                    + [f"- {forms.plain(q)}" for q in questions.values()]
                ),
                static=f"{_HEAD}<ul>{listed}</ul><p><em>To get an advice, run this cell.</em></p>",
            )

        @property
        def answers(self) -> dict[str, bool]:
            """The answer to each question, by its name."""
            picked = self._boxes.picked
            return {name: n in picked for n, name in enumerate(self._names)}

        def tick(self, *names: str) -> None:
            """Tick these questions and no others, as the learner does."""
            for name in names:
                if name not in self._names:
                    known = ", ".join(self._names)
                    raise ValueError(
                        f"There is no question {name!r}; there are {known}."
                    )
            self._boxes.pick(*map(self._names.index, names))

        @property
        def advice(self) -> str:
            """What it says at present, an HTML."""
            return self._shown.value

        def _changed(self) -> None:
            try:
                self._shown.value = self._advised()
            except Exception as error:  # a learner may have changed the rules
                told = f"advise() failed: {type(error).__name__}: {error}"
                self._shown.value = f"<p>{forms.prose(told)}</p>"

        def _advised(self) -> str:
            advice, reasons = self._advise(self.answers)
            listed = "".join(f"<li>{forms.prose(reason)}</li>" for reason in reasons)
            said = f"<p>Advice: <strong>{forms.prose(advice)}</strong></p>"
            return said + f"<ul>{listed}</ul>" * bool(listed)

    return Decision


_HEAD = "<p><strong>Think of a step. Tick what is true of it:</strong></p>"
