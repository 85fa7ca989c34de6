"""Predictions, quizzes and the view of progress as a learner meets them, by keyboard alone.

One notebook is used by all tests, in this order. Screenshots are kept in build/screenshots/.
"""

import json
import re
import time
from pathlib import Path

import pytest

from tools import browser

ROOT = Path(__file__).parent.parent
SCREENSHOTS = ROOT / "build" / "screenshots"
CELLS = [
    """
from pathlib import Path
from helpers import *
from helpers import progress
progress.COURSE = Path.cwd()  # so that no other work is kept or taken back
""",
    """
predict("01/blocked", "When is `Orders` free *again*?",
        {"at once: `202`": 0, "after *about* 0.5 s": 0.5, "never": None}, unit="s")
""",
    'predict("02/rate", "How many orders a second?", unit="orders/s")',
    'quiz("01")',
    'reveal("01/blocked", 0.51, because="A `POST` *waits*.")',
    "show_progress()",
]
BLOCKED, RATE, QUIZ, REVEAL, PROGRESS = range(1, 6)


@pytest.fixture(scope="module")
def opened(chromium, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms")
    browser.write_notebook(folder / "forms.ipynb", *CELLS)
    (folder / "notebooks").mkdir()
    browser.write_notebook(folder / "notebooks" / "01-first.ipynb", 'quiz("01")')
    with browser.jupyterlab_on(folder) as lab, browser.browser(chromium) as chrome:
        notebook = browser.Notebook(lab, chrome, "forms.ipynb")
        notebook.file = folder / "forms.ipynb"
        try:
            notebook.run_from(0)
            yield notebook
        finally:
            notebook.close()


def output(notebook, index):
    """What a cell shows."""
    return notebook.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(
        ".jp-OutputArea"
    )  # fmt: skip


def says(place, text):
    """Wait until it says so to whoever listens."""
    place.get_by_role("status").filter(has_text=text).first.wait_for()


def question(notebook, number=0):
    """A question of the quiz: its choices and its button."""
    box = output(notebook, QUIZ).locator(".widget-vbox:has(> * > fieldset)")
    return box.nth(number)


def has_focus(control):
    return control.evaluate("it => it === document.activeElement")


def test_a_group_of_choices_is_named_by_its_question(opened):
    group = output(opened, BLOCKED).get_by_role("group")
    assert group.locator("legend").inner_html() == (
        "<strong>Predict.</strong> When is <code>Orders</code> free <em>again</em>?"
    )
    labels = group.locator("label > span")
    assert labels.nth(0).inner_html() == "at once: <code>202</code>"
    assert labels.nth(1).inner_html() == "after <em>about</em> 0.5 s"
    assert group.get_by_role("radio", name="after about 0.5 s").count() == 1


def controls(notebook):
    """One control of each kind."""
    return {
        "radio button": output(notebook, BLOCKED).get_by_role("radio").first,
        "number": output(notebook, RATE).get_by_role("textbox"),
        "box to tick": output(notebook, QUIZ).get_by_role("checkbox").first,
        "check": question(notebook).get_by_role("button", name="Check"),
        "keep": output(notebook, PROGRESS).get_by_role("button", name="Keep my work"),
        "take back": output(notebook, PROGRESS).get_by_role(
            "button", name="Take back …", exact=True
        ),
    }


KINDS = ["radio button", "number", "box to tick", "check", "keep", "take back"]


@pytest.mark.parametrize("kind", KINDS)
def test_jupyterlabs_keys_do_not_act_on_a_control(opened, kind):
    """d d deletes a cell, 1 makes it a heading, k and the arrows go to another one."""
    control = controls(opened)[kind]
    before = [(cell["id"], cell["cell_type"]) for cell in opened.cells()]
    control.focus()
    for key in ("d", "d", "1", "k", "x", "j", "a", "m"):
        opened.page.keyboard.press(key)
        assert has_focus(control), key
    opened.page.wait_for_timeout(100)
    assert [(cell["id"], cell["cell_type"]) for cell in opened.cells()] == before


def test_a_choice_is_picked_with_the_arrows(opened):
    form = output(opened, BLOCKED)
    radios = form.get_by_role("radio")
    radios.first.focus()
    opened.page.keyboard.press("Space")
    says(form, "✓ Noted.")
    for number in (1, 2, 0):
        opened.page.keyboard.press("ArrowDown")
        assert radios.nth(number).is_checked() and has_focus(radios.nth(number))
    opened.page.keyboard.press("ArrowUp")
    assert radios.nth(2).is_checked()


def test_a_number_is_typed(opened):
    form = output(opened, RATE)
    field = form.get_by_role("textbox", name="Your prediction")
    field.fill("12.5")
    field.press("Enter")
    says(form, "✓ Noted.")


def test_ctrl_s_saves_while_a_control_has_the_focus(opened):
    opened.page.evaluate("""() => {
        const panel = [...jupyterapp.shell.widgets('main')].find(each => each.content?.model);
        panel.context.saveState.connect((_, state) => { window.saved = state; });
    }""")
    output(opened, BLOCKED).get_by_role("radio").nth(2).focus()
    opened.page.keyboard.press("Control+s")
    opened.page.wait_for_function("window.saved === 'completed'")
    assert len(json.loads(opened.file.read_text())["cells"]) == len(CELLS)


def test_shift_enter_runs_the_cell_while_a_control_has_the_focus(opened):
    number = opened.cells()[BLOCKED]["execution_count"]
    output(opened, BLOCKED).get_by_role("radio").nth(2).focus()
    opened.page.keyboard.press("Shift+Enter")
    opened.page.wait_for_function(
        "before => [...jupyterapp.shell.widgets('main')].find(each => each.content?.model)"
        f".content.model.cells.get({BLOCKED}).executionCount > before",
        arg=number,
    )
    form = output(opened, BLOCKED)
    says(form, "You predicted this earlier.")
    assert form.get_by_role("radio").nth(2).is_checked()


def test_a_question_is_answered_wrong_then_right(opened):
    asked = question(opened)
    wrong, right = 0, 1
    for pick, verdict in ((wrong, "✗ No. Try again."), (right, "✓ Right.")):
        asked.get_by_role("radio").nth(pick).focus()
        opened.page.keyboard.press("Space")
        opened.page.keyboard.press("Tab")
        assert has_focus(asked.get_by_role("button", name="Check"))
        opened.page.keyboard.press("Enter")
        says(asked, verdict)
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Enter")  # "And the others?"
    assert asked.locator("details").evaluate("it => it.open")


def test_boxes_are_ticked_with_the_space_bar(opened):
    boxes = output(opened, QUIZ).get_by_role("checkbox")
    boxes.first.focus()
    opened.page.keyboard.press("Space")
    assert boxes.first.is_checked()
    opened.page.keyboard.press("Tab")
    assert has_focus(boxes.nth(1))


def test_a_revealed_prediction_can_no_longer_be_changed(opened):
    opened.run(REVEAL)
    form = output(opened, BLOCKED)
    says(form, "Revealed.")
    assert form.get_by_role("radio").nth(0).is_disabled()
    shown = output(opened, REVEAL)
    assert "You predicted “never”. What came out: after about 0.5 s" in (
        shown.inner_text()
    )
    assert shown.locator("p").last.inner_html() == "A <code>POST</code> <em>waits</em>."


def test_work_is_kept_and_taken_back(opened, tmp_path):
    view = output(opened, PROGRESS)
    keep, back = (
        view.get_by_role("button", name=name, exact=True)
        for name in ("Keep my work", "Take back …")
    )
    keep.press("Enter")
    with opened.page.expect_download() as download:
        view.get_by_role("link", name=re.compile("Download my-course-work-")).click()
    kept = tmp_path / "kept.zip"
    download.value.save_as(kept)
    for _ in range(2):  # the same file again is taken, too
        keep.press("Enter")
        says(view, "Download")
        with opened.page.expect_file_chooser() as chooser:
            back.press("Enter")
        chooser.value.set_files(kept)
        says(view, "✓ Taken back.")
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(kept.read_bytes()[:100])
    with opened.page.expect_file_chooser() as chooser:
        back.press("Space")
    chooser.value.set_files(damaged)
    says(view, "Nothing was changed.")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_can_be_looked_at(opened, theme):
    opened.theme(theme)
    opened.screenshots(SCREENSHOTS, f"forms-{theme}")


def test_the_console_stays_quiet(opened):
    time.sleep(0.2)
    assert opened.complaints == []
