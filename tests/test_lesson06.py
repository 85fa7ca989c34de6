"""Lesson 06: its page, its model and its rules. (Its claims: tests/trials/06.toml.)"""

import ast
import itertools
from pathlib import Path

import ipywidgets
import numpy as np
import pytest

from helpers.decision import decision
from tools import notebooks

ROOT = Path(__file__).parent.parent
NOTEBOOK = "notebooks/06-when-to-use-each.ipynb"


def defined(*names, **given):
    """Functions and constants of the notebook, by name, without running its cells."""
    space = dict(given)
    for cell in notebooks.code_cells(notebooks.read(ROOT / NOTEBOOK)):
        for node in ast.parse(cell.source).body:
            if _name(node) in names:
                exec(ast.unparse(node), space)
    return [space[name] for name in names]


def _name(node):
    """What a statement defines: a function, or the first name of an assignment."""
    if isinstance(node, ast.Assign):
        first = node.targets[0]
        first = first.elts[0] if isinstance(first, ast.Tuple) else first
        return getattr(first, "id", None)
    return getattr(node, "name", None)


@pytest.fixture
def page():
    """Makes a product page; .asked and .ordered tell what it did."""
    [product_page] = defined("product_page", ipywidgets=ipywidgets)

    def made(left, order=lambda item: "yours, as res-1"):
        asked, ordered = [], []
        page = product_page(
            "Alex",
            lambda item: asked.append(item) or left,
            lambda item: ordered.append(item) or order(item),
        )
        page.asked, page.ordered = asked, ordered
        return page

    return made


def buttons(page):
    return [each for each in page.children if isinstance(each, ipywidgets.Button)]


def test_the_button_appears_only_when_something_is_left(page):
    assert len(buttons(page(left=1))) == 1
    assert buttons(page(left=0)) == []
    assert page(left=0).asked == ["lamp"]
    assert "no button" in page(left=0).children[0].value


def test_a_click_orders_once_and_says_how_it_went(page):
    shown = page(left=1)
    assert shown.ordered == []
    buttons(shown)[0].click()
    assert shown.ordered == ["lamp"]
    assert shown.told == "yours, as res-1"
    assert shown.children[0].value == "Alex: yours, as res-1"
    assert buttons(shown) == []


def test_a_click_says_when_nobody_answers(page):
    def nobody(item):
        raise ConnectionError

    shown = page(left=1, order=nobody)
    shown.click()
    assert shown.told == "Inventory cannot be reached"


@pytest.fixture
def model():
    [traffic] = defined("traffic")
    return defined("model", traffic=traffic, np=np, PAYMENTS_SECONDS=0.02)[0]


def test_the_model_loses_most_calls_with_two_workers_and_none_with_six(model):
    come, took = model(400, 2)
    assert len(come) == 260
    assert 200 <= (took > 0.3).sum() <= 205
    assert come[-1] + took[-1] - 2 == pytest.approx(0.9, abs=0.01)
    assert [int((model(400, n)[1] > 0.3).sum()) for n in (5, 6)] == [11, 0]


def test_the_model_takes_every_order_at_once_where_workers_abound(model):
    assert model(600, 12)[1] == pytest.approx(0.02)


@pytest.fixture
def rules():
    """QUESTIONS and advise(), with what the notebook measures before."""
    given = {"lost": "79 % by call", "alex_waited": 0.1, "promises": [1, 3]}
    [reasons] = defined("REASONS", **given)
    [answer] = defined("ANSWER")
    independent = ("busy or down", "spikes", "several")
    names = {"REASONS": reasons, "ANSWER": answer, "INDEPENDENT": independent}
    return defined("QUESTIONS", "advise", **names)


def test_advice_for_every_combination_of_answers(rules):
    questions, advise = rules
    assert len(questions) == 5
    for yes in itertools.product([False, True], repeat=5):
        advice, reasons = advise(dict(zip(questions, yes, strict=True)))
        needs_answer, independence = any(yes[:2]), any(yes[2:])
        if needs_answer and independence:
            assert advice.startswith("Call for the answer")
        elif needs_answer:
            assert advice.startswith("Call and wait")
        elif independence:
            assert advice == "Send and move on"
        else:
            assert advice.startswith("Either")
        assert len(reasons) == max(1, sum(yes))


def test_the_widget_shows_the_advice_for_what_is_ticked(rules):
    questions, advise = rules
    helper = decision(questions, advise)
    assert "Either will do" in helper.advice
    helper.tick("spikes", "several")
    assert "<strong>Send and move on</strong>" in helper.advice
    assert helper.advice.count("<li>") == 2
    helper.tick("next step")
    assert "<strong>Call and wait, with a timeout</strong>" in helper.advice
