"""Lab 7: right answers pass, whatever their make; wrong ones are refused in fitting words."""

import functools
import http.client
import json
import threading
import time
import uuid
from collections import Counter
from urllib.parse import urlsplit

import lab_answers
import pytest
import requests
from lab_answers import (
    assert_passed,
    assert_refused,
    assert_said,
    refusal,
    timed,
    to_do,
)
from running import wait_until as running_wait

from helpers import registry, serve, start_broker
from helpers.labs import checkout_shop, hard_day, lab07
from helpers.labs.hard_day import SCENARIOS, Customer, Day
from helpers.labs.rounds import again_and_again
from helpers.shop.payments import create_app
from tools import labs, notebooks

NAME = "07-cut-the-chain.ipynb"
CHECKS = {
    "own_seconds": lab07.check_task_1,
    "ask": lab07.check_task_2,
    "buy": lab07.check_task_3,
    "checkout": lab07.check_task_4,
    "work_off": lab07.check_task_5,
}
NUMBER = {name: number for number, name in enumerate(CHECKS, start=1)}
GIVEN = [
    "from typing import NamedTuple",
    "def order_of",
    "import requests\n\n\ndef slow_checkout",
    "BUDGET = ",
    "def post",
]


def lab(*changes, solved=True, begins=()):
    """What the notebook defines, with changes (old, new) to its text."""
    names = {
        "requests": requests, "time": time, "uuid": uuid, "threading": threading,
        "functools": functools,
    }  # fmt: skip
    begins = [*GIVEN, *begins]
    return lab_answers.lab(NAME, *changes, begins=begins, solved=solved, **names)


def only(scenario, monkeypatch):
    """A day of one scenario, and little patience with the work behind the cut."""
    [each] = [each for each in SCENARIOS if each.name == scenario]
    monkeypatch.setattr(hard_day, "SCENARIOS", (each,))
    monkeypatch.setattr(lab07, "PATIENCE", 1.5)


pytestmark = pytest.mark.usefixtures("nothing_is_left")


# -- Right answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_passes(name, capsys):
    timed(CHECKS[name], getattr(lab(), name))
    said = capsys.readouterr().out
    assert_passed(NAME, NUMBER[name], said)


def test_the_verdict_on_the_solution(capsys, shown):
    given = lab()
    timed(lab07.verdict, given.checkout, given.work_off)
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == [
        "✓ Verdict: a hard day, within the budget",
        "  20 orders: 14 confirmed, 2 refused, 4 in doubt; "
        "in the end 3 of the 4 in doubt are charged and confirmed",
        "  17 charges, twice: 0, confirmed without a charge: 0, refused with one: 0",
        "  17 mails for 17 charged orders, lost: 0, twice: 0; recommendations missing: 0",
    ]
    assert len(said) == 5 and said[4].endswith("budget 0.5 s")
    [(figure, alt)] = shown
    assert "nobody waits longer than 0." in figure.axes[0].get_title("left")
    assert "A line marks the budget." in alt


def test_the_verdict_tells_what_came_of_the_prediction(told_after, shown, monkeypatch):
    told = told_after(NAME, "lab07/slowest", "about 0.1 s")
    only("Payments hangs", monkeypatch)
    given = lab()
    timed(lab07.verdict, given.checkout, given.work_off)
    [text] = told
    assert text.startswith("✗ Not as you predicted. You predicted “about 0.1 s”.")
    assert "(measured: " in text and "the budget is spent to the end" in text


def test_the_hard_day_of_the_checkout_that_is_given(shown):
    day = hard_day.hard_day(lab().slow_checkout)
    assert repr(day).splitlines() == [
        "                    told                             charged   mailed",
        "calm                4 confirmed                            4        4",
        "declined cards      2 confirmed, 2 refused                 2        2",
        "slow e-mail         4 confirmed                            4        4",
        "no recommendations  4 error                                4        4",
        "Payments hangs      3 confirmed, 1 refused                 3        3",
    ]
    assert day.charged_in_error == 4
    assert 1.5 < day.longest < 5
    hard_day.show(day.customers, day, 0.5)
    [(figure, _)] = shown
    assert "before" in figure.axes[0].get_title("left")
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"budget", "before: error", "now: error", "now: refused"} <= labels


