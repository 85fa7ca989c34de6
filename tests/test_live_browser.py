"""The live view as a learner meets it: in JupyterLab, in a browser.

Screenshots are kept in build/screenshots/.
"""

import itertools
import time
from pathlib import Path

import nbformat
import pytest

from tools import browser

ROOT = Path(__file__).parent.parent
SCREENSHOTS = ROOT / "build" / "screenshots"
VIEW = ".live-view"
FRAMES_PER_SECOND = 30

SERVICES = """\
import time, requests
from flask import Flask
from helpers import at_once, run_workers, serve, start_broker, stop_all, system

def payments_that_take(seconds):
    app = Flask("payments")
    app.post("/charges")(lambda: (time.sleep(seconds), ({}, 201))[1])
    return serve(app)

def charge():
    return requests.post(payments.url + "/charges", json={}, timeout=5)

shop = system("orders -> payments: charge 50 dollars")"""

CALL = """\
payments = payments_that_take(1.5)
with shop.live(client="orders") as t:
    charge()"""

MANY_CALLS = """\
from helpers import session
payments = payments_that_take(0.004)
with session() as client, shop.live(client="orders") as t:
    start = time.time()
    for n in range(300):
        client.post(payments.url + "/charges", json={})
        time.sleep(max(0, start + n / 75 - time.time()))"""

MESSAGES = """\
broker = start_broker()
stream = broker.key("orders")
broker.client.delete(stream)
broker.client.xgroup_create(stream, "payments", id="0", mkstream=True)
worker = run_workers(lambda fields: time.sleep(0.1), stream, "payments", batch=1)
letters = system("orders ~> order stream ~> payments")
with letters.live() as t:
    worker.stop()
    for n in range(6):
        broker.client.xadd(stream, {"order": n})
    time.sleep(0.4)
    worker = run_workers(lambda fields: time.sleep(0.1), stream, "payments", batch=1)
    time.sleep(1.2)"""

DOWN = """\
payments.stop()
with shop.live(client="orders") as t:
    try:
        charge()
    except requests.ConnectionError:
        time.sleep(0.2)"""

CELLS = [SERVICES, CALL, MANY_CALLS, MESSAGES, DOWN, "stop_all()"]


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in CELLS]
    )
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = python
    nbformat.write(notebook, folder / "live.ipynb")
    with browser.jupyterlab_on(folder) as lab:
        lab.folder = folder
        yield lab


@pytest.fixture(scope="module")
def opened(lab, chrome):
    notebook = browser.Notebook(lab, chrome, "live.ipynb")
    notebook.run(0)
    yield notebook
    notebook.run(len(CELLS) - 1)
    notebook.close()


class View:
    """The live view of a cell, and what a learner does with it."""

    def __init__(self, notebook, index):
        self.page = notebook.page
        cell = notebook.page.locator(".jp-Notebook .jp-Cell").nth(index)
        self.box = cell.locator(VIEW)

    def button(self, name):
        return self.box.get_by_role("button", name=name)

    @property
    def slider(self):
        return self.box.get_by_role("slider")

    @property
    def status(self):
        return self.box.locator(".status").inner_text()

    @property
    def spoken(self):
        return self.box.get_by_role("status").inner_text()

    @property
    def clock(self):
        """The seconds of the experiment that are shown."""
        return float(self.box.locator(".clock").inner_text().split()[0])

    def ask(self, what):
        return self.box.evaluate(f"view => view.player.{what}")

    def wait_for(self, mode):
        self.page.wait_for_function(
            "([view, mode]) => view.player.mode === mode && view.player.facts.closed !== null",
            arg=[self.box.element_handle(), mode],
            timeout=20_000,
        )

    def shown(self, node):
        """How a service looks: "idle", "busy", "blocked" or "down"."""
        parts = self.box.locator(
            f'[data-node="{node}"] > [data-part]:not([visibility=hidden])'
        )
        names = [part.get_attribute("data-part") for part in parts.all()]
        return next(
            name for name in names if name in ("idle", "busy", "blocked", "down")
        )

    def to(self, moment):
        """Pause at a moment of the experiment."""
        self.box.evaluate(
            """(view, moment) => {
                const player = view.player;
                player.pause();
                player.seconds = player.film.at(moment);
                player.wake();
            }""",
            moment,
        )
        self.page.wait_for_timeout(100)


def start(notebook, index):
    """Run a cell without waiting for it; gives its view."""
    notebook._select(index)
    notebook.page.evaluate(
        """() => {
            window.done = false;
            jupyterapp.commands.execute('notebook:run-cell')
                .finally(() => { window.done = true; });
        }"""
    )
    view = View(notebook, index)
    view.box.wait_for()
    return view


