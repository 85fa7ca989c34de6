"""Make spans of what clients do: HTTP by requests, gRPC, and redis commands.

OpenTelemetry's own instrumentation packages do the work. Added here is what they leave out: what a
redis command did to which message, and channels of gRPC that were made before.
"""

import contextlib
import functools
import sys
from collections.abc import Iterable
from contextvars import ContextVar
from types import SimpleNamespace

from helpers.spans import MESSAGE, Message

# The redis commands under way in this thread: several in a pipeline.
_commands: ContextVar[list | tuple] = ContextVar("redis commands", default=())
_pools = {}  # stream: the connections by which something was sent to it while clients were traced


def instrument_clients(provider) -> contextlib.ExitStack:
    """Trace the client libraries that are in use. Close what is returned to take it back."""
    with contextlib.ExitStack() as undo:
        if "requests" in sys.modules:
            _instrument_requests(provider, undo)
        if "redis" in sys.modules:
            _instrument_redis(provider, undo)
        if "grpc" in sys.modules:
            _instrument_grpc(provider, undo)
        return undo.pop_all()


def _instrument_requests(provider, undo) -> None:
    from opentelemetry.instrumentation.requests import RequestsInstrumentor

    _instrument(RequestsInstrumentor(), undo, tracer_provider=provider)


def _instrument(instrumentor, undo, **options) -> None:
    if (
        not instrumentor.is_instrumented_by_opentelemetry
    ):  # else somebody does it their own way
        # The versions are pinned; looking them up again would cost some 10 ms each time.
        instrumentor.instrument(skip_dep_check=True, **options)
        undo.callback(instrumentor.uninstrument, skip_dep_check=True)


# --- redis ----------------------------------------------------------------------------


def _instrument_redis(provider, undo) -> None:
    from opentelemetry.instrumentation.redis import RedisInstrumentor
    from redis.client import Pipeline

    def note_command(span, client, args, kwargs):
        _commands.set([args])

    def note_messages(span, client, response):
        if span.is_recording():
            replies = (
                response
                if isinstance(client, Pipeline) and isinstance(response, list)
                else [response]
            )
            for args, reply in zip(_commands.get(), replies, strict=False):
                for message in messages(args, reply):
                    if message.operation == "send":
                        _pools[message.stream] = client.connection_pool
                    span.add_event(
                        message.operation,
                        {
                            name: getattr(message, field)
                            for field, name in MESSAGE.items()
                        },
                    )

    _instrument(
        RedisInstrumentor(),
        undo,
        tracer_provider=provider,
        request_hook=note_command,
        response_hook=note_messages,
    )

    # The hooks are not told what a pipeline sends, and it forgets as it runs: note it before.
    def execute(original, pipeline, *args, **kwargs):
        _commands.set([command[0] for command in pipeline.command_stack])
        return original(pipeline, *args, **kwargs)

    _wrap(Pipeline, "execute", execute, undo)
    undo.callback(_pools.clear)


def has_unfinished_messages(stream: str) -> bool:
    """Whether a group of the stream has messages before it. False when that cannot be told."""
    pool = _pools.get(stream)
    if pool is None:
        return False
    import redis
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    try:
        with suppress_instrumentation():
            groups = redis.Redis(connection_pool=pool).xinfo_groups(stream)
    except redis.RedisError:
        return False
    return any(group["pending"] or group.get("lag") for group in groups)


def messages(args: tuple, reply) -> Iterable[Message]:
    """What one redis command and its reply say about messages; nothing for most commands."""
    if not args or isinstance(reply, Exception):
        return
    args = [_text(arg) for arg in args]
    command = args[0].upper()
    if command == "XADD" and reply is not None:
        yield Message("send", args[1], _text(reply))
    elif command == "PUBLISH":
        yield Message("send", args[1], "")
    elif command in ("XREADGROUP", "XREAD"):
        group, consumer = args[2:4] if command == "XREADGROUP" else ("", "")
        for stream, entries in (
            reply.items() if isinstance(reply, dict) else reply or []
        ):
            for id in _ids(entries):
                yield Message("receive", _text(stream), id, group, consumer)
    elif command in ("XCLAIM", "XAUTOCLAIM"):
        # XAUTOCLAIM also tells where to go on; asked for ids only, it tells nothing else.
        claimed = next((part for part in reply if isinstance(part, list)), reply)
        for id in _ids(claimed):
            yield Message("receive", args[1], id, args[2], args[3])
    elif command == "XACK":
        for id in args[3:]:
            yield Message("settle", args[1], id, args[2])


def _ids(entries) -> Iterable[str]:
    """The ids in a list of entries: (id, fields), bare ids, or lists of them (protocol RESP3)."""
    for entry in entries or []:
        if isinstance(entry, list):
            yield from _ids(entry)
        else:
            yield _text(entry[0] if isinstance(entry, tuple) else entry)


def _text(value) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


# --- gRPC -----------------------------------------------------------------------------


def _instrument_grpc(provider, undo) -> None:
    """Trace calls on every channel, also on those that exist.

    The usual instrumentation wraps channels as they are made. Wrapping what all channels make their
    calls with needs no channel at hand, and costs nothing once taken back.
    """
    from grpc import _channel
    from opentelemetry.instrumentation.grpc import client_interceptor

    interceptor = client_interceptor(tracer_provider=provider)
    tracer = provider.get_tracer(__name__)

    def one_reply(
        original, call, request, timeout=None, metadata=None, *args, **kwargs
    ):
        return interceptor.intercept_unary(
            request,
            metadata,
            SimpleNamespace(full_method=_method(call), timeout=timeout),
            lambda request, metadata: original(
                call, request, timeout, metadata, *args, **kwargs
            ),
        )

    def many_replies(
        original, call, request, timeout=None, metadata=None, *args, **kwargs
    ):
        from opentelemetry import trace
        from opentelemetry.propagate import inject

        # OpenTelemetry's interceptor would hand out a bare generator: no cancel(), no code().
        span = tracer.start_span(
            _method(call), kind=trace.SpanKind.CLIENT, attributes={"rpc.system": "grpc"}
        )
        headers = {}
        inject(headers, trace.set_span_in_context(span))
        try:
            replies = original(
                call,
                request,
                timeout,
                (*(metadata or ()), *headers.items()),
                *args,
                **kwargs,
            )
        except BaseException as error:
            span.record_exception(error)
            span.end()
            raise
        replies.add_done_callback(functools.partial(_end_with_status, span))
        return replies

    for name in ("_UnaryUnaryMultiCallable", "_StreamUnaryMultiCallable"):
        for method in ("__call__", "with_call", "future"):
            _wrap(getattr(_channel, name), method, one_reply, undo)
    for name in ("_UnaryStreamMultiCallable", "_StreamStreamMultiCallable"):
        _wrap(getattr(_channel, name), "__call__", many_replies, undo)


def _method(call) -> str:
    return _text(call._method)


def _end_with_status(span, replies) -> None:
    span.set_attribute("rpc.grpc.status_code", replies.code().value[0])
    span.end()


def _wrap(owner, name: str, wrapper, undo) -> None:
    """Let ``wrapper(original, self, ...)`` stand for a method, until undone."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(self, *args, **kwargs):
        return wrapper(original, self, *args, **kwargs)

    setattr(owner, name, wrapped)
    undo.callback(setattr, owner, name, original)
