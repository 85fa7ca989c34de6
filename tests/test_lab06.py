"""Lab 6: right answers pass, whatever their make; wrong ones are refused in fitting words."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from contextlib import closing

import lab_answers
import psutil
import pytest
import requests
import running
from lab_answers import (
    assert_passed,
    assert_refused,
    assert_said,
    refusal,
    timed,
    to_do,
)

from helpers import private_folder, serve, start_broker, stop_all
from helpers.folders import folder_for_now
from helpers.labs import (
    charge_calls,
    charge_ledger,
    killed_often,
    lab06,
    lives_figure,
    worker_lives,
)
from helpers.labs.card_bank import CardRefused, ask_bank
from helpers.labs.killed_often import Life
from tools import labs, notebooks

NAME = "06-one-charge-only.ipynb"
CHECKS = {
    "record": lab06.check_task_1,
    "charge": lab06.check_task_2,
    "answer": lab06.check_task_3,
    "work_off": lab06.check_task_4,
}
NUMBER = {name: number for number, name in enumerate(CHECKS, start=1)}


def lab(*changes, solved=True):
    """What the notebook defines, with changes (old, new) to its text."""
    names = {
        "sqlite3": sqlite3,
        "uuid": uuid,
        "os": os,
        "signal": signal,
        "time": time,
        "threading": threading,
        "CardRefused": CardRefused,
        "ask_bank": ask_bank,
    }
    begins = ["def charge_of", "GROUP, WORKER", "BLOCK ="]
    return lab_answers.lab(NAME, *changes, begins=begins, solved=solved, **names)


pytestmark = pytest.mark.usefixtures("nothing_is_left")


# -- Right answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_passes(name, capfd):
    timed(CHECKS[name], getattr(lab(), name))
    said, on_stderr = capfd.readouterr()
    assert_passed(NAME, NUMBER[name], said)
    assert on_stderr == ""


def test_the_verdict_on_the_solution(capfd, shown):
    given = lab()
    timed(lab06.verdict, given.answer, given.work_off)
    said, on_stderr = capfd.readouterr()
    assert said.splitlines() == [
        "✓ Verdict: sixty orders, and a worker that is killed 24 times",
        "  60 orders: 40 by message, 20 by call, 3 with a card that is refused",
        "  24 kills: 13 between delivery and charge, 7 between charge and ack, 4 elsewhere",
        "  48 messages, 68 deliveries; 32 calls for 20 orders",
        "  57 charges, doubles: 0, losses: 0",
    ]
    assert on_stderr == ""
    [(figure, alt)] = shown
    title = figure.axes[0].get_title("left")
    assert title == "24 kills, 68 deliveries: of 60 orders, 0 charged twice and 0 lost"
    assert "Squares are repeats" in alt


def test_the_lab_and_its_checks_agree():
    cells = notebooks.code_cells(notebooks.read(labs.LABS / NAME))
    [tables] = [cell.source for cell in cells if "CREATE TABLE" in cell.source]
    assert charge_ledger.TABLES in tables
    assert f"timeout={charge_ledger.PATIENCE}" in tables
    given = lab()
    assert given.GROUP == killed_often.GROUP
    assert 5 * given.BLOCK / 1000 < worker_lives.STUCK
    text = notebooks.dumps(notebooks.read(labs.LABS / NAME))
    assert f"## The verdict: killed {killed_often.KILLS} times" in text


def insert_first(db, key, order):
    """The key first, and its charge afterwards; nobody looks before."""
    with db:
        new = db.execute("INSERT OR IGNORE INTO keys (key) VALUES (?)", [key]).rowcount
        if new:
            ask = "INSERT INTO charges VALUES (NULL, ?, ?)"
            made = db.execute(ask, [order["order"], order["amount_cents"]])
            ask = "UPDATE keys SET charge_id = ? WHERE key = ?"
            db.execute(ask, [made.lastrowid, key])
    return lab().charge_of(db, key), not new


class ByHand:
    """Objects that are called; transactions begun, committed and rolled back by hand."""

    def __init__(self):
        self.given = lab()

    def __call__(self, db, key, order):
        db.isolation_level = None
        db.execute("BEGIN EXCLUSIVE")
        try:
            first = self.given.charge_of(db, key)
            if first is None:
                self.ask(order)
                made = db.execute(
                    "INSERT INTO charges (amount_cents, order_id) VALUES (?, ?)",
                    (order["amount_cents"], order["order"]),
                )
                db.execute(
                    "INSERT INTO keys (charge_id, key) VALUES (?, ?)",
                    (made.lastrowid, key),
                )
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        return [first or self.given.charge_of(db, key), first is not None]

    def ask(self, order):
        pass


class ByHandWithBank(ByHand):
    def ask(self, order):
        ask_bank(order)


def caught_by_the_constraint(db, key, order):
    """Write at once; a key that is there raises, and rolls the charge back."""
    try:
        with db:
            made = db.execute(
                "INSERT INTO charges (order_id, amount_cents) VALUES (?, ?)",
                (order["order"], order["amount_cents"]),
            )
            db.execute("INSERT INTO keys VALUES (?, ?)", (key, made.lastrowid))
    except sqlite3.IntegrityError:
        return lab().charge_of(db, key), True
    return lab().charge_of(db, key), False


@pytest.mark.parametrize("record", [insert_first, ByHand(), caught_by_the_constraint])
def test_a_record_of_another_make_passes(record):
    timed(lab06.check_task_1, record)


def the_write_of_a_key_as_the_lock(db, key, order):
    """No BEGIN: to write the key takes the lock as well."""
    with db:
        ask = "INSERT OR IGNORE INTO keys (key) VALUES (?)"
        if db.execute(ask, [key]).rowcount:
            ask_bank(order)
            ask = "INSERT INTO charges (order_id, amount_cents) VALUES (?, ?)"
            made = db.execute(ask, [order["order"], order["amount_cents"]])
            ask = "UPDATE keys SET charge_id = ? WHERE key = ?"
            db.execute(ask, [made.lastrowid, key])
            is_repeat = False
        else:
            is_repeat = True
    return lab().charge_of(db, key), is_repeat


@pytest.mark.parametrize("charge", [ByHandWithBank(), the_write_of_a_key_as_the_lock])
def test_a_charge_of_another_make_passes(charge):
    timed(lab06.check_task_2, charge)


def an_answer_of_responses(db, key, order):
    """Response objects, and a look at the key before anything is charged."""
    from flask import jsonify, make_response

    given = lab()

    def say(status, detail):
        return make_response(jsonify(detail=detail), status)

    if key is None:
        return say(400, "no key")
    first = given.charge_of(db, key)
    if first and [first[n] for n in ("order", "amount_cents")] != [
        order[n] for n in ("order", "amount_cents")
    ]:
        return say(422, "another order")
    try:
        made, is_repeat = given.charge(db, key, order)
    except CardRefused as refusal:
        return say(402, f"{refusal}")
    response = make_response(jsonify(made), 201)
    if is_repeat:
        response.headers["Idempotent-Replayed"] = "True"
    return response


def test_an_answer_of_another_make_passes():
    timed(lab06.check_task_3, an_answer_of_responses)


IN_BATCHES = '''
def work_off(db, client, stream):
    """Ten messages at a time; one loop for what is pending and for what is new."""
    last = "0"
    while True:
        news = dict(client.xreadgroup("payments", "payments-1", {stream: last}, count=10, block=50))
        if not news or not news[stream]:
            if last == ">":
                return
            last = ">"
            continue
        for message_id, event in news[stream]:
            try:
                order = dict(event, amount_cents=int(event["amount_cents"]))
                charge(db, "order " + event["order"], order)
            except CardRefused:
                client.xack(stream, "payments", message_id)
                continue
            client.xack(stream, "payments", message_id)
            if last != ">":
                last = message_id
'''
CLAIMS = '''
def messages_of(client, stream):
    """What any worker has left pending, claimed; then what is new."""
    start = "0-0"
    while start:
        start, claimed, _ = client.xautoclaim(stream, GROUP, "a-new-worker", 0, start)
        yield from claimed
        start = None if start == "0-0" else start
    while news := client.xreadgroup(GROUP, "a-new-worker", {stream: ">"}, count=3, block=BLOCK):
        yield from news[0][1]


def work_off(db, client, stream):
    for message_id, event in messages_of(client, stream):
        event["amount_cents"] = int(event["amount_cents"])
        try:
            charge(db, event["order"], event)
        except CardRefused as refusal:
            print(refusal)
        with client.pipeline() as pipe:
            pipe.xack(stream, GROUP, message_id)
            pipe.xlen(stream)
            pipe.execute()
'''


@pytest.mark.parametrize("worker", [IN_BATCHES, CLAIMS], ids=["in batches", "claims"])
def test_a_worker_of_another_make_passes(worker, shown, capsys):
    given = lab(("def work_off(", worker + "\n\ndef not_used("))
    timed(lab06.check_task_4, given.work_off)
    timed(lab06.verdict, given.answer, given.work_off)
    assert "57 charges, doubles: 0, losses: 0" in capsys.readouterr().out


# -- Wrong answers ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CHECKS)
def test_a_stub_is_still_to_do(name):
    said = refusal(CHECKS[name], getattr(lab(solved=False), name))
    assert said == to_do(NAME, NUMBER[name])


def test_a_later_task_says_which_earlier_one_is_still_to_do():
    for name, uses in (
        ("charge", "record"),
        ("answer", "charge"),
        ("work_off", "charge"),
    ):
        heading = lab_answers.heading(NAME, NUMBER[uses])
        stub = f'raise NotImplementedError("{heading}")'
        given = lab(
            (
                f"def {uses}(db, key, order):\n",
                f"def {uses}(db, key, order):\n    {stub}\n",
            )
        )
        said = refusal(CHECKS[name], getattr(given, name))
        assert said == to_do(NAME, NUMBER[uses])


def test_the_verdict_on_stubs(shown):
    given, stubs = lab(), lab(solved=False)
    said = refusal(lab06.verdict, stubs.answer, stubs.work_off)
    assert said == to_do(NAME, 4)
    said = refusal(lab06.verdict, stubs.answer, given.work_off)
    assert said == to_do(NAME, 3)


ROWS = """        made = db.execute(
            "INSERT INTO charges (order_id, amount_cents) VALUES (?, ?)", row
        )
