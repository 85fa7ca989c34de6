"""What the learner has done so far, in one small file of theirs: `progress.json`.

    note("claims", "Orders is free at once", held=True)
    noted("claims")     # {"Orders is free at once": {"held": True, "at": "2026-…"}}

The file lies in the course's folder. The environment variable COURSE_PROGRESS names another
one; "off" keeps nothing at all, as in a validation run. Whatever is wrong with the file, a
lesson goes on: there is a sentence about it, once, and nothing of the learner's is lost.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

VARIABLE = "COURSE_PROGRESS"
VERSION = 1
KINDS = ("predictions", "claims", "checks", "quizzes")

LOCK_SECONDS = 2.0  # another kernel holds the lock for some milliseconds
LARGEST = 2_000_000  # bytes: all notebooks together need a hundredth of that

Record = dict[str, dict[str, dict]]  # kind: name: facts


def _course() -> Path:
    """The folder of the course: the one of the running notebook, or else of this file."""
    here = Path.cwd()
    start = here.parent / "notebooks" / "00-start-here.ipynb"
    if here.name in ("notebooks", "labs") and start.exists():
        return here.parent  # somebody works on a copy
    return Path(__file__).resolve().parent.parent


COURSE = _course()


class Unkept(Exception):
    """Progress cannot be kept; the message says why, and what to do."""


def place() -> Path | None:
    """Where progress is kept; None when it is not."""
    asked = os.environ.get(VARIABLE, "").strip()
    if asked.lower() == "off":
        return None
    return Path(asked).expanduser().absolute() if asked else COURSE / "progress.json"


def note(kind: str, name: str, **facts: object) -> str:
    """Keep what is known under that name, such as a quiz question's, and the moment.

    kind: one of `KINDS`; facts: whatever JSON can hold. Raises TypeError or ValueError for
    others. Returns "", or a sentence for the learner when it could not be kept; the same
    sentence comes only once.
    """
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is none of {', '.join(KINDS)}.")
    facts = json.loads(json.dumps(facts, allow_nan=False))

    def add(record: Record) -> None:
        before = {**record[kind].get(name, {})}
        before.pop("at", None)
        if before != facts:
            record[kind][name] = {**facts, "at": now()}

    return _once(change(add))


def noted(kind: str) -> dict[str, dict]:
    """What was kept, by name; empty when there is nothing, or it cannot be read."""
    path = place()
    try:
        return _read(path)[kind] if path else {}
    except (OSError, _Damaged, Unkept):
        return {}


def change(how: Callable[[Record], object]) -> str:
    """Let `how` change what is kept, with every other kernel waiting; "" or a sentence.

    Two kernels that change different entries at once lose neither.
    """
    path = place()
    if path is None:
        return ""
    try:
        with _alone(path):
            said, record = _read_or_set_aside(path)
            before = json.dumps(record)
            how(record)
            if json.dumps(record) != before:
                write_whole(path, dumps(record))
        return said
    except Unkept as problem:
        return str(problem)
    except OSError as error:
        return (
            f"Progress is not kept: {path} cannot be written ({error.strerror or error}). "
            f"To keep it, set {VARIABLE} to a file that can be, before JupyterLab starts."
        )


def newest(record: Record, other: Record) -> None:
    """Take over from `other` every entry that is missing in `record`, or older there."""
    for kind in KINDS:
        for name, facts in other[kind].items():
            if facts["at"] > record[kind].get(name, {}).get("at", ""):
                record[kind][name] = facts


def empty() -> Record:
    """A record in which nothing is kept."""
    return {kind: {} for kind in KINDS}


def dumps(record: Record) -> bytes:
    """The text of the file."""
    text = json.dumps({"version": VERSION, **record}, indent=1, ensure_ascii=False)
    return text.encode() + b"\n"


def loads(data: bytes) -> Record:
    """The record in the text of a file. Raises ValueError, and says what is wrong with it."""
    if len(data) > LARGEST:
        raise ValueError(f"it is larger than {LARGEST // 1_000_000} MB")
    try:
        content = json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:  # not JSON, or not even text
        raise ValueError(f"it is not JSON: {error}") from None
    version = content.get("version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise _Newer(f"it has version {version}, this course knows {VERSION}")
    from pydantic import ValidationError

    try:
        return _schema().model_validate(content).model_dump(include=set(KINDS))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "as a whole"
        raise ValueError(f"{where}: {first['msg']}") from None


def now() -> str:
    """This moment, as entries have it; later moments sort later."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# -- The file ---------------------------------------------------------------------------


class _Damaged(ValueError):
    """The file is not one of ours."""


class _Newer(ValueError):
    """The file is of a newer course."""


def _read(path: Path) -> Record:
    try:
        return loads(path.read_bytes())
    except FileNotFoundError:
        return empty()
    except _Newer as error:
        raise Unkept(
            f"Progress is not kept: {path.name} is from a newer version of the course ({error}). "
            "Update the course, or move that file away."
        ) from None
    except ValueError as error:
        raise _Damaged(str(error)) from None


def _read_or_set_aside(path: Path) -> tuple[str, Record]:
    """("", the record), or what was wrong and an empty record; only with the lock held."""
    try:
        return "", _read(path)
    except _Damaged as error:
        aside = unused(path.with_name(f"{path.stem}.damaged-{stamp()}{path.suffix}"))
        path.rename(aside)
        return (
            f"{path.name} could not be read ({error}). "
            f"It is set aside as {aside.name}, and progress starts anew."
        ), empty()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file such that nobody ever sees a part of it."""
    path = path.resolve()  # a link stays a link
    part = path.with_name(
        f".{path.name}.part"
    )  # one that was left behind is used again
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # so that the new name outlives a power cut, too
    except OSError:
        pass  # not every file system can do that
    finally:
        os.close(folder)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock that belongs to the file; each thread has to wait, as each kernel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Unkept(
                        f"Progress is not kept: another program has held {path.name} "
                        f"for {LOCK_SECONDS:g} s. Run the cell again."
                    ) from None
                time.sleep(0.005)
        yield  # closing the file gives the lock back, and so does the end of the process


def stamp() -> str:
    """This moment, for the name of a file."""
    return datetime.now().strftime("%Y%m%d-%H%M%S")


def unused(path: Path) -> Path:
    """The path, or where there is something already, the path with a number."""
    number, tried = 1, path
    while os.path.lexists(tried):
        number += 1
        tried = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return tried


@cache
def _schema() -> type:
    """What a file has to look like. Made at first use, since pydantic loads slowly."""
    from typing import Literal

    from pydantic import BaseModel, ConfigDict, Field, create_model

    class Entry(BaseModel, extra="allow"):
        at: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00$")

    return create_model(
        "Progress",
        __config__=ConfigDict(extra="forbid"),
        version=(Literal[VERSION], ...),
        **{kind: (dict[str, Entry], {}) for kind in KINDS},
    )


_said: set[str] = set()
_saying = threading.Lock()


def _once(sentence: str) -> str:
    """The sentence, or "" when this kernel has said it before."""
    with _saying:
        if sentence in _said:
            return ""
        _said.add(sentence)
        return sentence
