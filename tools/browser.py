"""A JupyterLab and a Chromium for tests and measurements, and what a learner does in them."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import nbformat
import psutil

from tools import notebooks
from tools.processes import alive, family

START_SECONDS = 60
END_SECONDS = 15
RUN_SECONDS = 120  # for all cells of a notebook
ANSWER_SECONDS = 10  # for whatever follows a key or a click
POP_UPS = ".jp-Dialog, .Toastify__toast"
WIDTH, HEIGHT = 1280, 900  # of the browser's window, in pixels
# What Chromium is called where, on Linux and on macOS.
PROGRAMS = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
]


# JupyterLab


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


class Lab:
    """A JupyterLab that runs: its address, its token and its processes."""

    def __init__(self, process, port, token, log):
        self.process, self.token, self._log = process, token, log
        self.url = f"http://127.0.0.1:{port}"

    def address(self, path, query=""):
        return f"{self.url}/{path}?token={self.token}{query}"

    @property
    def log(self):
        return self._log.read_text(errors="replace")

    def wait_until_it_answers(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):  # an HTTP error is one, too
                urllib.request.urlopen(self.address("api/status"), timeout=2).close()
                return
            time.sleep(0.05)
        raise RuntimeError(f"JupyterLab does not answer at {self.url}:\n{self.log}")

    def end(self):
        """End it as Ctrl-C in its terminal would, with all its kernels."""
        group = family(self.process.pid)
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self.process.wait()
        psutil.wait_procs(group, timeout=END_SECONDS)
        if left := [process for process in group if alive(process)]:
            for process in left:
                process.kill()
            raise RuntimeError(f"JupyterLab left processes behind: {left}")

    def _signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


@contextlib.contextmanager
def jupyterlab(command, *, cwd):
    """A JupyterLab with settings of its own, ended with everything that it started.

    *command* gets a port and a token and returns the command line.
    """
    # Not below pytest's folder: the path of a Unix socket has to be short.
    home = Path(tempfile.mkdtemp(prefix="t-"))
    names = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"]
    names += ["IPYTHONDIR", "TMPDIR"]
    env = dict(os.environ)
    for name in names:
        (home / name.lower()).mkdir()
        env[name] = str(home / name.lower())
    env["COURSE_PROGRESS"] = str(home / "progress.json")  # and not the learner's
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # the helpers would start slowly
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        env.pop(name, None)  # started by "make test", it is not a part of it
    port, token = free_port(), secrets.token_hex(16)
    log = home / "log"
    try:
        with log.open("w") as out:
            process = subprocess.Popen(
                command(port, token),
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        lab = Lab(process, port, token, log)
        try:
            lab.wait_until_it_answers()
            yield lab
        finally:
            lab.end()
        if left := list((home / "tmpdir").glob("course-*")):
            raise RuntimeError(f"JupyterLab's kernels left folders behind: {left}")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def jupyterlab_on(folder):
    """A JupyterLab that shows *folder*."""

    def command(port, token):
        options = [f"--port={port}", f"--IdentityProvider.token={token}"]
        options += ["--ServerApp.port_retries=0", "--no-browser"]
        options += [f"--ServerApp.root_dir={folder}"]
        options += ["--allow-root"] * (os.getuid() == 0)
        # The tests ask the application itself what it shows.
        options += ["--LabApp.expose_app_in_browser=True"]
        return [sys.executable, "-m", "jupyterlab", *options]

    return jupyterlab(command, cwd=folder)


def write_notebook(path, *sources):
    """Write a notebook with a code cell for each of the sources."""
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in sources]
    kernel = {"kernelspec": notebooks.KERNELSPEC}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


# Chromium


@contextlib.contextmanager
def browser(chromium):
    """The browser whose program is at the path *chromium*."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=options)
        try:
            yield running
        finally:
            running.close()