"""
KEY = '        db.execute("INSERT INTO keys VALUES (?, ?)", [key, made.lastrowid])\n'
LOOK = "    if first := charge_of(db, key):\n        return first, True\n"
BEGIN = '        db.execute("BEGIN IMMEDIATE")\n'
ASK = "        if not charge_of(db, key):\n            ask_bank(order)\n"
RECORD = "        return record(db, key, order)\n"
CALL = "        made, is_repeat = charge(db, key, order)\n"
CHARGE = '                    charge(db, event["order"], order)\n'
ACK = "                client.xack(stream, GROUP, message_id)\n"
TRY = """                try:
                    charge(db, event["order"], order)
                except CardRefused:
                    pass  # an answer, too
"""
READ = "            for message_id, event in messages:\n"
MEMORY = """    global seen
    seen = globals().get("seen", {})
    if key in seen:
        return seen[key], True
    with db:
        db.execute("INSERT INTO charges VALUES (NULL, ?, ?)", [order["order"], order["amount_cents"]])
    number = db.execute("SELECT max(id) FROM charges").fetchone()[0]
    seen[key] = {"id": f"ch-{number}", "order": order["order"], "amount_cents": order["amount_cents"]}
    return seen[key], False
"""

WRONG = [
    # Task 1
    ("key apart, after the charge", "record", [(KEY, "    with db:\n" + KEY)],
     ["charges in the ledger after a crash just before", "exactly 1", "got:      2",
      "the charge was committed, and its key was not", "one `with db:`"]),
    ("key apart, before the charge", "record",
     [(LOOK, '    if db.execute("SELECT 1 FROM keys WHERE key = ?", [key]).fetchone():\n'
             "        return charge_of(db, key), True\n"),
      (ROWS + KEY,
       '        db.execute("INSERT INTO keys VALUES (?, 1 + (SELECT count(*) FROM charges))", [key])\n'
                   "    with db:\n" + ROWS)],
     ["charges in the ledger after a crash just before", "got:      0",
      "the key was committed, and its charge was not"]),
    ("key in the memory", "record", [(LOOK, MEMORY)],
     ["charges in the ledger in a ledger that is still empty", "got:      0", "gone after a crash"]),
    ("never commits", "record", [("    with db:\n", "    if True:\n")],
     ["charges in the ledger for a new key", "got:      0", "is it committed?"]),
    ("looks at no key", "record", [(LOOK, "")],
     ["your code raised IntegrityError: UNIQUE constraint failed: keys.key",
      "case: when the same key comes again", "in record(): db.execute("]),
    ("a key of no use", "record", [("    with db:\n    ", "    key = str(uuid.uuid4())\n    with db:\n    ")],
     ["whether record() says that it is a repeat when the same key comes again", "expected: True"]),
    ("charges and gives the first charge back", "record",
     [(LOOK, "    first = charge_of(db, key)\n"),
      (KEY, '        db.execute("INSERT OR IGNORE INTO keys VALUES (?, ?)", [key, made.lastrowid])\n'),
      ("charge_of(db, key), False", "charge_of(db, key), bool(first)")],
     ["charges in the ledger when the same key comes again", "exactly 1", "got:      2"]),
    ("a repeat is an error", "record", [("return first, True", 'raise ValueError("charged already")')],
     ["your code raised ValueError: charged already", "case: when the same key comes again"]),
    ("nobody hears of the repeat", "record", [("return first, True", "return first, False")],
     ["whether record() says that it is a repeat", "the charge was there already"]),
    ("the order decides", "record",
     [(LOOK, LOOK.replace("key)", "'click-1')"))],
     ["that it is a repeat for another key", "expected: False", "nobody had used this key before"]),
    ("no amount", "record", [('order["amount_cents"]]', "0]")],
     ["the amount in the ledger", "expected: 5000", "got:      0"]),
    ("returns nothing", "record", [("    return charge_of(db, key), False\n", "")],
     ["what record() returns for a new key", "expected: a tuple", "None (nothing was returned)"]),
    ("returns the id", "record", [("return charge_of(db, key), False", "return made.lastrowid, False")],
     ["what record() returns for a new key", "expected: a dict", "got:      1"]),
    ("closes the connection", "record", [("    with db:\n", "    db.close()\n    with db:\n")],
     ["your code raised ProgrammingError: Cannot operate on a closed database"]),
    ("floods the ledger", "record", [(KEY, "        while True:\n    " + KEY.replace("[key,",
     "[uuid.uuid4().hex,"))],
     ["your code did not come back within 2 s", "in record()"]),
    # Task 2
    ("no bank", "charge", [(ASK, "")], ["questions to the bank for a good card", "got:      0"]),
    ("asks for a repeat, too", "charge", [(ASK, "        ask_bank(order)\n")],
     ["questions to the bank when the same key comes again", "exactly 1", "got:      2",
      "charge_of(db, key)"]),
    ("no lock", "charge", [(BEGIN, "")],
     ["when the same order comes 20 times at the same moment"]),
    ("a plain BEGIN", "charge", [("BEGIN IMMEDIATE", "BEGIN")],
     ["your code raised OperationalError: database is locked", "case: when the same order comes 20 times",
      "in it: BEGIN IMMEDIATE, look, ask, record"]),
    ("looks before the lock", "charge",
     [(BEGIN + ASK,
      "        first = charge_of(db, key)\n" + BEGIN
      + "        if not first:\n            ask_bank(order)\n")],
     ["questions to the bank when the same order comes 20 times", "BEGIN IMMEDIATE before you look"]),
    ("no patience", "charge", [(BEGIN, '        db.execute("PRAGMA busy_timeout = 0")\n' + BEGIN)],
     ["your code raised OperationalError: database is locked", "20 times at the same moment"]),
    ("records before the bank has agreed", "charge", [(ASK + RECORD,
      "        first = charge_of(db, key)\n        made = record(db, key, order)\n"
      "        if not first:\n            ask_bank(order)\n        return made\n")],
     ["charges in the ledger for a card that the bank refuses", "exactly 0", "got:      1"]),
    ("hides the refusal", "charge",
     [("            ask_bank(order)\n", "            try:\n                ask_bank(order)\n"
       "            except CardRefused:\n                return None, False\n")],
     ["what charge() does for a card that the bank refuses", "expected: a CardRefused",
      "no error, and (None, False)"]),
    ("charges a refused card", "charge",
     [("            ask_bank(order)\n", "            try:\n                ask_bank(order)\n"
       "            except CardRefused:\n                pass\n")],
     ["expected: a CardRefused", "let through what ask_bank() raises"]),
    ("leaves the ledger locked", "charge", [("    with db:\n" + BEGIN,
     '    db.execute("BEGIN IMMEDIATE")\n    if True:\n')],
     ["the ledger for a card that the bank refuses", "expected: 'free'", "got:      'locked'"]),
    ("a refusal takes the key", "charge",
     [("            ask_bank(order)\n",
       "            try:\n                ask_bank(order)\n            except CardRefused:\n"
       '                db.execute("CREATE TABLE IF NOT EXISTS refused (key)")\n'
       '                db.execute("INSERT INTO refused VALUES (?)", [key])\n'
       "                db.commit()\n                raise\n"),
      (BEGIN,
       BEGIN + '        if db.execute("SELECT 1 FROM sqlite_master WHERE name = \'refused\'").fetchone():\n'
       '            raise CardRefused("as before")\n')],
     ["what charge() does when the customer takes another card", "'it refuses'", "leaves the key free"]),
    ("no answer is a yes", "charge",
     [("            ask_bank(order)\n", "            try:\n                ask_bank(order)\n"
       "            except ConnectionError:\n                pass\n")],
     ["charges in the ledger when the bank does not answer", "exactly 0", "got:      1"]),
    ("prints, and waits for ever", "charge", [(RECORD,
     '        print("recorded?")\n        while True:\n            time.sleep(0.01)\n')],
     ["your code did not come back within 2 s", "in charge(): time.sleep(0.01)", "printed meanwhile:",
      "recorded?"]),
    # Task 3
    ("a repeat is a conflict", "answer", [(CALL,
     CALL + "        if is_repeat:\n            return {}, 409\n")],
     ["the status when the same call comes again", "expected: 201", "got:      409", "a repeat is no error"]),
    ("no header", "answer", [('{"Idempotent-Replayed": "true"}', "{}")],
     ["the header Idempotent-Replayed when the same call comes again", "expected: 'true'",
      "got:      'not there'"]),
    ("the header on everything", "answer", [("if is_repeat else {}", "if True else {}")],
     ["the header Idempotent-Replayed for a charge", "expected: 'not there'"]),
    ("same key, other order", "answer", [('made["order"] != order["order"] or ', "")],
     ["the status for the same key with another order", "expected: 422", "got:      201"]),
    ("same key, other amount", "answer", [(' or made["amount_cents"] != order["amount_cents"]', "")],
     ["the status for the same key with another amount", "expected: 422", "got:      201"]),
    ("no key is a key", "answer", [("    if not key:\n", "    if False:\n")],
     ["the status without an Idempotency-Key", "refuse it before anything is charged"]),
    ("a key of its own making", "answer", [("    if not key:\n",
     "    key = key and uuid.uuid4().hex\n    if not key:\n")],
     ["charges in the ledger when the same call comes again", "got:      2"]),
    ("a refusal is a crash", "answer", [("except CardRefused as refusal", "except KeyError as refusal")],
     ["the status for a card that the bank refuses", "expected:  402", "got:       500",
      "meanwhile: your code raised CardRefused", "charge() raises CardRefused: catch it"]),
    ("a refusal without a reason", "answer", [('{"detail": str(refusal)}', '{"error": "no"}')],
     ["the detail of the answer for a card", "'The bank declined the card.'"]),
    ("200 for a charge", "answer", [("made, 201", "made, 200")],
     ["the status for a charge", "expected: 201", "got:      200"]),
    ("returns nothing", "answer", [("    return made, 201", "    made, 201")],
     ["the status for a charge", "got:      500", "it returns None; a route returns (body, status)"]),
    ("no body", "answer", [("return made, 201", 'return "paid", 201')],
     ["the body of the answer for a charge", "expected: {'id': 'ch-1'"]),
    ("hangs", "answer", [(CALL, CALL + "        while True:\n            time.sleep(0.01)\n")],
     ["the status for a charge", "meanwhile: your code did not come back within 2 s", "time.sleep(0.01)"]),
    ("stops its own service", "answer", [(CALL,
     CALL + "        from helpers import stop_all\n        stop_all()\n")],
     ["the status for a charge", "no answer (", "the service is gone: does your code stop it?"]),
    # Task 4
    ("a key for each delivery", "work_off", [('charge(db, event["order"], order)',
     "charge(db, uuid.uuid4().hex, order)")],
     ["orders charged twice when nobody kills it", "exactly 0", "got:      1",
      "order-2 was charged with the keys"]),
    ("the id of the message as the key", "work_off",
     [('charge(db, event["order"], order)', "charge(db, message_id, order)")],
     ["orders charged twice when nobody kills it",
      "it was published twice, and each message has an id of its own"]),
    ("a key for each delivery, unless it was published twice", "work_off",
     [('charge(db, event["order"], order)',
       'charge(db, event["order"] if event["order"] == "order-2" else uuid.uuid4().hex, order)')],
     ["orders charged twice when it is killed, at one step after the other, this time before XACK",
      "it needs the same key whenever it comes"]),
    ("acknowledges first", "work_off", [(READ, READ + ACK)],
     ["good orders not charged when it is killed",
      "was acknowledged without a charge: acknowledge after it"]),
    ("never acknowledges", "work_off", [(ACK, "")],
     ["messages left pending when nobody kills it", "got:      5", "of order-1 was never acknowledged"]),
    ("leaves what is pending", "work_off", [('for after in ("0", ">")', 'for after in (">",)')],
     ["good orders not charged when it is killed", "is pending: read what is pending first, with the id 0"]),
    ("catches everything", "work_off", [("except CardRefused:", "except Exception:")],
     ["good orders not charged when the bank does not answer once", "got:      1",
      "acknowledged without a charge"]),
    ("stumbles over a refusal", "work_off", [("except CardRefused:", "except KeyError:")],
     ["how work_off() ends when nobody kills it", "it raises CardRefused: The bank declined the card.",
      "in charge(): ask_bank(order)"]),
    ("a refusal stays pending", "work_off", [("pass  # an answer, too", "continue")],
     ["messages left pending when nobody kills it", "of order-3 was never acknowledged: a refusal is"]),
    ("the amount as text, and the wrong field", "work_off", [('int(event["amount_cents"])',
     'int(event["amount"])')],
     ["how work_off() ends when nobody kills it", "it raises KeyError: 'amount'",
      'in work_off(): order = {']),
    ("one message only", "work_off", [(ACK, ACK + "                return\n")],
     ["good orders not charged when nobody kills it", "may not have been read yet"]),
    ("never ends", "work_off", [("            if not messages:\n                break\n",
     "            if not messages and after == '0':\n                break\n")],
     ["how work_off() ends when nobody kills it", "it goes on for ever: 10 reads that brought nothing"]),
    ("hangs", "work_off", [(CHARGE, CHARGE + "                    time.sleep(60)\n")],
     ["how work_off() ends when nobody kills it", "it does not come back",
      "in work_off(): time.sleep(60)"]),
    ("spins", "work_off", [(READ, READ + "                while True:\n                    pass\n")],
     ["it does not come back", "in work_off(): "]),
    ("kills itself", "work_off", [(ACK, "                os.kill(os.getpid(), signal.SIGKILL)\n")],
     ["its process ended with exit code -9", "a worker goes on with the next message"]),
    ("leaves by the window", "work_off", [(ACK, ACK + "                os._exit(3)\n")],
     ["its process ended with exit code 3"]),
    ("kills what is around it", "work_off", [(ACK,
     "                os.kill(os.getppid(), signal.SIGKILL)\n                time.sleep(60)\n")],
     ["the program around it was ended, with exit code -9"]),
    ("prints without end", "work_off", [(ACK,
     "                while True:\n                    print('paid' * 1000)\n")],
     ["how work_off() ends when nobody kills it", "it raises OSError", "File too large",
      "printed meanwhile:"]),
    ("keys in the memory of the notebook", "work_off",
     [("def work_off", "seen = {}\n\n\ndef work_off"), (CHARGE,
      CHARGE + "                    seen[message_id] = True\n")],
     ["work_off() in a process of its own", "work_off() uses 'seen', which is in the memory of this notebook",
      "it takes along functions, classes, modules and constants"]),
    ("a lock in the memory of the notebook", "work_off",
     [("def charge(", "lock = threading.Lock()\n\n\ndef charge("), ("    with db:\n" + BEGIN,
      "    with lock, db:\n")],
     ["charge() uses 'lock', which is in the memory of this notebook"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [case[1:] for case in WRONG],
    ids=[f"{case[1]}: {case[0]}" for case in WRONG],
)
def test_a_wrong_answer_is_refused_in_fitting_words(name, changes, words):
    said = refusal(CHECKS[name], getattr(lab(*changes), name))
    assert_refused(NAME, NUMBER[name], words, said)


def test_what_is_no_function_cannot_be_taken_to_a_process_of_its_own():
    class Worker:
        def __call__(self, db, client, stream):
            pass

    said = refusal(lab06.check_task_4, Worker())
    assert_said(["in a process of its own", "Worker is no function"], said)


def test_a_worker_that_would_take_minutes_is_refused(monkeypatch):
    monkeypatch.setattr(killed_often, "SLOW", 1.0)
    slow = lab((ACK, "                time.sleep(0.3)\n" + ACK)).work_off
    what = "how long work_off() takes for 5 messages when nobody kills it"
    said = refusal(lab06.check_task_4, slow)
    assert_said([what, "at most 1 s", "is there a sleep"], said)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([('charge(db, event["order"], order)', "charge(db, uuid.uuid4().hex, order)")],
         ["orders charged twice in all", "exactly 0", "order-1 was charged with the keys"]),
        ([("    with db:\n" + BEGIN, "    if True:\n"), (KEY, "    with db:\n" + KEY)],
         ["orders charged twice in all", "see Task 1, charge and key in one transaction"]),
        ([(READ, READ + ACK)],
         ["good orders not charged in the end", "acknowledge after it"]),
        ([(ACK, "")],
         ["how work_off() ends after 24 kills", "goes on for ever"]),
        ([(READ, READ + "                time.sleep(60)\n")],
         ["how work_off() ends in a rehearsal", "it does not come back", "in work_off(): time.sleep(60)"]),
        ([(READ,
         READ + "                if event['order'] == 'order-9':\n"
         "                    raise KeyError('which?')\n")],
         ["how work_off() ends after", "kills", "it raises KeyError: 'which?'",
          "in work_off(): raise KeyError('which?')"]),
        ([(CALL, CALL + "        if is_repeat:\n            return {}, 409\n")],
         ["the status for call-", "expected: 201", "got:      409", "see Task 3"]),
        ([(CALL, CALL + "        raise KeyError('which?')\n")],
         ["the status for call-1", "got:       500", "meanwhile: your code raised KeyError: 'which?'"]),
    ],
    ids=["a key each", "key apart", "ack first", "no ack", "hangs", "raises",
    "a repeat is a conflict", "answer raises"],
)  # fmt: skip
def test_the_verdict_on_wrong_answers(changes, words, shown):
    given = lab(*changes)
    said = refusal(lab06.verdict, given.answer, given.work_off)
    assert said.startswith(
        "✗ Verdict: sixty orders, and a worker that is killed 24 times\n"
    )
    assert_said(words, said)
    # The picture comes with a refusal, too.
    assert len(shown) == ("rehearsal" not in said)


# -- Everything ends --------------------------------------------------------------------

ASLEEP = """
import os, time

