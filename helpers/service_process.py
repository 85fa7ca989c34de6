"""What runs in a service's own process: ``python -m helpers.service_process FD TARGET NAME THREADS``.

FD is a socket to the kernel; messages on it are JSON, one a line:
kernel → service: ``{"listen": port}``, ``{"faults": {…}}``;
service → kernel: ``{"loaded": name}``, ``{"listening": port}``, ``{"injected": true}``, ``{"failed": why}``,
and ``{"span": {…}}`` at any time.
"""

import ast
import importlib
import os
import socket
import sys
import traceback

from helpers import tracing
from helpers.faults import Faults, Plan
from helpers.processes import Channel
from helpers.servers import server_for


def load(target: str):
    """The app that an import string names: ``module:app`` or ``module:factory(keyword=literal, …)``.

    Raises ValueError saying what the string should be, ImportError or AttributeError when it names nothing.
    """
    module, colon, expression = target.partition(":")
    if not (module and colon and expression):
        raise ValueError(
            f"{target!r} is no import string; write it as 'package.module:app'"
        )
    try:
        node = ast.parse(expression, mode="eval").body
        keywords = None
        if isinstance(node, ast.Call):
            if node.args:
                raise ValueError
            keywords = {
                keyword.arg: ast.literal_eval(keyword.value)
                for keyword in node.keywords
            }
            node = node.func
        if not isinstance(node, ast.Name):
            raise ValueError
    except (SyntaxError, ValueError):
        raise ValueError(
            f"{expression!r} is neither a name nor a call with keywords, as in 'create_app(work_seconds=0.4)'"
        ) from None
    imported = importlib.import_module(module)
    if not hasattr(imported, node.id):
        raise AttributeError(
            f"module {module!r} has no {node.id!r}; check the part behind the colon"
        )
    app = getattr(imported, node.id)
    return app if keywords is None else app(**keywords)


def main(fd: int, target: str, name: str | None, threads: int) -> int:
    os.set_inheritable(
        fd, False
    )  # what the service itself starts has no part in this channel
    channel = Channel(socket.socket(fileno=fd))
    faults = Faults()
    try:
        server = server_for(load(target), name, threads, faults, sys.stderr)
    except Exception as error:
        traceback.print_exc()
        channel.send({"failed": f"{type(error).__name__}: {error}"})
        return 1
    tracing.start_exporting(lambda span: channel.send({"span": span}))
    channel.send({"loaded": server.name})
    while (message := channel.receive()) is not None:
        if "listen" in message:
            try:
                channel.send({"listening": server.start(message["listen"])})
            except OSError as error:
                channel.send(
                    {"failed": f"it cannot listen on port {message['listen']}: {error}"}
                )
                return 1
        elif "faults" in message:
            faults.set(Plan.of(**message["faults"]))
            channel.send({"injected": True})
    return 0  # the kernel is gone


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3] or None, int(sys.argv[4])))
