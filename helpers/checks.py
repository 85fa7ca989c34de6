"""Checks for the labs: does the learner's code do what the task asks?

A lab's author writes a check as a plain function and names its task:

    @task(2, "acknowledge after the work", hint="Where is xack, before the work or after it?")
    def check_task_2(handle):
        ledger = Ledger()
        handle(ledger, order)
        expect_count("charges in the ledger", len(ledger), exactly=1)
        return "1 order, 1 charge"

In the lab, one line in a locked cell runs it: `lab.check_task_2(handle)`. It prints
"✓ Task 2: …", or raises `Refused`, which shows a few lines and no traceback: what was
expected, what came out and where to look.

Whatever the learner's functions do is dealt with here. They get a time limit for each
call; what they print is shown below the verdict; where they raise, their own line is shown.
Code that a service or a worker calls, in a thread of its own, goes in by `guard`. What the
learner's code has started and left running ends with the check. What a check refuses while
the machine stands still is no verdict: it runs once more.
"""

from __future__ import annotations

import contextvars
import ctypes
import functools
import inspect
import io
import linecache
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from types import CodeType
from typing import NamedTuple, NoReturn

from helpers import outputs, progress, registry, stacks
from helpers.broker import Broker
from helpers.claims import Condition, report, short
from helpers.stacks import Place
from helpers.stalls import StallWatch

LIMIT = 10.0  # seconds that one call of the learner's code may take
ENDING = 0.5  # seconds that are spent on ending a call which has not come back
LEARNERS = "learner's code"  # the name of the threads in which it is called
STALL = 0.1  # seconds; a machine that stands still for longer may break a right answer
AGAIN_WITHIN = 4.5  # seconds since its start in which a check may begin once more
PRINTED_LINES = 10  # of the learner's prints, shown below the verdict


