"""The learner's checkout as a module, so that the judge's processes can import it."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType

from helpers.folders import folder_for_now
from helpers.sources import source_of

MODULE = "your_checkout"
_WIRED = """

class TheWholeCheckout:
    def __init__(self, shop):
        self._shop, self.handlers = shop, {handlers}(shop)

    def place(self, order):
        return {place}(self._shop, order)
"""


@contextmanager
def import_string(place: FunctionType, handlers: FunctionType) -> Iterator[str]:
    """What names a checkout made of these two functions, while the block lasts.

    Raises ValueError saying what they use that cannot be taken along.
    """
    text = source_of(place, handlers)
    text += _WIRED.format(place=place.__name__, handlers=handlers.__name__)
    with folder_for_now() as folder:
        (folder / f"{MODULE}.py").write_text(text, encoding="utf-8")
        sys.path.append(str(folder))  # what this kernel can import, its processes can
        try:
            yield f"{MODULE}:TheWholeCheckout"
        finally:
            sys.path.remove(str(folder))


def last_error(log: str) -> tuple[str, str]:
    """What the module has raised last, by a log, and where: "KeyError: 'prize'", "in place(): …".

    Both are empty when there is no traceback in the log.
    """
    raised, place = "", ""
    for block in log.split("Traceback (most recent call last):")[1:]:
        lines = block.splitlines()
        ends = [line for line in lines if re.match(r"[\w.]+(: |$)", line)]
        if ends:
            name, _, text = ends[0].partition(":")
            raised = f"{name.rpartition('.')[2]}:{text}".rstrip(":")
            place = _place(lines)
    return raised, place


def _place(lines: list[str]) -> str:
    """The line of the learner's that is furthest in."""
    place = ""
    for line, code in zip(lines, lines[1:], strict=False):
        frame = re.search(rf"{MODULE}\.py\", line \d+, in (\S+)", line)
        if frame and "TheWholeCheckout" not in frame[1]:
            name = "" if frame[1].startswith("<") else f"in {frame[1]}(): "
            place = name + code.strip()
    return place
