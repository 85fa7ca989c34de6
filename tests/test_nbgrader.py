"""An instructor grades a class with nbgrader, as the guide says: labs/README.md."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import labs, notebooks

NAMES = [path.stem for path in sorted((labs.LABS / "solutions").glob("*.ipynb"))]


def commands(after):
    """The commands of the guide below a heading, a text for each block."""
    guide = (labs.LABS / "README.md").read_text(encoding="utf-8")
    section = guide.partition(f"\n## {after}\n")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A folder like the course's, with the environment that the tests run in."""
    course = tmp_path_factory.mktemp("nbgrader") / "course"
    shutil.copytree(labs.LABS, course / "labs")
    activate = course / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f'PATH="{Path(sys.executable).parent}:$PATH"\n')
    return course


@pytest.mark.parametrize("name", NAMES)
def test_the_solution_gets_all_points_and_a_stub_none(course, name):
    submissions = {
        "solved": f"source/{name}/{name}.ipynb",
        "untouched": f"release/{name}/{name}.ipynb",
    }
    if name == NAMES[0]:  # what `make labs` makes is graded like what nbgrader makes
        submissions["copy"] = f"../course/labs/{name}.ipynb"
    grades, said = graded(course, name, submissions)
    most = points(name)
    assert grades == {
        student: (most if student == "solved" else 0, most) for student in submissions
    }, said


def points(name):
    """What all checks of a lab give together."""
    cells = notebooks.read(labs.LABS / f"{name}.ipynb").cells
    return sum(cell.metadata.nbgrader.points for cell in cells if labs.is_check(cell))


def graded(course, name, submissions):
    """(points, most points) of each student, whose submission is given; and what nbgrader said."""
    preparing, grading = commands("Grading with nbgrader")
    preparing, chosen = re.subn(r"^LAB=.*$", f"LAB={name}", preparing, flags=re.M)
    assert chosen == 1
    collecting = "\n".join(
        f"mkdir -p submitted/{student}/{name}; cp {notebook} submitted/{student}/{name}/"
        for student, notebook in submissions.items()
    )
    done = subprocess.run(
        ["bash", "-ec", f"{preparing}\n{collecting}\n{grading}"],
        cwd=course,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    folder = course.parent / "class"
    with (folder / "grades.csv").open(newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            # A student of another assignment has a row here, too, without points.
            if row["assignment"] == name and row["student_id"] in submissions
        ]
    for row in rows:
        assert (folder / "feedback" / row["student_id"] / name).is_dir()
    grades = {
        row["student_id"]: (float(row["score"]), float(row["max_score"]))
        for row in rows
    }
    return grades, done.stdout
