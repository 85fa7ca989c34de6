"""The design challenge: the judge counts in the ledgers, and sees what a checkout really does."""

import contextlib
import sys
import time
from dataclasses import replace

import pytest
from running import family, nothing_left, wait_until

from helpers import progress, registry
from helpers.challenge import (
    SCENARIOS,
    CheckoutFailed,
    Design,
    Stopped,
    Undecided,
    Verdict,
    board,
    design,
    designs,
    figure,
    judge,
    keep,
    words,
)
from helpers.challenge.scenarios import Scenario
from helpers.challenge.stage import Customer, Stage
from helpers.challenge.verdict import HARMS, SLOW, count_up, findings

CLASSIC = Design("sync", "sync", "async", "async")
ALL_SYNC = Design("sync", "sync", "sync", "sync")
ALL_ASYNC = Design("async", "async", "async", "async")
HASTY = Design("async", "async", "sync", "async")
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
CALM = BY_NAME["a calm hour"]


def run(checkout, *names):
    """A verdict from real services; nothing may be left afterwards, and it may not take long."""
    begin = time.monotonic()
    with nothing_left():
        scenarios = tuple(BY_NAME[name] for name in names or ["the last item"])
        verdict = judge(checkout, scenarios=scenarios)
        assert registry.is_empty(), "something of the judge's is still running"
    assert time.monotonic() - begin < 30
    return verdict


def kinds(verdict, scenario):
    return {each.kind for each in verdict.findings if each.scenario == scenario}


# Telling designs, in full


@pytest.fixture(scope="module")
def verdicts():
    """The verdict of a design in all seven scenarios; each is run once."""
    made = {}

    def verdict(of):
        if of not in made:
            begin = time.monotonic()
            with nothing_left():
                made[of] = judge(of.checkout, name=str(of))
            assert time.monotonic() - begin < 30, "a design takes 30 s at most"
        return made[of]

    return verdict


@pytest.mark.parametrize("of", [CLASSIC, ALL_SYNC, ALL_ASYNC], ids=str)
def test_all_seven_scenarios_are_run_and_counted(verdicts, of):
    verdict = verdicts(of)
    assert [facts.scenario for facts in verdict.facts] == list(BY_NAME)
    assert all(0 < facts.p50 <= facts.p95 for facts in verdict.facts)
    for facts in verdict.facts:
        # None of the designs does these, whatever happens: keys, refunds, and work tried again.
        assert facts.charged_wrongly == facts.mails_lost == facts.never_done == 0
        assert facts.refused_needlessly <= facts.customers
    assert verdict["a calm hour"].harm == 0
    assert verdict["tenfold spike"].customers > 3 * verdict["a calm hour"].customers


def test_waiting_for_everything(verdicts):
    verdict = verdicts(ALL_SYNC)
    calm, slow = verdict["a calm hour"], verdict["slow e-mail"]
    assert slow.p50 - calm.p50 > 0.2
    assert "slow" in kinds(verdict, "slow e-mail")
    down = verdict["Recommendations down"]
    assert down.refused_needlessly == down.refunded == down.customers
    assert "recommend" in down.because and down.undone == 0
    spike = verdict["tenfold spike"]
    assert spike.refused_needlessly == spike.gave_up > 3
    killed = verdict["worker killed"]
    assert killed.killed == killed.mails_doubled == killed.harm == 0
    for name in ("declined cards", "the last item"):
        assert verdict[name].harm == verdict[name].told_later == 0
    assert verdict.in_doubt == 0


def test_waiting_for_nothing(verdicts):
    verdict = verdicts(ALL_ASYNC)
    assert verdict.in_doubt == sum(facts.customers for facts in verdict.facts)
    assert "only_received" in kinds(verdict, "a calm hour")
    declined = verdict["declined cards"]
    assert declined.told_later == declined.customers / 2
    assert verdict["the last item"].told_later == 1
    down = verdict["Recommendations down"]
    assert down.undone == down.customers and down.harm == 0
    killed = verdict["worker killed"]
    assert killed.killed == 4, (
        "in each of the four streams a message was being worked on"
    )
    assert killed.mails_doubled == 1
    assert verdict.harm == 1
    assert verdict.slowest < 1


