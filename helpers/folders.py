"""A folder for the files of a lesson, such as a database, that is gone when its kernel is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers import registry
from helpers.processes import GuardedProcess


class _Folder:
    name = "folder"

    def __init__(self, name: str = name):
        self.name = name
        # The guard keeps the folder for as long as this kernel lives; the program has no part in it.
        self._process = GuardedProcess(lambda folder, fd: ["true"])
        self.path = self._process.folder
        registry.register(self)

    def stop(self) -> None:
        self._process.stop()
        registry.forget(self)


def private_folder() -> Path:
    """A new, empty folder that only this user can read; ``stop_all()`` removes it, as does the kernel's end.

    Asked for again, it is another one, and the old one is removed with all that is in it.
    """
    if old := registry.find(_Folder, _Folder.name):
        old.stop()
    return _emptied(_Folder())


@contextmanager
def folder_for_now() -> Iterator[Path]:
    """A folder for as long as a block of code; the one of ``private_folder()`` stays."""
    folder = _Folder("folder for now")
    try:
        yield _emptied(folder)
    finally:
        folder.stop()


def _emptied(folder: _Folder) -> Path:
    (folder.path / "log").unlink()  # of the guard's
    return folder.path
