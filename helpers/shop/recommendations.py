"""Recommendations: notes what is bought, and says what others buy."""

from collections import Counter

from pydantic import Field, RootModel

from .api import BAD_BODY, Body, Filter, Id, Item, created, new_app, work
from .ledger import Ledger
from .problems import responses


class NewPurchase(Body):
    order: str = Field(min_length=1, max_length=64, examples=["order-1"])
    item: Item


class NotedPurchase(NewPurchase):
    id: str


class NotedPurchases(RootModel[list[NotedPurchase]]):
    pass


class Recommendation(Body):
    item: Item
    bought: int = Field(description="how often")


class Recommendations(RootModel[list[Recommendation]]):
    pass


def create_app(work_seconds=0.02):
    """Recommendations as a Flask app; noting a purchase takes ``work_seconds``."""
    app = new_app("recommendations", work_seconds)
    ledger = Ledger("buy")

    @app.get("/recommendations", responses={200: Recommendations})
    def list_recommendations():
        """Tell what was bought, the most popular first."""
        bought = Counter(purchase["item"] for purchase in ledger.all())
        return [{"item": item, "bought": n} for item, n in bought.most_common()]

    @app.post("/purchases", responses={201: NotedPurchase, **responses(*BAD_BODY)})
    def create_purchase(body: NewPurchase):
        """Note that somebody bought an item."""
        work()
        noted = ledger.add(**body.model_dump())
        return created("/purchases", noted)

    @app.get("/purchases", responses={200: NotedPurchases, **responses(422)})
    def list_purchases(query: Filter):
        """List the purchases, oldest first."""
        return ledger.all(**query.model_dump(exclude_none=True))

    @app.get("/purchases/<id>", responses={200: NotedPurchase, **responses(404)})
    def read_purchase(path: Id):
        """Read one purchase."""
        return ledger.get(path.id)

    return app


app = create_app()
