"""The project's own files: dependencies, locks, Binder, Makefile, CI."""

import ast
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest
import yaml

from tools import binder_link, check_python, notebooks

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME = PROJECT["dependencies"]
DEV = PROJECT["optional-dependencies"]["dev"]


def run(*command, cwd=ROOT, **environment):
    """The finished process, with *environment* set or (when None) unset."""
    env = {**os.environ, **environment}
    env = {name: value for name, value in env.items() if value is not None}
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120
    )


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


# Dependencies


def test_environment_yml_and_pyproject_list_the_same_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert environment["channels"] == ["conda-forge"]
    assert conda == ["python=3.12", "pip"]  # repo2docker reads only this form
    assert sorted(pip["pip"]) == sorted(RUNTIME)


@pytest.mark.parametrize("requirement", RUNTIME + DEV)
def test_direct_dependencies_are_pinned(requirement):
    assert re.fullmatch(r"[a-z0-9-]+==[\w.]+", requirement)


def pins(lock):
    """{package: [pin, ...]} of a lock; more than one pin where markers choose."""
    found = {}
    for line in (ROOT / lock).read_text().splitlines():
        if match := re.match(r"([\w.-]+)==(\S+)", line):
            found.setdefault(canonical(match[1]), []).append(match[2])
    return found


@pytest.mark.parametrize(
    "lock, direct",
    [("requirements.lock", RUNTIME), ("requirements-dev.lock", RUNTIME + DEV)],
)
def test_a_lock_agrees_with_pyproject(lock, direct):
    locked = pins(lock)
    assert {r: locked.get(canonical(r.split("==")[0])) for r in direct} == {
        r: [r.split("==")[1]] for r in direct
    }, "run make lock"


def test_the_dev_lock_holds_the_runtime_lock():
    dev = pins("requirements-dev.lock")
    for package, versions in pins("requirements.lock").items():
        assert dev.get(package) == versions, "run make lock"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_has_hashes_but_no_address_and_no_path(lock):
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.M), "an option such as --index-url"
    assert not re.search(r"(^|[\s@'\"=])(\.{0,2}/\w|[A-Z]:\\)", text), "a path"
    packages = re.findall(r"^[\w.-]+==.*\n(?P<next>.*)", text, re.M)
    assert len(packages) > 50
    assert all(line.startswith("    --hash=sha256:") for line in packages)


