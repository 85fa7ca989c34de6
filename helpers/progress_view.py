"""The start page's view of progress, with the buttons to keep one's work and to take it back."""

from __future__ import annotations

import base64
import html
from functools import cache

from helpers import course, forms, progress, work

COLUMNS = {
    "predictions": "Predicted",
    "claims": "Claims held",
    "quizzes": "Quiz",
    "checks": "Checks",
}
_MARKS = {"done": "✓", "under way": "…", "not begun": "○"}


def show_progress():
    """A table of what is done in each lesson and lab, as a widget with two buttons.

    "Keep my work" makes a file to download, "Take back" puts such a file in place again. The
    saved notebook holds the lessons and labs alone, the same for everybody.
    """
    return _view_class()(course.chapters(progress.COURSE))


@cache
def _view_class() -> type:
    """Made at first use, since ipywidgets loads slowly."""
    import ipywidgets

    class Progress(forms.form_class()):
        def __init__(self, chapters: list[course.Chapter]):
            self._chapters = chapters
            self.table = forms.paragraph()
            self.status = forms.announcement()
            keep = forms.button(
                "Keep my work",
                "Make a file with your progress and the notebooks that you have changed",
                self.keep,
            )
            self.upload = forms.upload(
                "Take back …",
                ".zip",
                "Choose a file that Keep my work has made",
                self.take_back,
            )
            names = [chapter.title for chapter in chapters]
            super().__init__(
                [self.table, ipywidgets.HBox([keep, self.upload]), self.status],
                text=f"Progress in {len(names)} notebooks: {'; '.join(names)}.",
                static=_untouched(chapters),
            )
            self.refresh()

        def refresh(self) -> None:
            """Show what is kept by now."""
            noted = {kind: progress.noted(kind) for kind in progress.KINDS}
            self.table.value = _table(self._chapters, noted)
            self._say(html.escape(progress.change(lambda record: None)))

        def keep(self) -> None:
            """Make the file, and show a link to it."""
            try:
                self._say(_link(work.pack()))
            except Exception as error:
                self._say(f"This could not be kept: {_told(error)}")

        def take_back(self, data: bytes) -> None:
            """Put what is in a file in its place, and say what became of it."""
            try:
                report = _report(work.take_back(data))
            except work.Refused as refusal:
                self._say(f"✗ {html.escape(str(refusal))} Nothing was changed.")
            except Exception as error:
                self._say(f"✗ This could not be taken back in full: {_told(error)}")
            else:
                self.refresh()
                self._say(report)

        def _say(self, content: str) -> None:
            self.status.value = content

    return Progress


def _table(chapters: list[course.Chapter], noted: progress.Record) -> str:
    kinds = [kind for kind in COLUMNS if any(each.to_do[kind] for each in chapters)]
    rows = []
    for chapter in chapters:
        counts = [
            f"{chapter.done(kind, noted)} of {len(chapter.to_do[kind])}"
            if chapter.to_do[kind]
            else "–"
            for kind in kinds
        ]
        rows.append(_row(chapter, [*counts, chapter.state(noted)]))
    return _rows(["Notebook", *(COLUMNS[kind] for kind in kinds), "State"], rows)


def _untouched(chapters: list[course.Chapter]) -> str:
    """For the saved notebook. It has no counts, so editing a lesson does not change it."""
    rows = [_row(chapter, ["not begun"]) for chapter in chapters]
    return _rows(["Notebook", "State"], rows)


def _row(chapter: course.Chapter, cells: list[str]) -> str:
    *counts, state = cells
    cells = [*counts, f"{_MARKS[state]} {state}"]
    lab = "Lab " * (chapter.path.parent.name == "labs" and chapter.title[:1].isdigit())
    return (
        f'<tr><th scope="row">{html.escape(lab + chapter.title)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
    )


def _rows(columns: list[str], rows: list[str]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    return (
        f"<table><caption>Your progress</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _link(packed: work.Packed) -> str:
    """A link with the file inside it, so that it works wherever the server lives."""
    name = f"my-course-work-{progress.stamp()}.zip"
    content = base64.b64encode(packed.data).decode()
    size = max(1, round(len(packed.data) / 1000))
    holds = ["your progress", *map(html.escape, packed.notebooks)]
    said = [
        f'<a download="{name}" href="data:application/zip;base64,{content}">Download {name}</a>'
        f" ({size} kB): {', '.join(holds)}.",
        "What is not saved is not in it: save your notebooks (Ctrl+S) first. "
        "Outputs are left out; a run brings them back.",
    ]
    if packed.left_out:
        said.append(f"Left out: {html.escape('; '.join(packed.left_out))}.")
    return "".join(f"<p>{line}</p>" for line in said)


def _report(taken: work.TakenBack) -> str:
    lines = ["✓ Taken back."]
    lines += [
        f"{name}: replaced; the one that was here is now {copy}."
        for name, copy in taken.replaced.items()
    ]
    lines += [f"{name}: added." for name in taken.new]
    lines += [f"{name}: the same as here." for name in taken.unchanged]
    if taken.replaced:
        lines.append("If one is open: File → Reload Notebook from Disk.")
    if taken.said:
        lines.append(taken.said)
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def _told(error: Exception) -> str:
    return html.escape(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
