"""Claims: they print their sentence when they hold, and say what is wrong when they do not."""

import numpy as np
import pytest

from helpers import progress
from helpers.claims import ClaimFailed, claim, claims, last_measured

SENTENCE = "Async is free sooner"


@pytest.mark.parametrize(
    ("got", "condition"),
    [
        (0.4, {"at_least": 0.4}),
        (0.4, {"at_most": 0.4}),
        (0.5, {"more_than": 0.4}),
        (0.3, {"less_than": 0.4}),
        (3, {"equals": 3}),
        ("paid", {"equals": "paid"}),
        (True, {"equals": True}),
        (0, {"equals": 0}),
        (0.2, {"between": (0.2, 0.4)}),
        (0.4, {"between": (0.2, 0.4)}),
        (np.float64(0.5), {"at_least": 0.4}),
        (np.int64(3), {"equals": 3}),
    ],
)
def test_prints_the_sentence_and_no_number_when_it_holds(got, condition, capsys):
    claim(SENTENCE, got, **condition, unit="s")
    assert capsys.readouterr().out == f"✓ {SENTENCE}\n"
    assert claims[SENTENCE].holds


@pytest.mark.parametrize(
    ("got", "condition", "expected"),
    [
        (0.39, {"at_least": 0.4}, "at least 0.4 s"),
        (0.41, {"at_most": 0.4}, "at most 0.4 s"),
        (0.4, {"more_than": 0.4}, "more than 0.4 s"),
        (0.4, {"less_than": 0.4}, "less than 0.4 s"),
        (2, {"equals": 3}, "3 s"),
        ("late", {"equals": "paid"}, "'paid' s"),
        (0.41, {"between": (0.2, 0.4)}, "between 0.2 and 0.4 s"),
        (0.19, {"between": (0.2, 0.4)}, "between 0.2 and 0.4 s"),
    ],
)
def test_fails_with_expected_got_and_hint(got, condition, expected, capsys):
    with pytest.raises(ClaimFailed) as failure:
        claim(SENTENCE, got, **condition, unit="s", hint="how many threads are there?")
    assert str(failure.value).splitlines() == [
        f"✗ {SENTENCE}",
        f"  expected: {expected}",
        f"  got:      {got!r} s",
        "  hint:     how many threads are there?",
    ]
    assert failure.value._render_traceback_() == str(failure.value).splitlines()
    assert capsys.readouterr().out == ""
    assert not claims[SENTENCE].holds
    assert claims[SENTENCE].got == got


def test_shows_enough_digits_to_tell_the_numbers_apart():
    with pytest.raises(ClaimFailed, match=r"got: +0\.39999999"):
        claim(SENTENCE, 0.39999999, at_least=0.4)


def test_a_claim_made_again_counts_as_it_came_out_last():
    with pytest.raises(ClaimFailed):
        claim(SENTENCE, 1, at_least=2)
    claim(SENTENCE, 3, at_least=2)
    assert claims[SENTENCE].holds
    assert claims[SENTENCE].expected == "at least 2"


@pytest.mark.parametrize(
    ("got", "conditions", "says"),
    [
        (1, {}, "exactly one of"),
        (1, {"at_least": 1, "at_most": 2}, "given: at_least and at_most"),
        (None, {"at_least": 1}, "one number, not None"),
        (None, {"equals": 1}, "got is None"),
        ("3", {"at_least": 1}, "one number, not '3'"),
        (True, {"at_least": 1}, "use equals"),
        (np.array([1, 2]), {"at_least": 1}, "one number"),
        (np.array([1, 2]), {"equals": 1}, "one value"),
        (float("nan"), {"at_most": 1}, "was anything measured"),
        (float("nan"), {"equals": 1}, "was anything measured"),
        (float("inf"), {"at_least": 1}, "was anything measured"),
        (1, {"at_least": "1"}, "at_least must be one number"),
        (1, {"between": 3}, "pair"),
        (1, {"between": (3, 2)}, "3 is more than 2"),
    ],
)
def test_what_cannot_be_judged_is_an_error(got, conditions, says):
    with pytest.raises((TypeError, ValueError), match=says):
        claim(SENTENCE, got, **conditions)


def test_needs_a_sentence():
    with pytest.raises(TypeError, match="begins with its sentence"):
        claim(0.4, 0.3, at_least=0.1)


def test_the_number_is_there_in_the_next_lesson(monkeypatch, tmp_path):
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "progress.json"))
    assert last_measured(SENTENCE) is None
    claim(SENTENCE, np.float64(0.25), at_most=1, unit="s")
    claim("It is paid", "paid", equals="paid")
    with pytest.raises(ClaimFailed):
        claim(SENTENCE, 2, at_most=1, unit="s")
    claims.clear()
    assert last_measured(SENTENCE) == (0.25, "s")
    assert last_measured("It is paid") is None
