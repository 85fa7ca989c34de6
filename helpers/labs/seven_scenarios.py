"""The judge of lesson 10 on the learner's checkout: the run, and what must not come of it."""

import time
from collections.abc import Callable
from dataclasses import replace
from inspect import unwrap
from types import FunctionType
from typing import NoReturn

from helpers.challenge import SCENARIOS, CheckoutFailed, Verdict, judge
from helpers.challenge.scenarios import Scenario
from helpers.challenge.verdict import Facts
from helpers.checks import Refused, expect, expect_count
from helpers.claims import report
from helpers.labs.checkout_module import import_string, last_error

# What tells most in the least time comes first, since harm ends the run.
ORDER = (
    "a calm hour",
    "the last item",
    "declined cards",
    "worker killed",
    "slow e-mail",
    "Recommendations down",
    "tenfold spike",
)
MORE = 0.2  # seconds at the button, of the 0.3 that a mail takes longer
AGAIN_WITHIN = 7.0  # seconds since the start; later there is no time for a second try
LIGHT = 0.08  # seconds at the button: with these, 2 threads stand the spike
WHAT = {  # in the plural; worst first
    "charged_wrongly": "orders charged twice, or charged and refused",
    "confirmed_wrongly": "orders confirmed, and not both paid and reserved",
    "oversold": "items promised beyond the stock",
    "refused_needlessly": "orders lost that could have been served",
    "held_for_nothing": "items held for orders that are not paid",
    "never_done": "messages never worked off",
    "mails_lost": "customers without the mail that says how the order ended",
    "mails_doubled": "mails sent twice",
}
HINTS = {
    "ended by itself": "a process that ends takes all its orders with it: raise an error instead",
    "publishes without end": "a handler that publishes to its own stream never comes to an end",
    "did not come back": "what waits there? Give every wait a timeout",
}
TITLE = "✗ Verdict: seven scenarios, in processes of their own"


def run(place: Callable, handlers: Callable) -> Verdict:
    """Run the checkout through the scenarios until one does harm; refuse one that does not run."""
    functions = [_function(each) for each in (place, handlers)]
    running = [""]
    try:
        with import_string(*functions) as checkout:
            made = judge(
                checkout,
                scenarios=tuple(_scenario(name) for name in ORDER),
                before=lambda number, scenario: running.__setitem__(0, scenario.name),
                after=_Patience(),
            )
    except ValueError as error:
        hint = (
            "the button and the workers are processes of their own, so your functions go there "
            "as text, with the functions and constants they use"
        )
        _refuse(f"your code cannot be taken along: {error}", hint=hint)
    except CheckoutFailed as failed:
        _tell(failed, running[0])
    names = [scenario.name for scenario in SCENARIOS]
    facts = sorted(made.facts, key=lambda facts: names.index(facts.scenario))
    return replace(made, facts=tuple(facts))


def _function(value: Callable) -> FunctionType:
    function = unwrap(value)
    if not isinstance(function, FunctionType):
        name = getattr(value, "__name__", type(value).__name__)
        _refuse(f"{name} is no function of yours: write it with def", hint="")
    return function


def _scenario(name: str) -> Scenario:
    [found] = [scenario for scenario in SCENARIOS if scenario.name == name]
    return found


class _Patience:
    """After each scenario: is harm the machine's doing, so that it is tried again? Or is it enough?"""

    def __init__(self):
        self.start, self.calm, self.again = time.monotonic(), None, set()

    def __call__(self, facts: Facts) -> str | None:
        self.calm = self.calm or facts
        slow = facts.scenario == "slow e-mail" and slower(facts, self.calm)
        if not facts.harm and not slow:
            return "enough" if self.calm.unnoted else None
        early = time.monotonic() - self.start < AGAIN_WITHIN
        if self._may_be_chance(facts) and early and facts.scenario not in self.again:
            self.again.add(facts.scenario)
            return "again"
        return "enough"

    def _may_be_chance(self, facts: Facts) -> bool:
        """Somebody waited too long, which a machine that stalls for a moment can do, too."""
        if facts.harm > facts.refused_needlessly:
            return False
        return facts.scenario != "tenfold spike" or self.calm.p50 < LIGHT


def slower(facts: Facts, calm: Facts) -> bool:
    """Does the button wait for what is slow in this scenario?"""
    return facts.p50 - calm.p50 > MORE


def expect_no_harm(made: Verdict) -> None:
    """Refuse a checkout that has gone against a customer or the shop, with what was found."""
    calm = made["a calm hour"]
    for facts in made.facts:
        for kind, what in WHAT.items():
            number = getattr(facts, kind)
            hint = _finding(made, facts.scenario, kind)
            if number and kind == "never_done":
                raised, place = last_error(made.log)
                _to_do(raised)
                hint = f"a handler raised {raised}, {place}"
                hint = hint if raised else "which handler does not come back?"
            expect_count(f"{what}, in “{facts.scenario}”", number, exactly=0, hint=hint)
    slow = next((each for each in made.facts if each.scenario == "slow e-mail"), None)
    if slow:
        expect(
            "how much longer half of the customers wait when e-mail takes 0.3 s longer",
            slow.p50 - calm.p50,
            at_most=MORE,
            unit="s",
            hint="the button waits for the mail; whom does it serve?",
        )
    expect_count(
        "orders that Recommendations was never told of, in “a calm hour”",
        calm.unnoted,
        exactly=0,
        hint="recommend(shop, order) is one of the four steps",
    )


def _finding(made: Verdict, scenario: str, kind: str) -> str:
    found = [f.text for f in made.findings if (f.scenario, f.kind) == (scenario, kind)]
    # The number is told already.
    return found[0].partition(". ")[2] or found[0] if found else ""


def _tell(failed: CheckoutFailed, scenario: str) -> NoReturn:
    """Refuse a checkout that could not be judged, in words without paths."""
    first, _, log = str(failed).partition("\n")
    _, place = last_error(log)
    _, _, why = first.rpartition("cannot serve 'your_checkout:TheWholeCheckout': ")
    why = why.removeprefix("The checkout failed at the button: ")
    _to_do(why)
    case = f"in “{scenario}”" if scenario else "as its processes start"
    hint = "there it runs in processes of its own, without the memory of this notebook"
    for words, better in HINTS.items():
        hint = better if words in why else hint
    _refuse(why, case=case, at=place, hint=hint)


def _to_do(raised: str) -> None:
    """A stub that was reached only there."""
    _, is_stub, task = raised.partition("NotImplementedError: ")
    if is_stub and task.startswith("Task "):
        name, _, title = task.partition(": ")
        raise Refused(f"{name} is still to do: {title}")


def _refuse(what: str, hint: str, **facts: str) -> NoReturn:
    raise Refused(report(f"{TITLE}\n  {what}", **facts, hint=hint))
