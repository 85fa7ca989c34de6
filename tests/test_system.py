"""The description of a system, where its parts are placed, and its picture."""

import base64
import random
import subprocess
import sys
from itertools import combinations, pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from helpers.figures import colour
from helpers.system import Arrow, system
from helpers.system_layout import Box, layout, text_width
from helpers.system_svg import BACKGROUND, INK, LEGEND, WHITE, contrast, draw, ink_on

SVG = "{http://www.w3.org/2000/svg}"
SERVICES = ["orders", "payments", "fraud check", "bank", "inventory", "email"]
EXAMPLES = [
    *(["customer -> " + " -> ".join(SERVICES[:n])] for n in range(1, 6)),
    ["customer -> orders", "orders ~> order stream ~> payments"],
    ["customer -> orders", "orders ~> order stream ~> payments, email"],
    ["orders ~> order stream ~> payments, inventory, email, recommendations"],
    ["customer -> orders -> payments", "orders ~> order stream ~> inventory, email"],
    [
        "customer -> orders -> payments",
        "orders ~> order stream ~> payments ~> dead letters",
    ],
    ["customer 1, customer 2, customer 3 -> orders -> payments"],
    ["customer -> orders: place order -> payments: charge 50 dollars"],
    [
        "customer -> orders -> payments: charge, inventory: reserve the item, email: confirm it"
    ],
    [
        "orders ~> order stream: OrderPlaced ~> payments: charge, email: send the confirmation"
    ],
    ["orders -> payments: charge", "payments -> orders: the charge was made"],
    ["customer -> orders ~> order stream ~> payments ~> payment events bus ~> orders"],
    [
        "customer -> orders -> payments -> bank",
        "customer -> bank",
        "orders -> bank: look",
    ],
    [
        "orders ~> a very long name for a stream ~> an extraordinarily long-winded service"
    ],
    ["customer -> " + " -> ".join(f"service number {n}" for n in range(12))],
]


def random_lines(seed: int) -> list[str]:
    """A system that nobody would draw, circles included."""
    dice = random.Random(seed)
    services, queues = SERVICES[: dice.randint(2, 6)], ["a queue", "b stream"]
    lines = []
    for _ in range(dice.randint(2, 7)):
        one, other = dice.sample(services, 2)
        label = dice.choice(["", "", ": charge 50 dollars", ": look"])
        queue = dice.choice(queues)
        lines.append(
            dice.choice([f"{one} -> {other}", f"{one} ~> {queue} ~> {other}"]) + label
        )
    # An arrow has one label, so only the first of the same arrows may carry one.
    seen: set[tuple[str, str]] = set()
    for number, line in enumerate(lines):
        arrow = system(line).arrows[-1]
        if (arrow.source, arrow.target) in seen:
            lines[number] = line.partition(":")[0]
        seen.add((arrow.source, arrow.target))
    return lines


# -- the description ----------------------------------------------------------------------------


def test_a_chain_is_read():
    chain = system("customer -> orders -> Fraud check")
    assert chain.services == ("orders", "fraud")
    assert chain.queues == ()
    assert chain.arrows == (
        Arrow("customer", "orders", "sync"),
        Arrow("orders", "fraud", "sync"),
    )
    assert [(node.label, node.kind) for node in chain.nodes] == [
        ("Customer", "customer"),
        ("Orders", "service"),
        ("Fraud check", "service"),
    ]


def test_a_comma_fans_out_and_lines_share_their_nodes():
    shop = system("customer -> orders", "Orders ~> order stream ~> payments, e-mail")
    assert shop.services == ("orders", "payments", "email")
    assert shop.queues == ("order stream",)
    assert shop.arrows[1:] == (
        Arrow("orders", "order stream", "async"),
        Arrow("order stream", "payments", "async"),
        Arrow("order stream", "email", "async"),
    )


