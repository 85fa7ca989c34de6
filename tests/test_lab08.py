"""Lab 8: right checkouts pass, whatever their design; wrong ones are refused in fitting words."""

import contextlib
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid

import lab_answers
import pytest
import redis
import requests
from lab_answers import (
    assert_passed,
    assert_refused,
    assert_said,
    refusal,
    timed,
    to_do,
)
from running import family, folders, nothing_left, wait_until

from helpers import registry, serve, start_broker
from helpers.challenge import SCENARIOS, Refused
from helpers.checks import Refused as CheckRefused
from helpers.labs import checkout_module, lab08, seven_scenarios
from helpers.labs.little_shop import LittleShop
from helpers.shop.payments import create_app

NAME = "08-design-the-checkout.ipynb"
CHECKS = {  # the check: the functions it takes
    "check_task_1": ("ask",),
    "check_task_2": ("charge", "send_mail"),
    "check_task_3": ("undo",),
    "check_task_4": ("place",),
    "check_task_5": ("place", "handlers"),
    "verdict": ("place", "handlers"),
}
TASKS = list(CHECKS)[:5]


def lab(*changes, solved=True):
    """What the notebook defines, with changes (old, new) to its text."""
    begins = ["from helpers.challenge import Refused", "def reserve"]
    names = {"requests": requests, "os": os, "time": time, "uuid": uuid, "seen": []}
    names["__name__"] = "a lab"
    return lab_answers.lab(NAME, *changes, begins=begins, solved=solved, **names)


def given(name, answers):
    """A check of the lab, and the functions among the answers that it takes."""
    return getattr(lab08, name), *(getattr(answers, each) for each in CHECKS[name])


pytestmark = pytest.mark.usefixtures("shown")  # no test shows its pictures


@pytest.fixture(autouse=True, scope="module")
def one_broker():
    """For all the tests, since it takes a moment to start."""
    with nothing_left():
        yield start_broker()


@pytest.fixture(autouse=True)
def nothing_is_left(one_broker):
    """No thread, service, process, folder, stream or path may be left by a test."""
    client = start_broker().client  # again, if the test before has stopped it
    threads, before = set(threading.enumerate()), what_there_is()
    yield
    assert [thing for thing in registry.running() if thing.name != "broker"] == []
    assert what_there_is() - before == set()
    wait_until(lambda: set(threading.enumerate()) <= threads, seconds=3)
    with contextlib.suppress(redis.ConnectionError):  # stopped, and all with it
        assert [*client.scan_iter("lab08*"), *client.scan_iter("challenge*")] == []


def what_there_is():
    return {*family(), *folders(), *sys.path}


def told(figure):
    """The texts in a table."""
    return [text.get_text() for text in figure.axes[0].texts]


# -- Right answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_the_solution_passes(name, capsys):
    timed(*given(name, lab()))
    said = capsys.readouterr().out
    assert_passed(NAME, int(name[-1]), said)


def test_the_verdict_on_the_solution(capsys, shown, told_after):
    told_of_it = told_after(NAME, "lab08/spike", "under 0.1 s")
    lab08.findings()
    lab08.verdict(*given("verdict", lab())[1:])
    lab08.findings()
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == [
        "There is no verdict yet.",
        "✓ Verdict: seven scenarios, in processes of their own",
        "  51 customers in 7 scenarios; harm: 0",
        "  told “received”: 0, of these refused later: 0; charges refunded: 0",
    ]
    assert "p50 at the button: 0." in said[4] and "in the spike" in said[4]
    assert "Your checkout: nothing went wrong in 7 scenarios." in said
    [(table, alt)] = shown
    names = [scenario.name for scenario in SCENARIOS]
    assert [text for text in told(table) if text in names] == names
    [text] = told_of_it
    assert "“under 0.1 s”" in text and "one of the 2 threads" in text


def test_the_lab_and_its_checks_agree():
    assert lab().TIMEOUT == lab08.TIMEOUT


