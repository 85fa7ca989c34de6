"""What a checkout is given, and how one is found.

A checkout is anything that is called with a `Shop` and then has

- `place(order)`: called at the button; returns "confirmed" or "received", or raises `Refused`;
- `handlers`: for each of its streams, the function that a worker calls with a message.

It is named by an import string, since it runs in processes of its own: `"my_checkout:Checkout"`.
"""

from helpers import service_process
from helpers.broker import running_broker
from helpers.load import session

TOLD = ("confirmed", "received")  # what a customer can be told, besides a refusal


class Refused(Exception):
    """There will be no order; the text says why."""


class Shop:
    """The services and the broker, as a checkout sees them.

    url: of each service by its name, "payments", "inventory", "email", "recommendations";
    http: a `requests.Session`; client: a `redis.Redis` that answers in text.
    """

    def __init__(self, url: dict[str, str], prefix: str):
        self.url, self._prefix = url, prefix
        self.http = session()
        self.client = running_broker().client

    def stream(self, name: str) -> str:
        """The full name of one of the checkout's streams."""
        return self._prefix + name


def wired(checkout: str, shop: Shop):
    """The checkout that the import string names, wired to this shop.

    Raises ValueError, ImportError or AttributeError when it names none.
    """
    made = service_process.load(checkout)(shop)
    handlers = getattr(made, "handlers", None)
    if not callable(getattr(made, "place", None)):
        raise ValueError(f"{checkout} has no place(order)")
    if not isinstance(handlers, dict) or not all(map(callable, handlers.values())):
        raise ValueError(
            f"{checkout} needs handlers: a dict with a function for each stream, or {{}}"
        )
    return made