def test_the_lab_and_its_checks_agree():
    given = lab()
    assert given.BUDGET == lab07.BUDGET
    assert given.Shop._fields == checkout_shop.Shop._fields
    shop, order = given.Shop(*"abcdefg"), lab07.ORDER
    assert given.charge(shop, order) == checkout_shop.charge(shop, order)
    text = notebooks.dumps(notebooks.read(labs.LABS / NAME))
    for name in ("inventory", "email", "recommendations"):
        seconds = checkout_shop.WORK[name]
        assert f"{name}.create_app({seconds:g})" in text
    assert f"payments.create_app({checkout_shop.WORK['payments']:g}, " in text


def answers_by_parents_and_queues():
    """Spans by their parents, classes, the standard library's HTTP, the oldest pending first."""
    given = lab()

    def own_seconds(spans):
        server = {span.span_id: span for span in spans if span.kind == "server"}
        own = Counter({span.service: 0.0 for span in server.values()})
        for span in server.values():
            own[span.service] += span.seconds
        for span in spans:
            if span.kind == "client" and span.parent_id in server:
                own[server[span.parent_id].service] -= span.seconds
        return own

    class Ask:
        def __call__(self, url, body, deadline):
            left = deadline - time.monotonic()
            if left < 0.001:
                raise TimeoutError("too late")
            parts = urlsplit(url)
            connection = http.client.HTTPConnection(parts.netloc, timeout=left)
            headers = {
                "Content-Type": "application/json",
                "Idempotency-Key": body["order"],
            }
            try:
                connection.request("POST", parts.path, json.dumps(body), headers)
                reply = connection.getresponse()
                reply.read()
                return reply
            finally:
                connection.close()

    class Buy:
        ask = Ask()

        def __call__(self, shop, order):
            ends, said = time.monotonic() + given.BUDGET, []
            for step in (given.reservation, given.charge):
                try:
                    said.append(self.ask(*step(shop, order), ends).status)
                except (OSError, http.client.HTTPException):
                    said.append(0)
                if said[-1] != 201:
                    break
            match said:
                case [201, 201]:
                    return "confirmed"
                case [201, status] if not 400 <= status < 500:
                    return "in doubt"
            return "refused"

    class Checkout:
        def __init__(self, buy):
            self.buy = buy

        def __call__(self, shop, order):
            told = self.buy(shop, order)
            streams = {"confirmed": shop.confirmed, "in doubt": shop.in_doubt}
            if told in streams:
                event = {**order, "correlation_id": uuid.uuid4().hex}
                shop.client.xadd(streams[told], event)
            return told

    def work_off(client, stream, group, do):
        """With consumers of ever new names, that claim what others have left."""
        consumer = uuid.uuid4().hex
        _, claimed, _ = client.xautoclaim(stream, group, consumer, min_idle_time=0)
        news = client.xreadgroup(group, consumer, {stream: ">"}, count=2, block=20)
        for message_id, fields in claimed + (news[0][1] if news else []):
            try:
                do(fields, key=fields["order"])
            except OSError:
                pass
            else:
                client.xack(stream, group, message_id)

    return own_seconds, Ask(), Buy(), Checkout(Buy()), work_off


def answers_of_one_who_shares_sessions():
    """Closures, a Session, several tries at Inventory, transactions, one message at a time."""
    given = lab()
    http = requests.Session()

    def own_seconds(spans):
        names = {span.service for span in spans if span.kind == "server"}

        def total(name, kind):
            return sum(s.seconds for s in spans if (s.service, s.kind) == (name, kind))

        return {name: total(name, "server") - total(name, "client") for name in names}

    def ask(url, body, deadline):
        left = max(0.0, deadline - time.monotonic())
        if not left:
            raise requests.ConnectTimeout("nothing left")
        headers = {"Idempotency-Key": body["order"]}
        return http.request(
            "post", url, json=body, headers=headers, timeout=(left, left)
        )

    def reserved(shop, order, deadline):
        for _ in range(2):  # Inventory reserves once, however often it is asked
            try:
                reply = ask(*given.reservation(shop, order), deadline)
            except requests.RequestException:
                continue
            if reply.status_code < 500:
                return reply.ok
        return False

    def buy(shop, order):
        deadline = time.monotonic() + given.BUDGET
        if not reserved(shop, order, deadline):
            return "refused"
        try:
            reply = ask(*given.charge(shop, order), deadline)
            reply.raise_for_status()
        except requests.HTTPError:
            return "refused" if reply.status_code < 500 else "in doubt"
        except requests.ConnectionError as error:
            lost = "NewConnectionError" not in repr(error)
            return "in doubt" if lost else "refused"
        except requests.Timeout:
            return "in doubt"
        return "confirmed"

    def checkout(shop, order):
        told = buy(shop, order)
        with shop.client.pipeline(transaction=True) as pipe:
            if told != "refused":
                pipe.xadd(
                    shop.confirmed if told == "confirmed" else shop.in_doubt, order
                )
            pipe.execute()
        return told

    def work_off(client, stream, group, do):
        after = "0"
        while True:
            news = client.xreadgroup(group, "me", {stream: after}, count=1)
            messages = news[0][1] if news else []
            if not messages and after == ">":
                return
            for message_id, order in messages:
                try:
                    do(order, order["order"])
                except Exception:
                    pass
                else:
                    client.xack(stream, group, message_id)
            # What is pending is looked at one after the other, each once.
            after = messages[0][0] if messages and after != ">" else ">"

    return own_seconds, ask, buy, checkout, work_off


