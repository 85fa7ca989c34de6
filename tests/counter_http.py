"""A service for the tests that counts its work: in Flask."""

import os
import threading
import time

from flask import Flask, request


def create_app(name="counter", answer="counted"):
    app = Flask(name)
    lock, done = threading.Lock(), 0

    @app.post("/work")
    def work():
        nonlocal done
        time.sleep(float(request.args.get("seconds", 0)))
        with lock:
            done += 1
        return {"done": done, "answer": answer}, 201

    @app.get("/done")
    def count():
        return {"done": done}

    @app.get("/where")
    def where():
        return {"pid": os.getpid(), "client_port": request.environ["REMOTE_PORT"]}

    @app.get("/boom")
    def boom():
        print("about to fail")
        raise LookupError("no such card")

    @app.get("/start-child")
    def start_child():
        child = os.fork()
        if child == 0:
            time.sleep(60)
        return {"pid": child}

    return app


app = create_app()
