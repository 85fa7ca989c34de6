"""Whoever asks the system for reduced motion gets progress bars that stand, or move in steps.

The live view has the same test in test_live_browser.
"""

from helpers import load


def places(chrome, bar, motion):
    """How many different lengths the bar shows in a second."""
    page = chrome.new_page(reduced_motion=motion)
    page.set_content(bar)
    seen = set()
    for _ in range(20):
        box = page.locator(".course-progress b").bounding_box()
        seen.add(box and (round(box["x"]), round(box["width"])))
        page.wait_for_timeout(50)
    page.close()
    return len(seen)


def test_a_bar_without_an_end_stands(chrome):
    bar = load.bar("A real run is under way")
    assert places(chrome, bar, "no-preference") > 5
    assert places(chrome, bar, "reduce") == 1


def test_a_bar_with_an_end_moves_in_a_few_steps(chrome):
    bar = load.bar("1 s of load", seconds=1)
    assert places(chrome, bar, "no-preference") > 5
    assert places(chrome, bar, "reduce") <= 6
