"""A worker that dies and is started again, many times: this runs in a program of its own.

The program has imported everything and has one thread, so it forks a child for each life of
the worker: a millisecond, where a new Python takes half a second. A life is killed with SIGKILL
at a step that was chosen for it. A step is what the worker does to the world outside: a command
to the broker (before it, and after its reply), an SQL statement, a question to the bank.
"""

import faulthandler
import json
import os
import re
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback

import redis  # noqa: F401 - here, once, and not in each child when it connects

from helpers.broker import connect
from helpers.labs import card_bank
from helpers.labs.charge_ledger import PATIENCE, Ledger, step_name
from helpers.processes import Channel

STUCK = 3.0  # seconds without a step after which a life is ended
MOST_STEPS = 2000  # of a life
MOST_IDLE = 10  # reads in a row that bring nothing
LARGEST_FILE = 8_000_000  # bytes that a life may write to one, the log included

DELIVERING = ("XREADGROUP", "XAUTOCLAIM", "XCLAIM")


# -- In the child: a life -----------------------------------------------------------------


class _Steps:
    """Counts the steps of a life, tells what is delivered, and stops where it shall be killed."""

    def __init__(self, pipe: int, kill_at: int | None, kill_before: str | None):
        self._pipe, self._kill_at, self._kill_before = pipe, kill_at, kill_before
        self._count = self._idle = 0
        self._lock = threading.Lock()

    def tell(self, **message: object) -> None:
        os.write(self._pipe, json.dumps(message).encode() + b"\n")

    def step(self, where: str) -> None:
        with self._lock:
            self._count += 1
            if self._count == self._kill_at or where == self._kill_before:
                self._wait_for_the_end(kill=where)
            if self._count > MOST_STEPS:
                self._wait_for_the_end(endless=f"{MOST_STEPS} steps")
            self.tell(step=self._count)

    def delivered(self, messages: list[tuple[str, dict]]) -> None:
        self._idle = 0 if messages else self._idle + 1
        if self._idle > MOST_IDLE:
            self._wait_for_the_end(endless=f"{MOST_IDLE} reads that brought nothing")
        for message_id, fields in messages:
            self.tell(delivered=[message_id, fields.get("order")])

    def _wait_for_the_end(self, **message: object) -> None:
        self.tell(**message)
        while True:
            time.sleep(60)


def _watched_client(url: str, steps: _Steps):
    """A client of the broker, of which each command, and each pipeline, is two steps."""
    client = connect(url)
    execute, pipeline = client.execute_command, client.pipeline

    def execute_watched(*command, **options):
        name = str(command[0]).upper()
        steps.step(f"before {name}")
        reply = execute(*command, **options)
        if name in DELIVERING:
            steps.delivered(list(_messages(reply)))
        steps.step(f"after {name}")
        return reply

    def pipeline_watched(*args, **options):
        pipe = pipeline(*args, **options)
        execute_all = pipe.execute

        def execute_all_watched(*args, **options):
            name = "XACK" if "XACK" in str(pipe.command_stack) else "a pipeline"
            steps.step(f"before {name}")
            replies = execute_all(*args, **options)
            steps.step(f"after {name}")
            return replies

        pipe.execute = execute_all_watched
        return pipe

    client.execute_command = execute_watched
    client.pipeline = pipeline_watched
    return client


def _messages(reply):
    """The (id, fields) in a reply, however deep."""
    if not isinstance(reply, list | tuple):
        return
    if (
        len(reply) == 2
        and isinstance(reply[1], dict)
        and re.fullmatch(r"\d+-\d+", str(reply[0]))
    ):
        yield str(reply[0]), reply[1]
        return
    for part in reply:
        yield from _messages(part)


