"""The environment that kernels run in, the same for ``--nbval`` and ``make execute``."""

import os


def prepare():
    """Set up ``os.environ`` so that kernels started from here write nothing to stderr."""
    # A run that validates is not the learner's.
    os.environ["COURSE_PROGRESS"] = "off"
    # The debugger would warn about Python's frozen modules.
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    # Without .pyc files every kernel compiles its imports again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Where it takes more than 5 s, matplotlib says that it builds its font cache:
    # let that happen here, not in the first kernel.
    import matplotlib.font_manager  # noqa: F401
