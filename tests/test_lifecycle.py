"""Whatever a kernel started ends with it, however it ends; an interrupt ends nothing."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest
import requests
import running
from jupyter_client.manager import KernelManager
from nbformat.v4 import new_code_cell, new_notebook

from helpers.broker import connect
from tools import notebooks

ROOT, TESTS = Path(__file__).parents[1], Path(__file__).parent

PREPARE = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(TESTS)!r}]"
START = """
import counter_grpc, counter_http
from helpers.broker import start_broker
from helpers.services import serve
from helpers.streams import run_workers

broker = start_broker()
broker.client.xgroup_create("orders", "payments", id="0", mkstream=True)
workers = run_workers(lambda message: None, "orders", "payments")
inside = serve(counter_http.create_app("inside"))
stub = serve(counter_grpc.Counter(), name="stub")
outside = serve("counter_http:app", name="outside")
"""
PORTS = """
import json
print(json.dumps([service.port for service in (inside, stub, outside)]))
"""


class Kernel:
    """A real kernel with a temporary folder, Jupyter's and IPython's folders of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.manager = KernelManager(kernel_name="python3")
        self.manager.connection_file = str(folder / "kernel.json")
        self.manager.start_kernel(env=environment(folder), cwd=str(folder))
        self._connect()

    def _connect(self):
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        self.run(PREPARE)

    @property
    def pid(self):
        return self.manager.provisioner.pid

    def run(self, code):
        """Run a cell; returns what it printed. Fails when the cell fails."""
        reply, printed = self.try_to_run(code)
        assert reply["status"] == "ok", "\n".join(reply["traceback"])
        return printed

    def try_to_run(self, code):
        printed = []

        def collect(message):
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = self.client.execute_interactive(
            textwrap.dedent(code), timeout=60, output_hook=collect, allow_stdin=False
        )
        return reply["content"], "".join(printed)

    def restart(self):
        self.client.stop_channels()
        self.manager.restart_kernel(now=False)
        self._connect()

    def shutdown(self, now=False):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=now)

    def kill(self, number):
        psutil.Process(self.pid).send_signal(number)
        running.wait_until(lambda: not self.manager.is_alive())


def environment(folder):
    own = {"TMPDIR": folder, "JUPYTER_RUNTIME_DIR": folder, "IPYTHONDIR": folder}
    kept = {name: os.environ[name] for name in os.environ if name != "REDIS_URL"}
    return kept | {name: str(path) for name, path in own.items()}


