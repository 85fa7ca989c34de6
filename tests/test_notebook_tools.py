"""tools/notebooks.py: run, normalise, lint."""

import json

import nbformat
import pytest
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
)

from tools import notebooks

PNG = "iVBORw0KGgo="


def executed(source, *outputs, number=1, tags=(), **metadata):
    if tags:
        metadata["tags"] = list(tags)
    return new_code_cell(
        source, outputs=list(outputs), execution_count=number, metadata=metadata
    )


def stdout(text):
    return new_output("stream", name="stdout", text=text)


def stderr(text):
    return new_output("stream", name="stderr", text=text)


def error(name="ValueError", text="no"):
    return new_output("error", ename=name, evalue=text, traceback=[f"{name}: {text}"])


def display(data, **metadata):
    return new_output("display_data", data=data, metadata=metadata)


def notebook(*cells):
    made = new_notebook(cells=list(cells))
    notebooks.normalise(made)
    return made


def test_a_good_notebook_has_no_findings():
    good = notebook(
        new_markdown_cell("# Title\n\n![a service](picture.png)"),
        executed("print(1)", stdout("1\n")),
        executed("1 / 0", error(), number=2, tags=["raises-exception"]),
        executed(
            "draw()",
            display({"image/png": PNG, "text/plain": "Orders waits"}),
            number=3,
        ),
    )
    assert notebooks.lint(good) == []


