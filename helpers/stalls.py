"""Did the machine stand still? What was measured meanwhile says nothing about the code.

A virtual machine, as Binder's, may get no processor for half a second. Every wait in a program
is then late, and a time-out runs out before an answer that was on its way can be read.
"""

from __future__ import annotations

import threading
import time

LATE = 0.05  # seconds that a wait may be late on a machine that is just busy
EVERY = 0.02  # seconds between two looks of a watch


def overslept(seconds: float) -> float:
    """Sleep; return how many seconds longer it was than it may be on a machine that is just busy."""
    start = time.monotonic()
    time.sleep(seconds)
    return max(0.0, time.monotonic() - start - seconds - LATE)


class StallWatch:
    """Looks out for stalls from `with` on until the block ends.

    longest: the longest of them so far, in seconds; 0.0 if there was none.
    """

    def __enter__(self) -> StallWatch:
        self.longest = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=self._look, name="stall watch", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            self.longest = max(self.longest, overslept(EVERY))
