"""Take the cause of a claim out of a notebook, and see which claims fail then.

    failed_claims("notebooks/01-the-core-choice.ipynb", {"time.sleep(PAYMENTS_SECONDS)": "pass"})

A claim that has never been seen failing shows nothing: perhaps it cannot fail. So each lesson
has a list of trials in tests/trials/, and this runs those whose lesson begins with a number:

    python -m tools.trials 05 07    # without numbers: all of them
"""

import ast
import json
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from tools import notebooks

# In the notebook's kernel: a claim that fails is noted, and its cell goes on.
BEFORE = """\
import helpers as _helpers

_claim, _failed = _helpers.claim, []

def _noting(sentence, *args, **conditions):
    try:
        _claim(sentence, *args, **conditions)
    except AssertionError as _error:
        if type(_error).__name__ != "ClaimFailed":
            raise
        print(_error)
        _failed.append(sentence)

_helpers.claim = _noting
"""
AFTER = "import json as _json\nprint(_json.dumps(_failed))"


def failed_claims(
    notebook: str | Path,
    replacements: Mapping[str, str],
    *,
    until: str | None = None,
    without: Iterable[str] = (),
) -> list[str]:
    """Run a notebook's code with texts replaced; return the sentences of the claims that failed.

    notebook: its path, from the course's folder or absolute. The file stays as it is.
    replacements: a text in the code, and what stands there instead. The text may be a part of a
        line or several lines, as in the notebook, which ruff has formatted.
    until: a text in the last cell to run; by default all are run.
    without: texts in cells to leave out, to be quicker.

    Sentences are in the order in which they failed, each once. Raises ValueError when a text is
    not in exactly one place (`until` and `without`: not in exactly one cell), and
    NotebookFailed when a cell fails in any other way than by a claim.
    """
    path = notebooks.ROOT / notebook
    trial = notebooks.read(path)
    run = _cells_to_run(trial, replacements, until, without)
    trial.cells = [new_code_cell(BEFORE), *run, new_code_cell(AFTER)]
    notebooks.execute(trial, path.parent)
    failed = json.loads(trial.cells[-1].outputs[0].text)
    return list(dict.fromkeys(failed))


def _cells_to_run(
    notebook: NotebookNode,
    replacements: Mapping[str, str],
    until: str | None,
    without: Iterable[str],
) -> list[NotebookNode]:
    """The code cells that are run, with the texts replaced."""
    cells = notebooks.code_cells(notebook)
    last = None if until is None else cells.index(_cell_with(until, cells))
    run = cells if last is None else cells[: last + 1]
    for text in without:
        left_out = _cell_with(text, cells)
        run = [cell for cell in run if cell is not left_out]
    for old, new in replacements.items():
        _replace(old, new, cells, run)
    return run


def _cell_with(text: str, cells: list[NotebookNode]) -> NotebookNode:
    found = [cell for cell in cells if text in cell.source]
    if len(found) != 1:
        raise ValueError(f"{text!r} is in {len(found)} code cells, not in one")
    return found[0]


def _replace(
    old: str, new: str, cells: list[NotebookNode], run: list[NotebookNode]
) -> None:
    times = sum(cell.source.count(old) for cell in cells)
    if times != 1:
        raise ValueError(f"{old!r} is in the code {times} times, not once")
    cell = _cell_with(old, cells)
    if not any(cell is each for each in run):
        raise ValueError(f"{old!r} is in a cell that is not run")
    cell.source = cell.source.replace(old, new)


# -- The lists of trials -----------------------------------------------------------------

TRIALS = notebooks.ROOT / "tests" / "trials"


@dataclass(frozen=True)
class Trial:
    """What is taken out of a notebook, and the claims that must fail then."""

    notebook: str
    cause: str  # in words
    replace: dict[str, str]
    fails: list[str]  # sentences; others may fail as well
    until: str | None = None
    without: list[str] = field(default_factory=list)

    def claims(self) -> list[str]:
        """The sentences of the claims that it comes to.

        Raises ValueError, as failed_claims() does, when a text is not in exactly one place.
        """
        notebook = notebooks.read(notebooks.ROOT / self.notebook)
        return _sentences(
            _cells_to_run(notebook, self.replace, self.until, self.without)
        )

    def missed(self) -> list[str]:
        """Run it; the sentences of the claims that held all the same."""
        failed = failed_claims(
            self.notebook, self.replace, until=self.until, without=self.without
        )
        return [sentence for sentence in self.fails if sentence not in failed]


def trials(number: str = "") -> Iterator[Trial]:
    """The trials of the lessons whose file begins with that number, in order."""
    for path in sorted(TRIALS.glob(f"{number}*.toml")):
        written = tomllib.loads(path.read_text(encoding="utf-8"))
        for trial in written["trials"]:
            replace = {each["old"]: each["new"] for each in trial.pop("replace")}
            yield Trial(notebook=written["notebook"], replace=replace, **trial)


def claims(notebook: str | Path) -> list[str]:
    """The sentences of all claims in a notebook's code.

    Raises ValueError when one of them is not written out as a plain string.
    """
    path = notebooks.ROOT / notebook
    try:
        return _sentences(notebooks.code_cells(notebooks.read(path)))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _sentences(cells: Iterable[NotebookNode]) -> list[str]:
    return [
        _sentence(node)
        for cell in cells
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim"
    ]


def _sentence(call: ast.Call) -> str:
    match call.args:
        case [ast.Constant(value=str(sentence)), *_]:
            return sentence
    code = ast.unparse(call)
    raise ValueError(
        f"{code[:60]}...: a claim begins with its sentence as a plain string, "
        "the same in every run. Numbers of the run belong in a print()."
    )


def main(numbers: list[str]) -> int:
    found = {number: list(trials(number)) for number in numbers or [""]}
    if unknown := [number for number, its in found.items() if not its]:
        print(f"tests/trials/ has no file that begins with {' or '.join(unknown)}")
        return 2
    # A list first: a trial that goes wrong does not keep the others from being run.
    good = [_report(trial) for its in found.values() for trial in its]
    return 0 if all(good) else 1


def _report(trial: Trial) -> bool:
    """Run a trial and say how it went; whether all the claims failed that it names."""
    print(f"{Path(trial.notebook).stem}: {trial.cause}: ", end="", flush=True)
    try:
        missed = trial.missed()
    except (ValueError, notebooks.NotebookFailed) as error:
        print(f"could not be run\n{error}")
        return False
    print(f"{len(trial.fails) - len(missed)} of {len(trial.fails)} claims failed")
    for sentence in missed:
        print(f"  held all the same: {sentence}")
    return not missed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
