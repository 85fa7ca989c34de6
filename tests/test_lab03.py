"""Lab 3: right answers pass, whatever their make; wrong ones are refused in fitting words."""

import json
import time
import uuid
from contextlib import suppress

import lab_answers
import pytest
import redis
import requests
from lab_answers import (
    assert_passed,
    assert_refused,
    assert_said,
    nothing_runs_on,
    refusal,
    timed,
    to_do,
)

from helpers import registry, run_program, serve, start_broker
from helpers.broker import Broker
from helpers.labs import killed_worker, lab03, order_stream
from helpers.shop.payments import create_app
from tools import labs, notebooks

NAME = "03-publish-and-consume.ipynb"


def check_task_3(work_off, worker=None):
    """As in the notebook; a worker of the same notebook is found with what it uses."""
    worker = worker or work_off.__globals__["worker"]
    lab03.check_task_3(work_off, worker)


CHECKS = {
    "publish": lab03.check_task_1,
    "handle_batch": lab03.check_task_2,
    "work_off": check_task_3,
    "backlog_of": lab03.check_task_4,
}
NUMBER = {name: number for number, name in enumerate(CHECKS, start=1)}


def lab(*changes, solved=True):
    """What the notebook defines, with changes (old, new) to its text."""
    names = {"GROUP": order_stream.GROUP, "requests": requests, "time": time}
    names |= {
        "__name__": "lab 3",
        "uuid": uuid,
        "json": json,
        "redis": redis,
        "start_broker": start_broker,
    }
    begins = ["import requests\n\n\ndef charge", "CONSUMER = ", "def worker("]
    return lab_answers.lab(NAME, *changes, begins=begins, solved=solved, **names)


def judge(answers):
    lab03.verdict(answers.publish, answers.worker, answers.backlog_of)


@pytest.fixture(autouse=True)
def nothing_is_left():
    with nothing_runs_on():
        yield
        broker = registry.find(Broker, "broker")
        with suppress(redis.ConnectionError):  # some wrong answers end it
            assert not broker or broker.client.keys("*") == []


@pytest.fixture
def quick(monkeypatch):
    """A day of less patience, for answers that are wrong anyway."""
    monkeypatch.setattr(killed_worker, "EVERY", 0.01)
    monkeypatch.setattr(killed_worker, "LONGEST", 2.0)
    monkeypatch.setattr(killed_worker, "STARTING", 3.0)


# -- Right answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_passes(name, capsys):
    timed(CHECKS[name], getattr(lab(), name))
    said = capsys.readouterr().out
    assert_passed(NAME, NUMBER[name], said)


def test_the_verdict_on_the_solution(capsys, shown):
    judge(lab())
    assert capsys.readouterr().out.splitlines()[:4] == [
        "✓ Verdict: forty orders, and a worker that is killed",
        "  40 orders, the worker was killed 3 times",
        "  Payments was asked 50 times and made 40 charges",
        "  doubles: 0, losses: 0, backlog at the end: 0",
    ]
    [(figure, alt)] = shown
    title = figure.axes[0].get_title("left")
    assert title == "The worker is killed 3 times, and 40 of 40 orders are charged"
    assert "Dashed lines" in alt


def test_the_lab_and_its_checks_agree():
    given = lab()
    for name in ("CONSUMER", "BATCH", "BLOCK_MS"):
        assert getattr(given, name) == getattr(lab03, name)
    assert given.order_of("order-7") == order_stream.order(7)
    text = notebooks.dumps(notebooks.read(labs.LABS / NAME))
    assert 'GROUP = \\"payments\\"' in text
    assert f"one every {1000 * killed_worker.EVERY:g} ms" in text


def test_the_mishaps_of_the_day_are_as_the_lab_tells():
    orders, fates = killed_worker.orders_of_the_day()
    assert (orders, fates) == killed_worker.orders_of_the_day()
    assert len(orders) == 40
    met = [fate for (fate,) in fates.values()]
    counts = {fate: met.count(fate) for fate in sorted(set(met))}
    assert counts == {"error": 5, "killed after": 2, "killed before": 1, "lost": 2}
    kills = [id for id, (fate,) in fates.items() if fate.startswith("killed")]
    first = min(kills, key=lambda id: int(id.removeprefix("order-")))
    assert fates[first] == ("killed before",)  # the lab says so of the first


