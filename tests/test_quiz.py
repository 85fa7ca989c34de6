"""Quizzes: the questions that the course asks, and the widget, driven without a browser."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from helpers import progress
from helpers.quiz import FOLDER, QuizError, names, quiz, read, schema, widget

ROOT = Path(__file__).parent.parent
FILES = sorted(FOLDER.glob("*.toml"))

ONE = """
lesson = "77"

[[questions]]
name = "first"
ask = "Is `a` right?"
choices = [
  {text = "`a`", right = true, because = "It is the first letter."},
  {text = "b", because = "It is the second letter."},
  {text = "c", because = "It is the third letter."},
]

[[questions]]
name = "second"
ask = "Which are vowels?"
choices = [
  {text = "a", right = true, because = "It is a vowel, as in cat."},
  {text = "e", right = true, because = "It is a vowel, as in pet."},
  {text = "i", right = true, because = "It is a vowel, as in pit."},
  {text = "z", because = "It is no vowel, and the last."},
]
"""


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    """Where the learner's progress is."""
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "progress.json"))
    monkeypatch.setattr(progress, "_said", set())
    return tmp_path / "progress.json"


@pytest.fixture
def written(tmp_path):
    """Write a file of questions, and read it."""

    def write(text, name="77.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return read(path)

    return write


@pytest.fixture
def asked(written):
    return widget(written(ONE)).questions


def entries(kept):
    return json.loads(kept.read_text())["quizzes"]


# -- The questions of the course --------------------------------------------------------


def test_there_are_questions():
    assert {"01", "02", "04", "lab01"} <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_questions_of_the_course_are_good(path):
    found = read(path)
    folder = ROOT / ("labs" if found.lesson.startswith("lab") else "notebooks")
    assert list(folder.glob(f"{found.lesson.removeprefix('lab')}-*.ipynb"))
    most = 15 if found.lesson == "11" else 12  # the recap asks about all of them
    assert 3 <= len(found.questions) <= most
    for question in found.questions:
        texts = [question.ask] + [
            text
            for choice in question.choices
            for text in (choice.text, choice.because)
        ]
        assert all(text.count("`") % 2 == 0 for text in texts)
        assert all(choice.because[-1] in ".?)" for choice in question.choices)


def test_the_right_choice_is_not_always_at_the_same_place():
    places = {
        min(question.right)
        for path in FILES
        for question in read(path).questions
        if not question.several
    }
    assert len(places) > 2


def test_editors_get_the_same_schema():
    how = 'python -c "from helpers.quiz import write_schema; write_schema()"'
    kept = json.loads((FOLDER / "schema.json").read_text())
    assert kept == schema().model_json_schema(), how
    assert all(path.read_text().startswith("#:schema schema.json\n") for path in FILES)


# -- Files that are wrong ---------------------------------------------------------------


@pytest.mark.parametrize(
    "old, new, says",
    [
        ('lesson = "77"', "lesson = 77", "lesson: Input should be a valid string"),
        ('lesson = "77"', "lesson = ", "77.toml cannot be read"),
        ('lesson = "77"', 'lesson = "78"', "one of the two is wrong"),
        ('lesson = "77"', 'lesson = "lab77"', "one of the two is wrong"),
        ('lesson = "77"', 'lesson = "lab 77"', "lesson: String should match"),
        ('lesson = "77"', 'lesson = "77"\nlessen = "x"', "lessen: Extra inputs"),
        (', because = "It is the second letter."', "", "questions 1, choices 2, because: Field"),
        ("It is the third letter.", "no", "choices 3, because: String should have"),
        ('text = "b"', 'text = " "', "choices 2, text: String should have"),
        ('text = "b"', 'text = "c"', "questions 1: Value error, two choices have"),
        ("right = true, because = \"It is the first", 'because = "It is the first', "no choice is"),
        ('text = "b",', 'text = "b", right = "yes",', "choices 2, right: Input should"),
        ('"z",', '"z", right = true,', "questions 2: Value error, every choice is right"),
        ('name = "second"', 'name = "first"', "two questions have the same name"),
        ('name = "second"', 'name = "Second one"', "questions 2, name: String should"),
        ('ask = "Is `a` right?"', "", "questions 1, ask: Field required"),
    ],
)  # fmt: skip
def test_says_what_is_wrong_and_where(written, old, new, says):
    assert old in ONE
    with pytest.raises(QuizError) as raised:
        written(ONE.replace(old, new, 1))
    assert "77.toml" in str(raised.value)
    assert says in str(raised.value)


def test_a_quiz_has_questions(written):
    with pytest.raises(QuizError, match="questions: Field required"):
        written('lesson = "77"')


def test_text_has_to_be_utf8(tmp_path):
    path = tmp_path / "77.toml"
    path.write_bytes(b'lesson = "\xff"')
    with pytest.raises(QuizError, match="cannot be read"):
        read(path)


@pytest.mark.parametrize("lesson", ["99", "1", "lab99", "../02", 1, None])
def test_a_lesson_without_a_quiz_is_told(lesson):
    with pytest.raises(ValueError, match="there is one for 01, .*lab01"):
        quiz(lesson)
    if isinstance(lesson, str) and "/" not in lesson:
        assert names(lesson) == []


# -- Answering --------------------------------------------------------------------------


def test_nothing_is_picked_at_first(asked):
    assert [question.control.picked for question in asked] == [[], []]
    assert [question.verdict for question in asked] == ["", ""]
    for question in asked:
        question.check()
        assert "Pick an answer first" in question.verdict
        assert question.right is None


def test_wrong_then_right(asked, kept):
    first = asked[0]
    first.pick(1)
    first.check()
    assert first.right is False
    assert "✗ No. Try again." in first.verdict
    assert "It is the second letter." in first.verdict
    assert "first letter" not in first.verdict  # which would be the answer
    assert entries(kept)["77/first"] | {"at": 0} == {
        "right": False,
        "tries": 1,
        "at": 0,
    }
    first.pick(0)
    assert first.verdict == ""
    first.check()
    assert first.right is True
    assert "✓ Right." in first.verdict
    assert "<code>a</code>" in first.verdict
    for reason in ("first", "second", "third"):
        assert f"It is the {reason} letter." in first.verdict
    assert entries(kept)["77/first"] | {"at": 0} == {"right": True, "tries": 2, "at": 0}


@pytest.mark.parametrize(
    "picked, says, reasons",
    [
        ([0], "✓ Right so far, but 2 more are right, too.", 1),
        ([0, 1], "✓ Right so far, but one more is right, too.", 2),
        ([0, 3], "✗ Not quite. Try again.", 2),
        ([3], "✗ No. Try again.", 1),
        ([0, 1, 2, 3], "✗ Not quite. Try again.", 4),
    ],
)
def test_several_right_choices(asked, picked, says, reasons):
    second = asked[1]
    second.pick(*picked)
    second.check()
    assert second.right is False
    assert says in second.verdict
    assert second.verdict.count("<li>") == reasons
    second.pick(0, 1, 2)
    second.check()
    assert second.right is True


def test_right_and_wrong_are_words_and_marks(asked):
    asked[1].pick(0, 3)
    asked[1].check()
    assert "✓ Right: <em>a</em>" in asked[1].verdict
    assert "✗ Wrong: <em>z</em>" in asked[1].verdict


def test_the_button_counts_even_if_it_is_heard_of_before_the_pick(asked):
    """As happens in a kernel with subshells."""
    first = asked[0]
    first.control._handle_custom_msg({"picked": [0]}, [])
    first.pick(0)
    assert "✓ Right." in first.verdict


def test_what_was_right_once_stays_so(asked, kept, written):
    first = asked[0]
    first.pick(0)
    first.check()
    first.pick(2)
    first.check()
    assert entries(kept)["77/first"]["right"] is True
    again = widget(written(ONE)).questions
    assert "before" in again[0].verdict
    assert again[0].control.picked == []
    assert again[1].verdict == ""


def test_works_where_nothing_is_kept(asked, monkeypatch, kept):
    monkeypatch.setenv(progress.VARIABLE, "off")
    asked[0].pick(0)
    asked[0].check()
    assert asked[0].right is True
    assert not kept.exists()


def test_says_once_that_progress_cannot_be_kept(asked, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "file" / "progress.json"))
    said = []
    for _ in range(2):
        asked[0].pick(1)
        asked[0].check()
        said.append("Progress is not kept" in asked[0].verdict)
        asked[0].pick(2)
    assert said == [True, False]


