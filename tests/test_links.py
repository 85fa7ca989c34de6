"""Every link in the documents and the notebooks leads somewhere."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tools import notebooks

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "labs/README.md")]

# [text](target), ![alt](target "title"), <a href="target">, <img src="target">
_LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)|\b(?:href|src)=["']([^"']+)""")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.M | re.S)


def links(text):
    return [a or b for a, b in _LINK.findall(_CODE.sub("", text))]


def anchors(text):
    """The fragments of a document's headings, as JupyterLab and GitHub spell them."""
    found = set()
    for title in re.findall(r"^#+ +(.+?)\s*$", _CODE.sub("", text), re.M):
        found.add(title.replace(" ", "-"))  # JupyterLab
        found.add(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-"))  # GitHub
    return found | set(re.findall(r"""\b(?:id|name)=["']([^"']+)""", text))


def text_of(path):
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    cells = notebooks.read(path).cells
    return "\n\n".join(c.source for c in cells if c.cell_type == "markdown")


def problem(link, path):
    """What is wrong with a link found in *path*, or None."""
    if re.match(
        r"(https://|http://(127\.0\.0\.1|localhost)\b|mailto:|attachment:|data:)", link
    ):
        return None
    if re.match(r"[a-z]+:", link):
        return "neither https nor a file"
    name, _, fragment = unquote(link).partition("#")
    target = (path.parent / name).resolve() if name else path
    if not target.is_relative_to(ROOT):
        return "outside the course"
    if not target.exists():
        return "no such file"
    if fragment and target.is_file() and fragment not in anchors(text_of(target)):
        return "no such heading"
    return None


@pytest.mark.parametrize(
    "path", DOCUMENTS + notebooks.course_notebooks(), ids=lambda p: p.name
)
def test_every_link_leads_somewhere(path):
    wrong = {link: problem(link, path) for link in links(text_of(path))}
    assert {link: why for link, why in wrong.items() if why} == {}


def test_readme_lists_exactly_the_lessons_and_labs_there_are():
    linked = {
        link for link in links(text_of(ROOT / "README.md")) if link.endswith(".ipynb")
    }
    there = {path.relative_to(ROOT).as_posix() for path in notebooks.course_notebooks()}
    assert linked == {name for name in there if not name.startswith("labs/solutions/")}


@pytest.mark.parametrize(
    "link, expected",
    [
        ("../README.md", None),
        ("../README.md#licences", None),
        ("#here", None),
        ("https://example.org/a", None),
        ("../README.md#nowhere", "no such heading"),
        ("99-none.ipynb", "no such file"),
        ("../../elsewhere.md", "outside the course"),
        ("http://example.org/", "neither https nor a file"),
        ("ftp://example.org/", "neither https nor a file"),
    ],
)
def test_the_check_itself(link, expected, tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "page.md"
    page.write_text("# here\n")
    (tmp_path / "README.md").write_text("# Course\n\n## Licences\n")
    monkeypatch.setattr("test_links.ROOT", tmp_path)
    assert problem(link, page) == expected


def test_links_are_found_in_markdown_and_html_but_not_in_code():
    text = '[a](b.md) ![c](d.png "t") <img alt="x" src="e.png"> `[f](g.md)`\n```\n[h](i.md)\n```\n'
    assert links(text) == ["b.md", "d.png", "e.png"]
