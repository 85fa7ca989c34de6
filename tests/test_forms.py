"""The marks in the texts of predictions and quizzes."""

import pytest

from helpers.forms import plain, prose


@pytest.mark.parametrize(
    "text, shown, read",
    [
        ("see `requests.post`", "see <code>requests.post</code>", "see requests.post"),
        ("it *waits*.", "it <em>waits</em>.", "it waits."),
        ("*so it is* (*here*)", "<em>so it is</em> (<em>here</em>)", "so it is (here)"),
        ("`a * b * c`", "<code>a * b * c</code>", "a * b * c"),
        ("2 * 3 * 4", "2 * 3 * 4", "2 * 3 * 4"),
        ("2*3 and 4*5", "2*3 and 4*5", "2*3 and 4*5"),
        ("`<b>` *&*", "<code>&lt;b&gt;</code> <em>&amp;</em>", "<b> &"),
    ],
)
def test_code_and_emphasis(text, shown, read):
    assert (prose(text), plain(text)) == (shown, read)
