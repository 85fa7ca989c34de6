"""A folder for the files of a lesson, such as a database, that is gone when its kernel is."""

from pathlib import Path

from helpers import registry
from helpers.processes import GuardedProcess


class _Folder:
    name = "folder"

    def __init__(self):
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
    path = _Folder().path
    (path / "log").unlink()  # of the guard's
    return path
