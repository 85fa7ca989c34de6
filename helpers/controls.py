"""The controls of an explore widget: ipywidgets' own, checked and all of one look."""

from __future__ import annotations

import math
from numbers import Real


def slider(
    label: str, low: float, high: float, step: float, start: float, unit: str = ""
):
    """A slider from `low` to `high`; whole numbers throughout give whole numbers.

    unit: of all the numbers, such as "s" or "requests/s"; it is shown behind the label.
    Raises TypeError for what is no number, ValueError for numbers that do not fit together.
    """
    import ipywidgets

    _check_label(label)
    for name, value in {"low": low, "high": high, "step": step, "start": start}.items():
        if (
            not isinstance(value, Real)
            or isinstance(value, bool)
            or not math.isfinite(value)
        ):
            raise TypeError(
                f"{name} of the slider {label!r} is a number, not {value!r}."
            )
    if not low < high:
        raise ValueError(
            f"The slider {label!r} needs low < high, not {low} and {high}."
        )
    if not 0 < step <= high - low:
        raise ValueError(
            f"The step of the slider {label!r} lies between 0 and its range, not at {step}."
        )
    if not low <= start <= high:
        raise ValueError(
            f"The slider {label!r} starts between {low} and {high}, not at {start}."
        )

    whole = all(isinstance(value, int) for value in (low, high, step, start))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    decimals += round(step, decimals) != step  # such as 0.25
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    return kind(
        value=start,
        min=low,
        max=high,
        step=step,
        description=f"{label} ({unit})" if unit else label,
        tooltip=f"{label}: from {low:g} to {high:g} {unit}".strip(),
        readout_format="d" if whole else f".{decimals}f",
        continuous_update=True,
        **_looks(),
    )


def choice(label: str, options: list, start: object):
    """A list to choose one of several values from; texts show as they are.

    Raises ValueError for fewer than two options, or a start that is none of them.
    """
    import ipywidgets

    _check_label(label)
    options = list(options)
    if len(options) < 2:
        raise ValueError(f"The choice {label!r} needs two options or more.")
    if start not in options:
        raise ValueError(
            f"The choice {label!r} starts at one of {options}, not at {start!r}."
        )
    return ipywidgets.Dropdown(
        options=options, value=start, description=label, tooltip=label, **_looks()
    )


def extremes(control) -> tuple:
    """The lowest and the highest position of a slider, or all options of a choice."""
    if hasattr(control, "options"):
        return control.options
    return control.min, control.max


def check_position(name: str, value: object, controls: dict) -> None:
    """Raise ValueError unless there is a control of that name, and it can stand at `value`."""
    if name not in controls:
        raise ValueError(
            f"There is no control {name!r}; there are {', '.join(controls)}."
        )
    control = controls[name]
    if hasattr(control, "options"):
        if value not in control.options:
            raise ValueError(
                f"{name} is one of {list(control.options)}, not {value!r}."
            )
    elif not isinstance(value, Real) or not control.min <= value <= control.max:
        raise ValueError(
            f"{name} lies between {control.min} and {control.max}, not at {value!r}."
        )


def _looks() -> dict[str, dict]:
    return {
        "style": {"description_width": "12em"},
        "layout": {"width": "min(36em, 100% - 4px)"},  # its margins take the rest
    }


def _check_label(label: object) -> None:
    if not isinstance(label, str) or not label.strip():
        raise TypeError(
            f"A control needs a label that says what it sets, not {label!r}."
        )
