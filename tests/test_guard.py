"""A guarded process ends with whoever started it, and its folder goes with it."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import running

from helpers.processes import GuardedProcess

SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('deaf', flush=True); time.sleep(60)"
)
PARENT = (
    "import subprocess, sys, time;"
    "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid,"
    " flush=True);"
    "time.sleep(60)"
)
ECHO = (
    "import socket, sys;"
    "channel = socket.socket(fileno=int(sys.argv[1]));"
    "lines = channel.makefile('rb');"
    "[channel.sendall(line) for line in lines]"
)


@pytest.fixture(autouse=True)
def tidy(tmp_path):  # whose parent is made before the temporary folder is ours
    with running.nothing_left():
        yield


@pytest.fixture
def guarded():
    """Start Python code in a guarded process."""
    started = []

    def start(code):
        command = [sys.executable, "-c", code]
        started.append(GuardedProcess(lambda folder, fd: [*command, str(fd)]))
        return started[-1]

    yield start
    for process in started:
        process.stop()


def the_guard_of(process):
    return psutil.Process(process.pid).parent()


def test_the_folder_is_private_and_goes_at_the_end(guarded):
    process = guarded(SLEEP)
    assert stat.S_IMODE(process.folder.stat().st_mode) == 0o700
    process.stop()
    assert not process.folder.exists()
    assert not psutil.pid_exists(process.pid)


def test_stopping_twice_is_no_error(guarded):
    process = guarded(SLEEP)
    process.stop()
    process.stop()


def test_a_killed_program_is_seen_to_have_ended_and_its_log_can_be_read(guarded):
    process = guarded("print('last words', flush=True); " + SLEEP)
    running.wait_until(lambda: process.log == "last words\n")
    process.kill()
    assert not process.running
    assert process.returncode == -signal.SIGKILL
    assert process.log == "last words\n"
    process.kill()  # once more is no error


def test_a_program_that_ends_by_itself_tells_its_exit_code(guarded):
    process = guarded("import sys; sys.exit(3)")
    assert process.wait(10)
    assert process.returncode == 3


def test_a_program_that_ignores_sigterm_is_killed_within_three_seconds(guarded):
    process = guarded(STUBBORN)
    running.wait_until(lambda: "deaf" in process.log)
    start = time.monotonic()
    process.stop()
    assert time.monotonic() - start < 3
    assert not psutil.pid_exists(process.pid)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_the_program_has_started_ends_with_it(guarded, end):
    process = guarded(PARENT)
    running.wait_until(lambda: process.log.endswith("\n"))
    grandchild = psutil.Process(int(process.log))
    getattr(process, end)()
    running.wait_until(lambda: not running.alive(grandchild), seconds=3)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_the_end_of_the_guard_is_the_end_of_the_program(guarded, name):
    process = guarded(SLEEP)
    program = psutil.Process(process.pid)
    the_guard_of(process).send_signal(getattr(signal, name))
    running.wait_until(lambda: not process.running, seconds=5)
    running.wait_until(lambda: not running.alive(program), seconds=3)
    process.stop()
    assert not process.folder.exists()


def test_an_interrupt_reaches_neither_guard_nor_program(guarded):
    process = guarded(SLEEP)
    guard = the_guard_of(process)
    assert os.getpgid(guard.pid) != os.getpgid(0) != os.getpgid(process.pid)
    guard.send_signal(signal.SIGINT)
    os.kill(process.pid, signal.SIGINT)  # it inherits that the guard ignores it
    time.sleep(0.2)
    assert process.running
    assert running.alive(guard)


def test_a_program_that_does_not_exist_is_an_error_and_leaves_nothing():
    with pytest.raises(RuntimeError, match="could not start /no/such/program"):
        GuardedProcess(lambda folder, fd: ["/no/such/program"])
    assert running.folders() == []
    assert running.family() == []


def test_a_command_that_cannot_be_made_leaves_nothing():
    def command(folder, fd):
        raise LookupError("no binary for this system")

    with pytest.raises(LookupError, match="no binary"):
        GuardedProcess(command)
    assert running.folders() == []


def test_started_from_a_thread_that_ends_it_lives_on(guarded):
    processes = []
    thread = threading.Thread(target=lambda: processes.append(guarded(SLEEP)))
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert processes[0].running
    assert running.alive(psutil.Process(processes[0].pid))


def test_starting_and_stopping_leaks_no_file_descriptor(guarded):
    guarded(SLEEP).stop()
    before = psutil.Process().num_fds()
    for _ in range(20):
        guarded(SLEEP).stop()
    running.wait_until(lambda: psutil.Process().num_fds() <= before, seconds=2)


def test_the_channel_carries_messages_both_ways_whatever_their_size(guarded):
    channel = guarded(ECHO).channel
    messages = [{"text": "Grüße\n"}, {"text": "x" * 1_000_000}, {"n": [1, 2.5, None]}]

    def send():
        for message in messages:
            channel.send(message)

    threading.Thread(target=send).start()  # as the pipe may be full before it is read
    assert [channel.receive() for _ in messages] == messages


def test_the_end_of_the_program_is_the_end_of_the_channel(guarded):
    process = guarded(ECHO)
    process.kill()
    assert process.channel.receive() is None
    process.channel.send({"anybody": "there"})  # no error: the reader is gone


@pytest.mark.parametrize("sent", [b"half a li", b"no JSON\n", b"\xff\n"])
def test_a_broken_message_reads_as_the_end(guarded, sent):
    process = guarded(
        "import socket, sys; channel = socket.socket(fileno=int(sys.argv[1]));"
        f"channel.sendall({sent!r}); channel.close()"
    )
    assert process.channel.receive() is None


def test_a_killed_starter_takes_everything_with_it():
    code = (
        "import sys, time; from helpers.processes import GuardedProcess\n"
        "p = GuardedProcess(lambda folder, fd: [sys.executable, '-c', sys.argv[1]])\n"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code, STUBBORN],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    with starter:
        program = psutil.Process(int(starter.stdout.readline()))
        guard = program.parent()
        assert running.folders()
        starter.kill()
    running.wait_until(lambda: not running.alive(program), seconds=3)
    running.wait_until(lambda: not running.alive(guard), seconds=3)
    running.wait_until(lambda: running.folders() == [], seconds=3)


def test_a_starter_killed_before_there_is_a_guard_leaves_nothing():
    code = (
        "import os; from helpers.processes import GuardedProcess;"
        "GuardedProcess(lambda folder, fd: os.kill(os.getpid(), 9))"
    )
    starter = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1]
    )
    assert starter.returncode == -signal.SIGKILL
    assert running.folders() == []
