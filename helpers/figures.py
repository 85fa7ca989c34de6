"""One style for all figures of the course, and a way to show them to every reader.

    fig, ax = chart("Orders serves n / L", x="Payments takes (s)", y="served (requests/s)")
    ax.plot(seconds, model, **MODEL, label="model")
    ax.plot(seconds, measured, **MEASURED, label="measured")
    show(fig, alt="Throughput falls as Payments gets slower; the dots lie on the model's line.")

Nothing here uses pyplot: a figure belongs to whoever made it, so widgets may draw from any thread.
"""

import base64
import html
import io
import re
import textwrap
import threading
import zlib
from functools import cache, lru_cache
from pathlib import Path

from helpers import outputs
from helpers.names import service_name

SYNC = "#0072B2"
ASYNC = "#D55E00"

# Measurements are dots, a model is a line.
MODEL = {"linestyle": "-", "marker": ""}
MEASURED = {"linestyle": "", "marker": "o"}

# Held while anything is drawn: matplotlib's caches are shared between threads.
drawing = threading.RLock()

PIXELS_PER_INCH = 100  # as displayed; the picture itself has SHARPNESS times as many
SHARPNESS = 2
TITLE_CHARACTERS_PER_INCH = 9.5

# name: (colour, marker, hatch), the first row being Okabe and Ito's colours.
_LOOKS = {
    "sync": (SYNC, "o", ""),
    "async": (ASYNC, "s", "///"),
    "orders": ("#0072B2", "o", ""),
    "payments": ("#E69F00", "s", "//"),
    "fraud": ("#CC79A7", "^", "\\\\"),
    "bank": ("#009E73", "D", "xx"),
    "inventory": ("#56B4E9", "v", ".."),
    "email": ("#D55E00", "P", "--"),
    "recommendations": ("#999933", "X", "||"),
    **dict.fromkeys(
        ["customer", "customers", "alex", "notebook"], ("#555555", "*", "++")
    ),
}
_SPARE = [
    ("#882255", "<", "oo"),
    ("#332288", ">", "**"),
    ("#117733", "p", "OO"),
    ("#44AA99", "h", "+x"),
    ("#AA4499", "d", "-/"),
]


def colour(name: str) -> str:
    """The colour of a service, the same throughout the course, or of "sync" and "async"."""
    return _look(name)[0]


def marker(name: str) -> str:
    """The marker that goes with ``colour(name)``, so that colour is never alone."""
    return _look(name)[1]


def hatch(name: str) -> str:
    """The hatching that goes with ``colour(name)``, for bars and areas."""
    return _look(name)[2]


def _look(name: str) -> tuple[str, str, str]:
    if not isinstance(name, str):
        raise TypeError(
            f"give a service's name, such as 'orders'; this is a {type(name).__name__}"
        )
    # "customer 3" and "3 customers" are customers
    key = re.sub(r"^\d+ | \d+$", "", service_name(name))
    return _LOOKS.get(key) or _SPARE[zlib.crc32(key.encode()) % len(_SPARE)]


def figure(width: float = 7.6, height: float = 3.4):
    """An empty figure in the course's style; sizes in inches (100 pixels as displayed)."""
    _use_style()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with drawing:
        fig = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(fig)
    return fig


_new_figure = figure  # chart() has a parameter of that name


def chart(
    title: str, *, x: str, y: str, width: float = 7.6, height: float = 3.4, figure=None
):
    """A figure with one pair of axes, as ``fig, ax``. The title says what is seen.

    x, y: the axes' labels, each with its unit in brackets; a count's unit is what is counted:
        "waiting (orders)". Raises ValueError when one has none.
    figure: draw into this one, as an explore widget asks for, instead of making a new one.
    """
    if not title.strip():
        raise ValueError(
            "title is empty: say what is seen, as in 'Orders waits 0.8 s of 1.0 s'"
        )
    for axis, label in (("x", x), ("y", y)):
        if not re.search(r"\S \(\S.*\)$", label):
            raise ValueError(
                f"{axis}={label!r} has no unit: end it with one, as in 'Payments takes (s)'"
            )
    fig = figure or _new_figure(width, height)
    with drawing:
        ax = fig.subplots()
        set_title(ax, title)
        ax.set(xlabel=x, ylabel=y)
    return fig, ax


