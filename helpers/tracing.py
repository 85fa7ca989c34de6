"""Tracing: every service's work as OpenTelemetry spans, gathered in the kernel.

While a timeline is open, calls by requests, redis and gRPC make spans here, and the trace
context that goes with each call (the W3C ``traceparent``) makes the services at the other end
record theirs, in this process or in one of their own. While none is open, nothing is recorded.
"""

import functools
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar

from helpers.spans import SERVICE, THREAD, Span

_service: ContextVar[str | None] = ContextVar("service", default=None)
_lock = threading.RLock()
_timelines: tuple[
    tuple[Callable[[Span], None], str], ...
] = ()  # (where spans go, the client's name)
_users = 0  # open timelines and traced requests in work: while there are any, clients are traced
_untrace_clients = ExitStack()
_send: Callable[[dict], None] | None = (
    None  # in a service's own process: the way to the kernel
)


@contextmanager
def as_service(name: str):
    """Spans made inside belong to the service of that name."""
    token = _service.set(name)
    try:
        yield
    finally:
        _service.reset(token)


def begin(add: Callable[[Span], None], client: str) -> None:
    """From now on hand every span to ``add``, from any thread: when it starts and when it ends.

    client: whose spans those are that are made outside any service.
    """
    global _timelines
    with _lock:
        _trace_clients()
        _timelines += ((add, client),)


def end(add: Callable[[Span], None]) -> None:
    """Hand no more spans to ``add``; after the last, clients are as they were."""
    global _timelines
    with _lock:
        _timelines = tuple(timeline for timeline in _timelines if timeline[0] != add)
        _leave_clients()


def start_exporting(send: Callable[[dict], None]) -> None:
    """In a service's own process: pass the spans that a traced caller asks for to ``send``.

    Each is a dict that JSON can carry. A request's span is sent when it starts, too, so that the
    kernel knows what is still under way.
    """
    global _send
    with _lock:
        _trace_clients()  # what is imported now does not hold up the first request
        _leave_clients()
    _send = send


def receive(span: dict) -> None:
    """In the kernel: take a span that a service's own process has sent."""
    _hand_on(Span.from_dict(span))


def unfinished(streams: set[str]) -> bool:
    """Whether a consumer group has yet to take or to acknowledge a message of these streams."""
    if not streams:
        return False
    from helpers.instrumentation import has_unfinished_messages

    return any(has_unfinished_messages(stream) for stream in streams)


def wsgi(app, name: str):
    """The WSGI app as the service of that name; a request makes a span if it is to be traced."""

    @functools.cache
    def traced():
        from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware

        return OpenTelemetryMiddleware(app, tracer_provider=_provider())

    def trace_request(environ, start_response):
        with (
            as_service(name),
            _traced_clients(),
        ):  # until the last byte of the answer is made
            yield from traced()(environ, start_response)

    def service(environ, start_response):
        if _timelines or _sampled(environ.get("HTTP_TRACEPARENT")):
            return trace_request(environ, start_response)
        token = _service.set(name)
        try:
            return app(environ, start_response)
        finally:
            _service.reset(token)

    return service


def grpc_interceptor(name: str):
    """An interceptor that does for a gRPC server what ``wsgi`` does for an app."""
    import grpc

    @functools.cache
    def traced():
        from opentelemetry.instrumentation.grpc import server_interceptor

        return server_interceptor(tracer_provider=_provider())

    class Interceptor(grpc.ServerInterceptor):
        def intercept_service(self, continuation, details):
            metadata = dict(details.invocation_metadata or ())
            if _timelines or _sampled(metadata.get("traceparent")):
                handler, around = (
                    traced().intercept_service(continuation, details),
                    _traced_clients,
                )
            else:
                handler, around = continuation(details), nullcontext
            return handler and _inside(name, handler, around)

    return Interceptor()


