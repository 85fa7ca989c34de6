"""Payments: charges cards. Asks the Fraud check first, when it has its address."""

from typing import Literal

from pydantic import RootModel

from .api import (
    BAD_BODY,
    Filter,
    Headers,
    Id,
    Purchase,
    created,
    new_app,
    refuse_bad_card,
    work,
)
from .ledger import Ledger, OncePerKey
from .neighbour import FAILURES, Neighbour
from .problems import Problem, responses


class Charge(Purchase):
    id: str
    status: Literal["paid", "refunded"]


class Charges(RootModel[list[Charge]]):
    pass


def create_app(work_seconds=0.02, fraud_url=None, timeout=1.0):
    """Payments as a Flask app; seconds of work for a charge, of patience with Fraud check."""
    app = new_app("payments", work_seconds)
    fraud = Neighbour("Fraud check", fraud_url, timeout) if fraud_url else None
    ledger, once = Ledger("ch"), OncePerKey()

    def charge(purchase):
        if fraud:
            fraud.post("/checks", purchase)
        else:
            refuse_bad_card(purchase["card"])
        work()
        return ledger.add(**purchase, status="paid")

    @app.post("/charges", responses={201: Charge, **responses(*BAD_BODY, *FAILURES)})
    def create_charge(header: Headers, body: Purchase):
        """Charge a card; without an Idempotency-Key, every request is a new charge."""
        made, is_repeat = once.do(header.key, body.model_dump(), charge)
        return created("/charges", made, is_repeat)

    @app.get("/charges", responses={200: Charges, **responses(422)})
    def list_charges(query: Filter):
        """List the charges, oldest first."""
        return ledger.all(**query.model_dump(exclude_none=True))

    @app.get("/charges/<id>", responses={200: Charge, **responses(404)})
    def read_charge(path: Id):
        """Read one charge."""
        return ledger.get(path.id)

    @app.post("/charges/<id>/refund", responses={200: Charge, **responses(404, 409)})
    def refund_charge(path: Id):
        """Give the money of a charge back, once."""
        with ledger.lock:
            found = ledger.get(path.id)
            if found["status"] == "refunded":
                detail = f"{path.id} is refunded already."
                raise Problem(409, detail, kind="already-refunded")
            return ledger.put({**found, "status": "refunded"})

    return app


app = create_app()
