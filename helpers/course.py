"""The notebooks of the course, and what each has to do: read from the notebooks themselves.

A prediction, a claim, a quiz or a check counts when it is called in a cell, under the name
that `progress` keeps it by.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from helpers import progress

FOLDERS = ("notebooks", "labs")


@dataclass
class Chapter:
    """A lesson or a lab. Each kind of `progress.KINDS` has the names of what is to be done."""

    path: Path
    title: str
    to_do: dict[str, set[str]] = field(default_factory=dict)

    def done(self, kind: str, noted: progress.Record) -> int:
        """How many of that kind are done, by what is noted."""
        achieved = {
            name for name, facts in noted[kind].items() if facts.get("right", True)
        }
        return len(self.to_do[kind] & achieved)

    def state(self, noted: progress.Record) -> str:
        """ "done", "under way" or "not begun"; nobody has to predict."""
        wanted = [kind for kind in progress.KINDS if kind != "predictions"]
        if all(self.done(kind, noted) == len(self.to_do[kind]) for kind in wanted):
            return "done" if any(self.to_do[kind] for kind in wanted) else "not begun"
        begun = any(self.to_do[kind] & set(noted[kind]) for kind in progress.KINDS)
        return "under way" if begun else "not begun"


def notebooks(course: Path) -> list[Path]:
    """The lessons and the labs, in order, without the copies that `work` has put aside."""
    return [
        path
        for folder in FOLDERS
        for path in sorted((course / folder).glob("*.ipynb"))
        if ".before-" not in path.name
    ]


def chapters(course: Path) -> list[Chapter]:
    """The lessons and the labs, in order; a file that is no notebook is passed over."""
    found = []
    for path in notebooks(course):
        if not re.match(r"\d\d-", path.name):
            continue  # the learner's own
        try:
            cells = [
                (cell["cell_type"], "".join(cell["source"]))
                for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
            ]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found.append(_chapter(path, cells))
    return found


def _chapter(path: Path, cells: list[tuple[str, str]]) -> Chapter:
    text = "\n".join(source for kind, source in cells if kind == "markdown")
    heading = re.search(r"^# (.+)$", text, re.M)
    to_do: dict[str, set[str]] = {kind: set() for kind in progress.KINDS}
    for kind, source in cells:
        if kind == "code":
            for what, name in _tasks(source):
                to_do[what].add(name)
    return Chapter(path, heading[1].strip() if heading else path.stem, to_do)


def _tasks(source: str) -> Iterator[tuple[str, str]]:
    """(kind, name) of everything to do in a cell."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return  # the learner is in the middle of something
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        first = node.args[0] if node.args else None
        name = first.value if isinstance(first, ast.Constant) else None
        match node.func:
            case ast.Name("predict") if isinstance(name, str):
                yield "predictions", name
            case ast.Name("claim") if isinstance(name, str):
                yield "claims", name
            case ast.Name("quiz") if isinstance(name, str):
                yield from (("quizzes", key) for key in _questions(name))
            case ast.Attribute(ast.Name(lab), check) if re.fullmatch(r"lab\d\d", lab):
                yield "checks", f"{lab}/{check}"


def _questions(lesson: str) -> Iterator[str]:
    from helpers.quiz import names

    yield from names(lesson)