def test_waiting_for_what_decides(verdicts):
    verdict = verdicts(CLASSIC)
    assert verdict.in_doubt == 0
    for name in ("a calm hour", "slow e-mail", "declined cards", "the last item"):
        assert verdict[name].harm == 0
        assert not kinds(verdict, name) - {"slow"}
    assert verdict["worker killed"].mails_doubled == 1
    slow, calm = verdict["slow e-mail"], verdict["a calm hour"]
    assert slow.p50 < calm.p50 + 0.2
    waited = verdicts(ALL_SYNC)
    assert verdict.harm < waited.harm and verdict.in_doubt == waited.in_doubt


def test_confirming_before_the_answer_is_there():
    verdict = run(HASTY.checkout, "declined cards", "the last item")
    declined, last = verdict["declined cards"], verdict["the last item"]
    assert declined.confirmed_wrongly == declined.by_mail == declined.told_later == 2
    assert (last.oversold, last.confirmed_wrongly, last.told_later) == (1, 1, 1)
    assert {"confirmed_wrongly", "oversold"} <= kinds(verdict, "the last item")


def test_charging_before_reserving_costs_a_refund():
    verdict = run(Design("sync", "async", "async", "async").checkout, "the last item")
    last = verdict["the last item"]
    assert (last.refunded, last.told_later, last.harm) == (1, 1, 0)


# What a checkout does counts, not what it says


def test_a_checkout_that_lies_about_its_choice_gets_the_verdict_of_what_it_did():
    lies = ALL_SYNC.checkout.replace(
        "helpers.challenge.checkout:wire", "checkouts:liar"
    )
    verdict = run(lies, "declined cards", "Recommendations down")
    assert verdict.in_doubt == sum(facts.customers for facts in verdict.facts)
    declined, down = verdict["declined cards"], verdict["Recommendations down"]
    assert declined.told_later == declined.customers / 2
    assert down.undone == down.customers and down.refused_needlessly == 0


def test_saying_yes_at_once_is_seen_in_the_ledgers():
    verdict = run("checkouts:SaysYes", "declined cards", "the last item")
    declined, last = verdict["declined cards"], verdict["the last item"]
    assert declined.confirmed_wrongly == declined.customers / 2
    assert declined.by_mail == 0
    assert "at the button" in words.report(verdict)
    assert last.oversold == 1


def test_without_a_key_a_killed_worker_charges_twice_and_with_one_it_does_not():
    verdict = run("checkouts:Keyless", "worker killed")
    assert verdict["worker killed"].charged_wrongly == 1
    keyed = Design("async", "sync", "async", "async")
    verdict = run(keyed.checkout, "worker killed")
    killed = verdict["worker killed"]
    assert killed.killed == 3 and killed.charged_wrongly == 0


def test_with_a_key_a_killed_worker_mails_once():
    killed = run("checkouts:KeyedMail", "worker killed")["worker killed"]
    assert killed.killed == 2 and killed.mails_doubled == 0 and killed.mails_lost == 0


def test_a_mail_that_is_dropped_is_lost_and_one_that_waits_is_never_done():
    calm = run("checkouts:Forgetful", CALM.name)[CALM.name]
    assert (calm.mails_lost, calm.never_done) == (calm.customers, 0)
    calm = run("checkouts:Unheard", CALM.name)[CALM.name]
    assert (calm.mails_lost, calm.never_done) == (0, calm.customers)


def test_money_that_is_kept_for_a_refused_order_is_seen():
    verdict = run("checkouts:KeepsTheMoney", "Recommendations down")
    down = verdict["Recommendations down"]
    assert down.charged_wrongly == down.refused_needlessly == down.customers
    assert down.refunded == 0


