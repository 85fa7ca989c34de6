"""Run a function of the notebook as a program of its own, which can be killed.

def worker(database):
    import sqlite3
    ...

program = run_program(worker, database="ledger.db")
program.kill()          # as kill -9 does
program.wait(5), program.returncode, program.log
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from types import FunctionType

from helpers import registry
from helpers.broker import inherited_settings
from helpers.processes import GuardedProcess
from helpers.sources import source_of


def run_program(
    function: Callable, *, name: str | None = None, **arguments: object
) -> Program:
    """Call a function in a Python process of its own, which ends with this kernel.

    The process shares no memory with this one. It gets the function's source, and what that uses
    of the notebook: other functions, classes, modules, and constants such as numbers and texts. Inside it,
    ``start_broker()`` is the kernel's broker.

    name: what it is called; by default as the function. A program of that name is replaced.
    arguments: whatever JSON can hold.

    Raises TypeError or ValueError, saying which, for what cannot be taken along.
    """
    if not isinstance(function, FunctionType):
        raise TypeError(f"run_program takes a function of yours, not {function!r}")
    try:
        given = json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"the arguments of {function.__name__}() must be numbers, texts, lists or dicts: {error}"
        ) from None
    inspect.signature(function).bind(**arguments)  # or a TypeError that says what lacks
    call = f"import json, sys\n{function.__name__}(**json.loads(sys.argv[1]))"
    code = f"{source_of(function)}\n{call}"
    name = name or function.__name__
    if old := registry.find(Program, name):
        old.stop()
    return Program(name, code, given)


class Program:
    """A running program. ``returncode`` is None while it runs, and -9 once it was killed."""

    def __init__(self, name: str, code: str, arguments: str):
        self.name, self._last_log = name, ""
        command = [sys.executable, "-u", "-c", code, arguments]
        self._process = GuardedProcess(
            lambda folder, fd: command,
            env=inherited_settings(),
        )
        registry.register(self)

    def __repr__(self) -> str:
        if self.running:
            return f"{self.name}: running in a process of its own"
        return f"{self.name}: ended"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.running

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    @property
    def log(self) -> str:
        """What it printed, and its traceback if it failed."""
        return self._process.log or self._last_log

    def wait(self, seconds: float) -> bool:
        """Wait for its end; True when it came."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """End it with SIGKILL, as ``kill -9`` does: it gets no chance to tidy up."""
        self._process.kill()

    def stop(self) -> None:
        """End it, and keep its log."""
        self._last_log = self.log
        self._process.stop()
        registry.forget(self)
