"""The seven scenarios: who comes, and what happens meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass

from helpers.challenge.stage import Customer, Stage

CALM = 5  # customers a second
SPIKE = 10 * CALM
GOOD, DECLINED = "tok_visa", "tok_declined"


@dataclass(frozen=True)
class Scenario:
    """`play(stage)` lets it happen; it returns the customers, and the backlog that was left then."""

    name: str
    sentence: str
    play: Callable[[Stage], tuple[list[Customer], int]]
    stock: int | None = None  # pieces of the item, when there are too few


def _calm(stage):
    return stage.arrive([(CALM, 0.8)]), stage.settle()


def _slow_email(stage):
    with stage.slow("email", 0.3):
        return stage.arrive([(CALM, 0.6)]), stage.settle()


def _recommendations_down(stage):
    with stage.down("recommendations"):
        return stage.arrive([(CALM, 0.6)]), stage.settle()


def _declined_cards(stage):
    return stage.arrive([(CALM, 0.8)], cards=(GOOD, DECLINED)), stage.settle()


def _last_item(stage):
    stage.set_stock("bike", 1)
    return stage.at_once(2, "bike"), stage.settle()


def _spike(stage):
    return stage.arrive([(CALM, 0.2), (SPIKE, 0.6)]), stage.settle()


def _worker_killed(stage):
    with stage.worker_killed():
        customers = stage.arrive([(CALM, 0.8)])
    return customers, stage.settle()


SCENARIOS = (
    Scenario("a calm hour", "customers come one after the other", _calm),
    Scenario("slow e-mail", "the e-mail provider takes 0.3 s longer", _slow_email),
    Scenario(
        "Recommendations down", "Recommendations is stopped", _recommendations_down
    ),
    Scenario("declined cards", "every other card is declined", _declined_cards),
    Scenario(
        "the last item", "two customers want the last bike at once", _last_item, 1
    ),
    Scenario("tenfold spike", "ten times the customers, for 0.6 s", _spike),
    Scenario(
        "worker killed", "the workers' process is killed mid-message", _worker_killed
    ),
)
