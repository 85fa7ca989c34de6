"""A claim: a sentence that a measurement in this notebook must bear out."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Real

from helpers import progress


@dataclass(frozen=True)
class Claim:
    """A sentence, what was expected and what was measured."""

    sentence: str
    holds: bool
    expected: str
    got: object


class ClaimFailed(AssertionError):
    """A claim does not hold: the sentence, what was expected, what came out, and a hint."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


#: The claims of this kernel by their sentence, each as it came out last.
claims: dict[str, Claim] = {}


def claim(
    sentence: str,
    got: object,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    more_than: float | None = None,
    less_than: float | None = None,
    equals: object = None,
    between: tuple[float, float] | None = None,
    unit: str = "",
    hint: str = "",
) -> None:
    """Print the sentence if the condition holds for `got`; raise `ClaimFailed` if it does not.

    Exactly one condition is given; `between` includes both ends. The number itself is not
    printed, since it differs from run to run. `hint` says where to look when it fails.
    """
    if not isinstance(sentence, str) or not sentence.strip():
        raise TypeError(f"A claim begins with its sentence, not with {sentence!r}.")
    condition = Condition.given(
        at_least=at_least,
        at_most=at_most,
        more_than=more_than,
        less_than=less_than,
        equals=equals,
        between=between,
    )
    holds = condition.holds(got)
    claims[sentence] = Claim(sentence, holds, condition.text(unit), got)
    if not holds:
        expected, came = condition.texts(got, unit)
        raise ClaimFailed(
            report(f"✗ {sentence}", expected=expected, got=came, hint=hint)
        )
    print(f"✓ {sentence}")
    number = {"got": float(got), "unit": unit} if _is_number(got) else {}
    if trouble := progress.note("claims", sentence, held=True, **number):
        print(trouble)


def last_measured(sentence: str) -> tuple[float, str] | None:
    """The number and its unit with which a claim held last, in this or another notebook.

    None when it has not held yet, or is not about a number.
    """
    facts = progress.noted("claims").get(sentence, {})
    return (facts["got"], facts["unit"]) if "got" in facts else None


def report(title: str, **facts: str) -> str:
    """A title, and below it the facts that are not empty, aligned."""
    facts = {name: text for name, text in facts.items() if text}
    width = max(map(len, facts), default=0) + 1
    lines = [f"  {name + ':':<{width}} {text}" for name, text in facts.items()]
    return "\n".join([title, *lines])


_NUMERIC = {
    "at_least": ("at least", lambda got, bound: got >= bound),
    "at_most": ("at most", lambda got, bound: got <= bound),
    "more_than": ("more than", lambda got, bound: got > bound),
    "less_than": ("less than", lambda got, bound: got < bound),
}


@dataclass(frozen=True)
class Condition:
    """One way in which a value can be right. `claim` and the checks of the labs share it."""

    name: str
    bounds: tuple = field(default=())

    @classmethod
    def given(cls, **conditions: object) -> Condition:
        """The one condition that is not None."""
        given = {name: bound for name, bound in conditions.items() if bound is not None}
        if len(given) != 1:
            said = " and ".join(given) or "none"
            raise TypeError(
                f"Give exactly one of {', '.join(conditions)}; given: {said}."
            )
        [(name, bound)] = given.items()
        if name == "equals":
            return cls(name, (bound,))
        if name == "between":
            try:
                low, high = bound
            except (TypeError, ValueError):
                raise TypeError(
                    f"between is a pair (low, high), not {bound!r}."
                ) from None
            bounds = _number(low, "between"), _number(high, "between")
            if low > high:
                raise ValueError(
                    f"between is (low, high), and {low} is more than {high}."
                )
            return cls(name, bounds)
        return cls(name, (_number(bound, name),))

    def holds(self, got: object) -> bool:
        """Is `got` right? A value that cannot be judged at all is an error."""
        if self.name == "equals":
            if got is None:
                raise TypeError(
                    "There is nothing to compare: got is None. Was anything measured?"
                )
            if isinstance(got, float) and math.isnan(got):
                raise ValueError("got is NaN, not a number: was anything measured?")
            try:
                return bool(got == self.bounds[0])
            except ValueError:  # an array is equal here and there
                raise TypeError(
                    f"equals compares one value, not an array such as {short(got)}."
                ) from None
        got = _number(got, "got")
        if self.name == "between":
            low, high = self.bounds
            return bool(low <= got <= high)
        return bool(_NUMERIC[self.name][1](got, self.bounds[0]))

    def text(self, unit: str = "", exact: bool = False) -> str:
        """The condition in words, such as "at least 0.4 s"."""
        bounds = " and ".join(short(bound, exact) for bound in self.bounds)
        words = {"equals": "", "between": "between "} | {
            name: f"{word} " for name, (word, _) in _NUMERIC.items()
        }
        return f"{words[self.name]}{bounds} {unit}".strip()

    def texts(self, got: object, unit: str = "") -> tuple[str, str]:
        """What was expected and what came out, exact where rounding would hide the difference."""
        exact = short(got) in map(short, self.bounds)
        return self.text(unit, exact), f"{short(got, exact)} {unit}".strip()


def short(value: object, exact: bool = False) -> str:
    """A value as a reader wants to see it, on one line."""
    if (
        isinstance(value, Real)
        and not isinstance(value, bool | int)
        and math.isfinite(value)
    ):
        value = float(value)
        if exact:
            return repr(value)
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 200 else f"{text[:199]}…"


def _is_number(value: object) -> bool:
    return (
        isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    )


def _number(value: object, name: str) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(
            f"{name} must be one number, not {short(value)}. "
            "Was anything measured? For a yes or no, use equals."
        )
    if not math.isfinite(value):
        raise ValueError(
            f"{name} is {value}, not a number to compare: was anything measured?"
        )
    return value