def test_names_are_those_that_progress_uses():
    found = quiz("01")
    found.questions[0].pick(0)
    found.questions[0].check()
    assert set(progress.noted("quizzes")) == {names("01")[0]}


def test_a_lab_has_a_quiz_of_its_own(written, kept):
    found = widget(written(ONE.replace('"77"', '"lab77"', 1), "lab77.toml"))
    found.questions[0].pick(0)
    found.questions[0].check()
    assert set(entries(kept)) == {"lab77/first"}
    assert all(name.startswith("lab01/") for name in names("lab01"))
    assert len(quiz("lab01").questions) == len(names("lab01"))


# -- In the notebook --------------------------------------------------------------------


def test_the_saved_form_has_the_questions_and_no_answers(written):
    found = written(ONE)
    made = widget(found)
    data = made._repr_mimebundle_()
    saved = data["text/html"] + data["text/plain"]
    for question in found.questions:
        for choice in question.choices:
            assert choice.because not in saved
    assert "<strong>1.</strong> Is <code>a</code> right?" in data["text/html"]
    assert "<li><code>a</code></li><li>b</li>" in data["text/html"]
    assert data["text/plain"].startswith("1. Is a right? ( a · b · c )\n2. Which")
    made.questions[0].pick(0)
    made.questions[0].check()
    after = made._repr_mimebundle_()
    assert after["text/html"] + after["text/plain"] == saved


