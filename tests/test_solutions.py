"""A learner who is stuck gets the solution of one task, ready to run."""

import builtins

import lab_answers
import pytest

from helpers import solution
from helpers.solutions import solution_of
from tools import labs, notebooks

SOLUTIONS = sorted((labs.LABS / "solutions").glob("*.ipynb"))
every_lab = pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)


@every_lab
def test_every_task_of_every_lab_has_its_solution(path):
    lab = f"lab{path.name[:2]}"
    tasks = lab_answers.tasks(path.name)
    assert len(tasks) >= 3
    for number, source in enumerate(tasks, start=1):
        text = solution_of(lab, number)
        assert text.startswith(f"# Task {number}: ")
        assert "SOLUTION" not in text and "NotImplementedError" not in text
        compile(text, path.stem, "exec")
        kept = [line for line in source.splitlines() if "SOLUTION" not in line]
        assert text.splitlines() == kept


@every_lab
def test_every_task_of_every_lab_has_two_hints(path):
    text = notebooks.dumps(notebooks.read(path))
    number = len(lab_answers.tasks(path.name))
    assert text.count("<summary>Hint 1</summary>") == number
    assert text.count("<summary>Hint 2</summary>") == number


def test_in_a_notebook_it_comes_into_the_next_cell(monkeypatch, capsys):
    cells = []

    class Shell:
        def set_next_input(self, text):
            cells.append(text)

    monkeypatch.setattr(builtins, "get_ipython", Shell, raising=False)
    solution("lab01", 1)
    [text] = cells
    assert "requests.post(" in text
    assert capsys.readouterr().out.startswith("Task 1 is in the cell below")


def test_elsewhere_it_is_printed(capsys):
    solution("lab01", 1)
    assert "requests.post(" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lab", "task", "words"),
    [
        ("lab1", 1, 'give one such as "lab02"'),
        (1, 1, 'give one such as "lab02"'),
        ("lab01", 9, "lab01 has no task 9: it has 1, 2, 3, 4"),
        ("lab01", "1", "lab01 has no task '1'"),
    ],
)
def test_what_does_not_exist_is_named(lab, task, words):
    with pytest.raises(ValueError, match=words):
        solution(lab, task)


def test_without_the_solutions_it_says_whom_to_ask(tmp_path):
    with pytest.raises(FileNotFoundError, match="ask your instructor"):
        solution_of("lab01", 1, tmp_path)
