"""The notebooks that use the broker pass on a Redis server of one's own, too."""

import os
import subprocess
import sys

import pytest
import redis

from tools import notebooks

USERS = [
    path
    for path in notebooks.course_notebooks()
    if any(
        word in path.read_text(encoding="utf-8")
        for word in ("start_broker", "check_environment")
    )
]


@pytest.mark.parametrize("path", USERS, ids=lambda path: path.stem)
def test_a_notebook_passes_on_another_redis_and_leaves_nothing_there(
    path, redis_server
):
    with redis.Redis.from_url(redis_server, decode_responses=True) as client:
        assert client.info("server")["redis_version"].startswith(("7.", "8."))
        client.set("somebody-else", "stays")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--nbval", "-q", str(path)],
            cwd=notebooks.ROOT,
            env={**os.environ, "REDIS_URL": redis_server},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        assert client.info("stats")["total_commands_processed"] > 10, "it was not used"
        assert client.keys("*") == ["somebody-else"]