BAD = {
    "an error": (executed("1 / 0", error()), "ends in ValueError: no"),
    "no error where one should be": (
        executed("1 / 0", tags=["raises-exception"]),
        "no error is stored",
    ),
    "stderr": (executed("warn()", stderr("Warning: x")), "writes to stderr"),
    "a home folder in an output": (
        executed("print(p)", stdout("in /home/alex/course/x.py\n")),
        "a path of this machine: /home/alex",
    ),
    "a temporary folder in a traceback": (
        executed("f()", error(text="File '/tmp/x.py'"), tags=["raises-exception"]),
        "a path of this machine: /tmp/x.py",
    ),
    "a path in html": (
        executed("show()", display({"text/html": "<b>/Users/alex/a</b>"})),
        "a path of this machine: /Users/alex",
    ),
    "a path in the source": (
        executed("open(r'C:\\course\\x')"),
        "a path of this machine: C:\\course",
    ),
    "the clone's path": (
        executed("print(p)", stdout(f"x={notebooks.ROOT}\n")),
        "path of this",
    ),
    "a memory address": (
        executed("app", stdout("<Flask object at 0x7f3a5c0d12e0>")),
        "the memory address",
    ),
    "not run": (new_code_cell("1 + 1"), "was not run"),
    "run later": (executed("1 + 1", number=7), "was run as number 7, not 1"),
    "an empty code cell": (executed("  \n"), "is empty"),
    "an empty text cell": (new_markdown_cell(""), "is empty"),
    "a long cell": (executed("x = 1\n" * 26), "has 26 lines, more than 25"),
    "not compared": (
        executed("f()", tags=["nbval-ignore-output"]),
        "1 of 1 code cells are not compared",
    ),
    "not even run": (
        executed("f()", tags=["nbval-skip"]),
        "1 of 1 code cells are not compared",
    ),
    "a comment for nbval": (
        executed("# NBVAL_IGNORE_OUTPUT\nf()"),
        "use a tag",
    ),
    "a picture without words": (
        executed("draw()", display({"image/png": PNG})),
        "without a description",
    ),
    "a picture with a default repr": (
        executed(
            "draw()",
            display({"image/png": PNG, "text/plain": "<Figure size 64x48>"}),
        ),
        "without a description",
    ),
    "a widget without a picture": (
        executed(
            "slider", display({notebooks.WIDGET: {"model_id": "1"}, "text/plain": "a"})
        ),
        "nothing to show where no kernel runs",
    ),
    "a Markdown picture without words": (
        new_markdown_cell("![](picture.png)"),
        "without alternative text",
    ),
    "an HTML picture without words": (
        new_markdown_cell('<img src="picture.png" alt="">'),
        "without alternative text",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_lint_finds(case):
    cell, expected = BAD[case]
    findings = notebooks.lint(notebook(cell))
    assert len(findings) == 1
    assert expected in findings[0]


def test_lint_accepts_alt_text_in_the_metadata_of_a_picture():
    picture = display({"image/png": PNG}, **{"image/png": {"alt": "Orders waits"}})
    assert notebooks.lint(notebook(executed("draw()", picture))) == []


def test_the_base64_of_a_picture_in_html_is_no_path():
    # Such bytes are rare, but each run draws its pictures anew.
    img = '<img alt="a" src="data:image/png;base64,{}iVBOR+/tmp/w0KGgo/0x123abcde+=">{}'
    for gap in ("", "\n"):
        html = display({"text/html": img.format(gap, "")})
        assert notebooks.lint(notebook(executed("show()", html))) == []
    beside = display({"text/html": img.format("", "<p>in /tmp/course</p>")})
    (finding,) = notebooks.lint(notebook(executed("show()", beside)))
    assert "a path of this machine: /tmp/course" in finding


def test_lint_finds_stray_metadata():
    stray = notebook(executed("1"))
    stray.metadata["widgets"] = {}
    stray.cells[0].metadata["execution"] = {"iopub.execute_input": "2026"}
    assert [f.split(": ")[-1] for f in notebooks.lint(stray)] == [
        "notebook metadata 'widgets'",
        "cell metadata 'execution'",
    ]
    notebooks.normalise(stray)
    assert notebooks.lint(stray) == []


def test_lint_finds_another_kernel():
    other = notebook(executed("1"))
    other.metadata.kernelspec = {"name": "conda-env", "display_name": "mine"}
    assert "the kernel is not" in notebooks.lint(other)[0]


def test_a_third_of_the_code_cells_may_escape_the_comparison():
    cells = [executed(f"{i}", number=i + 1) for i in range(6)]
    for cell in cells[:2]:
        cell.metadata["tags"] = ["nbval-ignore-output"]
    assert notebooks.lint(notebook(*cells)) == []
    cells[2].metadata["tags"] = ["nbval-ignore-output"]
    assert "3 of 6 code cells" in notebooks.lint(notebook(*cells))[0]


def test_lint_of_a_file_finds_what_normalise_would_change(tmp_path):
    path = tmp_path / "a.ipynb"
    notebooks.write(notebook(executed("1")), path)
    assert notebooks.lint_file(path) == []
    path.write_text(path.read_text() + "\n")
    assert "not normalised" in notebooks.lint_file(path)[0]


def test_normalise_keeps_what_matters_and_can_be_repeated():
    made = new_notebook(
        cells=[
            executed(
                "slider",
                display({notebooks.WIDGET: {"model_id": "random"}}, stray=1),
                tags=["nbval-ignore-output"],
                nbgrader={"grade": False},
                scrolled=True,
            ),
            new_markdown_cell("text", metadata={"tags": []}),
        ],
        metadata={"widgets": {}, "language_info": {"name": "python", "version": "3"}},
    )
    ids = [cell.id for cell in made.cells]
    notebooks.normalise(made)
    assert made.metadata == {
        "kernelspec": notebooks.KERNELSPEC,
        "language_info": {"name": "python"},
    }
    assert [cell.id for cell in made.cells] == ids
    assert made.cells[0].metadata == {
        "nbgrader": {"grade": False},
        "tags": ["nbval-ignore-output"],
    }
    assert made.cells[1].metadata == {}
    assert made.cells[0].outputs[0].metadata == {}
    assert made.cells[0].outputs[0].data[notebooks.WIDGET]["model_id"] != "random"
    once = notebooks.dumps(made)
    notebooks.normalise(made)
    assert notebooks.dumps(made) == once


SOURCES = [
    "import os, sys\nprint('in', os.path.basename(os.getcwd()))",
    "print('one'); sys.stdout.flush(); print('two')",
    "import ipywidgets\nslider = ipywidgets.IntSlider()\nslider",
    "raise ValueError('as told')",
    "os.environ.get('PYTHONDONTWRITEBYTECODE'), os.environ['PYDEVD_DISABLE_FILE_VALIDATION']",
]


@pytest.fixture
def unexecuted(tmp_path):
    """A notebook file that was never run."""
    made = new_notebook(cells=[new_code_cell(source) for source in SOURCES])
    made.cells[3].metadata["tags"] = ["raises-exception"]
    folder = tmp_path / "lessons"
    folder.mkdir()
    path = folder / "a.ipynb"
    nbformat.write(made, path)
    return path


def test_execute_runs_normalises_and_saves(unexecuted):
    notebooks.execute_file(unexecuted)
    first = unexecuted.read_text()
    saved = notebooks.read(unexecuted)
    where, lines, slider, raises, env = saved.cells
    assert where.outputs[0].text == "in lessons\n"
    assert len(lines.outputs) == 1, "two writes, one stored stream"
    assert raises.outputs[0].ename == "ValueError"
    assert env.outputs[0].data["text/plain"] == "(None, '1')"
    assert [cell.execution_count for cell in saved.cells] == [1, 2, 3, 4, 5]
    assert set(json.loads(first)["metadata"]) == {"kernelspec", "language_info"}
    assert first.endswith("}\n")

    notebooks.execute_file(unexecuted)
    assert unexecuted.read_text() == first, "a second run changes nothing"


def test_a_failing_cell_is_named_and_nothing_is_saved(unexecuted, capsys):
    broken = notebooks.read(unexecuted)
    broken.cells[1].source = "orders = 1\nordres"
    nbformat.write(broken, unexecuted)
    before = unexecuted.read_text()
    assert notebooks.main(["execute", str(unexecuted)]) == 1
    said = capsys.readouterr().err
    assert "cell 2 failed" in said
    assert "NameError: name 'ordres' is not defined" in said
    assert "Nothing was saved" in said
    assert unexecuted.read_text() == before


def test_a_lost_kernel_is_reported(unexecuted):
    lost = notebooks.read(unexecuted)
    lost.cells[0].source = "import os; os._exit(1)"
    with pytest.raises(notebooks.NotebookFailed, match="cell 1 failed"):
        notebooks.execute(lost, unexecuted.parent)


def test_a_wrong_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        notebooks.main(["execute", "notebooks/99-none.ipynb"])
    assert "no such notebook: notebooks/99-none.ipynb" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        notebooks.main(["execute"])
    assert "name a notebook" in capsys.readouterr().err


@pytest.mark.parametrize("path", notebooks.course_notebooks(), ids=lambda p: p.name)
def test_the_committed_notebooks_have_no_findings(path):
    assert notebooks.lint_file(path) == []
