"""The order history over REST. Its twin in gRPC is history_grpc.py."""

import gzip

from flask import Flask, abort, request

from .history import ORDERS, first

app = Flask("history REST")


@app.get("/orders/<id>")
def get_order(id):
    return ORDERS.get(id) or abort(404)


@app.get("/orders")
def list_orders():
    return {"orders": first(request.args.get("limit", 10, type=int))}


@app.after_request
def compress(response):
    # A real service goes by Accept-Encoding. That some clients send and others do not, so
    # the twins compress when they are asked to in the request itself.
    if "gzip" in request.args:
        response.data = gzip.compress(response.data, compresslevel=6)  # as gRPC does
        response.content_encoding = "gzip"
    return response