def test_refusing_everybody_serves_nobody():
    verdict = run("checkouts:Refuses", "the last item", "declined cards")
    assert verdict["the last item"].refused_needlessly == 1
    declined = verdict["declined cards"]
    assert declined.refused_needlessly == declined.customers / 2
    assert "“we are closed”" in words.report(verdict)


@pytest.mark.parametrize(
    "checkout, message",
    [
        ("checkouts:OutOfOrder", "needs handlers"),
        ("checkouts:nobody", "no 'nobody'"),
        ("nowhere:Checkout", "No module"),
        ("no import string", "is no import string"),
        ("checkouts:Silent", "returned None, not 'confirmed' or 'received'"),
        ("checkouts:Crashes", "KeyError: 'prize'"),
        ("checkouts:DiesAtOnce", "button's process has ended by itself.*about to end"),
        ("checkouts:Dies", "workers' process has ended by itself.*about to end"),
        ("checkouts:Floods", "Over 1,000 messages have piled up"),
    ],
)
def test_a_checkout_that_cannot_run_is_told_and_leaves_nothing(checkout, message):
    with pytest.raises(CheckoutFailed, match="(?s)" + message):
        run(checkout)


def test_a_checkout_is_named_not_given():
    with pytest.raises(TypeError, match="import string"):
        judge(ALL_SYNC)


def test_a_button_that_is_stuck_is_told(monkeypatch):
    monkeypatch.setattr(sys.modules[Stage.__module__], "NO_THREAD", 1)
    with pytest.raises(CheckoutFailed, match="did not come back within 1 s"):
        run("checkouts:Stuck")


# One scenario after the other


def test_a_scenario_is_run_again_and_a_run_ends_when_asked_to():
    seen, said = [], iter([None, "again", "enough"])

    def after(facts):
        seen.append(facts.scenario)
        return next(said)

    names = ("worker killed", "the last item", "the last item", CALM.name)
    with nothing_left():
        scenarios = tuple(BY_NAME[name] for name in names)
        verdict = judge("checkouts:KeyedMail", scenarios=scenarios, after=after)
    assert seen == ["worker killed", "the last item", "the last item"]
    assert [facts.scenario for facts in verdict.facts] == seen[:2]
    assert [facts.killed for facts in verdict.facts] == [2, 0]


def test_what_a_handler_raises_is_in_the_log():
    scenarios = [BY_NAME["the last item"]]
    verdict = judge("checkouts:FailsLater", scenarios=scenarios)
    assert verdict.facts[0].never_done == 1
    assert verdict.log.rstrip().endswith("KeyError: 'prize'")


# Stopping


def test_a_run_can_be_stopped_and_leaves_nothing():
    reached = []
    with nothing_left(), pytest.raises(Stopped):
        judge(
            CLASSIC.checkout,
            before=lambda number, scenario: reached.append(time.monotonic()),
            stopping=lambda: len(reached) == 2 and time.monotonic() - reached[-1] > 0.2,
        )
    assert len(reached) == 2
    assert time.monotonic() - reached[-1] < 5


def test_an_interrupt_leaves_nothing():
    def interrupt(number, scenario):
        raise KeyboardInterrupt

    with nothing_left(), pytest.raises(KeyboardInterrupt):
        judge(CLASSIC.checkout, before=interrupt)


def test_one_run_at_a_time():
    def another(number, scenario):
        with pytest.raises(RuntimeError, match="Another checkout is being run"):
            judge(CLASSIC.checkout)
        raise Stopped

    with nothing_left(), pytest.raises(Stopped):
        judge(CLASSIC.checkout, before=another)
    assert run("checkouts:Refuses").facts, "and then the next one"


# Each finding, present and absent, from made-up ledgers


LAST_ONE = Scenario("the last item", "", None, stock=1)
PAID, BACK = {"status": "paid"}, {"status": "refunded"}
HELD, FREE = {"status": "reserved"}, {"status": "released"}
YES, NO = {"kind": "confirmation"}, {"kind": "cancellation"}


