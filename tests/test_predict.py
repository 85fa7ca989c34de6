"""Predictions, driven without a browser."""

import json
import math
import sys

import pytest

from helpers import figures, progress
from helpers.predict import mark_prediction, parse_number, predict, predicted, reveal

QUESTION = "When can Orders do something else? See `requests.post`."
TIMES = {"at once": 0, "after 0.25 s": 0.25, "after 0.5 s": 0.5, "never": None}
WORDS = ["none", "one", "an error"]


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    """Where the learner's progress is, for a kernel that has just started."""
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "progress.json"))
    new_kernel(monkeypatch)
    return tmp_path / "progress.json"


def new_kernel(monkeypatch):
    # helpers.predict itself is the function, once helpers exports it
    monkeypatch.setattr(sys.modules["helpers.predict"], "_asked", {})
    monkeypatch.setattr(progress, "_said", set())


@pytest.fixture
def shown(monkeypatch):
    """What was displayed, each a dict by MIME type."""
    found = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: found.append(data))
    return found


def status(widget):
    return widget._status.value


def entry(kept, name):
    return json.loads(kept.read_text())["predictions"][name]


# -- Choices ----------------------------------------------------------------------------


def test_nothing_is_picked_at_first_and_nothing_is_said(shown):
    widget = predict("01/blocked", QUESTION, TIMES, unit="s")
    assert predicted("01/blocked") is None
    reveal("01/blocked", 0.55, because="It waits.")
    assert shown == []
    assert not any(control.disabled for control in [widget.control])


def test_a_reveal_without_its_question_says_nothing(shown):
    reveal("01/blocked", 0.55, because="It waits.")
    assert shown == []
    assert predicted("01/blocked") is None


def test_a_pick_is_noted_at_once(kept):
    widget = predict("01/blocked", QUESTION, TIMES, unit="s")
    widget.predict("at once")
    assert predicted("01/blocked") == "at once"
    assert "✓ Noted" in status(widget)
    assert entry(kept, "01/blocked")["predicted"] == "at once"


@pytest.mark.parametrize(
    "measured, nearest", [(0.004, "at once"), (0.3, "after 0.25 s"), (9, "after 0.5 s")]
)
def test_a_measurement_decides_which_choice_came_out(shown, kept, measured, nearest):
    widget = predict("01/blocked", QUESTION, TIMES, unit="s")
    widget.predict("after 0.25 s")
    reveal("01/blocked", measured, because="A call `waits`.")
    [data] = shown
    right = nearest == "after 0.25 s"
    title = "✓ As you predicted." if right else "✗ Not as you predicted."
    assert data["text/plain"] == (
        f"{title} You predicted “after 0.25 s”. "
        f"What came out: {nearest} (measured: {measured:.3g} s).\nA call waits."
    )
    assert "<code>waits</code>" in data["text/html"]
    assert entry(kept, "01/blocked")["came_out"] == nearest


def test_choices_without_numbers_are_revealed_by_their_text(shown):
    predict("01/ledger", QUESTION, WORDS).predict("one")
    reveal("01/ledger", "none")
    assert shown[0]["text/plain"].startswith("✗ Not as you predicted.")
    reveal("01/ledger", "one")
    assert shown[1]["text/plain"].startswith("✓ As you predicted.")


def test_a_choice_without_a_number_can_come_out_by_its_text(shown):
    predict("01/blocked", QUESTION, TIMES, unit="s").predict("never")
    reveal("01/blocked", "never")
    assert shown[0]["text/plain"].endswith("What came out: never.")


def test_what_was_revealed_can_no_longer_be_changed(shown):
    widget = predict("01/ledger", QUESTION, WORDS)
    widget.predict("one")
    assert not widget.control.disabled
    reveal("01/ledger", "none")
    assert widget.control.disabled
    assert "run this cell again" in status(widget)
    again = predict("01/ledger", QUESTION, WORDS)
    assert not again.control.disabled
    again.predict("none")
    assert predicted("01/ledger") == "none"


def test_a_prediction_outlives_its_kernel(monkeypatch, shown):
    predict("01/ledger", QUESTION, WORDS).predict("one")
    predict("02/rate", QUESTION, unit="orders/s").predict(12.5)
    new_kernel(monkeypatch)
    widget = predict("01/ledger", QUESTION, WORDS)
    assert widget.control.picked == [1]
    assert "earlier" in status(widget)
    number = predict("02/rate", QUESTION, unit="orders/s")
    assert (number.predicted, number.control.value) == (12.5, "12.5")
    reveal("01/ledger", "none")
    assert "You predicted “one”" in shown[0]["text/plain"]


