"""Does watching slow what is watched? Measured in a kernel, as a page would run it.

python -m tools.bench_live
"""

import time
from collections.abc import Iterator

from jupyter_client.manager import start_new_kernel

ROUNDS = 15
READY_SECONDS = 60

# The same calls, recorded by timeline() and by a live view that sends to a page, in turns, so
# that a noisy moment falls on both.
CODE = f"""
import statistics, time
from flask import Flask
from helpers import serve, session, stop_all, system, timeline

app = Flask("payments")
app.post("/charges")(lambda: (time.sleep(0.005), ({{}}, 201))[1])
payments = serve(app)
shop = system("orders -> payments")
sent = 0

def seconds(recording):
    with session() as client, recording as t:
        start = time.perf_counter()
        for _ in range(40):
            client.post(payments.url + "/charges", json={{}}).raise_for_status()
        took = time.perf_counter() - start
    return took

def watched():
    global sent
    live = shop.live("orders")
    send = live.view.send
    def counted(message):
        global sent
        sent += 1
        send(message)
    live.view.send = counted
    took = seconds(live)
    live.view.close()
    return took

seconds(timeline("orders")), watched()  # warm up
sent = 0
ratios = [watched() / seconds(timeline("orders")) for _ in range({ROUNDS})]
result = statistics.median(ratios), sent / {ROUNDS}
stop_all()
"""


def slowdown() -> tuple[float, float]:
    """(seconds watched / seconds recorded, messages that one watched run sent)."""
    manager, client = start_new_kernel(startup_timeout=READY_SECONDS)
    try:
        _run(client, CODE)
        answer = _run(client, "", {"result": "result"})
        ratio, messages = eval(answer["result"]["data"]["text/plain"])
        return ratio, messages
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _run(client, code: str, expressions: dict | None = None) -> dict:
    """Run code as JupyterLab does, which says from which of its cells it comes."""
    content = {
        "code": code,
        "silent": False,
        "store_history": False,
        "user_expressions": expressions or {},
        "allow_stdin": False,
        "stop_on_error": True,
    }
    message = client.session.msg(
        "execute_request", content, metadata={"cellId": "bench"}
    )
    client.shell_channel.send(message)
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        reply = client.get_shell_msg(timeout=READY_SECONDS)
        if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
            if reply["content"]["status"] != "ok":
                raise RuntimeError("\n".join(reply["content"]["traceback"]))
            return reply["content"]["user_expressions"]
    raise TimeoutError(f"no answer from the kernel within {READY_SECONDS} s")


def figures() -> Iterator:
    """The lines of tools.bench's table."""
    from tools.bench import Figure

    ratio, messages = slowdown()
    if messages < 3:
        raise RuntimeError(f"the live view sent {messages} messages: nobody watched")
    yield Figure("calls watched live against recorded (median)", ratio, "", 1.05)


if __name__ == "__main__":
    for figure in figures():
        print(figure)
