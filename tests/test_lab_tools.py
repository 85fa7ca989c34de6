"""tools/labs.py: the learner's copy is made from the solution."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import labs, notebooks

ANSWER = '''\
# Task 1: add the two
def add(a, b):
    """Return the sum."""
    ### BEGIN SOLUTION
    total = a + b
    return total
    ### END SOLUTION
'''
CHECK = "if add(1, 2) != 3:\n    raise AssertionError('expected 3')"


def graded(source, name, **changes):
    """A cell with nbgrader's metadata."""
    nbgrader = {
        "grade": False,
        "grade_id": name,
        "locked": False,
        "schema_version": 3,
        "solution": True,
    }
    return new_code_cell(source, metadata={"nbgrader": {**nbgrader, **changes}})


def check(source, name, points=1):
    made = graded(source, name, grade=True, locked=True, solution=False, points=points)
    made.metadata.update(deletable=False, editable=False)
    return made


@pytest.fixture
def solution():
    lab = new_notebook(
        cells=[
            new_markdown_cell(
                "[lesson](../../notebooks/02-rest.ipynb#timeouts), "
                "[next](02-next.ipynb), [README](../../README.md), "
                "[mine](../01-add.ipynb), [web](https://example.org/a), [up](#top)"
            ),
            graded(ANSWER, "task-1"),
            new_code_cell(
                "print('sum', add(2, 2))", metadata={"tags": ["needs-solution"]}
            ),
            check(CHECK, "check-1"),
        ]
    )
    notebooks.normalise(lab)
    return lab


def test_a_stub_names_its_task_and_what_is_around_it_stays(solution):
    stub = labs.learner_copy(solution).cells[1].source
    assert stub == (
        "# Task 1: add the two\n"
        "def add(a, b):\n"
        '    """Return the sum."""\n'
        '    raise NotImplementedError("Task 1: add the two")\n'
    )


def test_checks_and_users_of_the_solution_may_raise_in_the_copy(solution):
    cells = labs.learner_copy(solution).cells
    assert "tags" not in cells[1].metadata
    assert cells[2].metadata.tags == ["raises-exception"]
    assert cells[3].metadata.tags == ["raises-exception"]
    assert cells[3].metadata.editable is False
    assert cells[3].metadata.nbgrader.grade_id == "check-1"


def test_links_are_seen_from_the_copys_folder(solution):
    assert labs.learner_copy(solution).cells[0].source == (
        "[lesson](../notebooks/02-rest.ipynb#timeouts), "
        "[next](02-next.ipynb), [README](../README.md), "
        "[mine](01-add.ipynb), [web](https://example.org/a), [up](#top)"
    )


def test_the_source_is_left_alone(solution):
    before = notebooks.dumps(solution)
    labs.learner_copy(solution)
    assert notebooks.dumps(solution) == before


@pytest.mark.parametrize(
    "cell, message",
    [
        (
            graded("def f():\n    ### BEGIN SOLUTION\n    ### END SOLUTION", "a"),
            "Task N",
        ),
        (graded("# Task 1: x\n### BEGIN SOLUTION\n1", "a"), "no end solution"),
        (graded("# Task 1: x\nf()", "a"), "without a '### BEGIN SOLUTION' region"),
        (new_code_cell(ANSWER), "non-solution cell"),
        (graded(ANSWER, "check-1"), "Duplicate grade id"),
        (check(CHECK, "b", points=-1), "minimum"),
        (
            graded(CHECK, "b", grade=True, locked=True, solution=False, points=1),
            "editable",
        ),
    ],
)
def test_a_source_that_is_not_well_formed_is_refused(solution, cell, message):
    solution.cells.append(cell)
    with pytest.raises(labs.LabError, match=message):
        labs.learner_copy(solution)


@pytest.fixture
def folder(tmp_path, solution):
    """A labs folder with one solution and no copy."""
    (tmp_path / "labs" / "solutions").mkdir(parents=True)
    nbformat.write(solution, tmp_path / "labs" / "solutions" / "01-add.ipynb")
    return tmp_path / "labs"


def test_the_copy_is_run_unsolved_and_then_stays(folder):
    path = folder / "01-add.ipynb"
    assert labs.differing(folder) == {path: "is missing"}
    assert labs.make(folder) == [path]
    assert labs.differing(folder) == {}
    assert labs.make(folder) == []

    copy = notebooks.read(path)
    for cell in copy.cells[2:]:
        assert cell.outputs[0].ename == "NotImplementedError"
        assert cell.outputs[0].evalue == "Task 1: add the two"
    assert [cell.execution_count for cell in notebooks.code_cells(copy)] == [1, 2, 3]


def test_outputs_do_not_count_as_a_difference_but_text_does(folder):
    labs.make(folder)
    path = folder / "01-add.ipynb"
    copy = notebooks.read(path)
    notebooks.code_cells(copy)[0].outputs = []
    notebooks.write(copy, path)
    assert labs.differing(folder) == {}
    copy.cells[1].source = copy.cells[1].source.replace("add the two", "add")
    notebooks.write(copy, path)
    assert labs.differing(folder) == {path: "differs from its source"}


def test_a_copy_without_a_source_is_told_and_kept(folder):
    labs.make(folder)
    stale = folder / "02-old.ipynb"
    stale.write_text((folder / "01-add.ipynb").read_text())
    assert list(labs.differing(folder)) == [stale]
    with pytest.raises(labs.LabError, match="has no source"):
        labs.make(folder)
    assert stale.exists()


def test_no_labs_yet(tmp_path):
    assert labs.differing(tmp_path / "labs") == {}
    assert labs.make(tmp_path / "labs") == []


def test_the_committed_copies_are_what_their_sources_make():
    assert labs.differing() == {}
