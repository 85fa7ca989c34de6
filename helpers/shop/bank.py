"""Bank: the end of the chain; says whether a card's account can pay."""

from pydantic import RootModel

from .api import BAD_BODY, Id, Purchase, new_app, refuse_bad_card, work
from .ledger import Ledger
from .problems import responses


class Authorization(Purchase):
    id: str


class Authorizations(RootModel[list[Authorization]]):
    pass


def create_app(work_seconds=0.02):
    """The Bank as a Flask app; an authorization takes ``work_seconds``."""
    app = new_app("bank", work_seconds)
    ledger = Ledger("auth")

    answers = {201: Authorization, **responses(*BAD_BODY, 402)}

    @app.post("/authorizations", responses=answers)
    def create_authorization(body: Purchase):
        """Authorize a purchase: 201 when the account can pay, 402 when not."""
        work()
        refuse_bad_card(body.card)
        made = ledger.add(**body.model_dump())
        return made, 201, {"Location": f"/authorizations/{made['id']}"}

    @app.get("/authorizations", responses={200: Authorizations})
    def list_authorizations():
        """List the authorizations, oldest first."""
        return ledger.all()

    @app.get("/authorizations/<id>", responses={200: Authorization, **responses(404)})
    def read_authorization(path: Id):
        """Read one authorization."""
        return ledger.get(path.id)

    return app


app = create_app()
