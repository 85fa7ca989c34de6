"""load_chart(): every request is there, failures are crosses, states are a strip."""

import numpy as np
import pytest

from helpers.load import Run
from helpers.load_figure import load_chart

KINDS = {
    "order": np.array([True, False, True, False]),
    "catalog": np.array([False, True, False, True]),
}


@pytest.fixture
def run():
    intended = np.array([0.0, 0.5, 1.0, 1.5])
    return Run(
        intended=intended,
        started=intended,
        finished=intended + [0.3, 0.1, 0.2, 0.1],
        ok=np.array([True, True, False, True]),
        results=[None] * 4,
        errors=[None] * 4,
        seconds=2.0,
        began=1000.0,
    )


def points(ax):
    """{label: [(x, y), ...]} of what is drawn as marks."""
    return {
        line.get_label(): [tuple(point) for point in line.get_xydata().round(6)]
        for line in ax.lines
        if line.get_linestyle() == "None"
    }


def legend(figure):
    [shown] = figure.legends
    return [text.get_text() for text in shown.get_texts()]


def test_each_request_is_there_at_its_intended_start(run):
    [ax] = load_chart("Four requests", run, KINDS).axes
    assert points(ax) == {
        "order": [(0.0, 0.3)],
        "order, failed": [(1.0, 0.2)],
        "catalog": [(0.5, 0.1), (1.5, 0.1)],
    }


def test_the_pool_is_drawn_above(run):
    figure = load_chart(
        "Four", run, KINDS, held=([0.0, 0.3], [1, 0]), threads=8, shaded=(0.2, 1, "ill")
    )
    top, low = figure.axes
    assert [ax.get_title(loc="left") for ax in (top, low)] == ["Four", ""]
    assert [tuple(point) for point in top.lines[0].get_xydata()] == [(0, 1), (0.3, 0)]
    assert top.get_ylim()[1] > 8
    assert {patch.get_label() for ax in figure.axes for patch in ax.patches} == {"ill"}
    assert legend(figure) == ["ill", "order", "order, failed", "catalog"]


def test_states_are_a_strip_from_one_moment_to_the_next(run):
    states = [(999.0, "closed"), (1000.5, "open"), (1001.0, "half-open")]
    states = iter([*states, (1001.5, "open")])
    figure = load_chart("Opens", run, KINDS, states=states)
    [ax] = figure.axes
    spans = [(each.get_x(), each.get_x() + each.get_width()) for each in ax.patches]
    assert spans == [(0, 0.5), (0.5, 1), (1, 1.5), (1.5, 2)]
    told = [label for label in legend(figure) if label.startswith("breaker")]
    assert told == ["breaker closed", "breaker open", "breaker half-open"]
    assert ax.patches[2].get_hatch() and not ax.patches[1].get_hatch()
    assert max(run.latency) < 0.9 * ax.get_ylim()[1]  # no mark below the strip


def test_what_cannot_be_drawn_is_refused(run):
    with pytest.raises(ValueError, match="closed, open, half-open, not 'ajar'"):
        load_chart("Ajar", run, KINDS, states=[(1000.0, "ajar")])
    with pytest.raises(ValueError, match="kinds has 0 entries"):
        load_chart("Nothing", run, {})