def test_the_page_is_not_told_what_is_right(asked):
    """The browser has the state of the widgets: it must not hold the answers."""

    def states(each):
        yield each.get_state()
        for child in getattr(each, "children", ()):
            yield from states(child)

    for question in asked:
        sent = json.dumps(
            [
                {name: value for name, value in state.items() if name != "_esm"}
                for state in states(question)
            ],
            default=str,
        )
        for choice in question.question.choices:
            assert choice.because not in sent
        assert "right" not in sent.replace("Is <code>a</code> right?", "").replace(
            "More than one is right.", ""
        )


def test_everything_is_escaped(written):
    evil = "<img src=x onerror=alert(1)>"
    made = widget(written(ONE.replace('text = "b"', f'text = "{evil}"').replace(
        "Is `a` right?", evil).replace("It is the second letter.", evil * 2)))  # fmt: skip
    first = made.questions[0]
    first.pick(1)
    first.check()
    assert "<img" not in first.verdict + made._repr_mimebundle_()["text/html"]
    assert "&lt;img" in first.verdict


SOURCES = [
    "from helpers.predict import predict, reveal",
    'predict("01/ledger", "How many?", ["none", "one"])',
    'reveal("01/ledger", "none", because="It has its own.")',
    'from helpers.quiz import quiz\nquiz("01")',
    "from helpers.progress_view import show_progress\nshow_progress()",
]


def run(folder):
    """The outputs of a notebook with all of it, without the ids of its widgets."""
    cells = [nbformat.v4.new_code_cell(source) for source in SOURCES]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(
        notebook, timeout=60, resources={"metadata": {"path": str(folder)}}
    ).execute()
    for cell in notebook.cells:
        for output in cell.outputs:
            assert output.output_type != "stream"
            output.data.pop("application/vnd.jupyter.widget-view+json", None)
            output.pop("execution_count", None)
    return [cell.outputs for cell in notebook.cells]


def test_a_validation_run_is_the_same_whoever_runs_it(kept, monkeypatch):
    """Nothing of the learner's is read or changed, and nothing of it is in the outputs."""
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    progress.note("predictions", "01/ledger", predicted="one", unit="")
    progress.note("quizzes", names("01")[0], right=True, tries=1)
    before = kept.read_bytes()
    monkeypatch.setenv(progress.VARIABLE, "off")
    validated = run(ROOT)
    assert kept.read_bytes() == before
    assert validated[2] == []  # nothing predicted, nothing revealed
    assert set(validated[3][0].data) == {"text/plain", "text/html"}
    monkeypatch.setenv(progress.VARIABLE, str(kept))
    learners = run(ROOT)
    assert "Not as you predicted" in learners[2][0].data["text/plain"]
    del validated[2], learners[2]
    assert learners == validated
