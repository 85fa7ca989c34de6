"""The learner's work as a file, and back; and the start page's view of progress."""

import base64
import io
import json
import os
import re
import stat
import subprocess
import zipfile
from pathlib import Path

import nbformat
import pytest

from helpers import course, progress, progress_view, work
from helpers.work import Refused, pack, take_back

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "progress.json"))
    monkeypatch.setattr(progress, "_said", set())
    return tmp_path / "progress.json"


def notebook(*sources, title="A lesson", outputs=()):
    code = [
        nbformat.v4.new_code_cell(source, outputs=list(outputs)) for source in sources
    ]
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell(f"# {title}"), *code]
    )
    for number, cell in enumerate(made.cells):
        cell["id"] = f"cell-{number}"
    return made


def save(folder, name, *sources, **more):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook(*sources, **more), path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A course with two lessons and a lab."""
    folder = tmp_path / "course"
    folder.mkdir()
    save(folder, "notebooks/00-start-here.ipynb", "1", title="00 Start here")
    output = nbformat.v4.new_output("stream", text="an output")
    save(
        folder, "notebooks/01-first.ipynb",
        'claim("It holds", 1)', 'predict("01/a", "?")', 'quiz("01")', "not python (",
        'for n in (1, 2):\n    claim("So does this", n)\n    claim(f"{n}", n)',
        title="01 First", outputs=[output],
    )  # fmt: skip
    save(
        folder,
        "labs/01-lab.ipynb",
        "lab01.check_task_1(f)\nlab01.verdict(f)",
        title="Lab 1",
    )
    monkeypatch.setattr(progress, "COURSE", folder)
    return folder


@pytest.fixture
def committed(folder):
    """The same, as a clone has it."""
    git = [
        "git",
        "-C",
        str(folder),
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
    ]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    return folder


def edit(folder, name, source):
    path = folder / name
    found = nbformat.read(path, 4)
    found.cells[1].source = source
    nbformat.write(found, path)


def members(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def snapshot(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# -- Keeping ----------------------------------------------------------------------------


def test_keeps_progress_and_the_notebooks_that_were_changed(committed):
    progress.note("claims", "It holds", held=True)
    assert set(members(pack().data)) == {"progress.json"}
    edit(committed, "labs/01-lab.ipynb", "my work")
    save(committed, "notebooks/my notes.ipynb", "x")
    packed = pack()
    assert packed.notebooks == ["notebooks/my notes.ipynb", "labs/01-lab.ipynb"]
    content = members(packed.data)
    assert "It holds" in content["progress.json"].decode()
    assert b"my work" in content["labs/01-lab.ipynb"]


def test_a_run_alone_changes_no_notebook(committed):
    path = committed / "notebooks/01-first.ipynb"
    found = nbformat.read(path, 4)
    found.cells[1].outputs = []
    found.cells[1].execution_count = 7
    nbformat.write(found, path)
    assert pack().notebooks == []


def test_without_git_every_notebook_is_kept(folder, monkeypatch):
    assert len(pack().notebooks) == 3
    monkeypatch.setenv("PATH", "")
    assert len(pack().notebooks) == 3


def test_outputs_are_left_out(folder):
    [data] = [d for name, d in members(pack().data).items() if "01-first" in name]
    found = nbformat.reads(data.decode(), 4)
    nbformat.validate(found)
    assert not any(cell.get("outputs") for cell in found.cells)
    assert b"an output" not in data


def test_what_cannot_be_kept_is_told(folder, monkeypatch):
    (folder / "notebooks/02-broken.ipynb").write_text("{")
    save(folder, "notebooks/03-large.ipynb", "x" * (work.LARGEST_FILE + 1))
    packed = pack()
    assert packed.left_out == [
        "notebooks/02-broken.ipynb (it is not a notebook)",
        "notebooks/03-large.ipynb (with 2.0 MB it is too large)",
    ]
    assert "notebooks/01-first.ipynb" in packed.notebooks


def test_copies_that_were_put_aside_are_not_kept(folder):
    save(folder, "notebooks/01-first.before-20261123-101500.ipynb", "old")
    assert not any("before" in name for name in pack().notebooks)


# -- Taking back ------------------------------------------------------------------------


def test_work_goes_from_one_place_to_another(committed, tmp_path, monkeypatch):
    progress.note("claims", "It holds", held=True)
    edit(committed, "labs/01-lab.ipynb", "my work")
    save(committed, "notebooks/my notes.ipynb", "x")
    data = pack().data
    # A new Binder: the course as it was, and something done there already.
    subprocess.run(["git", "-C", str(committed), "checkout", "-q", "."], check=True)
    (committed / "notebooks/my notes.ipynb").unlink(missing_ok=True)
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "elsewhere.json"))
    progress.note("claims", "Something else", held=True)
    before = (committed / "labs/01-lab.ipynb").read_bytes()

    taken = take_back(data)
    [(name, copy)] = taken.replaced.items()
    assert name == "labs/01-lab.ipynb"
    assert re.fullmatch(r"01-lab\.before-\d{8}-\d{6}\.ipynb", copy)
    assert (committed / "labs" / copy).read_bytes() == before
    assert nbformat.read(committed / name, 4).cells[1].source == "my work"
    assert taken.new == ["notebooks/my notes.ipynb"]
    assert taken.said == ""
    assert set(progress.noted("claims")) == {"It holds", "Something else"}

    again = take_back(data)
    assert (again.replaced, again.new) == ({}, [])
    assert sorted(again.unchanged) == ["labs/01-lab.ipynb", "notebooks/my notes.ipynb"]
    assert len(list((committed / "labs").iterdir())) == 2


def test_each_replaced_notebook_is_kept_as_a_copy(folder):
    data = pack().data
    for n in (1, 2):  # within a second
        edit(folder, "labs/01-lab.ipynb", f"version {n}")
        take_back(data)
    copies = [path for path in (folder / "labs").iterdir() if ".before-" in path.name]
    assert sorted(nbformat.read(path, 4).cells[1].source for path in copies) == [
        "version 1", "version 2",
    ]  # fmt: skip
    assert "verdict" in nbformat.read(folder / "labs/01-lab.ipynb", 4).cells[1].source


def test_a_broken_notebook_is_kept_as_a_copy_too(folder):
    data = pack().data
    (folder / "labs/01-lab.ipynb").write_text("{ broken")
    [copy] = take_back(data).replaced.values()
    assert (folder / "labs" / copy).read_text() == "{ broken"


def made(entries, **more):
    """A zip file of ours, but for these entries."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        if "progress" not in more:
            archive.writestr("progress.json", progress.dumps(progress.empty()))
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


