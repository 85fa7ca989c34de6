"""A span as the course keeps it: who did what, from when to when, for whom, and how it ended."""

from dataclasses import asdict, dataclass, field
from typing import NamedTuple

# Span attributes, named as OpenTelemetry's semantic conventions name them.
SERVICE = "service.name"
THREAD = "thread.id"
SCOPE = "otel.scope.name"  # what made the span
MESSAGE = {
    "operation": "messaging.operation.type",
    "stream": "messaging.destination.name",
    "id": "messaging.message.id",
    "group": "messaging.consumer.group.name",
    "consumer": "messaging.client.id",
}

_TIMED_OUT = {
    "ReadTimeout",
    "ConnectTimeout",
    "Timeout",
    "TimeoutError",
    "DEADLINE_EXCEEDED",
}
CUT_OFF = {"connection lost", "UNAVAILABLE"}
_NO_ANSWER = {"timed out", "CANCELLED", "UNAVAILABLE"}
_GRPC_STATUS = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]


class Message(NamedTuple):
    """What a redis command did with a message.

    operation: "send", "receive" or "settle" (acknowledge).
    """

    operation: str
    stream: str
    id: str
    group: str = ""
    consumer: str = ""


@dataclass(frozen=True)
class Span:
    """Something a service did or waited for. Times are seconds since the epoch.

    kind: "server", "client", "producer", "consumer" or "internal".
    end: None while it is not over.
    error: how it failed, in a word or two ("503", "timed out"); None when it did not.
    """

    service: str
    name: str
    kind: str
    start: float
    end: float | None
    trace_id: str
    span_id: str
    parent_id: str | None = None
    error: str | None = None
    attributes: dict = field(default_factory=dict)
    messages: tuple[Message, ...] = ()

    @property
    def ok(self) -> bool:
        return self.error is None

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it is not over."""
        return None if self.end is None else self.end - self.start

    @property
    def answered(self) -> bool:
        """Whether a call got an answer, be it a refusal: not if it timed out or was cut off."""
        if self.end is None:
            return False
        if "rpc.system" in self.attributes:
            return self.error not in _NO_ANSWER
        return (
            "http.status_code" in self.attributes
            or "http.response.status_code" in self.attributes
        )

    @property
    def redis(self) -> bool:
        """Whether this is a command to the broker."""
        return str(self.attributes.get(SCOPE, "")).endswith("redis")

    def to_dict(self) -> dict:
        """The span as plain data that JSON can carry."""
        return asdict(self) | {"messages": [list(message) for message in self.messages]}

    @classmethod
    def from_dict(cls, data: dict) -> "Span":
        return cls(
            **data
            | {"messages": tuple(Message(*message) for message in data["messages"])}
        )

    @classmethod
    def of(cls, span) -> "Span":
        """The record of an OpenTelemetry SDK span."""
        attributes = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in (span.attributes or {}).items()
        } | {SCOPE: span.instrumentation_scope.name}
        messages = tuple(
            Message(*(event.attributes.get(name, "") for name in MESSAGE.values()))
            for event in span.events
            if MESSAGE["operation"] in event.attributes
        )
        kind = span.kind.name.lower()
        operations = {message.operation for message in messages}
        if operations:
            kind = (
                "producer"
                if "send" in operations
                else "consumer"
                if "receive" in operations
                else kind
            )
        return cls(
            service=attributes.get(SERVICE, ""),
            name=span.name,
            kind=kind,
            start=span.start_time / 1e9,
            end=None if span.end_time is None else span.end_time / 1e9,
            trace_id=f"{span.context.trace_id:032x}",
            span_id=f"{span.context.span_id:016x}",
            parent_id=f"{span.parent.span_id:016x}" if span.parent else None,
            error=_error(span, attributes),
            attributes=attributes,
            messages=messages,
        )


def _error(span, attributes: dict) -> str | None:
    """Why a span failed, as somebody reading a picture would say it."""
    grpc_code = attributes.get("rpc.grpc.status_code", 0)
    if grpc_code:
        name = (
            _GRPC_STATUS[grpc_code]
            if grpc_code < len(_GRPC_STATUS)
            else f"code {grpc_code}"
        )
        return "timed out" if name in _TIMED_OUT else name
    status = attributes.get(
        "http.response.status_code", attributes.get("http.status_code", 0)
    )
    # A refusal (4xx) is the caller's trouble: the service that refused did its work.
    if status >= 500 or (status >= 400 and span.kind.name == "CLIENT"):
        return str(status)
    for event in span.events:
        if event.name == "exception":
            kind = str(event.attributes.get("exception.type", "")).rpartition(".")[2]
            message = str(event.attributes.get("exception.message", ""))
            if kind in _TIMED_OUT:
                return "timed out"
            if "refused" in message:
                return "refused"
            if kind in ("ConnectionError", "ChunkedEncodingError"):
                return "connection lost"
            if kind == "ConnectionAbortedError":  # how faults.py drops a reply
                return "reply dropped"
            return kind
    return (
        None
        if span.status.is_ok or span.status.status_code.name == "UNSET"
        else "failed"
    )
