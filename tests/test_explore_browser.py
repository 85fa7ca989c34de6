"""An explore widget at awkward moments, in JupyterLab, in a browser.

One notebook is used by all tests, in this order.
"""

from pathlib import Path

import pytest
from running import soon

from tools import browser

CELLS = [
    """
import time
from helpers import chart, explore, slider

runs = []


def draw(figure, points, threads, seconds):
    title = f"{threads} threads, {len(points)} measured"
    _, ax = chart(title, x="threads (n)", y="served (requests/s)", figure=figure)
    ax.plot(threads, threads / seconds, "o")


def measure(threads, seconds, stopping):
    if seconds == 0.75:
        raise ConnectionError("Payments does not answer\\n  at its address")
    runs.append(threads)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and not stopping():
        time.sleep(0.01)
    return threads / seconds
""",
    """
explore(
    draw,
    measure=measure,
    alt="Served requests against threads.",
    threads=slider("Threads", 1, 8, 1, 2),
    seconds=slider("Payments takes", 0.25, 5.0, 0.25, 0.5, "s"),
)
""",
    'print("sleeping")\ntime.sleep(2)',
    "print(len(runs))",
]
LONG, COUNT = 2, 3
SCREENSHOTS = Path(__file__).parent.parent / "build" / "screenshots"
OUTLINED = """it => it === document.activeElement
    && getComputedStyle(it).outlineStyle === 'solid'
    && parseFloat(getComputedStyle(it).outlineWidth) >= 2"""


