"""tools/trials.py: what becomes of a notebook's claims when a cause is taken out."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from running import nothing_left

from tools import notebooks
from tools.trials import TRIALS, Trial, claims, failed_claims, main, trials

CELLS = [
    "from helpers import claim\n\nwaits = True",
    'claim("It waits", waits, equals=True)\nclaim("Two is two", 2, equals=2)\nseen = 3',
    'claim("We got past it", seen, equals=3)',
    'raise OSError("no such thing")',
]


LESSONS = sorted((notebooks.ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def notebook(tmp_path):
    path = tmp_path / "lesson.ipynb"
    cells = [new_markdown_cell("# waits = True"), *map(new_code_cell, CELLS[:3])]
    notebooks.write(new_notebook(cells=cells), path)
    return path


@pytest.fixture
def failing(tmp_path):
    path = tmp_path / "failing.ipynb"
    notebooks.write(new_notebook(cells=list(map(new_code_cell, CELLS))), path)
    return path


def test_untouched_no_claim_fails_and_the_file_stays(notebook):
    before = notebook.read_bytes()
    assert failed_claims(notebook, {}) == []
    assert notebook.read_bytes() == before


def test_the_claim_whose_cause_is_gone_fails_and_its_cell_goes_on(notebook):
    without = {"waits = True": "waits = False", "seen = 3": "seen = 4"}
    assert failed_claims(notebook, without) == ["It waits", "We got past it"]


def test_cells_can_be_left_out(notebook, failing):
    only = {"waits = True": "waits = False", "2, equals": "3, equals"}
    until = failed_claims(notebook, only, until="Two is two")
    assert until == ["It waits", "Two is two"]
    assert failed_claims(failing, {}, without=["raise OSError"]) == []


@pytest.mark.parametrize(
    "text, options, problem",
    [
        ("nowhere", {}, "'nowhere' is in the code 0 times"),
        ("equals=", {}, "'equals=' is in the code 3 times"),
        ("seen = 3", {"until": "waits = "}, "in a cell that is not run"),
        ("seen = 3", {"until": "claim"}, "'claim' is in 3 code cells"),
        ("seen = 3", {"without": ["nowhere"]}, "'nowhere' is in 0 code cells"),
    ],
)
def test_a_text_that_is_not_there_once_is_refused(notebook, text, options, problem):
    with pytest.raises(ValueError, match=problem):
        failed_claims(notebook, {text: "pass"}, **options)


def test_a_cell_that_fails_otherwise_is_an_error(failing):
    with pytest.raises(notebooks.NotebookFailed, match="no such thing"):
        failed_claims(failing, {})


def test_an_assertion_is_no_claim(notebook):
    with pytest.raises(notebooks.NotebookFailed, match="AssertionError"):
        failed_claims(notebook, {"seen = 3": "assert not waits"})


def test_a_claim_of_a_lesson_and_nothing_is_left():
    lesson = "notebooks/01-the-core-choice.ipynb"
    with nothing_left():
        failed = failed_claims(
            lesson,
            {"    charge(request.get_json())\n": ""},
            until="Call and wait: Orders is blocked",
        )
    waits = "Call and wait: Orders is blocked for at least as long as Payments works"
    assert failed == [waits]


# -- The lists in tests/trials/, as far as one can tell without a kernel ------------------


def lesson_trials(lesson):
    return list(trials(lesson.name[:2]))


each_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda each: each.stem)


@each_lesson
def test_each_claim_of_a_lesson_is_to_be_seen_failing(lesson):
    failing = {claim for trial in lesson_trials(lesson) for claim in trial.fails}
    assert [claim for claim in claims(lesson) if claim not in failing] == []


@each_lesson
def test_a_trial_fits_its_lesson_and_comes_to_the_claims_that_it_names(lesson):
    for trial in lesson_trials(lesson):
        assert notebooks.ROOT / trial.notebook == lesson
        assert trial.fails and trial.replace
        reached = trial.claims()  # raises when a text is not in exactly one place
        assert [claim for claim in trial.fails if claim not in reached] == []


def test_each_list_is_of_a_lesson():
    numbers = {lesson.name[:2] for lesson in LESSONS}
    assert {path.stem for path in TRIALS.glob("*.toml")} <= numbers


def test_a_trial_comes_to_the_claims_of_the_cells_that_it_runs(notebook):
    trial = Trial(notebook, "no waiting", {"waits = True": "waits = False"}, [])
    assert trial.claims() == ["It waits", "Two is two", "We got past it"]
    first = Trial(notebook, "no waiting", trial.replace, [], until="It waits")
    assert first.claims() == ["It waits", "Two is two"]
    rotten = Trial(notebook, "no waiting", {"waits = 1": "waits = 0"}, [])
    with pytest.raises(ValueError, match="'waits = 1' is in the code 0 times"):
        rotten.claims()


@pytest.mark.parametrize(
    "call", ['claim(f"{1} is one", 1, equals=1)', "claim(said, 1, equals=1)", "claim()"]
)
def test_a_sentence_that_is_no_plain_string_is_refused(tmp_path, call):
    path = tmp_path / "lesson.ipynb"
    notebooks.write(new_notebook(cells=[new_code_cell(call)]), path)
    with pytest.raises(ValueError, match=r"lesson\.ipynb: claim.*plain string"):
        claims(path)


# -- python -m tools.trials --------------------------------------------------------------

HELD = """
[[trials]]
cause = "It does not wait"
fails = ["It waits", "Two is two"]
until = "Two is two"
[[trials.replace]]
old = "waits = True"
new = "waits = False"
"""
ROTTEN = """
[[trials]]
cause = "It has changed"
fails = ["It waits"]
[[trials.replace]]
old = "nowhere"
new = "pass"
"""


@pytest.fixture
def listed(notebook, tmp_path, monkeypatch):
    """Writes 01.toml, the list of trials of the lesson."""
    monkeypatch.setattr("tools.trials.TRIALS", tmp_path)

    def write(text):
        (tmp_path / "01.toml").write_text(f"notebook = '{notebook}'\n{text}")

    return write


def test_it_says_which_claims_held_and_goes_on_after_a_trial_that_cannot_be_run(
    listed, capsys
):
    listed(ROTTEN + HELD)
    assert main(["01"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "lesson: It has changed: could not be run",
        "'nowhere' is in the code 0 times, not once",
        "lesson: It does not wait: 1 of 2 claims failed",
        "  held all the same: Two is two",
    ]


def test_all_well_when_every_claim_failed(listed, capsys):
    listed(HELD.replace(', "Two is two"', ""))
    assert main([]) == 0
    assert capsys.readouterr().out == "lesson: It does not wait: 1 of 1 claims failed\n"


def test_a_lesson_without_trials_is_an_error(listed, capsys):
    listed(HELD)
    assert main(["01", "77"]) == 2
    assert "no file that begins with 77" in capsys.readouterr().out
