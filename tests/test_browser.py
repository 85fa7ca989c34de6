"""The course as a learner meets it: in JupyterLab, in a browser.

Whole-page screenshots of every notebook, light and dark, are kept in build/screenshots/.
"""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import accessibility
import nbformat
import nbgrader.utils
import pytest
from running import soon

from helpers.quiz import FOLDER, read
from tools import browser, labs, notebooks

ROOT = Path(__file__).parent.parent
SCREENSHOTS = ROOT / "build" / "screenshots"
NOTEBOOKS = [
    str(path.relative_to(ROOT))
    for path in notebooks.course_notebooks()
    if path.parent.name != "solutions"  # what a learner does not open
]
LABS = [name for name in NOTEBOOKS if Path(name).parent == Path("labs")]

MEASURE_SECONDS = 15


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    """A JupyterLab on a copy of the notebooks, since it saves what it shows."""
    folder = tmp_path_factory.mktemp("course")
    for name in ("notebooks", "labs"):
        shutil.copytree(
            ROOT / name,
            folder / name,
            ignore=shutil.ignore_patterns(".ipynb_checkpoints"),
        )
    with browser.jupyterlab_on(folder) as lab:
        lab.folder = folder
        yield lab


@pytest.fixture(scope="module", params=NOTEBOOKS)
def opened(request, lab, chrome):
    """A notebook as it opens, with its stored outputs; the first test of it runs it."""
    notebook = browser.Notebook(lab, chrome, request.param)
    notebook.name = request.param.removesuffix(".ipynb").replace("/", "-")
    yield notebook
    notebook.close()


def outputs(notebook):
    """(cell, output) for every output, as it would be saved."""
    return [
        (cell, output) for cell in notebook.code_cells() for output in cell["outputs"]
    ]


def faults_of_pictures(notebook):
    """What is wrong with the pictures among the outputs; nothing when all is well."""
    stored = sum(
        any(kind in data for kind in notebooks.PICTURES)
        or "<img" in "".join(data.get("text/html", ""))
        for _, output in outputs(notebook)
        if (data := output.get("data", {}))
    )
    shown = notebook.pictures()
    faults = [f"{stored} pictures, {len(shown)} shown"] * (len(shown) != stored)
    for picture in shown:
        if not picture["shown"]:
            faults.append(f"empty: {picture['what']}")
        elif not picture["inside"]:
            faults.append(f"wider than its column: {picture['what']}")
        elif abs(picture["stretched"] - 1) > 0.02:
            faults.append(f"out of shape: {picture['what']}")
    return faults


# Every notebook. The tests of one notebook use the same page, in this order.


def test_opens_with_the_pictures_of_the_last_run(opened):
    soon(lambda: faults_of_pictures(opened), [])
    assert opened.pop_ups() == []


def last_code_cell(notebook):
    return max(
        index
        for index, cell in enumerate(notebook.cells())
        if cell["cell_type"] == "code"
    )


def numbers_up_to(notebook, number):
    """What must stand beside the code cells when so many of them have run, in order."""
    rest = len(notebook.code_cells()) - number
    return [*range(1, number + 1), *[None] * rest]


def test_runs_until_the_services_are_to_be_stopped(opened):
    opened.clear()
    assert opened.numbers() == numbers_up_to(opened, 0)
    opened.run_above(last_code_cell(opened))
    assert opened.numbers() == numbers_up_to(opened, len(opened.code_cells()) - 1)


def calls(notebook, name):
    """The calls of a function in the code."""
    return [
        node
        for cell in notebook.code_cells()
        for node in ast.walk(ast.parse(cell["source"]))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name
    ]


def test_explore_widgets_follow_their_controls(opened):
    soon(lambda: len(opened.explorers()), len(calls(opened, "explore")))
    for explorer in opened.explorers():
        try_out(explorer)


def try_out(explorer):
    """Move the first and the last control, measure once, go back to the start."""
    first = explorer.picture()
    for number in {0, explorer.controls.count() - 1}:
        before = explorer.picture()
        explorer.move(number)
        soon(lambda: explorer.picture() != before, True)  # noqa: B023
    if explorer.button("Measure").count():
        before = explorer.picture()
        explorer.button("Measure").press("Enter")
        soon(explorer.status, "Measured once.", MEASURE_SECONDS)
        assert explorer.picture() != before
        assert explorer.button("Measure").is_enabled()
    explorer.button("Reset").press("Enter")
    soon(explorer.picture, first)