def started_in(folder):
    """All processes with this temporary folder: the kernel and whatever it started."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = process.environ().get("TMPDIR") == str(folder)
            # The server of the broker writes its title over its environment.
            ours = ours or str(folder) in " ".join(process.cmdline())
            if ours and running.alive(process):
                found.append(process)
    return found


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def nothing_is_left(folder, ports=(), except_kernel=None):
    """Wait until there is no process, no folder, no port; 3 s at most."""

    def left():
        processes = [each for each in started_in(folder) if each.pid != except_kernel]
        held = [port for port in ports if listens(port)]
        return processes + list(folder.glob("course-*")) + held

    deadline = time.monotonic() + 3
    while rest := left():
        assert time.monotonic() < deadline, f"left after 3 s: {rest}"
        time.sleep(0.05)


@pytest.fixture
def folder(tmp_path):
    with running.temporary_folder() as folder:
        yield folder.resolve()


@pytest.fixture
def kernel(folder):
    kernel = Kernel(folder)
    yield kernel
    if kernel.manager.has_kernel:
        kernel.shutdown(now=True)
    nothing_is_left(folder)


@pytest.fixture
def ports(kernel):
    """The ports of what runs in the kernel, after everything was started there."""
    kernel.run(START)
    ports = json.loads(kernel.run(PORTS))
    # the kernel, the broker and its guard, the service and its guard
    assert len(started_in(kernel.folder)) == 5
    assert len(list(kernel.folder.glob("course-*"))) == 2
    assert all(listens(port) for port in ports)
    return ports


def test_an_interrupt_stops_the_cell_and_nothing_else(kernel, ports):
    before = started_in(kernel.folder)
    for waiting in (
        "import time; time.sleep(60)",
        "import requests; requests.post(outside.url + '/work?seconds=60')",
        "broker.client.xread({'nothing': '$'}, block=9000)",
    ):
        interrupt = threading.Timer(0.5, kernel.manager.interrupt_kernel)
        interrupt.start()
        start = time.monotonic()
        reply, _ = kernel.try_to_run(waiting)
        assert reply["ename"] == "KeyboardInterrupt"
        assert time.monotonic() - start < 5
    assert started_in(kernel.folder) == before
    inside, _, outside = ports
    for port in (inside, outside):
        answer = requests.post(f"http://127.0.0.1:{port}/work", timeout=5)
        assert answer.status_code == 201
    printed = kernel.run("""
        import grpc, time
        with grpc.insecure_channel(stub.address) as channel:
            counter = counter_grpc.services.CounterStub(channel)
            print(counter.Work(counter_grpc.messages.Request(), timeout=5).done)
        broker.client.xadd("orders", {"number": 1})
        deadline = time.monotonic() + 5
        while workers.handled < 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        print(workers.handled, workers.log == "", outside.running)
    """)
    assert printed == "1\n1 True True\n"


ENDS = {
    "shutdown": lambda kernel: kernel.shutdown(),
    "the end of nbval": lambda kernel: kernel.shutdown(now=True),
    "kill -9": lambda kernel: kernel.kill(signal.SIGKILL),
    "kill": lambda kernel: kernel.kill(signal.SIGTERM),
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_outlives_the_kernel(kernel, ports, end):
    ENDS[end](kernel)
    nothing_is_left(kernel.folder, ports)


def test_a_shutdown_does_not_wait_for_calls_in_work(kernel, ports):
    kernel.run("""
        import grpc, requests, threading
        counter = counter_grpc.services.CounterStub(grpc.insecure_channel(stub.address))
        call = counter.Work.future(counter_grpc.messages.Request(seconds=60))
        slow = lambda: requests.post(inside.url + "/work?seconds=60")
        threading.Thread(target=slow, daemon=True).start()
    """)
    start = time.monotonic()
    kernel.shutdown()
    assert time.monotonic() - start < 5
    nothing_is_left(kernel.folder, ports)


def test_a_restart_ends_everything_and_starts_afresh(kernel, ports):
    old = started_in(kernel.folder)
    kernel.restart()
    nothing_is_left(kernel.folder, ports, except_kernel=kernel.pid)
    assert not [each for each in old if running.alive(each)]
    kernel.run(START)
    assert all(listens(port) for port in json.loads(kernel.run(PORTS)))


def test_what_a_short_lived_thread_started_lives_on(kernel):
    kernel.run(f"""
        import threading
        start = {START!r}
        thread = threading.Thread(target=exec, args=(start, globals()))
        thread.start()
        thread.join()
    """)
    time.sleep(0.3)
    assert all(listens(port) for port in json.loads(kernel.run(PORTS)))
    printed = kernel.run("print(outside.running, broker.client.ping())")
    assert printed == "True True\n"


def test_a_cell_that_fails_half_way_leaves_what_it_had_started_in_order(kernel):
    reply, _ = kernel.try_to_run("""
        import counter_http
        from helpers.services import serve
        inside = serve(counter_http.create_app("inside"))
        outside = serve("counter_http:app", name="outside")
        serve("no_such_module:app")
    """)
    assert reply["ename"] == "RuntimeError"
    assert "No module named 'no_such_module'" in reply["evalue"]
    assert len(started_in(kernel.folder)) == 3
    printed = kernel.run("""
        from helpers.registry import stop_all
        print(inside, outside, sep="\\n")
        stop_all()
    """)
    assert printed.splitlines() == [
        "inside: running in this kernel, 4 threads",
        "outside: running in a process of its own, 4 threads",
        "Stopped: inside, outside.",
    ]
    nothing_is_left(kernel.folder, except_kernel=kernel.pid)


def test_an_interrupt_while_a_service_starts_leaves_nothing_of_it(kernel):
    kernel.run("from helpers.services import serve; from helpers.broker import *")
    for delay in (0.02, 0.1, 0.2):
        threading.Timer(delay, kernel.manager.interrupt_kernel).start()
        reply, _ = kernel.try_to_run("start_broker(); serve('counter_grpc:servicer')")
        if reply["status"] == "error":
            assert reply["ename"] == "KeyboardInterrupt"
        kernel.run("from helpers.registry import stop_all; stop_all()")
        nothing_is_left(kernel.folder, except_kernel=kernel.pid)


@pytest.mark.parametrize("delay", [0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3, 0.4])
def test_killed_while_it_starts_services_it_leaves_nothing(folder, delay):
    """The kernel is a Python process like this one, and much slower to start."""
    code = f"{PREPARE}\nimport helpers.streams\nprint(flush=True)\n{START}\ninput()"
    starter = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with starter:
        starter.stdout.readline()
        time.sleep(delay)
        starter.kill()
    nothing_is_left(folder)


LESSON_04 = notebooks.read(ROOT / "notebooks/04-asynchronous-messages.ipynb")
LESSON_04_CELLS = [cell.source for cell in notebooks.code_cells(LESSON_04)]


@pytest.mark.parametrize("share", [0.2, 0.45, 0.7, 0.95])
def test_lesson_04_killed_anywhere_leaves_nothing(kernel, share):
    killed_in = int(share * len(LESSON_04_CELLS))
    for source in LESSON_04_CELLS[:killed_in]:
        kernel.run(source)
    assert len(started_in(kernel.folder)) >= 3  # the kernel, the broker and its guard
    kernel.client.execute(LESSON_04_CELLS[killed_in])
    time.sleep(0.1)  # in the middle of that cell
    kernel.kill(signal.SIGKILL)
    nothing_is_left(kernel.folder)


def test_nothing_outlives_an_nbval_run(folder):
    facts = folder / "facts.json"
    tell = f"""
        import psutil
        family = [each.pid for each in psutil.Process().children(recursive=True)]
        ports = [service.port for service in (inside, stub, outside)]
        with open({str(facts)!r}, "w") as file:
            json.dump([family, ports], file)
    """
    cells = [PREPARE, START, "import json\n" + textwrap.dedent(tell)]
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    for cell in notebook.cells:
        cell.execution_count = 1
    nbformat.write(notebook, folder / "leaves-all-running.ipynb")
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env"]
    run = subprocess.run(
        [*command, "-p", "no:cacheprovider", "leaves-all-running.ipynb"],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 passed" in run.stdout
    family, ports = json.loads(facts.read_text())
    assert len(family) == 4
    nothing_is_left(folder, ports)


def test_a_kernels_keys_on_a_server_of_others_go_with_it(folder, redis_server):
    kernel = Kernel(folder)
    kernel.run(f"import os; os.environ['REDIS_URL'] = {redis_server!r}")
    kernel.run("""
        from helpers.broker import start_broker
        broker = start_broker()
        broker.client.xadd(broker.key("orders"), {"number": 1})
    """)
    with connect(redis_server) as client:
        client.set("orders", "precious")
        assert client.dbsize() == 2
        kernel.kill(signal.SIGKILL)
        running.wait_until(lambda: client.keys() == ["orders"], seconds=3)
    nothing_is_left(folder)