def test_a_comma_fans_in():
    arrows = system("customer 1, customer 2 -> orders").arrows
    assert [arrow.source for arrow in arrows] == ["customer 1", "customer 2"]


def test_a_label_belongs_to_the_arrow_before_it():
    arrows = system("customer -> orders: place order -> payments").arrows
    assert [arrow.label for arrow in arrows] == ["place order", ""]


def test_the_same_arrow_twice_is_one_arrow_and_keeps_its_label():
    arrows = system("orders -> payments", "orders -> payments: charge").arrows
    assert arrows == (Arrow("orders", "payments", "sync", "charge"),)
    assert system("orders -> payments: charge", "orders -> payments").arrows == arrows


def test_the_description_says_what_the_picture_shows():
    shop = system(
        "customer -> orders: place order -> payments, bank",
        "orders ~> order stream ~> inventory, email",
        "inventory ~> stock bus ~> recommendations",
    )
    assert repr(shop) == shop.description
    assert shop.description == (
        "Customer calls Orders (place order) and waits. "
        "Orders calls Payments and Bank, and waits for each answer. "
        "Orders sends to the order stream and moves on. "
        "Inventory and Email take messages from the order stream. "
        "Inventory sends to the stock bus and moves on. "
        "Recommendations takes messages from the stock bus."
    )


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "at least one line"),
        (["orders"], "has no arrow"),
        ([""], "has no arrow"),
        (["orders => payments"], "has no arrow"),
        (["orders --> payments"], "'orders -' is not a name"),
        (["orders -> <b>"], "'<b>' is not a name"),
        (["orders -> "], "a name is missing"),
        (["-> orders"], "a name is missing"),
        (["orders -> payments,, email"], "a name is missing"),
        (["orders -> payments:"], "nothing stands after the colon"),
        (["orders: charge -> payments"], "label what comes after an arrow"),
        (["orders -> orders"], "orders to itself"),
        (["orders ~> payments"], 'as in "orders ~> order stream ~> payments"'),
        (["orders -> order stream"], 'write "orders ~> order stream"'),
        (["order stream -> orders"], "nobody waits for an answer from order stream"),
        (["orders ~> a queue ~> b queue"], "a queue cannot send by itself"),
        (["a -> b: one", "a -> b: two"], "'one' already: an arrow has one label"),
    ],
)
def test_what_cannot_be_read_is_named(lines, says):
    with pytest.raises(ValueError) as error:
        system(*lines)
    assert says in str(error.value)
    assert all(f'"{line}"' in str(error.value) for line in lines[-1:])


def test_a_list_of_lines_is_refused():
    with pytest.raises(TypeError, match="a line of a system is a text"):
        system(["customer -> orders"])


# -- the places ---------------------------------------------------------------------------------


def overlap(one: Box, other: Box, by: float = 0.01) -> bool:
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    return across > by and down > by


def holds(outer: Box, inner: Box) -> bool:
    return (
        outer.left <= inner.left
        and inner.right <= outer.right
        and outer.top <= inner.top
        and inner.bottom <= outer.bottom
    )


def way(route) -> list[tuple[float, float]]:
    """Points all along the drawn curve."""
    points = []
    for (x0, y0), (x1, y1) in pairwise(route.points):
        for step in range(21):
            t = step / 20
            x = x0 + (x1 - x0) * (1.5 * t * (1 - t) + t**3)
            y = y0 + (y1 - y0) * (3 * t**2 - 2 * t**3)
            points.append((x, y))
    return points


