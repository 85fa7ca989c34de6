"""check_environment(): is everything here that the course needs, and if not, how to mend it."""

import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "services-course"
OLDEST_PYTHON = (3, 11)
LEAST_MEMORY_GB = 0.4  # what a free Binder grants for certain
REINSTALL = "run 'make lab' again, or 'pip install -r requirements.lock'"


class Trouble(Exception):
    """What is wrong, and in ``mend`` what to do about it."""

    def __init__(self, what: str, mend: str):
        super().__init__(what)
        self.mend = mend


def check_environment() -> None:
    """Try each thing the course needs and print a line for it: ``[ OK ]``, or ``[FAIL]`` with the mend."""
    troubles = 0
    for name, check in [
        ("Python", _python),
        *_package_checks(),
        ("a service answers", _service),
        ("gRPC answers", _grpc),
        ("the broker answers", _broker),
        ("cores and memory", _machine),
    ]:
        try:
            print(f"[ OK ] {name}: {check()}")
        except Exception as error:
            troubles += 1
            mend = getattr(error, "mend", REINSTALL)
            print(f"[FAIL] {name}: {error}\n       To mend it, {mend}.")
    print()
    print(
        "All is ready."
        if not troubles
        else f"Mend what says [FAIL] ({troubles}), then run this cell again."
    )


def _python() -> str:
    if sys.version_info < OLDEST_PYTHON:
        raise Trouble(
            "this is Python {}.{}, and the course needs 3.11".format(*sys.version_info),
            "install a newer Python and run 'make lab PYTHON=python3.12'",
        )
    return "Python {}.{}.{}".format(*sys.version_info)


def _package_checks() -> list[tuple[str, Callable[[], str]]]:
    """One check for each package that the project names in its list of dependencies."""
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:

        def not_installed() -> str:
            raise Trouble(
                "the course itself is not installed",
                "run 'pip install --no-deps -e .' in its folder",
            )

        return [("packages", not_installed)]
    pins = [
        requirement.split("==")
        for requirement in requirements
        if ";" not in requirement
    ]
    return [
        (name, lambda name=name, wanted=wanted: _package(name, wanted))
        for name, wanted in pins
    ]


def _package(name: str, wanted: str) -> str:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        raise Trouble("not installed", REINSTALL) from None
    if found != wanted:
        raise Trouble(
            f"version {found} is installed, the course was tried with {wanted}",
            REINSTALL,
        )
    return found


def _service() -> str:
    import requests
    from flask import Flask

    from helpers.services import serve

    app = Flask("checkup")
    app.get("/")(lambda: {"status": "ok"})
    service = serve(app)
    try:
        requests.get(service.url, timeout=5).raise_for_status()
    finally:
        service.stop()
    return "200 OK"


def _grpc() -> str:
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    echo = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("Checkup", {"Echo": echo})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            answer = channel.unary_unary("/Checkup/Echo")(
                b"hello", timeout=5, wait_for_ready=True
            )
    finally:
        server.stop(grace=None).wait()
    if answer != b"hello":
        raise Trouble(f"it answered {answer!r}", REINSTALL)
    return "OK"


def _broker() -> str:
    from helpers import registry
    from helpers.broker import Broker, start_broker

    was_running = registry.find(Broker, Broker.name)
    broker = start_broker()
    try:
        broker.client.xadd(broker.key("checkup"), {"hello": "there"})
        broker.client.delete(broker.key("checkup"))
    finally:
        if not was_running:
            broker.stop()
    return "it keeps messages"


def _machine() -> str:
    cores, memory = _cores(), _memory_gb()
    if memory < LEAST_MEMORY_GB:
        raise Trouble(
            f"only {memory:.1f} GB of memory",
            "close other notebooks, kernels and programs",
        )
    return f"{cores:g} cores, {memory:.1f} GB"


def _cores() -> float:
    """Cores this process may use: those it may run on, less what a container's quota takes away."""
    try:
        cores = float(len(os.sched_getaffinity(0)))
    except AttributeError:  # macOS
        cores = float(os.cpu_count() or 1)
    quota, _, period = _cgroup("cpu.max").partition(" ")
    return min(cores, round(int(quota) / int(period), 1)) if quota.isdigit() else cores


def _memory_gb() -> float:
    """Memory in 10⁹ bytes: the machine's, or a container's limit when that is lower."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _cgroup("memory.max")
    return min(memory, int(limit) if limit.isdigit() else memory) / 1e9


def _cgroup(name: str) -> str:
    try:
        return Path("/sys/fs/cgroup", name).read_text().strip()
    except OSError:
        return ""
