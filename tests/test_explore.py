"""Explore widgets, driven without a browser; tests/test_browser*.py has them in JupyterLab."""

import base64
import subprocess
import sys
import threading
import time

import nbformat
import numpy as np
import pytest
from flask import Flask
from nbclient import NotebookClient

from helpers import figures, serve
from helpers.controls import choice, slider
from helpers.explore import Point, explore

ALT = "Customers a second against threads: the line is n / L."


def draw(figure, threads, seconds):
    ax = figure.subplots()
    ax.plot([1, 8], [1 / seconds, 8 / seconds])
    ax.set_title(f"{threads} threads", loc="left")


def draw_with_points(figure, points, threads, seconds):
    draw(figure, threads, seconds)
    figure.axes[0].plot(
        [p.params["threads"] for p in points], [p.result for p in points], "o"
    )


def controls():
    return {
        "threads": slider("Threads", 1, 8, 1, 2),
        "seconds": slider("Payments takes", 0.05, 1.0, 0.05, 0.4, "s"),
    }


def model(**more):
    return explore(draw, alt=ALT, **controls(), **more)


def measured(measure, draw=draw_with_points):
    return explore(draw, measure=measure, alt=ALT, **controls())


def picture(widget):
    return widget._picture.value


def status(widget):
    return widget._status.value


# -- Drawing ----------------------------------------------------------------------------


def test_starts_where_its_controls_start():
    widget = model()
    assert widget.params == {"threads": 2, "seconds": 0.4}
    assert widget.figure.axes[0].get_title(loc="left") == "2 threads"


def test_draws_at_both_ends_of_each_control():
    widget = model()
    seen = set()
    for params in widget.ends():
        widget.set(**params)
        assert widget.params == params
        assert (
            widget.figure.axes[0].get_title(loc="left")
            == f"{params['threads']} threads"
        )
        seen.add(picture(widget))
    assert len(seen) == 4


def test_follows_a_control_that_is_moved_by_hand():
    widget = model()
    before = picture(widget)
    widget.controls["threads"].value = 5  # as the browser does
    assert widget.figure.axes[0].get_title(loc="left") == "5 threads"
    assert picture(widget) != before


def test_a_picture_while_dragging_is_laid_out_like_any_other():
    widget = model()
    for threads, seconds in ((5, 0.4), (8, 0.05), (1, 1.0)):  # ticks of another width
        widget.controls["threads"].value = threads
        widget.controls["seconds"].value = seconds
        dragged = widget.figure.axes[0].get_position().extents
        widget.set()
        exact = widget.figure.axes[0].get_position().extents
        assert np.abs(dragged - exact).max() * widget.figure.get_figwidth() < 0.02


def test_a_title_of_two_lines_gets_its_room_while_dragging():
    def titled(figure, words):
        figures.chart("word " * words, x="time (s)", y="waiting (s)", figure=figure)

    widget = explore(titled, alt=ALT, words=slider("Words", 1, 40, 1, 1))
    before = widget.figure.axes[0].get_position()
    widget.controls["words"].value = 40
    assert widget.figure.axes[0].get_position().y1 < before.y1 - 0.05
    widget.controls["words"].value = 1
    assert np.allclose(widget.figure.axes[0].get_position().extents, before.extents)


def test_axes_that_are_placed_by_hand_stay_where_they_are():
    def inset(figure, at):
        figure.subplots()
        figure.add_axes((at, 0.5, 0.2, 0.2))

    widget = explore(inset, alt=ALT, at=slider("At", 0.1, 0.7, 0.1, 0.1))
    widget.controls["at"].value = 0.4
    assert widget.figure.axes[1].get_position().x0 == 0.4


def test_uses_one_figure():
    widget = model()
    figure = widget.figure
    for threads in (1, 4, 8):
        widget.set(threads=threads)
    assert widget.figure is figure
    assert len(figure.axes) == 1