LATER = '''
def settle(shop, order):
    """In a worker: the two steps that decide, and then the mail that tells."""
    try:
        for step in STEPS:
            step_of(step)(shop, order)
    except Refused:
        undo(shop, order)
        send_mail(shop, order, "cancellation")
        return
    send_mail(shop, order, "confirmation")
    shop.client.xadd(shop.stream("recommend"), order)


def step_of(name):
    return {"reserve": reserve, "charge": charge}[name]


def handlers(shop):
    return {"settle": partial(settle, shop), "recommend": partial(recommend, shop)}
'''
PLACE, HANDLERS = "def place", "def handlers"
RECEIVED_AT_ONCE = f"""
STEPS = ("reserve", "charge")


def place(shop, order):
    shop.client.xadd(shop.stream("settle"), order)
    return "received"

{LATER}"""
RESERVED_AT_ONCE = f"""
STEPS = ("charge",)


def place(shop, order):
    try:
        reserve(shop, order)
    except requests.RequestException as problem:
        raise Refused("try again in a minute") from problem
    shop.client.pipeline().xadd(shop.stream("settle"), order).execute()
    return "received"

{LATER}"""
OF_CLASSES = '''
class Desk:
    """One stream for what comes afterwards; the button undoes by itself, as far as it can."""

    taken = (("/reservations", "inventory", "release"), ("/charges", "payments", "refund"))

    def __init__(self, shop):
        self.shop = shop

    def place(self, order):
        try:
            reserve(self.shop, order)
            self.pay(order)
        except (Refused, requests.RequestException) as problem:
            for path, service, back in self.taken:
                self.give_back(order, path, service, back)
            raise Refused(f"{problem}") from None
        self.shop.client.xadd(self.shop.stream("placed"), {**order, "key": str(uuid.uuid4())})
        return "confirmed"

    def pay(self, order):
        try:
            charge(self.shop, order)
        except requests.RequestException:
            charge(self.shop, order)

    def give_back(self, order, path, service, back):
        ledger = self.shop.url[service] + path
        try:
            for entry in requests.get(ledger, params={"order": order["order"]}, timeout=1).json():
                requests.post(f"{ledger}/{entry['id']}/{back}", timeout=1)
        except requests.RequestException:
            pass

    def placed(self, message):
        mail = {"order": message["order"], "kind": "confirmation"}
        ask(self.shop, "email", "/mails", mail, message["key"])
        recommend(self.shop, message)


def place(shop, order):
    return Desk(shop).place(order)


def handlers(shop):
    return {"placed": Desk(shop).placed}
'''


def checkout(text):
    """The lab's steps, with another place() and other handlers()."""
    ours = f"from functools import partial\n{text}\n\n{PLACE}_of_the_lab"
    return lab((HANDLERS, f"{HANDLERS}_of_the_lab"), (PLACE, ours))


DESIGNS = [RECEIVED_AT_ONCE, RESERVED_AT_ONCE, OF_CLASSES]
IDS = ["received at once", "reserved at once", "of classes"]


@pytest.mark.parametrize("text", DESIGNS, ids=IDS)
def test_other_designs_pass(text):
    answers = checkout(text)
    timed(*given("check_task_5", answers))
    timed(*given("check_task_4", answers))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RECEIVED_AT_ONCE, "told “received”: 51, of these refused later: 3;"),
        (RESERVED_AT_ONCE, "told “received”: 50, of these refused later: 2;"),
    ],
    ids=IDS[:2],
)
def test_the_verdict_on_other_designs(text, said, capsys):
    lab08.verdict(*given("verdict", checkout(text))[1:])
    assert_said(["harm: 0", said], capsys.readouterr().out)


def test_a_checkout_of_classes_is_taken_along(monkeypatch):
    monkeypatch.setattr(seven_scenarios, "ORDER", ("a calm hour", "the last item"))
    made = seven_scenarios.run(*given("verdict", checkout(OF_CLASSES))[1:])
    seven_scenarios.expect_no_harm(made)
    assert (len(made.facts), made.harm, made.in_doubt) == (2, 0, 0)


