"""What of the course's widgets runs in the browser."""

from pathlib import Path

FOLDER = Path(__file__).parent


def with_keys(name: str) -> str:
    """A script of the course's, such as "live.js", with `keepKeys` of keys.js.

    In one text: what runs in the browser cannot import its neighbours.
    """
    return "".join(
        (FOLDER / each).read_text(encoding="utf-8") for each in ("keys.js", name)
    )