def _inside(name: str, handler, around):
    """The gRPC method handler, run as the service of that name and inside ``around()``."""
    import grpc

    kind = ("stream" if handler.request_streaming else "unary") + (
        "_stream" if handler.response_streaming else "_unary"
    )
    behaviour = getattr(handler, kind)
    if handler.response_streaming:

        def run(request, context):
            with as_service(name), around():
                yield from behaviour(request, context)
    else:

        def run(request, context):
            with as_service(name), around():
                return behaviour(request, context)

    return getattr(grpc, f"{kind}_rpc_method_handler")(
        run,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


def _sampled(traceparent: str | None) -> bool:
    """Whether the caller's trace is being recorded: the lowest bit of the header's last part."""
    return (
        traceparent is not None
        and traceparent[-1:] in "13579bdf"
        and len(traceparent) >= 55
    )


@contextmanager
def _traced_clients():
    with _lock:
        _trace_clients()
    try:
        yield
    finally:
        with _lock:
            _leave_clients()


def _trace_clients() -> None:
    global _users
    if not _users:
        from helpers.instrumentation import instrument_clients

        _untrace_clients.push(instrument_clients(_provider()))
    _users += 1


def _leave_clients() -> None:
    global _users
    _users -= 1
    if not _users:
        _untrace_clients.close()


@functools.cache
def _provider():
    import opentelemetry.instrumentation.wsgi  # noqa: F401  now, and not while the first request waits
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.sampling import (
        ALWAYS_OFF,
        ALWAYS_ON,
        ParentBased,
        Sampler,
    )

    class WhileOpen(Sampler):
        """A span without a parent is recorded while a timeline is open in this process."""

        def should_sample(self, *args, **kwargs):
            return (ALWAYS_ON if _timelines else ALWAYS_OFF).should_sample(
                *args, **kwargs
            )

        def get_description(self):
            return "WhileOpen"

    class Recorder(SpanProcessor):
        def on_start(self, span, parent_context=None):
            parent = (
                getattr(trace.get_current_span(parent_context), "attributes", None)
                or {}
            )
            client = _timelines[-1][1] if _timelines else "customer"
            span.set_attribute(SERVICE, _service.get() or parent.get(SERVICE) or client)
            span.set_attribute(THREAD, threading.get_ident())
            if _timelines or span.kind is trace.SpanKind.SERVER:
                _hand_on(Span.of(span))

        def on_end(self, span):
            _hand_on(Span.of(span))

    provider = TracerProvider(
        sampler=ParentBased(WhileOpen()),
        resource=Resource({}),
        span_limits=SpanLimits(max_events=10_000),  # one for each message of a batch
    )
    provider.add_span_processor(Recorder())
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    ):
        _export_to_collector(provider)
    return provider


def _hand_on(span: Span) -> None:
    for add, _ in _timelines:
        add(span)
    if _send is not None:
        _send(span.to_dict())


def _export_to_collector(provider) -> None:
    """Pass the spans to the collector that OpenTelemetry's usual environment variables name."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
            OTLPSpanExporter,
        )
    except ImportError:
        warnings.warn(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but the exporter is not installed: "
            "pip install opentelemetry-exporter-otlp-proto-http",
            stacklevel=2,
        )
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class PerService(OTLPSpanExporter):
        """A collector tells services by their resource, and here several share a process."""

        def export(self, spans):
            return super().export([self._of_service(span) for span in spans])

        def _of_service(self, span):
            attributes = dict(span.attributes)
            return ReadableSpan(
                name=span.name,
                context=span.context,
                parent=span.parent,
                resource=Resource(
                    {SERVICE: attributes.pop(SERVICE, "unknown_service")}
                ),
                attributes=attributes,
                events=span.events,
                links=span.links,
                kind=span.kind,
                status=span.status,
                start_time=span.start_time,
                end_time=span.end_time,
                instrumentation_scope=span.instrumentation_scope,
            )

    provider.add_span_processor(
        BatchSpanProcessor(PerService(), schedule_delay_millis=500)
    )
