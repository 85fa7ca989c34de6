"""Removes a kernel's keys from a server that is not its own: ``python -m helpers.sweeper FD``.

It sleeps until the guard ends it, which happens at the kernel's end, and sweeps then.
"""

import os
import signal
import socket
import sys

from helpers.broker import PREFIX_SETTING, URL_SETTING, connect
from helpers.processes import Channel


def main(fd: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    Channel(socket.socket(fileno=fd)).send({"ready": True})
    signal.sigwait([signal.SIGTERM])
    with connect(os.environ[URL_SETTING]) as client:
        if keys := list(
            client.scan_iter(match=os.environ[PREFIX_SETTING] + "*", count=1000)
        ):
            client.unlink(*keys)


if __name__ == "__main__":
    main(int(sys.argv[1]))
