"""Say what is missing before an environment is made.

Runs on any Python, even 2.7, so that an old one gets a sentence and not a
syntax error: keep the syntax old.
"""

import sys


def problem(version, has_venv):
    """Return what is wrong with a Python of this version, or None."""
    if tuple(version[:2]) < (3, 11):
        return (
            "The course needs Python 3.11 or newer; this one is %d.%d.%d.\n"
            "Name a newer one, for example: make lab PYTHON=python3.12"
            % tuple(version[:3])
        )
    if not has_venv:
        return (
            "This Python has no venv module.\n"
            "On Debian and Ubuntu: apt-get install python3-venv"
        )
    return None


def _has_venv():
    try:
        import ensurepip  # noqa: F401  (Debian keeps it in python3-venv)
        import venv  # noqa: F401
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(problem(sys.version_info, _has_venv()))
