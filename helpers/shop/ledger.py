"""A service's memory: entries under ids, and work that is done once per key."""

import threading
from concurrent.futures import Future

from .problems import Problem


class Ledger:
    """Entries (dicts) in the order they were made, with ids such as "ch-1", "ch-2".

    Hold ``lock`` to read an entry and write it back in one step; never while working or waiting.
    """

    def __init__(self, prefix):
        self.lock = threading.RLock()
        self._prefix = prefix
        self._last = 0
        self._entries = {}

    def new_id(self):
        with self.lock:
            self._last += 1
            return f"{self._prefix}-{self._last}"

    def put(self, entry):
        """Keep ``entry`` under its "id", and return it."""
        with self.lock:
            self._entries[entry["id"]] = entry
        return entry

    def add(self, **fields):
        """Keep a new entry under the next id, and return it."""
        with self.lock:
            return self.put({"id": self.new_id(), **fields})

    def get(self, id):
        """Return one entry; a 404 problem when there is none."""
        with self.lock:
            if id not in self._entries:
                raise Problem(404, f"There is no {id} here.")
            return self._entries[id]

    def all(self, **fields):
        """Return the entries whose ``fields`` have these values."""
        with self.lock:
            entries = list(self._entries.values())
        return [entry for entry in entries if fields.items() <= entry.items()]


class OncePerKey:
    """Does a piece of work once per idempotency key, and gives every repeat the first result.

    A repeat that comes while the first is at work waits for it. (Some providers answer 409
    instead; then the caller must know to ask again.) Work that failed leaves the key free.
    Keys are kept as long as the service runs.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._seen = {}

    def do(self, key, request, work):
        """Return ``(result of work(request), whether it is a repeat)``; without a key it never is.

        Raises a 422 problem when ``key`` was used for another ``request``.
        """
        if not key:
            return work(request), False
        with self._lock:
            is_repeat = key in self._seen
            if not is_repeat:
                self._seen[key] = request, Future()
            first_request, result = self._seen[key]
        if request != first_request:
            detail = "This Idempotency-Key was used for another request."
            raise Problem(422, detail, kind="key-reused")
        if not is_repeat:
            try:
                result.set_result(work(request))
            except BaseException as error:
                with self._lock:
                    del self._seen[key]
                result.set_exception(error)
        return result.result(), is_repeat
