"""serve(): start a service in this kernel or in a process of its own."""

import io
import os
import queue
import sys
import threading
from contextlib import contextmanager

from helpers import registry, tracing
from helpers.faults import Faults, Plan
from helpers.processes import GuardedProcess
from helpers.servers import HOST, server_for

START_SECONDS = 30.0  # Binder's single shared core needs a while to import Flask

_changing = (
    threading.RLock()
)  # held while a service starts or stops: cells and widgets are two threads


def serve(
    app, *, threads: int = 4, name: str | None = None, port: int = 0
) -> "Service":
    """Start a service and return once it answers.

    app: a Flask (or other WSGI) app or a gRPC servicer, which then runs in this kernel; or an import
        string such as ``"helpers.shop.payments:app"`` or
        ``"helpers.shop.payments:create_app(work_seconds=0.4)"``, which gets a process of its own.
    threads: how many requests it works on at a time; the others wait their turn.
    name: the service's name; by default the app's own. A service of that name that is already
        running is replaced, and the new one takes over its port.
    port: 0 for any free one.

    Raises TypeError or ValueError when this cannot be served, RuntimeError with the reason when the
    service does not start; then nothing is left behind.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads={threads!r}: give a whole number of at least 1")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise ValueError(
            f"port={port!r}: give a number from 1 to 65535, or 0 for any free one"
        )
    if name is not None and not (isinstance(name, str) and name):
        raise ValueError(f'name={name!r}: give a text, such as "payments"')
    home = (
        _Process(app, name, threads)
        if isinstance(app, str)
        else _Kernel(app, name, threads)
    )
    service = Service(home, threads)
    try:
        with _changing:
            old = registry.find(Service, service.name)
            if old is not None:
                port = port or old.port
                old.stop()
            service._start(port)
    except BaseException:
        home.stop()
        raise
    return service


class Service:
    """A running service.

    Attributes: ``name``; ``url`` (``http://127.0.0.1:PORT``) and ``address`` (``127.0.0.1:PORT``, which
    gRPC channels take); ``pid`` of the process it runs in, None once that is stopped; ``running``;
    ``log``, its error log as text.
    """

    def __init__(self, home: "_Kernel | _Process", threads: int):
        self._home = home
        self.name = home.name
        self.threads = threads
        self.port = 0

    def __repr__(self) -> str:
        if not self.running:
            return f"{self.name}: stopped"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.name}: running in {self._home.place}, {threads}"

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def pid(self) -> int | None:
        return self._home.pid

    @property
    def running(self) -> bool:
        return self._home.running

    @property
    def log(self) -> str:
        return self._home.log

    def _start(self, port: int) -> None:
        try:
            self.port = self._home.start(port)
        except OSError as error:
            raise RuntimeError(
                f"{self.name} cannot listen on port {port}: {error}"
            ) from error
        registry.register(self)

    def start(self) -> None:
        """Start again after stop() or kill(): on the same port, without faults. When it runs, do nothing."""
        with _changing:
            if not self.running:
                self._start(self.port)

    def stop(self) -> None:
        """Stop listening. Connections are refused from now on."""
        with _changing:
            self._home.stop()
            registry.forget(self)

    def kill(self) -> None:
        """End the service's process with SIGKILL, in the middle of whatever it does."""
        if not isinstance(self._home, _Process):
            raise RuntimeError(
                f"{self.name} runs in this kernel, and killing it would end the kernel. "
                "Use stop(), or serve it from an import string, in a process of its own."
            )
        self._home.kill()

    def inject(self, **faults: float) -> None:
        """Give the service faults, in place of those it had. helpers.faults.Plan lists them."""
        plan = Plan.of(**faults)
        if not self.running:
            raise RuntimeError(
                f"{self.name} is stopped: call its start() before giving it faults"
            )
        self._home.inject(plan)

    def heal(self) -> None:
        """Take all faults away."""
        self.inject()


class _Log(io.TextIOBase):
    """The last lines a service in the kernel has logged."""

    def __init__(self) -> None:
        self._text = ""

    def write(self, text: str) -> int:
        self._text = (self._text + text)[-20_000:]
        return len(text)

    def read(self) -> str:
        return self._text


class _Kernel:
    """A service on threads of this kernel."""

    place = "this kernel"

    def __init__(self, app, name: str | None, threads: int):
        self._faults, self._log = Faults(), _Log()
        self._server = server_for(app, name, threads, self._faults, self._log)
        self.name = self._server.name
        self.pid = os.getpid()
        self.running = False

    @property
    def log(self) -> str:
        return self._log.read()

    def start(self, port: int) -> int:
        self._faults.set(Plan())
        port = self._server.start(port)
        self.running = True
        return port

    def stop(self) -> None:
        if self.running:
            self.running = False
            self._server.stop()

    def inject(self, plan: Plan) -> None:
        self._faults.set(plan)


class _Process:
    """A service in a process of its own, started from an import string."""

    place = "a process of its own"

    def __init__(self, target: str, name: str | None, threads: int):
        self._command = [target, name or "", str(threads)]
        self._process: GuardedProcess | None = None
        self._last_log = ""
        self._load()

    def _load(self) -> None:
        """Start the process, and let it import the app, which tells us the service's name."""
        from helpers.broker import inherited_settings

        program = [
            sys.executable,
            "-u",
            "-m",
            "helpers.service_process",
        ]  # -u: it logs without delay
        self._process = GuardedProcess(
            lambda folder, fd: [*program, str(fd), *self._command],
            env=inherited_settings(),
        )
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        reader = threading.Thread(
            target=_read, args=(self._process.channel, self._answers), daemon=True
        )
        reader.start()
        with self._nothing_left():
            self.name = self._answer("loaded")

    def _answer(self, key: str):
        """The process's answer to what it was last asked. Raises RuntimeError with the reason it gives."""
        try:
            answer = self._answers.get(timeout=START_SECONDS)
        except queue.Empty:
            answer = {
                "failed": f"it did not answer within {START_SECONDS:g} s.\n{self.log}".rstrip()
            }
        if key in answer:
            return answer[key]
        if not answer:
            self._process.wait(0.5)  # the log is whole when the process has ended
        reason = answer.get("failed") or f"its process ended.\n{self.log}".rstrip()
        raise RuntimeError(f"cannot serve {self._command[0]!r}: {reason}")

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def log(self) -> str:
        return self._process.log if self._process else self._last_log

    def start(self, port: int) -> int:
        if not self.running:
            self.stop()
            self._load()
        with self._nothing_left():
            self._process.channel.send({"listen": port})
            return self._answer("listening")

    @contextmanager
    def _nothing_left(self):
        """When the start fails or is interrupted, end the process."""
        try:
            yield
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self._process:
            process, self._process = self._process, None
            self._last_log = process.log
            process.stop()

    def kill(self) -> None:
        if self._process:
            self._process.kill()

    def inject(self, plan: Plan) -> None:
        self._process.channel.send({"faults": vars(plan)})
        self._answer("injected")


def _read(channel, answers: queue.SimpleQueue) -> None:
    while (message := channel.receive()) is not None:
        if "span" in message:
            tracing.receive(message["span"])
        else:
            answers.put(message)
    answers.put({})