def check_places(lines: list[str]) -> None:
    plan = layout(system(*lines))
    page = Box(0, 0, plan.width, plan.height)
    boxes = {shape.node.name: shape.box for shape in plan.shapes}
    texts = {
        shape.node.name: shape.text.box
        for shape in plan.shapes
        if shape.node.kind != "service"
    }
    labels = [route.text.box for route in plan.routes if route.text]

    for shape in plan.shapes:
        if shape.node.kind == "service":
            assert holds(shape.box, shape.text.box), (
                f"{shape.node.name} outgrows its box"
            )
    everything = [*boxes.values(), *texts.values(), *labels]
    for one, other in combinations(everything, 2):
        assert not overlap(one, other)
    assert all(holds(page, box) for box in everything)
    for route in plan.routes:
        source, target = boxes[route.arrow.source], boxes[route.arrow.target]
        (x0, y0), (x1, y1) = route.points[0], route.points[-1]
        assert min(abs(x0 - source.left), abs(x0 - source.right)) < 5
        assert min(abs(x1 - target.left), abs(x1 - target.right)) < 5
        assert source.top < y0 < source.bottom
        assert target.top < y1 < target.bottom
        for x, y in way(route):
            dot = Box(x - 1, y - 5, 2, 10)  # a call and its answer
            assert not any(
                overlap(dot, box) for box in [*boxes.values(), *texts.values()]
            )
            if route.text:
                assert not overlap(dot, route.text.box)


@pytest.mark.parametrize("lines", EXAMPLES, ids=" / ".join)
def test_nothing_overlaps_and_nothing_is_cut_off(lines):
    check_places(lines)


@pytest.mark.parametrize("seed", range(60))
def test_nothing_overlaps_in_systems_that_nobody_would_draw(seed):
    check_places(random_lines(seed))


@pytest.mark.parametrize("number", range(1, 6))
def test_a_chain_of_five_fits_a_notebook_in_one_straight_line(number):
    plan = layout(system("customer -> " + " -> ".join(SERVICES[:number])))
    assert plan.width <= 900
    assert len({y for route in plan.routes for _, y in route.points}) == 1
    lefts = [shape.box.left for shape in plan.shapes]
    assert lefts == sorted(lefts)


def test_receivers_are_stacked_in_the_order_they_are_named():
    plan = layout(system("orders ~> order stream ~> payments, inventory, email"))
    receivers = [shape.box for shape in plan.shapes if shape.box.left > 300]
    assert len({(box.left, box.width) for box in receivers}) == 1
    assert [box.top for box in receivers] == sorted(box.top for box in receivers)
    assert [shape.node.name for shape in plan.shapes][2:] == [
        "payments",
        "inventory",
        "email",
    ]


def test_text_is_never_wider_than_it_was_taken_for():
    import matplotlib
    from matplotlib.ft2font import FT2Font

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    names = [node.label for lines in EXAMPLES for node in system(*lines).nodes]
    for bold, file in ((True, "DejaVuSans-Bold.ttf"), (False, "DejaVuSans.ttf")):
        font = FT2Font(str(fonts / file))
        font.set_size(100, 72)
        for text in [*names, *LEGEND.values(), *map(chr, range(32, 127)), *"éЖ"]:
            width = sum(font.load_char(ord(c)).linearHoriAdvance / 65536 for c in text)
            assert width <= text_width(text, 100, bold), text


# -- the picture --------------------------------------------------------------------------------


def read(*lines: str) -> ElementTree.Element:
    return ElementTree.fromstring(draw(system(*lines)))


def test_the_picture_tells_a_screen_reader_what_it_shows():
    root = read("customer -> orders: R&D's order")
    named = [root.find(f"{SVG}title"), root.find(f"{SVG}desc")]
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == " ".join(part.get("id") for part in named)
    assert named[0].text == "A system: Customer, Orders"
    assert named[1].text == "Customer calls Orders (R&D's order) and waits."


def test_the_picture_works_inside_an_img_element():
    root = read(*EXAMPLES[8])
    for element in root.iter():
        assert element.tag.removeprefix(SVG) in {
            "svg", "title", "desc", "g", "rect", "path", "polygon", "circle", "text",
        }  # fmt: skip
        assert not {"style", "class", "href"} & set(element.attrib)
    assert root.get("font-family").endswith(", sans-serif")
    background = root.find(f"{SVG}rect")
    assert background.get("fill") == BACKGROUND
    assert "opacity" not in draw(system(*EXAMPLES[8]))


