"""Pictures of verdicts: one as a table, several side by side."""

from helpers import figures
from helpers.challenge import words
from helpers.challenge.design import SERVICES, Design
from helpers.challenge.verdict import HARMS, SLOW, Facts

COLUMNS = {  # the field of Facts: what the column is called
    "p50": "p50\n(s)",
    "p95": "p95\n(s)",
    "confirmed_wrongly": "wrongly\nconfirmed",
    "oversold": "over-\nsold",
    "mails_lost": "mails\nlost",
    "mails_doubled": "mails\ndoubled",
    "refused_needlessly": "need-\nlessly\nrefused",
    "charged_wrongly": "wrongly\ncharged",
    "only_received": "told\n“re-\nceived”",
    "told_later": "told\nlater",
    "refunded": "re-\nfunded",
    "undone": "undone\nat the\nend",
}
HARM, COST, NOTHING = "#F6C6B6", "#F7E7A9", "#F3F3F3"  # as the words say it, too
ONLY_WHEN_SEEN = {  # no design of lesson 10 does these
    "held_for_nothing": "held for\nnothing",
    "never_done": "never\ndone",
    "unnoted": "unknown\nto Rec.",
}
BARS = {
    "harm": "harm\n(times)",
    "slowest": "p95 at worst\n(s)",
    "in_doubt": "told “received”\n(customers)",
}
ALT = (
    "A row for each design that was run, with its four choices, and three bars: how often "
    "something went wrong, how long customers waited at worst, how many were told received."
)


def show_facts(verdict) -> None:
    """Display the facts of a verdict: a row for each scenario."""
    figures.show(
        facts_table(verdict),
        "A table with a row for each scenario: time at the button, and how many orders were wrongly "
        "confirmed, oversold, needlessly refused, and so on. What is not zero is shaded.",
    )


def facts_table(verdict):
    """The figure: harms shaded red, costs yellow, with the number in each cell."""
    rows = verdict.facts
    columns = COLUMNS | {
        name: label
        for name, label in ONLY_WHEN_SEEN.items()
        if any(getattr(facts, name) for facts in rows)
    }
    fig = figures.figure(height=1.35 + 0.34 * len(rows))
    with figures.drawing:
        ax = fig.subplots()
        figures.set_title(ax, _title(verdict))
        ax.set(xlim=(-3.1, len(columns)), ylim=(len(rows) - 0.4, -1.9))
        ax.axis("off")
        for x, label in enumerate(columns.values()):
            ax.text(x + 0.5, -0.6, label, ha="center", va="bottom", fontsize=7.5)
        for y, facts in enumerate(rows):
            ax.text(-0.1, y, facts.scenario, ha="right", va="center", fontsize=9)
            for x, name in enumerate(columns):
                text, shade = _cell(facts, name)
                ax.barh(y, 0.94, 0.86, x + 0.03, color=shade)
                ax.text(x + 0.5, y, text, ha="center", va="center", fontsize=9)
    return fig


def _cell(facts: Facts, name: str) -> tuple[str, str]:
    value = getattr(facts, name)
    if name in ("p50", "p95"):
        return f"{value:.2f}", COST if name == "p95" and value > SLOW else NOTHING
    if not value:
        return "0", NOTHING
    if name == "undone" and facts.never_done:
        return f"{value}", HARM
    return f"{value}", HARM if name in HARMS else COST


def _title(verdict) -> str:
    harmed = sum(bool(facts.harm) for facts in verdict.facts)
    return (
        f"{words.name(verdict)}: harm in {harmed or 'none'} of {len(verdict.facts)} scenarios "
        "(red); yellow is cost"
    )


def compare(figure, runs: dict[Design, object], total: int) -> None:
    """Draw the designs that were run into the figure, the least harmful first."""
    order = sorted(runs, key=lambda each: (runs[each].harm, runs[each].slowest))
    figure.set_size_inches(7.6, 1.5 + 0.3 * len(order))
    least = runs[order[0]].harm
    title = (
        f"{len(order)} of {total} designs: harm {least} to {runs[order[-1]].harm} times"
    )
    from matplotlib.ticker import MaxNLocator

    with figures.drawing:
        axes = figure.subplots(1, 4, sharey=True, width_ratios=[2.1, 1.2, 1.2, 1.2])
        figure.suptitle(title, fontweight="bold")
        for ax in axes:
            ax.set_ylim(len(order) - 0.4, -0.6)
            ax.tick_params(axis="y", length=0)
            ax.grid(visible=False, axis="y")
        _draw_choices(axes[0], order, runs)
        for ax, (name, label) in zip(axes[1:], BARS.items(), strict=True):
            values = [getattr(runs[each], name) for each in order]
            ax.barh(range(len(order)), values, 0.7, color="#666666")
            ax.set_xlabel(label)
            ax.set_xlim(0, max(*values, 1) * 1.35)
            ax.xaxis.set_major_locator(MaxNLocator(3, integer=name != "slowest"))
            for y, value in enumerate(values):
                text = f"{value:.2f}" if name == "slowest" else f"{value}"
                ax.annotate(
                    text,
                    (value, y),
                    xytext=(4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=8,
                )


def _draw_choices(ax, order: list[Design], runs: dict) -> None:
    from matplotlib.colors import to_rgba

    ax.set_xlim(0, len(SERVICES))
    ax.set_xticks([x + 0.5 for x in range(len(SERVICES))], list(SERVICES), fontsize=6.5)
    ax.tick_params(axis="x", length=0)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    names = [runs[each].name for each in order]
    mine = [
        name if name != str(each) else ""
        for name, each in zip(names, order, strict=True)
    ]
    ax.set_yticks(range(len(order)), mine, fontsize=8)
    for y, each in enumerate(order):
        for x, way in enumerate(each.choices.values()):
            ax.barh(y, 0.94, 0.82, x + 0.03, color=to_rgba(figures.colour(way), 0.35))
            ax.text(x + 0.5, y, way, ha="center", va="center", fontsize=7.5)