def save(notebook):
    notebook.page.evaluate("() => jupyterapp.commands.execute('docmanager:save')")


# The tests use one page, in this order.


def test_is_seen_while_the_cell_runs(opened):
    view = start(opened, 1)
    opened.page.wait_for_function(
        "view => view.querySelector('.status').innerText.includes('waits for')",
        arg=view.box.element_handle(),
    )
    first = view.clock
    opened.page.wait_for_timeout(300)
    assert not opened.page.evaluate("window.done")  # the kernel is busy all the while
    assert view.status.startswith("Live.")
    assert "Orders waits for Payments" in view.status
    assert 0.2 < view.clock - first < 0.6  # in real time
    assert (view.shown(0), view.shown(1)) == ("blocked", "busy")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    view.box.screenshot(path=SCREENSHOTS / "live-call.png")


def test_is_replayed_slowly_at_once_and_can_be_paused(opened):
    view = View(opened, 1)
    view.wait_for("playing")
    assert "shown in" in view.status
    opened.page.wait_for_timeout(800)
    view.button("Pause").press("Enter")
    paused = view.clock
    assert view.ask("mode") == "paused" and 0 < paused < 1.5
    opened.page.wait_for_timeout(300)
    assert view.clock == paused
    assert view.status.startswith("Paused.")


def test_is_played_to_the_end_and_again_by_keyboard(opened):
    view = View(opened, 1)
    view.button("Play").press("Enter")
    view.wait_for("paused")
    assert view.clock == pytest.approx(1.5, abs=0.2)
    assert view.status.startswith("The end.")
    view.button("Replay").press("Enter")
    assert view.ask("mode") == "playing" and view.clock < 1
    view.button("Pause").press("Space")
    assert view.ask("mode") == "paused"


def test_is_stepped_through_by_keyboard(opened):
    view = View(opened, 1)
    view.slider.focus()
    opened.page.keyboard.press("Home")
    told = []
    while view.ask("seconds < view.player.film.length - 1e-6"):
        opened.page.keyboard.press("ArrowRight")
        opened.page.wait_for_timeout(60)
        told.append(view.spoken)
    expected = [
        "A request goes from Orders",
        "Payments works",
        "An answer goes",
        "done",
    ]
    heard = [what for text in told for what in expected if what in text]
    # Payments may be told to work at two steps, if its call arrived a moment earlier.
    assert [what for what, _ in itertools.groupby(heard)] == expected
    assert any("Orders waits for Payments, 0." in text for text in told)
    view.button("Step back").press("Enter")
    opened.page.wait_for_timeout(60)
    assert "An answer goes" in view.spoken
    assert "answer" in view.slider.get_attribute("aria-valuetext")


def test_keys_do_not_reach_the_notebook(opened):
    """JupyterLab has keys of its own: k selects the cell above, 1 makes a heading."""
    view, before = View(opened, 1), [c["cell_type"] for c in opened.cells()]
    view.button("Step back").focus()
    for key in ("k", "1", "d", "d"):
        opened.page.keyboard.press(key)
    assert [c["cell_type"] for c in opened.cells()] == before
    assert view.button("Step back").evaluate("it => it === document.activeElement")


def test_takes_a_tab_stop_for_each_control(opened):
    view = View(opened, 1)
    view.button("Play").focus()
    names = []
    for _ in range(4):
        opened.page.keyboard.press("Tab")
        names.append(
            opened.page.evaluate(
                "document.activeElement.textContent.slice(0, 9)"
                " + document.activeElement.tagName"
            )
        )
    assert names == ["◀ Step baBUTTON", "Step ▶BUTTON", "INPUT", "half speeSELECT"]


def test_speed_can_be_changed(opened):
    view = View(opened, 1)
    slow = view.ask("film.length")
    view.box.get_by_label("Speed").select_option("real time")
    assert view.ask("film.length") == pytest.approx(1.5, abs=0.2)
    view.box.get_by_label("Speed").select_option("slow motion")
    assert view.ask("film.length") == slow > 3


