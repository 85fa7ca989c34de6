"""Lab 4: right answers pass, whatever their make; wrong ones are refused in fitting words."""

import contextlib
import math
import threading
import time

import lab_answers
import pytest
import redis
from lab_answers import (
    assert_passed,
    assert_refused,
    assert_said,
    refusal,
    run_text,
    timed,
    to_do,
)
from running import wait_until

from helpers import registry, start_broker
from helpers.labs import lab04, spike
from helpers.labs.crew import Crew
from helpers.streams import Workers, backlog, run_workers
from tools import labs, notebooks

NAME = "04-fan-out-and-ride-a-spike.ipynb"
CHECKS = {
    "subscribe": lab04.check_task_1,
    "react": lab04.check_task_2,
    "join": lab04.check_task_3,
    "workers_needed": lab04.check_task_4,
    "scale": lab04.check_task_5,
}
NUMBER = {name: number for number, name in enumerate(CHECKS, start=1)}
FOR_THE_VERDICT = ("subscribe", "react", "join", "scale")


def lab(*changes, solved=True):
    """What the notebook defines, with changes (old, new) to its text."""
    begins = ["import redis", "SERVICE_SECONDS"]
    return lab_answers.lab(NAME, *changes, begins=begins, solved=solved, time=time)


def judged(given, **others):
    """The verdict on what a lab defines, with others in the place of some."""
    answers = [others.get(name, getattr(given, name)) for name in FOR_THE_VERDICT]
    return lambda: timed(lab04.verdict, *answers)


# No test shows its pictures.
pytestmark = pytest.mark.usefixtures("shown", "nothing_is_left")


# -- Right answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_passes(name, capsys):
    timed(CHECKS[name], getattr(lab(), name))
    said = capsys.readouterr().out
    assert_passed(NAME, NUMBER[name], said)


def test_the_verdict_on_the_solution(capsys, shown, told_after):
    told = told_after(NAME, "lab04/drained", 1.5)
    judged(lab())()
    said = capsys.readouterr().out.splitlines()
    assert said[:3] == [
        "✓ Verdict: two hundred orders, and a spike among them",
        "  200 orders accepted; done by "
        "payments 200, inventory 200, email 200, recommendations 200",
        "  lost: 0, done twice: 0, not acknowledged: 0",
    ]
    assert said[3].endswith(" s after its end") and "8.0 s of work" in said[4]
    [(figure, alt)] = shown
    top, below = figure.axes
    assert "orders wait at most" in top.get_title("left") and "model" in alt
    assert any("1.5 s" in text.get_text() for text in top.texts)
    [text] = told
    assert "You predicted 1.5 s" in text and "160 orders of 0.04 s each" in text


def test_the_lab_and_its_checks_agree():
    given = lab()
    for name in (
        "SERVICES",
        "BLOCK_MS",
        "SERVICE_SECONDS",
        "RATE",
        "DRAIN_SECONDS",
        "MOST",
    ):
        assert getattr(given, name) == getattr(lab04, name)
    text = notebooks.dumps(notebooks.read(labs.LABS / NAME))
    assert f"may cost {lab04.BUDGET:g} s" in text
    assert f"within {spike.LONGEST:g} s of its end" in text
    assert f"{spike.GRACE:g} s after all is done" in text


