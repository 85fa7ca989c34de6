"""Processes: which run, and which of them were started by whom."""

import psutil


def alive(process):
    """Whether the psutil process still runs; one that nobody has waited for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(pid=None):
    """The processes that were started, at any remove, by this process or another."""
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if alive(child)]
