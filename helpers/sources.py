"""The text of a notebook's functions and classes, with what they use, for a process of its own."""

from __future__ import annotations

import ast
import dis
import inspect
import linecache
import sys
import textwrap
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType

CONSTANTS = (bool, int, float, str, bytes, type(None))


def source_of(*functions: FunctionType) -> str:
    """Functions as the text of a module, with what they use of the place they were defined in.

    With them come other functions of that place, classes that have a method, modules and what was
    imported from them, and constants: numbers, texts, and tuples of these.

    Raises ValueError naming what cannot be taken along.
    """
    found: dict[str, str] = {}
    for function in functions:
        _add(function, function.__globals__, found)
    return "\n".join(found.values())


def _add(value: FunctionType | type, here: dict, found: dict[str, str]) -> None:
    """Put the text of a function or a class into `found`, behind what it needs."""
    name = value.__name__
    if name in found:
        return
    found[name] = ""  # it may use itself; its text comes below
    text = _text_of(value)
    for used in _global_names(compile(text, "<notebook>", "exec", dont_inherit=True)):
        if used in here and not used.startswith("__"):  # else a builtin, or a mistake
            _take_along(used, here[used], value, here, found)
    found[name] = found.pop(name) + text


def _take_along(
    name: str, value: object, user: FunctionType | type, here: dict, found: dict
) -> None:
    """Put into `found` what makes `name` in a module what it is here."""
    if name in found:
        return
    if isinstance(value, ModuleType):
        found[name] = f"import {value.__name__} as {name}"
    elif _is_constant(value):
        found[name] = f"{name} = {value!r}"
    elif _is_of(value, here):
        if value.__name__ == "<lambda>":
            raise ValueError(f"{name} is a lambda: write it with def")
        if here.get(value.__name__) is not value:
            raise ValueError(
                f"{name} is an earlier {value.__name__}: give each a name of its own"
            )
        _add(value, here, found)
        if value.__name__ != name:  # another name for it
            found[name] = f"{name} = {value.__name__}"
    elif where := _import(name, value, here):
        found[name] = where
    else:
        raise ValueError(_in_memory(user, name))


def _is_constant(value: object) -> bool:
    if isinstance(value, tuple) and type(value) is tuple:
        return all(map(_is_constant, value))
    return isinstance(value, CONSTANTS)


def _is_of(value: object, here: dict) -> bool:
    """Is it a function of this place, or a class whose text is to be had?"""
    if isinstance(value, FunctionType):
        return inspect.unwrap(value).__globals__ is here
    is_class = isinstance(value, type) and value.__module__ == here.get("__name__")
    return is_class and _method_of(value) is not None


def _import(name: str, value: object, here: dict) -> str:
    """The line that imports a value from the module it is of; empty when there is none."""
    module = getattr(value, "__module__", None)
    for its_name in (getattr(value, "__name__", name), name):
        found = getattr(sys.modules.get(module or ""), str(its_name), None)
        if found is value and module != here.get("__name__"):
            return f"from {module} import {its_name} as {name}"
    return ""


def _text_of(value: FunctionType | type) -> str:
    """The text of a function or a class, its decorators included."""
    if isinstance(value, type):
        return _text_of_class(value)
    function = inspect.unwrap(value)
    if function.__closure__:
        raise ValueError(
            f"{function.__name__}() is defined inside another function and uses its "
            f"{', '.join(function.__code__.co_freevars)}: hand it over as an argument"
        )
    if function.__name__ == "<lambda>":
        raise ValueError("a lambda has no name of its own: write it with def")
    try:
        return textwrap.dedent(inspect.getsource(function))
    except OSError:
        raise ValueError(
            f"the text of {function.__name__}() is not to be had: write it in a cell"
        ) from None


def _text_of_class(cls: type) -> str:
    # Not by inspect.getsource(): before Python 3.13 it knows no class of a notebook.
    code = _method_of(cls).__code__
    outside = set(code.co_freevars) - {"__class__"}
    if outside:
        raise ValueError(
            f"{cls.__name__} is defined inside a function and uses its {', '.join(outside)}: "
            "define it outside"
        )
    lines = linecache.getlines(code.co_filename)
    for node in ast.walk(ast.parse("".join(lines))):
        if not isinstance(node, ast.ClassDef) or node.name != cls.__name__:
            continue
        if node.lineno <= code.co_firstlineno <= node.end_lineno:
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            return textwrap.dedent("".join(lines[first - 1 : node.end_lineno]))
    raise ValueError(f"the text of {cls.__name__} is not to be had: write it in a cell")


def _method_of(cls: type) -> FunctionType | None:
    """A method whose text is to be had; those of a dataclass are made without any."""
    for member in vars(cls).values():
        function = inspect.unwrap(getattr(member, "__func__", member))
        if (
            isinstance(function, FunctionType)
            and function.__module__ == cls.__module__
            and linecache.getlines(function.__code__.co_filename)
        ):
            return function
    return None


def _global_names(code: CodeType) -> Iterator[str]:
    """The global names that code reads, also in its head, and in the functions inside it."""
    # inspect.getclosurevars() takes x in y.x for a global, too.
    instructions = list(dis.get_instructions(code))
    own = {each.argval for each in instructions if each.opname == "STORE_NAME"}
    for instruction in instructions:
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            if instruction.argval not in own:
                yield instruction.argval
        elif isinstance(instruction.argval, CodeType):
            yield from _global_names(instruction.argval)


def _in_memory(user: FunctionType | type, name: str) -> str:
    what = user.__name__ if isinstance(user, type) else f"{user.__name__}()"
    return (
        f"{what} uses {name!r}, which is in the memory of this notebook, and "
        "a program of its own has another memory: make it there, or hand over an argument"
    )