GOOD = nbformat.writes(notebook("evil")).encode()


def linked():
    info = zipfile.ZipInfo("labs/01-lab.ipynb")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return made([(info, b"../../target")])


def claims_to_be_small():
    """The size in the zip file's own lists is a lie."""
    data = bytearray(made([("labs/x.ipynb", b" " * (work.LARGEST_FILE * 2))]))
    true = (work.LARGEST_FILE * 2).to_bytes(4, "little")
    assert data.count(true) == 2
    return bytes(data.replace(true, (100).to_bytes(4, "little")))


def encrypted():
    data = bytearray(made([("labs/x.ipynb", GOOD)]))
    place = data.rindex(b"PK\x01\x02")
    data[place + 8] |= 1
    return bytes(data)


BAD = {
    "no zip": (b"hello", "not a zip file"),
    "empty": (b"", "not a zip file"),
    "cut off": (made([("labs/x.ipynb", GOOD)])[:-30], "not a zip file"),
    "bits flipped": (made([("labs/x.ipynb", GOOD)]).replace(b"PK\3\4", b"PK\3\5", 1), "damaged"),
    "too large": (b"x" * (work.LARGEST + 1_000_001), "larger than 8 MB"),
    "foreign": (made([("a.txt", b"x")], progress=None), "was not made by"),
    "a parent": (made([("../evil.ipynb", GOOD)]), "no notebook of the course"),
    "a parent inside": (made([("notebooks/../../evil.ipynb", GOOD)]), "no notebook"),
    "absolute": (made([("/tmp/evil.ipynb", GOOD)]), "no notebook of the course"),
    "a backslash": (made([("notebooks/..\\evil.ipynb", GOOD)]), "no notebook"),
    "hidden": (made([("notebooks/.evil.ipynb", GOOD)]), "no notebook of the course"),
    "a folder below": (made([("labs/solutions/01.ipynb", GOOD)]), "no notebook"),
    "a folder": (made([("notebooks/x.ipynb/", b"")]), "no notebook of the course"),
    "a program": (made([("notebooks/evil.py", b"x")]), "no notebook of the course"),
    "a helper": (made([("helpers/claims.py", b"x")]), "no notebook of the course"),
    "a link": (linked(), "no notebook of the course"),
    "the same twice": (made([("labs/a.ipynb", GOOD), ("labs/A.ipynb", GOOD)]), "same name"),
    "many": (made([(f"labs/{n}.ipynb", b"") for n in range(300)]), "holds 301 files"),
    "a bomb": (made([("labs/x.ipynb", b" " * (work.LARGEST_FILE + 1))]), "larger than 2 MB"),
    "a lying bomb": (claims_to_be_small(), "larger than it says|damaged"),
    "encrypted": (encrypted(), "encrypted"),
    "no notebook": (made([("labs/x.ipynb", b"{}")]), "not a notebook"),
    "an old notebook": (made([("labs/x.ipynb", b'{"nbformat": 3}')]), "format 4"),
    "an invalid one": (made([("labs/x.ipynb", b'{"nbformat": 4, "cells": 7}')]), "not a notebook"),
    "not even text": (made([("labs/x.ipynb", b"\xff\x00")]), "not a notebook"),
    "other progress": (made([("progress.json", b"{}")], progress=None), "cannot be used"),
    "newer progress": (made([("progress.json", b'{"version": 9}')], progress=None), "version 9"),
}  # fmt: skip


