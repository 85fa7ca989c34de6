"""What the shop's services have in common: the app, what a purchase is, simulated work."""

import functools
import time
from typing import Literal

from flask import current_app
from flask_openapi3 import Info, OpenAPI
from pydantic import BaseModel, ConfigDict, Field

from . import problems

BAD_BODY = (400, 413, 415, 422)  # what can be wrong with any request that has a body

Item = Literal["lamp", "book", "bike"]  # what the shop sells

# Test cards, as payment providers have them: a token stands in for the card's number.
Card = Literal["tok_visa", "tok_declined", "tok_no_funds", "tok_stolen"]
REFUSED_CARDS = {
    "tok_declined": ("card-declined", "The bank declined the card."),
    "tok_no_funds": ("insufficient-funds", "There is not enough money on the account."),
    "tok_stolen": ("suspected-fraud", "The card was reported stolen."),
}


class Body(BaseModel):
    """A request body or answer: known fields only, and "50" is not 50."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @classmethod
    def model_validate_json(cls, json_data, **kwargs):
        # flask-openapi3 would read JSON text inside a JSON string; to us that is just text.
        return cls.model_validate(json_data, **kwargs)


class Parameters(BaseModel):
    """Query parameters or headers of a request."""

    @classmethod
    @functools.cache  # flask-openapi3 asks at every request; working it out takes 0.4 ms
    def model_json_schema(cls, *args, **kwargs):
        return super().model_json_schema(*args, **kwargs)


class Purchase(Body):
    """What Orders tells Payments, Payments the Fraud check, and that the Bank."""

    order: str = Field(min_length=1, max_length=64, examples=["order-1"])
    # Whole cents: 49.99 has no exact float, and protobuf has no decimal number.
    amount_cents: int = Field(ge=1, le=10_000_000, examples=[5000])
    currency: Literal["USD", "EUR", "GBP"]
    card: Card = "tok_visa"


class Health(Body):
    status: Literal["ok"]


class Id(BaseModel):
    """The id in a path such as /charges/ch-1."""

    id: str


class ItemName(BaseModel):
    """The item in a path such as /stock/lamp."""

    item: str


class Filter(Parameters, extra="forbid"):
    """What a list can be asked for."""

    order: str | None = Field(None, description="only the entries of this order")


class Headers(Parameters):
    """The header under which some work is done only once."""

    key: str | None = Field(
        None,
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,64}$",
        description="a repeat with the same key gets the first result, not another one",
    )


def new_app(name, work_seconds):
    """A Flask app called ``name`` with /health, /openapi.json and problem details.

    ``work_seconds`` is how long a piece of work takes; it may be changed while the app runs:
    ``app.config["WORK_SECONDS"] = 0.4``.
    """
    if not isinstance(work_seconds, int | float) or not 0 <= work_seconds <= 60:
        raise ValueError(f"work_seconds={work_seconds!r}: give a number from 0 to 60")
    app = OpenAPI(
        name,
        info=Info(title=name, version="1.0.0"),
        static_folder=None,
        doc_ui=False,
        operation_id_callback=lambda name, **_: name,
        security_schemes={},  # left out, it would be null, which OpenAPI does not allow
        responses=problems.responses(500),
        validation_error_callback=problems.refuse_invalid,
        validation_error_model=problems.ProblemDetails,
        # Only for the description: it adds this status to every route, and 422 is not for every.
        validation_error_status=500,
    )
    app.config["WORK_SECONDS"] = work_seconds
    problems.install(app)
    app.add_url_rule("/openapi.json", "openapi", lambda: app.api_doc)

    @app.get("/health", responses={200: Health})
    def health():
        """Tell whether the service is up."""
        return {"status": "ok"}

    return app


def work():
    """Take the app's WORK_SECONDS."""
    time.sleep(current_app.config["WORK_SECONDS"])


def created(where, entry, is_repeat=False):
    """The answer to a POST that made an entry, which is at ``where``/id; a repeat says that it is one."""
    headers = {"Location": f"{where}/{entry['id']}"}
    if is_repeat:
        headers["Idempotent-Replayed"] = "true"
    return entry, 201, headers


def refuse_bad_card(card):
    """Raise a 402 problem for a card that is refused; the last service of a chain decides."""
    if card in REFUSED_CARDS:
        kind, detail = REFUSED_CARDS[card]
        raise problems.Problem(402, detail, kind=kind)
