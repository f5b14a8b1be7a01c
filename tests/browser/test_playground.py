"""The playground, used as a person uses it."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Route, expect

from model import weights as weights_file
from tests.browser.strokes import ANOTHER_HAND, DIGITS, WAYS, Stroke, drawn, picture
from tests.browser.tab import Tab
from tests.processes.server import Server

pytestmark = pytest.mark.browser

MNIST = Path(__file__).parents[3] / "shared" / "mnist"
KEY = "a key of the tests"


@pytest.fixture
def tabs(chromium: Browser) -> Iterator[list[Tab]]:
    """Those that a test opens: closed at its end, when nothing may have gone wrong."""
    opened: list[Tab] = []
    yield opened
    for tab in opened:
        tab.context.close()
    assert [mistake for tab in opened for mistake in tab.mistakes] == []


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What `make serve` trains and serves, with two workers."""
    folder = tmp_path_factory.mktemp("served")
    train = [sys.executable, "-m", "service.cli", "train", "--quiet", "--out", "weights.npz"]
    subprocess.run(train, cwd=folder, check=True)
    server = Server(folder).start()
    yield server
    server.kill()


@pytest.fixture
def tab(chromium: Browser, tabs: list[Tab], served: Server) -> Callable[..., Tab]:
    def opened(server: Server = served, **options: Any) -> Tab:
        tabs.append(Tab(chromium, server.url + "/", **options))
        return tabs[-1]

    return opened


def right_of_ten(tab: Tab) -> int:
    right = 0
    for digit in range(10):
        tab.draw(digit)
        right += tab.answer().startswith(f"It is {'an' if digit == 8 else 'a'} {digit}:")
    return right


def newest(server: Server) -> int:
    version: int = server.get("/readyz").json()["model_version"]
    return version


def right_of_two_hands(server: Server, way: str) -> int:
    """Of twenty digits, pictures of which are sent as the page sends them."""
    pictures = [picture(drawn(digit, hand), way) for hand in (DIGITS, ANOTHER_HAND) for digit in range(10)]
    answer = requests.post(f"{server.url}/predict", files=[("image", png) for png in pictures], timeout=60)
    assert answer.status_code == 200, answer.text
    return sum(label == digit for label, digit in zip(answer.json()["labels"], [*range(10)] * 2, strict=True))


def test_of_ten_drawn_digits_eight_are_right_with_what_make_serve_trains_on(tab: Callable[..., Tab]) -> None:
    assert right_of_ten(tab()) >= 8


@pytest.mark.parametrize("way", WAYS)
def test_of_the_digits_of_two_hands_nine_of_ten_are_right_however_drawn(served: Server, way: str) -> None:
    assert right_of_two_hands(served, way) >= 18


@pytest.mark.skipif(not MNIST.is_dir(), reason="full MNIST is not on this machine")
def test_nine_of_ten_are_right_with_full_mnist(served: Server, tmp_path: Path) -> None:
    train = [sys.executable, "-m", "service.cli", "train", "--quiet", "--data", str(MNIST), "--epochs", "5"]
    subprocess.run([*train, "--out", "full.npz"], cwd=tmp_path, check=True)
    before = newest(served)
    requests.put(f"{served.url}/weights", (tmp_path / "full.npz").read_bytes(), timeout=60).raise_for_status()
    try:
        assert all(right_of_two_hands(served, way) >= 18 for way in WAYS)
    finally:
        served.post("/rollback", {"model_version": before}).raise_for_status()


