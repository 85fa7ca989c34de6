"""Measure how fast an explore widget follows its control, in a JupyterLab in Chromium.

    python -m tools.bench_explore

Beside it stands what one would write without the course: ``interactive_output`` and pyplot,
with the same plot. Each press of an arrow key is timed in the page itself, from the key to the
moment at which the new picture is decoded and goes on the screen with the next frame.
"""

import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools import browser
from tools.bench import Figure

TURNS, PRESSES = 6, 14
WARM_UP = 4  # of the presses of each turn
PAUSE_MS = (
    100  # after a picture, so that what one press leaves behind falls on no other
)
SLOWEST_MS = 5000

PLOT = """
from helpers import chart, explore, slider

THREADS = range(1, 101)


def draw(figure, threads, seconds):
    served = threads / seconds
    title = f"{threads} threads, each busy for {seconds:.2f} s, serve {served:.1f} requests/s"
    _, ax = chart(title, x="threads (n)", y="served (requests/s)", figure=figure)
    ax.plot(THREADS, [n / seconds for n in THREADS], label="model: n / L")
    ax.plot(threads, served, "o", label="these threads")
    ax.axvline(threads, color="0.6", linestyle=":")
    ax.legend(loc="upper left")


def controls():
    return {
        "threads": slider("Threads", 1, 100, 1, 50),
        "seconds": slider("Payments takes", 0.05, 1.0, 0.05, 0.4, "s"),
    }
"""
COURSE = 'explore(draw, alt="Served requests against threads.", **controls())'
PYPLOT = """
import ipywidgets
import matplotlib.pyplot as plt


def plotted(threads, seconds):
    draw(plt.figure(figsize=(7.6, 3.4), layout="constrained"), threads, seconds)
    plt.show()


moved = controls()
ipywidgets.VBox([*moved.values(), ipywidgets.interactive_output(plotted, moved)])
"""
# Sets up a promise, so that nobody asks again and again while the picture is on its way.
_TIMED = """output => {
    const shown = () => [...output.querySelectorAll('img')].map(image => image.src).join();
    const before = shown();
    let pressed = null;
    document.addEventListener('keydown', () => { pressed = performance.now(); },
        { capture: true, once: true });
    window.drawn = new Promise(resolve => {
        const watcher = new MutationObserver(async () => {
            const image = output.querySelector('img');
            if (pressed === null || !image || shown() === before)
                return;
            watcher.disconnect();
            await image.decode();
            requestAnimationFrame(() => resolve(performance.now() - pressed));
        });
        watcher.observe(output, { subtree: true, childList: true, attributes: true });
    });
}"""


def figures() -> Iterator[Figure]:
    """The lines of tools.bench's table; without Chromium none, and a line that says so."""
    chromium = next(filter(None, map(shutil.which, browser.PROGRAMS)), None)
    if not chromium:
        print("explore: left out, as Chromium is not installed")
        return
    course, pyplot = (sorted(taken) for taken in key_to_picture(chromium))
    p50, p95 = statistics.median(course), course[int(0.95 * len(course))]
    yield Figure("explore: key to new picture, p50", p50, "ms", 70)
    yield Figure("explore: key to new picture, p95", p95, "ms", 150)
    ratio = p50 / statistics.median(pyplot)
    yield Figure("explore against interactive_output with pyplot, p50", ratio, "", 0.6)


def key_to_picture(program: str) -> tuple[list[float], list[float]]:
    """Milliseconds for each press of a key: of the course's widget, and of pyplot's.

    program: the path of Chromium.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "explore.ipynb")
        browser.write_notebook(path, PLOT, COURSE, PYPLOT)
        with (
            browser.jupyterlab_on(folder) as lab,
            browser.browser(program) as chromium,
        ):
            notebook = browser.Notebook(lab, chromium, path.name)
            try:
                notebook.run_from(0)
                page = notebook.page
                outputs = page.locator(".jp-OutputArea-output:has(.widget-slider)")
                outputs.nth(1).locator("img").wait_for()
                taken = ([], [])
                # In turn, so that a noisy moment falls on both.
                for turn in range(TURNS):
                    key = ("ArrowRight", "ArrowLeft")[turn % 2]
                    for output, milliseconds in zip(outputs.all(), taken, strict=True):
                        times = [timed(page, output, key) for _ in range(PRESSES)]
                        milliseconds += times[WARM_UP:]
            finally:
                notebook.close()
    return taken


def timed(page, output, key: str) -> float:
    """Milliseconds from a key, pressed on the first control, to the new picture."""
    handle = output.get_by_role("slider").first
    handle.focus()
    output.evaluate(_TIMED)
    page.keyboard.press(key)
    took = page.evaluate(
        f"""Promise.race([window.drawn, new Promise((_, fail) => setTimeout(
            () => fail(new Error('no new picture in {SLOWEST_MS} ms')), {SLOWEST_MS}))])"""
    )
    page.wait_for_timeout(PAUSE_MS)
    return took


if __name__ == "__main__":
    for figure in figures():
        print(figure)
