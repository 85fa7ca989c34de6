"""Lab 1: right answers pass, whatever their make; wrong ones are refused in fitting words."""

import http.client
import json
import time
import uuid
from urllib.parse import quote, urlsplit

import lab_answers
import pytest
import requests
import urllib3
from lab_answers import (
    assert_passed,
    assert_refused,
    assert_said,
    refusal,
    timed,
    to_do,
)

from helpers import serve
from helpers.labs import bad_day, lab01
from helpers.shop.payments import create_app

NAME = "01-call-and-wait.ipynb"
CHECKS = {
    "send": lab01.check_task_1,
    "charge": lab01.check_task_2,
    "pay": lab01.check_task_3,
    "checkout": lab01.check_task_4,
}
NUMBER = {name: number for number, name in enumerate(CHECKS, start=1)}


def lab(*changes, solved=True):
    """What the notebook defines, with changes (old, new) to its text."""
    names = {"requests": requests, "time": time, "uuid": uuid}
    begins = ["from typing import NamedTuple"]
    return lab_answers.lab(NAME, *changes, begins=begins, solved=solved, **names)


pytestmark = pytest.mark.usefixtures("nothing_is_left")


# -- Right answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_passes(name, capsys):
    timed(CHECKS[name], getattr(lab(), name))
    said = capsys.readouterr().out
    assert_passed(NAME, NUMBER[name], said)


def test_the_verdict_on_the_solution(capsys, shown):
    timed(lab01.verdict, lab().checkout)
    assert capsys.readouterr().out.splitlines()[:3] == [
        "✓ Verdict: forty orders on a bad day",
        "  40 orders: 33 paid, 6 refused, 0 failed, 1 unknown",
        "  33 charges, charged twice: 0, wrongly reported: 0, good orders not charged: 1",
    ]
    [(figure, alt)] = shown
    assert "0 misled or charged twice, 1 left in doubt" in figure.axes[0].get_title(
        "left"
    )
    assert "hollow" in alt


def test_the_verdict_tells_what_came_of_the_prediction(told_after, shown):
    told = told_after(NAME, "lab01/slowest", "under 0.5 s")
    timed(lab01.verdict, lab().checkout)
    [text] = told
    assert text.startswith("✗ Not as you predicted. You predicted “under 0.5 s”.")
    assert "(measured: " in text and "a slow Payments and then a lost reply" in text


def test_the_lab_and_its_checks_agree():
    given = lab()
    for name in ("TIMEOUT", "TRIES", "PAUSE"):
        assert getattr(given, name) == getattr(lab01, name)
    assert given.Result._fields == lab01.Result._fields


def a_client_of_classes():
    """Objects that are called, and a Session that keeps connections."""
    given = lab()

    class Send:
        def __init__(self):
            self.session = requests.Session()

        def __call__(self, url, order, headers=None):
            timeout = (given.TIMEOUT, given.TIMEOUT)
            return self.session.request(
                "POST", f"{url}/charges", headers=headers, json=order, timeout=timeout
            )

    class Charge:
        def __init__(self, send):
            self.send = send

        def __call__(self, url, order, headers=None):
            try:
                reply = self.send(url, order, headers)
                reply.raise_for_status()
                return given.Result("paid", reply.json()["id"])
            except requests.HTTPError as error:
                if error.response.status_code >= 500:
                    return given.Result("unknown", str(error))
                return given.Result("refused", error.response.json()["detail"])
            except requests.RequestException as error:
                sent = not given.never_connected(error)
                return given.Result("unknown" if sent else "failed", str(error))

    class Pay:
        def __init__(self, charge):
            self.charge = charge

        def __call__(self, url, order):
            key, seen = {"Idempotency-Key": uuid.uuid4().hex}, []
            while len(seen) < given.TRIES:
                seen.append(self.charge(url, order, key))
                if seen[-1].ending in ("paid", "refused"):
                    return seen[-1]
                time.sleep(given.PAUSE)
            return next((r for r in seen if r.ending == "unknown"), seen[-1])

    class Checkout:
        def __init__(self, pay):
            self.pay = pay

        def __call__(self, url, order):
            result = self.pay(url, order)
            if result.ending == "unknown":
                for made in self.charges(url):
                    if made["order"] == order["order"]:
                        result = given.Result("paid", made["id"])
            return result

        def charges(self, url):
            try:
                reply = requests.get(f"{url}/charges", timeout=given.TIMEOUT)
                return reply.json() if reply.status_code == 200 else []
            except (requests.RequestException, ValueError):
                return []

    send = Send()
    charge = Charge(send)
    pay = Pay(charge)
    return send, charge, pay, Checkout(pay)