def test_a_prediction_for_an_older_question_is_forgotten(monkeypatch):
    predict("01/ledger", QUESTION, WORDS).predict("one")
    new_kernel(monkeypatch)
    assert predict("01/ledger", QUESTION, ["two", "three"]).predicted is None
    assert predict("01/ledger", QUESTION, unit="charges").predicted is None


def test_without_a_file_a_prediction_still_works(monkeypatch, shown, kept):
    monkeypatch.setenv(progress.VARIABLE, "off")
    predict("01/ledger", QUESTION, WORDS).predict("one")
    reveal("01/ledger", "one")
    assert len(shown) == 1
    assert not kept.exists()


def test_a_file_that_cannot_be_written_is_told_in_one_line(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "file" / "progress.json"))
    widget = predict("01/ledger", QUESTION, WORDS)
    widget.predict("one")
    assert "Progress is not kept" in status(widget)
    widget.predict("none")
    assert "Progress is not kept" not in status(widget)
    assert predicted("01/ledger") == "none"


# -- Numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "came_out, said",
    [
        (18.63, "You were 8.63 orders/s too low. You predicted 10 orders/s."),
        (4, "You were 6 orders/s too high. You predicted 10 orders/s."),
        (10.001, "✓ As you predicted. You predicted 10 orders/s."),
        (12_345.6, "You were 12,336 orders/s too low. You predicted 10 orders/s."),
    ],
)
def test_says_by_how_much_a_number_was_off(shown, came_out, said):
    predict("02/rate", QUESTION, unit="orders/s").predict("10")
    reveal("02/rate", came_out)
    assert shown[0]["text/plain"].startswith(said)


@pytest.mark.parametrize(
    "typed, number",
    [
        ("0.5", 0.5), ("0,5", 0.5), ("0,125", 0.125), ("1,200", 1200), ("1 200", 1200),
        ("12,345,678.5", 12345678.5), ("10.5 s", 10.5), (" 3s ", 3), ("1e3", 1000), ("-2", -2),
    ],
)  # fmt: skip
def test_reads_numbers_as_people_type_them(typed, number):
    widget = predict("02/time", QUESTION, unit="s")
    widget.control.value = typed
    assert predicted("02/time") == number


@pytest.mark.parametrize(
    "typed", ["soon", "1.2.3", "nan", "inf", "1e999", "<b>", "5 h"]
)
def test_asks_again_for_what_is_no_number(typed):
    widget = predict("02/time", QUESTION, unit="s")
    widget.control.value = "3"
    widget.control.value = typed
    assert predicted("02/time") is None
    assert "Please write a number" in status(widget)
    widget.control.value = ""
    assert (predicted("02/time"), status(widget)) == (None, "")


def test_parse_number_refuses_what_is_empty():
    with pytest.raises(ValueError, match="write a number"):
        parse_number("")


# -- In a figure ------------------------------------------------------------------------


@pytest.fixture
def ax():
    _, ax = figures.chart("Seen", x="rate (orders/s)", y="blocked (s)")
    ax.plot([0, 20], [0, 1])
    return ax


def marks(ax):
    return [text.get_text() for text in ax.texts]


def test_marks_nothing_when_nothing_was_predicted(ax):
    lines = len(ax.lines)
    mark_prediction("02/rate", ax)
    predict("02/rate", QUESTION, unit="orders/s")
    mark_prediction("02/rate", ax)
    predict("01/ledger", QUESTION, WORDS).predict("one")  # has no numbers
    mark_prediction("01/ledger", ax)
    predict("01/blocked", QUESTION, TIMES, unit="s").predict("never")
    mark_prediction("01/blocked", ax)
    assert (len(ax.lines), marks(ax)) == (lines, [])


def test_marks_the_place_with_a_labelled_line(ax):
    predict("02/rate", QUESTION, unit="orders/s").predict("12")
    mark_prediction("02/rate", ax)
    assert list(ax.lines[-1].get_xdata()) == [12, 12]
    assert marks(ax) == ["you predicted 12 orders/s"]
    predict("01/blocked", QUESTION, TIMES, unit="s").predict("after 0.25 s")
    mark_prediction("01/blocked", ax, "y")
    assert list(ax.lines[-1].get_ydata()) == [0.25, 0.25]
    assert marks(ax)[1] == "you predicted 0.25 s"


