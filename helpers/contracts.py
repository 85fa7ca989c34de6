"""contract(): compile a .proto file of the course, or the text of one, for a service and its callers."""

import os
import re
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent

_compiled: dict[str, str] = {}  # path: the text as this Python process has compiled it
_of_texts: dict[str, tuple] = {}  # text: its messages and services


def contract(path: str | None = None, *, text: str | None = None):
    """The messages and the services of a contract, as ``grpc.protos_and_services`` returns them.

    path: from the course's folder: "helpers/shop/payments.proto". That function looks along
        ``sys.path``, where the course's folder need not be; this one works from anywhere.
    text: the contract itself, in place of a path. Each text has its names to itself, so two
        of them may say different things of one message. It cannot import another contract.

    Raises FileNotFoundError when there is no such file, ValueError with the lines that are wrong,
    RuntimeError when a file has changed since it was compiled.
    """
    if (path is None) == (text is None):
        raise TypeError("contract() takes either a path or a text")
    if text is None:
        return _of_file(path)
    if not isinstance(text, str):
        raise TypeError(f"a contract is a text, not a {type(text).__name__}")
    if text not in _of_texts:
        _of_texts[text] = _of_text(text, f"text_{len(_of_texts) + 1}")
    return _of_texts[text]


def _of_file(path: str):
    import grpc
    from grpc_tools._protoc_compiler import ProtocErrors

    file = ROOT / path
    if not file.is_file():
        raise FileNotFoundError(
            f"there is no contract {path!r}; give its path from the course's folder, "
            'such as "helpers/shop/payments.proto"'
        )
    text = file.read_text(encoding="utf-8")
    if _compiled.get(path, text) != text:
        raise RuntimeError(
            f"{path} has changed since this kernel compiled it, and that is possible only once: "
            "restart the kernel to use it as it is now"
        )
    with _importable(ROOT):
        try:
            modules = grpc.protos_and_services(path)
        except ProtocErrors as errors:
            raise ValueError("\n".join(map(_in_words, *errors.args))) from None
        except UnicodeEncodeError:
            raise RuntimeError(
                "gRPC's compiler takes no folder whose name has letters other than a to z: "
                f"move the course out of {ROOT}"
            ) from None
    _compiled[path] = text
    return modules


@contextmanager
def _importable(folder: Path):
    """Let Python and the compiler find what is in the folder."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _of_text(text: str, name: str) -> tuple[ModuleType, ModuleType]:
    from grpc_tools import _protoc_compiler as compiler

    if not re.search(r"^\s*(syntax|edition)\b", text, re.M):
        raise ValueError('it must begin with its version: syntax = "proto3";')
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"{name}.proto").write_text(text, encoding="utf-8")
        file = f"{name}.proto".encode(), [os.fsencode(folder)]
        try:
            [(_, messages)], [(_, services)] = (
                compiler.get_protos(*file),
                compiler.get_services(*file),
            )
        except compiler.ProtocErrors as errors:
            words = (
                _in_words(error).removeprefix(f"{name}.proto, ")
                for error in errors.args[0]
            )
            raise ValueError("\n".join(words)) from None
    # The usual pool is shared by the whole process, and takes a message's name only once.
    own_pool = b"_descriptor_pool.DescriptorPool()"
    messages = messages.replace(b"_descriptor_pool.Default()", own_pool)
    return _module(f"{name}_pb2", messages), _module(f"{name}_pb2_grpc", services)


def _module(name: str, source: bytes) -> ModuleType:
    """The module with this source, which other modules can import."""
    module = sys.modules[name] = ModuleType(name)
    exec(source, module.__dict__)
    return module


def _in_words(error) -> str:
    """What the compiler says of one place; it counts lines from 0, and none is -1."""
    line = f", line {error.line + 1}" if error.line >= 0 else ""
    return f"{error.filename.decode()}{line}: {error.message.decode()}"
