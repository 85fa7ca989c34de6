"""The notebooks as web pages without a kernel, as ``jupyter nbconvert --to html`` makes them."""

from functools import cache
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter

from tools import browser, notebooks

ROOT = Path(__file__).parent.parent
SCREENSHOTS = ROOT / "build" / "screenshots"
NOTEBOOKS = [str(path.relative_to(ROOT)) for path in notebooks.course_notebooks()]
BY_NBCONVERT = "No description has been provided for this image"


@cache
def exported(name):
    return HTMLExporter().from_filename(str(ROOT / name))[0]


def describes(picture):
    alt = picture.get("alt", "")
    return len(alt.split()) > 2 and alt != BY_NBCONVERT


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_picture_has_an_alternative_text(name):
    pictures = BeautifulSoup(exported(name), "html.parser").select("main img")
    assert pictures
    faults = [
        f"{each.find_parent(class_='jp-Cell')['id']}: {each.get('alt')!r}"
        for each in pictures
        if not describes(each)
    ]
    assert faults == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_widget_is_there_as_a_picture_or_in_words(name):
    page = BeautifulSoup(exported(name), "html.parser")
    widgets = 0
    for cell in notebooks.code_cells(notebooks.read(ROOT / name)):
        shown = page.find(id=f"cell-id={cell.id}").select(".jp-OutputArea-output")
        for output, place in zip(cell.outputs, shown, strict=True):
            if notebooks.WIDGET not in output.get("data", {}):
                continue
            widgets += 1
            pictures = place.select("img")
            words = place.get_text().split()
            assert pictures or len(words) > 2, output.data["text/plain"]
            assert all(each["src"].startswith("data:") for each in pictures)
    assert widgets


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_nothing_of_a_widget_is_needed(name):
    assert "application/vnd.jupyter.widget" not in exported(name)


def test_can_be_looked_at_without_a_network(chromium, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(exported("notebooks/01-the-core-choice.ipynb"), encoding="utf-8")
    size = {"width": browser.WIDTH, "height": browser.HEIGHT}
    with (
        browser.browser(chromium) as chrome,
        chrome.new_context(viewport=size, offline=True) as tab,
    ):
        page = tab.new_page()
        page.goto(file.as_uri(), wait_until="domcontentloaded")
        pictures = page.locator("main img")
        widths = pictures.evaluate_all("all => all.map(each => each.naturalWidth)")
        assert widths and all(widths)
        assert "Predict." in page.inner_text("main")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "export.png", full_page=True)
