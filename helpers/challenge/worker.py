"""The workers of a checkout, in a process of their own: `python -m helpers.challenge.worker FD`.

FD is a socket to the kernel. It brings one line of JSON: which checkout, and its shop; when the
workers are ready, one line goes back. The loop is that of lesson 04: read, work, acknowledge.
"""

import os
import socket
import sys
import threading
import time
import traceback

from helpers.broker import connect, start_broker
from helpers.challenge.wiring import Shop, wired
from helpers.processes import Channel

GROUP = "workers"
THREADS = 4  # for each stream
BLOCK_MS = 100  # how long a worker waits for news
RETRY_SECONDS = 0.1  # between two tries of a message that failed


def work_off(client, stream, consumer, handle):
    """Read, work, acknowledge. What fails stays pending and is tried again; it never ends."""
    left = True  # there may be messages that this consumer has taken and not finished
    while True:
        news = client.xreadgroup(
            GROUP, consumer, {stream: "0" if left else ">"}, count=1, block=BLOCK_MS
        )
        messages = news[0][1] if news else []
        if left and not messages:
            left = False
        for message_id, fields in messages:
            try:
                handle(fields)
            except Exception:
                traceback.print_exc()
                left = True
                time.sleep(RETRY_SECONDS)
            else:
                client.xack(stream, GROUP, message_id)


def main(fd):
    os.set_inheritable(fd, False)
    channel = Channel(socket.socket(fileno=fd))
    told = channel.receive()
    broker = start_broker()  # the kernel's
    shop = Shop(told["url"], told["prefix"])
    try:
        handlers = wired(told["checkout"], shop).handlers
    except Exception as error:
        channel.send({"failed": f"{type(error).__name__}: {error}"})
        return
    for name, handle in handlers.items():
        stream = shop.stream(name)
        try:
            broker.client.xgroup_create(stream, GROUP, id="0", mkstream=True)
        except Exception as error:  # there is one already
            if "BUSYGROUP" not in str(error):
                raise
        for number in range(THREADS):
            threading.Thread(
                target=work_off,
                args=(connect(broker.url), stream, f"{name}-{number}", handle),
                daemon=True,
            ).start()
    channel.send({"ready": sorted(handlers)})
    channel.receive()  # until the kernel is gone


if __name__ == "__main__":
    main(int(sys.argv[1]))
