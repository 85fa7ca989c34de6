"""The table of "make bench"; what it measures is not a test's business."""

import pytest

from tools import bench, bench_explore, bench_live


@pytest.mark.parametrize(
    ("got", "bound", "holds"),
    [
        (70, {"at_most": 70}, True),
        (71, {"at_most": 70}, False),
        (0.95, {"at_least": 0.95}, True),
        (0.9, {"at_least": 0.95}, False),
    ],
)
def test_a_figure_says_whether_it_is_within_its_bound(got, bound, holds):
    figure = bench.Figure("key to new picture", got, "ms", **bound)
    assert figure.holds == holds
    assert str(figure).endswith("ok" if holds else "OUT OF BOUNDS")


def test_prints_every_group_and_fails_when_one_is_out_of_bounds(monkeypatch, capsys):
    def group(name, got):
        return lambda: [bench.Figure(name, got, "ms", 70)]

    names = ["starts", "throughput", "stream", "lessons"]
    for module, name in [(bench, name) for name in names] + [
        (bench_explore, "figures"),
        (bench_live, "figures"),
    ]:
        monkeypatch.setattr(module, name, group(f"{module.__name__}.{name}", 60))
    assert bench.main() == 0
    told = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("ok") for line in told) == 6
    assert any(line.startswith("tools.bench_explore.figures") for line in told)

    monkeypatch.setattr(bench_explore, "figures", group("slow", 80))
    assert bench.main() == 1


def test_leaves_out_explore_where_there_is_no_browser(monkeypatch, capsys):
    monkeypatch.setattr(bench_explore.browser, "PROGRAMS", ["no-such-browser"])
    assert list(bench_explore.figures()) == []
    [line] = capsys.readouterr().out.splitlines()
    assert "left out" in line
