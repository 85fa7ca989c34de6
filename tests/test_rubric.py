"""Rubrics: those of the course, and the widget, driven without a browser."""

import pytest

from helpers import progress
from helpers.rubric import FOLDER, RubricError, read, rubric, widget

FILES = sorted(FOLDER.glob("*.toml"))

ONE = """
lesson = "77"
parts = [
  {title = "First", criteria = [
    {name = "a", says = "I said `a`", points = 2, because = "It comes <first>."},
    {name = "b", says = "I said b", points = 1, because = "It comes second."},
  ]},
  {title = "Then", criteria = [{name = "c", says = "I said c", points = 3, because = "It is last."}]},
]
levels = [{at_least = 0, means = "A start."}, {at_least = 4, means = "Good."}]
"""


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    """Where the learner's progress is."""
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "progress.json"))
    monkeypatch.setattr(progress, "_said", set())
    return tmp_path / "progress.json"


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "77.toml"
        path.write_text(text, encoding="utf-8")
        return read(path)

    return write


@pytest.fixture
def marked(written):
    return lambda: widget(written(ONE))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_rubrics_of_the_course_are_good(path):
    found = read(path)
    assert found.lesson == path.stem
    assert len({found.level(points) for points in range(found.total + 1)}) == len(
        found.levels
    )


def test_stays_closed_until_it_is_asked_for(marked):
    form = marked()
    button = form._button
    assert not form.unfolded
    button.click()
    assert form.unfolded and button.description == "Hide the rubric"
    assert "<strong>0 of 6 points.</strong> A start." in form.verdict
    form.unfold()
    assert form.children.count(form._marking) == 1
    button.click()
    assert not form.unfolded and button.description == "Show the rubric"


def test_adds_up_what_is_ticked_and_says_what_the_sum_means(marked):
    form = marked()
    form.tick("a")
    assert form.points == 2 and "2 of 6 points.</strong> A start." in form.verdict
    assert "It comes second." in form.verdict and "&lt;first&gt;" not in form.verdict
    form.tick("b", "c")
    assert form.points == 4 and "4 of 6 points.</strong> Good." in form.verdict
    assert "It comes &lt;first&gt;." in form.verdict
    form.tick("a", "b", "c")
    assert form.points == 6 and "<details>" not in form.verdict


def test_keeps_what_was_ticked(marked, kept):
    marked().tick("a", "c")
    facts = progress.noted("quizzes")["77/rubric"]
    assert facts["ticked"] == ["a", "c"]
    assert (facts["points"], facts["of"]) == (5, 6)
    again = marked()
    assert again.unfolded and again.points == 5
    assert "5 of 6 points" in again.verdict


def test_opening_it_keeps_nothing(marked, kept):
    marked().unfold()
    assert not kept.exists()


def test_a_criterion_that_is_gone_is_forgotten(marked):
    progress.note("quizzes", "77/rubric", points=9, of=9, ticked=["b", "gone"])
    assert marked().points == 1


def test_what_cannot_be_kept_is_said(marked, kept):
    kept.mkdir()
    form = marked()
    form.tick("a")
    assert "2 of 6 points" in form.verdict and "Progress is not kept" in form.verdict


def test_saves_the_rubric_folded_and_nothing_of_the_learner(marked):
    form = marked()
    before = form._repr_mimebundle_()
    form.tick("a")
    after = form._repr_mimebundle_()
    for kind in ("text/html", "text/plain"):
        assert before[kind] == after[kind]
    assert after["text/html"].startswith("<details>")
    for text in (
        "I said <code>a</code> (2)",
        "It comes &lt;first&gt;.",
        "from 4: Good.",
    ):
        assert text in after["text/html"]
    assert "I said" not in after["text/plain"]


def test_boxes_and_sum_are_named_for_screen_readers(marked):
    form = marked()
    first, then, shown = form._marking.children
    assert first.several and "First" in first.question
    assert then.options == ["I said c (3)"]
    assert shown.part == "announcement"


@pytest.mark.parametrize(
    "old, new, problem",
    [
        ("points = 1", "points = 0", "points"),
        ('name = "b"', 'name = "a"', "two criteria have the same name"),
        ("at_least = 0", "at_least = 1", "the levels begin at 0"),
        ("at_least = 4", "at_least = 7", "above the 6 points"),
        ('lesson = "77"', "lesson = ", "cannot be read"),
        ('because = "It is last."', 'becuse = "It is last."', "becuse"),
    ],
)
def test_refuses_a_bad_file(written, old, new, problem):
    assert old in ONE
    with pytest.raises(RubricError, match=problem) as refused:
        written(ONE.replace(old, new, 1))
    assert "77.toml" in str(refused.value)


def test_refuses_what_there_is_not(marked):
    with pytest.raises(ValueError, match="there is one for .*11"):
        rubric("99")
    with pytest.raises(ValueError, match="no criterion 'd'"):
        marked().tick("d")