@pytest.mark.parametrize("data, says", BAD.values(), ids=BAD)
def test_refuses_other_files_and_changes_nothing(folder, tmp_path, data, says):
    before = snapshot(tmp_path)
    with pytest.raises(Refused, match=says):
        take_back(data)
    assert snapshot(tmp_path) == before


def test_one_bad_notebook_keeps_the_good_ones_out(folder, tmp_path):
    before = snapshot(tmp_path)
    with pytest.raises(Refused):
        take_back(made([("labs/01-lab.ipynb", GOOD), ("labs/02-lab.ipynb", b"{}")]))
    assert snapshot(tmp_path) == before


# -- What there is to do ----------------------------------------------------------------


def test_the_notebooks_say_what_there_is_to_do(folder):
    start, first, lab = course.chapters(folder)
    assert [each.title for each in (start, first, lab)] == [
        "00 Start here",
        "01 First",
        "Lab 1",
    ]
    assert first.to_do["claims"] == {"It holds", "So does this"}
    assert first.to_do["predictions"] == {"01/a"}
    assert "01/two-memories" in first.to_do["quizzes"]
    assert lab.to_do["checks"] == {"lab01/check_task_1", "lab01/verdict"}
    assert not any(start.to_do.values())


def test_the_course_says_what_there_is_to_do():
    found = course.chapters(ROOT)
    assert len(found) == len(course.notebooks(ROOT)) >= 5
    for chapter in found:
        kind = "checks" if chapter.path.parent.name == "labs" else "claims"
        assert chapter.to_do[kind], chapter.path


def test_files_that_are_no_notebooks_are_passed_over(folder):
    (folder / "notebooks/05-broken.ipynb").write_text("{")
    (folder / "notebooks/06-list.ipynb").write_text("[]")
    save(folder, "notebooks/Untitled.ipynb", 'claim("mine", 1)')
    assert len(course.chapters(folder)) == 3


