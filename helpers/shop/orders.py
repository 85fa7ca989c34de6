"""Orders: takes what a customer buys. Asks Payments for the money, when it has its address."""

from typing import Literal

from pydantic import Field, RootModel

from .api import BAD_BODY, Body, Card, Id, Item, new_app, refuse_bad_card, work
from .ledger import Ledger
from .neighbour import FAILURES, Neighbour
from .problems import responses

CATALOG = {"lamp": 5000, "book": 1500, "bike": 40_000}  # prices in cents


class NewOrder(Body):
    item: Item
    quantity: int = Field(1, ge=1, le=100)
    card: Card = "tok_visa"


class Order(NewOrder):
    id: str
    amount_cents: int
    currency: Literal["USD"]
    charge: str | None = Field(description="the charge's id, if Payments was asked")


class Orders(RootModel[list[Order]]):
    pass


class Catalog(RootModel[dict[str, int]]):
    """Price of each item, in cents."""


def create_app(work_seconds=0.02, payments_url=None, timeout=1.0):
    """Orders as a Flask app; seconds of work for an order, of patience with Payments."""
    app = new_app("orders", work_seconds)
    payments = Neighbour("Payments", payments_url, timeout) if payments_url else None
    ledger = Ledger("order")

    @app.get("/catalog", responses={200: Catalog})
    def catalog():
        """Tell what there is to buy; this needs no other service."""
        return CATALOG

    @app.post("/orders", responses={201: Order, **responses(*BAD_BODY, *FAILURES)})
    def create_order(body: NewOrder):
        """Take an order: 201 once it is paid for; no order is kept when that fails."""
        id, amount = ledger.new_id(), CATALOG[body.item] * body.quantity
        purchase = {
            "order": id,
            "amount_cents": amount,
            "currency": "USD",
            "card": body.card,
        }
        charge = None
        if payments:
            charge = payments.post("/charges", purchase).get("id")
        else:
            refuse_bad_card(body.card)
        work()
        order = {
            "id": id,
            **body.model_dump(),
            "amount_cents": amount,
            "currency": "USD",
        }
        return (
            ledger.put({**order, "charge": charge}),
            201,
            {"Location": f"/orders/{id}"},
        )

    @app.get("/orders", responses={200: Orders})
    def list_orders():
        """List the orders, oldest first."""
        return ledger.all()

    @app.get("/orders/<id>", responses={200: Order, **responses(404)})
    def read_order(path: Id):
        """Read one order."""
        return ledger.get(path.id)

    return app


app = create_app()
