"""A crew: workers of one service, more or fewer of them as it is told."""

import threading
import time
from collections.abc import Callable

from helpers import registry, tracing
from helpers.streams import Workers

STOPPING = 3.0  # seconds that workers get to end the turn they are in


class Crew(Workers):
    """Workers that take turn after turn, each in a thread; `resize` says how many.

    name: the service they are. A crew, or other workers, of that name are replaced.
    turn: called with a worker's name, such as "payments-1", it takes one turn: reads what is
        new, does the work, acknowledges. The same name may come again after a while.
    error: what a turn has raised; its worker has ended with it. None when all is well.
    """

    def __init__(self, name: str, turn: Callable[[str], object]):
        if (old := registry.find(Workers, name)) is not None:
            old.stop()
        self.name, self._turn = name, turn
        self.error: BaseException | None = None
        self._leave: dict[str, threading.Event] = {}  # for each worker that is to work
        self._threads: list[threading.Thread] = []
        self._since, self._seconds = time.monotonic(), 0.0
        registry.register(self)

    def __repr__(self) -> str:
        number = len(self._leave)
        return f"{self.name}: {number} {'worker' if number == 1 else 'workers'}"

    @property
    def size(self) -> int:
        """How many workers are to work."""
        return len(self._leave)

    @property
    def seconds(self) -> float:
        """The time of all workers so far, added up: two workers for 3 s make 6 s."""
        return self._seconds + self.size * (time.monotonic() - self._since)

    def resize(self, number: int) -> None:
        """Let so many work from now on. Who is one too many ends the turn that it is in."""
        self._seconds, self._since = self.seconds, time.monotonic()
        while self.size > number:
            _, leave = self._leave.popitem()
            leave.set()
        for each in range(1, number + 1):
            worker = f"{self.name}-{each}"
            if worker not in self._leave:
                self._start(worker)

    def _start(self, worker: str) -> None:
        leave = self._leave[worker] = threading.Event()
        thread = threading.Thread(
            target=self._work, args=(worker, leave), name=worker, daemon=True
        )
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()

    def _work(self, worker: str, leave: threading.Event) -> None:
        with tracing.as_service(self.name):
            while not leave.is_set():
                try:
                    self._turn(worker)
                except BaseException as error:  # told by whoever looks at it
                    self.error = self.error or error
                    return

    def stop(self) -> None:
        """Let all end their turns, and wait for that, though not for ever."""
        self.resize(0)
        deadline = time.monotonic() + STOPPING
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        registry.forget(self)