def test_steps_of_another_make_pass():
    """Objects that are called, the standard library's client, another key, another order."""
    ours = lab()

    class Ask:
        def __call__(self, shop, service, path, body, key=None):
            headers = {"Content-Type": "application/json"}
            if key is not None:
                headers["Idempotency-Key"] = key
            data = json.dumps(body).encode()
            request = urllib.request.Request(shop.url[service] + path, data, headers)
            try:
                urllib.request.urlopen(request, timeout=ours.TIMEOUT).close()
            except urllib.error.HTTPError as error:
                with error:
                    if error.code == 402 or error.code == 409:
                        reason = json.loads(error.read())["detail"]
                        raise Refused(f"{service} says: {reason}") from None
                raise

    ask = Ask()

    def charge(shop, order):
        body = {name: order[name] for name in ("order", "card")}
        body |= {"amount_cents": int(order["amount_cents"]), "currency": "USD"}
        return ask(shop, "payments", "/charges", body, "charge-" + order["order"])

    def send_mail(shop, order, kind):
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, order["order"] + kind))
        ask(shop, "email", "/mails", {"order": order["order"], "kind": kind}, key)

    class Undo:
        def __call__(self, shop, order):
            for ledger, back in (
                (shop.url["payments"] + "/charges", "/refund"),
                (shop.url["inventory"] + "/reservations", "/release"),
            ):
                reply = requests.get(ledger, timeout=1)
                reply.raise_for_status()
                for each in reply.json():
                    if each["order"] == order["order"]:
                        done = requests.post(f"{ledger}/{each['id']}{back}", timeout=1)
                        assert done.status_code in (200, 409)

    timed(lab08.check_task_3, Undo())
    timed(lab08.check_task_2, charge, send_mail)
    timed(lab08.check_task_1, ask)


# -- Wrong answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_a_stub_is_still_to_do(name):
    number = 4 if name == "verdict" else int(name[-1])
    said = refusal(*given(name, lab(solved=False)))
    assert said == to_do(NAME, number)


POST = "reply = shop.http.post(url, json=body, headers=headers, timeout=TIMEOUT)"
NO = 'if reply.status_code in (402, 409):\n        raise Refused(reply.json()["detail"])\n'
FAILS = f"{NO}    reply.raise_for_status()\n"
ASK = 'ask(shop, "payments", "/charges", purchase, key=order["order"])'
CHARGE_KEY = 'key=order["order"]'
MAIL_KEY = "key=f\"{order['order']}-{kind}\""
LOOK = "reply = shop.http.get(shop.url[service] + path, params=mine, timeout=TIMEOUT)\n"
BEGIN = "    try:\n        reserve(shop, order)"
BOTH = "        reserve(shop, order)\n        charge(shop, order)\n"
OTHER_WAY = "        charge(shop, order)\n        reserve(shop, order)\n"
UNDO = '        shop.client.xadd(shop.stream("undo"), order)  # a worker tries until it is done\n'
STEPS = '("confirm", "recommend")'
PUBLISH = f"""    for step in {STEPS}:
        shop.client.xadd(shop.stream(step), order)
"""
RETURN = '    return "confirmed"'
CONFIRM = 'lambda order: send_mail(shop, order, "confirmation")'
RECOMMEND = "lambda order: recommend(shop, order)"
RELEASE = "lambda order: undo(shop, order)"


def first(line):
    """A line more at the beginning of place()."""
    return BEGIN, f"    {line}\n{BEGIN}"


def handler(name, *lines):
    """A function more in handlers()."""
    body = "".join(f"        {line}\n" for line in lines)
    return "    return {\n", f"    def {name}(order):\n{body}\n    return {{\n"


def without(step, *, told="confirmed", also=""):
    """place() leaves a step to the workers."""
    return [
        (f"        {step}(shop, order)\n", ""),
        (STEPS, f'("confirm", "recommend", "{step}")'),
        (RETURN, f'    return "{told}"'),
        ('        "undo":', f'        "{step}": lambda order: {step}(shop, order),\n        "undo":'),
    ]  # fmt: skip


CONFIRMS_TOO_SOON = without("charge")
MAILS_AT_THE_BUTTON = [
    (RETURN, f'    send_mail(shop, order, "confirmation")\n{RETURN}'),
    (STEPS, '("recommend",)'),
]
SWALLOWS = [
    handler(
        "confirm", "try:", '    send_mail(shop, order, "confirmation")', "except Exception:", "    pass"
    ),
    (CONFIRM, "confirm"),
]  # fmt: skip
TOO_EARLY = [(BEGIN, PUBLISH + BEGIN), (PUBLISH + RETURN, RETURN)]