def facts(*orders, scenario=CALM, undone=0, never_done=0, noted=(), **more):
    """The facts of orders: (told, charges, reservations, mails) and perhaps the card.

    noted: the numbers of those that Recommendations knows of.
    """
    customers, ledgers = [], {"payments": [], "inventory": [], "email": []}
    ledgers["recommendations"] = [{"order": f"order-{number}"} for number in noted]
    for number, (told, charges, reservations, mails, *card) in enumerate(orders):
        order = f"order-{number}"
        customers.append(
            Customer(order, "bike", *(card or ["tok_visa"]), told=told, seconds=0.1)
        )
        found = {"payments": charges, "inventory": reservations, "email": mails}
        for name, entries in found.items():
            ledgers[name] += [{"order": order, **entry} for entry in entries]
    made = count_up(scenario, customers, ledgers, undone=undone, never_done=never_done)
    return replace(made, **more)


GOOD = ("confirmed", [PAID], [HELD], [YES])
LATER = ("received", [PAID], [HELD], [YES])
DECLINED = ("refused", [], [FREE], [], "tok_declined")
FINDINGS = {
    "confirmed_wrongly": [
        (facts(("confirmed", [], [HELD], []), mails_lost=0), 1),
        (facts(("confirmed", [PAID], [FREE], [NO])), 1),
        (facts(("received", [], [], [YES, NO], "tok_declined")), 1),
        (facts(("refused", [BACK], [FREE], [YES])), 1),
        (facts(GOOD, LATER, DECLINED), 0),
        (facts(("received", [], [], [NO], "tok_declined")), 0),
    ],
    "oversold": [
        (facts(GOOD, GOOD, scenario=LAST_ONE), 1),
        (facts(GOOD, ("received", [BACK], [], [YES, NO]), scenario=LAST_ONE), 1),
        (facts(GOOD, ("received", [BACK], [], [NO]), scenario=LAST_ONE), 0),
        (facts(GOOD, GOOD), 0),
    ],
    "mails_lost": [
        (facts(("confirmed", [PAID], [HELD], [])), 1),
        (facts(("received", [], [], [], "tok_declined")), 1),
        (facts(("", [PAID], [HELD], [])), 1),
        (facts(("confirmed", [PAID], [HELD], []), undone=1, never_done=1), 0),
        (facts(DECLINED, GOOD), 0),
    ],
    "mails_doubled": [
        (facts(("confirmed", [PAID], [HELD], [YES, YES, YES])), 2),
        (facts(GOOD, GOOD), 0),
    ],
    "refused_needlessly": [
        (facts(("refused", [], [], [])), 1),
        (facts(("", [PAID], [HELD], [YES])), 1),
        (facts(("refused", [], [], []), ("refused", [], [], []), scenario=LAST_ONE), 1),
        (facts(GOOD, ("refused", [], [], []), scenario=LAST_ONE), 0),
        (facts(DECLINED), 0),
    ],
    "charged_wrongly": [
        (facts(("confirmed", [PAID, PAID], [HELD], [YES])), 1),
        (facts(("refused", [PAID], [FREE], [])), 1),
        (facts(("refused", [BACK], [FREE], [])), 0),
        (facts(GOOD), 0),
    ],
    "held_for_nothing": [
        (facts(("refused", [], [HELD], []), ("received", [BACK], [HELD], [NO])), 2),
        (facts(GOOD, DECLINED, ("", [PAID], [HELD], [])), 0),
        (facts(("received", [], [HELD], []), undone=1, never_done=1), 0),
    ],
    "never_done": [
        (facts(GOOD, undone=3, never_done=2), 2),
        (facts(GOOD, undone=3), 0),
    ],
    "undone": [(facts(GOOD, undone=3), 3), (facts(GOOD), 0)],
    "told_later": [
        (facts(("received", [], [], [NO], "tok_declined")), 1),
        (facts(LATER, DECLINED), 0),
    ],
    "refunded": [(facts(("refused", [BACK], [FREE], [])), 1), (facts(GOOD), 0)],
    "unnoted": [
        (facts(GOOD, GOOD, noted=[1]), 1),
        (facts(GOOD, LATER, DECLINED, noted=[0, 1]), 0),
        (facts(GOOD, undone=1, never_done=1), 0),
    ],
    "only_received": [(facts(LATER, GOOD), 1), (facts(GOOD), 0)],
}


