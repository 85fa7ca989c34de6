"""What interceptors of a gRPC server have in common."""

from collections.abc import Callable


def wrapped(handler, wrap: Callable):
    """The method handler with ``wrap(behaviour)`` in place of its behaviour, whether it streams or not."""
    import grpc

    request = "stream" if handler.request_streaming else "unary"
    response = "stream" if handler.response_streaming else "unary"
    make = getattr(grpc, f"{request}_{response}_rpc_method_handler")
    behaviour = wrap(getattr(handler, f"{request}_{response}"))
    return make(behaviour, handler.request_deserializer, handler.response_serializer)