def test_what_is_taught_changes_the_answer_and_can_be_undone(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    mine.draw(7)
    before = mine.answer()
    version = newest(served)
    mine.page.click("#classes >> text=1")
    mine.says("#lesson", f"Version {version + 1}: 1 was")
    mine.says("#version", str(version + 1))
    assert mine.answer() != before
    mine.page.click(f"text=Undo: back to version {version}")
    mine.says("#lesson", f"Version {version + 2} has the weights of version {version} again.")
    expect(mine.page.locator("#answer")).to_have_text(before)
    assert newest(served) == version + 2
    expect(mine.page.locator("#chart .accuracy")).to_have_count(1)


def test_a_double_click_is_one_lesson(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    mine.draw(2)
    mine.answer()
    version = newest(served)
    mine.page.hover("#classes >> text=2")
    for click in (1, 2):
        mine.page.mouse.down(click_count=click)
        mine.page.mouse.up(click_count=click)
        mine.says("#lesson", f"Version {version + 1}")
        mine.page.wait_for_timeout(200)
    assert newest(served) == version + 1
    mine.page.click("#clear")
    mine.page.click("#undo")
    mine.says("#lesson", f"Version {version + 2} has the weights of version {version} again")


def test_a_lesson_whose_answer_was_lost_is_asked_for_again_and_learnt_once(
    tab: Callable[..., Tab], served: Server
) -> None:
    mine = tab()
    mine.draw(2)
    mine.answer()
    version = newest(served)

    def lose_the_answer(route: Route) -> None:
        route.fetch()
        route.abort()

    mine.page.route("**/train-step", lose_the_answer, times=1)
    mine.page.click("#classes >> text=2")
    mine.says("#lesson", f"Version {version + 1}")
    assert newest(served) == version + 1
    mine.mistakes = [mistake for mistake in mine.mistakes if "net::ERR_FAILED" not in mistake]


def test_an_answer_that_comes_late_is_not_taken_for_one_about_what_is_drawn_by_now(tab: Callable[..., Tab]) -> None:
    mine = tab()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    def first_held() -> Route:
        while not held:
            mine.page.wait_for_timeout(20)
        return held.pop(0)

    mine.draw(3)
    mine.answer()
    mine.page.route("**/predict?*", hold)
    mine.page.click("#classes >> text=3")
    after_the_lesson = first_held()
    mine.page.click("#clear")
    after_the_lesson.continue_()
    mine.says("#lesson", "3 was")
    mine.says("#answer", "Nothing drawn yet")
    mine.draw(1)
    about_a_one = first_held()
    mine.page.click("#clear")
    about_a_one.continue_()
    mine.page.unroute("**/predict?*")
    expect(mine.page.locator("#answer")).to_have_attribute("aria-busy", "false")
    mine.says("#answer", "Nothing drawn yet")
    expect(mine.page.locator("#classes button").first).to_be_disabled()


def test_nothing_but_a_keyboard_is_needed(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    version = newest(served)
    mine.page.focus("#file")
    mine.page.set_input_files("#file", {"name": "4.png", "mimeType": "image/png", "buffer": picture(drawn(4), "small")})
    mine.says("#answer", "It is a 4")
    mine.page.keyboard.press("Tab")
    expect(mine.page.get_by_role("button", name="0").first).to_be_focused()
    for _ in range(4):
        mine.page.keyboard.press("Tab")
    mine.page.keyboard.press("Enter")
    mine.says("#lesson", f"Version {version + 1}: 4 was")
    for _ in range(6):
        mine.page.keyboard.press("Tab")
    expect(mine.page.locator("#undo")).to_be_focused()
    mine.page.keyboard.press("Space")
    mine.says("#lesson", f"Version {version + 2} has the weights of version {version} again")


def test_an_older_version_is_gone_back_to_from_the_list(tab: Callable[..., Tab], served: Server) -> None:
    served.post("/rollback", {"model_version": 1}).raise_for_status()  # to the newest there is no way back
    mine = tab()
    version = newest(served)
    expect(mine.page.get_by_role("button", name=f"Go back to version {version}", exact=True)).to_have_count(0)
    mine.page.get_by_role("button", name="Go back to version 1", exact=True).press("Enter")
    mine.says("#versions-text", f"Version {version + 1} has the weights of version 1.")
    mine.says("#versions tr:first-child", "rollback to 1")
    mine.says("#version", str(version + 1))


def test_what_was_drawn_is_labelled_later_by_a_key_press(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    for digit in (3, 5, 8):
        mine.draw(digit)
        mine.answer()
        mine.page.click("#keep")
        mine.says("#lesson", "It waits for a label.")
    mine.says("#queue-text", "What is it?")
    version = newest(served)
    mine.page.focus("#queue")
    mine.page.keyboard.press("3")
    mine.says("#version", str(version + 1))
    mine.says("#queue-text", "What is it?")
    mine.says("#queue-accuracy", "Running accuracy")
    first = mine.page.locator("#waiting").get_attribute("src")
    mine.page.keyboard.press("s")
    expect(mine.page.locator("#waiting")).not_to_have_attribute("src", str(first))
    mine.page.keyboard.press("Delete")
    mine.says("#queue-text", "Nothing else waits for a label.")
    (skipped,) = served.get("/predictions").json()["predictions"]
    assert newest(served) == version + 1
    mine.page.reload()
    mine.says("#queue-text", "What is it?")
    requests.delete(f"{served.url}/predictions/{skipped['prediction_id']}", timeout=60).raise_for_status()
    mine.page.click("#labels >> text=5")
    mine.says("#queue-said", "Somebody was faster")
    mine.says("#queue-text", "Nothing waits for a label.")
    assert newest(served) == version + 1


def test_learning_is_paused_and_goes_on(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    reason = "<b>too much</b> at once"
    requests.put(f"{served.url}/learning", json={"state": "paused", "reason": reason}, timeout=60).raise_for_status()
    mine.says("#reason", reason)
    mine.page.click("#pause")
    mine.says("#state", "learning")
    mine.page.click("text=Pause learning")
    mine.says("#state", "paused")
    mine.draw(2)
    mine.answer()
    said = "Learning is paused: paused on the page at /. “Go on learning” is beside the chart."
    expect(mine.page.locator("#teach-hint")).to_have_text(said)
    expect(mine.page.locator("#classes button").first).to_be_disabled()
    mine.page.click("#keep")
    mine.says("#queue-hint", said)
    expect(mine.page.locator("#labels button").first).to_be_disabled()
    mine.page.click("#pause")
    mine.says("#state", "learning")
    expect(mine.page.locator("#classes button").first).to_be_enabled()
    expect(mine.page.locator("#labels button").first).to_be_enabled()
    mine.page.click("#forget")
    mine.says("#queue-text", "Nothing waits")


def test_a_pause_that_the_page_did_not_know_of_is_said_without_words_of_http(
    tab: Callable[..., Tab], served: Server
) -> None:
    mine = tab()
    mine.draw(2)
    mine.answer()
    body = {
        "type": "urn:twolayernet:problem:learning-paused",
        "errors": [{"loc": [], "msg": "too much"}],
        "status": 409,
    }
    mine.page.route("**/train-step", lambda route: route.fulfill(status=409, json=body))
    mine.page.click("#classes >> text=2")
    expect(mine.page.locator("#trouble")).to_have_text(
        "Learning is paused: too much. “Go on learning” is beside the chart."
    )


def draw(tab: Tab, strokes: list[Stroke]) -> None:
    box = tab.page.locator("#pad").bounding_box()
    assert box is not None
    for stroke in strokes:
        for at, (x, y) in enumerate(stroke):
            tab.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            if at == 0:
                tab.page.mouse.down()
        tab.page.mouse.up()


EDGES = {"left": (-0.24, 0), "right": (0.28, 0), "top": (0, -0.1), "bottom": (0, 0.13)}


@pytest.mark.parametrize("edge", EDGES)
def test_what_touches_the_edge_is_strokes_on_paper(tab: Callable[..., Tab], edge: str) -> None:
    mine = tab()
    right, (across, down) = 0, EDGES[edge]
    for digit in range(10):
        mine.page.click("#clear")
        draw(mine, [[(x + across, y + down) for x, y in stroke] for stroke in drawn(digit)])
        right += f" {digit}:" in mine.answer()
        mine.says("#seen-caption", "dark on light")
    assert right >= 8


def test_a_long_reason_widens_no_page(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab(viewport={"width": 360, "height": 800})
    requests.put(f"{served.url}/learning", json={"state": "paused", "reason": "m" * 400}, timeout=60).raise_for_status()
    mine.says("#teach-hint", "mmm")
    assert mine.page.evaluate("document.documentElement.scrollWidth") <= 360
    mine.page.click("#pause")
    mine.says("#state", "learning")


@pytest.fixture
def beside(served: Server) -> Iterator[Server]:
    """Another service on the same store: what it answers comes from no worker of the first one."""
    server = Server(served.folder, workers=1).start()
    yield server
    server.kill()


def test_two_tabs_on_two_workers_agree(beside: Server, tab: Callable[..., Tab], served: Server) -> None:
    mine, other = tab(), tab(beside)
    mine.draw(4)
    other.draw(4)
    mine.answer()
    mine.page.click("#classes >> text=9")
    mine.says("#lesson", "9 was")
    for each in (mine, other):
        each.says("#versions tr:first-child", str(newest(served)))
    expect(other.page.locator("#answer")).to_have_text(mine.answer())
    expect(other.page.locator("#versions tr")).to_have_count(mine.page.locator("#versions tr").count())


def test_a_picture_is_taken_instead_of_a_drawing(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    picture = json.loads(served.get("/openapi.json").text)["paths"]["/predict"]["post"]["requestBody"]
    url = picture["content"]["application/json"]["examples"]["picture"]["value"]["image"]
    mine.page.evaluate(
        """async (url) => {
          const bytes = Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], "seven.png", { type: "image/png" }));
          document.querySelector("#pad").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }""",
        url,
    )
    mine.says("#answer", "It is a 7")
    mine.says("#seen-caption", "light on dark")
    mine.page.set_input_files("#file", {"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"})
    mine.says("#trouble", "no picture that can be read")


def test_the_weights_and_the_memory_are_shown_and_can_be_taken_away(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    mine.page.click("#look")
    expect(mine.page.locator("#weights canvas")).to_have_count(50)
    expect(mine.page.locator("#memory canvas")).to_have_count(10)
    with mine.page.expect_download() as download:
        mine.page.click("#download")
    got = np.load(io.BytesIO(download.value.path().read_bytes()))
    assert np.array_equal(got["W1"], np.load(io.BytesIO(served.get("/weights").content))["W1"])


@pytest.fixture
def closed(tmp_path: Path, served: Server) -> Iterator[Server]:
    """Wants a key, stands under a prefix, has names of classes that are no markup, and is one process, which starts
    soonest."""
    weights = weights_file.load(served.folder / "weights.npz")
    weights_file.save(tmp_path / "weights.npz", replace(weights, label_names=tuple(f"<i>{n}</i>" for n in range(10))))
    server = Server(tmp_path, workers=1, TWOLAYERNET_API_KEY=KEY, TWOLAYERNET_PREFIX="/models/digits")
    server.url += "/models/digits"
    server.start()
    yield server
    server.kill()


def test_a_key_is_asked_for_under_a_prefix_and_kept_in_the_tab(closed: Server, tab: Callable[..., Tab]) -> None:
    mine = tab(closed)
    mine.says("#trouble", "wants a key")
    mine.draw(7)
    assert mine.answer().startswith("It is a <i>7</i>")
    mine.page.fill("#key", "another")
    mine.page.click("text=Use it")
    mine.says("#trouble", "not the one")
    assert mine.page.evaluate("sessionStorage.length") == 0  # it is not tried again and again
    mine.page.fill("#key", KEY)
    mine.page.keyboard.press("Enter")
    mine.says("#version", "1")
    expect(mine.page.locator("#trouble")).to_be_hidden()
    mine.page.click("#classes >> text=<i>7</i>")
    mine.says("#lesson", "Version 2: <i>7</i> was")
    expect(mine.page.locator("#labels button").first).to_have_text("<i>0</i>")
    expect(mine.page.locator("i")).to_have_count(0)
    mine.page.reload()
    mine.says("#version", "2")
    assert KEY not in json.dumps(mine.context.storage_state())


PREDICT_KEY = "ключ, 鍵 and clé"


@pytest.fixture
def closed_twice(tmp_path: Path, served: Server) -> Iterator[Server]:
    """Wants a key for predictions, too: another one, in other alphabets."""
    (tmp_path / "weights.npz").write_bytes((served.folder / "weights.npz").read_bytes())
    keys = {"TWOLAYERNET_API_KEY": "ключ,another", "TWOLAYERNET_API_KEY_PREDICT": PREDICT_KEY.replace(",", "")}
    server = Server(tmp_path, workers=1, **keys).start()
    yield server
    server.kill()


def test_a_key_that_opens_predict_only_is_kept(closed_twice: Server, tab: Callable[..., Tab]) -> None:
    mine = tab(closed_twice)
    mine.says("#queue-text", "The queue wants the key")
    mine.says("#versions-text", "The versions want the key")
    mine.draw(7)
    mine.says("#answer", "No answer")
    mine.page.fill("#key", PREDICT_KEY.replace(",", ""))
    mine.page.click("text=Use it")
    mine.says("#trouble", "This key opens predict only")
    mine.draw(7)
    assert mine.answer().startswith("It is a 7")
    mine.says("#teach-hint", "This key opens predict only: teaching wants another one.")
    expect(mine.page.locator("#classes button").first).to_be_disabled()
    mine.page.reload()
    mine.says("#trouble", "This key opens predict only")
    mine.page.click("summary")
    mine.page.fill("#key", "ключ")
    mine.page.click("text=Use it")
    expect(mine.page.locator("#trouble")).to_be_hidden()
    mine.says("#queue-text", "Nothing waits")
    mine.page.click("summary")
    mine.page.fill("#key", "неверный")
    mine.page.click("text=Use it")
    mine.says("#trouble", "not the one")
    assert mine.page.evaluate("sessionStorage.length") == 0


def untrained(inputs: int, classes: int, **fields: Any) -> weights_file.Weights:
    numbers = np.random.default_rng(1)
    shapes = {"W1": (inputs, 12), "b1": (12,), "W2": (12, classes), "b2": (classes,)}
    params = {name: numbers.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    return weights_file.Weights(params, **fields)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Callable[[weights_file.Weights], Server]]:
    started: list[Server] = []

    def serving(weights: weights_file.Weights) -> Server:
        weights_file.save(tmp_path / "weights.npz", weights)
        started.append(Server(tmp_path, workers=1).start())
        return started[-1]

    yield serving
    for server in started:
        server.kill()


def test_a_network_without_pictures_says_so_at_once(other: Callable[..., Server], tab: Callable[..., Tab]) -> None:
    mine = tab(other(untrained(13, 3)))
    mine.says("#answer", "This network takes 13 numbers that are no picture")
    expect(mine.page.locator("#pad")).to_be_hidden()


def test_names_and_shapes_of_any_size_fit_in(other: Callable[..., Server], tab: Callable[..., Tab]) -> None:
    names = ("T-shirt/top", "Donaudampfschifffahrtsgesellschaftskapitän", "a name of " + "many " * 12, *"abcde")
    mine = tab(other(untrained(400, 8, image_shape=(10, 40), label_names=names)))
    mine.draw(7)
    mine.answer()
    mine.page.click("#keep")
    mine.says("#queue-text", "What is it?")
    mine.says("#queue-help", "0 T-shirt/top, 1 Donau")
    mine.page.click("#look")
    expect(mine.page.locator("#weights canvas")).to_have_count(12)
    for width in (1200, 360):
        mine.page.set_viewport_size({"width": width, "height": 800})
        assert mine.page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [meter.bounding_box() or {} for meter in mine.page.locator("#bars meter").all()]
        assert len({(box["x"], box["width"]) for box in boxes}) == 1
        for selector in ("#seen", "#waiting", "#weights canvas"):
            box = mine.page.locator(selector).first.bounding_box()
            assert box is not None
            assert abs(box["width"] / box["height"] - 4) < 0.6, selector


def test_it_says_when_the_service_is_away_and_goes_on_when_it_is_back(closed: Server, tab: Callable[..., Tab]) -> None:
    mine = tab(closed)
    closed.kill()
    mine.says("#trouble", "The service is away")
    closed.start()
    mine.says("#trouble", "wants a key")
    mine.mistakes = [mistake for mistake in mine.mistakes if "net::ERR_" not in mistake]


def test_nobody_is_kept_out_in_the_light_and_in_the_dark_on_a_phone_and_on_a_desk(tab: Callable[..., Tab]) -> None:
    mine = tab()
    mine.draw(6)
    mine.answer()
    mine.page.click("#look")
    expect(mine.page.locator("#memory canvas")).to_have_count(10)
    for width, scheme in ((1200, "light"), (1200, "dark"), (360, "dark"), (360, "light")):
        mine.page.set_viewport_size({"width": width, "height": 800})
        mine.page.emulate_media(color_scheme=scheme)
        found = Axe().run(mine.page)
        assert found.violations_count == 0, found.generate_report()
        assert mine.page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_documentation_is_shown_and_can_be_tried(tab: Callable[..., Tab]) -> None:
    mine = tab()
    mine.page.click("text=HTTP interface")
    mine.page.locator("#operations-prediction-predict").get_by_role("button").first.click()
    mine.page.click("text=Try it out")
    mine.page.click("text=Execute")
    mine.says(".live-responses-table", '"labels"')
    found = Axe().run(mine.page, {"exclude": [["#swagger-ui"]]})  # which is a package's
    assert found.violations_count == 0, found.generate_report()
