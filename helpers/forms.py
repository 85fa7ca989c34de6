"""What predictions and quizzes have in common: a question with choices, as a widget.

A form is live where a kernel runs. Saved with the notebook goes a plain list of the question
and its choices, which is all that other readers get to see: it holds no answer and nothing of
the learner's, so it is the same for everybody.
"""

from __future__ import annotations

import html
import re
from functools import cache

from helpers import scripts

_MARKS = re.compile(r"`([^`]+)`|(?<!\w)\*(\S(?:[^*]*\S)?)\*(?!\w)")


def prose(text: str) -> str:
    """A sentence as HTML: everything is escaped, `such words` are code and *such* emphasised."""

    def marked(found: re.Match) -> str:
        return f"<code>{found[1]}</code>" if found[1] else f"<em>{found[2]}</em>"

    return _MARKS.sub(marked, html.escape(text))


def plain(text: str) -> str:
    """A sentence without its marks for code and emphasis."""
    return _MARKS.sub(lambda found: found[1] or found[2], text)


def choices(
    options: list[str], several: bool = False, question: str = "", check: str = ""
):
    """A radio button for each choice, or with `several` a box to tick; nothing is picked.

    question: above the choices, HTML.
    check: the tooltip of a button "Check" below them.

    The widget has `.picked`, the numbers of the choices, `.pick(*numbers)`, `.on_pick(callback)`
    and `.on_check(callback)`.
    """
    return _choices_class()(options, several, question, check)


def paragraph(content: str = ""):
    """Some HTML in a form."""
    import ipywidgets

    return ipywidgets.HTML(content)


def announcement():
    """Some HTML, its `.value`, that screen readers say when it changes."""
    return _announcement_class()()


def button(label: str, tooltip: str, pressed):
    """A button of a form."""
    import ipywidgets

    made = ipywidgets.Button(description=label, tooltip=tooltip)
    made.on_click(lambda _: pressed())
    return made


def form(children: list, text: str):
    """A box of widgets, with a text that stands for it where no kernel runs."""
    lines = "".join(f"<p>{prose(line)}</p>" for line in text.splitlines())
    return form_class()(children, text=plain(text), static=lines)


def upload(label: str, accept: str, tooltip: str, chosen):
    """A button that asks for a file; its content goes to `chosen`."""
    return _upload_class()(label, accept, tooltip, chosen)


@cache
def form_class() -> type:
    """The class of all forms: a box of widgets. Made at first use, since ipywidgets loads slowly.

    It is made from its widgets, and from the text and the HTML that stand for it in the saved
    notebook.
    """
    import ipywidgets

    class Keys(_part_class()):
        _css = scripts.FOLDER / "forms.css"

        def __init__(self):
            super().__init__(part="keys", layout={"display": "none"})

    class Form(ipywidgets.VBox):
        def __init__(self, children: list, *, text: str, static: str):
            self._text, self._static = text, static
            super().__init__([Keys(), *children])
            self.add_class("course-form")

        def __repr__(self) -> str:
            return self._text

        def _repr_mimebundle_(self, **kwargs: object):
            data = super()._repr_mimebundle_(**kwargs)
            return data | {"text/html": self._static, "text/plain": self._text}

    return Form


@cache
def _part_class() -> type:
    """The parts whose half in the browser is in forms.js, a function for each."""
    import anywidget
    from traitlets import Unicode

    class Part(anywidget.AnyWidget):
        _esm = scripts.with_keys("forms.js")
        part = Unicode().tag(sync=True)

    return Part


@cache
def _choices_class() -> type:
    from traitlets import Bool, Int, List, Unicode

    class Choices(_part_class()):
        options = List(Unicode()).tag(sync=True)
        several = Bool().tag(sync=True)
        question = Unicode().tag(sync=True)
        check = Unicode().tag(sync=True)
        picked = List(Int()).tag(sync=True)
        disabled = Bool().tag(sync=True)

        def __init__(
            self, options: list[str], several: bool, question: str, check: str
        ):
            super().__init__(
                part="choices",
                options=[prose(option) for option in options],
                several=several,
                question=question,
                check=check,
            )

        def pick(self, *numbers: int) -> None:
            self.picked = sorted(numbers)

        def on_pick(self, callback) -> None:
            self.observe(lambda _: callback(), "picked")

        def on_check(self, callback) -> None:
            def checked(_widget, content, _buffers):
                self.pick(*content["picked"])
                callback()

            self.on_msg(checked)

    return Choices


@cache
def _announcement_class() -> type:
    from traitlets import Unicode

    class Announcement(_part_class()):
        value = Unicode().tag(sync=True)

        def __init__(self):
            super().__init__(part="announcement")

    return Announcement


@cache
def _upload_class() -> type:
    from traitlets import Unicode

    class Upload(_part_class()):
        label = Unicode().tag(sync=True)
        accept = Unicode().tag(sync=True)
        title = Unicode().tag(sync=True)

        def __init__(self, label: str, accept: str, tooltip: str, chosen):
            super().__init__(part="upload", label=label, accept=accept, title=tooltip)
            self.on_msg(lambda _widget, _content, files: chosen(bytes(files[0])))

    return Upload