def imported_by(source):
    """Top-level names that a piece of Python imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.split(".")[0])
    return names


def imports(folders):
    """{top-level name: file} for the modules and notebooks below *folders*."""
    found = {}
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            found |= dict.fromkeys(imported_by(path.read_text()), path)
        for path in (ROOT / folder).rglob("*.ipynb"):
            if ".ipynb_checkpoints" in path.parts:
                continue
            for cell in notebooks.code_cells(notebooks.read(path)):
                source = re.sub(r"^\s*[%!].*$", "", cell.source, flags=re.M)
                found |= dict.fromkeys(imported_by(source), path)
    return found


@pytest.mark.parametrize(
    "folders, declared",
    [
        (["helpers", "notebooks", "labs"], RUNTIME),
        (["tools", "tests"], RUNTIME + DEV),
    ],
    ids=["learners", "authors"],
)
def test_what_is_imported_is_declared(folders, declared):
    known = {canonical(requirement.split("==")[0]) for requirement in declared}
    installed = packages_distributions()
    own = {"helpers", "tools", *(path.stem for path in (ROOT / "tests").rglob("*.py"))}
    undeclared = {
        name: str(path.relative_to(ROOT))
        for name, path in imports(folders).items()
        if name not in own | sys.stdlib_module_names
        and not known & {canonical(each) for each in installed.get(name, [])}
    }
    assert undeclared == {}


def test_the_package_holds_every_file_of_helpers(tmp_path):
    ignore = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    shutil.copytree(ROOT / "helpers", tmp_path / "helpers", ignore=ignore)
    shutil.copytree(ROOT / "LICENSES", tmp_path / "LICENSES")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    made = run(
        sys.executable,
        "-c",
        "from setuptools import build_meta; print(build_meta.build_wheel('.'))",
        cwd=tmp_path,
    )
    assert made.returncode == 0, made.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("helpers/")}
    files = (path for path in (tmp_path / "helpers").rglob("*") if path.is_file())
    assert {path.relative_to(tmp_path).as_posix() for path in files} == packed


# Binder


def test_binder_builds_our_environment():
    done = run(sys.executable, "-m", "repo2docker", "--no-build", "--debug", ".")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "conda environment for python=3.12" in said
    assert 'env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"' in said
    assert "RUN ./binder/postBuild" in said


def test_binder_reads_the_one_list_and_can_run_postbuild():
    assert os.readlink(ROOT / "binder/environment.yml") == "../environment.yml"
    script = ROOT / "binder/postBuild"
    assert script.stat().st_mode & stat.S_IXUSR
    assert run("bash", "-n", str(script)).returncode == 0
    for name in re.findall(r"[\w/.]+\.(?:lock|json)\b", script.read_text()):
        if not name.startswith("/"):
            assert (ROOT / name).exists(), f"postBuild uses {name}"


def test_jupyterlab_knows_every_setting_that_is_overridden():
    overrides = json.loads((ROOT / "binder/overrides.json").read_text())
    schemas = Path(sys.prefix) / "share/jupyter/lab/schemas"
    assert overrides
    for plugin, settings in overrides.items():
        package, name = plugin.split(":")
        schema = json.loads((schemas / package / f"{name}.json").read_text())
        for key, value in settings.items():
            allowed = schema["properties"][key].get("oneOf", [{"const": value}])
            assert value in [choice["const"] for choice in allowed], f"{plugin}: {key}"


LINK = "https://mybinder.org/v2/gh/ada/shop/{}?urlpath=lab/tree/notebooks/00-start-here.ipynb"


@pytest.mark.parametrize(
    "origin",
    [
        "https://github.com/ada/shop",
        "https://github.com/ada/shop.git",
        "https://github.com/ada/shop/",
        "https://token@github.com/ada/shop.git",
        "git@github.com:ada/shop",
        "git@github.com:ada/shop.git",
        "ssh://git@github.com/ada/shop.git",
        "ssh://git@github.com:22/ada/shop.git",
    ],
)
def test_binder_link_from_every_form_of_origin(origin):
    assert binder_link.binder_link(origin, "main") == LINK.format("main")


def test_binder_link_quotes_a_branch_with_a_slash():
    link = binder_link.binder_link("git@github.com:ada/shop.git", "feature/a b")
    assert link == LINK.format("feature%2Fa%20b")


@pytest.mark.parametrize(
    "origin",
    ["https://gitlab.com/ada/shop.git", "/srv/shop.git", "https://github.com/ada", ""],
)
def test_binder_link_refuses_what_is_not_on_github(origin):
    with pytest.raises(ValueError, match="not a GitHub repository"):
        binder_link.binder_link(origin, "main")


def test_make_binder_link_speaks_of_the_clones_origin(tmp_path):
    (tmp_path / "tools").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "tools/binder_link.py", tmp_path / "tools")

    def link():
        return run(
            "make", "-s", "binder-link", f"PYTHON={sys.executable}", cwd=tmp_path
        )

    run("git", "init", "-q", "-b", "lessons", cwd=tmp_path)
    without = link()
    assert without.returncode != 0
    assert "no remote called origin" in without.stderr
    run("git", "remote", "add", "origin", "git@github.com:ada/shop.git", cwd=tmp_path)
    assert link().stdout.strip() == LINK.format("lessons")
    run("git", "remote", "set-url", "origin", "/srv/shop.git", cwd=tmp_path)
    elsewhere = link()
    assert elsewhere.returncode != 0
    assert "not a GitHub repository" in elsewhere.stderr


# Makefile


@pytest.fixture
def clone(tmp_path):
    """What make needs to plan its work, in a folder with a blank in its name."""
    folder = tmp_path / "a clone"
    (folder / "tools").mkdir(parents=True)
    for name in ("Makefile", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / name, folder)
    shutil.copy(ROOT / "tools/check_python.py", folder / "tools")
    return folder


def plan(folder, *arguments, **environment):
    """What make would run."""
    done = run(
        "make", "--no-print-directory", "-n", *arguments, cwd=folder, **environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(folder):
    """Leave the traces of a finished install."""
    python = folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("")
    python.chmod(0o755)
    (folder / ".venv/.runtime-installed").write_text(f"{folder}\n")
    (folder / ".venv/.dev-installed").write_text("")


def test_make_lab_installs_the_lock_and_starts_on_the_first_notebook(clone):
    planned = plan(clone, "lab", "ARGS=--port 8899")
    steps = [
        "check_python.py",
        "-m venv --clear .venv",
        "pip install -q uv==",
        "--require-hashes -r requirements.lock",
        "--no-deps --no-build-isolation -e .",
        "cp binder/overrides.json .venv/share/jupyter/lab/settings/",
        "-m jupyterlab",
    ]
    places = [planned.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)
    start = planned.splitlines()[-1]
    assert "default_url=/lab/tree/notebooks/00-start-here.ipynb" in start
    assert start.endswith("--port 8899")
    assert ("--allow-root" in start) == (os.geteuid() == 0)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS always has a display")
def test_make_lab_opens_a_browser_only_where_there_is_a_display(clone):
    nowhere = {"DISPLAY": None, "WAYLAND_DISPLAY": None}
    assert "--no-browser" in plan(clone, "lab", **nowhere)
    assert "--no-browser" not in plan(clone, "lab", **{**nowhere, "DISPLAY": ":0"})
    assert "--no-browser" not in plan(
        clone, "lab", **{**nowhere, "WAYLAND_DISPLAY": "w"}
    )


def test_an_install_happens_once(clone):
    install(clone)
    assert "venv" not in plan(clone, "lab").replace(
        ".venv/bin/python -m jupyterlab", ""
    )
    assert "uv pip install" not in plan(clone, "test")


def test_an_interrupted_install_starts_afresh(clone):
    install(clone)
    (clone / ".venv/.runtime-installed").unlink()
    assert "venv --clear" in plan(clone, "lab")
    assert "requirements-dev.lock" in plan(clone, "test")


def test_an_environment_that_was_moved_or_lost_its_python_is_made_afresh(
    clone, tmp_path
):
    install(clone)
    moved = clone.rename(tmp_path / "elsewhere")
    assert "venv --clear" in plan(moved, "lab")
    moved.rename(clone)
    assert "venv --clear" not in plan(clone, "lab")
    (clone / ".venv/bin/python").unlink()
    assert "venv --clear" in plan(clone, "lab")


def test_a_new_lock_is_installed(clone):
    install(clone)
    later = (clone / ".venv/.runtime-installed").stat().st_mtime + 10
    os.utime(clone / "requirements-dev.lock", (later, later))
    assert "venv --clear" not in plan(clone, "test")
    assert "--require-hashes -r requirements-dev.lock" in plan(clone, "test")
    os.utime(clone / "requirements.lock", (later, later))
    assert "venv --clear" in plan(clone, "lab")


def test_make_ends_with_a_sentence_when_there_is_no_python(clone):
    done = run("make", "lab", "PYTHON=python-of-nowhere", cwd=clone)
    assert done.returncode != 0
    assert "There is no python-of-nowhere here: install Python 3.11" in done.stdout
    assert not (clone / ".venv").exists()


def test_make_ends_with_a_sentence_when_python_is_too_old(clone):
    script = clone / "tools/check_python.py"
    script.write_text(script.read_text().replace("(3, 11)", "(99, 0)"))
    done = run("make", "lab", f"PYTHON={sys.executable}", cwd=clone)
    assert done.returncode != 0
    assert "The course needs Python 3.11 or newer; this one is 3." in done.stderr
    assert not (clone / ".venv").exists()


def test_what_is_wrong_with_a_python():
    assert check_python.problem((3, 11, 0), True) is None
    assert check_python.problem((3, 14, 0), True) is None
    assert "this one is 3.9.2" in check_python.problem((3, 9, 2), True)
    assert "this one is 2.7.18" in check_python.problem((2, 7, 18), False)
    assert "python3-venv" in check_python.problem((3, 12, 1), False)


def test_help_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split()) - {"afresh"}
    listed = re.findall(r"^  make (\S+) ", run("make", "-s", "help").stdout, re.M)
    assert set(listed) == targets


def test_make_execute_wants_a_notebook(clone):
    install(clone)
    done = run("make", "execute", cwd=clone)
    assert done.returncode != 0
    assert "make execute NB=" in done.stdout


# pytest and nbval


@pytest.fixture
def course(tmp_path):
    """A small course with our settings: one lesson, one lab, one solution, one test."""
    for name in ("pyproject.toml", "conftest.py"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests/nbval-sanitize.cfg", tmp_path / "tests")
    (tmp_path / "tests/test_one.py").write_text("def test_one():\n    pass\n")
    for place in ("notebooks/00-a", "labs/01-b", "labs/solutions/01-b"):
        write_lesson(tmp_path / f"{place}.ipynb", "took 9.25 ms\n")
    return tmp_path


def write_lesson(path, stored):
    """A notebook whose one cell prints ``took 0.5 ms``; *stored* is its stored output."""
    path.parent.mkdir(parents=True, exist_ok=True)
    output = nbformat.v4.new_output("stream", name="stdout", text=stored)
    cell = nbformat.v4.new_code_cell(
        "print('took', 0.5, 'ms')", outputs=[output], execution_count=1
    )
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)


def pytest_in(folder, *arguments, **environment):
    """Run pytest there, without the plugins that have no part in this."""
    return run(
        sys.executable,
        *("-m", "pytest", "-p", "nbval.plugin", "-p", "no:cacheprovider"),
        *arguments,
        cwd=folder,
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
        **environment,
    )


def collected(folder, *arguments):
    said = pytest_in(folder, "--collect-only", "-q", *arguments).stdout
    return [line.split("::")[0] for line in said.splitlines() if "::" in line]


def test_plain_pytest_runs_the_tests_and_nbval_the_notebooks(course):
    assert collected(course) == ["tests/test_one.py"]
    write_lesson(course / "notes.ipynb", "mine, not the course's")
    assert sorted(collected(course, "--nbval")) == [
        "labs/01-b.ipynb",
        "labs/solutions/01-b.ipynb",
        "notebooks/00-a.ipynb",
    ]


def test_nbval_needs_no_options_from_the_root_or_below_it(course):
    from_root = pytest_in(course, "--nbval")
    assert "3 passed" in from_root.stdout, from_root.stdout
    below = pytest_in(course / "labs", "--nbval", "01-b.ipynb")
    assert "1 passed" in below.stdout, below.stdout


def test_nbval_fails_on_an_output_that_differs(course):
    write_lesson(course / "notebooks/00-a.ipynb", "took 9.25 s\n")
    done = pytest_in(course, "--nbval", "notebooks")
    assert done.returncode == 1
    assert "1 failed" in done.stdout


# Fixtures of tests/conftest.py


@pytest.mark.parametrize("ci, expected", [(None, "1 skipped"), ("true", "1 error")])
def test_a_missing_program_skips_locally_and_fails_in_ci(course, ci, expected):
    shutil.copy(ROOT / "tests/conftest.py", course / "tests")
    (course / "tests/test_one.py").write_text("def test_one(chromium):\n    pass\n")
    done = pytest_in(course, CI=ci, PATH=str(course / "tools"))
    assert expected in done.stdout, done.stdout
    assert "chromium is not installed (Debian: apt-get install chromium)" in done.stdout


def test_the_redis_server_fixture_is_a_real_redis(redis_server):
    import redis

    with redis.Redis.from_url(redis_server) as client:
        assert client.xadd("stream", {"order": 1})
        assert "redis_version" in client.info()


# CI


def test_ci_runs_the_script_that_runs_make_test():
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & stat.S_IXUSR
    assert run("bash", "-n", str(script)).returncode == 0
    assert script.read_text().rstrip().endswith("make test")
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = workflow["jobs"]["test"]["steps"]
    assert any(step.get("run") == ".ci/run" for step in steps)
    for step in steps:
        if "uses" in step:
            assert re.fullmatch(r"[\w/-]+@v\d+", step["uses"])
