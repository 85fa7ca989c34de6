"""Tie a program's life to the life of whoever started it.

Run as ``python -I -S guard.py FOLDER CHANNEL COMMAND…`` in a session of its own; CHANNEL is a file
descriptor to hand on to the program, or ``-``. The other end of standard input is held by the kernel
and by nobody else, so end-of-file means that the kernel is gone, however it went: shut down, restarted,
or killed. The guard then ends the program and removes its folder; it also makes the folder, so that
there is no moment at which a killed kernel could leave one behind.

It writes two lines to standard output: the program's pid, and its exit code once it has ended.
Only the standard library is used, so that the guard starts in some 20 ms and stays small.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 2.0  # between SIGTERM and SIGKILL


def end(child: subprocess.Popen) -> None:
    """Ask the program to end, make it after the grace period, and end what it has started."""
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (
        ProcessLookupError,
        PermissionError,
    ):  # nothing is left (PermissionError: macOS)
        pass


def say(line: object) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:  # the kernel is gone: nobody left to tell
        pass


def main(folder: str, command: list[str], channel: int | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit()
    )  # by way of the finally clauses below
    os.mkdir(folder, 0o700)
    try:
        with open(os.path.join(folder, "log"), "ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                pass_fds=() if channel is None else (channel,),
            )
        if channel is not None:
            os.close(channel)  # so that the program's end is the channel's end
        kernel_gone = threading.Event()

        def watch() -> None:
            os.read(0, 1)  # nothing is ever written: this returns at end-of-file
            kernel_gone.set()
            end(child)

        try:
            say(child.pid)
            threading.Thread(target=watch, daemon=True).start()
            code = child.wait()
        finally:
            end(child)
        say(code)
        kernel_gone.wait()  # the kernel may still want to read the log
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3:], int(sys.argv[2]) if sys.argv[2] != "-" else None)