class Refused(AssertionError):
    """The learner's code does not do what the task asks. Its text is all there is to show."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


# -- What authors write -----------------------------------------------------------------


def task(number: int, title: str, *, hint: str = "", limit: float = LIMIT) -> Callable:
    """Make a plain function the check of a task: see `judge`."""
    return judge(f"Task {number}", title, hint=hint, limit=limit)


def judge(name: str, title: str, *, hint: str = "", limit: float = LIMIT) -> Callable:
    """Make a plain function a check of that name, such as "Verdict", on a whole lab.

    Each function among its arguments is the learner's: a call that raises, or has not come
    back after `limit` seconds, ends the check there with a refusal. Classes and objects
    are passed as they are; guard calls of their methods with `call`. A text that the
    function returns is printed after the verdict. `hint` is shown where a refusal has none.
    """

    def decorate(function: Callable) -> Callable:
        signature = inspect.signature(function)
        lab = function.__module__.rpartition(".")[2]

        @functools.wraps(function)
        def check(*args: object, **kwargs: object) -> None:
            given = signature.bind(*args, **kwargs).arguments

            def once() -> str:
                run = _Check(name, title, hint, limit, function.__code__)
                accepted = {each: run.accept(each, given[each]) for each in given}
                answer = inspect.BoundArguments(signature, accepted)
                return run(lambda: function(*answer.args, **answer.kwargs))

            _fairly(once)
            if trouble := progress.note(
                "checks", f"{lab}/{function.__name__}", passed=True
            ):
                print(trouble)

        return check

    return decorate


def _fairly(once: Callable[[], str]) -> None:
    """Run a check, and tell how it ended: what it shows, and its text or the refusal.

    What it refuses while the machine stands still, it judges once more if there is time.
    """
    start = time.monotonic()
    while True:
        said, refusal = "", None
        with outputs.held() as shown, StallWatch() as watch:
            try:
                said = once()
            except Refused as error:
                refusal = error
        spoilt = refusal is not None and watch.longest >= STALL
        if not spoilt or time.monotonic() - start > AGAIN_WITHIN:
            break
    for display in shown:
        display()
    if spoilt:
        raise Refused(
            f"{refusal}\n  Meanwhile this machine stood still for {watch.longest:.1f} s, "
            "which may be the cause: run this cell once more."
        ) from refusal.__cause__
    if refusal:
        raise refusal
    print(said)


def expect(
    what: str,
    got: object,
    *,
    equals: object = None,
    one_of: tuple | None = None,
    is_a: type | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    more_than: float | None = None,
    less_than: float | None = None,
    between: tuple[float, float] | None = None,
    unit: str = "",
    hint: str = "",
) -> None:
    """Refuse unless `got`, a value, meets the one condition given.

    what: names the value in the learner's terms: "what charge() returns for a declined card".
    equals: the value itself, and of a like type (True is not 1); None cannot be asked for.
    """
    bounds = {
        "equals": equals, "at_least": at_least, "at_most": at_most,
        "more_than": more_than, "less_than": less_than, "between": between,
    }  # fmt: skip
    if is_a is None and one_of is None:
        condition = Condition.given(**bounds)
        try:
            right = condition.holds(got) and (equals is None or _same(got, equals))
        except (TypeError, ValueError):
            right = False  # None, NaN, a text for a number: an answer, and a wrong one
        wanted, came = condition.texts(got, unit)
        if wanted == came:  # it only looks like the one expected
            came = f"{came}, a {type(got).__name__}"
    else:
        if [*bounds.values(), is_a, one_of].count(None) != 7:
            raise TypeError("Give exactly one condition.")
        right = (
            isinstance(got, is_a)
            if is_a
            else any(_same(got, value) for value in one_of)
        )
        wanted = _a(is_a.__name__) if is_a else " or ".join(map(short, one_of))
        came = short(got)
    came = _nothing(got) or came
    if not right:
        _refuse(what, expected=wanted, got=came, hint=hint)


def expect_count(
    what: str,
    got: int,
    *,
    exactly: int | None = None,
    at_least: int | None = None,
    at_most: int | None = None,
    between: tuple[int, int] | None = None,
    hint: str = "",
) -> None:
    """Refuse unless `got`, which the check itself has counted, meets the one condition given.

    what: what was counted, in the plural: "charges in the ledger".
    """
    if not isinstance(got, int) or isinstance(got, bool) or got < 0:
        raise TypeError(
            f"A count is a whole number from 0 on, not {got!r}. For a value, use expect."
        )
    condition = Condition.given(
        equals=exactly, at_least=at_least, at_most=at_most, between=between
    )
    if not condition.holds(got):
        wanted, came = condition.texts(got)
        _refuse(
            what,
            expected=f"exactly {wanted}" if exactly is not None else wanted,
            got=came,
            hint=hint,
        )


def expect_raises(
    what: str,
    kind: type[BaseException],
    fn: Callable,
    *args: object,
    hint: str = "",
    **kwargs: object,
) -> BaseException:
    """Refuse unless `fn(*args, **kwargs)` raises a `kind`; return what it raised."""
    try:
        got = call(fn, *args, **kwargs)
    except Refused as refusal:
        error = refusal.__cause__
        if isinstance(error, kind):
            return error
        if not isinstance(error, Exception) or isinstance(error, NotImplementedError):
            raise
        came = _named(error)
    else:
        came = f"no error, and {_nothing(got) or short(got)}"
    _refuse(what, expected=_a(kind.__name__), got=came, hint=hint)


def call(
    fn: Callable, *args: object, limit: float | None = None, **kwargs: object
) -> object:
    """Call the learner's code with the time limit, and refuse if it raises or hangs."""
    learners = guard(fn)
    return learners.within(limit or learners.check.limit, args, kwargs)


def guard(fn: Callable) -> _Learners:
    """The learner's code as a function for others to call: a route, a handler, a worker's work.

    It has the time limit, in whatever thread it is called. What it raises there is kept as
    `Refused`, and is told as "meanwhile" if the check then finds something wrong.
    """
    check = _current.get()
    if check is None:
        raise RuntimeError(
            "The learner's code is called inside a function marked with @task(...)."
        )
    return fn if isinstance(fn, _Learners) else _Learners(check, fn)


def situation(when: str) -> None:
    """Name the case that comes now, such as "when nobody listens", for what may go wrong in it."""
    _situation.set(when)


# -- A check as it runs -----------------------------------------------------------------

_current: contextvars.ContextVar[_Check | None] = contextvars.ContextVar(
    "check", default=None
)
_situation: contextvars.ContextVar[str] = contextvars.ContextVar(
    "situation", default=""
)