# The open notebook, in the words of JupyterLab's own interface.
_PANEL = (
    "[...jupyterapp.shell.widgets('main')].find(each => each.content?.model?.cells)"
)
_IDLE = f"(window.jupyterapp && {_PANEL})?.sessionContext.session?.kernel?.status === 'idle'"
# JupyterLab's own word is not enough: its commands end at the first error, meant or not,
# while the cells below are still to come.
_DONE = f"""cells => {{
    if (!window.done || !{_IDLE})
        return false;
    const code = [...{_PANEL}.content.model.cells].slice(...cells)
        .filter(cell => cell.type === 'code');
    const stopped = cell => !cell.getMetadata('tags')?.includes('raises-exception')
        && cell.outputs.toJSON().some(output => output.output_type === 'error');
    return code.every(cell => cell.executionCount) || code.some(stopped);
}}"""
_PICTURES = """() => {
    const found = [];
    for (const output of document.querySelectorAll('.jp-OutputArea-output'))
        for (const picture of output.querySelectorAll('img, svg')) {
            const place = picture.getBoundingClientRect();
            const drawing = picture.tagName === 'svg';
            found.push({
                shown: place.width > 0 && place.height > 0
                    && (drawing || picture.naturalWidth > 0),
                inside: place.right <= output.getBoundingClientRect().right + 1,
                stretched: drawing ? 1 : (place.width / place.height)
                    / (picture.naturalWidth / picture.naturalHeight),
                what: picture.outerHTML.slice(0, 120),
            });
        }
    return found;
}"""
_TOO_WIDE = """() => {
    const parts = '.jp-WindowedPanel-outer, .jp-OutputArea-output, .jp-OutputArea-output *,'
        + ' .jp-RenderedMarkdown, .jp-RenderedMarkdown *';
    return [...document.querySelectorAll(parts)]
        .filter(part => part.clientWidth && part.scrollWidth > part.clientWidth + 1
            && !['hidden', 'visible', 'clip'].includes(getComputedStyle(part).overflowX))
        .map(part => `${part.tagName} ${part.className}: ${part.textContent.slice(0, 80)}`);
}"""