def set_title(ax, title: str) -> None:
    """Give the axes a title, broken into lines that fit the figure."""
    ax.set_title("\n".join(_lines(title, ax.figure.get_figwidth())))


def lines_of(title: str, width: float = 7.6) -> int:
    """How many lines a title takes in a figure that many inches wide."""
    return len(_lines(title, width))


def _lines(title: str, width: float) -> list[str]:
    return textwrap.wrap(title, int(width * TITLE_CHARACTERS_PER_INCH))


def png(fig) -> bytes:
    """The figure as a picture, for a file or an ``ipywidgets.Image``. Safe from any thread."""
    picture = io.BytesIO()
    with drawing:
        fig.canvas.print_figure(picture, format="png", dpi=PIXELS_PER_INCH * SHARPNESS)
    return picture.getvalue()


def svg(fig) -> bytes:
    """The figure as an SVG for the screen: sharp at every size, in a third of a PNG's time.

    Its texts are set by the browser. The same figure gives the same bytes every time.
    """
    picture = io.StringIO()
    with drawing:
        dpi = fig.dpi
        fig.dpi = 72  # an SVG's unit is a point
        try:
            size = fig.get_size_inches() * fig.dpi
            renderer = _svg_renderer()(
                *size,
                picture,
                image_dpi=PIXELS_PER_INCH * SHARPNESS,
                metadata={"Date": None},
            )
            fig.draw(renderer)
            renderer.finalize()
        finally:
            fig.dpi = dpi
    return picture.getvalue().encode()


@cache
def _svg_renderer() -> type:
    from matplotlib.backends.backend_svg import RendererSVG
    from matplotlib.textpath import TextToPath

    class Renderer(RendererSVG):
        """Remembers the sizes of texts: to ask the font takes a sixth of a drawing's time."""

        get_text_width_height_descent = staticmethod(
            lru_cache(maxsize=2000)(TextToPath().get_text_width_height_descent)
        )

    return Renderer


def shown_size(fig) -> tuple[int, int]:
    """The width and height of the figure as displayed, in pixels."""
    width, height = fig.get_size_inches() * PIXELS_PER_INCH
    return round(width), round(height)


def show(fig, alt: str) -> None:
    """Display the figure, with a text that says the same to whoever cannot see it.

    The text is compared when a notebook is validated: leave out what differs from run to run,
    or write it as a number with a unit.
    """
    outputs.show(lambda: _display(fig, alt))


def _display(fig, alt: str) -> None:
    from IPython.display import display

    data, metadata = mimebundle(fig, alt)
    display(data, metadata=metadata, raw=True)


def mimebundle(fig, alt: str) -> tuple[dict, dict]:
    """(data, metadata) of a displayed figure: the picture, and its alternative text."""
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError("alt is empty: say in a sentence what the figure shows")
    width, height = shown_size(fig)
    picture = png(fig)
    # JupyterLab and nbconvert show the HTML: they leave out the alternative text of a bare picture.
    source = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    shown = f'<img alt="{html.escape(alt)}" width="{width}" src="{source}">'
    return (
        {"image/png": picture, "text/html": shown, "text/plain": alt},
        {"image/png": {"alt": alt, "width": width, "height": height}},
    )


def widget_mimebundle(data: dict, fig, alt: str) -> tuple[dict, dict]:
    """The same for a widget with such a figure: `data` is the live widget, for a page with a kernel."""
    picture, metadata = mimebundle(fig, alt)
    # What a widget gives is sent as it is, and JSON has no bytes.
    picture["image/png"] = base64.b64encode(picture["image/png"]).decode()
    return data | picture, metadata


@cache
def _use_style() -> None:
    import matplotlib.style

    # For the whole kernel: what a notebook adds to a chart later takes its defaults from here too.
    with drawing:
        matplotlib.style.use(Path(__file__).with_name("course.mplstyle"))
