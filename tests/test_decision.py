"""The decision helper, and forms of one's own, driven without a browser."""

import pytest

from helpers.decision import decision
from helpers.forms import form

QUESTIONS = {"wait": "Does it need `the answer`?", "spikes": "Do spikes come?"}


def advise(answers):
    reasons = [f"{name} <is true>" for name, yes in answers.items() if yes]
    return "Call" if answers["wait"] else "Send", reasons


def test_advises_at_first_and_after_each_tick():
    helper = decision(QUESTIONS, advise)
    assert helper.answers == {"wait": False, "spikes": False}
    assert "<strong>Send</strong>" in helper.advice and "<li>" not in helper.advice
    helper.tick("wait", "spikes")
    assert helper.answers == {"wait": True, "spikes": True}
    assert "<strong>Call</strong>" in helper.advice
    assert helper.advice.count("<li>") == 2
    helper.tick("spikes")
    assert helper.answers == {"wait": False, "spikes": True}
    assert "<strong>Send</strong>" in helper.advice


def test_what_others_wrote_is_escaped():
    helper = decision(QUESTIONS, advise)
    helper.tick("wait")
    assert "wait &lt;is true&gt;" in helper.advice


def test_the_boxes_carry_the_questions_and_the_advice_is_announced():
    _, boxes, advice = decision(QUESTIONS, advise).children
    assert boxes.several and "Tick what is true" in boxes.question
    assert boxes.options == ["Does it need <code>the answer</code>?", "Do spikes come?"]
    assert advice.part == "announcement"


def test_saves_the_questions_and_no_answer():
    helper = decision(QUESTIONS, advise)
    saved = helper._repr_mimebundle_()
    helper.tick("wait")
    assert helper._repr_mimebundle_()["text/html"] == saved["text/html"]
    assert "<code>the answer</code>" in saved["text/html"]
    assert "Do spikes come?" in saved["text/plain"]
    assert "Advice:" not in saved["text/html"] + saved["text/plain"]


def test_rules_that_break_later_are_told_in_the_form():
    helper = decision(QUESTIONS, lambda answers: {False: ("Send", [])}[answers["wait"]])
    helper.tick("wait")
    assert "advise() failed: KeyError" in helper.advice
    helper.tick()
    assert "<strong>Send</strong>" in helper.advice


def test_refuses_what_cannot_work():
    with pytest.raises(TypeError, match="function"):
        decision(QUESTIONS, "call")
    with pytest.raises(ValueError, match="two questions"):
        decision({"wait": "Wait?"}, advise)
    with pytest.raises(ValueError, match="no question 'fun'; there are wait, spikes"):
        decision(QUESTIONS, advise).tick("fun")
    with pytest.raises(KeyError):
        decision(QUESTIONS, lambda answers: answers["unknown"])


def test_a_form_shows_its_text_where_no_kernel_runs():
    import ipywidgets

    made = form([ipywidgets.Button(description="Go")], "First <line>\nand `second`")
    saved = made._repr_mimebundle_()
    assert saved["text/plain"] == repr(made) == "First <line>\nand second"
    assert (
        saved["text/html"] == "<p>First &lt;line&gt;</p><p>and <code>second</code></p>"
    )