def answers_of_one_who_waits_a_little():
    """A worker that blocks for a moment, and a thread that asks for it all."""
    given = lab()

    def own_seconds(spans):
        own = {}
        for span in spans:
            sign = {"server": 1, "client": -1}.get(span.kind, 0)
            own[span.service] = own.get(span.service, 0) + sign * span.seconds
        return {name: max(0.0, seconds) for name, seconds in own.items()}

    def ask(url, body, deadline):
        if time.monotonic() >= deadline:
            raise requests.exceptions.ReadTimeout
        return given.post(
            url, body, key=body["order"], timeout=deadline - time.monotonic()
        )

    def work_off(client, stream, group, do):
        todo = []
        for after, block in (("0", None), (">", 50)):
            answer = client.xreadgroup(
                group, "c", {stream: after}, block=block, count=100
            )
            todo += [entry for _, entries in answer for entry in entries]
        failed = set()
        for entry, order in todo:
            try:
                do(order, order["order"])
            except requests.RequestException:
                failed.add(entry)
        done = [entry for entry, _ in todo if entry not in failed]
        if done:
            client.xack(stream, group, *done)
        return len(done)

    return own_seconds, ask, given.buy, given.checkout, work_off


@pytest.mark.parametrize(
    "answers",
    [
        answers_by_parents_and_queues,
        answers_of_one_who_shares_sessions,
        answers_of_one_who_waits_a_little,
    ],
)
def test_right_answers_of_another_make_pass(answers):
    for name, function in reversed(list(zip(CHECKS, answers(), strict=True))):
        timed(CHECKS[name], function)


def test_the_verdict_on_right_answers_of_another_make(shown, capsys):
    *_, checkout, work_off = answers_by_parents_and_queues()
    timed(lab07.verdict, checkout, work_off)
    assert "17 mails for 17 charged orders" in capsys.readouterr().out


# -- Wrong answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_a_stub_is_still_to_do(name):
    said = refusal(CHECKS[name], getattr(lab(solved=False), name))
    assert said == to_do(NAME, NUMBER[name])


def test_the_verdict_on_a_stub(shown, monkeypatch):
    only("calm", monkeypatch)
    stub, solved = lab(solved=False), lab()
    said = refusal(lab07.verdict, stub.checkout, stub.work_off)
    assert said == "Task 4 is still to do: cut the chain"
    said = refusal(lab07.verdict, solved.checkout, stub.work_off)
    assert said == "Task 5 is still to do: lose nothing, do nothing twice"


TAKE_OFF = "            own[span.service] -= span.seconds\n"
LEFT = "    left = deadline - time.monotonic()\n"
SPENT = '    if left <= 0:\n        raise requests.Timeout("the budget is spent")\n'
POST = 'post(url, body, body["order"], timeout=left)'
RESERVE = "ask(*reservation(shop, order), deadline).raise_for_status()"
CHARGE = "reply = ask(*charge(shop, order), deadline)"
MAIL = "post(*mail(shop, order), order['order'], timeout=1)"
PATIENT = MAIL.replace("timeout=1", "timeout=5")
MAIL_ONCE = "functools.partial(post, *mail(shop, order), order['order'], 2)"
IN_DOUBT = 'except requests.RequestException:\n        return "in doubt"'
CONFIRMED = "shop.client.xadd(shop.confirmed, order)"
BUY = "    told = buy(shop, order)\n"
DO = 'do(order, order["order"])'
ACK = "            client.xack(stream, group, message_id)\n"
FOR = "        for message_id, order in news"