WRONG = [
    # Task 1
    ("no timeout", 1, [(", timeout=TIMEOUT)\n    if", ")\n    if")],
     ["your code did not come back within 2 s", "case: when no answer comes",
      "in ask(): reply = shop.http.post("]),
    ("a form", 1, [("json=body", "data=body")],
     ["415 Client Error", "case: for a reservation", "with json"]),
    ("the key is forgotten", 1, [("headers=headers, timeout", "timeout")],
     ["mails for two requests with one key", "exactly 1", "got:      2", "Idempotency-Key"]),
    ("None is a key", 1,
     [(" if key else None", ""), ('"Idempotency-Key": key', '"Idempotency-Key": str(key)')],
     ["two requests more without a key", "exactly 3", "got:      2", "no such header"]),
    ("a no is a failure", 1, [(NO, "if False: pass\n")],
     ["what ask() does when the card is declined", "a Refused", "got:      HTTPError: 402", "are answers"]),
    ("sold out is a failure", 1, [("in (402, 409)", "== 402")],
     ["what ask() does when the item is sold out", "a Refused", "got:      HTTPError: 409"]),
    ("the reason is lost", 1, [('Refused(reply.json()["detail"])', 'Refused("no")')],
     ["the reason in Refused", "expected: 'declined'", "got:      'no'", 'reply.json()["detail"]']),
    ("a 503 is a success", 1, [(FAILS, NO)],
     ["what ask() raises for a 503", "expected: 'an error'", "got:      'no error'", "raise_for_status"]),
    ("a 503 is a no", 1, [("in (402, 409)", ">= 400")],
     ["what ask() raises for a 503", "expected: 'an error'", "got:      'Refused'"]),
    ("a failure is a no", 1,
     [(POST, f"try:\n        {POST}\n    except requests.RequestException as error:\n"
             "        raise Refused(str(error))")],
     ["what ask() raises when nobody listens", "got:      'Refused'", "nobody has said no"]),
    ("asks nobody", 1, [("    url = shop", "    return\n    url = shop")],
     ["what Inventory has reserved", "order-1", "got:      []"]),
    # Task 2
    ("a charge without a key", 2, [(f", {CHARGE_KEY}", "")],
     ["charges when the message comes twice", "exactly 1", "got:      2", "what is the same about both?"]),
    ("a new key each time", 2, [(CHARGE_KEY, "key=str(uuid.uuid4())")],
     ["charges when the message comes twice", "got:      2"]),
    ("one key for all", 2, [(CHARGE_KEY, 'key="the-key"')],
     ["charge() for another order", "expected: 'no error'", "HTTPError: 422", "a key of its own"]),
    ("text for a number", 2, [('int(order["amount_cents"])', 'order["amount_cents"]')],
     ["charge() with a message", "HTTPError: 422", "in a stream all is text"]),
    ("a refusal is swallowed", 2, [(ASK, f"try:\n        {ASK}\n    except Refused:\n        return False")],
     ["what charge() does when the card is declined", "no error, and False", "let Refused pass"]),
    ("a mail without a key", 2, [(f", {MAIL_KEY}", "")],
     ["confirmations when the message comes twice", "exactly 1", "got:      2", "Email takes keys, too"]),
    ("one key for both mails", 2, [(MAIL_KEY, CHARGE_KEY)],
     ["send_mail() for a cancellation", "HTTPError: 422", "so it needs another key"]),
    ("one kind of mail", 2, [('"kind": kind', '"kind": "confirmation"')],
     ["cancellations of the same order", "exactly 1", "got:      0"]),
    # Task 3
    ("refunds only", 3, [('        ("inventory", "/reservations", "reserved", "release"),\n', "")],
     ["reservations not released", "exactly 0", "got:      1", "/reservations/ID/release"]),
    ("releases only", 3, [('        ("payments", "/charges", "paid", "refund"),\n', "")],
     ["charges not refunded", "exactly 0", "got:      1", "/charges/ID/refund"]),
    ("undoes all orders", 3, [("params=mine, ", "")],
     ["what another order keeps", "exactly 2", "got:      0", 'params={"order": order["order"]}']),
    ("undoes twice", 3, [('            if entry["status"] == taken:\n    ', "        ")],
     ["your code raised Refused: res-1 is released already.", "case: for an order that is undone already"]),
    ("hides a failure", 3, [(LOOK, f"try:\n            {LOOK}        except requests.RequestException:\n"
                                   "            continue\n")],
     ["what undo() raises when Payments cannot be reached", "got:      'no error'", "let the error pass"]),
    ("expects a charge", 3, [("        for entry in", "        reply.json()[0]\n        for entry in")],
     ["your code raised IndexError", "case: for an order that is only reserved",
      "in undo(): reply.json()[0]"]),
    # Task 4
    ("confirms before the charge", 4, CONFIRMS_TOO_SOON,
     ["an order that was confirmed when all is well", "expected: 'paid and reserved'",
      "got:      'reserved, not paid'", "both answers must be there"]),
    ("forgets to release", 4, [(UNDO, "")],
     ["an order that was refused when the card is declined", "expected: 'neither paid nor reserved'",
      "got:      'reserved, not paid'", "has to be given back"]),
    ("charges first, never refunds", 4, [(BOTH, OTHER_WAY), (UNDO, "")],
     ["an order that was refused when the item is sold out", "got:      'paid, not reserved'"]),
    ("lets failures through", 4, [("(Refused, requests.RequestException)", "Refused")],
     ["what place() does when the reply of Payments is lost", "expected: 'returns, or raises Refused'",
      "raises ConnectionError", "a customer waits for a word"]),
    ("undoes at the button, and fails", 4, [(UNDO, "        undo(shop, order)\n")],
     ["what place() does when Payments cannot be reached", "raises ConnectionError"]),
    ("mails at the button", 4, MAILS_AT_THE_BUTTON,
     ["what place() does when Email does not answer", "raises ReadTimeout",
      "who needs the mail at the button?"]),
    ("waits for a mail that may fail", 4,
     [(RETURN, '    try:\n        send_mail(shop, order, "confirmation")\n'
               f"    except requests.RequestException:\n        pass\n{RETURN}")],
     ["how long place() takes when Email does not answer", "at most 0.4 s", "A message can wait for Email"]),
    ("recommends at the button", 4, [(BOTH, f"{BOTH}        recommend(shop, order)\n")],
     ["what the customer is told when Recommendations is down", "got:      'refused'",
      "nobody needs this step"]),
    ("receives, and does nothing", 4, [first('return "received"')],
     ["messages of an order that was received when all is well", "at least 1", "got:      0"]),
    ("nobody mails", 4, [(PUBLISH, "")],
     ["messages for the workers and mails", "at least 1", "neither sends nor publishes"]),
    ("refuses everybody", 4, [first('raise Refused("we are closed")')],
     ["what the customer is told when all is well", "'confirmed' or 'received'", "got:      'refused'"]),
    ("returns nothing", 4, [(RETURN, "    pass")],
     ["what place() does when all is well", "None (nothing was returned)",
      'return "confirmed" or "received"']),
    ("returns nonsense, and prints", 4, [(RETURN, '    print("placed")\n    return True')],
     ["expected: 'confirmed' or 'received'", "got:      True", "printed meanwhile:\n    placed"]),
    ("raises KeyError", 4, [first('print(order["prize"])')],
     ["your code raised KeyError: 'prize'", "case: when all is well", "in place(): print(order"]),
    ("hangs", 4, [first("time.sleep(3)")],
     ["your code did not come back within 2 s", "in place(): time.sleep(3)"]),
    ("floods a stream", 4,
     [(RETURN, '    while True:\n        shop.client.xadd(shop.stream("confirm"), order)')],
     ["your code did not come back within 2 s", "in place(): "]),
    ("ends the process", 4, [first("os._exit(1)")],
     ["SystemError: os._exit(1) ends the whole process", "in place(): os._exit(1)"]),
    ("stops everything", 4, [first("from helpers import stop_all; stop_all()")],
     ["services that place() has stopped", "exactly 0", "got:      5", "the broker: what others use"]),
    # Task 5
    ("a handler is missing", 5, [(f'        "confirm": {CONFIRM},\n', "")],
     ["streams that nobody reads", "nobody reads 'confirm'; there are handlers for 'recommend', 'undo'"]),
    ("no dict", 5, [("    return {\n", "    {\n")],
     ["what handlers() returns", "expected: a dict", "None (nothing was returned)"]),
    ("a function of two", 5, [(RECOMMEND, "recommend")],
     ["what the handler of 'recommend' needs", "'one argument, the message'", "got:      '(shop, order)'"]),
    ("no function", 5, [(RECOMMEND, "None")],
     ["the handler of 'recommend'", "'a function of a message'", "not what it returns"]),
    ("a mail without a key, twice", 5, [(f", {MAIL_KEY}", "")],
     ["confirmations when each message comes twice", "exactly 1", "got:      2", "with its key sends once"]),
    ("swallows errors", 5, SWALLOWS,
     ["confirmations when Email is down for a while", "exactly 1", "got:      0", "leaves its message"]),
    ("publishes too early", 5, TOO_EARLY,
     ["a confirmed order when Payments is down for a while", "got:      'neither paid nor reserved'",
      "when the order stands, and not before"]),
    ("recommends nothing", 5, [(RECOMMEND, "lambda order: None")],
     ["purchases of this order that Recommendations knows of", "at least 1", "got:      0"]),
    ("undoes nothing", 5, [(RELEASE, "lambda order: None")],
     ["an order that came to nothing when Payments is down", "got:      'reserved, not paid'",
      "who calls undo"]),
    ("cancels nothing", 5, without("charge", told="received"),
     ["what the handler of 'charge' raises", "got:      'Refused: The bank declined the card.'",
      "nobody is at the button any more"]),
    ("raises in a handler", 5, [(RECOMMEND, 'lambda order: order["prize"]')],
     ["your code raised KeyError: 'prize'", "case: when each message comes twice"]),
    ("hangs in a handler", 5, [(RECOMMEND, "lambda order: time.sleep(3)")],
     ["your code did not come back within 2 s", "time.sleep(3)"]),
    ("ends the worker", 5, [(RECOMMEND, "lambda order: os._exit(1)")],
     ["SystemError: os._exit(1) ends the whole process"]),
    ("goes round in a circle", 5,
     [(RECOMMEND, 'lambda order: shop.client.xadd(shop.stream("recommend"), order)')],
     ["messages that come of one order", "at most 29", "leads to itself again"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "changes", "words"),
    [case[1:] for case in WRONG],
    ids=[case[0] for case in WRONG],
)
def test_a_wrong_answer_is_refused_in_fitting_words(number, changes, words):
    name = f"check_task_{number}"
    said = refusal(*given(name, lab(*changes)))
    assert_refused(NAME, number, words, said)


CHARGES_LATER_WITHOUT_A_KEY = [
    (f", {CHARGE_KEY}", ""),
    (STEPS, '("charge",)'),
    (BOTH, "        reserve(shop, order)\n"),
    (RETURN, '    return "received"'),
    handler(
        "later",
        "try:",
        "    charge(shop, order)",
        "except Refused:",
        "    undo(shop, order)",
        '    send_mail(shop, order, "cancellation")',
        "else:",
        '    shop.client.xadd(shop.stream("confirm"), order)',
        '    shop.client.xadd(shop.stream("recommend"), order)',
    ),
    ("    return {\n", '    return {\n        "charge": later,\n'),
]
IN_VAIN = 'other = order["card"] != "tok_visa"'
WRONG_CHECKOUTS = [
    ("confirms before the charge", CONFIRMS_TOO_SOON,
     ["orders confirmed, and not both paid and reserved, in “declined cards”", "exactly 0", "got:      2",
      "before the answer it depends on was there"]),
    ("charges first, never refunds", [(BOTH, OTHER_WAY), (UNDO, "")],
     ["orders charged twice, or charged and refused, in “the last item”", "got:      1"]),
    ("forgets to release", [(UNDO, "")],
     ["items held for orders that are not paid, in “declined cards”", "got:      2",
      "Nobody else can buy it."]),
    ("charges later without a key", CHARGES_LATER_WITHOUT_A_KEY,
     ["orders charged twice, or charged and refused, in “worker killed”", "got:      1", "needs a key"]),
    ("mails at the button", MAILS_AT_THE_BUTTON,
     ["how much longer half of the customers wait when e-mail takes 0.3 s longer", "at most 0.2 s",
      "the button waits for the mail"]),
    ("mails without a key", [(f", {MAIL_KEY}", "")],
     ["mails sent twice, in “worker killed”", "got:      1", "A key that the provider knows"]),
    ("a handler is missing", [(f'        "confirm": {CONFIRM},\n', "")],
     ["streams that nobody reads", "nobody reads 'confirm'"]),
    ("loses mails", [*SWALLOWS, ('"kind": kind', '"kind": "none"')],
     ["customers without the mail that says how the order ended, in “a calm hour”", "got:      4",
      "acknowledged, or given up, before it was done"]),
    ("publishes too early", TOO_EARLY,
     ["orders confirmed, and not both paid and reserved, in “the last item”", "got:      1"]),
    ("recommends nothing", [(RECOMMEND, "lambda order: None")],
     ["orders that Recommendations was never told of", "got:      4", "one of the four steps"]),
    ("refuses everybody", [first('raise Refused("we are closed")')],
     ["what the customer is told when all is well", "got:      'refused'"]),
    ("returns nothing", [(RETURN, "    pass")],
     ["what place() does when all is well", "None (nothing was returned)"]),
    ("says received, and no more",
     [(RETURN, '    return "received"'), (BOTH, "        pass\n"), (CONFIRM, "lambda order: None")],
     ["customers without the mail that says how the order ended", "got:      4"]),
    ("raises for some", [(UNDO, '        print(order["prize"])\n')],
     ["place() raised KeyError: 'prize'", "case: in “the last item”",
      'at:   in place(): print(order["prize"])']),
    ("is not there yet for some", [(UNDO, '        raise NotImplementedError("Task 3: give it back")\n')],
     ["Task 3 is still to do: give it back"]),
    ("hangs in a handler", [(RECOMMEND, "lambda order: time.sleep(60)")],
     ["messages never worked off, in “a calm hour”", "got:      4", "which handler does not come back?"]),
    ("raises in a handler", [(RECOMMEND, 'lambda order: order["prize"]')],
     ["messages never worked off", "a handler raised KeyError: 'prize'", 'order["prize"]']),
    ("uses a variable", [first("seen.append(order)")],
     ["your code cannot be taken along: place() uses 'seen', which is in the memory of this notebook",
      "processes of their own, so your functions go there as text"]),
    ("floods a stream", [handler("flood", "while True:", '    shop.client.xadd(shop.stream("undo"), order)'),
                         (RECOMMEND, "flood")],
     ["Over 1,000 messages have piled up", "publishes to its own stream", "case: in “a calm hour”"]),
    ("ends the worker", [(RECOMMEND, "lambda order: os._exit(1)")],
     ["The workers' process has ended by itself.", "raise an error instead"]),
    ("ends the button", [(UNDO, f"{UNDO}        os._exit(1)\n")],
     ["The button's process has ended by itself.", "case: in “the last item”"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [case[1:] for case in WRONG_CHECKOUTS],
    ids=[case[0] for case in WRONG_CHECKOUTS],
)
def test_the_verdict_on_wrong_checkouts(changes, words, shown, monkeypatch):
    matters = [name for name in seven_scenarios.ORDER if name in "".join(words)]
    order = dict.fromkeys(
        ["a calm hour", *(matters or ["the last item", "slow e-mail"])]
    )
    monkeypatch.setattr(seven_scenarios, "ORDER", tuple(order))
    said = refusal(*given("verdict", lab(*changes)))
    assert "/tmp" not in said and "course-" not in said
    assert_said(words, said)
    if "still to do" not in said:
        assert said.startswith(
            "✗ Verdict: seven scenarios, in processes of their own\n"
        )
    if " in “" in words[0]:  # it was judged, and what was counted is shown
        [(table, _)] = shown
        assert "harm in 1 of" in table.axes[0].get_title("left")


def test_what_is_no_function_is_refused():
    class Place:
        def __call__(self, shop, order):
            return lab().place(shop, order)

    said = refusal(lab08.verdict, Place(), lab().handlers)
    assert "Place is no function of yours: write it with def" in said


# -- The parts --------------------------------------------------------------------------


def test_what_a_log_tells():
    log = (
        "placed\nTraceback (most recent call last):\n"
        '  File "/x/button.py", line 36, in create_order\n    told = place(order)\n'
        '  File "/x/your_checkout.py", line 9, in place\n    charge(shop, order)\n'
        '  File "/x/requests/api.py", line 9, in post\n    return request(url)\n'
        "requests.exceptions.ReadTimeout: timed out\n"
    )
    in_place = ("ReadTimeout: timed out", "in place(): charge(shop, order)")
    assert checkout_module.last_error(log) == in_place
    later = log.replace("in place", "in <lambda>").replace(": timed out", "")
    in_a_lambda = ("ReadTimeout", "charge(shop, order)")
    assert checkout_module.last_error(f"{log}\n{later}") == in_a_lambda
    assert checkout_module.last_error("ready\n") == ("", "")


def facts(scenario, seconds=0.05, **counts):
    """What a scenario has come to, all well but for these."""
    from helpers.challenge.verdict import Facts

    made = dict.fromkeys(Facts.__dataclass_fields__, 0) | {"because": ""}
    times = {"p50": seconds, "p95": seconds}
    return Facts(**made | {"scenario": scenario, **times} | counts)


CALM = facts("a calm hour")
GAVE_UP = facts("tenfold spike", refused_needlessly=3)


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        ([CALM], [None]),
        ([CALM, facts("worker killed", mails_doubled=1)], [None, "enough"]),
        ([CALM, GAVE_UP, GAVE_UP], [None, "again", "enough"]),
        ([CALM, GAVE_UP, facts("tenfold spike")], [None, "again", None]),
        ([facts("a calm hour", 0.1), GAVE_UP], [None, "enough"]),
        ([CALM, facts("slow e-mail", 0.3)] * 2, [None, "again", None, "enough"]),
        ([facts("a calm hour", unnoted=4)], ["enough"]),
    ],
)
def test_what_may_be_chance_is_run_again_and_harm_is_enough(seen, says):
    patience = seven_scenarios._Patience()
    assert [patience(facts) for facts in seen] == says


def test_there_is_no_second_try_when_it_is_late(monkeypatch):
    monkeypatch.setattr(seven_scenarios, "AGAIN_WITHIN", 0)
    patience = seven_scenarios._Patience()
    assert [patience(facts) for facts in (CALM, GAVE_UP)] == [None, "enough"]


def test_every_scenario_and_every_harm_has_its_place():
    from helpers.challenge.verdict import HARMS

    names = {scenario.name for scenario in SCENARIOS}
    assert set(seven_scenarios.ORDER) == names
    assert seven_scenarios.ORDER[0] == SCENARIOS[0].name
    assert set(seven_scenarios.WHAT) == set(HARMS)


def test_who_publishes_after_a_check_is_turned_away():
    with LittleShop() as little:
        client = little.shop.client
        client.xadd(little.shop.stream("late"), {"order": "order-1"})
        assert [each.name for each in little.messages()] == ["late"]
    with pytest.raises(ConnectionError, match="the check is over"):
        client.xadd("late", {})


# -- The learner's own ------------------------------------------------------------------


def test_the_learners_own_services_stay():
    broker = start_broker()
    stream = broker.key("confirm")
    broker.client.xadd(stream, {"order": "mine"})
    mine = serve(create_app(work_seconds=0))
    try:
        lab08.check_task_4(lab().place)
        with pytest.raises(CheckRefused):
            lab08.check_task_5(lab(*TOO_EARLY).place, lab().handlers)
        assert requests.get(mine.url + "/charges", timeout=2).json() == []
        assert broker.client.xlen(stream) == 1
    finally:
        broker.client.delete(stream)
        mine.stop()
