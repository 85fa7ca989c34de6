"""A rubric to mark one's own answer by: tick what was in it, read the sum and what it means.

    rubric("11")

shows the rubric of lesson 11, which is in `helpers/rubrics/11.toml`. It stays closed until a
button is pressed, so that the answer comes before it. What was ticked is kept with the
learner's progress; the saved notebook has the rubric alone, folded.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from helpers import forms, progress, toml_files

FOLDER = Path(__file__).with_name("rubrics")


class RubricError(ValueError):
    """A file with a rubric is not as it has to be; the message says where and why."""


def rubric(lesson: str):
    """The rubric of a lesson, "11", as a widget; a cell shows it as its last line."""
    there = sorted(path.stem for path in FOLDER.glob("*.toml"))
    if lesson not in there:
        raise ValueError(
            f"There is no rubric for lesson {lesson!r}; there is one for {', '.join(there)}."
        )
    return widget(read(FOLDER / f"{lesson}.toml"))


def read(path: Path):
    """The rubric in a file: `.parts` and `.levels`. Raises RubricError for a bad one."""
    return toml_files.read(path, schema(), RubricError, kind="rubric")


def widget(read_rubric):
    """A rubric that was read, as a widget.

    For tests it has `.unfold()`, `.tick(*names)`, `.points` and `.verdict`, the HTML it shows.
    """
    return _rubric_class()(read_rubric)


@cache
def schema() -> type:
    """What a rubric has to look like, a pydantic model. Made at first use: pydantic loads slowly."""
    from typing import Annotated

    from pydantic import BaseModel, Field, StringConstraints, model_validator

    Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

    class Criterion(BaseModel, extra="forbid"):
        """Something that a good answer says, what it is worth, and why."""

        name: str = Field(pattern="^[a-z0-9-]+$")
        says: Text
        points: int = Field(ge=1, le=5, strict=True)
        because: Text

    class Part(BaseModel, extra="forbid"):
        title: Text
        criteria: list[Criterion] = Field(min_length=1)

    class Level(BaseModel, extra="forbid"):
        """What a sum of at least so many points means."""

        at_least: int = Field(ge=0, strict=True)
        means: Text

    class Rubric(BaseModel, extra="forbid"):
        lesson: str = Field(pattern=r"^\d\d$")
        parts: list[Part] = Field(min_length=1)
        levels: list[Level] = Field(min_length=2)

        @property
        def criteria(self) -> list:
            return [each for part in self.parts for each in part.criteria]

        @property
        def total(self) -> int:
            return sum(each.points for each in self.criteria)

        def level(self, points: int) -> str:
            """What this many points mean."""
            return [each.means for each in self.levels if each.at_least <= points][-1]

        @model_validator(mode="after")
        def _can_be_marked(self):
            names = [each.name for each in self.criteria]
            if len(set(names)) < len(names):
                raise ValueError("two criteria have the same name")
            starts = [each.at_least for each in self.levels]
            if starts[0] != 0 or starts != sorted(set(starts)):
                raise ValueError(
                    "the levels begin at 0, and each is higher than the one before"
                )
            if starts[-1] > self.total:
                raise ValueError(
                    f"the highest level is above the {self.total} points there are"
                )
            return self

    return Rubric


@cache
def _rubric_class() -> type:
    """Made at first use, since ipywidgets loads slowly."""
    import ipywidgets

    class Rubric(forms.form_class()):
        """A button, behind it boxes to tick in parts, and the sum below."""

        def __init__(self, rubric):
            self.rubric = rubric
            self._key = f"{rubric.lesson}/rubric"
            self._boxes = [
                forms.choices(
                    [_worth(each) for each in part.criteria],
                    several=True,
                    question=f"<strong>{forms.prose(part.title)}</strong>",
                )
                for part in rubric.parts
            ]
            self._shown = forms.announcement()
            self._marking = ipywidgets.VBox([*self._boxes, self._shown])
            self._button = forms.button(_SHOW, "What a good answer says", self._toggle)
            super().__init__(
                [self._button],
                text=f"A rubric of {rubric.total} points: "
                + "; ".join(forms.plain(part.title) for part in rubric.parts),
                static=_folded(rubric),
            )
            earlier = progress.noted("quizzes").get(self._key, {}).get("ticked", [])
            known = {each.name for each in rubric.criteria}
            if earlier:
                self.tick(*(name for name in earlier if name in known))
                self._say()
            for boxes in self._boxes:
                boxes.on_pick(self._ticked)

        @property
        def unfolded(self) -> bool:
            return self._marking in self.children

        def unfold(self) -> None:
            """Show the rubric, as the button does."""
            if not self.unfolded:
                self._toggle()

        def _toggle(self) -> None:
            others = [each for each in self.children if each is not self._marking]
            self.children = others if self.unfolded else [*others, self._marking]
            self._button.description = _HIDE if self.unfolded else _SHOW
            self._say()

        def tick(self, *names: str) -> None:
            """Tick these criteria and no others, as the learner does."""
            unknown = set(names) - {each.name for each in self.rubric.criteria}
            if unknown:
                raise ValueError(f"There is no criterion {sorted(unknown)[0]!r}.")
            self.unfold()
            for part, boxes in zip(self.rubric.parts, self._boxes, strict=True):
                boxes.pick(
                    *(n for n, each in enumerate(part.criteria) if each.name in names)
                )

        @property
        def ticked(self) -> list:
            """The criteria that are ticked."""
            return [
                part.criteria[n]
                for part, boxes in zip(self.rubric.parts, self._boxes, strict=True)
                for n in boxes.picked
            ]

        @property
        def points(self) -> int:
            """The sum so far."""
            return sum(each.points for each in self.ticked)

        @property
        def verdict(self) -> str:
            """What it says at present, an HTML."""
            return self._shown.value

        def _ticked(self) -> None:
            names = [each.name for each in self.ticked]
            said = progress.note(
                "quizzes",
                self._key,
                points=self.points,
                of=self.rubric.total,
                ticked=names,
            )
            self._say(said)

        def _say(self, trouble: str = "") -> None:
            ticked = {each.name for each in self.ticked}
            missing = [each for each in self.rubric.criteria if each.name not in ticked]
            sum_ = f"{self.points} of {self.rubric.total} points"
            means = self.rubric.level(self.points)
            told = f"<p><strong>{sum_}.</strong> {forms.prose(means)}</p>"
            if missing:
                told += (
                    "<details><summary>Why the others count</summary>"
                    f"{_listed(missing)}</details>"
                )
            self._shown.value = told + forms.prose(trouble)

    return Rubric


_SHOW, _HIDE = "Show the rubric", "Hide the rubric"


def _worth(criterion) -> str:
    return f"{criterion.says} ({criterion.points})"


def _listed(criteria) -> str:
    return (
        "<ul>"
        + "".join(
            f"<li>{forms.prose(_worth(each))}<br><em>{forms.prose(each.because)}</em></li>"
            for each in criteria
        )
        + "</ul>"
    )


def _folded(rubric) -> str:
    """The whole rubric for the saved notebook."""
    parts = "".join(
        f"<p><strong>{forms.prose(part.title)}</strong></p>{_listed(part.criteria)}"
        for part in rubric.parts
    )
    levels = "".join(
        f"<li>from {each.at_least}: {forms.prose(each.means)}</li>"
        for each in rubric.levels
    )
    return (
        f"<details><summary>The rubric, {rubric.total} points (first write your answer)"
        f"</summary>{parts}<p><strong>The sum</strong></p><ul>{levels}</ul></details>"
        "<p><em>To mark your answer with boxes to tick, run this cell.</em></p>"
    )