WRONG = [
    # Task 1
    ("whole time of each service", "own_seconds", [(TAKE_OFF, "            pass\n")],
     ["the seconds of orders", "expected: between", "spans of the kind client"]),
    ("own time of Orders only", "own_seconds",
     [(TAKE_OFF, "            own[span.service] -= span.seconds * (span.service == 'orders')\n")],
     ["the seconds of payments", "take off what it spends in calls of its own"]),
    ("the customer too", "own_seconds",
     [(" and span.service in own", ""),
      (TAKE_OFF, "            own[span.service] = own.get(span.service, 0) - span.seconds\n")],
     ["the customer's own seconds", "answers no requests: leave it out"]),
    ("adds nothing", "own_seconds", [("own.get(span.service, 0) + span.seconds", "0.0")],
     ["the seconds of orders", "expected: between"]),
    ("keys are span names", "own_seconds",
     [("own[span.service] = own.get(span.service, 0)", "own[span.name] = 0")],
     ["of the 6 services", "exactly 6", "got:      0", "the key is span.service; not there: orders"]),
    ("a list", "own_seconds", [("    return own\n", "    return sorted(own)\n")],
     ["what own_seconds(spans) returns", "expected: a dict"]),
    ("no return", "own_seconds", [("    return own\n", "")],
     ["expected: a dict", "None (nothing was returned)"]),
    ("raises", "own_seconds", [("    own = {}\n", "    own = {}\n    spans[0]\n")],
     ["your code raised IndexError", "case: for no spans at all", "in own_seconds(): spans[0]"]),
    # Task 2
    ("no timeout", "ask", [("timeout=left)", "timeout=None)")],
     ["your code did not come back within 2 s", "case: when Payments hangs and 0.2 s are left",
      "in post()"]),
    ("the whole budget for each call", "ask", [("timeout=left)", "timeout=BUDGET)")],
     ["how long ask() waits when Payments hangs and 0.2 s are left", "at most 0.42 s",
      "not the whole budget again"]),
    ("gives up early", "ask", [("timeout=left)", "timeout=min(left, 0.1))")],
     ["what comes back when the answer takes 0.6 s", "got:      ReadTimeout", "there was time"]),
    ("calls though nothing is left", "ask", [(SPENT, "    left = max(left, 0.05)\n")],
     ["what comes of ask() when the budget is spent already", "got:      <Response [201]>",
      "nobody is called"]),
    ("calls with a tiny timeout", "ask", [(SPENT, "    left = max(left, 0.001)\n")],
     ["when the budget is spent already", "nobody is called"]),
    ("a timeout below 0", "ask", [(SPENT, "")],
     ["what ask() raises when the budget is spent already", "got:      ValueError", "no timeout below 0"]),
    ("returns None when spent", "ask", [('raise requests.Timeout("the budget is spent")', "return None")],
     ["what comes of ask() when the budget is spent", "None (nothing was returned)",
      "raise requests.Timeout"]),
    ("another clock", "ask", [("deadline - time.monotonic()", "deadline - time.time()")],
     ["your code raised Timeout: the budget is spent", "case: when Payments answers"]),
    ("no return", "ask", [("return " + POST, POST)],
     ["what ask() returns", "expected: a Response", "None (nothing was returned)"]),
    ("a new key each time", "ask", [('body["order"], timeout', "str(uuid.uuid4()), timeout")],
     ["the Idempotency-Key that arrives", "expected: 'order-1'", 'body["order"]']),
    ("asks twice", "ask", [("return " + POST, POST + "\n    return " + POST)],
     ["requests that Payments gets from one ask()", "exactly 1", "got:      2"]),
    ("swallows the error", "ask",
     [("return " + POST, f"try:\n        return {POST}\n    except Exception:\n        pass")],
     ["what comes of ask() when Payments hangs", "None (nothing was returned)"]),
    ("floods", "ask", [("return " + POST, f"while {POST}: pass")],
     ["your code did not come back within 2 s", "case: when Payments answers"]),
    # Task 3
    ("refused without an answer", "buy", [(IN_DOUBT, IN_DOUBT.replace("in doubt", "refused"))],
     ["what buy() returns when Payments' reply is lost", "expected: 'in doubt'", "got:      'refused'",
      "there is 1 charge"]),
    ("confirmed without an answer", "buy", [(IN_DOUBT, IN_DOUBT.replace("in doubt", "confirmed"))],
     ["what buy() returns when Payments' reply is lost", "got:      'confirmed'"]),
    ("everything in doubt", "buy", [('return "refused"\n    try', 'return "in doubt"\n    try')],
     ["what buy() returns when Inventory", "expected: 'refused'", "got:      'in doubt'", "for certain"]),
    ("swallows errors and confirms", "buy",
     [('    return "refused" if 400', '    return "confirmed" if 400')],
     ["when the card is declined", "expected: 'refused'", "got:      'confirmed'"]),
    ("a 5xx is a refusal", "buy",
     [('return "refused" if 400 <= reply.status_code < 500 else "in doubt"', 'return "refused"')],
     ["when Payments answers 500", "expected: 'in doubt'", "got:      'refused'", "there is 1 charge"]),
    ("a 4xx is in doubt", "buy", [("400 <= reply.status_code < 500", "False")],
     ["when the card is declined", "expected: 'refused'", "got:      'in doubt'", "402 is an answer"]),
    ("charges what is not reserved", "buy", [(RESERVE, "ask(*reservation(shop, order), deadline)")],
     ["charges when Inventory answers 503", "exactly 0", "got:      1", "must not be charged"]),
    ("charges first", "buy",
     [(RESERVE, "FIRST"), (CHARGE, RESERVE), ("FIRST", CHARGE),
      ('return "refused"\n    try', 'return "in doubt"\n    try'),
      (IN_DOUBT + "\n    if", IN_DOUBT.replace("in doubt", "refused") + "\n    if")],
     ["charges when Inventory answers 503", "exactly 0", "got:      1", "must not be charged"]),
    ("a budget for each call", "buy",
     [(CHARGE, "reply = ask(*charge(shop, order), time.monotonic() + BUDGET)")],
     ["how long buy() takes when Inventory takes 0.3 s and Payments hangs", "at most 0.7 s",
      "one deadline for both"]),
    ("still waits for Email", "buy",
     [('        return "confirmed"', f'        {MAIL}\n        return "confirmed"')],
     ["of Email and Recommendations, how many are called", "exactly 0", "got:      1",
      "does not depend on them"]),
    ("lets errors through", "buy", [(IN_DOUBT, IN_DOUBT.replace("requests.RequestException", "KeyError"))],
     ["your code raised ConnectionError", "case: when Payments' reply is lost", "in post()"]),
    ("a word of its own", "buy", [('return "confirmed"', 'return "paid"')],
     ["expected: 'confirmed' or 'refused' or 'in doubt'", "got:      'paid'"]),
    ("returns the reply", "buy", [('return "confirmed"', "return reply")],
     ["expected: 'confirmed' or 'refused' or 'in doubt'", "<Response [201]>"]),
    # Task 4
    ("publishes before the charge", "checkout",
     [(BUY, f"    {CONFIRMED}\n{BUY}"), (f"        {CONFIRMED}\n    elif", "        pass\n    elif")],
     ["events in shop.confirmed after a refused order", "exactly 0", "got:      1", "buy first"]),
    ("publishes twice", "checkout", [("        " + CONFIRMED, f"        {CONFIRMED}\n        {CONFIRMED}")],
     ["events in shop.confirmed after a confirmed order", "exactly 1", "got:      2", "once"]),
    ("drops the work", "checkout",
     [("        " + CONFIRMED, f"        threading.Thread(target={MAIL_ONCE}).start()")],
     ["events in shop.confirmed after a confirmed order", "exactly 1", "got:      0"]),
    ("calls Email and publishes", "checkout",
     [("        " + CONFIRMED, f"        {MAIL}\n        {CONFIRMED}")],
     ["of Email and Recommendations, how many are called", "got:      1"]),
    ("forgets what is in doubt", "checkout", [("shop.client.xadd(shop.in_doubt, order)", "pass")],
     ["events in shop.in_doubt after an order in doubt", "exactly 1", "got:      0",
      "somebody has to find out"]),
    ("publishes doubt as confirmed", "checkout", [("shop.client.xadd(shop.in_doubt, order)", CONFIRMED)],
     ["events in shop.confirmed after one confirmed and one in doubt", "exactly 1", "got:      2"]),
    ("publishes refusals too", "checkout", [('elif told == "in doubt"', "else")],
     ["events in shop.in_doubt after a refused order", "exactly 0", "got:      1"]),
    ("publishes the id alone", "checkout",
     [(CONFIRMED, 'shop.client.xadd(shop.confirmed, {"order": order["order"]})')],
     ["the fields of the event", "'card': 'nothing'", "its readers know of nothing else"]),
    ("returns the entry", "checkout",
     [("    return told\n", "    return shop.client.xlen(shop.confirmed)\n")],
     ["what checkout() returns", "expected: 'confirmed' or 'refused' or 'in doubt'", "got:      0"]),
    # Task 5
    ("acknowledges first", "work_off",
     [(ACK, ""), ("            try:\n                do", ACK + "            try:\n                do")],
     ["messages pending while do() is at work", "exactly 1", "got:      0", "xack comes after"]),
    ("acknowledges what failed", "work_off", [("                continue\n", "                pass\n")],
     ["messages pending after a failure", "at least 1", "got:      0", "come back from"]),
    ("never acknowledges", "work_off", [(ACK, "")],
     ["messages pending when the work is done", "exactly 0", "got:      1"]),
    ("gives up after one try", "work_off", [('in ("0", ">")', 'in (">",)')],
     ["times that the failed order is done after all", "exactly 1", "got:      0",
      "with the id 0 in place of >"]),
    ("only what is pending", "work_off", [('in ("0", ">")', 'in ("0",)')],
     ["calls of do() for one order", "exactly 1", "got:      0"]),
    ("one group for all", "work_off",
     [("xreadgroup(group,", 'xreadgroup("email",'), ("xack(stream, group,", 'xack(stream, "email",')],
     ["orders that the group recommendations gets", "exactly 4", "got:      0",
      "the group that was passed in"]),
    ("the message's id as key", "work_off", [(DO, "do(order, message_id)")],
     ["keys that do() is given for order-5", "exactly 1", "got:      2",
      "only the order's id is the same"]),
    ("a new key each time", "work_off", [(DO, "do(order, str(uuid.uuid4()))")],
     ["keys that do() is given for order-3", "exactly 1", "got:      2", "the key that it had before"]),
    ("no key", "work_off", [(DO, "do(order)")],
     ["your code raised TypeError", "'key'", "case: when there is one order", "in work_off()"]),
    ("a key of another kind", "work_off", [(DO, 'do(order, "mail-" + order["order"])')],
     ["the key for order-1", "expected: 'order-1'", "got:      'mail-order-1'"]),
    ("lets errors through", "work_off", [("except requests.RequestException", "except KeyError")],
     ["your code raised ConnectionError: nobody answers, for order-3",
      "case: when the second of three orders fails"]),
    ("never comes back", "work_off",
     [('    for after in ("0", ">"):', '    for after in iter(lambda: ">", "never"):')],
     ["your code did not come back within 2 s", "case: when there is nothing to do", "in work_off()"]),
    ("blocks for ever", "work_off", [("{stream: after})", "{stream: after}, block=0)")],
     ["your code did not come back within 2 s", "case: when there is nothing to do", "client.xreadgroup("]),
    ("sleeps", "work_off", [("    for after", "    time.sleep(2.4)\n    time.sleep(2.4)\n    for after")],
     ["your code did not come back within 2 s", "in work_off(): time.sleep(2.4)"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [case[1:] for case in WRONG],
    ids=[case[0] for case in WRONG],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_wrong_answer_is_refused_in_fitting_words(name, changes, words):
    said = refusal(CHECKS[name], getattr(lab(*changes), name))
    assert_refused(NAME, NUMBER[name], words, said)


# -- The verdict on wrong answers -------------------------------------------------------

UNLIKE = "'' if group != 'email' else str(uuid.uuid4())"

WRONG_VERDICTS = [
    ("waits for Email", "slow e-mail",
     [('        return "confirmed"', f'        {PATIENT}\n        return "confirmed"')],
     ["the longest wait at the button (slow e-mail)", "at most 0.9 s", "who is waited for there"]),
    ("no timeout", "Payments hangs", [("timeout=left)", "timeout=5)")],
     ["the longest wait at the button (Payments hangs)", "at most 0.9 s"]),
    ("refused without an answer", "Payments hangs", [(IN_DOUBT, IN_DOUBT.replace("in doubt", "refused"))],
     ["orders refused that are charged", "exactly 0", "got:      3",
      "payments-1, tok_visa: told refused, charges: 1"]),
    ("confirmed without an answer", "Payments hangs",
     [(IN_DOUBT, IN_DOUBT.replace("in doubt", "confirmed"))],
     ["orders confirmed without a charge", "exactly 0", "got:      1", "payments-3, tok_declined"]),
    ("publishes before the charge", "declined cards",
     [(BUY, f"    {CONFIRMED}\n{BUY}"), (f"        {CONFIRMED}\n    elif", "        pass\n    elif")],
     ["mails for orders that are not charged", "got:      2", "publish after the charge"]),
    ("forgets what is in doubt", "Payments hangs", [("shop.client.xadd(shop.in_doubt, order)", "pass")],
     ["charged orders without a mail", "exactly 0", "got:      3", "told in doubt"]),
    ("drops the work", "no recommendations",
     [("        " + CONFIRMED, f"        threading.Thread(target={MAIL_ONCE}).start()")],
     ["charged orders that Recommendations does not know", "exactly 0", "got:      4"]),
    ("settles with another key", "Payments hangs", [(DO, "do(order, message_id)")],
     ["orders charged twice", "exactly 0", "one key for one order", "told in doubt, charges: 2"]),
    ("mails with another key", "slow e-mail", [(DO, f'do(order, order["order"] + ({UNLIKE}))')],
     ["charged orders with two mails", "exactly 0", "slow-1, tok_visa"]),
    ("acknowledges first", "no recommendations",
     [(ACK, ""), ("            try:\n                do", ACK + "            try:\n                do")],
     ["charged orders ", "exactly 0", ", tok_visa"]),  # a mail under way may be lost, too
    ("raises", "calm", [(BUY, BUY + "    raise ValueError('what now?')\n")],
     ["your code raised ValueError: what now?", "case: in the scenario “calm”",
      "in checkout(): raise ValueError"]),
    ("says nothing", "calm", [("    return told\n", "")],
     ["what checkout() returns in the scenario “calm”", "None (nothing was returned)"]),
    ("hangs", "calm", [(BUY, "    while True: pass\n" + BUY)],
     ["your code did not come back within 2 s", "in checkout(): while True: pass"]),
    ("the worker hangs", "calm",
     [('    for after in ("0", ">"):', '    while True: time.sleep(0.01)\n    for after in ("0", ">"):')],
     ["charged orders without a mail"]),
    ("the worker raises", "calm",
     [('    for after in ("0", ">"):', '    raise KeyError(group)\n    for after in ("0", ">"):')],
     ["charged orders without a mail", "meanwhile: your code raised KeyError",
      "in work_off(): raise KeyError(group)"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("scenario", "changes", "words"),
    [case[1:] for case in WRONG_VERDICTS],
    ids=[case[0] for case in WRONG_VERDICTS],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_verdict_on_wrong_answers(scenario, changes, words, shown, monkeypatch):
    only(scenario, monkeypatch)
    wrong = lab(*changes)
    said = refusal(lab07.verdict, wrong.checkout, wrong.work_off)
    assert said.startswith("✗ Verdict: a hard day, within the budget\n")
    assert_said(words, said)


def test_the_verdict_on_a_budget_that_is_too_short(shown, monkeypatch):
    only("calm", monkeypatch)
    hasty = lab(("BUDGET = 0.5", "BUDGET = 0.1"))
    said = refusal(lab07.verdict, hasty.checkout, hasty.work_off)
    assert_said(["orders needlessly left in doubt", "exactly 0", "told in doubt"], said)


def test_the_verdict_on_the_checkout_that_is_given(shown, monkeypatch):
    only("no recommendations", monkeypatch)
    given = lab()
    said = refusal(lab07.verdict, given.slow_checkout, given.work_off)
    assert_said(
        ["your code raised ConnectionError", "in the scenario “no recommendations”"],
        said,
    )


# -- Whoever stops what he should not, prints, or hands in something else -----------------


@pytest.mark.parametrize("name", ["buy", "checkout", "work_off"])
def test_one_who_stops_everything_is_refused(name):
    function = getattr(lab(), name)

    def stop(*args):
        for thing in registry.running():
            if thing.name != "broker":
                thing.stop()
        return function(*args)

    if name == "work_off":
        return timed(CHECKS[name], stop)  # nothing of it runs that could be stopped
    said = refusal(CHECKS[name], stop)
    assert "expected: 'confirmed'" in said or "exactly 1" in said


@pytest.mark.parametrize("nonsense", [42, "confirmed", object()])
def test_what_is_no_function_is_refused(nonsense):
    with pytest.raises(AssertionError):
        timed(CHECKS["buy"], nonsense)
    with pytest.raises(AssertionError):
        timed(CHECKS["work_off"], nonsense)


def test_what_is_printed_is_shown_below(capsys):
    given = lab()

    def work_off(client, stream, group, do):
        print("a round for", group)
        given.work_off(client, stream, group, do)

    timed(CHECKS["work_off"], work_off)
    said = capsys.readouterr().out
    assert said.startswith("✓ Task 5") and "a round for email" in said


def test_the_learners_own_services_and_streams_stay():
    client, mine = start_broker().client, serve(create_app(work_seconds=0))
    stream = start_broker().key("lab confirmed")
    client.xadd(stream, {"order": "mine"})
    before = set(client.keys("*"))
    try:
        given = lab()
        CHECKS["checkout"](given.checkout)
        CHECKS["work_off"](given.work_off)
        assert requests.get(mine.url + "/charges", timeout=2).json() == []
        assert client.xlen(stream) == 1
        assert set(client.keys("*")) == before
    finally:
        client.delete(stream)
        mine.stop()


# -- The parts ----------------------------------------------------------------------------


def test_what_may_have_gone_wrong_with_an_order():
    calm, hang = SCENARIOS[0], SCENARIOS[-1]
    good, bad = {**lab07.ORDER}, {**lab07.DECLINED}

    def wrongs(order, scenario, *facts):
        customer = Customer(order, scenario, facts[0], 0.1, *facts[1:])
        listed = [wrong for _, wrong, _ in (*lab07.SAID, *lab07.DONE)]
        return [wrong for wrong in listed if getattr(customer, wrong)]

    assert wrongs(good, calm, "confirmed", 1, 1, 1) == []
    assert wrongs(bad, calm, "refused", 0, 0, 0) == []
    assert wrongs(good, hang, "in doubt", 1, 1, 1) == []
    assert wrongs(bad, hang, "in doubt", 0, 0, 0) == []
    assert wrongs(good, hang, "refused", 0, 0, 0) == []
    assert wrongs(good, calm, "refused", 0, 0, 0) == ["refused_for_nothing"]
    assert wrongs(good, calm, "in doubt", 1, 1, 1) == ["doubted_for_nothing"]
    assert wrongs(good, hang, "in doubt", 0, 0, 0) == ["unsettled"]
    assert wrongs(good, calm, "confirmed", 2, 2, 1) == ["charged_twice", "mailed_twice"]
    assert wrongs(good, calm, "confirmed", 1, 0, 0) == ["mail_lost", "purchase_lost"]
    assert wrongs(bad, calm, "confirmed", 0, 1, 1) == [
        "confirmed_without_charge",
        "undue_mail",
    ]
    assert wrongs(good, calm, "refused", 1, 1, 1) == [
        "refused_with_charge",
        "refused_for_nothing",
    ]


def test_the_picture_has_a_mark_for_each_customer(shown):
    customers = [
        Customer(each.order, scenario, "confirmed", 0.1)
        for scenario in SCENARIOS
        for each in hard_day.customers_of(scenario)
    ]
    hard_day.show(customers, Day(customers), 0.5)
    [(figure, _)] = shown
    now, before = sorted(
        figure.axes[0].collections, key=lambda marks: marks.get_label(), reverse=True
    )
    assert now.get_label() == "now: confirmed" and len(now.get_offsets()) == 20
    assert before.get_label() == "before: confirmed"
    heights = {round(y, 6) for _, y in now.get_offsets()}
    assert len(heights) == 20  # none hides another


def test_rounds_go_on_until_they_are_stopped():
    seen = []

    def work(what):
        seen.append(what)
        if len(seen) == 2:
            raise ValueError("the second")

    rounds = again_and_again(work, "a", name="a worker 2", pause=0.005)
    try:
        assert repr(rounds) == "a worker 2: at work"
        running_wait(lambda: len(seen) >= 4)
        assert "ValueError: the second" in rounds.log
        again = again_and_again(work, "b", name="a worker 2", pause=0.005)
        assert repr(rounds) == "a worker 2: stopped"
        running_wait(lambda: "b" in seen)
    finally:
        registry.find(type(rounds), "a worker 2").stop()
    assert repr(again) == "a worker 2: stopped"
    assert again not in registry.running()