def answers_of_classes():
    """Objects that are called, one message at a time acknowledged by pipeline, explicit ids."""

    class Publish:
        def __call__(self, client, stream, order):
            fields = {"event": "OrderPlaced"}
            fields.update((name, format(order[name])) for name in reversed(order))
            arguments = [part for pair in fields.items() for part in pair]
            return client.execute_command("XADD", stream, "*", *arguments)

    class HandleBatch:
        def __call__(self, client, stream, group, consumer, handle, after=">"):
            reply = client.xreadgroup(
                streams={stream: after},
                consumername=consumer,
                groupname=group,
                block=100,
                count=5,
            )
            messages = dict(reply).get(stream, [])
            with client.pipeline() as done:
                for message_id, event in messages:
                    if self.went_well(handle, event):
                        done.xack(stream, group, message_id)
                done.execute()
            return messages[-1][0] if messages else None

        def went_well(self, handle, event):
            try:
                handle(event)
            except Exception as error:
                print("failed:", type(error).__name__)
                return False
            return True

    class BacklogOf:
        def __call__(self, client, stream, group):
            found = {info["name"]: info for info in client.xinfo_groups(stream)}
            if group not in found:
                raise ValueError(group)
            pending = client.xpending(stream, group)["pending"]
            done_up_to = found[group]["last-delivered-id"]
            unread = [id for id, _ in client.xrange(stream) if later(id, done_up_to)]
            return pending + len(unread)

    def later(one, other):
        return [*map(int, one.split("-"))] > [*map(int, other.split("-"))]

    return Publish(), HandleBatch(), BacklogOf()


A_LOOP_OF_ITS_OWN = """
def work_off(client, stream, group, consumer, handle):
    after = "0"
    while True:
        reply = client.xreadgroup(group, consumer, {stream: after}, count=3, block=50)
        messages = reply[0][1] if reply else []
        if not messages and after == ">":
            return
        for message_id, event in messages:
            after = after if after == ">" else message_id
            try:
                handle(event)
            except Exception as error:
                print("failed:", error)
            else:
                client.xack(stream, group, message_id)
        if not messages:
            after = ">"


def worker(url, stream):
    import time

    client, handle = start_broker().client, lambda event: charge(url, event)
    while True:
        work_off(client, stream, "payments", "payments-of-the-night", handle)
        time.sleep(0.01)
"""

BY_PENDING_RANGE = '''
class Work:
    """Handles a message and acknowledges it."""

    def __init__(self, client, stream, group, handle):
        self.client, self.place, self.handle = client, (stream, group), handle

    def __call__(self, message_id, event):
        try:
            self.handle(event)
            self.client.xack(*self.place, message_id)
        except Exception:
            pass


def work_off(client, stream, group, consumer, handle):
    """Asks for the ids of what is pending, and reads each message by its id."""
    work = Work(client, stream, group, handle)
    mine = client.xpending_range(stream, group, "-", "+", 1000, consumername=consumer)
    for entry in mine:
        [(message_id, event)] = client.xrange(stream, entry["message_id"], entry["message_id"])
        work(message_id, event)
    while news := client.xreadgroup(group, consumer, {stream: ">"}, count=5, block=100):
        for message_id, event in news[0][1]:
            work(message_id, event)


def worker(stream, url):
    client = redis.Redis.from_url(start_broker().url, decode_responses=True)
    while True:
        work_off(client, stream, GROUP, CONSUMER, lambda event: charge(url, event))
'''


def test_right_answers_of_classes_pass():
    publish, handle_batch, backlog_of = answers_of_classes()
    timed(lab03.check_task_4, backlog_of)  # the checks go in any order
    timed(lab03.check_task_2, handle_batch)
    timed(lab03.check_task_1, publish)


@pytest.mark.parametrize("text", [A_LOOP_OF_ITS_OWN, BY_PENDING_RANGE])
def test_a_worker_of_another_make_passes(text, capsys, shown):
    answers = lab(("# Task 4: ", f"{text}\n\n# Task 4: "))
    timed(lab03.check_task_3, answers.work_off, answers.worker)
    judge(answers)
    assert "asked 50 times and made 40 charges" in capsys.readouterr().out


# -- Wrong answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_a_stub_is_still_to_do(name):
    said = refusal(CHECKS[name], getattr(lab(solved=False), name))
    assert said == to_do(NAME, NUMBER[name])


