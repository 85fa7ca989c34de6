"""The ledger of Payments, a SQLite file: what is in it, and what a crash would leave of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

# As the lab gives them to the learner.
TABLES = """
CREATE TABLE IF NOT EXISTS charges (id INTEGER PRIMARY KEY, order_id TEXT, amount_cents INTEGER);
CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY, charge_id INTEGER);
"""
PATIENCE = 5  # seconds that a connection waits while another one writes


class Charge(NamedTuple):
    """A row of the ledger."""

    id: str  # such as "ch-1"
    order: str
    amount_cents: int

    @property
    def as_dict(self) -> dict:
        return self._asdict()


class Ledger:
    """A ledger as everybody else sees it: what is committed, and nothing else."""

    def __init__(self, path: Path):
        self.path = path
        with closing(self.open()) as db:
            db.executescript(TABLES)

    def open(self, timeout: float = PATIENCE) -> sqlite3.Connection:
        """A connection, for whatever thread."""
        return sqlite3.connect(self.path, timeout=timeout, check_same_thread=False)

    def _rows(self, query: str) -> list[tuple]:
        with closing(self.open()) as db:
            return db.execute(query).fetchall()

    def charges(self, order: str | None = None) -> list[Charge]:
        """The charges, oldest first: all, or those of an order."""
        rows = self._rows("SELECT id, order_id, amount_cents FROM charges ORDER BY id")
        found = [Charge(f"ch-{number}", *rest) for number, *rest in rows]
        return [charge for charge in found if order is None or charge.order == order]

    def keys(self) -> dict[str, str | None]:
        """The keys, and the id of the charge that each has made."""
        rows = self._rows("SELECT key, charge_id FROM keys")
        return {key: f"ch-{number}" if number else None for key, number in rows}

    def keys_of(self, order: str) -> list[str]:
        """The keys under which an order was charged."""
        ids = {charge.id for charge in self.charges(order)}
        return [key for key, made in self.keys().items() if made in ids]

    def is_free(self) -> bool:
        """Whether somebody else could write now: no transaction was left open."""
        try:
            with closing(self.open(timeout=0.2)) as db:
                db.execute("BEGIN IMMEDIATE")
            return True
        except sqlite3.OperationalError:
            return False


# -- What a crash would leave -------------------------------------------------------------

MOST_LOOKS = 50  # at a ledger, while one call is at work


class Moment(NamedTuple):
    """What is committed, as SQL, just before a step of whoever writes."""

    step: str
    sql: str


class Moments:
    """What crashes would leave of a ledger: a killed program leaves what was committed.

    seen: the moments noted so far. Those that would leave the same are noted once; the first
    is that before anything was done.
    """

    def __init__(self, ledger: Ledger):
        self._ledger, self._looks = ledger, 0
        self.seen: list[Moment] = []
        self.look("anything")

    def look(self, step: str) -> None:
        """Note what is committed now, as another connection sees it."""
        self._looks += 1
        if self._looks > MOST_LOOKS:
            return
        try:
            with closing(self._ledger.open(timeout=0)) as other:
                sql = "\n".join(other.iterdump())
        except sqlite3.OperationalError:
            return  # locked for readers, too: nothing new has been committed
        if not any(sql == moment.sql for moment in self.seen):
            self.seen.append(Moment(step, sql))

    @contextmanager
    def noted(self, db: sqlite3.Connection) -> Iterator[None]:
        """Look before each statement on `db`, and at the end of the block."""
        db.set_trace_callback(lambda statement: self.look(_words(statement)))
        try:
            yield
        finally:
            with suppress(sqlite3.ProgrammingError):  # the learner's code has closed it
                db.set_trace_callback(None)
            self.look("the end")


def revived(moment: Moment, path: Path) -> Ledger:
    """The ledger that a program finds when it is started again after a crash at that moment."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(moment.sql)
    return Ledger(path)


def _words(statement: str) -> str:
    """A statement on one line: "INSERT INTO keys VALUES ('click-1', 1)"."""
    text = " ".join(statement.split())
    return text if len(text) <= 70 else f"{text[:69]}…"


def step_name(statement: str) -> str:
    """A statement by its first words: "INSERT INTO keys", "COMMIT"."""
    words = statement.replace("(", " ").split()
    first = words[0].upper() if words else "?"
    if first == "INSERT" and "INTO" in map(str.upper, words):
        place = [word.upper() for word in words].index("INTO") + 1
        return f"INSERT INTO {words[place]}" if place < len(words) else first
    if first == "UPDATE" and len(words) > 1:
        return f"UPDATE {words[1]}"
    return first