def test_several_threads_may_move_controls():
    widget = model()
    errors = []

    def move(name, values):
        try:
            for value in values:
                widget.set(**{name: value})
        except Exception as error:
            errors.append(error)

    threads = [
        threading.Thread(target=move, args=("threads", [1, 4])),
        threading.Thread(target=move, args=("seconds", [1.0, 0.5])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    shown = picture(widget)
    widget.set()
    assert picture(widget) == shown  # the last picture is of the last position


def test_a_drawing_that_fails_says_so_and_keeps_the_picture():
    def fails(figure, threads, seconds):
        if threads == 8:
            raise ValueError("too many")
        draw(figure, threads, seconds)

    widget = explore(fails, alt=ALT, **controls())
    before = picture(widget)
    widget.controls["threads"].value = 8
    assert "could not be drawn: ValueError: too many" in status(widget)
    assert picture(widget) == before
    widget.controls["threads"].value = 3
    assert status(widget) == ""
    with pytest.raises(ValueError, match="too many"):
        widget.set(threads=8)


def test_a_choice_is_a_control_too():
    seen = []
    widget = explore(
        lambda figure, way: seen.append(way),
        alt=ALT,
        way=choice("Way", ["sync", "async"], "sync"),
    )
    widget.set(way="async")
    assert seen == ["sync", "async"]
    assert list(widget.ends()) == [{"way": "sync"}, {"way": "async"}]


def test_a_fine_step_shows_its_decimals():
    assert slider("A", 0, 1.0, 0.05, 0.4).readout_format == ".2f"
    assert slider("A", 0, 1.0, 0.25, 0.5).readout_format == ".2f"
    assert slider("A", 0, 10.0, 0.5, 1).readout_format == ".1f"
    assert slider("A", 0, 1.0, 0.001, 0.5).readout_format == ".3f"
    assert slider("A", 0, 100.0, 10, 50).readout_format == ".0f"
    assert slider("A", 0, 100, 10, 50).readout_format == "d"


# -- Measuring --------------------------------------------------------------------------


def test_measures_and_keeps_earlier_points():
    widget = measured(lambda threads, seconds: threads / seconds)
    assert widget.measure() == Point({"threads": 2, "seconds": 0.4}, 5.0)
    before = picture(widget)
    widget.set(threads=4)
    assert widget.measure().result == 10.0
    assert [point.result for point in widget.points] == [5.0, 10.0]
    assert picture(widget) != before
    assert "Measured 2 times" in status(widget)


def test_shows_that_it_runs_and_cannot_be_started_twice():
    go, runs = threading.Event(), []

    def measure(threads, seconds):
        runs.append(threads)
        go.wait(5)
        return 1

    widget = measured(measure)
    widget._measure_button.click()
    assert widget.running
    assert widget._measure_button.disabled
    assert "progressbar" in status(widget)
    widget._measure_button.click()
    go.set()
    widget._worker.join(5)
    assert runs == [2]
    assert len(widget.points) == 1
    assert not widget._measure_button.disabled
    assert widget._measure_button.description == "Measure"


def test_it_can_be_stopped():
    def measure(threads, seconds, stopping):
        while not stopping():
            time.sleep(0.01)
        return "half a result"

    widget = measured(measure)
    widget._measure_button.click()
    assert not widget._stop_button.disabled
    widget._stop_button.click()
    widget._worker.join(5)
    assert not widget.running
    assert widget.points == []
    assert "Stopped" in status(widget)
    assert widget._stop_button.disabled


def test_stop_is_offered_only_where_it_works():
    def buttons(widget):
        return [button.description for button in widget.children[-2].children]

    assert buttons(model()) == ["Reset"]
    assert buttons(measured(lambda threads, seconds: 1)) == ["Measure", "Reset"]
    assert buttons(measured(lambda threads, seconds, stopping: 1)) == [
        "Measure",
        "Stop",
        "Reset",
    ]


def test_a_run_that_fails_becomes_one_line():
    def measure(threads, seconds):
        raise ConnectionError("Payments\nis <down>")

    widget = measured(measure)
    with pytest.raises(ConnectionError):
        widget.measure()
    assert "The run failed: ConnectionError: Payments is &lt;down&gt;" in status(widget)
    assert widget.points == []
    assert not widget._measure_button.disabled


def test_a_run_that_fails_after_stop_all_is_told_what_to_do():
    def measure(threads, seconds):
        raise ConnectionError("nobody listens")

    widget = measured(measure)
    service = serve(Flask("payments"))
    try:
        with pytest.raises(ConnectionError):
            widget.measure()
        assert "No service is running" not in status(widget)
    finally:
        service.stop()
    with pytest.raises(ConnectionError):
        widget.measure()
    assert "No service is running" in status(widget)
    assert "run the cells above again. The run failed: Conn" in status(widget)


def test_reset_goes_back_to_the_saved_state():
    widget = measured(lambda threads, seconds: 3.0)
    saved = picture(widget)
    widget.set(threads=7, seconds=1.0)
    widget.measure()
    widget._reset_button.click()
    assert widget.params == {"threads": 2, "seconds": 0.4}
    assert widget.points == []
    assert status(widget) == ""
    assert picture(widget) == saved


def test_a_run_that_ends_after_a_reset_adds_nothing():
    go = threading.Event()
    widget = measured(lambda threads, seconds: go.wait(5))
    widget._measure_button.click()
    widget.reset()
    go.set()
    widget._worker.join(5)
    assert widget.points == []


def test_running_the_cell_again_ends_the_old_run():
    def measure(threads, seconds, stopping):
        while not stopping():
            time.sleep(0.01)

    old = measured(measure)
    old._measure_button.click()
    new = measured(measure)
    old._worker.join(5)
    assert not old.running
    assert not new.running


def test_nothing_to_measure():
    with pytest.raises(RuntimeError, match="nothing to measure"):
        model().measure()


# -- Showing ----------------------------------------------------------------------------


def test_carries_a_picture_and_a_text_beside_the_live_view():
    data, metadata = model()._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"] == ALT
    assert "application/vnd.jupyter.widget-view+json" in data
    assert metadata["image/png"]["alt"] == ALT


def test_is_labelled():
    widget = measured(lambda threads, seconds, stopping: 1)
    threads, seconds = widget.controls.values()
    assert (threads.description, seconds.description) == (
        "Threads",
        "Payments takes (s)",
    )
    assert seconds.tooltip == "Payments takes: from 0.05 to 1 s"
    assert widget._picture.alt == ALT
    assert all(button.tooltip for button in widget.children[-2].children)


NOTEBOOK = [
    """
import time
from helpers.claims import claim
from helpers import figures, serve
from helpers.controls import slider
from helpers.explore import explore
from helpers.load import open_loop
""",
    """
def draw(figure, points, threads):
    figure.subplots().plot([1, threads])

widget = explore(
    draw,
    measure=lambda threads: open_loop(lambda: time.sleep(0.01), 50, 1.2).rate,
    alt="A line.",
    threads=slider("Threads", 1, 8, 1, 2),
)
widget
""",
    "widget.measure()\nwidget.set(threads=3)",
    "run = open_loop(lambda: time.sleep(0.01), 50, 1.2)\nprint(run.summary())",
    'claim("Answers come in time", run.percentile(50), at_most=5, unit="s")',
    'claim("Answers come sooner than they can", 0.5, at_most=0.001, unit="s", hint="they cannot")',
]


def test_a_notebook_with_all_of_it_is_validated_strictly(tmp_path):
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in NOTEBOOK]
    cells[-1].metadata["tags"] = ["raises-exception"]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=60).execute()
    notebook.metadata.pop("widgets", None)
    nbformat.write(notebook, tmp_path / "lesson.ipynb")

    [shown] = cells[1].outputs
    assert {"image/png", "application/vnd.jupyter.widget-view+json"} < set(shown.data)
    assert cells[2].outputs == []  # a run in the background shows nothing in the cell
    assert "open loop: 50 requests/s for 1.2 s" in cells[3].outputs[0].data["text/html"]
    assert cells[5].outputs[0].traceback == [
        "✗ Answers come sooner than they can",
        "  expected: at most 0.001 s",
        "  got:      0.5 s",
        "  hint:     they cannot",
    ]

    sanitize = "regex: \\d+(\\.\\d+)? ms\nreplace: N ms\n"
    (tmp_path / "sanitize.cfg").write_text(f"[regex]\n{sanitize}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--nbval", "--nbval-current-env"]
        + [
            "--nbval-sanitize-with",
            "sanitize.cfg",
            "-c",
            "/dev/null",
            "-p",
            "no:cacheprovider",
        ]
        + ["--rootdir", str(tmp_path), "lesson.ipynb"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


# -- What is asked for ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: slider("A", 1, 1, 1, 1), "low < high"),
        (lambda: slider("A", 0, 1, 0, 0), "step"),
        (lambda: slider("A", 0, 1, 2, 0), "step"),
        (lambda: slider("A", 0, 8, 1, 9), "starts between 0 and 8"),
        (lambda: slider("A", 0, "8", 1, 1), "high of the slider 'A' is a number"),
        (lambda: slider("", 0, 8, 1, 1), "needs a label"),
        (lambda: choice("A", ["one"], "one"), "two options"),
        (lambda: choice("A", ["one", "two"], "three"), "starts at one of"),
        (lambda: explore(None, alt=ALT, **controls()), "draw is a function"),
        (lambda: explore(draw, alt="", **controls()), "what the picture shows"),
        (lambda: explore(draw, alt=ALT), "at least one control"),
        (lambda: explore(draw, alt=ALT, threads=3), "threads is a slider"),
        (
            lambda: explore(draw, alt=ALT, threads=slider("A", 1, 8, 1, 1)),
            "draw must take",
        ),
        (
            lambda: explore(draw, measure=3, alt=ALT, **controls()),
            "measure is a function",
        ),
        (lambda: measured(lambda threads, seconds: 1, draw), "must take"),
        (lambda: measured(lambda threads: 1), "must take"),
        (
            lambda: model().set(speed=3),
            "no control 'speed'; there are threads, seconds",
        ),
        (lambda: model().set(threads=9), "threads lies between 1 and 8"),
        (lambda: model().set(threads="2"), "threads lies between 1 and 8"),
    ],
)
def test_bad_input_says_what_to_do(make, says):
    with pytest.raises((TypeError, ValueError), match=says):
        make()
