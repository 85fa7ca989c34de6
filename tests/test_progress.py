"""The learner's file: written whole, by two at once, killed, damaged, and taken elsewhere."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from helpers import progress
from helpers.progress import KINDS, change, empty, newest, note, noted

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    path = tmp_path / "home" / "progress.json"
    path.parent.mkdir()
    monkeypatch.setenv(progress.VARIABLE, str(path))
    monkeypatch.setattr(progress, "_said", set())
    return path


def files(folder):
    return sorted(
        each.name for each in folder.iterdir() if not each.name.endswith(".lock")
    )


def python(code, **more):
    """Start a Python process with the course's helpers, as another kernel would be."""
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.DEVNULL, **more
    )


# -- Keeping ----------------------------------------------------------------------------


def test_keeps_facts_by_kind_and_name(kept):
    assert note("claims", "Orders is free at once", held=True) == ""
    assert note("quizzes", "01/first", right=False, tries=1) == ""
    [(name, facts)] = noted("claims").items()
    assert name == "Orders is free at once"
    assert facts["held"] is True
    assert facts["at"] <= progress.now()
    assert noted("quizzes")["01/first"]["tries"] == 1
    assert noted("checks") == {}
    assert json.loads(kept.read_text())["version"] == progress.VERSION
    assert files(kept.parent) == ["progress.json"]


def test_a_new_fact_replaces_the_old_one_and_only_that():
    note("quizzes", "01/first", right=False, tries=1)
    note("quizzes", "01/second", right=True, tries=1)
    note("quizzes", "01/first", right=True, tries=2)
    assert [facts["tries"] for facts in noted("quizzes").values()] == [2, 1]


def test_the_same_fact_again_writes_nothing(kept):
    note("claims", "It holds", held=True)
    before = kept.stat()
    note("claims", "It holds", held=True)
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )


def test_nothing_is_kept_when_it_is_off(monkeypatch, kept):
    note("claims", "It holds", held=True)
    before = kept.read_bytes()
    monkeypatch.setenv(progress.VARIABLE, "off")
    assert note("claims", "Another", held=True) == ""
    assert noted("claims") == {}
    assert progress.place() is None
    assert kept.read_bytes() == before


def test_without_the_variable_it_is_in_the_course_folder(monkeypatch):
    monkeypatch.delenv(progress.VARIABLE)
    assert progress.place() == progress.COURSE / "progress.json"
    assert progress.COURSE == ROOT


def test_a_copy_of_the_notebooks_has_a_progress_of_its_own(tmp_path):
    code = "from helpers import progress; print(progress.COURSE)"
    for name in ("notebooks", "labs", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "notebooks" / "00-start-here.ipynb").touch()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = {
        name: subprocess.check_output(
            [sys.executable, "-c", code], cwd=tmp_path / name, env=env, text=True
        ).strip()
        for name in ("notebooks", "labs", "other")
    }
    assert found == {
        "notebooks": str(tmp_path),
        "labs": str(tmp_path),
        "other": str(ROOT),
    }


@pytest.mark.parametrize(
    "kind, facts, error",
    [("clams", {}, ValueError), ("claims", {"got": object()}, TypeError),
     ("claims", {"got": float("nan")}, ValueError)],
)  # fmt: skip
def test_refuses_what_cannot_be_kept(kind, facts, error, kept):
    with pytest.raises(error):
        note(kind, "x", **facts)
    assert not kept.exists()


def test_a_link_stays_a_link(kept, tmp_path):
    real = tmp_path / "real.json"
    kept.symlink_to(real)
    note("claims", "It holds", held=True)
    assert kept.is_symlink()
    assert "It holds" in real.read_text()


def test_of_two_records_the_newer_entries_stay():
    old, new = "2026-01-01T00:00:00.000+00:00", "2026-01-02T00:00:00.000+00:00"
    here, there = empty(), empty()
    here["claims"] = {"a": {"at": old, "n": 1}, "b": {"at": new, "n": 1}}
    there["claims"] = {
        "a": {"at": new, "n": 2},
        "b": {"at": old, "n": 2},
        "c": {"at": old},
    }
    newest(here, there)
    assert here["claims"] == {
        "a": {"at": new, "n": 2}, "b": {"at": new, "n": 1}, "c": {"at": old},
    }  # fmt: skip


# -- Files that are not ours ------------------------------------------------------------

