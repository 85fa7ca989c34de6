"""A design: for each step of the checkout "sync" or "async", and the learner's reasons."""

from dataclasses import dataclass, field
from itertools import product

from helpers import progress
from helpers.claims import report

SERVICES = {  # the step: the service that does it, in the order in which learners choose
    "charge": "payments",
    "reserve": "inventory",
    "confirm": "email",
    "recommend": "recommendations",
}
WAYS = {
    "sync": "wait for the answer at the button",
    "async": "leave it to a worker",
}
KEPT = "10/design"  # the name in the learner's progress


@dataclass(frozen=True)
class Design:
    """Which step is synchronous, and which is not. Two designs with the same choices are equal."""

    charge: str
    reserve: str
    confirm: str
    recommend: str
    reasons: dict = field(default_factory=dict, compare=False)

    @property
    def choices(self) -> dict[str, str]:
        return {step: getattr(self, step) for step in SERVICES}

    @property
    def checkout(self) -> str:
        """The import string of the checkout that is wired in this way."""
        choices = ", ".join(f"{step}={way!r}" for step, way in self.choices.items())
        return f"helpers.challenge.checkout:wire({choices})"

    def picture(self):
        """The design as a picture: a solid arrow waits, a dashed one does not."""
        from helpers.system import system

        arrows = [
            f"orders -> {service}: {step}"
            if self.choices[step] == "sync"
            else f"orders ~> {step} queue ~> {service}"
            for step, service in SERVICES.items()
        ]
        return system("customer -> orders: place order", *arrows)

    def __str__(self) -> str:
        return ", ".join(f"{step}: {way}" for step, way in self.choices.items())


class Undecided(ValueError):
    """A design is not complete; the message says what to write."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


def design(**steps: tuple[str, str]) -> Design:
    """The learner's design: `charge=("sync", "because …")`, and so for each of the four steps.

    Raises Undecided, and says all that is missing or wrong.
    """
    wrong = {}
    for step in SERVICES:
        if step not in steps:
            wrong[step] = f'choose: {step}=("sync" or "async", "why")'
        elif problem := _problem(steps[step]):
            wrong[step] = problem
    for step in steps.keys() - SERVICES.keys():
        wrong[step] = f"there is no such step; there are {', '.join(SERVICES)}"
    if wrong:
        raise Undecided(report("✗ Your design is not complete yet.", **wrong))
    reasons = {step: why.strip() for step, (_, why) in steps.items()}
    return Design(**{step: way for step, (way, _) in steps.items()}, reasons=reasons)


def _problem(chosen: object) -> str:
    """What is wrong with the choice for a step; "" when nothing is."""
    if isinstance(chosen, str):
        chosen = chosen, ""
    try:
        way, why = chosen
    except (TypeError, ValueError):
        return f'write ("sync" or "async", "why"), not {chosen!r}'
    if way not in list(WAYS):
        ways = " or ".join(f'"{way}" ({words})' for way, words in WAYS.items())
        return f"choose {ways}, not {way!r}"
    if not isinstance(why, str) or not any(letter.isalpha() for letter in why):
        return f'write in a few words why: ("{way}", "because …")'
    return ""


def designs() -> list[Design]:
    """All 16."""
    return [Design(*ways) for ways in product(WAYS, repeat=len(SERVICES))]


def keep(design: Design, verdict) -> None:
    """Keep the design, its reasons and what came of it with the learner's progress."""
    if said := progress.note(
        "predictions",
        KEPT,
        predicted=str(design),
        unit="",
        reasons=design.reasons,
        came_out=verdict.headline,
        harm=verdict.harm,
        slowest_seconds=round(verdict.slowest, 3),
        in_doubt=verdict.in_doubt,
    ):
        print(said)
