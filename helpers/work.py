"""The learner's work as one file to keep, and back again: progress and changed notebooks.

A free Binder forgets everything when it ends; this file is how work gets out of it and into
the next one. Notebooks go in without their outputs, which a run brings back: so the file stays
small, as it must, since what a browser sends to a kernel may have 10 MB at most.
"""

from __future__ import annotations

import io
import json
import re
import stat
import subprocess
import warnings
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from helpers import course, progress

PROGRESS = "progress.json"  # in the file
LARGEST_FILE = 2_000_000  # bytes, of a notebook without its outputs
LARGEST = 8_000_000  # bytes, of the file
MOST_FILES = 200

_NOTEBOOK = re.compile(rf"({'|'.join(course.FOLDERS)})/[^./\\][^/\\\0]*\.ipynb")


class Refused(ValueError):
    """The file is not taken, and nothing was changed; the message says why."""


@dataclass
class Packed:
    """A file to keep, what is in it, and what had to stay out, each with the reason."""

    data: bytes
    notebooks: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass
class TakenBack:
    """What became of each notebook in a file, and what there is to say about progress."""

    replaced: dict[str, str] = field(default_factory=dict)  # by the name of the copy
    new: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    said: str = ""


def pack(folder: Path | None = None) -> Packed:
    """What the learner has done, as a zip file.

    A notebook goes in when its cells are not those of the last commit, and without git, always.
    """
    folder = folder or progress.COURSE
    packed = Packed(b"")
    record = {kind: progress.noted(kind) for kind in progress.KINDS}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(PROGRESS, progress.dumps(record))
        has_git = _git(folder, "rev-parse", "--verify", "HEAD") is not None
        for path in course.notebooks(folder):
            name = path.relative_to(folder).as_posix()
            try:
                notebook = _loads(path.read_bytes())
            except (OSError, ValueError) as error:
                packed.left_out.append(f"{name} ({error})")
                continue
            if has_git and _same(notebook, _git(folder, "show", f"HEAD:./{name}")):
                continue
            data = _dumps(_without_outputs(notebook))
            if len(data) > LARGEST_FILE or file.tell() + len(data) > LARGEST:
                packed.left_out.append(
                    f"{name} (with {len(data) / 1e6:.1f} MB it is too large)"
                )
                continue
            archive.writestr(name, data)
            packed.notebooks.append(name)
    packed.data = file.getvalue()
    return packed


def take_back(data: bytes, folder: Path | None = None) -> TakenBack:
    """Put progress and notebooks from a kept file where they belong.

    Of each entry of progress the newer one stays. A notebook that is there already, with other
    cells, is kept as a copy. Raises Refused, and changes nothing, for a file that `pack` cannot
    have made; OSError when the folder cannot be written.
    """
    folder = folder or progress.COURSE
    record, notebooks = _unpack(data)
    result = TakenBack()
    for name, notebook in notebooks.items():
        path = folder / name
        if path.exists():
            present = path.read_bytes()
            if _same(notebook, present):
                result.unchanged.append(name)
                continue
            copy = progress.unused(
                path.with_stem(f"{path.stem}.before-{progress.stamp()}")
            )
            progress.write_whole(copy, present)
            result.replaced[name] = copy.name
        else:
            path.parent.mkdir(exist_ok=True)
            result.new.append(name)
        progress.write_whole(path, _dumps(notebook))
    result.said = progress.change(lambda here: progress.newest(here, record))
    return result


# -- Reading a file that comes from anywhere ----------------------------------------------


def _unpack(data: bytes) -> tuple[progress.Record, dict[str, dict]]:
    """(the progress, the notebooks by name). Raises Refused, and says why."""
    if len(data) > LARGEST + 1_000_000:
        raise Refused(f"The file is larger than {LARGEST / 1e6:.0f} MB.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            _check_members(members)
            content = {member.filename: _content(archive, member) for member in members}
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError):
        raise Refused("The file is not a zip file, or it is damaged.") from None
    try:
        record = progress.loads(content.pop(PROGRESS))
    except ValueError as error:
        raise Refused(f"Its {PROGRESS} cannot be used: {error}.") from None
    notebooks = {}
    for name, text in content.items():
        try:
            notebooks[name] = _loads(text)
        except ValueError as error:
            raise Refused(f"{name} in the file cannot be used: {error}.") from None
    return record, notebooks


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    """Raise Refused unless there is a progress.json, and notebooks in their folders."""
    names = [member.filename for member in members]
    if len(names) > MOST_FILES:
        raise Refused(f"The file holds {len(names)} files; {MOST_FILES} are the most.")
    if PROGRESS not in names:
        raise Refused(f"The file was not made by “Keep my work”: it has no {PROGRESS}.")
    if len({name.lower() for name in names}) < len(names):
        raise Refused("The file holds two files of the same name.")
    for member in members:
        name = member.filename
        kind = stat.S_IFMT(member.external_attr >> 16)
        if (
            name != PROGRESS
            and not _NOTEBOOK.fullmatch(name)
            or kind not in (0, stat.S_IFREG)
        ):
            raise Refused(
                f"The file holds {name[:100]!r}, which is no notebook of the course."
            )
        if member.flag_bits & 1:
            raise Refused("The file is encrypted.")
        if member.file_size > LARGEST_FILE:
            raise Refused(
                f"{PurePosixPath(name).name} in the file is larger than {LARGEST_FILE / 1e6:.0f} MB."
            )


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The content of a file in the archive, whatever its size is said to be."""
    with archive.open(member) as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise Refused(f"{member.filename} in the file is larger than it says.")
    return data


# -- Notebooks ----------------------------------------------------------------------------


def _loads(data: bytes) -> dict:
    """A notebook. Raises ValueError for anything else."""
    import nbformat

    try:
        notebook = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is not a notebook") from None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        raise ValueError("it is not a notebook of format 4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as of cells without an id
        try:
            nbformat.validate(nbformat.from_dict(notebook))
        except nbformat.ValidationError as error:
            raise ValueError(f"it is not a notebook: {error.message[:100]}") from None
    return notebook


def _dumps(notebook: dict) -> bytes:
    text = json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False)
    return text.encode() + b"\n"


def _without_outputs(notebook: dict) -> dict:
    cells = [
        cell | {"outputs": [], "execution_count": None}
        if cell["cell_type"] == "code"
        else cell
        for cell in notebook["cells"]
    ]
    return notebook | {"cells": cells}


def _same(notebook: dict, other: bytes | None) -> bool:
    """Do the two have the same cells, apart from outputs?"""
    try:
        return other is not None and _sources(notebook) == _sources(json.loads(other))
    except (ValueError, KeyError, TypeError):
        return False


def _sources(notebook: dict) -> list[tuple]:
    return [
        (cell["cell_type"], "".join(cell["source"]), cell.get("attachments"))
        for cell in notebook["cells"]
    ]


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What git says; None when it does not know, or is not there."""
    try:
        ended = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout if ended.returncode == 0 else None