class _Check:
    """One run of a check: the task it belongs to, and whose code is the learner's."""

    def __init__(
        self, name: str, title: str, hint: str, limit: float, code: CodeType
    ) -> None:
        self.name, self.title, self.hint, self.limit = name, title, hint, limit
        self.code = code  # of the check itself
        self.files: set[str] = set()
        self.threads: list[threading.Thread] = []  # with the learner's calls
        self.own_thread = threading.current_thread()
        self.meanwhile: list[_Trouble] = []  # of the learner's code in other threads

    def accept(self, name: str, value: object) -> object:
        """What the learner handed in: a function gets its guard."""
        if value is None or value is ...:
            raise Refused(
                report(
                    f"✗ {self.name}: {self.title}",
                    expected=f"your {name}",
                    got=short(value),
                    hint=f"define {name} in the cell above, run it, and run this cell again",
                )
            )
        self.files |= _file_of(value)
        if inspect.isfunction(value) or inspect.ismethod(value):
            return _Learners(self, value)
        return value

    def __call__(self, body: Callable[[], object]) -> str:
        """Run the check's body; return the verdict or raise `Refused`."""
        token, case = _current.set(self), _situation.set("")
        threads, running = set(threading.enumerate()), registry.running()
        printed = io.StringIO()
        refusal: Refused | None = None
        verdict = None
        try:
            with redirect_stdout(printed):
                verdict = body()
        except Refused as error:
            refusal = error
        except Exception as error:
            refusal = self.raised(error)
        finally:
            _current.reset(token)
            _situation.reset(case)
            self.end_what_is_left(threads, running)
        said = _printed(printed.getvalue())
        if refusal is not None:
            raise Refused(
                str(refusal) + (f"\n{said}" if said else "")
            ) from refusal.__cause__
        passed = [f"✓ {self.name}: {self.title}"]
        if isinstance(verdict, str) and verdict:
            passed.append(f"  {verdict}")
        return "\n".join([*passed, said] if said else passed)

    def end_what_is_left(
        self, threads: set[threading.Thread], running: list[registry.Running]
    ) -> None:
        """End what began with the check and goes on: calls, threads, services, workers."""
        _end(self.threads)
        for thing in registry.running():
            # A broker that the check has started is of use to the next one, too.
            if thing not in running and not isinstance(thing, Broker):
                thing.stop()
        _end(self.in_learners_code(set(threading.enumerate()) - threads))

    def in_learners_code(
        self, threads: set[threading.Thread]
    ) -> list[threading.Thread]:
        """Those of the threads that are in a call of the learner's code."""
        at = stacks.of_threads() if threads else {}
        return [
            thread
            for thread in threads
            if any(map(self.is_learners, at.get(thread.ident, [])))
        ]

    def refusal(self, what: str, hint: str = "", **facts: str) -> Refused:
        if self.meanwhile:
            first = self.meanwhile[0]
            if first.to_do:
                return Refused(first.to_do)
            facts.update(meanwhile=first.what, at=first.place)
        return self.told(what, hint, **facts)

    def told(self, what: str, hint: str = "", **facts: str) -> Refused:
        title = f"✗ {self.name}: {self.title}\n  {what}"
        return Refused(report(title, **facts, hint=hint or self.hint))

    def raised(self, error: BaseException) -> Refused:
        """The refusal for an exception, with the learner's line if it comes from there."""
        places = list(self.places_of(error))
        place = self.line(places)
        what = f"your code raised {_named(error)}"
        if isinstance(error, NotImplementedError) and self.is_learners(places[-1]):
            refusal = Refused(self.to_do(error))
            self.note(what, place, to_do=str(refusal))
        elif place:
            refusal = self.told(what, case=_situation.get(), at=place)
            self.note(what, place)
        else:
            refusal = self.refusal(
                f"the check could not go on: {_named(error)}",
                case=_situation.get(),
                hint="does your code stop a service, or the broker? If not, run the notebook "
                "from the top; if this stays, the check itself is wrong",
            )
        refusal.__cause__ = error
        return refusal

    def note(self, what: str, place: str, to_do: str = "") -> None:
        """Keep what has gone wrong in a thread that cannot tell the learner."""
        if threading.current_thread() is not self.own_thread:
            self.meanwhile.append(_Trouble(what, place, to_do))

    def to_do(self, error: NotImplementedError) -> str:
        """For a stub: the task it names, since a check may need the work of another task."""
        return still_to_do(error) or f"{self.name} is still to do: {self.title}"

    def hung(self, limit: float, thread: threading.Thread) -> Refused:
        """The refusal for a call that has not come back, with the line it is at."""
        what = f"your code did not come back within {limit:g} s"
        place = self.line(reversed(stacks.of_threads().get(thread.ident, [])))
        self.note(what, place)
        return self.told(what, case=_situation.get(), at=place)

    def places_of(self, error: BaseException) -> Iterator[Place]:
        """Where an exception has come through, the outermost first, but for the check's own code."""
        for frame, number in traceback.walk_tb(error.__traceback__):
            code = frame.f_code
            if code is not self.code:
                yield Place(code.co_filename, number, code.co_name)

    def line(self, places: Iterable[Place]) -> str:
        """The last of them that is the learner's own: "line 3, in charge(): reply = …"."""
        found = ""
        for place in filter(self.is_learners, places):
            code = linecache.getline(place.file, place.line).strip()
            found = f"line {place.line}"
            if not place.function.startswith("<"):
                found += f", in {place.function}()"
            if code:
                found += f": {code}"
        return found

    def is_learners(self, place: Place) -> bool:
        return place.file in self.files or "ipykernel_" in place.file


