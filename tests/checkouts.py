"""Checkouts that the judge has to see through; each is named by an import string."""

import os
import time

from helpers.challenge import checkout
from helpers.challenge.checkout import Checkout
from helpers.challenge.wiring import Refused


def liar(**design):
    """Says that it waits where it does not, and the other way round."""
    other = {"sync": "async", "async": "sync"}
    return checkout.wire(**{step: other[way] for step, way in design.items()})


class SaysYes(Checkout):
    """Publishes everything, and tells everybody "confirmed" at once."""

    def __init__(self, shop):
        super().__init__(shop, waits=[])

    def place(self, order):
        super().place(order)
        return "confirmed"


class Keyless(Checkout):
    """Charges in a worker, and without a key."""

    def __init__(self, shop):
        super().__init__(shop, waits=["reserve"])

    def call(self, service, path, body, **more):
        super().call(service, path, body)


class KeyedMail(Checkout):
    """Leaves the mail to a worker, and gives the provider a key."""

    def __init__(self, shop):
        super().__init__(shop, waits=["reserve", "charge"])

    def confirm(self, order, kind="confirmation"):
        mail = {"order": order["order"], "kind": kind}
        key = {"Idempotency-Key": f"{order['order']}-{kind}"}
        self.call("email", "/mails", mail, headers=key)


class Forgetful(Checkout):
    """Its worker acknowledges each message and sends no mail."""

    def __init__(self, shop):
        super().__init__(shop, waits=["reserve", "charge", "recommend"])
        self.handlers = {"confirm": lambda order: None}


class Unheard(Checkout):
    """Publishes mails that no worker ever reads."""

    def __init__(self, shop):
        super().__init__(shop, waits=["reserve", "charge", "recommend"])
        self.handlers = {}


class KeepsTheMoney(Checkout):
    """Waits for everything, and refunds nothing when it refuses an order."""

    def __init__(self, shop):
        super().__init__(shop, waits=checkout.STEPS)

    def undo(self, order):
        pass


class OutOfOrder:
    """Has no `handlers`."""

    def __init__(self, shop):
        pass

    def place(self, order):
        return "confirmed"


class Silent(OutOfOrder):
    """Tells the customer nothing."""

    handlers = {}

    def place(self, order):
        return None


class Crashes(Silent):
    def place(self, order):
        return order["prize"]


class Refuses(Silent):
    """Refuses everybody."""

    def place(self, order):
        raise Refused("we are closed")


class FailsLater(Checkout):
    """Its worker raises, whenever it tries."""

    def __init__(self, shop):
        super().__init__(shop, waits=["reserve", "charge", "recommend"])
        self.handlers = {"confirm": lambda order: order["prize"]}


class Dies(FailsLater):
    """Its worker ends its own process."""

    def __init__(self, shop):
        super().__init__(shop)
        self.handlers = {"confirm": self.die}

    def die(self, order):
        print("about to end", flush=True)
        os._exit(1)


class DiesAtOnce(Dies):
    """The button ends its own process."""

    def place(self, order):
        self.die(order)


class Floods(FailsLater):
    """Its worker publishes more than it works off."""

    def __init__(self, shop):
        super().__init__(shop)
        self.handlers = {"confirm": self.flood}

    def flood(self, order):
        while True:
            self.publish(order, ["confirm"])


class Stuck(Silent):
    """The button never comes back."""

    def place(self, order):
        time.sleep(60)
