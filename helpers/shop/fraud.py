"""Fraud check: says whether a purchase looks honest. Asks the Bank, when it has its address."""

from pydantic import RootModel

from .api import BAD_BODY, Id, Purchase, new_app, refuse_bad_card, work
from .ledger import Ledger
from .neighbour import FAILURES, Neighbour
from .problems import responses


class Check(Purchase):
    id: str


class Checks(RootModel[list[Check]]):
    pass


def create_app(work_seconds=0.02, bank_url=None, timeout=1.0):
    """Fraud check as a Flask app; seconds of work for a check, of patience with the Bank."""
    app = new_app("fraud", work_seconds)
    bank = Neighbour("Bank", bank_url, timeout) if bank_url else None
    ledger = Ledger("check")

    @app.post("/checks", responses={201: Check, **responses(*BAD_BODY, *FAILURES)})
    def create_check(body: Purchase):
        """Check a purchase: 201 when it may go on, 402 when not."""
        if body.card == "tok_stolen" or not bank:
            refuse_bad_card(body.card)
        else:
            bank.post("/authorizations", body.model_dump())
        work()
        check = ledger.add(**body.model_dump())
        return check, 201, {"Location": f"/checks/{check['id']}"}

    @app.get("/checks", responses={200: Checks})
    def list_checks():
        """List the checks that were passed, oldest first."""
        return ledger.all()

    @app.get("/checks/<id>", responses={200: Check, **responses(404)})
    def read_check(path: Id):
        """Read one check."""
        return ledger.get(path.id)

    return app


app = create_app()
