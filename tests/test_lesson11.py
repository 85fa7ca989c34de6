"""Lesson 11: what it says that the lessons measured is what they claim; its picture, its questions."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from helpers import progress
from helpers.quiz import FOLDER as QUIZZES
from helpers.quiz import read as read_quiz
from helpers.recap import FINDINGS, call_or_message, findings
from helpers.rubric import FOLDER as RUBRICS
from helpers.rubric import read as read_rubric
from tools import environment, notebooks

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "notebooks" / "11-recap.ipynb"
ABOUT_NUMBERS = {"at_least", "at_most", "more_than", "less_than", "between"}


def lesson(number):
    [path] = (ROOT / "notebooks").glob(f"{number}-*.ipynb")
    return path


def claims(path):
    """The claims of a notebook: the sentence, and the names of the conditions."""
    found = {}
    for cell in notebooks.code_cells(notebooks.read(path)):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim":
                conditions = {each.arg for each in node.keywords}
                found[ast.literal_eval(node.args[0])] = conditions
    return found


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """Where the learner's progress is."""
    path = tmp_path / "progress.json"
    monkeypatch.setenv(progress.VARIABLE, str(path))
    return path


def measure(*left_out):
    """Note every finding but these as held, as its lesson does."""
    for each in FINDINGS:
        if each not in left_out:
            progress.note("claims", each.sentence, held=True, got=0.25, unit="s")


# -- What was measured ------------------------------------------------------------------


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda each: each.sentence[:40])
def test_each_finding_is_a_claim_of_its_lesson_about_a_number(finding):
    conditions = claims(lesson(finding.lesson))
    assert finding.sentence in conditions
    assert conditions[finding.sentence] & ABOUT_NUMBERS


def test_there_is_a_finding_of_every_lesson_in_order():
    numbers = [each.lesson for each in FINDINGS]
    assert numbers == sorted(numbers)
    assert set(numbers) == {f"{n:02}" for n in range(1, 11)}


def test_without_progress_it_says_where_the_numbers_come_from(kept):
    shown = findings()
    for text in (repr(shown), shown._repr_html_()):
        assert len(re.findall(r"run lesson \d\d", text)) == len(FINDINGS)
    assert "<strong>" not in shown._repr_html_()


def test_with_progress_it_shows_the_numbers_and_says_what_is_missing(kept):
    missing = FINDINGS[3]
    measure(missing)
    shown = findings()
    page = shown._repr_html_()
    assert page.count("<strong>") == len(FINDINGS) - 1
    assert f"run lesson {missing.lesson}" in page
    by_sentence = {each.sentence: number for each, number in shown.rows}
    assert by_sentence[missing.sentence] is None
    assert by_sentence[FINDINGS[0].sentence] == "0.25 s"
    assert by_sentence[FINDINGS[1].sentence] == "250.0 ms"
    assert "0.25 s" in repr(shown)


def test_a_claim_that_held_without_a_number_is_none(kept):
    progress.note("claims", FINDINGS[0].sentence, held=True)
    assert FINDINGS[0].measured is None


def test_the_table_names_and_links_each_lesson_once(kept):
    page = findings()._repr_html_()
    links = re.findall(r'<a href="([^"]+)">(\d\d) ', page)
    assert [number for _, number in links] == sorted({x.lesson for x in FINDINGS})
    for file, _ in links:
        assert (ROOT / "notebooks" / file).exists()


def test_the_picture_has_both_ways_and_what_came_of_them():
    figure = call_or_message("Decide", call="waited 0.3 s", message="free at once")
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"waited 0.3 s", "free at once", "REST", "gRPC", "event bus"} <= texts


# -- The whole lesson -------------------------------------------------------------------


@pytest.mark.parametrize("measured_before", [False, True])
def test_it_runs_with_and_without_numbers_of_the_lessons(
    measured_before, kept, monkeypatch
):
    def prepare():  # as ever, but the learner's progress is kept
        real()
        monkeypatch.setenv(progress.VARIABLE, str(kept))

    real = environment.prepare
    monkeypatch.setattr(environment, "prepare", prepare)
    if measured_before:
        measure()
    notebook = notebooks.read(NOTEBOOK)
    notebooks.execute(notebook, NOTEBOOK.parent)
    [cell] = [c for c in notebooks.code_cells(notebook) if "findings()" in c.source]
    page = cell.outputs[0].data["text/html"]
    assert page.count("<strong>") == measured_before * len(FINDINGS)
    assert page.count("run lesson") == (not measured_before) * len(FINDINGS)
    assert set(claims(NOTEBOOK)) <= set(progress.noted("claims"))


# -- Questions and rubric ---------------------------------------------------------------


def test_twelve_questions_or_more_none_of_them_asked_before():
    asked = {
        path.stem: [
            each["ask"] for each in tomllib.loads(path.read_text())["questions"]
        ]
        for path in QUIZZES.glob("*.toml")
    }
    mine = asked.pop("11")
    assert len(mine) >= 12
    assert not set(mine) & {ask for asks in asked.values() for ask in asks}


def test_the_questions_of_the_source_come_first():
    first = [each.name for each in read_quiz(QUIZZES / "11.toml").questions[:4]]
    assert first == [
        "synchronous-means",
        "fits-asynchronous",
        "long-chains",
        "grpc-or-rest",
    ]


def test_lessons_that_the_rubric_sends_to_exist():
    found = read_rubric(RUBRICS / "11.toml")
    numbers = re.findall(r"\b\d\d\b", " ".join(each.means for each in found.levels[:3]))
    assert {"01", "07", "10"} <= set(numbers)
    for number in numbers:
        assert lesson(number).exists()