class _Trouble(NamedTuple):
    """What went wrong in the learner's code, at which of its lines; for a stub, its task."""

    what: str
    place: str
    to_do: str


class _Learners:
    """A function of the learner's: each call has a time limit, and what it raises refuses."""

    def __init__(self, check: _Check, function: Callable) -> None:
        self.check, self._function = check, function
        check.files |= _file_of(function)
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: object, **kwargs: object) -> object:
        return self.within(self.check.limit, args, kwargs)

    def within(self, limit: float, args: tuple, kwargs: dict) -> object:
        """The call in a thread, which is ended with the check if it has not come back by then."""
        outcome: dict[str, object] = {}

        def work() -> None:
            try:
                outcome["value"] = self._function(*args, **kwargs)
            except BaseException as error:
                outcome["error"] = error

        thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(work,),
            name=LEARNERS,
            daemon=True,
        )
        self.check.threads.append(thread)
        thread.start()
        thread.join(limit)
        if thread.is_alive():
            raise self.check.hung(limit, thread)
        if error := outcome.get("error"):
            raise error if isinstance(error, Refused) else self.check.raised(error)
        return outcome["value"]


def _end(threads: Iterable[threading.Thread]) -> None:
    """Raise SystemExit in these threads, wherever they are, until they have ended.

    A thread that sleeps, or waits for a reply, takes it when that is over; we do not wait for it.
    """
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    deadline = time.monotonic() + ENDING
    hook, thread_hook = sys.unraisablehook, threading.excepthook
    # It may strike in a finaliser, or as the thread ends, which would be reported as an error.
    sys.unraisablehook = lambda info: info.exc_type is SystemExit or hook(info)
    threading.excepthook = lambda info: info.exc_type is SystemExit or thread_hook(info)
    try:
        # The ident of a thread that has ended may be another one's by now.
        while left := [thread for thread in threads if thread.is_alive()]:
            if time.monotonic() > deadline:
                break
            for thread in left:
                raise_in(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
            left[0].join(0.02)
    finally:
        sys.unraisablehook, threading.excepthook = hook, thread_hook


# -- A stub outside of a check ----------------------------------------------------------


def still_to_do(error: NotImplementedError) -> str:
    """What there is to say of a stub's exception, "Task 2: multiply"; "" for any other."""
    name, _, title = str(error).partition(":")
    if not name.startswith("Task "):
        return ""
    return f"{name} is still to do" + (f": {title.strip()}" if title.strip() else "")


def show_stubs_as_to_do(shell) -> None:
    """Let an IPython shell show a stub that was called as the checks do, without a traceback."""

    def show(shell, kind, error, trace, tb_offset=None):
        text = still_to_do(error)
        shown = Refused(text) if text else error
        shell.showtraceback((type(shown), shown, trace), tb_offset=tb_offset)

    shell.set_custom_exc((NotImplementedError,), show)


# -- Words ------------------------------------------------------------------------------


def _refuse(what: str, hint: str, **facts: str) -> NoReturn:
    if check := _current.get():
        raise check.refusal(what, hint, **facts)
    raise Refused(report(f"✗ {what}", **facts, hint=hint))


def _file_of(value: object) -> set[str]:
    """The file, or the cell, in which a function or a class was written."""
    if inspect.isclass(value):
        return set().union(*(_file_of(member) for member in vars(value).values()))
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    code = getattr(inspect.unwrap(value), "__code__", None) if callable(value) else None
    return {code.co_filename} if code else set()


def _same(got: object, wanted: object) -> bool:
    try:
        return isinstance(got, bool) == isinstance(wanted, bool) and bool(got == wanted)
    except Exception:  # an object of the learner's may not even compare
        return False


def _nothing(got: object) -> str:
    return "None (nothing was returned)" if got is None else ""


def _named(error: BaseException) -> str:
    text = " ".join(str(error).split())
    text = text if len(text) <= 120 else f"{text[:119]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'AEIOUaeiou' else 'a'} {word}"


def _printed(text: str) -> str:
    lines = text.rstrip().splitlines()
    if not lines:
        return ""
    more = len(lines) - PRINTED_LINES
    shown = lines[:PRINTED_LINES] + ([f"… and {more} more lines"] if more > 0 else [])
    return "\n".join(["  printed meanwhile:", *(f"    {line}" for line in shown)])