def _live(work_off, told: dict, life: dict, pipe: int) -> None:
    """One life, to its end. It does not return."""
    steps = _Steps(pipe, life.get("kill_at"), life.get("kill_before"))
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        faulthandler.register(signal.SIGUSR1, file=pipe, all_threads=True)
        limits = (LARGEST_FILE, LARGEST_FILE)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        bank_down = bool(life.get("bank_down"))

        def asked(order):
            nonlocal bank_down
            steps.step("before the bank is asked")
            if bank_down:
                bank_down = False
                raise ConnectionError("the bank does not answer")

        db = Ledger(told["database"]).open(PATIENCE)
        db.set_trace_callback(lambda sql: steps.step(f"before {step_name(sql)}"))
        client = _watched_client(told["url"], steps)
        with card_bank.heard_by(asked):
            work_off(db, client, told["stream"])
        steps.tell(returned=True)
    except BaseException as error:
        places = [
            (frame.lineno, frame.name)
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == "<string>"
        ]
        text = " ".join(str(error).split())[:200]
        to_do = text if isinstance(error, NotImplementedError) else ""
        steps.tell(raised=type(error).__name__, text=text, places=places, to_do=to_do)
    finally:
        os._exit(0)


# -- In the parent: birth and death -------------------------------------------------------


class _Lines:
    """The lines that come out of a pipe."""

    def __init__(self, pipe: int):
        self._pipe, self._rest = pipe, b""

    def read(self, seconds: float) -> list[bytes] | None:
        """Those that have come within so many seconds, perhaps none; None when no more will come."""
        ready, _, _ = select.select([self._pipe], [], [], max(0.0, seconds))
        if not ready:
            return []
        data = os.read(self._pipe, 65536)
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


def _live_and_die(work_off, told: dict, life: dict, fd: int) -> dict:
    """Let the worker live once; what is to be known of that life."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.close(ours)
        os.close(fd)
        _live(work_off, told, life, theirs)
    os.close(theirs)
    try:
        facts = _attend(_Lines(ours), child)
    finally:
        _kill(child)
        _, status = os.waitpid(child, 0)
        os.close(ours)
    if "end" not in facts:
        code = os.waitstatus_to_exitcode(status)
        facts |= {"end": "died", "code": code}
    return facts


def _attend(lines: _Lines, child: int) -> dict:
    """Read what the child tells, until its life is over or must be ended."""
    facts = {"steps": 0, "delivered": []}
    last = time.monotonic()
    while True:
        news = lines.read(last + STUCK - time.monotonic())
        if news is None:
            return facts
        if not news and time.monotonic() - last >= STUCK:
            return facts | {"end": "stuck", "places": _places_of(lines, child)}
        for message in map(json.loads, news):
            last = time.monotonic()
            if "step" in message:
                facts["steps"] = message["step"]
            elif "delivered" in message:
                facts["delivered"].append(message["delivered"])
            elif "kill" in message:
                return facts | {"end": "killed", "at": message["kill"]}
            elif "endless" in message:
                return facts | {"end": "endless", "at": message["endless"]}
            elif "returned" in message:
                return facts | {"end": "returned"}
            elif "raised" in message:
                return facts | {"end": "raised", **message}


def _places_of(lines: _Lines, child: int) -> list[tuple[int, str]]:
    """Where in the learner's code the child is, the innermost last."""
    try:
        os.kill(child, signal.SIGUSR1)
    except ProcessLookupError:
        return []
    text, until = b"", time.monotonic() + 2.0
    while time.monotonic() < until:
        news = lines.read(0.1)
        if news is None:
            break
        if news:  # it comes in many pieces, not each of which ends a line
            text += b"\n".join([*news, b""])
            until = min(until, time.monotonic() + 0.3)
    found = re.findall(rb'File "<string>", line (\d+) in (\w+)', text)
    return [(int(number), name.decode()) for number, name in reversed(found)]


def _kill(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass


def main(work_off, fd: int) -> None:
    """Do what the kernel asks for: its first message says where, each further one is a life."""
    os.set_inheritable(fd, False)
    channel = Channel(socket.socket(fileno=fd))
    told = channel.receive()
    while (life := channel.receive()) is not None:
        sys.stdout.flush()
        channel.send(_live_and_die(work_off, told, life, fd))