def test_runs_to_its_end(opened):
    opened.run_from(last_code_cell(opened))
    assert opened.numbers() == numbers_up_to(opened, len(opened.code_cells()))


def test_shows_no_error_but_where_one_is_meant(opened):
    failed = [
        output["evalue"]
        for cell, output in outputs(opened)
        if output["output_type"] == "error"
        and "raises-exception" not in cell["metadata"].get("tags", [])
    ]
    assert failed == []
    assert opened.pop_ups() == []


def test_quizzes_say_what_is_wrong_and_what_is_right(opened):
    """Answered by keyboard."""
    questions = [
        question
        for call in calls(opened, "quiz")
        for question in read(FOLDER / f"{call.args[0].value}.toml").questions
    ]
    boxes = opened.page.locator(".course-form > .widget-vbox:has(> * > fieldset)")
    soon(boxes.count, len(questions))
    for number, question in enumerate(questions):
        wrong = min(set(range(len(question.choices))) - question.right)
        answer(boxes.nth(number), {wrong}, "✗")
        answer(boxes.nth(number), question.right, "✓ Right.")


def answer(box, choices, verdict):
    offered = box.locator("fieldset input")
    for number in range(offered.count()):
        choice = offered.nth(number)
        several = choice.get_attribute("type") == "checkbox"
        wanted = number in choices
        if choice.is_checked() != wanted and (wanted or several):
            choice.press("Space")
    box.get_by_role("button", name="Check").press("Enter")
    box.get_by_role("status").filter(has_text=verdict).wait_for()


def test_live_views_can_be_played_paused_and_replayed(opened):
    views = opened.page.locator(".live-view")
    for number in range(views.count()):
        view = views.nth(number)
        play = view.locator("button.play")

        def shown(view=view):
            # A film waits while it is out of sight, and the page may have moved.
            return view.evaluate(
                """view => {
                    view.scrollIntoView();
                    return [view.player.mode, view.player.seconds];
                }"""
            )

        opened.page.wait_for_function(
            """view => {
                view.scrollIntoView();  // it waits until it is seen
                return view.player.facts.closed !== null && view.player.mode !== 'live';
            }""",
            arg=view.element_handle(),
        )
        if view.evaluate("({player}) => player.facts.empty"):
            assert opened.name.startswith("labs"), "there is nothing to see"
            assert play.is_disabled()
            continue
        if shown()[0] == "playing":
            play.press("Enter")
        view.get_by_role("slider").press("Home")
        soon(shown, ["paused", 0])
        play.press("Enter")
        soon(lambda: shown()[1] > 0, True)  # noqa: B023
        play.press("Enter")
        mode, seconds = shown()
        assert mode == "paused"
        view.get_by_role("button", name="Step ▶").press("Enter")
        soon(lambda: shown()[1] > seconds, True)  # noqa: B023


@pytest.mark.parametrize("width", [browser.WIDTH, 800])
def test_fits_the_window(opened, width):
    opened.resize(width)
    soon(lambda: faults_of_pictures(opened), [])
    soon(opened.too_wide, [])
    opened.resize(browser.WIDTH)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_can_be_looked_at(opened, theme):
    opened.theme(theme)
    opened.screenshots(SCREENSHOTS, f"{opened.name}-{theme}")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_can_be_used_by_everybody(opened, theme):
    opened.theme(theme)
    # One look at a long page takes seconds on a busy machine, and may fall into a change.
    soon(lambda: accessibility.faults(opened), [], seconds=45)


def test_the_console_stays_quiet(opened):
    assert opened.complaints == []


# The check that everybody can use them

FAULTY = """
from IPython.display import HTML, display
import ipywidgets
display(HTML('<h3>grey</h3><p style="color: #777777">grey</p><h5>too deep</h5>'))
display(HTML('<button></button><input>'), ipywidgets.Image(value=b'', width=40, height=40))
link = '<a style="text-decoration: none; color: #0d47a1" href="https://example.org">this</a>'
display(ipywidgets.HTML(f'<p style="color: #212121">See {link} page.</p>'))
"""


def test_the_check_finds_what_is_wrong_to_the_very_end(lab, chrome):
    filling = ["print('long\\n' * 60)"] * 4
    browser.write_notebook(lab.folder / "faulty.ipynb", *filling, FAULTY)
    notebook = browser.Notebook(lab, chrome, "faulty.ipynb")
    try:
        notebook.run_from(0)
        notebook.theme("light")
        found = {
            "button-name",
            "color-contrast",
            "heading-order",
            "image-alt",
            "label",
            "link-in-text-block",
        }
        soon(lambda: {x.split(":")[0] for x in accessibility.faults(notebook)}, found)
    finally:
        notebook.close()


