"""The judge: runs a checkout through the seven scenarios, and says what came of it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from helpers import load
from helpers.challenge import verdict, words
from helpers.challenge.scenarios import SCENARIOS, Scenario
from helpers.challenge.stage import LEDGERS, Stage, Stopped
from helpers.challenge.verdict import Facts, Finding

ABOUT_SECONDS = 9  # what a run takes, for its bar

_judging = threading.Lock()  # two runs at once would slow each other down


@dataclass(frozen=True)
class Verdict:
    """What came of a checkout: `facts`, one for each scenario, and `findings` in words."""

    name: str
    facts: tuple[Facts, ...]
    seconds: float  # that the run took
    log: str = field(
        default="", repr=False
    )  # of the workers, with what handlers raised

    def __getitem__(self, scenario: str) -> Facts:
        """The facts of a scenario by its name, such as "slow e-mail"."""
        for facts in self.facts:
            if facts.scenario == scenario:
                return facts
        names = ", ".join(facts.scenario for facts in self.facts)
        raise KeyError(f"no scenario is called {scenario!r}; there are {names}")

    @cached_property
    def findings(self) -> list[Finding]:
        calm = self.facts[0]
        return [each for facts in self.facts for each in verdict.findings(facts, calm)]

    @property
    def harm(self) -> int:
        """How often something went against a customer or the shop, in all scenarios."""
        return sum(facts.harm for facts in self.facts)

    @property
    def waited(self) -> float:
        """The p95 at the button in the calm hour, in seconds."""
        return self.facts[0].p95

    @property
    def slowest(self) -> float:
        """The same in the scenario in which it is longest."""
        return max(facts.p95 for facts in self.facts)

    @property
    def in_doubt(self) -> int:
        """How many customers left with "received", in all scenarios."""
        return sum(facts.only_received for facts in self.facts)

    @property
    def headline(self) -> str:
        """One line: how much went wrong."""
        return words.headline(self)

    def __repr__(self) -> str:
        return words.report(self)

    def plot(self) -> None:
        """Show the facts as a table, a row for each scenario."""
        from helpers.challenge import figure

        figure.show_facts(self)


def judge(
    checkout: str,
    *,
    name: str = "your checkout",
    scenarios: tuple[Scenario, ...] = SCENARIOS,
    stopping: Callable[[], bool] = lambda: False,
    before: Callable[[int, Scenario], object] = lambda number, scenario: None,
    after: Callable[[Facts], str | None] = lambda facts: None,
) -> Verdict:
    """Run a checkout on real services through the scenarios.

    checkout: an import string, such as "my_checkout:Checkout"; helpers.challenge.wiring says what it
        has to be. It runs in processes of its own: one for the button, one for the workers.
    scenarios: the first one is what the others are compared with.
    stopping: asked again and again; when it is true, Stopped is raised. before: called with the number
        and the scenario, before each.
    after: called with the facts of each scenario; it may return "again", to run this one once more in
        place of the first time, or "enough", to end the run here.

    Raises CheckoutFailed when it does not run at all, and RuntimeError when another run is under way.
    Nothing is left running, whatever happens.
    """
    if not isinstance(checkout, str):
        raise TypeError(
            'checkout is an import string, such as "my_checkout:Checkout", since it runs in a '
            f"process of its own; this is {checkout!r}"
        )
    if not _judging.acquire(blocking=False):
        raise RuntimeError(
            "Another checkout is being run: wait for its end, or press Stop."
        )
    try:
        return _judge(checkout, name, scenarios, stopping, before, after)
    finally:
        _judging.release()


def _judge(checkout, name, scenarios, stopping, before, after) -> Verdict:
    begin = time.monotonic()
    load.progress(f"{len(scenarios)} scenarios on real services", ABOUT_SECONDS)
    facts: list[Facts] = []
    with Stage(checkout, stopping) as stage:
        for number, scenario in enumerate(scenarios):
            if stopping():
                raise Stopped
            before(number, scenario)
            made = _play(stage, scenario)
            what_next = after(made)
            if what_next == "again":
                made = _play(stage, scenario)
                what_next = after(made)
            facts.append(made)
            if what_next == "enough":
                break
        return Verdict(name, tuple(facts), time.monotonic() - begin, stage.log)


def _play(stage: Stage, scenario: Scenario) -> Facts:
    stage.forget()
    customers, undone = scenario.play(stage)
    never_done = stage.settle() if undone else 0
    return verdict.count_up(
        scenario,
        customers,
        {service: stage.entries(service) for service in LEDGERS},
        undone=undone,
        never_done=never_done,
        killed=stage.caught,
    )
