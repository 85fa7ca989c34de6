"""Email: sends mails to customers. Its ledger is what a mail provider calls the log of sent mails."""

from typing import Literal

from pydantic import Field, RootModel

from .api import BAD_BODY, Body, Filter, Headers, Id, created, new_app, work
from .ledger import Ledger, OncePerKey
from .problems import responses


class NewMail(Body):
    order: str = Field(min_length=1, max_length=64, examples=["order-1"])
    kind: Literal["received", "confirmation", "cancellation"] = "confirmation"


class Mail(NewMail):
    id: str


class Mails(RootModel[list[Mail]]):
    pass


def create_app(work_seconds=0.02):
    """Email as a Flask app; sending takes ``work_seconds``."""
    app = new_app("email", work_seconds)
    ledger, once = Ledger("mail"), OncePerKey()

    def send(mail):
        work()
        return ledger.add(**mail)

    @app.post("/mails", responses={201: Mail, **responses(*BAD_BODY)})
    def create_mail(header: Headers, body: NewMail):
        """Send a mail; without an Idempotency-Key, every request is a new mail."""
        sent, is_repeat = once.do(header.key, body.model_dump(), send)
        return created("/mails", sent, is_repeat)

    @app.get("/mails", responses={200: Mails, **responses(422)})
    def list_mails(query: Filter):
        """List the mails that were sent, oldest first."""
        return ledger.all(**query.model_dump(exclude_none=True))

    @app.get("/mails/<id>", responses={200: Mail, **responses(404)})
    def read_mail(path: Id):
        """Read one mail."""
        return ledger.get(path.id)

    return app


app = create_app()