def answers_of_classes():
    """Objects that are called; groups are looked up first; workers stay until the line is gone."""

    class Group:
        def __init__(self, client, stream, name):
            self.client, self.stream, self.name = client, stream, name

        def make(self, begin):
            there = self.client.exists(self.stream) and [
                group["name"] for group in self.client.xinfo_groups(self.stream)
            ]
            if not there or self.name not in there:
                self.client.xgroup_create(self.stream, self.name, begin, mkstream=True)

    class Subscribe:
        def __call__(self, client, stream, services):
            for service in reversed(list(services)):
                Group(client, stream, service).make(0)

    class React:
        def __call__(self, client, stream, service, worker, handle):
            """What this worker has left pending comes first."""
            for after in ("0", ">"):
                news = client.xreadgroup(service, worker, {stream: after}, 1, 60)
                if news and news[0][1]:
                    [(message_id, event)] = news[0][1]
                    handle(event)
                    return client.xack(stream, service, message_id)

    class Join:
        def __call__(self, client, stream, service, history):
            last = "0-0"
            if not history and client.exists(stream):
                last = client.xinfo_stream(stream)["last-generated-id"]
            Group(client, stream, service).make(last)

    class Needed:
        def __call__(self, waiting, rate, service_seconds, drain_seconds):
            workers = 1
            while (workers / service_seconds - rate) * drain_seconds < waiting:
                workers += 1
            return workers

    class Scale:
        def __init__(self):
            self.quiet = 0

        def __call__(self, now, running):
            waiting = now.lag + now.pending
            wanted = min(12, Needed()(waiting, 20, 0.04, 0.4))
            self.quiet = self.quiet + 1 if waiting < running else 0
            if wanted < running and self.quiet < 3:
                return running
            return wanted

    return Subscribe(), React(), Join(), Needed(), Scale()


def answers_of_a_client_of_its_own():
    """A new connection for each step, commands as texts, and a step at a time."""

    def other(client):
        path = client.connection_pool.connection_kwargs["path"]
        return contextlib.closing(
            redis.Redis(unix_socket_path=path, decode_responses=True)
        )

    def subscribe(client, stream, services):
        with other(client) as mine:
            for service in services:
                with contextlib.suppress(redis.ResponseError):
                    mine.execute_command(
                        "XGROUP", "CREATE", stream, service, "0", "MKSTREAM"
                    )

    def react(client, stream, service, worker, handle):
        with other(client) as mine:
            news = mine.xreadgroup(service, worker, {stream: ">"}, count=1, block=100)
            for _, [(number, event)] in news:
                try:
                    handle(event)
                except Exception:
                    return False  # it stays pending
                mine.xack(stream, service, number)
            return bool(news)

    def join(client, stream, service, history):
        with other(client) as mine:
            try:
                mine.xgroup_create(stream, service, "$", mkstream=True)
            except redis.ResponseError:
                return
            if history:
                mine.xgroup_setid(stream, service, "0")

    def workers_needed(waiting, rate, service_seconds, drain_seconds):
        each = drain_seconds / service_seconds  # orders that one worker does
        return max(math.ceil(waiting / each) + math.ceil(rate * service_seconds), 1)

    def scale(now, running):
        waiting = now.lag + now.pending
        if waiting > 4 * running:
            return min(running + 2, 12)
        return max(running - 1, 1) if waiting < running else running

    return subscribe, react, join, workers_needed, scale


@pytest.mark.parametrize("made", [answers_of_classes, answers_of_a_client_of_its_own])
def test_right_answers_of_another_make_pass(made):
    answers = dict(zip(CHECKS, made(), strict=True))
    for name in reversed(CHECKS):  # the checks go in any order
        timed(CHECKS[name], answers[name])
    timed(lab04.verdict, *(answers[name] for name in FOR_THE_VERDICT))


def test_a_worker_to_spare_is_right_too():
    timed(lab04.check_task_4, lambda w, r, s, d: math.floor((w + r * d) * s / d) + 1)


# -- Wrong answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_a_stub_is_still_to_do(name):
    said = refusal(CHECKS[name], getattr(lab(solved=False), name))
    assert said == to_do(NAME, NUMBER[name])


def test_the_verdict_on_stubs():
    stubs, solved = lab(solved=False), lab()
    for name, title in (
        ("subscribe", "Task 1 is still to do: a group for each service"),
        ("react", "Task 2 is still to do: react"),
        ("join", "Task 3 is still to do: a fourth service"),
        ("scale", "Task 5 is still to do: scale by the backlog"),
    ):
        answers = {each: getattr(solved, each) for each in FOR_THE_VERDICT}
        answers[name] = getattr(stubs, name)
        assert refusal(lab04.verdict, *answers.values()) == title