@pytest.fixture(scope="module")
def opened(chromium, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explore")
    browser.write_notebook(folder / "explore.ipynb", *CELLS)
    with browser.jupyterlab_on(folder) as lab, browser.browser(chromium) as chrome:
        notebook = browser.Notebook(lab, chrome, "explore.ipynb")
        try:
            notebook.run_from(0)
            notebook.page.locator(".course-picture img").wait_for()
            notebook.saved = notebook.explorers()[0].picture()
            yield notebook
        finally:
            notebook.close()


@pytest.fixture
def explorer(opened):
    """The widget, which goes back to its saved state afterwards."""
    [explorer] = opened.explorers()
    yield explorer
    reset(opened, explorer)
    assert opened.complaints == []


def moves(explorer, number):
    """Move a control, and wait for the picture: JupyterLab may send a click before a move."""
    before = explorer.picture()
    explorer.move(number)
    soon(lambda: explorer.picture() != before, True)


def reset(opened, explorer):
    explorer.button("Reset").click()
    soon(explorer.picture, opened.saved)
    soon(explorer.status, "")


def progress_bar(notebook):
    return notebook.page.get_by_role("progressbar", name="A real run is under way")


def start_long_cell(notebook):
    notebook.start(LONG)
    soon(lambda: len(notebook.cells()[LONG]["outputs"]), 1)


def count_of_runs(notebook):
    notebook.run(COUNT)
    [output] = notebook.cells()[COUNT]["outputs"]
    return int("".join(output["text"]))


def answers(opened, explorer):
    """It follows its control, measures, and goes back."""
    moves(explorer, 0)
    explorer.button("Measure").click()
    soon(explorer.status, "Measured once.")
    reset(opened, explorer)


def test_its_picture_and_its_status_line_are_there_to_be_read_aloud(opened, explorer):
    alt = "Served requests against threads."
    assert opened.page.get_by_role("img", name=alt, exact=True).count() == 1
    # The line is there before it says anything, or it would not be heard.
    soon(lambda: opened.page.locator(".course-status [role=status]").count(), 1)
    assert explorer.status() == ""


def test_names_what_can_be_moved_and_says_where_it_is(explorer):
    threads, seconds = (
        explorer.controls.nth(n).get_by_role("slider", include_hidden=True)
        for n in (0, 1)
    )
    soon(lambda: threads.get_attribute("aria-label"), "Threads")
    soon(lambda: seconds.get_attribute("aria-label"), "Payments takes (s)")
    assert seconds.get_attribute("aria-valuetext") == "0.50"
    explorer.move(1)
    soon(lambda: seconds.get_attribute("aria-valuetext"), "0.75")
    explorer.button("Reset").click()
    soon(lambda: seconds.get_attribute("aria-valuetext"), "0.50")


def test_a_run_shows_that_it_is_under_way_and_can_be_stopped(opened, explorer):
    for _ in range(18):
        explorer.move(1)  # to 5 s
    explorer.button("Measure").click()
    progress_bar(opened).wait_for()
    assert explorer.button("Measuring …").is_disabled()
    explorer.button("Stop").click()
    soon(explorer.status, "Stopped. Nothing was added.")


def test_earlier_runs_stay_in_the_picture(opened, explorer):
    explorer.button("Measure").click()
    soon(explorer.status, "Measured once.")
    once = explorer.picture()
    explorer.button("Measure").click()
    soon(explorer.status, "Measured 2 times.")
    assert len({opened.saved, once, explorer.picture()}) == 3


def test_two_presses_at_once_make_one_run(opened, explorer):
    before = count_of_runs(opened)
    explorer.button("Measure").dblclick()
    soon(explorer.status, "Measured once.")
    assert count_of_runs(opened) == before + 1


def test_a_run_that_fails_is_told_in_one_line(opened, explorer):
    moves(explorer, 1)  # to 0.75 s
    before = explorer.picture()
    explorer.button("Measure").click()
    told = "The run failed: ConnectionError: Payments does not answer at its address"
    soon(lambda: explorer.status().partition("again. ")[2], told)
    assert explorer.picture() == before
    assert progress_bar(opened).count() == 0
    moves(explorer, 1)
    explorer.button("Measure").click()
    soon(explorer.status, "Measured once.")


def test_its_keys_leave_the_notebook_alone(opened, explorer):
    def cells():
        return [(cell["cell_type"], cell["source"]) for cell in opened.cells()]

    before, active = cells(), opened.active()
    handles = explorer.controls.get_by_role("slider").all()
    for control in [explorer.button("Measure"), explorer.button("Reset"), *handles]:
        for key in ("d", "d", "k", "1"):
            control.press(key)
        assert (cells(), opened.active()) == (before, active)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_shows_where_the_keyboard_is(opened, explorer, theme):
    opened.theme(theme)
    threads, seconds = explorer.controls.get_by_role("slider").all()
    threads.focus()
    opened.page.keyboard.press("Tab")  # to the number beside it
    opened.page.keyboard.press("Tab")
    assert seconds.evaluate(OUTLINED)
    explorer.screenshot(SCREENSHOTS / f"explore-slider-{theme}.png")
    for label in ("Measure", "Reset"):
        button = explorer.button(label)
        for _ in range(3):  # by way of the number, and of Measure
            if not button.evaluate("it => it === document.activeElement"):
                opened.page.keyboard.press("Tab")
        assert button.evaluate(OUTLINED)
        explorer.screenshot(SCREENSHOTS / f"explore-{label.lower()}-{theme}.png")


def test_works_while_a_cell_runs(opened, explorer):
    runs = count_of_runs(opened)
    start_long_cell(opened)
    explorer.move(0)
    explorer.button("Measure").dblclick()
    opened.wait()
    soon(explorer.status, "Measured once.")
    assert explorer.controls.nth(0).locator(".widget-readout").inner_text() == "3"
    assert count_of_runs(opened) == runs + 1


def test_works_after_an_interrupt(opened, explorer):
    start_long_cell(opened)
    opened.interrupt()
    assert opened.cells()[LONG]["outputs"][-1].get("ename") == "KeyboardInterrupt"
    answers(opened, explorer)


def test_an_interrupt_does_not_end_a_run(opened, explorer):
    explorer.button("Measure").click()
    start_long_cell(opened)
    opened.interrupt()
    soon(explorer.status, "Measured once.")


def test_works_after_restart_and_run_all(opened):
    opened.restart_and_run_all()
    soon(lambda: len(opened.explorers()), 1)
    [explorer] = opened.explorers()
    opened.page.locator(".course-picture img").wait_for()
    answers(opened, explorer)
    assert count_of_runs(opened) == 1
