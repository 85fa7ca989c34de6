"""Orders of the past, as plain data: what history_rest.py and history_grpc.py both serve."""

import random

PAGE = 50  # small orders: order-1 to order-50

TEXT = (
    "please leave the parcel with the neighbour on the left and ring twice because the bell "
    "is old it is a present for my sister who has wanted such a lamp since the summer so "
    "wrap it in blue paper if you have some and write happy birthday on the card thank you"
)


def _order(id: str, items: int, words: int = 0) -> dict:
    """An order made up by chance; the same id gives the same one every time."""
    chance = random.Random(id)
    lines = [
        {
            "sku": f"sku-{chance.randint(1000, 9999)}",
            "quantity": chance.randint(1, 5),
            "price_cents": chance.randint(100, 20_000),
        }
        for _ in range(items)
    ]
    order = {
        "id": id,
        "customer": f"customer-{chance.randint(100, 999)}",
        "status": "paid",
        "currency": "USD",
        "total_cents": sum(line["quantity"] * line["price_cents"] for line in lines),
        "items": lines,
    }
    if words:
        order["note"] = " ".join(chance.choices(TEXT.split(), k=words))
    return order


ORDERS = {f"order-{n}": _order(f"order-{n}", items=2) for n in range(1, PAGE + 1)}
ORDERS["long"] = _order("long", items=200)
ORDERS["wordy"] = _order("wordy", items=2, words=1000)


def first(limit: int) -> list[dict]:
    """The first small orders, at most PAGE of them."""
    return [ORDERS[f"order-{n}"] for n in range(1, min(limit, PAGE) + 1)]
