"""A function that is called again and again in a thread of its own, as a worker calls its round."""

import contextvars
import threading
import traceback
from collections.abc import Callable

from helpers import registry, tracing


def again_and_again(
    fn: Callable, *args: object, name: str, pause: float = 0.05
) -> "Rounds":
    """Call ``fn(*args)``, wait ``pause`` seconds, and so on, until ``stop()``.

    name: the service they are; rounds of that name that run already are replaced.
    """
    old = registry.find(Rounds, name)
    if old is not None:
        old.stop()
    return Rounds(fn, args, name, pause)


class Rounds:
    """Rounds that go on. ``log`` tells why some failed."""

    def __init__(self, fn: Callable, args: tuple, name: str, pause: float):
        self._fn, self._args, self.name, self._pause = fn, args, name, pause
        self.log = ""
        self._stopping = threading.Event()
        # In a copy of our context: what runs in a check belongs to that check.
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._go_on,), name=name, daemon=True
        )
        self._thread.start()
        registry.register(self)

    def __repr__(self) -> str:
        return f"{self.name}: {'at work' if self._thread.is_alive() else 'stopped'}"

    def _go_on(self) -> None:
        with tracing.as_service(self.name):
            while not self._stopping.is_set():
                try:
                    self._fn(*self._args)
                except Exception:
                    self.log = (self.log + traceback.format_exc())[-20_000:]
                self._stopping.wait(self._pause)

    def stop(self, patience: float = 5.0) -> None:
        """Let the round that is under way come to its end, for at most ``patience`` seconds."""
        self._stopping.set()
        self._thread.join(patience)
        registry.forget(self)
