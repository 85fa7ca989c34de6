"""Run, normalise and check the course's notebooks.

python -m tools.notebooks execute NOTEBOOK...    run, normalise and save
python -m tools.notebooks normalise NOTEBOOK...  only drop what does not belong in a commit
python -m tools.notebooks lint [NOTEBOOK...]     say what must not be committed
"""

import argparse
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tools import environment

ROOT = Path(__file__).resolve().parent.parent

CELL_TIMEOUT = 120  # seconds, as in pyproject.toml for nbval
LONGEST_CELL = 25  # lines
MOST_EXCLUDED = 1 / 3  # of the code cells, from nbval's comparison

KERNELSPEC = {
    "display_name": "Python 3 (ipykernel)",
    "language": "python",
    "name": "python3",
}
CELL_METADATA = {"deletable", "editable", "jupyter", "nbgrader", "tags"}
PICTURE_METADATA = {"alt", "height", "width"}
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
WIDGET = "application/vnd.jupyter.widget-view+json"


class NotebookFailed(Exception):
    """A cell failed, took too long or lost its kernel; the message says which one."""


def course_notebooks(root: Path = ROOT) -> list[Path]:
    """Every lesson, lab and solution below *root*, in order."""
    folders = ("notebooks", "labs", "labs/solutions")
    return [path for name in folders for path in sorted((root / name).glob("*.ipynb"))]


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def dumps(notebook: NotebookNode) -> str:
    """The text of a notebook file: sorted keys, one trailing newline."""
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def write(notebook: NotebookNode, path: Path) -> None:
    path.write_text(dumps(notebook), encoding="utf-8")