def test_a_worker_that_uses_a_stub_is_still_to_do():
    solved, stubs = lab(), lab(solved=False)
    said = refusal(lab03.check_task_3, solved.work_off, stubs.worker)
    assert said == "Task 3 is still to do: survive a crash"
    said = refusal(lab03.verdict, solved.publish, stubs.worker, solved.backlog_of)
    assert said == "Task 3 is still to do: survive a crash"
    said = refusal(lab03.verdict, stubs.publish, solved.worker, solved.backlog_of)
    assert said == "Task 1 is still to do: publish"


LOOP = "    while True:\n        work_off(client, stream, GROUP"
FOR_INFO = "    for info in"
XADD = 'return client.xadd(stream, {"event": "OrderPlaced", **texts})'
NEW_GROUP = 'client.xgroup_create(stream, "payments", id="$", mkstream=True)'
READ = "    news = client.xreadgroup("
ACK_LAST = "    if last:\n        client.xack(stream, group, last)\n    return last"
ACK = "            client.xack(stream, group, message_id)\n"
TRY = """            try:
                handle(event)
            except Exception:
                continue  # it stays pending
"""
GROUP_AT_THE_END = f"""id = client.xadd(stream, {{"event": "OrderPlaced", **texts}})
    if client.xlen(stream) == 1:
        {NEW_GROUP}
    return id"""
PENDING_FIRST = """    after = "0"
    while after := handle_batch(client, stream, group, consumer, handle, after):
        pass
"""
NEWS = """    while handle_batch(client, stream, group, consumer, handle, ">"):
        pass
"""
BOTH = 'return lag + info["pending"]'
RAISE = 'raise ValueError(f"{stream} has no group {group}")'
BY_HAND = 'lag = len(client.xrange(stream, min="(" + last))'