def test_a_call_has_its_answer_and_a_message_is_dashed():
    def lines(root):  # without those of the legend
        picture = root.find(f"{SVG}g")
        return [
            path for path in picture.findall(f"{SVG}path") if path.get("fill") == "none"
        ]

    call, answer = lines(read("orders -> payments"))
    assert float(call.get("stroke-width")) >= 2 * float(answer.get("stroke-width"))
    assert call.get("d").startswith("M") and float(
        call.get("d")[1:].split()[0]
    ) < float(answer.get("d")[1:].split()[0]), (
        "the call leaves on the left, its answer on the right"
    )
    messages = lines(read("orders ~> order stream ~> payments"))
    assert len(messages) == 2
    assert all(path.get("stroke-dasharray") for path in messages)
    assert not call.get("stroke-dasharray")


def test_the_legend_explains_just_the_arrows_that_are_there():
    def texts(root):
        return [element.text for element in root.findall(f"{SVG}text")]

    assert texts(read("customer -> orders")) == [LEGEND["sync"]]
    assert texts(read("orders ~> order stream")) == [LEGEND["async"]]
    assert texts(read(*EXAMPLES[6])) == [LEGEND["sync"], LEGEND["async"]]


@pytest.mark.parametrize("lines", EXAMPLES, ids=" / ".join)
def test_every_word_is_in_the_picture_and_the_picture_fits_the_notebook(lines):
    shop = system(*lines)
    root = read(*lines)
    written = " ".join(element.text for element in root.iter(f"{SVG}text"))
    for words in [node.label for node in shop.nodes] + [
        arrow.label for arrow in shop.arrows
    ]:
        assert words in written
    width, height = map(float, root.get("viewBox").split()[2:])
    shown = float(root.get("width")), float(root.get("height"))
    assert shown[0] == min(width, 900)
    assert shown[1] == pytest.approx(height * shown[0] / width, abs=0.1)


NAMES = [
    *SERVICES,
    "recommendations",
    "notebook",
    "customer",
    *(f"other {n}" for n in "abcdefgh"),
]


@pytest.mark.parametrize("name", NAMES)
def test_names_can_be_read_on_their_colours(name):
    assert contrast(ink_on(colour(name)), colour(name)) >= 4.5
    root = read(f"{name} -> shop")
    box = root.find(f"{SVG}g/{SVG}rect")
    text = root.find(f"{SVG}g/{SVG}text")
    ground = BACKGROUND if name == "customer" else box.get("fill")
    assert contrast(text.get("fill"), ground) >= 4.5


def test_lines_can_be_told_from_the_background():
    assert contrast(INK, BACKGROUND) >= 7
    assert contrast(colour("sync"), BACKGROUND) >= 3
    assert contrast(colour("async"), BACKGROUND) >= 3


def test_contrast_is_that_of_the_standard():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast(WHITE, WHITE) == 1
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.005)


def test_the_same_system_gives_the_same_bytes_in_every_process():
    code = (
        "import sys; from helpers.system import system;"
        f"sys.stdout.write(''.join(system(*lines).svg for lines in {EXAMPLES!r}))"
    )
    here = "".join(system(*lines).svg for lines in EXAMPLES)
    for seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=True,
            timeout=60,
        )
        assert there.stdout == here


def test_a_notebook_gets_the_picture_its_alternative_text_and_a_text():
    from IPython.core.formatters import DisplayFormatter

    shop = system("customer -> orders: R&D's <order>")
    data, _ = DisplayFormatter().format(shop)
    assert data["image/svg+xml"] == shop.svg
    assert data["text/plain"] == shop.description
    image = ElementTree.fromstring(data["text/html"].replace(">", "/>"))
    assert image.get("alt") == shop.description
    kind, _, content = image.get("src").partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(content).decode() == shop.svg
