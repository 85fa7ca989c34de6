"""Print the Binder address that launches this clone's ``origin``."""

import re
import subprocess
import sys
from urllib.parse import quote

START = "notebooks/00-start-here.ipynb"

_GITHUB = re.compile(
    r"""^(?:https?://(?:[^@/]+@)?|ssh://git@|git://|git@)   # how it is reached
        (?:www\.)?github\.com(?::\d+/|[:/])                 # where
        (?P<owner>[^/]+)/(?P<repo>[^/]+?)(?:\.git)?/?$""",
    re.VERBOSE,
)


def binder_link(origin, ref):
    """Return the launch address for a GitHub remote (ssh or https) at *ref*.

    Raises ValueError when *origin* is not a GitHub repository.
    """
    match = _GITHUB.match(origin)
    if not match:
        raise ValueError(
            f"origin is {origin}, which is not a GitHub repository of the form "
            "https://github.com/OWNER/REPO; Binder's gh links need one."
        )
    where = "/".join(quote(part, safe="") for part in (match["owner"], match["repo"]))
    return f"https://mybinder.org/v2/gh/{where}/{quote(ref, safe='')}?urlpath=lab/tree/{START}"


def _git(*arguments):
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def main():
    """Print the link for the clone in the working folder; return an exit status."""
    origin = _git("remote", "get-url", "origin")
    if not origin:
        return (
            "This clone has no remote called origin. Add yours with\n"
            "  git remote add origin https://github.com/OWNER/REPO"
        )
    branch = _git("symbolic-ref", "--short", "HEAD")
    try:
        print(binder_link(origin, branch or _git("rev-parse", "HEAD")))
    except ValueError as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main())
