"""Read what authors have written in TOML, and say where it is not as it has to be."""

import tomllib
from pathlib import Path


def read(path: Path, schema: type, wrong: type[ValueError], *, kind: str):
    """The file as an object of ``schema``, a pydantic model.

    kind: what the file is, such as "quiz", for the message of the error. Raises ``wrong`` with the
    places that do not fit.
    """
    from pydantic import ValidationError

    try:
        return schema.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise wrong(f"{path.name} cannot be read: {error}") from None
    except ValidationError as error:
        lines = [f"  {_place(each['loc'])}: {each['msg']}" for each in error.errors()]
        raise wrong("\n".join([f"{path.name} is no {kind}:", *lines])) from None


def _place(location: tuple) -> str:
    """Where an error is, as authors count, from 1: "questions 2, choices 1, because"."""
    parts: list[str] = []
    for part in location:
        if isinstance(part, int):
            parts[-1] += f" {part + 1}"
        else:
            parts.append(part)
    return ", ".join(parts) or "the file"
