"""The style of all figures: units, colours that are never alone, alternative text, any thread."""

import base64
import io
import json
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from jupyter_client.jsonutil import json_default
from nbconvert import HTMLExporter
from PIL import Image

from helpers import figures
from helpers.figures import (
    ASYNC,
    MEASURED,
    MODEL,
    SYNC,
    chart,
    colour,
    hatch,
    marker,
    png,
    show,
)

SERVICES = [
    *("orders", "payments", "fraud", "bank"),
    *("inventory", "email", "recommendations", "customer"),
]


def a_chart():
    return chart("Orders serves n / L", x="Payments takes (s)", y="served (requests/s)")


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours as WCAG 2 defines it: 1 (none) to 21."""

    def luminance(colour):
        parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        linear = [
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    "label", ["Payments takes", "time (s) later", "", "(s)", "time ()"]
)
def test_an_axis_without_a_unit_is_refused(label):
    with pytest.raises(ValueError, match="has no unit: end it with one"):
        chart("seen", x=label, y="waiting (orders)")
    with pytest.raises(ValueError, match="has no unit"):
        chart("seen", x="time (s)", y=label)


def test_a_title_is_needed_and_a_long_one_is_broken_into_lines():
    with pytest.raises(ValueError, match="say what is seen"):
        chart("  ", x="time (s)", y="waiting (orders)")
    title = (
        "Orders waits for Payments, which waits for the Fraud check, which waits for "
        * 2
    )
    title = title.strip()
    fig, ax = chart(title, x="time (s)", y="waiting (orders)")
    assert ax.get_title(loc="left").replace("\n", " ") == title
    fig.draw_without_rendering()
    assert fig.get_tightbbox().width <= fig.get_figwidth() + 0.01
    assert ax.get_xlabel() == "time (s)" and ax.get_ylabel() == "waiting (orders)"


def test_the_picture_is_opaque_sharp_and_nothing_is_cut_off():
    fig, ax = a_chart()
    ax.plot([1, 2], [3, 4], **MODEL, label="model")
    ax.plot([1, 2], [3, 4], **MEASURED, label="measured")
    ax.legend()
    picture = Image.open(io.BytesIO(png(fig)))
    assert picture.size == (1520, 680)  # twice what is displayed
    assert picture.convert("RGBA").getextrema()[3] == (255, 255)
    assert picture.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    box = fig.get_tightbbox()
    assert box.x0 >= -0.01 and box.y0 >= -0.01
    assert box.x1 <= 7.61 and box.y1 <= 3.41


def test_services_have_colours_of_their_own_and_a_marker_and_a_hatch_beside_them():
    assert colour("orders") == "#0072B2" and colour("payments") == "#E69F00"
    assert (colour("sync"), colour("async")) == (SYNC, ASYNC)
    for look in (colour, marker, hatch):
        assert len({look(name) for name in SERVICES}) == len(SERVICES)
    assert (
        colour("Customer 12")
        == colour("30 customers")
        == colour("notebook")
        == "#555555"
    )
    assert colour("Fraud check") == colour("fraud")
    assert colour("somebody new") == colour("somebody new").upper()
    assert marker("sync") != marker("async") and hatch("sync") != hatch("async")
    with pytest.raises(TypeError, match="a service's name"):
        colour(3)


def test_a_stranger_has_the_same_colour_in_every_kernel():
    program = "from helpers.figures import colour; print(colour('shipping'))"
    root = Path(__file__).parent.parent
    run = [sys.executable, "-c", program]
    one = subprocess.run(
        run, cwd=root, capture_output=True, text=True, check=True
    ).stdout
    assert one.strip() == colour("shipping")


@pytest.mark.parametrize("name", [*SERVICES, "shipping"])
def test_colours_can_be_told_from_the_page(name):
    assert (
        contrast(colour(name), "#FFFFFF") >= 2
    )  # a large area with an edge, a marker or words


def test_lines_differ_in_dashes_as_well_as_in_colour():
    fig, ax = a_chart()
    lines = [ax.plot([1, 2], [at, at])[0] for at in range(4)]
    assert len({line.get_color() for line in lines}) == 4
    assert len({str(line.get_linestyle()) for line in lines}) == 4


def test_show_displays_the_picture_with_its_alternative_text(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda *args, **kw: shown.append((args, kw))
    )
    fig, _ = a_chart()
    assert show(fig, alt="Throughput falls.") is None
    ((data,), options) = shown[0]
    assert data["text/plain"] == "Throughput falls."
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["text/html"].startswith(
        '<img alt="Throughput falls." width="760" src="data:image/png;base64,iVBOR'
    )
    assert options["raw"] is True
    assert options["metadata"] == {
        "image/png": {"alt": "Throughput falls.", "width": 760, "height": 340}
    }
    for alt in ("", "  ", None):
        with pytest.raises(ValueError, match="alt is empty"):
            show(fig, alt=alt)


@pytest.mark.parametrize("template", ["lab", "classic"])
def test_a_page_made_of_the_notebook_has_the_size_and_the_text(template):
    data, metadata = figures.mimebundle(a_chart()[0], alt='Throughput "falls" & rises.')
    data["image/png"] = base64.b64encode(data["image/png"]).decode()
    output = nbformat.v4.new_output("display_data", data, metadata=metadata)
    cell = nbformat.v4.new_code_cell("show(fig)", outputs=[output])
    notebook = nbformat.v4.new_notebook(cells=[cell])
    html, _ = HTMLExporter(template_name=template).from_notebook_node(notebook)
    [image] = BeautifulSoup(html, "html.parser").select('img[src^="data:image/png"]')
    assert (image["width"], image["alt"]) == ("760", 'Throughput "falls" & rises.')


def test_the_bundle_goes_through_json_as_the_kernel_sends_it():
    data, metadata = figures.mimebundle(a_chart()[0], alt="Throughput falls.")
    sent = json.loads(json.dumps([data, metadata], default=json_default))
    assert base64.b64decode(sent[0]["image/png"]) == data["image/png"]


def test_figures_are_drawn_from_many_threads_and_redrawn():
    pictures, errors = [], []

    def draw(number):
        try:
            fig, ax = a_chart()
            for step in range(2):
                with figures.drawing:
                    ax.clear()
                    ax.plot([0, 1], [0, number + step], **MODEL)
                pictures.append(png(fig))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=draw, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == [] and len(pictures) == 8
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)


def test_a_figure_may_be_drawn_into_again():
    fig = figures.figure()
    for title in ("first", "second"):
        fig.clear()
        again, ax = chart(title, x="time (s)", y="waiting (orders)", figure=fig)
        assert again is fig and len(fig.axes) == 1
    assert ax.get_title(loc="left") == "second"


def test_matplotlib_is_imported_when_first_needed_and_pyplot_never():
    program = """
import sys
from helpers import figures
assert "matplotlib" not in sys.modules
figures.colour("orders")
assert "matplotlib" not in sys.modules
fig, ax = figures.chart("seen", x="time (s)", y="waiting (orders)")
figures.png(fig)
assert "matplotlib.pyplot" not in sys.modules
"""
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True, timeout=60)


def test_an_svg_is_the_same_every_time_and_leaves_the_figure_as_it_was():
    fig, ax = figures.chart("A line", x="time (s)", y="waiting (orders)")
    ax.plot([0, 1], [0, 1])
    dpi, canvas = fig.dpi, fig.canvas
    picture = figures.svg(fig)
    assert figures.svg(fig) == picture
    assert (fig.dpi, fig.canvas) == (dpi, canvas)


def test_the_texts_of_an_svg_are_texts_in_a_font_of_the_same_width_elsewhere():
    fig, _ = figures.chart("A line", x="time (s)", y="waiting (orders)")
    picture = figures.svg(fig).decode()
    assert ">waiting (orders)</text>" in picture
    assert "font-family: 'DejaVu Sans', 'Verdana', sans-serif" in picture