# The learner's way through a lab


@pytest.mark.parametrize("name", LABS)
def test_a_lab_refuses_what_is_wrong_and_ticks_what_is_right(lab, chrome, name):
    """Cell by cell: in each task first a wrong answer, then that of the solution."""
    path = f"{name.removesuffix('.ipynb')}-mine.ipynb"
    shutil.copy(ROOT / name, lab.folder / path)
    answers = answers_of(ROOT / "labs" / "solutions" / Path(name).name)
    notebook = browser.Notebook(lab, chrome, path)
    try:
        to_do, ticks = [], 0
        for index, cell in enumerate(notebook.cells()):
            if grade_id(cell) in answers:
                to_do.append(index)
                notebook.write(index, STUB.sub("return None", cell["source"]))
            if cell["cell_type"] == "code":
                notebook.run(index)
            if not labs.is_check(nbformat.from_dict(cell)):
                continue
            if to_do:
                assert re.search(
                    r"^✗ Task \d+: .+\n(?s:.*)\bhint", shown_by(notebook, index)
                )
            for task in to_do:
                notebook.write(task, answers.pop(grade_id(notebook.cells()[task])))
            for below in range(min(to_do, default=index), index + 1):
                if notebook.cells()[below]["cell_type"] == "code":
                    notebook.run(below)
            assert shown_by(notebook, index).startswith("✓ ")
            to_do, ticks = [], ticks + 1
        assert answers == {} and to_do == [] and ticks > 0
        assert notebook.complaints == []
        notebook.screenshots(SCREENSHOTS, path.removesuffix(".ipynb").replace("/", "-"))
    finally:
        notebook.close()


def test_the_solution_of_one_task_comes_into_a_cell_of_its_own(lab, chrome):
    asked = 'from helpers import solution; solution("lab01", 2)'
    browser.write_notebook(lab.folder / "stuck.ipynb", asked, "'what comes after'")
    notebook = browser.Notebook(lab, chrome, "stuck.ipynb")
    try:
        notebook.run(0)
        soon(lambda: len(notebook.cells()), 3)
        sources = [cell["source"] for cell in notebook.cells()]
        answer = answers_of(ROOT / "labs/solutions/01-call-and-wait.ipynb")["task-2"]
        assert sources == [asked, answer, "'what comes after'"]
        assert shown_by(notebook, 0).startswith("Task 2 is in the cell below")
    finally:
        notebook.close()


STUB = re.compile(r"raise NotImplementedError\(.*\)")
MARKS = re.compile(r"^ *### (BEGIN|END) SOLUTION\n?", re.MULTILINE)


def grade_id(cell):
    return cell["metadata"].get("nbgrader", {}).get("grade_id")


def answers_of(solution):
    """{grade_id: source} of the cells that a learner writes."""
    return {
        grade_id(cell): MARKS.sub("", cell.source)
        for cell in notebooks.read(solution).cells
        if nbgrader.utils.is_solution(cell)
    }


def shown_by(notebook, index):
    """The text that a cell shows, of a refusal or printed."""
    cell = notebook.cells()[index]
    return "".join(each.get("evalue", each.get("text", "")) for each in cell["outputs"])


# The newcomer's first command


def test_make_lab_opens_the_start_page(chrome):
    """In the project's own folder, since it is the environment there that is started."""
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("make lab starts .venv, and these tests run in another environment")
    ready = subprocess.run(["make", "-q", ".venv/.runtime-installed"], cwd=ROOT)
    assert ready.returncode == 0, "make lab would install anew: run make test"
    start = ROOT / "notebooks" / "00-start-here.ipynb"
    before = start.read_bytes()

    def command(port, token):
        args = f"--no-browser --port {port} --ServerApp.token={token}"
        return ["make", "lab", f"ARGS={args}"]

    size = {"width": browser.WIDTH, "height": browser.HEIGHT}
    with (
        browser.jupyterlab(command, cwd=ROOT) as lab,
        chrome.new_context(viewport=size) as tab,
    ):
        page = tab.new_page()
        page.goto(lab.address(""))
        page.get_by_role("heading", name="00 Start here").wait_for()
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        assert page.url.endswith("/lab/tree/notebooks/00-start-here.ipynb")
        page.wait_for_timeout(1000)  # in which a pop-up would come
        assert page.locator(browser.POP_UPS).all_inner_texts() == []
        page.screenshot(path=SCREENSHOTS / "make-lab.png")
    assert start.read_bytes() == before
