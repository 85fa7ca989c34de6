"""Make the learner's copy of each lab from its solution.

    python -m tools.labs            make the copies that differ, run them unsolved, save them
    python -m tools.labs --check    only say which differ

The source is labs/solutions/NN-name.ipynb, a notebook that nbgrader takes as it is;
the copy is labs/NN-name.ipynb.
"""

import argparse
import copy
import json
import os
import posixpath
import re
import sys
from pathlib import Path

from nbformat import NotebookNode
from nbgrader.nbgraderformat import MetadataValidator, ValidationError
from nbgrader.preprocessors import ClearSolutions
from nbgrader.utils import is_grade, is_solution

from tools import notebooks

LABS = notebooks.ROOT / "labs"

# A cell of the source that uses the learner's code outside a check.
NEEDS_SOLUTION = "needs-solution"

_TASK = re.compile(r"^\s*#\s*(Task \d+: .+?)\s*$", re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")


class LabError(Exception):
    """A lab's source is not as nbgrader or this tool needs it; the message says where."""


def learner_copy(solution: NotebookNode) -> NotebookNode:
    """The copy of *solution* with every solution region replaced by a stub that names its task.

    It has no outputs. Raises LabError when the source is not well formed.
    """
    lab = copy.deepcopy(solution)
    try:
        MetadataValidator().validate_nb(lab)
    except (ValidationError, KeyError) as error:
        problem = getattr(error, "message", error)
        raise LabError(f"nbgrader metadata: {problem}") from error
    for number, cell in enumerate(lab.cells, start=1):
        try:
            _clear(cell)
        except RuntimeError as error:
            raise LabError(f"cell {number}: {error}") from error
        if is_check(cell):
            _must_be_locked(cell, number)
        if is_check(cell) or notebooks.has_tag(cell, NEEDS_SOLUTION):
            tags = set(cell.metadata.get("tags", [])) | {"raises-exception"}
            cell.metadata["tags"] = sorted(tags - {NEEDS_SOLUTION})
    notebooks.normalise(lab)
    return lab


def is_check(cell: NotebookNode) -> bool:
    """Whether this is a cell that grades, and not one that the learner writes in."""
    return is_grade(cell) and not is_solution(cell)


def _clear(cell: NotebookNode) -> None:
    """Replace the solution by a stub, drop the outputs, mend the links; in place.

    Raises RuntimeError, as ClearSolutions does, when a region is not well formed.
    """
    clear = ClearSolutions()
    clear.log.disabled = True  # it logs what it raises
    if cell.cell_type == "code":
        cell.outputs = []
        cell.execution_count = None
        task = _TASK.search(cell.source)
        if is_solution(cell) and not task:
            raise RuntimeError("no comment '# Task N: what to do' to name the stub")
        if task:
            stub = (
                f"raise NotImplementedError({json.dumps(task[1], ensure_ascii=False)})"
            )
            clear.code_stub = {"python": stub}
        if is_solution(cell) and clear.begin_solution_delimeter not in cell.source:
            # ClearSolutions would replace the whole cell, and its task with it.
            raise RuntimeError("a solution cell without a '### BEGIN SOLUTION' region")
    else:
        cell.source = _LINK.sub(_one_folder_up, cell.source)
    clear.preprocess_cell(cell, {"language": "python"}, 0)


def _must_be_locked(check: NotebookNode, number: int) -> None:
    found = [key for key in ("editable", "deletable") if check.metadata.get(key, True)]
    if not check.metadata.nbgrader.locked:
        found.append("not locked")
    if found:
        raise LabError(f"cell {number}: a check that is {' and '.join(found)}")


def _one_folder_up(link: re.Match) -> str:
    """A relative link as seen from labs/ instead of labs/solutions/."""
    target = link[2]
    if re.match(r"[a-z]+:|[#/]|attachment:", target):
        return link[0]
    from_root = posixpath.normpath(posixpath.join("labs/solutions", target))
    # From one solution to the next: in the copies, from one copy to the next.
    from_root = from_root.replace("labs/solutions/", "labs/")
    return link[1] + posixpath.relpath(from_root, "labs") + link[3]


def source_parts(lab: NotebookNode) -> NotebookNode:
    """What of a lab is written and not computed: all but outputs and run numbers."""
    parts = copy.deepcopy(lab)
    for cell in notebooks.code_cells(parts):
        cell.outputs = []
        cell.execution_count = None
    parts.metadata = NotebookNode()  # normalise() and the lint look after these
    return parts


def differing(labs: Path = LABS) -> dict[Path, str]:
    """The learner's copies that are not what their sources would make, and why.

    Raises LabError when a source is not well formed.
    """
    sources = {path.name: path for path in sorted((labs / "solutions").glob("*.ipynb"))}
    reasons = {
        path: f"has no source in {os.path.join(labs.name, 'solutions')}"
        for path in sorted(labs.glob("*.ipynb"))
        if path.name not in sources
    }
    for name, source in sources.items():
        path = labs / name
        expected = _copy_of(source)
        if not path.exists():
            reasons[path] = "is missing"
        elif source_parts(notebooks.read(path)) != source_parts(expected):
            reasons[path] = "differs from its source"
    return reasons


def make(labs: Path = LABS) -> list[Path]:
    """Write the copies that are missing or differ, run unsolved; return their paths.

    Raises LabError or NotebookFailed, with that copy not written, when one cannot be made.
    """
    made = []
    for path in differing(labs):
        source = labs / "solutions" / path.name
        if not source.exists():
            raise LabError(f"{path.name} has no source: write one, or remove the copy")
        lab = _copy_of(source)
        notebooks.execute(lab, labs)
        notebooks.normalise(lab)
        notebooks.write(lab, path)
        made.append(path)
    return made


def _copy_of(source: Path) -> NotebookNode:
    try:
        return learner_copy(notebooks.read(source))
    except LabError as error:
        raise LabError(f"{source.name}, {error}") from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.labs", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--check", action="store_true", help="only compare")
    asked = parser.parse_args(arguments)
    try:
        if asked.check:
            reasons = differing()
            for path, reason in reasons.items():
                print(f"labs/{path.name} {reason}: make labs")
            return 1 if reasons else 0
        made = make()
        for path in made:
            print(f"labs/{path.name}: made and run")
        if not made:
            print("Every learner's copy is what its source makes.")
    except (LabError, notebooks.NotebookFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