def test_shows_thirty_frames_a_second_with_200_events_a_second(opened):
    view = start(opened, 2)
    opened.page.wait_for_function(
        "view => view.player.seconds > 0.8", arg=view.box.element_handle()
    )
    before, began = view.ask("frames"), time.monotonic()
    opened.page.wait_for_timeout(2000)
    frames, seconds = view.ask("frames") - before, time.monotonic() - began
    assert view.ask("mode") == "live"
    opened.page.wait_for_function("window.done")
    events, length = opened.page.evaluate(
        """view => {
            const { facts } = view.player;
            const ways = [...facts.byId.values()].filter(
                ({ kind }) => kind === "request" || kind === "reply");
            return [2 * ways.length, facts.closed];
        }""",
        view.box.element_handle(),
    )
    assert events / length > 200  # each leaves and arrives
    assert frames / seconds > FRAMES_PER_SECOND
    view.wait_for("playing" if length < 4 else "paused")
    view.to(length)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_shows_the_backlog_and_who_is_down(opened, theme):
    opened.theme(theme)
    opened.run(3)
    view = View(opened, 3)
    view.wait_for("playing")
    view.to(0.3)
    assert view.shown(2) == "down"
    assert (
        view.box.locator('[data-node="1"] [data-part=chip]').inner_html() == "backlog 6"
    )
    assert "6 messages are in the backlog of the order stream" in view.status
    view.box.screenshot(path=SCREENSHOTS / f"live-queue-{theme}.png")
    seen = set()
    for moment in (0.6, 0.65, 0.7, 0.75):  # it is idle for a moment between messages
        view.to(moment)
        seen.add(view.shown(2))
    assert "busy" in seen
    assert view.box.locator('[data-node="1"] [data-part=chip]').inner_html() in (
        *("backlog 5", "backlog 4", "backlog 3"),
    )
    view.to(10)
    assert view.shown(2) == "idle"
    assert (
        view.box.locator('[data-node="1"] [data-part=chip]').inner_html() == "backlog 0"
    )


def test_goes_by_the_last_when_it_is_told_of_several_changes_of_sight(opened):
    """As on a busy machine: out of sight, and in sight again, told at once."""
    opened.page.evaluate(
        """() => {
            window.Real = IntersectionObserver;
            window.IntersectionObserver = class extends Real {
                constructor(told) { super(told); window.told = told; }
            };
        }"""
    )
    try:
        opened.run(1)
        view = View(opened, 1)
        view.wait_for("playing")
        for last in (False, True):
            told = [{"isIntersecting": not last}, {"isIntersecting": last}]
            opened.page.evaluate("changes => window.told(changes)", told)
            assert view.ask("visible") is last
    finally:
        opened.page.evaluate("() => { window.IntersectionObserver = window.Real; }")


def test_each_view_has_hatches_of_its_own(opened):
    """Of two patterns with one name the browser takes the first, which may be out of sight."""
    names = [
        pattern.get_attribute("id")
        for pattern in opened.page.locator(f"{VIEW} pattern").all()
    ]
    assert len(names) > 6  # of more than one view
    assert len(names) == len(set(names))


def test_with_reduced_motion_nothing_moves_and_steps_are_offered(opened):
    opened.page.emulate_media(reduced_motion="reduce")
    opened.run(4)
    view = View(opened, 4)
    view.wait_for("paused")
    assert view.ask("seconds") == 0  # ready to be stepped through
    frames = view.ask("frames")
    opened.page.wait_for_timeout(400)
    assert view.ask("frames") == frames
    assert view.button("Play").count() == 0
    told = []
    while view.ask("seconds < view.player.film.length - 1e-6"):
        view.button("Step ▶").press("Enter")
        opened.page.wait_for_timeout(60)
        told.append(view.status)
    assert any("A call of Orders failed: refused." in text for text in told)
    assert view.shown(1) == "down"
    view.box.screenshot(path=SCREENSHOTS / "live-down.png")
    opened.page.emulate_media(reduced_motion="no-preference")


def test_after_a_reload_it_is_there_again(opened):
    save(opened)
    opened.page.reload()
    opened.page.wait_for_function(browser._IDLE, timeout=browser.START_SECONDS * 1000)
    view = View(opened, 1)
    view.box.wait_for()
    opened.page.wait_for_function(
        "view => view.player.facts.closed !== null", arg=view.box.element_handle()
    )
    view.to(0.7)
    assert "Orders waits for Payments" in view.status


def test_the_console_stays_quiet(opened):
    assert opened.complaints == []


def test_in_a_notebook_fresh_from_elsewhere_the_still_picture_is_shown(
    lab, chrome, opened
):
    save(opened)
    notebook = nbformat.read(lab.folder / "live.ipynb", 4)
    notebook.cells.append(nbformat.v4.new_markdown_cell("not signed on this machine"))
    nbformat.write(notebook, lab.folder / "saved.ipynb")
    saved = browser.Notebook(lab, chrome, "saved.ipynb")
    try:
        picture = saved.page.locator(".jp-OutputArea img").first
        picture.wait_for()
        assert picture.get_attribute("alt").startswith("Orders calls Payments")
        assert picture.evaluate("image => image.naturalWidth") > 0
        assert saved.page.locator(VIEW).count() == 0
        assert saved.complaints == []
    finally:
        saved.close()