def a_client_of_the_standard_library():
    """http.client, plain tuples, and the order's id as the key."""

    def ask(method, url, path, body=None, headers=None):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=0.5)
        try:
            connection.request(method, path, body, headers or {})
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def send(url, order, headers=None):
        headers = {"Content-Type": "application/json", **(headers or {})}
        return ask("POST", url, "/charges", json.dumps(order), headers)

    def charge(url, order, headers=None):
        try:
            status, body = send(url, order, headers)
        except ConnectionRefusedError:
            return "failed", "nobody there"
        except (OSError, http.client.HTTPException) as error:
            return "unknown", repr(error)
        if status == 503:
            return "failed", "Payments is unavailable"  # its detail says so
        if status >= 500:
            return "unknown", f"status {status}"
        answer = json.loads(body)
        return (
            ("paid", answer["id"]) if status == 201 else ("refused", answer["detail"])
        )

    def pay(url, order, tries=3):
        ending, detail = charge(url, order, {"Idempotency-Key": order["order"]})
        if tries == 1 or ending in ("paid", "refused"):
            return ending, detail
        time.sleep(0.1)
        later = pay(url, order, tries - 1)
        return (
            (ending, detail) if (ending, later[0]) == ("unknown", "failed") else later
        )

    def checkout(url, order):
        result = pay(url, order)
        if result[0] != "unknown":
            return result
        try:
            status, body = ask("GET", url, "/charges?order=" + quote(order["order"]))
            return "paid", json.loads(body)[0]["id"]
        except Exception:
            return result

    return send, charge, pay, checkout


def a_client_of_urllib3():
    """urllib3, longer pauses, and a detail with more words in it."""
    given = lab()
    http = urllib3.PoolManager(retries=False, timeout=given.TIMEOUT)

    def send(url, order, headers=None):
        return http.request("POST", url + "/charges", json=order, headers=headers)

    def charge(url, order, headers=None):
        try:
            reply = send(url, order, headers)
            if reply.status // 100 == 2:
                return given.Result("paid", reply.json()["id"])
            if reply.status // 100 == 4:
                return given.Result(
                    "refused", "Payments says: " + reply.json()["detail"]
                )
        except urllib3.exceptions.NewConnectionError:
            return given.Result("failed", "no connection")
        except urllib3.exceptions.HTTPError:
            pass
        return given.Result("unknown", "no answer")

    def pay(url, order):
        key = "key of " + order["order"]
        headers, unknown = {"Idempotency-Key": key.replace(" ", "-")}, None
        for pause in (0.1, 0.2, None):
            result = charge(url, order, headers)
            if result.ending not in ("failed", "unknown"):
                return result
            unknown = unknown or (result if result.ending == "unknown" else None)
            time.sleep(pause or 0)
        return unknown or result

    return send, charge, pay


@pytest.mark.parametrize(
    "client",
    [a_client_of_classes, a_client_of_the_standard_library, a_client_of_urllib3],
)
def test_right_answers_of_another_make_pass(client):
    answers = list(zip(CHECKS, client(), strict=False))
    for name, function in reversed(answers):  # the checks go in any order
        timed(CHECKS[name], function)


# -- Wrong answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_a_stub_is_still_to_do(name):
    said = refusal(CHECKS[name], getattr(lab(solved=False), name))
    assert said == to_do(NAME, NUMBER[name])


def test_the_verdict_on_a_stub():
    stub = lab(solved=False).checkout
    assert (
        refusal(lab01.verdict, stub) == "Task 4 is still to do: find out what happened"
    )


SEND = 'return requests.post(url + "/charges", json=order, headers=headers, timeout=TIMEOUT)'
UNREACHABLE = 'Result("failed", "Payments cannot be reached.")'
NO_ANSWER = 'Result("unknown", "Payments gave no answer.")'
ANY_5XX = 'return Result("unknown", f"Payments answered {reply.status_code}.")'
KEY = '    headers = {"Idempotency-Key": str(uuid.uuid4())}\n'
NO_REPLY = "except requests.RequestException:\n        return "

