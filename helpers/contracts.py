"""contract(): compile a .proto file of the course, for a service and for its callers."""

import sys
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent

_compiled: dict[str, str] = {}  # path: the text as this Python process has compiled it


def contract(path: str):
    """The messages and the services of a contract, as ``grpc.protos_and_services`` returns them.

    path: from the course's folder: "helpers/shop/payments.proto". That function looks along
        ``sys.path``, where the course's folder need not be; this one works from anywhere.

    Raises FileNotFoundError when there is no such file, ValueError with the lines that are wrong,
    RuntimeError when it has changed since it was compiled.
    """
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


def _in_words(error) -> str:
    """What the compiler says of one place; it counts lines from 0, and none is -1."""
    line = f", line {error.line + 1}" if error.line >= 0 else ""
    return f"{error.filename.decode()}{line}: {error.message.decode()}"
