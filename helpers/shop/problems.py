"""Problem details (RFC 9457): one JSON form for everything that goes wrong.

problems.install(app)       # once, on any Flask app
raise Problem(402, "The bank declined the card.", kind="card-declined")
"""

import json

from flask import Request, request
from flask.json.provider import DefaultJSONProvider
from pydantic import BaseModel, Field
from werkzeug.exceptions import BadRequest, HTTPException, UnsupportedMediaType
from werkzeug.http import HTTP_STATUS_CODES

MEDIA_TYPE = "application/problem+json"
KINDS = "https://shop.example/problems/"  # names a kind of problem; nothing needs to answer there
MAX_BODY = 16 * 1024  # bytes; an order is about 100
MAX_ERRORS = 10


class FieldError(BaseModel):
    field: str
    detail: str


class ProblemDetails(BaseModel):
    """What went wrong, for people (title, detail) and for programs (type, status)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = Field(default_factory=list)


class Problem(HTTPException):
    """Raise it in a route to answer with ``status`` and a problem.

    ``kind`` names a business reason, such as "card-declined", that a caller can act on.
    ``errors`` is a list of ``{"field": ..., "detail": ...}``.
    """

    def __init__(self, status, detail, *, kind=None, errors=()):
        super().__init__(detail)
        self.code = status
        self.kind = kind
        self.errors = list(errors)


def install(app, *, max_body=MAX_BODY):
    """Make every error of a Flask app a problem, and bound its request bodies (bytes)."""
    app.request_class = _Request
    app.json = _Json(app)
    app.json.sort_keys = False
    app.config["MAX_CONTENT_LENGTH"] = max_body
    app.register_error_handler(HTTPException, _answer)


def responses(*statuses):
    """The given statuses as OpenAPI responses that carry problem details."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {
        s: {"description": HTTP_STATUS_CODES[s], "content": content} for s in statuses
    }


def refuse_invalid(error):
    """Raise the problem that says, field by field, what a pydantic ``error`` found.

    400 or 415 when the body could not be read as JSON at all, else 422.
    """
    errors = error.errors(include_url=False)
    if not all(
        e["loc"] for e in errors
    ):  # no field to blame: the body is not an object
        request.get_json()
        raise Problem(
            422, 'The body must be a JSON object, such as {"order": "order-1"}.'
        )
    found = [{"field": _field(e), "detail": _in_words(e)} for e in errors[:MAX_ERRORS]]
    detail = "; ".join(f"{e['field']} {e['detail']}" for e in found)
    raise Problem(422, f"{detail}.", errors=found)


def _answer(error):
    """Turn an HTTP exception, Flask's own or ours, into a problem; headers such as Allow stay."""
    kind = getattr(error, "kind", None)
    body = {
        "type": KINDS + kind if kind else "about:blank",
        "title": kind.replace("-", " ").capitalize() if kind else error.name,
        "status": error.code,
        "detail": _detail(error),
    }
    if getattr(error, "errors", None):
        body["errors"] = error.errors
    response = error.get_response()
    response.data = json.dumps(body)
    response.content_type = MEDIA_TYPE
    return response


def _detail(error):
    if error.description != type(error).description:
        return error.description  # somebody chose these words
    if error.code == 404:
        return f"There is nothing at {request.path}."
    if error.code == 405:
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return (
            f"{request.method} is not possible at {request.path}; possible: {allowed}."
        )
    if error.code == 413:
        return f"The body is larger than {request.max_content_length} bytes."
    if error.code == 500:
        return "The service itself made a mistake; its log says which."
    return error.description or error.name


_WORDS = {  # by pydantic's name for the error
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "int_type": "must be a whole number",
    "string_type": "must be text",
    "string_unicode": "must be text, and one that UTF-8 can write",
    "string_pattern_mismatch": "must match {pattern}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
}


def _field(error):
    return ".".join(str(part) for part in error["loc"])[:64]


def _in_words(error):
    words = _WORDS.get(error["type"])
    words = (
        words.format(**error.get("ctx", {})) if words else f"is wrong: {error['msg']}"
    )
    if error["type"] in ("missing", "extra_forbidden", "string_too_short"):
        return words
    sent = error["input"]
    sent = {dict: "an object", list: "a list"}.get(type(sent)) or json.dumps(sent)
    return f"{words}, not {sent if len(sent) <= 40 else sent[:40] + '...'}"


class _Request(Request):
    """A Flask request that says in plain words why it could not read the body."""

    def on_json_loading_failed(self, error):
        if error is None:
            sent = f"not {self.mimetype}" if self.mimetype else "and none was sent"
            raise UnsupportedMediaType(
                f"Content-Type must be application/json, {sent}."
            )
        raise BadRequest(f"The body is not valid JSON: {error}.")


class _Json(DefaultJSONProvider):
    """JSON as RFC 8259 has it; Python's reader also takes NaN and fails on deep nesting."""

    def loads(self, s, **kwargs):
        try:
            return super().loads(s, **_NUMBERS, **kwargs)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        except UnicodeDecodeError:
            raise ValueError("it is not UTF-8 text") from None


def _no_constant(name):
    raise ValueError(f"{name} is not a JSON number")


def _integer(digits):
    if len(digits) > 100:
        raise ValueError("it has a number of more than 100 digits")
    return int(digits)


def _float(digits):
    number = float(digits)
    return int(number) if number.is_integer() else number  # in JSON, 50.0 is 50


_NUMBERS = {
    "parse_constant": _no_constant,
    "parse_int": _integer,
    "parse_float": _float,
}
