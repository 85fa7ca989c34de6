"""``pytest`` runs tests/; ``pytest --nbval`` validates the notebooks and nothing else."""

from pathlib import Path

import pytest

from tools import environment

ROOT = Path(__file__).parent


def _validating(config):
    return config.getoption("nbval", False) or config.getoption("nbval_lax", False)


def pytest_configure(config):
    sanitize = config.getoption("nbval_sanitize_with", None)
    if sanitize and not Path(sanitize).exists():
        # The setting is relative to the root; pytest may have been started below it.
        config.option.nbval_sanitize_with = str(ROOT / sanitize)
    environment.prepare()


def pytest_ignore_collect(collection_path, config):
    """Unless a path was named, look into the folders that hold what was asked for."""
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    if named or collection_path.parent != ROOT:
        return None
    wanted = {"notebooks", "labs"} if _validating(config) else {"tests"}
    return None if collection_path.name in wanted else True