def test_scale_without_workers_needed():
    stub = "    raise NotImplementedError('Task 4: how many workers')\n"
    said = refusal(lab04.check_task_5, lab((NEEDED, stub)).scale)
    assert said == "Task 4 is still to do: how many workers"


MADE = """            client.xgroup_create(stream, service, id="0", mkstream=True)
"""
GUARDED = """            if not str(error).startswith("BUSYGROUP"):
                raise
"""
READ = """    news = client.xreadgroup(service, worker, {stream: ">"}, count=1, block=BLOCK_MS)
"""
WORK = "            handle(event)\n"
ACK = "            client.xack(stream, service, message_id)\n"
BEGIN = """    begin = "0" if history else "$"
"""
JOINED = "        client.xgroup_create(stream, service, id=begin, mkstream=True)\n"
JOINED_GUARD = """        if not str(error).startswith("BUSYGROUP"):
            raise
"""
NEEDED = "    return max(1, math.ceil(work / drain_seconds))\n"
WAITING = "    waiting = now.lag + now.pending\n"
SCALED = "    return min(needed, MOST)\n"
HANGS = "    while True: time.sleep(0.01)\n"

#: What, the function, what is instead of which text in the lab, and what is said.
WRONG = [
    # Task 1
    ("one group for all", "subscribe", [("xgroup_create(stream, service", 'xgroup_create(stream, "shop"')],
     ["the groups of the stream", "expected: ['email', 'inventory', 'payments']", "got:      ['shop']"]),
    ("from now on", "subscribe", [(MADE, MADE.replace('"0"', '"$"'))],
     ["orders for payments, of three placed before", "exactly 3", "got:      0",
      'id="0" is the beginning']),
    ("BUSYGROUP the second time", "subscribe", [(GUARDED, "            raise\n")],
     ["your code raised ResponseError: BUSYGROUP", "case: when it is called again", "in subscribe(): "]),
    ("the try around the loop", "subscribe", [(GUARDED, "            break\n")],
     ["the groups of the stream", "'recommendations']", "got:      ['email', 'inventory', 'payments']"]),
    ("deletes the group and makes it anew", "subscribe",
     [(MADE, "            client.xgroup_destroy(stream, service)\n" + MADE)],
     ["orders that payments has taken and not acknowledged, after a second call", "exactly 2",
      "got:      0", "made anew, it forgets"]),
    ("empties the stream first", "subscribe", [(MADE, "            client.delete(stream)\n" + MADE)],
     ["the groups of the stream", "got:      ['email']"]),
    ("trims the stream", "subscribe",
     [(MADE, MADE + "            client.xtrim(stream, maxlen=1, approximate=False)\n")],
     ["messages in the stream", "exactly 3", "got:      1", "the stream is Orders'"]),
    ("no stream, no group", "subscribe", [(MADE, MADE.replace(", mkstream=True", ""))],
     ["your code raised ResponseError: The XGROUP subcommand requires",
      "case: when there is no stream yet"]),
    ("a message to make the stream", "subscribe",
     [(MADE, "            client.exists(stream) or client.xadd(stream, {'no': 'order'})\n" + MADE)],
     ["messages in the stream", "exactly 0", "got:      1", "mkstream=True makes an empty stream"]),
    ("another stream", "subscribe", [("xgroup_create(stream, service", "xgroup_create('elsewhere', service")],
     ["the groups of the stream", "got:      []"]),
    # Task 2
    ("one group for all", "react", [("xreadgroup(service", 'xreadgroup("payments"')],
     ["orders that email has not done", "exactly 0", "got:      5", "the group is `service`"]),
    ("a group for each worker", "react",
     [(READ, "    if worker not in [group['name'] for group in client.xinfo_groups(stream)]:\n"
             "        client.xgroup_create(stream, worker, id='0')\n" + READ.replace("service", "worker")),
      ("xack(stream, service", "xack(stream, worker")],
     ["orders that the group payments has read", "exactly 1", "got:      0", "the group has its name"]),
    ("acknowledges first", "react", [(WORK + ACK, ACK + WORK)],
     ["orders pending while handle() is at work", "exactly 1", "got:      0", "the order is lost"]),
    ("acknowledges by reading", "react", [("block=BLOCK_MS)", "block=BLOCK_MS, noack=True)")],
     ["orders pending while handle() is at work", "got:      0"]),
    ("never acknowledges", "react", [(ACK, "")],
     ["orders pending when the turn is over", "exactly 0", "got:      1", "acknowledge the order: xack"]),
    ("takes all it can get", "react", [("count=1, ", "")],
     ["orders handled in one turn, of four", "exactly 1", "got:      4", "leaves nothing to the others"]),
    ("never waits", "react", [(", block=BLOCK_MS", "")],
     ["how long a turn waits for news", "between 0.05 and 1.6 s", "an idle worker asks and asks"]),
    ("waits for ever", "react", [("block=BLOCK_MS", "block=0")],
     ["your code did not come back within 2 s", "case: when there is nothing new",
      "in react(): news = client.xreadgroup("]),
    ("reads what it had", "react", [('{stream: ">"}', '{stream: "0"}')],
     ["orders handled in one turn", "exactly 1", "got:      0"]),
    ("does nothing", "react", [(WORK, "")],
     ["orders handled in one turn", "exactly 1", "got:      0", "call handle(event)"]),
    ("hands over the id", "react", [("handle(event)", "handle((message_id, event))")],
     ["what handle() is given", "expected: {'event': 'OrderPlaced'", "got:      ('",
      "the fields of the message"]),
    ("acknowledges in any case", "react",
     [(WORK + ACK, f"            try:\n    {WORK}            finally:\n    {ACK}")],
     ["orders pending after a turn in which handle() raised", "exactly 1", "got:      0", "no xack"]),
    ("a turn without end", "react", [(READ, "    while client.xlen(stream): pass\n" + READ)],
     ["your code did not come back within 2 s", "in react(): while client.xlen(stream)"]),
    # Task 3
    ("always the past", "join", [(BEGIN, '    begin = "0"\n')],
     ["orders for newsletter, of five before it joined and two after", "exactly 2", "got:      7",
      '"$", the end']),
    ("never the past", "join", [(BEGIN, '    begin = "$"\n')],
     ["orders for recommendations, of five", "exactly 7", "got:      2", 'begins at "0"']),
    ("BUSYGROUP the second time", "join", [(JOINED_GUARD, "        raise\n")],
     ["your code raised ResponseError: BUSYGROUP", "case: when a service starts again, and joins again"]),
    ("made anew at each start", "join",
     [(JOINED, "        client.xgroup_destroy(stream, service)\n" + JOINED)],
     ["orders for newsletter, of three placed while it was away", "exactly 3", "got:      0",
      "it was away"]),
    ("publishes the past again", "join",
     [(JOINED, "        client.xgroup_create(stream, service, id='$', mkstream=True)\n"
               "        for _, event in client.xrange(stream) if history else ():\n"
               "            client.xadd(stream, event)\n")],
     ["messages in the stream", "exactly 5", "got:      10", "nothing is published again"]),
    ("sends everybody back to the start", "join",
     [(JOINED, JOINED + "        for group in client.xinfo_groups(stream):\n"
                        "            client.xgroup_setid(stream, group['name'], '0')\n")],
     ["the groups of the others, after recommendations has joined", "'last-delivered-id': '0-0'",
      "a group of its own"]),
    ("in the group of another", "join", [("service, id=begin", "'payments', id=begin")],
     ["the group that join() makes for recommendations", "expected: 'recommendations'",
      "got:      ['email', 'payments']"]),
    # Task 4
    ("as many as come", "workers_needed", [("waiting + rate * drain_seconds", "rate * drain_seconds")],
     ["orders still in line when 1 worker had 0.4 s", "exactly 0",
      "1 does 25 a second, 20 come: the 40 in line take 8 s, not 0.4 s"]),
    ("forgets what comes meanwhile", "workers_needed", [("waiting + rate * drain_seconds", "waiting")],
     ["workers_needed(1000, 50, 0.03, 10)", "between 5 and 6", "got:      3", "take 20 s, not 10 s"]),
    ("rounds down", "workers_needed", [("math.ceil(", "int(")],
     ["workers_needed(1000, 50, 0.03, 10)", "between 5 and 6", "got:      4"]),
    ("nobody at night", "workers_needed", [(NEEDED, "    return math.ceil(work / drain_seconds)\n")],
     ["workers_needed(0, 0, 0.04, 1)", "between 1 and 2", "got:      0",
      "even with nothing to do, one stays"]),
    ("three times as many", "workers_needed", [(NEEDED, "    return 3 * math.ceil(work / drain_seconds)\n")],
     ["orders still in line when only 7 had 0.4 s", "at least 1", "half of your 15 workers would do"]),
    ("part of a worker", "workers_needed", [(NEEDED, "    return work / drain_seconds\n")],
     ["what workers_needed(40, 20, 0.04, 0.4) returns", "expected: an int", "got:      4.8",
      "math.ceil()"]),
    ("none", "workers_needed", [(NEEDED, "")], ["expected: an int", "None (nothing was returned)"]),
    ("fewer than none", "workers_needed", [(NEEDED, "    return -1\n")],
     ["workers_needed(40, 20, 0.04, 0.4)", "between 1 and 30", "got:      -1"]),
    ("millions", "workers_needed", [(NEEDED, "    return 10**9\n")],
     ["between 1 and 30", "got:      1000000000"]),
    ("counts for ever", "workers_needed", [(NEEDED, HANGS)],
     ["your code did not come back within 2 s", "in workers_needed(): while True: "]),
    # Task 5
    ("the length of the stream", "scale", [(WAITING, "    waiting = now.length\n")],
     ["workers in the end, when nothing waits of 5000", "exactly 1", "got:      12",
      "what waits is lag + pending"]),
    ("always the most", "scale", [(SCALED, "    return MOST\n")],
     ["workers that scale() asks for when nothing waits", "expected: 1", "got:      12"]),
    ("up and never down", "scale", [(SCALED, "    return max(running, min(needed, MOST))\n")],
     ["workers in the end, when nothing waits", "exactly 1", "got:      8"]),
    ("nobody at night", "scale", [(SCALED, "    return min(needed, MOST) if waiting else 0\n")],
     ["workers that scale() asks for when nothing waits", "expected: 1", "got:      0"]),
    ("more than the bank takes", "scale", [(SCALED, "    return needed\n")],
     ["workers that scale() asks for when 500 orders wait", "between 1 and 12", "got:      41",
      "at most MOST"]),
    ("never more than one", "scale", [(SCALED, "    return 1\n")],
     ["workers in the end, when 500 orders wait", "at least 4", "got:      1"]),
    ("too late", "scale", [(SCALED, "    return min(running + 1, MOST) if waiting > 70 else 1\n")],
     ["orders of the spike that are not done", "exactly 0", "at most; are more needed, or sooner?"]),
    ("part of a worker", "scale", [(SCALED, "    return needed / 1\n")],
     ["what scale() when nothing waits returns", "expected: an int", "got:      1"]),
    ("none", "scale", [(SCALED, "")], ["expected: an int", "None (nothing was returned)"]),
    ("sleeps on it", "scale", [(WAITING, HANGS)],
     ["your code did not come back within 2 s", "in scale(): while True: time.sleep(0.01)"]),
    ("raises", "scale", [(WAITING, "    raise ValueError('how many?')\n")],
     ["your code raised ValueError: how many?", "in scale(): raise ValueError('how many?')"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [case[1:] for case in WRONG],
    ids=[f"{case[1]}: {case[0]}" for case in WRONG],
)
def test_a_wrong_answer_is_refused_in_fitting_words(name, changes, words):
    said = refusal(CHECKS[name], getattr(lab(*changes), name))
    assert_refused(NAME, NUMBER[name], words, said)


@pytest.mark.parametrize("name", ["subscribe", "react", "join", "scale"])
def test_who_stops_the_broker_is_refused(name):
    given = lab()
    function = getattr(given, name)

    def stops(*args):
        run_text("from helpers import stop_all; stop_all()")
        return function(*args)

    said = refusal(CHECKS[name], stops)
    assert_said(
        ["the broker, after the check", "'stopped by your code'", "from its top"], said
    )


def test_what_is_printed_is_shown(capsys):
    changed = lab((WAITING, WAITING + "    print('waiting:', waiting)\n"))
    timed(lab04.check_task_5, changed.scale)
    said = capsys.readouterr().out
    assert "printed meanwhile:\n    waiting: 0" in said and "more lines" in said


@pytest.mark.parametrize(
    ("changes", "others", "words"),
    [
        ([(MADE, MADE.replace('"0"', '"$"'))], {},
         ["orders that payments has not done", "exactly 0", "got:      5", "came before anybody subscribed"]),
        ([(ACK, "")], {}, ["has done and not acknowledged", "exactly 0", "see Task 2"]),
        ([], {"scale": lambda now, running: 2},
         ["of the spike", "there were 2 workers at most"]),
        ([], {"scale": lambda now, running: 12},
         ["workers 1 s after all was done", "exactly 1", "got:      12"]),
        ([(WORK, "            if service == 'email': raise KeyError('language')\n" + WORK)], {},
         ["your code raised KeyError: 'language'", "in react(): if service == 'email'"]),
        ([(WORK, WORK + WORK)], {},
         ["orders that payments has done more than once", "exactly 0", "got:      174"]),
    ],
    ids=["from now on", "no ack", "always two", "always twelve", "raises", "twice"],
)  # fmt: skip
def test_the_verdict_on_wrong_answers(changes, others, words, shown, monkeypatch):
    if not others:  # a shorter day will do
        monkeypatch.setattr(spike, "DAY", ((20, 0.2), (200, 0.8), (20, 0.25)))
    given = lab(*changes)
    answers = [others.get(name, getattr(given, name)) for name in FOR_THE_VERDICT]
    said = refusal(lab04.verdict, *answers)
    assert said.startswith("✗ Verdict: two hundred orders, and a spike among them\n")
    assert_said(words, said)
    assert bool(shown) == ("your code raised" not in said)


def test_the_verdict_on_workers_with_nothing_to_do(monkeypatch):
    monkeypatch.setattr(spike, "DAY", ((20, 0.2), (200, 0.8), (20, 0.25)))
    monkeypatch.setattr(lab04, "BUDGET", 4.0)
    given = lab()
    said = refusal(lab04.verdict, *(getattr(given, name) for name in FOR_THE_VERDICT))
    words = ["the time of all workers of Payments", "at most 4 s", "7.0 s of work"]
    assert_said(words, said)


# -- The learner's own ------------------------------------------------------------------


def test_the_learners_own_workers_and_stream_stay():
    client = start_broker().client
    client.xgroup_create("order-placed", "payments", id="0", mkstream=True)
    got = []
    mine = run_workers(got.append, "order-placed", "payments")
    timed(lab04.check_task_2, lab().react)
    timed(lab04.check_task_5, lab().scale)
    assert mine in registry.running()
    client.xadd("order-placed", {"order": "mine"})
    wait_until(lambda: got == [{"order": "mine"}])
    assert client.keys("order-placed*") == ["order-placed"]
    mine.stop()


# -- The parts of the experiment --------------------------------------------------------


def test_a_crew_grows_shrinks_and_counts_its_time():
    turns = []

    def turn(worker):
        turns.append(worker)
        time.sleep(0.02)

    crew = Crew("payments", turn)
    assert registry.find(Workers, "payments") is crew
    assert (crew.size, repr(crew)) == (0, "payments: 0 workers")
    crew.resize(3)
    wait_until(lambda: {"payments-1", "payments-2", "payments-3"} <= set(turns))
    time.sleep(0.1)
    crew.resize(1)
    assert 0.3 <= crew.seconds < 3 and repr(crew) == "payments: 1 worker"
    crew.resize(2)
    assert crew.size == 2
    crew.stop()
    assert (crew.size, registry.find(Workers, "payments")) == (0, None)
    spent, took = crew.seconds, len(turns)
    time.sleep(0.05)
    assert (crew.seconds, len(turns)) == (spent, took)


def test_a_crew_takes_the_place_of_another_and_keeps_an_error():
    def turn(worker):
        raise redis.ConnectionError("gone")

    first, second = Crew("email", turn), Crew("email", turn)
    assert registry.running()[-1] is second and first not in registry.running()
    second.resize(1)
    wait_until(lambda: second.error)
    assert str(second.error) == "gone"
    second.stop()
    assert not any(thread.name == "email-1" for thread in threading.enumerate())


def test_the_day_is_the_same_each_time():
    moments = spike.schedule(spike.DAY)
    assert moments == spike.schedule(spike.DAY) == sorted(moments)
    assert len(moments) == 195
    assert sum(0.5 <= at < 1.3 for at in moments) == 160


def a_ride(workers, seconds=1.0):
    placed = {f"order-{n}": 0.2 for n in range(10)}
    told = spike.Ride((0.1, 0.3), first=0, in_spike=10, before=5, placed=placed)
    told.scaled, told.seconds = [(0.0, workers)], seconds
    return told


def test_the_model_keeps_books():
    moments, counts = spike.model(a_ride(workers=1))
    at = dict(zip((round(moment, 3) for moment in moments), counts, strict=True))
    assert at[0.0] == 5 and at[0.1] == 3 and at[0.19] == 1 and at[0.2] == 10
    assert at[0.3] == 8 and at[0.59] == 1 and counts[-1] == 0
    _, counts = spike.model(a_ride(workers=5))
    assert counts[-1] == 0 and counts.index(0) == round(
        spike.SERVICE_SECONDS / spike.STEP
    )


def test_a_ride_is_drained_with_the_last_order_of_the_spike():
    told = a_ride(workers=1)
    assert (told.drained, told.late) == (None, 10)
    assert told.work == pytest.approx(0.6)
    told.placed["order-10"] = 0.5  # after the spike
    told.done = {
        order: 0.4 + 0.01 * n for n, order in enumerate(list(told.placed)[:10])
    }
    assert told.drained == pytest.approx(0.19) and told.late == 0


def test_a_ride_waits_so_long_and_longer_when_the_machine_stood_still(monkeypatch):
    told = a_ride(workers=1)
    until = spike._patience(told, closing=0.5, moved=0.9, finished=None)
    assert until == pytest.approx(0.3 + spike.LONGEST + 0.5)
    until = spike._patience(told, closing=0.5, moved=0.9, finished=0.8)
    assert until == pytest.approx(0.8 + spike.GRACE + 0.5)
    told.done = dict.fromkeys(told.placed, 0.4)
    until = spike._patience(told, closing=0.5, moved=0.9, finished=None)
    assert until == pytest.approx(0.9 + spike.GRACE + 0.5)
    told.slowness, told.stalled = 1.5, 0.1
    assert told.longest == pytest.approx(1.5 * spike.LONGEST + 0.1)
    sleep = time.sleep
    monkeypatch.setattr(spike.time, "sleep", lambda seconds: sleep(seconds + 0.1))
    assert spike.overslept(0.0) > 0.04


def test_what_so_many_workers_would_do():
    assert lab04._what_comes_of(2, 100, 50, 0.04, 1).endswith("never gets shorter")
    said = lab04._what_comes_of(4, 100, 50, 0.04, 1)
    assert said == "4 do 100 a second, 50 come: the 100 in line take 2 s, not 1 s"


def test_the_stream_of_a_check_goes_with_it():
    with lab04.PlacedStream() as stream:
        stream.place(2)
        stream.client.xgroup_create(stream.name, "payments", id="0")
        assert (stream.length, stream.left("payments")) == (2, 2)
        assert stream.news("payments", 1) == ["order-1"]
        assert (stream.left("payments", unread=True), stream.pending("payments")) == (
            1,
            1,
        )
        assert backlog(stream.name, "payments").lag == 1
    assert not stream.client.exists(stream.name)
