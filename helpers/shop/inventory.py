"""Inventory: knows how many of each item there are, and sets them aside for orders."""

from typing import Literal

from pydantic import Field, RootModel

from .api import BAD_BODY, Body, Filter, Id, Item, ItemName, created, new_app, work
from .ledger import Ledger
from .problems import Problem, responses

MOST = 1_000_000  # pieces of an item


class Wanted(Body):
    """What an order wants set aside; an order has one item."""

    order: str = Field(min_length=1, max_length=64, examples=["order-1"])
    item: Item
    quantity: int = Field(1, ge=1, le=100)


class Reservation(Wanted):
    id: str
    status: Literal["reserved", "released"]


class Reservations(RootModel[list[Reservation]]):
    pass


class Amount(Body):
    available: int = Field(ge=0, le=MOST, examples=[100])


class Stock(Amount):
    item: Item


class Stocks(RootModel[list[Stock]]):
    pass


def create_app(work_seconds=0.02, available=1000):
    """Inventory as a Flask app; seconds of work for a reservation, pieces of each item."""
    if type(available) is not int or not 0 <= available <= MOST:
        raise ValueError(f"available={available!r}: give a whole number from 0")
    app = new_app("inventory", work_seconds)
    ledger = Ledger("res")
    # How many there are; changed under the ledger's lock.
    stock = dict.fromkeys(Item.__args__, available)

    def level(item):
        if item not in stock:
            raise Problem(404, f"There is no {item} here.")
        return {"item": item, "available": stock[item]}

    @app.get("/stock", responses={200: Stocks})
    def list_stock():
        """Tell how many of each item are still to be had."""
        return [level(item) for item in stock]

    @app.get("/stock/<item>", responses={200: Stock, **responses(404)})
    def read_stock(path: ItemName):
        """Tell how many of an item are still to be had."""
        return level(path.item)

    @app.put("/stock/<item>", responses={200: Stock, **responses(*BAD_BODY, 404)})
    def set_stock(path: ItemName, body: Amount):
        """Say how many of an item there are, besides those that are reserved."""
        with ledger.lock:
            level(path.item)
            stock[path.item] = body.available
            return level(path.item)

    @app.post(
        "/reservations", responses={201: Reservation, **responses(*BAD_BODY, 409)}
    )
    def create_reservation(body: Wanted):
        """Set an item aside: 201, 409 when sold out. A repeat for an order gets the first one."""
        work()
        with ledger.lock:  # look and take in one step, or the last one is sold twice
            [made] = ledger.all(order=body.order) or [None]
            is_repeat = made is not None
            if not is_repeat:
                if stock[body.item] < body.quantity:
                    detail = f"There are only {stock[body.item]} of {body.item} left."
                    raise Problem(409, detail, kind="sold-out")
                made = ledger.add(**body.model_dump(), status="reserved")
                stock[body.item] -= body.quantity
        if made["status"] == "released":
            detail = f"{made['id']} of {body.order} was released: use another order."
            raise Problem(409, detail, kind="already-released")
        if (made["item"], made["quantity"]) != (body.item, body.quantity):
            detail = f"{body.order} has {made['quantity']} of {made['item']} reserved."
            raise Problem(409, detail, kind="already-reserved")
        return created("/reservations", made, is_repeat)

    @app.get("/reservations", responses={200: Reservations, **responses(422)})
    def list_reservations(query: Filter):
        """List the reservations, oldest first."""
        return ledger.all(**query.model_dump(exclude_none=True))

    @app.get("/reservations/<id>", responses={200: Reservation, **responses(404)})
    def read_reservation(path: Id):
        """Read one reservation."""
        return ledger.get(path.id)

    @app.post(
        "/reservations/<id>/release",
        responses={200: Reservation, **responses(404, 409)},
    )
    def release_reservation(path: Id):
        """Put the items of a reservation back, once."""
        with ledger.lock:
            found = ledger.get(path.id)
            if found["status"] == "released":
                detail = f"{path.id} is released already."
                raise Problem(409, detail, kind="already-released")
            stock[found["item"]] += found["quantity"]
            return ledger.put({**found, "status": "released"})

    return app


app = create_app()