# --- the film, from facts alone ------------------------------------------------------------


@pytest.fixture(scope="module")
def script(chrome):
    """Runs JavaScript that has the module's names at hand."""
    page = chrome.new_page()
    source = (ROOT / "helpers" / "live.js").read_text()

    def run(code):
        return page.evaluate(
            """async ([source, code]) => {
                const url = URL.createObjectURL(
                    new Blob([source], { type: "text/javascript" }));
                const module = await import(url);
                return new Function(...Object.keys(module).filter(n => n !== "default"), code)(
                    ...Object.entries(module).filter(([n]) => n !== "default").map(([, m]) => m));
            }""",
            [source, code],
        )

    yield run
    page.close()


A_CALL = """
const facts = new Facts();
const end = 0.1;
facts.take({ now: end, closed: end, rows: [
    [1, "busy", 0, null, 0, end, "", null],
    [2, "blocked", 0, 1, 0, end, "", 1],
    [3, "request", 0, 1, 0, 0.001, "", null],
    [4, "busy", 1, null, 0.001, 0.099, "", null],
    [5, "reply", 1, 0, 0.099, end, "", null],
] });
const plan = { nodes: [
    { name: "orders", label: "Orders", kind: "service" },
    { name: "payments", label: "Payments", kind: "service" },
], arrows: [[0, 1]] };
const film = Film.slow(facts, end);
"""


def test_a_short_experiment_is_watched_in_some_seconds_and_each_way_can_be_seen(script):
    length, there, work, back = script(
        A_CALL + "const at = (t) => film.at(t);"
        "return [film.length, at(0.001), at(0.099) - at(0.001), film.length - at(0.099)]"
    )
    assert 3 <= length <= 5
    assert there >= 0.4 and back >= 0.4
    assert work == pytest.approx(0.98 * 3)


def test_film_and_experiment_run_forward_together(script):
    moments = script(
        A_CALL + "return Array.from({ length: 101 }, (_, n) =>"
        " film.moment(film.length * n / 100))"
    )
    assert moments == sorted(moments)
    assert moments[0] == 0 and moments[-1] == pytest.approx(0.1)


def test_each_step_shows_something_new(script):
    told = script(
        A_CALL + "return steps(facts, film).map((s) =>"
        " sentences(stateAt(facts, film, s, plan), plan, false).join(' '))"
    )
    assert told == [
        "A request goes from Orders to Payments. Orders waits for Payments.",
        "A request goes from Orders to Payments. Orders waits for Payments.",
        "Orders waits for Payments. Payments works.",
        "An answer goes from Payments to Orders. Orders waits for Payments.",
        "",
    ]


def test_many_ways_do_not_make_the_film_endless(script):
    length = script("""
        const facts = new Facts();
        const rows = Array.from({ length: 2000 }, (_, n) =>
            [n, "request", 0, 1, n / 1000, n / 1000 + 0.0004, "", null]);
        facts.take({ now: 2, closed: 2, rows });
        return Film.slow(facts, 2).length""")
    assert 3 <= length <= 10


def test_where_the_film_cannot_linger_what_was_on_its_way_is_still_seen(script):
    seen = script("""
        const facts = new Facts();
        const rows = Array.from({ length: 500 }, (_, n) =>
            [n, "request", 0, 1, n / 100, n / 100 + 0.0004, "", null]);
        facts.take({ now: 5, closed: 5, rows });
        const plan = { nodes: [{ kind: "service" }, { kind: "service" }], arrows: [[0, 1]] };
        return stateAt(facts, Film.slow(facts, 5), 2.005, plan).travellers
            .map(({ progress, parked }) => [progress, parked])""")
    assert 20 <= len(seen) <= 30  # those of the last quarter of a second
    assert all(0 < progress < 1 and not parked for progress, parked in seen)


def test_a_fact_is_replaced_or_withdrawn(script):
    left = script("""
        const facts = new Facts();
        facts.take({ now: 1, rows: [[1, "busy", 0, null, 0, null, "", null],
                                    [2, "reply", 1, 0, 0.5, null, "", null]] });
        facts.take({ now: 2, rows: [[1, "busy", 0, null, 0, 1.5, "", null],
                                    [2, "reply", 1, 0, null, null, "", null]] });
        return [...facts.byId.values()].map(({ id, end }) => [id, end])""")
    assert left == [[1, 1.5]]
