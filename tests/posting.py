"""A service for the tests that uses the broker."""

from flask import Flask

from helpers.broker import start_broker

app = Flask("posting")


@app.post("/post")
def post():
    broker = start_broker()
    return {"id": broker.client.xadd(broker.key("posted"), {"from": "posting"})}, 201


@app.get("/broker")
def broker():
    return {"broker": repr(start_broker()), "key": start_broker().key("posted")}


@app.post("/stop-broker")
def stop_broker():
    start_broker().stop()
    return {}
