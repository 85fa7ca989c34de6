"""What predictions and quizzes have in common: a question with choices, as a widget.

A form is live where a kernel runs. Saved with the notebook goes a plain list of the question
and its choices, which is all that other readers get to see: it holds no answer and nothing of
the learner's, so it is the same for everybody.
"""

from __future__ import annotations

import html
import re
from functools import cache

# In JupyterLab's own colours, so that they fit its light and its dark theme.
_STYLE = """<style>
.course-form {
  max-width: 700px; margin: 6px 2px; padding: 6px 14px; overflow: visible;
  border-left: 4px solid var(--jp-border-color1, #9e9e9e);
}
.course-form .widget-html, .course-form .widget-html-content {
  height: auto; margin: 2px 0; line-height: 1.45; font-size: 14px; white-space: normal;
  overflow-wrap: break-word; color: var(--jp-content-font-color1, #1f1f1f);
}
.course-form p { margin: 2px 0; }
.course-form ul { margin: 4px 0; padding-left: 0; list-style: none; }
.course-form li { margin: 6px 0; }
.course-form code { background: var(--jp-layout-color2, #eee); padding: 0 3px; }
.course-form summary { cursor: pointer; }
.course-form a { color: var(--jp-content-link-color, #0060b0); text-decoration: underline; }
.course-form table { border-collapse: collapse; }
.course-form caption { text-align: left; }
.course-form th, .course-form td { padding: 3px 16px 3px 0; text-align: left; }
.course-form td { white-space: nowrap; }
.course-form tr { border-bottom: 1px solid var(--jp-border-color2, #ccc); }
.course-form .widget-vbox { overflow: visible; margin: 0 0 8px; }
.course-form .widget-radio { width: 100%; margin: 0; }
.course-form .widget-radio > .widget-label { display: none; }
.course-form .widget-radio-box { width: 100%; margin-bottom: 0 !important; }
.course-form .widget-checkbox { width: 100%; height: auto; margin: 0; }
.course-form .widget-radio-box label, .course-form .widget-checkbox label {
  display: grid; grid-template-columns: 24px 1fr; width: 100%; height: auto; margin: 2px 0;
  font-size: 14px; line-height: 22px; white-space: normal; overflow: visible;
  color: var(--jp-content-font-color1, #1f1f1f);
}
.course-form label > input {
  grid-column: 1; grid-row: 1; width: 14px; height: 14px; margin: 4px 0 0 2px;
}
.course-form .widget-button { align-self: flex-start; }
.course-form input:focus-visible, .course-form button:focus-visible,
.course-form summary:focus-visible, .course-form a:focus-visible {
  outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: 2px;
}
</style>"""


def prose(text: str) -> str:
    """A sentence as HTML: everything is escaped, and `such words` are code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def plain(text: str) -> str:
    """A sentence without its marks for code."""
    return text.replace("`", "")


def choices(options: list[str], several: bool = False):
    """A radio button for each choice, or with `several` a box to tick; nothing is picked.

    It has `.picked`, the numbers of the choices, and `.on_pick(callback)`.
    """
    return _choices_classes()[several](options)


def paragraph(content: str = ""):
    """Some HTML in a form."""
    import ipywidgets

    return ipywidgets.HTML(content)


def status(content: str) -> str:
    """HTML that screen readers say when it appears."""
    return f'<div role="status">{content}</div>' if content else ""


def button(label: str, tooltip: str, pressed):
    """A button of a form."""
    import ipywidgets

    made = ipywidgets.Button(description=label, tooltip=tooltip)
    made.on_click(lambda _: pressed())
    return made


@cache
def form_class() -> type:
    """The class of all forms: a box of widgets. Made at first use, since ipywidgets loads slowly.

    It is made from its widgets, and from the text and the HTML that stand for it in the saved
    notebook.
    """
    import ipywidgets

    class Form(ipywidgets.VBox):
        def __init__(self, children: list, *, text: str, static: str):
            self._text, self._static = text, static
            style = ipywidgets.HTML(_STYLE, layout={"display": "none"})
            super().__init__([style, *children])
            self.add_class("course-form")

        def __repr__(self) -> str:
            return self._text

        def _repr_mimebundle_(self, **kwargs: object):
            data = super()._repr_mimebundle_(**kwargs)
            return data | {"text/html": self._static, "text/plain": self._text}

    return Form


@cache
def _choices_classes() -> tuple[type, type]:
    import ipywidgets

    class One(ipywidgets.RadioButtons):
        def __init__(self, options: list[str]):
            numbered = [(plain(option), n) for n, option in enumerate(options)]
            super().__init__(options=numbered, value=None)

        @property
        def picked(self) -> list[int]:
            return [] if self.value is None else [self.value]

        def pick(self, *numbers: int) -> None:
            [self.value] = numbers or [None]

        def on_pick(self, callback) -> None:
            self.observe(lambda _: callback(), "value")

    class Several(ipywidgets.VBox):
        def __init__(self, options: list[str]):
            super().__init__(
                [
                    ipywidgets.Checkbox(description=plain(option), indent=False)
                    for option in options
                ]
            )

        @property
        def picked(self) -> list[int]:
            return [n for n, box in enumerate(self.children) if box.value]

        def pick(self, *numbers: int) -> None:
            for n, box in enumerate(self.children):
                box.value = n in numbers

        def on_pick(self, callback) -> None:
            for box in self.children:
                box.observe(lambda _: callback(), "value")

    return One, Several