WRONG = [
    # Task 1
    ("no timeout", "send", [("headers=headers, timeout=TIMEOUT", "headers=headers")],
     ["your code did not come back within 2 s", "case: when no answer comes",
      "in send(): return requests.post(", "requests.post has no timeout by itself"]),
    ("timeout far too long", "send", [("headers=headers, timeout=TIMEOUT", "headers=headers, timeout=1.6")],
     ["how long send() waits", "expected: at most 1.2 s", "the timeout is TIMEOUT, 0.5 s"]),
    ("form instead of JSON", "send", [("json=order", "data=order")],
     ["the body that arrives", "got:      'order=order-1&", "send the order as JSON: json=order"]),
    ("no return", "send", [("return requests.post", "requests.post")],
     ["what send() returns", "expected: a Response", "None (nothing was returned)"]),
    ("headers forgotten", "send", [("headers=headers, ", "")],
     ["the Idempotency-Key that arrives", "expected: 'key-1'", "got:      'none'"]),
    ("wrong address", "send", [('url + "/charges"', "url")],
     ["expected: 'POST /charges'", "got:      'POST /'"]),
    ("tries again by itself", "send",
     [(SEND, f"try:\n        {SEND}\n    except requests.Timeout:\n        {SEND}")],
     ["requests that Payments gets from one send()", "exactly 1", "got:      2", "is for Task 3"]),
    # Task 2
    ("lets errors through", "charge", [("except requests.RequestException", "except KeyError")],
     ["your code raised ConnectionError", "case: when nobody listens", "in send(): return requests.post(",
      "charge() always comes back"]),
    ("everything failed", "charge", [(NO_ANSWER, UNREACHABLE)],
     ["when no answer comes in time", "expected: 'unknown'", "got:      'failed'", "will charge yet"]),
    ("a lost reply is a failure", "charge",
     [("if never_connected(error):", "if isinstance(error, requests.ConnectionError):")],
     ["when the reply is lost", "expected: 'unknown'", "got:      'failed'", "the charge was made"]),
    ("everything unknown", "charge", [(UNREACHABLE, NO_ANSWER)],
     ["when nobody listens", "expected: 'failed'", "got:      'unknown'"]),
    ("a refusal is a failure", "charge", [('Result("refused"', 'Result("failed"')],
     ["for card tok_declined", "expected: 'refused'", "got:      'failed'", "a 4xx is an answer"]),
    ("raises on a refusal", "charge",
     [("if reply.status_code == 201", "reply.raise_for_status()\n    if reply.status_code == 201")],
     ["your code raised HTTPError: 402", "in charge(): reply.raise_for_status()"]),
    ("a 5xx is a failure", "charge", [(ANY_5XX, ANY_5XX.replace("unknown", "failed"))],
     ["for a 500", "expected: 'unknown'", "a 5xx does not say how far it got"]),
    ("a 5xx is a refusal", "charge", [("400 <= reply.status_code < 500", "reply.status_code >= 400")],
     ["your code raised JSONDecodeError", "case: for a 500",
      'in charge(): return Result("refused", reply.json()["detail"])']),
    ("returns the Response", "charge", [('return Result("paid", reply.json()["id"])', "return reply")],
     ["for a charge that is made", "expected: a Result", "got:      <Response [201]>"]),
    ("asks nobody", "charge", [("    try:\n", '    return Result("paid", "ch-1")\n    try:\n', )],
     ["charges for a charge that is made", "exactly 1", "got:      0"]),
    ("forgets the id", "charge", [('reply.json()["id"]', '"thank you"')],
     ["the detail that charge() returns", "expected: 'ch-1'", "got:      'thank you'"]),
    ("swallows the reason", "charge", [('reply.json()["detail"]', '"no"')],
     ["expected: 'The bank declined the card.'", "the reason is in the problem details"]),
    ("a word of its own", "charge", [('Result("unknown", "Pay', 'Result("timeout", "Pay')],
     ["expected: 'paid' or 'refused' or 'failed' or 'unknown'", "got:      'timeout'"]),
    ("floods Payments", "charge", [("reply = send", "while send(url, order): pass\n        reply = send")],
     ["your code did not come back within 2 s", "send("]),
    # Task 3
    ("retries a refusal", "pay", [('in ("paid", "refused")', '== "paid"')],
     ["tries for the card tok_declined", "exactly 1", "got:      3", "refused is an answer"]),
    ("never retries", "pay", [("in range(TRIES)", "in range(1)")],
     ["when two replies are lost", "expected: 'paid'", "got:      'unknown'", "safe to try again"]),
    ("a new key each time", "pay", [(KEY, ""), ("        if attempt:", "    " + KEY + "        if attempt:")],
     ["charges when two replies are lost", "exactly 1", "got:      3", "each try had a key of its own"]),
    ("no key", "pay", [(KEY, "    headers = None\n")],
     ["charges when two replies are lost", "got:      3", "without an Idempotency-Key"]),
    ("one key for all orders", "pay", [("str(uuid.uuid4())", '"the-key"')],
     ["for another order", "expected: 'paid'", "got:      'refused'", "a key of its own"]),
    ("retries without end", "pay", [("in range(TRIES)", "in range(10**9)")],
     ["tries when every try gets a 503", "between 2 and 3", "got:      9"]),
    ("one try too many", "pay", [("in range(TRIES)", "in range(TRIES + 1)")],
     ["tries when every try gets a 503", "between 2 and 3", "got:      4", "the first try included"]),
    ("a storm of retries", "pay", [("time.sleep(PAUSE)", "pass")],
     ["the shortest pause between two tries", "at least 0.09 s", "time.sleep(PAUSE)"]),
    ("gives up when nobody is there", "pay", [('in ("paid", "refused")', '!= "unknown"')],
     ["when Payments is back after a moment", "expected: 'paid'", "got:      'failed'"]),
    ("the last try decides", "pay", [("return unknown or result", "return result")],
     ["when Payments charges, then crashes", "expected: 'unknown'", "got:      'failed'", "proves nothing"]),
    ("gives up as unknown", "pay", [("return unknown or result", 'return Result("unknown", "gave up")')],
     ["when nobody listens", "expected: 'failed'", "got:      'unknown'"]),
    ("returns nothing in the end", "pay", [("return unknown or result", "pass")],
     ["when every try gets a 503", "None (nothing was returned)"]),
    # Task 4
    ("never asks", "checkout", [('result.ending != "unknown"', "True")],
     ["when every reply is lost", "expected: 'paid'", "got:      'unknown'", "GET /charges?order=…"]),
    ("takes another order's charge", "checkout", [("params=params, ", "")],
     ["the detail that checkout() returns", "expected: 'ch-2'", "got:      'ch-1'", "not of another's"]),
    ("no charge yet is a failure", "checkout",
     [("if found else result", 'if found else Result("failed", "no charge")')],
     ["when there is no charge yet", "expected: 'unknown'", "got:      'failed'", "has made 1 charge since"]),
    ("the question raises", "checkout", [("except requests.RequestException:", "except KeyError:")],
     ["your code raised ConnectionError", "case: when nobody is there to ask",
      "in checkout(): reply = requests.get("]),
    ("the question has no timeout", "checkout", [("params=params, timeout=TIMEOUT", "params=params")],
     ["your code did not come back within 2 s", "case: when the question gets no answer",
      "in checkout(): reply = requests.get("]),
    ("no answer is a failure", "checkout",
     [(NO_REPLY + "result", NO_REPLY + 'Result("failed", "no answer")')],
     ["when nobody is there to ask", "expected: 'unknown'", "got:      'failed'"]),
    ("reads a problem as charges", "checkout", [("reply.raise_for_status()", "pass")],
     ["your code raised KeyError", "found[0]"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [case[1:] for case in WRONG],
    ids=[case[0] for case in WRONG],
)
def test_a_wrong_answer_is_refused_in_fitting_words(name, changes, words):
    said = refusal(CHECKS[name], getattr(lab(*changes), name))
    assert_refused(NAME, NUMBER[name], words, said)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([(KEY, "    headers = None\n")],
         ["orders charged twice", "exactly 0", "charges: 2", "met slow"]),
        ([(NO_ANSWER, UNREACHABLE), ("in range(TRIES)", "in range(1)")],
         ["orders wrongly reported", "exactly 0", "told failed, charges: 1"]),
        ([("in range(TRIES)", "in range(1)")],
         ["orders left unknown", "at most 2", "got:      15", "worth another try"]),
        ([(ANY_5XX, f"if reply.status_code == 503:\n        return {UNREACHABLE}\n    {ANY_5XX}"),
          ('in ("paid", "refused")', '!= "unknown"')],
         ["good orders not charged", "at most 2", "got:      5"]),
        ([("return result\n    try:", "return result\n    raise ValueError('which?')\n    try:")],
         ["your code raised ValueError: which?", "in checkout(): raise ValueError('which?')"]),
        ([("    result = pay(url, order)", "    while True: pass\n    result = pay(url, order)")],
         ["your code did not come back within 2 s", "in checkout(): while True: pass"]),
    ],
    ids=["doubles", "misled", "in doubt", "lost", "raises", "hangs"],
)  # fmt: skip
def test_the_verdict_on_wrong_answers(changes, words, shown):
    said = refusal(lab01.verdict, lab(*changes).checkout)
    assert said.startswith("✗ Verdict: forty orders on a bad day\n")
    assert_said(words, said)


def test_the_verdict_on_a_single_try(shown):
    said = refusal(lab01.verdict, lab().charge)
    assert "orders left unknown\n  expected: at most 2\n  got:      24" in said
    assert "24 left in doubt" in shown[0][0].axes[0].get_title("left")


def test_the_verdict_on_one_who_takes_too_long(monkeypatch):
    monkeypatch.setattr(bad_day, "OPEN", 0.3)
    said = refusal(lab01.verdict, lab().checkout)
    assert "orders taken within 0.3 s\n  expected: exactly 40" in said


# -- The learner's own ------------------------------------------------------------------


def test_the_learners_own_payments_stays(capsys):
    mine = serve(create_app(work_seconds=0))
    try:
        for _ in range(2):
            CHECKS["charge"](lab().charge)
        assert requests.get(mine.url + "/charges", timeout=2).json() == []
    finally:
        mine.stop()