class Notebook:
    """A notebook that is open in JupyterLab, in a tab of its own."""

    def __init__(self, lab, browser, path):
        self._context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
        self.page = self._context.new_page()
        self.page.set_default_timeout(ANSWER_SECONDS * 1000)
        self.complaints = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        try:
            self.page.goto(lab.address(f"doc/tree/{path}", "&reset"))
            self.page.wait_for_function(_IDLE, timeout=START_SECONDS * 1000)
        except BaseException as error:
            error.add_note(f"{path}, pop-ups: {self.pop_ups()}\n{lab.log[-2000:]}")
            self._context.close()
            raise

    def _console(self, message):
        if message.type == "error":
            place = message.location
            self.complaints.append(f"{message.text} ({place.get('url', '')})")

    def close(self):
        """Close the tab, and end its kernel as "Shut Down Kernel" does."""
        with contextlib.closing(self._context):
            self.page.evaluate(f"() => {_PANEL}.sessionContext.shutdown()")

    # Running

    def clear(self):
        """Clear all outputs, and with them the numbers."""
        self._command("notebook:clear-all-cell-outputs", [0, 0])

    def run_above(self, index):
        """Run the cells above this one."""
        self._select(index)
        self._command("notebook:run-all-above", [0, index])

    def run_from(self, index):
        """Run this cell and those below."""
        self._select(index)
        self._command("notebook:run-all-below", [index])

    def run(self, index):
        """Run this cell."""
        self._select(index)
        self._command("notebook:run-cell", [index, index + 1])

    def start(self, index):
        """Start to run this cell, and do not wait for its end."""
        self._select(index)
        self._order("notebook:run-cell")
        self.page.wait_for_function(f"!({_IDLE})")

    def wait(self):
        """Wait until what was started is at its end."""
        self.page.wait_for_function(
            f"window.done && {_IDLE}", timeout=RUN_SECONDS * 1000
        )

    def interrupt(self):
        """Interrupt the kernel, as the button with the square does."""
        self.page.evaluate(f"() => {_PANEL}.sessionContext.session.kernel.interrupt()")
        self.wait()

    def restart_and_run_all(self):
        """Restart the kernel and run all cells."""
        count = len(self.cells())
        self._order("notebook:restart-run-all")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.page.wait_for_function(_DONE, arg=[0, count], timeout=RUN_SECONDS * 1000)

    def write(self, index, source):
        """Select a cell and type *source* in place of what stands there."""
        self._select(index)
        self.page.locator(".jp-Notebook .jp-Cell.jp-mod-active .cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(source)
        assert self.cells()[index]["source"] == source

    def _select(self, index):
        self.page.evaluate(
            f"""async index => {{
                const notebook = {_PANEL}.content;
                notebook.deselectAll();
                notebook.activeCellIndex = index;
                await notebook.scrollToItem(index);
            }}""",
            index,
        )

    def _command(self, name, cells):
        """Let JupyterLab do something; wait until these cells have run, or one has failed."""
        self._order(name)
        self.page.wait_for_function(_DONE, arg=cells, timeout=RUN_SECONDS * 1000)

    def _order(self, name):
        self.page.evaluate(
            """name => {
                window.done = false;
                jupyterapp.commands.execute(name).finally(() => { window.done = true; });
            }""",
            name,
        )

    # What there is to see

    def cells(self):
        """The cells as they would be saved, each a dict."""
        return self.page.evaluate(f"() => {_PANEL}.content.model.toJSON().cells")

    def active(self):
        """The number of the cell that is selected."""
        return self.page.evaluate(f"() => {_PANEL}.content.activeCellIndex")

    def code_cells(self):
        return [cell for cell in self.cells() if cell["cell_type"] == "code"]

    def numbers(self):
        """What stands in the brackets beside each code cell, or None."""
        return [cell["execution_count"] for cell in self.code_cells()]

    def pictures(self):
        """The pictures among the outputs, each a dict: shown, inside, stretched, what."""
        return self.page.evaluate(_PICTURES)

    def too_wide(self):
        """The outputs and texts that can be scrolled sideways."""
        return self.page.evaluate(_TOO_WIDE)

    def explorers(self):
        """The explore widgets, from the top."""
        boxes = self.page.locator(".jp-OutputArea .widget-vbox:has(> .course-picture)")
        return [Explorer(boxes.nth(number)) for number in range(boxes.count())]

    def pop_ups(self):
        """The texts of the dialogs and notices that cover the page."""
        return self.page.locator(POP_UPS).all_inner_texts()

    def resize(self, width, height=HEIGHT):
        self.page.set_viewport_size({"width": width, "height": height})

    def theme(self, name):
        """Change to the theme "light" or "dark"."""
        self.page.evaluate(
            "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})",
            f"JupyterLab {name.title()}",
        )
        is_light = str(name == "light").lower()
        self.page.locator(f"body[data-jp-theme-light={is_light}]").wait_for(
            state="attached"
        )

    def screenshots(self, folder, name):
        """Save the whole notebook as pictures, name-1.png and so on, from the top."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{name}-*.png"):
            old.unlink()
        self.resize(WIDTH, 1600)
        panel = self.page.locator(".jp-WindowedPanel-outer")
        cells = self.page.locator(".jp-WindowedPanel-inner")
        number = place = 0
        while place < cells.evaluate("cells => cells.scrollHeight"):
            number += 1
            panel.evaluate("(panel, place) => panel.scrollTo(0, place)", place)
            # Cells are laid out when they come in sight.
            self.page.wait_for_timeout(100)
            panel.screenshot(path=folder / f"{name}-{number}.png")
            place += panel.evaluate("panel => panel.clientHeight")
        self.resize(WIDTH)


class Explorer:
    """An explore widget on the page: its controls, its picture and its buttons."""

    def __init__(self, box):
        self._box = box
        self.controls = box.locator("> .widget-slider, > .widget-dropdown")

    def move(self, number):
        """Move a control by one step, with the keyboard; -1 is the last."""
        control = self.controls.nth(number)
        handle = control.get_by_role("slider")
        if handle.count():
            value, highest = (
                float(handle.get_attribute(f"aria-value{end}"))
                for end in ("now", "max")
            )
            handle.press("ArrowRight" if value < highest else "ArrowLeft")
        else:
            chosen = control.locator("select")
            place = chosen.evaluate("list => list.selectedIndex")
            chosen.select_option(index=place - 1 if place else 1)

    def button(self, label):
        return self._box.get_by_role("button", name=label, exact=True)

    def status(self):
        """What it says about the last run; nothing after a reset."""
        return "".join(self._box.get_by_role("status").all_inner_texts())

    def screenshot(self, path):
        """Save the widget as a picture."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._box.screenshot(path=path)

    def picture(self):
        """A digest of the picture as it is shown."""
        return self._box.locator("> .course-picture img").evaluate(
            """async image => {
                const bytes = await (await fetch(image.src)).arrayBuffer();
                const digest = await crypto.subtle.digest('SHA-256', bytes);
                return new Uint8Array(digest).join(' ');
            }"""
        )
