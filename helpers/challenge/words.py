"""A verdict in words: what went wrong, what it costs, and where it stands among others."""

import textwrap

WIDTH = 100
SURELY_QUICKER = 0.1  # seconds; less may be chance


def name(verdict) -> str:
    """The verdict's name at the beginning of a sentence."""
    return verdict.name[0].upper() + verdict.name[1:]


def headline(verdict) -> str:
    """One line: how much went wrong."""
    harmed = [facts.scenario for facts in verdict.facts if facts.harm]
    if not harmed:
        return f"{name(verdict)}: nothing went wrong in {len(verdict.facts)} scenarios"
    return (
        f"{name(verdict)}: something went wrong in {len(harmed)} of {len(verdict.facts)} scenarios "
        f"({', '.join(harmed)})"
    )


def report(verdict) -> str:
    """All findings, harms first, and the three things that a design trades."""
    lines = [headline(verdict) + "."]
    harms = [finding for finding in verdict.findings if finding.harm]
    costs = [finding for finding in verdict.findings if not finding.harm]
    for title, found, mark in (
        ("What went wrong:", harms, "✗"),
        ("What it costs:", costs, "•"),
    ):
        if found:
            lines += ["", title]
        for finding in found:
            scenario = finding.scenario[0].upper() + finding.scenario[1:]
            lines += _wrapped(f"{mark} {scenario}. {finding.text}")
    customers = sum(facts.customers for facts in verdict.facts)
    slowest = max(verdict.facts, key=lambda facts: facts.p95)
    lines += ["", "What it trades:"]
    lines += _wrapped(
        f"- time at the button: p95 {verdict.waited:.2f} s in the calm hour, at worst "
        f"{slowest.p95:.2f} s ({slowest.scenario})"
    )
    lines += _wrapped(
        f"- certainty: {verdict.in_doubt} of {customers} customers left with “received”, "
        "the others knew"
    )
    lines += _wrapped(
        f"- harm: something went against a customer or the shop {_times(verdict.harm)}"
    )
    return "\n".join(lines)


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n} times"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def beats(one, other) -> bool:
    """Is `one` better in time, certainty or harm, and worse in none of them?"""
    quicker = other.slowest - one.slowest
    better = [
        quicker > SURELY_QUICKER,
        one.in_doubt < other.in_doubt,
        one.harm < other.harm,
    ]
    worse = [
        -quicker > SURELY_QUICKER,
        one.in_doubt > other.in_doubt,
        one.harm > other.harm,
    ]
    return any(better) and not any(worse)


def standing(mine, others) -> str:
    """Where a verdict stands among others, in the three things that a design trades."""
    others = [each for each in others if each is not mine]
    if not others:
        return f"{name(mine)} is the only one that has been run so far."
    quicker = sum(mine.slowest - each.slowest > SURELY_QUICKER for each in others)
    surer = sum(each.in_doubt < mine.in_doubt for each in others)
    safer = sum(each.harm < mine.harm for each in others)
    better = [each.name for each in others if beats(each, mine)]
    text = (
        f"{name(mine)}: of {len(others)} other{'s' * (len(others) > 1)}, {safer} did less harm, {quicker} "
        f"kept customers waiting for less time, {surer} left fewer of them with “received”. "
    )
    if better:
        return text + f"Better in one of these and worse in none: {'; '.join(better)}."
    return text + "None is better in one of these without being worse in another."