WRONG = [
    # Task 1
    ("pub/sub", "publish",
     [(XADD, 'return client.publish(stream, str(texts))')],
     ["messages in the stream when there is no stream yet", "exactly 1", "got:      0",
      "client.xadd(stream, …) adds a message"]),
    ("not as text", "publish",
     [("**texts", "**order")],
     ["your code raised DataError", "case:", "when there is no stream yet",
      'in publish(): return client.xadd(']),
    ("all in one field of JSON", "publish",
     [("**texts", '"order": json.dumps(order)')],
     ["the other fields of the message", "expected: ['amount_cents', 'card',", "got:      ['order']",
      "a field of the message for each field"]),
    ("forgets the event", "publish",
     [('{"event": "OrderPlaced", **texts}', "texts")],
     ["the field event of the message", "expected: 'OrderPlaced'", "got:      'none'"]),
    ("forgets a field", "publish",
     [("in order.items()}", 'in order.items() if name != "card"}')],
     ["the other fields of the message", "'card'", "{name: str(value) for …}"]),
    ("changes a value", "publish",
     [("str(value)", "str(value).upper()")],
     ["the field order of the message", "expected: 'order-1'", "got:      'ORDER-1'"]),
    ("returns nothing", "publish",
     [("return client.xadd", "client.xadd")],
     ["what publish() returns", "None (nothing was returned)", "xadd returns the id"]),
    ("publishes twice", "publish",
     [(XADD, f"client.xadd(stream, texts)\n    {XADD}")],
     ["messages in the stream", "exactly 1", "got:      2"]),
    ("changes the caller's order", "publish",
     [(XADD, 'order.update(texts, event="OrderPlaced")\n    return client.xadd(stream, order)')],
     ["the caller's order, afterwards", "make a new dict"]),
    ("makes a group at the end", "publish",
     [(XADD, GROUP_AT_THE_END)],
     ["messages that a group made later can read", "exactly 2", "got:      1",
      "skips what was there before"]),
    ("waits for no stream", "publish",
     [("**texts})", "**texts}, nomkstream=True)")],
     ["messages in the stream", "got:      0"]),
    ("trims the stream", "publish",
     [("**texts})", "**texts}, maxlen=1000, approximate=False)")],
     ["messages in the stream when many orders wait already", "exactly 1201", "got:      1000",
      "maxlen drops them"]),
    ("swallows the error", "publish",
     [(XADD, f"try:\n        {XADD}\n    except Exception:\n        return None")],
     ["when the broker cannot be reached", "expected: an Exception", "no error, and None",
      "let the error out"]),
    ("floods the stream", "publish",
     [(XADD, f"while client.xadd(stream, texts): pass\n    {XADD}")],
     ["your code did not come back within 2 s", "in publish(): while client.xadd"]),
    # Task 2
    ("acknowledges first", "handle_batch",
     [(TRY + ACK, ACK + TRY)],
     ["orders acknowledged before they were charged", "exactly 0", "got:      3",
      "xack comes after handle(event)"]),
    ("acknowledges on reading", "handle_batch",
     [("count=BATCH, block", "count=BATCH, noack=True, block")],
     ["orders acknowledged before they were charged", "got:      3"]),
    ("never acknowledges", "handle_batch",
     [(ACK, "")],
     ["charged orders not acknowledged", "exactly 0", "got:      3",
      "client.xack(stream, group, message_id)"]),
    ("acknowledges the last only", "handle_batch",
     [(ACK, ""), ("    return last", ACK_LAST)],
     ["charged orders not acknowledged", "got:      2"]),
    ("acknowledges what failed", "handle_batch",
     [("continue  # it stays pending", "pass")],
     ["failed orders acknowledged", "when order-2 and order-4 fail", "exactly 0", "got:      2",
      "has not raised"]),
    ("stops at the first failure", "handle_batch",
     [("continue  # it stays pending", "break")],
     ["times that order-3 is handled when order-2 and order-4 fail", "exactly 1", "got:      0",
      "must not hold up the others"]),
    ("lets the failure out", "handle_batch",
     [("except Exception:", "except KeyboardInterrupt:")],
     ["your code raised HTTPError: 503", "when order-2 and order-4 fail"]),
    ("catches one kind of failure", "handle_batch",
     [("except Exception:", "except requests.RequestException:")],
     ["your code raised ValueError: invalid literal", "when order-2 and order-4 fail"]),
    ("tries again until it works", "handle_batch",
     [("continue  # it stays pending", "handle(event)")],
     ["your code raised HTTPError: 503"]),
    ("hands over the message", "handle_batch",
     [("handle(event)", "handle(message_id, event)")],
     ["times that order-1 is handled", "exactly 1", "got:      0", "call handle(event) for each message"]),
    ("a name of its own", "handle_batch",
     [("group, consumer, {stream", 'group, "worker-" + uuid.uuid4().hex, {stream')],
     ["who has the failed orders pending", "expected: 'payments-1'", "got:      'worker-"]),
    ("always news", "handle_batch",
     [("{stream: after}", '{stream: ">"}')],
     ["the orders handled", "expected: 'order-3, order-4'", "got:      'order-5'", "{stream: after}"]),
    ("always from the beginning", "handle_batch",
     [("{stream: after}", '{stream: "0"}')],
     ["times that order-1 is handled", "got:      0"]),
    ("waits for ever", "handle_batch",
     [("block=BLOCK_MS", "block=0")],
     ["your code did not come back within 2 s", "when there is no news", "in handle_batch()"]),
    ("waits too long", "handle_batch",
     [("block=BLOCK_MS", "block=1500")],
     ["how long handle_batch() takes when there is no news", "expected: at most 0.8 s", "in milliseconds"]),
    ("does not wait", "handle_batch",
     [(", block=BLOCK_MS", "")],
     ["how long handle_batch() takes when there is no news", "expected: at least 0.05 s",
      "thousands of times a second"]),
    ("takes all", "handle_batch",
     [("count=BATCH, ", "")],
     ["messages taken in one batch", "exactly 5", "got:      8", "count=BATCH"]),
    ("returns the first id", "handle_batch",
     [("last = message_id", "last = last or message_id")],
     ["what handle_batch() returns", "return the id of the last message"]),
    ("returns a count", "handle_batch",
     [("return last", "return len(news)")],
     ["what handle_batch() returns", "got:      1"]),
    ("returns an empty text", "handle_batch",
     [("last = None", 'last = ""')],
     ["what handle_batch() returns", "when there is no news", "expected: None", "got:      ''"]),
    ("ends the broker", "handle_batch",
     [(READ, "    from helpers import stop_all\n\n    stop_all()\n" + READ)],
     ["the broker, after handle_batch()", "expected: 'running'", "got:      'gone'", "leave them out",
      "printed meanwhile:"]),
    # Task 3
    ("news only", "work_off",
     [(PENDING_FIRST, "")],
     ["pending orders left undone when a crash has left two batches", "exactly 0", "got:      10",
      'news (">") never brings them']),
    ("pending only", "work_off",
     [(NEWS, "")],
     ["new orders left undone", "exactly 0", "got:      8", 'go on with ">"']),
    ("the first batch of pending only", "work_off",
     [(PENDING_FIRST, '    handle_batch(client, stream, group, consumer, handle, "0")\n')],
     ["pending orders left undone when a crash has left two batches", "got:      5",
      "all but the first batch: read on after its last id"]),
    ("news first", "work_off",
     [(PENDING_FIRST + NEWS, NEWS + PENDING_FIRST)],
     ["pending orders done after new ones", "exactly 0", "got:      8", "begin with what is pending"]),
    ("one batch of news", "work_off",
     [(NEWS, "    handle_batch(client, stream, group, consumer, handle)\n")],
     ["new orders left undone", "exactly 0", "got:      3", "batch after batch"]),
    ("from the beginning, for ever", "work_off",
     [(PENDING_FIRST, NEWS.replace('">"', '"0"'))],
     ["times that order-2 is handled when order-2 and order-8 fail", "exactly 1", "got:      2",
      "so read on after the last id"]),
    ("a new name at each start", "work_off",
     [("    client = start_broker", "    import uuid\n    client = start_broker"),
      ("name = CONSUMER", "name = str(uuid.uuid4())")],
     ["orders never charged when the worker is killed at order-3", "exactly 0", "got:      2",
      "pending with ", ": 3. Only a worker of that name"]),
    ("a worker that ends", "work_off",
     [(LOOP, LOOP.replace("while", "if"))],
     ["how your worker ends when nobody kills it", "expected: 'never'", "got:      'no error'",
      "goes on for ever"]),
    ("a worker that raises", "work_off",
     [('charge(url, event)\n\n', 'charge(url, event)\n\n    print(1 / 0)\n\n')],
     ["how your worker ends when nobody kills it", "got:      'ZeroDivisionError: division by zero'",
      "look at worker(): print(1 / 0)"]),
    # Task 4
    ("the length", "backlog_of",
     [(BOTH, "return client.xlen(stream)")],
     ["what backlog_of() returns", "when two of five are done", "expected: 3", "got:      5",
      "XLEN counts all"]),
    ("only the lag", "backlog_of",
     [(BOTH, "return lag")],
     ["when three of five are read", "expected: 5", "got:      2",
      "read and not acknowledged is still to do"]),
    ("only pending", "backlog_of",
     [(BOTH, 'return info["pending"]')],
     ["nobody has read any", "expected: 5", "got:      0", "lag counts what nobody has read yet"]),
    ("any group", "backlog_of",
     [('if info["name"] == group:', "if True:")],
     ["for the first of two groups", "expected: 3", "got:      5", "each group has a backlog of its own"]),
    ("no lag is none", "backlog_of",
     [(BY_HAND, "lag = 0")],
     ["when an order that nobody has read is deleted", "expected: 2", "got:      1", "lag is None, for"]),
    ("lag is a number", "backlog_of",
     [("if lag is None:", "if False:")],
     ["your code raised TypeError", "read is deleted", 'return lag + info["pending"]']),
    ("counts the last one, too", "backlog_of",
     [('min="(" + last', "min=last")],
     ["read is deleted", "expected: 2", "got:      3"]),
    ("0 for no group", "backlog_of",
     [(RAISE, "return 0")],
     ["for a group that does not exist", "expected: a ValueError", "no error, and 0",
      "nobody works at all"]),
    ("nothing for no group", "backlog_of",
     [(RAISE, "pass")],
     ["for a group that does not exist", "no error, and None"]),
    ("0 for no stream", "backlog_of",
     [(FOR_INFO, f"    if not client.exists(stream):\n        return 0\n{FOR_INFO}")],
     ["for a stream that does not exist", "expected: an Exception", "no error, and 0"]),
    ("counts by reading", "backlog_of",
     [(FOR_INFO, f"    client.xreadgroup(group, 'counter', {{stream: '>'}})\n{FOR_INFO}")],
     ["lag, pending and length, after backlog_of()", "((5, 0), 5)", "((0, 5), 5)", "only ask"]),
    ("a text", "backlog_of",
     [(BOTH, 'return f"{lag} and {info}"')],
     ["what backlog_of() returns", "expected: 5"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [case[1:] for case in WRONG],
    ids=[case[0] for case in WRONG],
)
def test_a_wrong_answer_is_refused_in_fitting_words(name, changes, words):
    said = refusal(CHECKS[name], getattr(lab(*changes), name))
    assert_refused(NAME, NUMBER[name], words, said)


def test_a_worker_that_reads_nothing(monkeypatch):
    monkeypatch.setattr(killed_worker, "STARTING", 1.0)
    changes = (
        LOOP,
        LOOP.replace("work_off", "time.sleep(1)\n        continue\n        work_off"),
    )
    said = refusal(check_task_3, lab(changes).work_off)
    what = "reads of your worker in the 1 s after its start"
    assert_said([what, "at least 1", "got:      0", "does your worker read"], said)


# -- Wrong answers in the verdict ----------------------------------------------------------

NO_KEY = ('{"Idempotency-Key": event["order"]}', "None")


@pytest.mark.parametrize(
    ("changes", "words", "title"),
    [
        ([(TRY + ACK, ACK + TRY)],
         ["orders lost", "exactly 0", "got:      6", "order-"], "34 of 40"),
        ([("continue  # it stays pending", "pass")],
         ["orders lost", "exactly 0", "got:      5", "the first answer was a 503"], "35 of 40"),
        ([NO_KEY],
         ["orders charged twice", "exactly 0", "got:      4", "is its id the Idempotency-Key?"], "40 of 40"),
        ([("name = CONSUMER", "name = str(uuid.uuid4())")],
         ["orders lost", "exactly 0", "pending with ", "Only a worker of that name gets them"], "of 40"),
        ([(PENDING_FIRST, "")],
         ["orders lost", "exactly 0", "pending with payments-1: ", 'from "0" on'], "of 40"),
        ([(ACK, "")],
         ["messages left at the end", "exactly 0", "got:      40", "pending with payments-1: 40."],
         "40 of 40"),
        ([(XADD, "return client.publish(stream, str(texts))")],
         ["messages in the stream", "exactly 40", "got:      0", "xadd puts a message"], "0 of 40"),
    ],
    ids=["ack first", "acks what failed", "no key", "a new name each time", "news only", "no ack",
         "pub/sub"],
)  # fmt: skip
def test_the_verdict_on_wrong_answers(changes, words, title, shown, quick):
    answers = lab(*changes)
    said = refusal(lab03.verdict, answers.publish, answers.worker, answers.backlog_of)
    assert said.startswith("✗ Verdict: forty orders, and a worker that is killed\n")
    assert_said(words, said)
    assert title in shown[0][0].axes[0].get_title("left")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([(XADD, f"while client.xadd(stream, texts): pass\n    {XADD}")],
         ["your code did not come back within 2 s", "in publish(): while client.xadd"]),
        ([(FOR_INFO, f"    client.shutdown(nosave=True)\n{FOR_INFO}")],
         ["the broker, after backlog_of()", "expected: 'running'", "got:      'gone'"]),
        ([(FOR_INFO, f"    raise KeyError('which')\n{FOR_INFO}")],
         ["your code raised KeyError: 'which'", "in backlog_of(): raise KeyError('which')"]),
        ([(TRY, f"            while True: pass\n{TRY}")],
         ["orders lost", "exactly 0", "got:      40"]),
        ([(LOOP, f"    stop_all()\n{LOOP}")],
         ["how your worker ends when nobody kills it", "NameError: name 'stop_all'",
          "look at worker(): stop_all()"]),
        ([("def worker(stream, url)", "def worker(stream)")],
         ["your worker as a program of its own", "unexpected keyword argument 'url'"]),
    ],
    ids=["floods", "ends the broker", "raises", "hangs", "a worker that raises", "takes no url"],
)  # fmt: skip
def test_the_verdict_on_answers_that_break(changes, words, shown, quick):
    answers = lab(*changes)
    said = refusal(lab03.verdict, answers.publish, answers.worker, answers.backlog_of)
    assert_said(words, said)


# -- The learner's own ------------------------------------------------------------------


def a_program():
    time.sleep(60)


def test_what_the_learner_runs_stays():
    broker, mine = start_broker(), serve(create_app(work_seconds=0))
    stream, program = broker.key("order-placed"), run_program(a_program, name="worker")
    broker.client.xadd(stream, {"event": "mine"})
    try:
        for name in ("publish", "work_off"):
            CHECKS[name](getattr(lab(), name))
        assert requests.get(mine.url + "/charges", timeout=2).json() == []
        assert (broker.client.xlen(stream), program.running) == (1, True)
    finally:
        broker.client.delete(stream)
        program.stop()
        mine.stop()
