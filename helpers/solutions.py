"""For a learner who is stuck: the solution of one task, and of no other."""

import json
import re
from pathlib import Path

from helpers import progress


def solution(lab: str, task: int) -> None:
    """Put the solution of one task into a new cell below, to be read, run and gone on with.

    lab: its name, as `quiz` takes it: "lab02". Outside of a notebook the solution is printed.

    Raises ValueError for a lab or a task that does not exist, and FileNotFoundError where the
    solutions are not to be had, as in a class whose instructor gives them out later.
    """
    text = solution_of(lab, task)
    try:
        shell = get_ipython()
    except NameError:
        print(text)
        return
    shell.set_next_input(text)
    print(f"Task {task} is in the cell below: read it, run it, and go on.")


def solution_of(lab: str, task: int, folder: Path | None = None) -> str:
    """The cell of a task as the solution has it, without the marks around what the stub lacks.

    folder: where the solutions are; by default that of the course. Raises as `solution` does.
    """
    folder = folder or progress.COURSE / "labs" / "solutions"
    if not isinstance(lab, str) or not re.fullmatch(r"lab\d\d", lab):
        raise ValueError(f'{lab!r} names no lab: give one such as "lab02"')
    found = sorted(folder.glob(f"{lab[3:]}-*.ipynb"))
    if not found:
        raise FileNotFoundError(
            f"The solution of {lab} is not here. In a class, ask your instructor for it."
        )
    cells = json.loads(found[0].read_text(encoding="utf-8"))["cells"]
    tasks = {
        int(number[1]): "".join(cell["source"])
        for cell in cells
        if cell["cell_type"] == "code"
        if (number := re.match(r"# Task (\d+): ", "".join(cell["source"])))
    }
    if task not in tasks:
        raise ValueError(
            f"{lab} has no task {task!r}: it has {', '.join(map(str, tasks))}"
        )
    return re.sub(r"^\s*### (BEGIN|END) SOLUTION\n?", "", tasks[task], flags=re.M)
