"""Where the threads of this process are in their code, seen from outside."""

import sys
import traceback
from typing import NamedTuple

from helpers import garbage


class Place(NamedTuple):
    """A line of a call that is under way."""

    file: str
    line: int
    function: str


def of_threads() -> dict[int, list[Place]]:
    """Where each thread is, by its ident: the place of each call, the innermost first."""
    # To look at a frame makes an object for it, and on Python 3.11 that may start a collection.
    # While a finaliser waits, the thread goes on, and the frame is gone when we come back to it:
    # Python crashes, or hands out an object of another kind.
    with garbage.left_for_later():
        return {
            ident: [
                Place(each.f_code.co_filename, line, each.f_code.co_name)
                for each, line in traceback.walk_stack(frame)
            ]
            for ident, frame in sys._current_frames().items()
        }