def test_a_chapter_is_done_when_all_but_the_predictions_is():
    chapter = course.Chapter(
        Path("x"), "X", {"predictions": {"p"}, "claims": {"a", "b"}, "quizzes": {"q"}, "checks": set()}
    )  # fmt: skip
    record = progress.empty()
    assert chapter.state(record) == "not begun"
    record["quizzes"]["q"] = {"right": False}
    assert chapter.state(record) == "under way"
    assert chapter.done("quizzes", record) == 0
    record["claims"] = {"a": {}, "b": {}, "of another lesson": {}}
    assert chapter.state(record) == "under way"
    assert chapter.done("claims", record) == 2
    record["quizzes"]["q"] = {"right": True}
    assert chapter.state(record) == "done"


# -- The start page ---------------------------------------------------------------------


def cells(table):
    rows = re.findall(r"<tr>(.*?)</tr>", table)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_the_table_says_how_far_one_is(folder):
    progress.note("claims", "It holds", held=True)
    progress.note("checks", "lab01/check_task_1", passed=True)
    progress.note("checks", "lab01/verdict", passed=True)
    view = progress_view.show_progress()
    assert cells(view.table.value) == [
        ["Notebook", "Predicted", "Claims held", "Quiz", "Checks", "State"],
        ["00 Start here", "–", "–", "–", "–", "○ not begun"],
        ["01 First", "0 of 1", "1 of 2", "0 of 4", "–", "… under way"],
        ["Lab 1", "–", "–", "–", "2 of 2", "✓ done"],
    ]
    assert 'scope="row"' in view.table.value
    assert "<caption>" in view.table.value


def test_the_saved_table_is_the_untouched_one(folder):
    untouched = progress_view.show_progress()._repr_mimebundle_()
    progress.note("claims", "It holds", held=True)
    after = progress_view.show_progress()._repr_mimebundle_()
    for kind in ("text/html", "text/plain"):
        assert after[kind] == untouched[kind]
    assert cells(untouched["text/html"])[1] == ["00 Start here", "○ not begun"]


def test_the_view_tells_of_a_damaged_file(folder, kept):
    kept.write_text("{")
    assert "It is set aside as" in progress_view.show_progress().status.value


def test_the_buttons_make_a_file_and_take_it_back(folder):
    view = progress_view.show_progress()
    view.keep()
    link = re.search(
        r'download="(.*?)" href="data:application/zip;base64,(.*?)"', view.status.value
    )
    assert re.fullmatch(r"my-course-work-\d{8}-\d{6}\.zip", link[1])
    data = base64.b64decode(link[2])
    edit(folder, "labs/01-lab.ipynb", "changed <b>")
    progress.note("claims", "It holds", held=True)
    view.upload._handle_custom_msg({"name": "x.zip"}, [memoryview(data)])
    assert "✓ Taken back." in view.status.value
    assert "the one that was here is now 01-lab.before-" in view.status.value
    assert ["01 First", "0 of 1", "1 of 2", "0 of 4", "–", "… under way"] in cells(
        view.table.value
    )


def test_a_wrong_file_is_told(folder):
    view = progress_view.show_progress()
    view.take_back(made([("<b>.ipynb", GOOD)]))
    assert "✗ The file holds &#x27;&lt;b&gt;.ipynb&#x27;" in view.status.value
    assert "Nothing was changed." in view.status.value


def test_a_folder_that_cannot_be_written_is_told(folder, monkeypatch):
    data = pack().data
    edit(folder, "labs/01-lab.ipynb", "changed")

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", denied)
    view = progress_view.show_progress()
    view.take_back(data)
    assert "could not be taken back in full: PermissionError" in view.status.value
    assert nbformat.read(folder / "labs/01-lab.ipynb", 4).cells[1].source == "changed"


def test_titles_are_escaped(folder):
    save(folder, "notebooks/07-evil.ipynb", "1", title="07 <script>")
    view = progress_view.show_progress()
    assert "<script>" not in view.table.value + view._repr_mimebundle_()["text/html"]


def test_what_is_kept_is_json(folder):
    content = json.loads(members(pack().data)["progress.json"])
    assert content["version"] == progress.VERSION