DAMAGED = {
    "cut off": b'{"version": 1, "claims": {"a"',
    "empty": b"",
    "not text": b"\xff\xfe\x00",
    "a list": b"[]",
    "no version": b'{"claims": {}}',
    "version 0": b'{"version": 0}',
    "another thing": b'{"version": 1, "notes": {}}',
    "no moment": b'{"version": 1, "claims": {"a": {"held": true}}}',
    "a wrong moment": b'{"version": 1, "claims": {"a": {"at": "yesterday"}}}',
    "a text for an entry": b'{"version": 1, "claims": {"a": "held"}}',
    "deep": b'{"version": 1, "claims": ' + b"[" * 100_000,
    "large": b" " * (progress.LARGEST + 1),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_set_aside_and_told(kept, content):
    kept.write_bytes(content)
    assert noted("claims") == {}
    assert kept.read_bytes() == content  # looking does not touch it
    said = note("claims", "It holds", held=True)
    [aside] = [name for name in files(kept.parent) if name != "progress.json"]
    assert aside.startswith("progress.damaged-")
    assert said.startswith("progress.json could not be read (")
    assert f"It is set aside as {aside}" in said
    assert (kept.parent / aside).read_bytes() == content
    assert list(noted("claims")) == ["It holds"]
    assert note("claims", "Another", held=True) == ""


def test_a_second_damaged_file_does_not_replace_the_first(kept):
    for content in (b"one", b"two"):
        kept.write_bytes(content)
        change(lambda record: None)
    asides = [name for name in files(kept.parent) if "damaged" in name]
    assert sorted((kept.parent / name).read_bytes() for name in asides) == [
        b"one",
        b"two",
    ]


def test_a_file_of_a_newer_course_is_left_alone(kept):
    content = b'{"version": 2, "badges": []}'
    kept.write_bytes(content)
    said = note("claims", "It holds", held=True)
    assert "newer version of the course" in said
    assert note("claims", "It holds", held=True) == ""  # said once
    assert (noted("claims"), kept.read_bytes()) == ({}, content)
    assert files(kept.parent) == ["progress.json"]


# -- Places that cannot be written ------------------------------------------------------


@pytest.fixture
def unprivileged():
    """Root may write everywhere, so as somebody else."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_cannot_be_written_is_told_once(kept, unprivileged):
    if os.getuid():
        kept.parent.chmod(0o555)
    said = note("claims", "It holds", held=True)
    assert said.startswith(
        f"Progress is not kept: {kept} cannot be written (Permission denied)"
    )
    assert progress.VARIABLE in said
    assert "\n" not in said
    assert note("claims", "Another", held=True) == ""
    assert noted("claims") == {}


def test_a_full_disk_leaves_the_old_file(kept, monkeypatch):
    note("claims", "It holds", held=True)
    before = kept.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in note("claims", "Another", held=True)
    assert kept.read_bytes() == before
    assert files(kept.parent) == ["progress.json"]


def test_a_folder_that_is_missing_is_made(monkeypatch, tmp_path):
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "new" / "er" / "p.json"))
    assert note("claims", "It holds", held=True) == ""
    assert list(noted("claims")) == ["It holds"]


# -- Two at once, and sudden ends -------------------------------------------------------


def test_two_kernels_at_once_lose_nothing(kept):
    code = (
        "import sys; from helpers import progress\n"
        "for n in range(40):\n"
        "    assert progress.note('claims', f'{sys.argv[1]} {n}', held=True) == ''"
    )
    kernels = [
        subprocess.Popen([sys.executable, "-c", code, name], cwd=ROOT)
        for name in ("a", "b")
    ]
    assert [kernel.wait(30) for kernel in kernels] == [0, 0]
    assert set(noted("claims")) == {f"{name} {n}" for name in "ab" for n in range(40)}
    assert files(kept.parent) == ["progress.json"]


def test_threads_of_one_kernel_lose_nothing():
    def work(name):
        for n in range(20):
            note("quizzes", f"{name}/{n}", right=True)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(noted("quizzes")) == 60


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_kernel_killed_while_it_writes_leaves_a_whole_file(kept, moment):
    note("claims", "It holds", held=True)
    before = kept.read_bytes()
    code = (
        "import os, signal; from helpers import progress\n"
        f"os.{moment} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "progress.note('claims', 'Another', held=True)"
    )
    assert python(code).wait(30) == -signal.SIGKILL
    assert kept.read_bytes() == before
    assert note("claims", "A third", held=True) == ""  # the lock is free again
    assert set(noted("claims")) == {"It holds", "A third"}
    assert files(kept.parent) == ["progress.json"]


def test_a_kernel_killed_anywhere_leaves_a_whole_file(kept):
    code = (
        "import itertools; from helpers import progress\n"
        "for n in itertools.count():\n"
        "    progress.note('claims', 'It holds', n=n, padding='x' * 50_000)\n"
        "    print(n, flush=True)"
    )
    for _ in range(5):
        kernel = python(code, stdout=subprocess.PIPE, text=True)
        for _ in range(4):
            last = int(kernel.stdout.readline())
        kernel.kill()
        kernel.wait()
        kernel.stdout.close()
        assert noted("claims")["It holds"]["n"] >= last
    assert note("claims", "Another", held=True) == ""
    assert files(kept.parent) == ["progress.json"]


def test_a_kernel_that_hangs_does_not_hang_the_others(kept, monkeypatch):
    monkeypatch.setattr(progress, "LOCK_SECONDS", 0.1)
    code = (
        "import time; from helpers import progress\n"
        "def hang(record):\n"
        "    print('holding', flush=True); time.sleep(60)\n"
        "progress.change(hang)"
    )
    kernel = python(code, stdout=subprocess.PIPE)
    try:
        kernel.stdout.readline()
        assert "another program has held" in note("claims", "It holds", held=True)
    finally:
        kernel.kill()
        kernel.wait()
        kernel.stdout.close()
    assert note("claims", "It holds", held=True) == ""


def test_every_kind_survives_the_way_through_a_file():
    for kind in KINDS:
        note(kind, "näme/1", text="“ja”", number=0.5, right=True, items=[1, None])
    record = {kind: noted(kind) for kind in KINDS}
    assert progress.loads(progress.dumps(record)) == record
