"""Programs that end with the kernel that started them."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")


class Channel:
    """JSON messages, one a line, both ways between a kernel and a process of its own."""

    def __init__(self, sock: socket.socket):
        self._socket = sock
        self._lines = sock.makefile("r", encoding="utf-8")
        self._lock = threading.Lock()

    def send(self, message: dict) -> None:
        """Send one message; a reader that is gone is not an error here."""
        line = json.dumps(message).encode() + b"\n"
        try:
            with self._lock:
                self._socket.sendall(line)
        except OSError:
            pass

    def receive(self) -> dict | None:
        """The next message; None when the other side is gone."""
        try:
            line = self._lines.readline()
            return json.loads(line) if line.endswith("\n") else None
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._lines.close()
        self._socket.close()


class GuardedProcess:
    """A program in a process of its own, with a private folder; both are gone when the kernel is.

    ``command`` gets the folder (mode 0700) and the channel's file descriptor and returns the program
    and its arguments; the folder is not there yet. An interrupt of the kernel does not reach the program.
    """

    def __init__(
        self,
        command: Callable[[Path, int], list[str]],
        env: dict[str, str] | None = None,
    ):
        self.folder = Path(tempfile.gettempdir(), f"course-{secrets.token_hex(4)}")
        # What this kernel can import, a Python program of it can.
        path = os.pathsep.join(each for each in sys.path if each)
        ours, theirs = socket.socketpair()
        self.channel = Channel(ours)
        self.returncode: int | None = None
        try:
            self._guard = subprocess.Popen(
                [
                    sys.executable,
                    "-I",
                    "-S",
                    str(GUARD),
                    str(self.folder),
                    str(theirs.fileno()),
                    *command(self.folder, theirs.fileno()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path, **(env or {})},
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
                text=True,
            )
        except BaseException:
            self.channel.close()
            raise
        finally:
            theirs.close()
        try:
            self.pid = int(self._guard.stdout.readline() or 0)
            if not self.pid:
                raise RuntimeError(
                    f"could not start {' '.join(command(self.folder, 0))}"
                )
        except BaseException:
            self.stop()
            raise
        self._ended = threading.Event()
        threading.Thread(target=self._await_end, daemon=True).start()

    def _await_end(self) -> None:
        with self._guard.stdout as lines:
            line = lines.readline()
        if not line:  # the guard itself was killed: what it guarded ends with it
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.returncode = int(line or -signal.SIGKILL)
        self._ended.set()

    @property
    def running(self) -> bool:
        return self.returncode is None

    @property
    def log(self) -> str:
        """What the program wrote to its standard output and standard error."""
        try:
            return (self.folder / "log").read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def wait(self, seconds: float) -> bool:
        """Wait for the program's end; True when it came."""
        return self._ended.wait(seconds)

    def kill(self) -> None:
        """SIGKILL, as ``kill -9`` does: the program gets no chance to tidy up."""
        if self.running:
            with suppress(ProcessLookupError):  # it has ended by itself this moment
                os.kill(self.pid, signal.SIGKILL)
            self.wait(5)

    def stop(self) -> None:
        """End the program and remove its folder."""
        self._guard.stdin.close()
        self.channel.close()
        self._guard.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)  # in case the guard was killed
