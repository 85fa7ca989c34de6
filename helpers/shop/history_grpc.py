"""The order history over gRPC. Its twin in REST is history_rest.py."""

import grpc

from helpers.contracts import contract

from .history import ORDERS, first

messages, services = contract("helpers/shop/history.proto")

# As the REST twin keeps dictionaries, this one keeps messages; both encode at every call.
MESSAGES = {id: messages.Order(**order) for id, order in ORDERS.items()}


class History(services.HistoryServicer):
    def GetOrder(self, request, context):
        if request.id not in MESSAGES:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {request.id!r}")
        if request.gzip:
            context.set_compression(grpc.Compression.Gzip)
        return MESSAGES[request.id]

    def ListOrders(self, request, context):
        wanted = [MESSAGES[order["id"]] for order in first(request.limit)]
        return messages.Orders(orders=wanted)


servicer = History()
