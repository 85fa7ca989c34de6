"""Folders that end with their kernel."""

import subprocess
import sys
import time
from pathlib import Path

from helpers import stop_all
from helpers.folders import folder_for_now, private_folder


def test_is_empty_and_private_and_goes_with_stop_all():
    folder = private_folder()
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "ledger.db").write_text("a charge")
    stop_all()
    assert not folder.exists()


def test_another_one_replaces_it():
    old = private_folder()
    (old / "ledger.db").write_text("a charge")
    new = private_folder()
    assert (old.exists(), list(new.iterdir())) == (False, [])
    stop_all()


def test_one_for_a_block_of_code_leaves_the_other_in_peace():
    mine = private_folder()
    with folder_for_now() as other:
        assert (list(other.iterdir()), mine.exists()) == ([], True)
        assert other.stat().st_mode & 0o777 == 0o700
        (other / "ledger.db").write_text("a charge")
    assert (other.exists(), mine.exists()) == (False, True)
    stop_all()


def test_goes_when_its_kernel_is_killed():
    code = (
        "import time; from helpers.folders import private_folder;"
        "print(private_folder(), flush=True); time.sleep(60)"
    )
    kernel = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    )
    with kernel:
        folder = Path(kernel.stdout.readline().strip())
        assert folder.is_dir()
        kernel.kill()
    ends = time.monotonic() + 3
    while folder.exists() and time.monotonic() < ends:
        time.sleep(0.05)
    assert not folder.exists()
