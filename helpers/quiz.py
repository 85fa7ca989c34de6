"""Quizzes: pick, press Check, read why, try again.

    quiz("01")

shows the questions of lesson 01, which are in `helpers/quizzes/01.toml`: each with its
choices, and a reason for every choice; `quiz("lab01")` shows those of lab 1. What is right
stays in this process: the page is told only what was picked, and the saved notebook has the
questions alone.

What a file of questions has to look like is `schema()`. Editors read the same from
`helpers/quizzes/schema.json`, which `write_schema()` writes.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from helpers import forms, progress, toml_files

FOLDER = Path(__file__).with_name("quizzes")


class QuizError(ValueError):
    """A file of questions is not as it has to be; the message says where and why."""


def quiz(lesson: str):
    """The questions of a lesson, "01", or a lab, "lab01"; a cell shows them as its last line."""
    there = sorted(path.stem for path in FOLDER.glob("*.toml"))
    if lesson not in there:
        raise ValueError(
            f"There is no quiz for lesson {lesson!r}; there is one for {', '.join(there)}."
        )
    return widget(read(FOLDER / f"{lesson}.toml"))


def read(path: Path):
    """The quiz in a file: `.lesson` and `.questions`. Raises QuizError for a bad one."""
    found = toml_files.read(path, schema(), QuizError, kind="quiz")
    if found.lesson != path.stem:
        raise QuizError(
            f"{path.name} says that it belongs to lesson {found.lesson!r}: one of the two is wrong."
        )
    return found


def names(lesson: str) -> list[str]:
    """The names that progress keeps the questions of a lesson by; none without a quiz."""
    path = FOLDER / f"{lesson}.toml"
    if not path.exists():
        return []
    return [f"{lesson}/{question.name}" for question in read(path).questions]


def widget(questions):
    """A quiz that was read, as a widget; its `.questions` are the widgets of the questions."""
    return _quiz_class()(questions)


@cache
def schema() -> type:
    """What a file of questions has to look like, a pydantic model.

    Made at first use, since pydantic loads slowly.
    """
    from typing import Annotated

    from pydantic import BaseModel, Field, StringConstraints, model_validator

    Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=15)]

    class Choice(BaseModel, extra="forbid"):
        """Something to pick, and why it is right or wrong."""

        text: Text
        right: bool = Field(default=False, strict=True)
        because: Reason

    class Question(BaseModel, extra="forbid"):
        """A question with one right choice, or with several."""

        name: str = Field(
            pattern="^[a-z0-9-]+$", description="what progress is kept under"
        )
        ask: Text
        choices: list[Choice] = Field(min_length=2, max_length=8)

        @model_validator(mode="after")
        def _can_be_answered(self):
            texts = [choice.text for choice in self.choices]
            if len(set(texts)) < len(texts):
                raise ValueError("two choices have the same text")
            if not any(choice.right for choice in self.choices):
                raise ValueError("no choice is right: one needs `right = true`")
            if all(choice.right for choice in self.choices):
                raise ValueError("every choice is right: there is nothing to choose")
            return self

        @property
        def right(self) -> set[int]:
            return {n for n, choice in enumerate(self.choices) if choice.right}

        @property
        def several(self) -> bool:
            return len(self.right) > 1

    class Quiz(BaseModel, extra="forbid"):
        """The questions of a lesson."""

        lesson: str = Field(
            pattern=r"^(lab)?\d\d$", description="the lesson, 01, or the lab, lab01"
        )
        questions: list[Question] = Field(min_length=1)

        @model_validator(mode="after")
        def _names_differ(self):
            names = [question.name for question in self.questions]
            if len(set(names)) < len(names):
                raise ValueError("two questions have the same name")
            return self

    return Quiz


def write_schema() -> None:
    """Write the schema beside the questions, for editors."""
    text = json.dumps(schema().model_json_schema(), indent=2)
    (FOLDER / "schema.json").write_text(text + "\n", encoding="utf-8")


# -- The widget -------------------------------------------------------------------------


@cache
def _quiz_class() -> type:
    """Made at first use, since ipywidgets loads slowly."""
    import ipywidgets

    Form = forms.form_class()

    class Asked(ipywidgets.VBox):
        """A question, its choices, a button, and what there is to say about what was picked."""

        def __init__(self, question, number: int, key: str):
            self.question, self._key = question, key
            self.right: bool | None = None  # not checked so far
            self.control = forms.choices(
                [choice.text for choice in question.choices],
                question.several,
                _asked(question, number),
                check=f"Check the answer to question {number}",
            )
            self._verdict = forms.announcement()
            self.control.on_pick(self._changed)
            self.control.on_check(self.check)
            earlier = progress.noted("quizzes").get(key, {})
            self._tries = earlier.get("tries", 0)
            self._was_right = bool(earlier.get("right"))
            if self._was_right:
                self._say("<p>✓ You have answered this one right before.</p>")
            super().__init__([self.control, self._verdict])

        def pick(self, *numbers: int) -> None:
            """Pick choices, counted from 0, as the learner does."""
            self.control.pick(*numbers)

        def check(self) -> None:
            """Say what is right and wrong about what was picked, and why; keep that it was."""
            picked = self.control.picked
            if not picked:
                self._say("<p>Pick an answer first.</p>")
                return
            self.right = set(picked) == self.question.right
            self._was_right = self._was_right or self.right
            self._tries += 1
            said = progress.note(
                "quizzes", self._key, right=self._was_right, tries=self._tries
            )
            self._say(_reasons(self.question, picked) + forms.prose(said))

        @property
        def verdict(self) -> str:
            """What it says at present, an HTML."""
            return self._verdict.value

        def _changed(self) -> None:
            self.right = None
            self._say("")

        def _say(self, content: str) -> None:
            self._verdict.value = content

    class Quiz(Form):
        def __init__(self, quiz):
            self.questions = [
                Asked(question, number, f"{quiz.lesson}/{question.name}")
                for number, question in enumerate(quiz.questions, 1)
            ]
            super().__init__(
                self.questions,
                text="\n".join(
                    f"{number}. {forms.plain(question.ask)} ( "
                    + " · ".join(
                        forms.plain(choice.text) for choice in question.choices
                    )
                    + " )"
                    for number, question in enumerate(quiz.questions, 1)
                ),
                static="".join(
                    f"<p>{_asked(question, number)}</p>{_listed(question.choices)}"
                    for number, question in enumerate(quiz.questions, 1)
                )
                + "<p><em>To answer, run this cell.</em></p>",
            )

    return Quiz


def _asked(question, number: int) -> str:
    hint = " <em>(More than one is right.)</em>" if question.several else ""
    return f"<strong>{number}.</strong> {forms.prose(question.ask)}{hint}"


def _listed(choices) -> str:
    return f"<ul>{''.join(f'<li>{forms.prose(choice.text)}</li>' for choice in choices)}</ul>"


def _reasons(question, picked: list[int]) -> str:
    """What to say about the choices that were picked, and once they are right, of the others."""
    right = set(picked) == question.right
    missing = len(question.right - set(picked))
    if right:
        title = "✓ Right."
    elif set(picked) < question.right:
        more = "one more is" if missing == 1 else f"{missing} more are"
        title = f"✓ Right so far, but {more} right, too. Try again."
    else:
        title = (
            "✗ Not quite. Try again."
            if set(picked) & question.right
            else "✗ No. Try again."
        )
    shown = f"<p><strong>{title}</strong></p>" + _explained(question, picked)
    others = [n for n in range(len(question.choices)) if n not in picked]
    if right and others:
        shown += f"<details><summary>And the others?</summary>{_explained(question, others)}</details>"
    return shown


def _explained(question, numbers: list[int]) -> str:
    lines = []
    for number in numbers:
        choice = question.choices[number]
        mark = "✓ Right" if choice.right else "✗ Wrong"
        lines.append(
            f"<li>{mark}: <em>{forms.prose(choice.text)}</em><br>{forms.prose(choice.because)}</li>"
        )
    return f"<ul>{''.join(lines)}</ul>"