def has_tag(cell: NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


# Run


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run all cells in place, in a kernel like nbval's with *folder* as working folder.

    Cells tagged ``raises-exception`` may raise. Raises NotebookFailed otherwise.
    """
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient, exceptions
    from nbval.kernel import CURRENT_ENV_KERNEL_NAME, NbvalKernelspecManager

    environment.prepare()
    current = {}
    client = NotebookClient(
        notebook,
        km=AsyncKernelManager(
            kernel_name=CURRENT_ENV_KERNEL_NAME,
            kernel_spec_manager=NbvalKernelspecManager(),
        ),
        timeout=CELL_TIMEOUT,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--log-level=ERROR"],
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
        on_cell_start=lambda cell, cell_index: current.update(number=cell_index + 1),
    )
    failures = (
        exceptions.CellExecutionError,
        exceptions.CellTimeoutError,
        exceptions.DeadKernelError,
    )
    try:
        client.execute(cleanup_kc=True)  # else the kernel outlives this function
    except failures as failure:
        without_colours = re.sub(r"\x1b\[[\d;]*m", "", str(failure))
        raise NotebookFailed(
            f"cell {current.get('number', 0)} failed\n{without_colours}"
        ) from failure


def execute_file(path: Path) -> float:
    """Run *path*, normalise and save it; return the seconds it took.

    Raises NotebookFailed, with nothing saved, when a cell fails.
    """
    notebook = read(path)
    start = time.monotonic()
    execute(notebook, path.parent)
    seconds = time.monotonic() - start
    normalise(notebook)
    write(notebook, path)
    return seconds


# Normalise


def normalise(notebook: NotebookNode) -> None:
    """Drop, in place, what changes from machine to machine or from save to save."""
    notebook.nbformat_minor = 5
    language = notebook.metadata.get("language_info", {"name": "python"})
    language.pop("version", None)
    notebook.metadata = NotebookNode(
        kernelspec=NotebookNode(KERNELSPEC), language_info=language
    )
    for cell in notebook.cells:
        cell.setdefault("id", uuid.uuid4().hex[:8])
        _keep(cell.metadata, CELL_METADATA)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        for number, output in enumerate(cell.get("outputs", [])):
            _normalise_output(output, f"{cell.id}/{number}", cell.execution_count)


def _normalise_output(output: NotebookNode, place: str, count: int | None) -> None:
    if "execution_count" in output:
        output.execution_count = count
    if "metadata" in output:
        _keep(output.metadata, set(PICTURES))
        for picture in output.metadata.values():
            _keep(picture, PICTURE_METADATA)
    if WIDGET in output.get("data", {}):
        # The kernel draws a random id, which means nothing once the kernel is gone.
        output.data[WIDGET]["model_id"] = uuid.uuid5(uuid.NAMESPACE_OID, place).hex


def _keep(mapping: dict, keys: set[str]) -> None:
    for key in set(mapping) - keys:
        del mapping[key]


# Lint: each rule yields what it finds


def lint(notebook: NotebookNode) -> list[str]:
    """What must not be committed in this notebook; an empty list when all is well."""
    return [finding for rule in RULES for finding in rule(notebook)]


def lint_file(path: Path) -> list[str]:
    """Like lint(), and whether the file reads as normalise() leaves it."""
    notebook = read(path)
    findings = lint(notebook)
    normalise(notebook)
    if path.read_text(encoding="utf-8") != dumps(notebook):
        findings.append("not normalised: make execute NB=... saves it as it should be")
    return findings


def _cell(number: int, cell: NotebookNode) -> str:
    lines = cell.source.strip().splitlines() or [""]
    return f"cell {number} ({lines[0][:40]!r})"


def _numbered(
    notebook: NotebookNode, kind: str | None = None
) -> Iterator[tuple[str, NotebookNode]]:
    for number, cell in enumerate(notebook.cells, start=1):
        if kind in (None, cell.cell_type):
            yield _cell(number, cell), cell


def _outputs(notebook: NotebookNode) -> Iterator[tuple[str, NotebookNode]]:
    for where, cell in _numbered(notebook, "code"):
        for output in cell.outputs:
            yield where, output


def no_errors(notebook: NotebookNode) -> Iterator[str]:
    """Only cells tagged raises-exception hold an error, and each of those does.

    Without a stored error nbval would accept that such a cell no longer raises.
    """
    for where, cell in _numbered(notebook, "code"):
        error = next((o for o in cell.outputs if o.output_type == "error"), None)
        if has_tag(cell, "raises-exception"):
            if error is None:
                yield f"{where}: tagged raises-exception, but no error is stored"
        elif error is not None:
            yield f"{where}: ends in {error.ename}: {error.evalue}"


def no_stderr(notebook: NotebookNode) -> Iterator[str]:
    for where, output in _outputs(notebook):
        if output.output_type == "stream" and output.name == "stderr":
            yield f"{where}: writes to stderr: {output.text.strip()[:60]!r}"


_PATH = re.compile(
    r"(?<![\w:/.])/(?:home|root|Users|tmp|var|work|srv|opt|mnt|usr|private)/[\w.-]+"
    r"|\b[A-Z]:\\\w+"
)
# A picture within HTML or SVG: its base64 may read like a path, and never is one.
_BASE64 = re.compile(r"(?<=;base64,)\s*[A-Za-z0-9+/]+=*")


def no_machine_paths(notebook: NotebookNode) -> Iterator[str]:
    for where, cell in _numbered(notebook):
        text = "\n".join(_texts(cell))
        if found := _PATH.search(text):
            yield f"{where}: a path of this machine: {found[0]}"
        elif str(ROOT) in text:
            yield f"{where}: the path of this clone"


def no_addresses(notebook: NotebookNode) -> Iterator[str]:
    """No ``<object at 0x7f...>``: it differs in every run and says nothing."""
    for where, output in _outputs(notebook):
        for text in _output_texts(output):
            if re.search(r"\b0x[0-9a-f]{8,}\b", text):
                yield f"{where}: the memory address of an object"


def _texts(cell: NotebookNode) -> Iterator[str]:
    yield cell.source
    for output in cell.get("outputs", []):
        yield from _output_texts(output)


def _output_texts(output: NotebookNode) -> Iterator[str]:
    yield output.get("text", "")
    yield output.get("evalue", "")
    yield "\n".join(output.get("traceback", []))
    for kind, content in output.get("data", {}).items():
        if isinstance(content, str) and kind not in ("image/png", "image/jpeg"):
            yield _BASE64.sub("", content)


def no_stray_metadata(notebook: NotebookNode) -> Iterator[str]:
    for key in sorted(set(notebook.metadata) - {"kernelspec", "language_info"}):
        yield f"notebook metadata {key!r}"
    if notebook.metadata.get("kernelspec") != KERNELSPEC:
        yield "the kernel is not 'python3', Python 3 (ipykernel)"
    for where, cell in _numbered(notebook):
        for key in sorted(set(cell.metadata) - CELL_METADATA):
            yield f"{where}: cell metadata {key!r}"


def in_order(notebook: NotebookNode) -> Iterator[str]:
    """Every code cell was run, once, from top to bottom."""
    expected = 1
    for where, cell in _numbered(notebook, "code"):
        if cell.execution_count is None:
            yield f"{where}: was not run, so nbval would compare nothing"
        elif cell.execution_count != expected:
            yield f"{where}: was run as number {cell.execution_count}, not {expected}"
        expected += 1


def no_empty_cells(notebook: NotebookNode) -> Iterator[str]:
    for where, cell in _numbered(notebook):
        if not cell.source.strip():
            yield f"{where}: is empty"


def short_cells(notebook: NotebookNode) -> Iterator[str]:
    for where, cell in _numbered(notebook, "code"):
        lines = len(cell.source.splitlines())
        if lines > LONGEST_CELL:
            yield f"{where}: has {lines} lines, more than {LONGEST_CELL}"


def mostly_compared(notebook: NotebookNode) -> Iterator[str]:
    """At most a third of the code cells escape nbval, by tag and never by comment."""
    cells = code_cells(notebook)
    excluded = [
        cell
        for cell in cells
        if has_tag(cell, "nbval-ignore-output") or has_tag(cell, "nbval-skip")
    ]
    if len(excluded) > MOST_EXCLUDED * len(cells):
        yield f"{len(excluded)} of {len(cells)} code cells are not compared by nbval"
    for where, cell in _numbered(notebook, "code"):
        if re.search(r"^\s*#\s*(?:NBVAL_|PYTEST_VALIDATE_)", cell.source, re.M):
            yield f"{where}: a comment tells nbval what to do: use a tag"


def described_pictures(notebook: NotebookNode) -> Iterator[str]:
    """Every picture says in words what it shows; every widget leaves a picture."""
    for where, output in _outputs(notebook):
        data = output.get("data", {})
        for kind in PICTURES:
            alt = output.get("metadata", {}).get(kind, {}).get("alt", "")
            if kind in data and not _describes(alt or data.get("text/plain", "")):
                yield f"{where}: a picture without a description (alt or text/plain)"
        if WIDGET in data and not {"image/png", "text/html"} & set(data):
            yield f"{where}: a widget with nothing to show where no kernel runs"
    for where, cell in _numbered(notebook, "markdown"):
        for tag in re.findall(r"!\[\s*\]\(|<img\b[^>]*>", cell.source):
            if not re.search(r"""\balt=["'][^"']""", tag):
                yield f"{where}: a picture without alternative text"


def _describes(text: str) -> bool:
    """Whether *text* is words, not an object's default repr."""
    return bool(text.strip()) and not re.match(r"\s*(?:<.*>|\w+\(.*\))\s*$", text, re.S)


RULES: list[Callable[[NotebookNode], Iterator[str]]] = [
    no_errors,
    no_stderr,
    no_machine_paths,
    no_addresses,
    no_stray_metadata,
    in_order,
    no_empty_cells,
    short_cells,
    mostly_compared,
    described_pictures,
]


# Command line


def _name(path: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _execute_all(paths: list[Path]) -> int:
    for path in paths:
        try:
            seconds = execute_file(path)
        except NotebookFailed as failure:
            print(f"{_name(path)}: {failure}\nNothing was saved.", file=sys.stderr)
            return 1
        print(f"{_name(path)}: run and saved, {seconds:.1f} s")
    return 0


def _normalise_all(paths: list[Path]) -> int:
    for path in paths:
        notebook = read(path)
        normalise(notebook)
        write(notebook, path)
    return 0


def _lint_all(paths: list[Path]) -> int:
    found = 0
    for path in paths:
        for finding in lint_file(path):
            print(f"{_name(path)}: {finding}")
            found += 1
    print(f"{len(paths)} notebooks, {found} findings")
    return 1 if found else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.notebooks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("command", choices=["execute", "normalise", "lint"])
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK")
    asked = parser.parse_args(arguments)
    if asked.command != "lint" and not asked.notebooks:
        parser.error("name a notebook")
    missing = [path for path in asked.notebooks if not path.is_file()]
    if missing:
        parser.error(f"no such notebook: {missing[0]}")
    action = {
        "execute": _execute_all,
        "normalise": _normalise_all,
        "lint": _lint_all,
    }[asked.command]
    return action(asked.notebooks or course_notebooks())


if __name__ == "__main__":
    sys.exit(main())