def work_off(db, client, stream):
    client.set(stream + " alive", os.getpid())
    if not os.fork():  # and a child of its own
        client.set(stream + " child", os.getpid())
        time.sleep(60)
    time.sleep(60)
"""
KERNEL = """
import sys, threading
sys.path[:0] = sys.argv[1:]
import asleep
from helpers import start_broker
from helpers.labs.killed_often import Worker

with Worker(asleep.work_off) as worker:
    threading.Thread(target=worker.live, daemon=True).start()
    client = start_broker().client
    pids = []
    for name in ("alive", "child"):
        while not (pid := client.get(worker.stream + " " + name)):
            pass
        pids.append(pid)
    print(worker._process.pid, worker._process._guard.pid, *pids, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("killed", ["kernel", "program", "guard"])
def test_a_life_ends_with_whatever_is_killed(killed, tmp_path):
    (tmp_path / "asleep.py").write_text(ASLEEP)
    with subprocess.Popen(
        [sys.executable, "-c", KERNEL, str(notebooks.ROOT), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as kernel:
        program, guard, *lives = map(
            psutil.Process, map(int, kernel.stdout.readline().split())
        )
        victim = {
            "kernel": psutil.Process(kernel.pid),
            "program": program,
            "guard": guard,
        }
        victim[killed].kill()
        for each in (program, *lives):
            running.wait_until(lambda each=each: not running.alive(each), seconds=3)
        kernel.stdin.close()
        kernel.wait(10)
    running.wait_until(lambda: running.folders() == [], seconds=3)


def test_a_check_leaves_the_learners_own_in_peace(capsys):
    folder, client = private_folder(), start_broker().client
    (folder / "ledger.db").write_text("mine")
    client.xadd("order-placed", {"order": "mine"})

    def mine():
        from flask import Flask

        app = Flask("payments")
        app.add_url_rule("/charges", view_func=lambda: ["mine"])
        return app

    service = serve(mine())
    given = lab()
    for name in CHECKS:
        CHECKS[name](getattr(given, name))
    assert requests.get(service.url + "/charges", timeout=2).json() == ["mine"]
    assert (folder / "ledger.db").read_text() == "mine"
    assert client.keys() == ["order-placed"]
    stop_all()


# -- The parts --------------------------------------------------------------------------


def test_the_moments_of_a_crash_are_what_is_committed():
    with folder_for_now() as folder:
        ledger = charge_ledger.Ledger(folder / "a.db")
        with closing(ledger.open()) as db:
            moments = charge_ledger.Moments(ledger)
            with moments.noted(db), db:
                db.execute("BEGIN EXCLUSIVE")
                db.execute("INSERT INTO keys VALUES ('a', 1)")
                db.commit()
                db.execute("INSERT INTO charges VALUES (1, 'order-1', 5000)")
        found = []
        for number, moment in enumerate(moments.seen):
            again = charge_ledger.revived(moment, folder / f"{number}.db")
            found.append((moment.step, len(again.keys()), len(again.charges())))
    assert found == [("anything", 0, 0), ("BEGIN", 1, 0), ("the end", 1, 1)]


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("BEGIN IMMEDIATE", "BEGIN"),
        ("insert into keys(key) values ('a')", "INSERT INTO keys"),
        ("INSERT OR IGNORE INTO keys VALUES ('a', 1)", "INSERT INTO keys"),
        ("UPDATE keys SET charge_id = 1", "UPDATE keys"),
        ("COMMIT", "COMMIT"),
        ("", "?"),
    ],
)
def test_a_step_is_named_by_its_statement(statement, name):
    assert charge_ledger.step_name(statement) == name


def test_the_deaths_are_the_same_every_time_and_some_come_at_the_worst_moment():
    deaths = killed_often.deaths(steps=13)
    assert deaths == killed_often.deaths(steps=13)
    assert {death["kill_at"] for death in deaths} <= set(range(1, 47))
    assert len(deaths) == killed_often.KILLS >= 20
    worst = [death for death in deaths if death.get("kill_before") == "before XACK"]
    assert len(worst) == killed_often.AT_THE_WORST


def test_what_a_kill_has_struck():
    messages = [("1-0", "order-1"), ("2-0", "order-2")]
    for end, charged, before, pending, struck in (
        ("killed", ["order-1"], set(), ["2-0"], "before the charge"),
        ("killed", ["order-1", "order-2"], set(), ["2-0"], "before the ack"),
        ("killed", ["order-1"], {"order-2"}, ["2-0"], "before the ack"),
        ("killed", ["order-1", "order-2"], set(), [], ""),
        ("returned", ["order-1"], set(), ["2-0"], ""),
    ):
        life = Life(end, "", messages, 9, charged, before, pending)
        assert life.struck == struck


def test_the_marks_of_the_picture():
    lives = [
        Life("killed", "", [("1-0", "a"), ("2-0", "b")], charged=["a"], pending=["2-0"]),
        Life("killed", "", [("2-0", "b")], charged=["b"], pending=["2-0"]),
        Life("killed", "", [("2-0", "b"), ("3-0", "c")], charged=[], pending=["3-0"]),
        Life("returned", "", [("3-0", "c"), ("4-0", "a")], charged=["a"], pending=[]),
    ]  # fmt: skip
    cards = {"a": "tok_visa", "b": "tok_visa", "c": "tok_declined"}
    dots = lives_figure.dots_of(lives, cards)
    assert [(dot.life, dot.order, dot.kind) for dot in dots] == [
        (0, "a", lives_figure.CHARGED),
        (0, "b", lives_figure.CUT_BEFORE),
        (1, "b", lives_figure.CUT_AFTER),
        (2, "b", lives_figure.REPEAT),
        (2, "c", lives_figure.CUT_BEFORE),
        (3, "c", lives_figure.NO),
        (3, "a", lives_figure.DOUBLE),
    ]
    lives_figure.show([], {}, 0, 0, 0)  # nothing at all can be drawn, too


def test_calls_at_the_same_moment_raise_what_one_of_them_raises():
    def call(n):
        if n == 2:
            raise KeyError("the third")
        return n

    assert charge_calls.at_once(2, call) == [0, 1]
    with pytest.raises(KeyError, match="the third"):
        charge_calls.at_once(3, call)