@pytest.mark.parametrize(
    "kind, made, number",
    [(kind, *each) for kind, cases in FINDINGS.items() for each in cases],
)
def test_each_finding_is_there_when_it_should_be_and_only_then(kind, made, number):
    assert getattr(made, kind) == number
    told = {each.kind: each for each in findings(made, calm=made)}
    assert (kind in told) == (number > 0)
    if number:
        assert told[kind].harm == (kind in HARMS)
        assert str(number) in told[kind].text and len(told[kind].text) > 60


@pytest.mark.parametrize("p95, told", [(SLOW + 0.01, True), (SLOW, False)])
def test_a_slow_button_is_told(p95, told):
    made = facts(GOOD, p95=p95)
    assert ("slow" in {each.kind for each in findings(made, calm=facts(GOOD))}) == told


def test_every_harm_has_its_cases():
    assert set(HARMS) <= set(FINDINGS)


# Designs


REASONS = dict.fromkeys(
    ("charge", "reserve", "confirm", "recommend"), "because I say so"
)


def test_a_design_keeps_its_choices_and_reasons():
    made = design(**{step: ("sync", f" {why} ") for step, why in REASONS.items()})
    assert made == ALL_SYNC and made.reasons == REASONS
    assert made.checkout == ALL_SYNC.checkout
    assert len(set(designs())) == 16 and made in designs()


GOOD_STEPS = {step: ("async", why) for step, why in REASONS.items()}


@pytest.mark.parametrize(
    "steps, lines",
    [
        ({}, ["charge: ", "reserve: ", "confirm: ", "recommend: "]),
        (GOOD_STEPS | {"charge": ("synch", "why")}, ["charge: ", "not 'synch'"]),
        (GOOD_STEPS | {"charge": "sync"}, ["charge: ", "in a few words why"]),
        (GOOD_STEPS | {"charge": ("sync", " … ")}, ["charge: ", "in a few words why"]),
        (GOOD_STEPS | {"charge": None}, ["charge: ", "not None"]),
        (GOOD_STEPS | {"charge": (["sync"], "why")}, ["charge: ", "not ['sync']"]),
        (GOOD_STEPS | {"ship": ("sync", "why")}, ["ship: ", "no such step"]),
    ],
)
def test_missing_and_invalid_choices_are_told(steps, lines):
    with pytest.raises(Undecided) as caught:
        design(**steps)
    told = "\n".join(caught.value._render_traceback_())
    assert told.startswith("✗ Your design is not complete yet.")
    assert all(line in told for line in lines)
    assert len(told.splitlines()) == 1 + max(
        1, sum(line.endswith(": ") for line in lines)
    )


@pytest.mark.parametrize("of", designs(), ids=str)
def test_a_design_can_be_seen(of):
    arrows = of.picture().arrows
    asynchronous = list(of.choices.values()).count("async")
    assert [arrow.kind for arrow in arrows].count("async") == 2 * asynchronous


def made_up(name, **changes):
    """A verdict that nobody has run."""
    return Verdict(
        name,
        tuple(facts(GOOD, scenario=each, noted=[0], **changes) for each in SCENARIOS),
        1,
    )


def test_the_learner_s_reasons_are_kept_with_the_result(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "progress.json"))
    mine = design(**GOOD_STEPS)
    keep(mine, made_up("your design", mails_doubled=1))
    kept = progress.noted("predictions")["10/design"]
    assert kept["reasons"] == REASONS
    assert kept["predicted"] == str(mine) and kept["harm"] == 7
    assert "7 of 7" in kept["came_out"]
    monkeypatch.setenv(progress.VARIABLE, "off")
    keep(mine, made_up("your design"))
    assert capsys.readouterr().out == ""


