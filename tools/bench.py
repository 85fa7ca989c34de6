"""Measure the helpers and the lessons against what the course promises, in one table.

    python -m tools.bench

Each figure is measured in this run. The exit code is 1 when one of them is out of bounds.
"""

import http.client
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import waitress
from flask import Flask

from helpers import open_loop, run_workers, serve, start_broker, stop_all
from helpers.load import session
from tools import notebooks

ROUNDS = 7


@dataclass
class Figure:
    """One line of the table: what was measured, and how much it may be."""

    what: str
    got: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        return (
            self.got <= self.at_most
            if self.at_most is not None
            else self.got >= self.at_least
        )

    def __str__(self) -> str:
        bound = (
            f"at most {self.at_most:g}"
            if self.at_most is not None
            else f"at least {self.at_least:g}"
        )
        verdict = "ok" if self.holds else "OUT OF BOUNDS"
        return f"{self.what:<58} {self.got:>8.3g} {self.unit:<3} {bound:<14} {verdict}"


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def small_app() -> Flask:
    app = Flask("payments")
    app.get("/")(lambda: {"status": "paid", "amount_cents": 5000})
    return app


def in_fresh_python(code: str) -> float:
    """What the code prints as its last word, in a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def starts() -> Iterator[Figure]:
    timed = "import time; start = time.perf_counter(); import helpers; print(time.perf_counter() - start)"
    in_fresh_python(timed)  # writes the .pyc files
    yield Figure("import helpers", in_fresh_python(timed), "s", 1.0)
    apps = [small_app() for _ in range(ROUNDS)]
    serve(small_app())
    ready = statistics.median(seconds(lambda app=app: serve(app)) for app in apps)
    yield Figure("service in the kernel ready (median)", 1000 * ready, "ms", 15)
    ready = statistics.median(
        seconds(lambda: serve("helpers.shop.payments:app")) for _ in range(3)
    )
    yield Figure("service in a process ready (median)", ready, "s", 1.0)
    broker = (
        "import time, redis, helpers; start = time.perf_counter(); "
        "helpers.start_broker().client.ping(); print(time.perf_counter() - start)"
    )
    ready = statistics.median(in_fresh_python(broker) for _ in range(3))
    yield Figure("broker ready, after the imports (median)", 1000 * ready, "ms", 150)


def keep_alive_seconds(port: int, requests_sent: int = 1500) -> float:
    """Seconds for requests one after another on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def run() -> None:
        for _ in range(requests_sent):
            connection.request("GET", "/")
            connection.getresponse().read()

    run_seconds = seconds(run)
    connection.close()
    return run_seconds


def throughput() -> Iterator[Figure]:
    bare = waitress.create_server(small_app(), host="127.0.0.1", port=0, threads=4)
    threading.Thread(target=bare.run, daemon=True).start()
    service = serve(small_app())
    for port in (bare.effective_port, service.port):  # warm up
        keep_alive_seconds(port, 300)
    # Side by side, so that a noisy moment falls on both.
    ratios = [
        keep_alive_seconds(bare.effective_port) / keep_alive_seconds(service.port)
        for _ in range(ROUNDS)
    ]
    yield Figure(
        "requests/s through serve() against waitress alone (median)",
        statistics.median(ratios),
        "",
        at_least=0.95,
    )

    late = statistics.median(schedule_error(service.url) for _ in range(3))
    yield Figure(
        "open loop at 500/s: schedule error, p99 (median)", 1000 * late, "ms", 5
    )


def schedule_error(url: str) -> float:
    """Seconds by which the 99th percentile of requests left late, at 500 a second for 2 s."""
    with session() as client:
        run = open_loop(lambda: client.get(url), rate=500, seconds=2, warmup=50)
    return sorted(run.schedule_error)[int(0.99 * len(run))]


def stream(messages: int = 4000) -> Iterator[Figure]:
    broker = start_broker()
    client, batch = broker.client, 10

    def fresh(name: str) -> str:
        key = broker.key(name)
        client.delete(key)
        client.xgroup_create(key, "workers", id="0", mkstream=True)
        return key

    def publish(key: str) -> None:
        for number in range(messages):
            client.xadd(key, {"order": number})

    def bare() -> float:
        key, handled, start = fresh("bare"), 0, time.perf_counter()
        publish(key)
        while handled < messages:
            for _, entries in client.xreadgroup(
                "workers", "one", {key: ">"}, count=batch, block=100
            ):
                for entry, _ in entries:
                    client.xack(key, "workers", entry)
                    handled += 1
        return time.perf_counter() - start

    def course() -> float:
        key, done, start = fresh("course"), threading.Event(), time.perf_counter()
        publish(key)
        workers = run_workers(
            lambda fields: done.set() if fields["order"] == str(messages - 1) else None,
            key,
            "workers",
            batch=batch,
        )
        done.wait()
        took = time.perf_counter() - start
        workers.stop()
        return took

    ratios = [bare() / course() for _ in range(5)]
    yield Figure(
        "stream: publish, read, ack by run_workers() against redis-py",
        statistics.median(ratios),
        "",
        at_least=0.8,
    )


def lessons() -> Iterator[Figure]:
    for path in notebooks.course_notebooks():
        took, peak = run_watched(path)
        name = path.relative_to(notebooks.ROOT).as_posix()
        yield Figure(f"{name}: seconds", took, "s", 30)
        yield Figure(
            f"{name}: peak memory of kernel and services", peak / 1e6, "MB", 400
        )
    command = [sys.executable, "-m", "pytest", "--nbval", "-q"]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=notebooks.ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stdout)
    yield Figure("pytest --nbval, everything", time.perf_counter() - start, "s", 240)


def run_watched(path: Path) -> tuple[float, int]:
    """Seconds of a notebook, and the most bytes its kernel and all below it held at one time (PSS)."""
    notebook = notebooks.read(path)
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.1):
            peak = max(
                peak, sum(map(memory, psutil.Process().children(recursive=True)))
            )

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        took = seconds(lambda: notebooks.execute(notebook, path.parent))
    finally:
        done.set()
        watcher.join()
    return took, peak


def memory(process: psutil.Process) -> int:
    """Bytes a process holds, shared pages divided among those who share them; macOS does not tell those."""
    try:
        return (
            getattr(process.memory_full_info(), "pss", None)
            or process.memory_info().rss
        )
    except psutil.Error:
        return 0


def printed(*groups: Callable[[], Iterator[Figure]]) -> list[Figure]:
    """Measure the groups in turn, and print each figure as soon as it is known."""
    figures = []
    for group in groups:
        for figure in group():
            figures.append(figure)
            print(figure, flush=True)
    return figures


def main() -> int:
    from tools import bench_explore, bench_live  # which take Figure from here

    figures = printed(starts, throughput, stream)
    stop_all()
    figures += printed(bench_live.figures, bench_explore.figures, lessons)
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