@pytest.mark.parametrize(
    "unit, axis_unit, at", [("s", "ms", 500), ("ms", "s", 0.0005), ("s", "s", 0.5)]
)
def test_seconds_find_their_place_among_milliseconds(unit, axis_unit, at):
    _, ax = figures.chart("Seen", x=f"time ({axis_unit})", y="customers (customers)")
    ax.plot([0, 2 * at], [0, 1])
    predict("02/time", QUESTION, unit=unit).predict("0.5")
    mark_prediction("02/time", ax)
    assert ax.lines[-1].get_xdata()[0] == pytest.approx(at)
    assert marks(ax) == [f"you predicted 0.5 {unit}"]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_tells_at_the_edge_of_a_prediction_outside(ax, scale):
    ax.set(xlim=(1, 20), xscale=scale)
    lines = len(ax.lines)
    for predicted_rate in ("400", "0.5"):
        predict("02/rate", QUESTION, unit="orders/s").predict(predicted_rate)
        mark_prediction("02/rate", ax)
    assert marks(ax) == ["you predicted 400 orders/s →", "← you predicted 0.5 orders/s"]
    assert len(ax.lines) == lines
    assert ax.get_xlim() == (1, 20)


def test_the_label_stays_inside_the_figure(ax):
    figure = ax.figure
    for axis, low, high in (("x", 0, 20), ("y", 0, 1)):
        for value in (low, (low + high) / 2, high):
            predict("02/rate", QUESTION, unit="orders/s").predict(str(value))
            mark_prediction("02/rate", ax, axis)
    figures.png(figure)  # lays everything out
    width, height = figure.canvas.get_width_height()
    for text in ax.texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height


# -- In the notebook --------------------------------------------------------------------


def test_the_saved_form_is_the_same_for_everybody():
    before = predict("01/blocked", QUESTION, TIMES, unit="s")
    untouched = before._repr_mimebundle_()
    before.predict("at once")
    after = predict("01/blocked", QUESTION, TIMES, unit="s")._repr_mimebundle_()
    for kind in ("text/html", "text/plain"):
        assert untouched[kind] == after[kind]
    assert untouched["text/plain"] == (
        "Predict. When can Orders do something else? See requests.post. "
        "( at once · after 0.25 s · after 0.5 s · never )"
    )
    assert "<li>after 0.25 s</li>" in untouched["text/html"]


def test_everything_is_escaped(shown):
    evil = "<script>alert(1)</script>"
    widget = predict("01/evil", evil, [evil, "b"])
    widget.predict(evil)
    reveal("01/evil", evil, because=evil)
    html = (
        widget._repr_mimebundle_()["text/html"] + shown[0]["text/html"] + status(widget)
    )
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


# -- Bad input --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["blocked", "1/blocked", "01/Blocked", "01/", 7, "01/a b", "lab 01/a"]
)
def test_a_name_has_the_lesson_and_a_word(name):
    for call in (
        lambda: predict(name, QUESTION, WORDS),
        lambda: reveal(name, "one"),
        lambda: predicted(name),
        lambda: mark_prediction(name, None),
    ):
        with pytest.raises(ValueError, match="01/blocked"):
            call()


@pytest.mark.parametrize(
    "arguments, error, says",
    [
        (("", WORDS), ValueError, "needs a question"),
        ((QUESTION,), ValueError, "needs a unit"),
        ((QUESTION, ["one"]), ValueError, "two choices"),
        ((QUESTION, ["one", "one"]), ValueError, "two choices"),
        ((QUESTION, "one"), ValueError, "two choices"),
        ((QUESTION, {"a": "1", "b": 2}), TypeError, "a number"),
        ((QUESTION, {"a": None, "b": None}), TypeError, "a number"),
        ((QUESTION, {"a": math.nan, "b": 1}), TypeError, "a number"),
    ],
)
def test_refuses_a_question_that_cannot_be_answered(arguments, error, says):
    with pytest.raises(error, match=says):
        predict("01/bad", *arguments)


@pytest.mark.parametrize(
    "choices, came_out, error, says",
    [
        (WORDS, "two", ValueError, "none of the choices"),
        (WORDS, 1, TypeError, "one of its choices"),
        (TIMES, "soon", ValueError, "none of the choices"),
        (TIMES, math.nan, TypeError, "a number"),
        (TIMES, None, TypeError, "a number"),
        (None, "one", TypeError, "not a text"),
        (None, math.inf, TypeError, "a number"),
    ],
)
def test_refuses_what_cannot_have_come_out(choices, came_out, error, says):
    """Also when nothing was predicted, so that validation finds it."""
    predict("01/bad", QUESTION, choices, unit="s")
    with pytest.raises(error, match=says):
        reveal("01/bad", came_out)


def test_refuses_an_outcome_that_is_none_even_without_the_question():
    with pytest.raises(TypeError, match="text or a number"):
        reveal("01/bad", None)


def test_refuses_an_axis_that_there_is_not(ax):
    with pytest.raises(ValueError, match='"x" or "y"'):
        mark_prediction("01/blocked", ax, "z")
