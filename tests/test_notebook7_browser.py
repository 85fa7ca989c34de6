"""A lesson in Notebook 7, which some prefer to JupyterLab: it opens, runs, and its widgets work."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from running import soon

from tools import browser

ROOT = Path(__file__).parent.parent
SCREENSHOTS = ROOT / "build" / "screenshots"
LESSON = "01-the-core-choice.ipynb"
# What Notebook 7.6 complains of at any notebook, even an empty one.
ITS_OWN = ["Cannot read properties of undefined (reading 'schema')"]


class Server:
    """A Notebook 7, where notebooks have another address than in JupyterLab."""

    def __init__(self, lab):
        self._lab = lab
        self.log = lab.log

    def address(self, path, query=""):
        return self._lab.address(path.replace("doc/tree/", "notebooks/"), query)


@pytest.fixture(scope="module")
def opened(chromium, tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook7")
    shutil.copy(ROOT / "notebooks" / LESSON, folder)

    def command(port, token):
        options = [f"--port={port}", f"--IdentityProvider.token={token}"]
        options += ["--ServerApp.port_retries=0", "--no-browser"]
        options += [f"--ServerApp.root_dir={folder}"]
        options += ["--allow-root"] * (os.getuid() == 0)
        options += ["--JupyterNotebookApp.expose_app_in_browser=True"]
        return [sys.executable, "-m", "notebook", *options]

    with (
        browser.jupyterlab(command, cwd=folder) as lab,
        browser.browser(chromium) as chrome,
    ):
        notebook = browser.Notebook(Server(lab), chrome, LESSON)
        try:
            yield notebook
        finally:
            notebook.close()


def test_runs(opened):
    assert "/notebooks/" in opened.page.url
    opened.clear()
    opened.run_from(0)
    assert opened.numbers() == list(range(1, len(opened.code_cells()) + 1))


def test_an_explore_widget_follows_its_control(opened):
    [explorer] = opened.explorers()
    first = explorer.picture()
    explorer.move(0)
    soon(lambda: explorer.picture() != first, True)
    explorer.button("Reset").press("Enter")
    soon(explorer.picture, first)


def test_a_prediction_is_noted(opened):
    form = opened.page.locator(".course-form", has_text="Predict.").first
    form.get_by_role("radio").first.press("Space")
    form.get_by_role("status").filter(has_text="✓ Noted.").wait_for()


def test_a_question_is_answered_and_keys_stay_with_their_control(opened):
    asked = opened.page.locator(".course-form > .widget-vbox:has(> * > fieldset)").first
    count = len(opened.cells())
    for choice, verdict in ((0, "✗ No."), (1, "✓ Right.")):
        asked.get_by_role("radio").nth(choice).press("Space")
        asked.get_by_role("button", name="Check").press("Enter")
        asked.get_by_role("status").filter(has_text=verdict).wait_for()
    for key in ("d", "d", "k", "1"):
        opened.page.keyboard.press(key)
    opened.page.wait_for_timeout(100)
    assert len(opened.cells()) == count


def test_a_live_view_can_be_replayed(opened):
    view = opened.page.locator(".live-view").first
    opened.page.wait_for_function(
        """view => {
            view.scrollIntoView();  // it waits until it is seen
            return view.player.facts.closed !== null && view.player.mode !== 'live';
        }""",
        arg=view.element_handle(),
    )
    view.get_by_role("slider").press("Home")
    view.get_by_role("button", name="Play").press("Enter")
    soon(lambda: view.evaluate("({player}) => player.seconds > 0"), True)
    assert "shown in" in view.locator(".status").inner_text()


def test_can_be_looked_at_and_the_console_stays_quiet(opened):
    opened.screenshots(SCREENSHOTS, "notebook7")
    assert [each for each in opened.complaints if each not in ITS_OWN] == []