# Words and pictures


def test_a_verdict_without_harm_and_one_with():
    good, bad = made_up("good"), made_up("bad", mails_doubled=1)
    assert "nothing went wrong in 7 scenarios" in repr(good)
    assert "What went wrong" not in repr(good)
    assert "7 of 7 scenarios" in repr(bad) and "mailed twice" in repr(bad)
    assert good["a calm hour"].scenario == "a calm hour"
    with pytest.raises(KeyError, match="a calm hour"):
        good["a storm"]


def test_where_a_verdict_stands():
    mine = made_up("mine", mails_doubled=1, p95=0.3)
    safer_but_slower = made_up("careful", p95=0.9)
    better = made_up("better", p95=0.3)
    assert not words.beats(safer_but_slower, mine) and words.beats(better, mine)
    text = words.standing(mine, [mine, safer_but_slower])
    assert "1 did less harm, 0 kept" in text and "None is better" in text
    assert "worse in none: better" in words.standing(mine, [mine, better])
    assert "only one" in words.standing(mine, [mine])


def test_pictures_show_what_was_counted():
    fig = figure.facts_table(made_up("mine", mails_doubled=1))
    texts = [text.get_text() for text in fig.axes[0].texts]
    assert texts.count("1") == len(SCENARIOS) and "tenfold spike" in texts
    assert "held for\nnothing" not in texts
    held = made_up("mine", held_for_nothing=2)
    texts = [text.get_text() for text in figure.facts_table(held).axes[0].texts]
    assert "held for\nnothing" in texts and texts.count("2") == len(SCENARIOS)
    assert "harm in 7 of 7" in fig.axes[0].get_title(loc="left").replace("\n", " ")


def test_the_board_compares_what_was_run_and_runs_the_rest(monkeypatch):
    ran = []

    def quick(checkout, *, name, stopping, before):
        for number, scenario in enumerate(SCENARIOS):
            before(number, scenario)
        ran.append(checkout)
        return made_up(name)

    monkeypatch.setattr(sys.modules[board.__module__], "judge", quick)
    there = {each: made_up(str(each)) for each in designs()[:13]}
    there[CLASSIC] = made_up("mine", mails_doubled=1)
    shown = board(there, mine=CLASSIC)
    data, _ = shown._repr_mimebundle_()
    assert "image/png" in data and "application/vnd.jupyter.widget-view+json" in data
    shown.run()
    assert len(ran) == 16 - len(there) == 3 and len(shown.runs) == 16
    assert not set(ran) & {each.checkout for each in there}, (
        "what was run is not run again"
    )
    assert "Mine: of 15 others, 15 did less harm" in shown.status
    assert "alt=" in shown._picture.value
    with pytest.raises(ValueError, match="judge it first"):
        board({}, mine=CLASSIC)


def test_the_board_stops_a_real_run_and_keeps_what_was_done():
    before = family()
    shown = board({CLASSIC: made_up("mine")}, mine=CLASSIC)
    with nothing_left():
        shown.start()
        wait_until(lambda: "calm hour" in shown.status or shown.error, seconds=20)
        shown.stop()
        wait_until(lambda: not shown.running, seconds=10)
    assert "Stopped" in shown.status and shown.error is None
    assert list(shown.runs) == [CLASSIC]
    assert not shown._run_button.disabled
    assert [each for each in family() if each not in before] == []


def test_a_run_that_fails_is_told_on_the_board(monkeypatch):
    def fails(checkout, **_):
        raise CheckoutFailed("no shop")

    monkeypatch.setattr(sys.modules[board.__module__], "judge", fails)
    shown = board({CLASSIC: made_up("mine")}, mine=CLASSIC)
    with contextlib.suppress(CheckoutFailed):
        shown.run()
    assert "The run failed: CheckoutFailed: no shop" in shown.status
