"""The playground, used as a person uses it."""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Route, expect

from model.datasets import packaged_digits
from tests.browser.fixtures import KEY, newest, untrained
from tests.browser.strokes import ANOTHER_HAND, DIGITS, WAYS, Stroke, drawn, picture
from tests.browser.tab import Tab
from tests.processes.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("nothing_waits")]

MNIST = Path(__file__).parents[3] / "shared" / "mnist"


def right_of_ten(tab: Tab) -> int:
    right = 0
    for digit in range(10):
        tab.draw(digit)
        right += tab.answer().startswith(f"It is {digit}:")
    return right


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


def test_what_is_taught_changes_the_answer_and_can_be_taken_back(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    mine.draw(7)
    before = mine.answer()
    version = newest(served)
    mine.teach(1)
    mine.says("#lesson", f"Version {version + 1}: 1 was")
    mine.says("#version", str(version + 1))
    assert mine.answer() != before
    mine.page.click("#lessons li:first-child button")
    mine.says("#lessons-text", f"1 is taken back: version {version + 2} is without it.")
    expect(mine.page.locator("#answer")).to_have_text(before)
    assert newest(served) == version + 2
    expect(mine.page.locator("#chart .accuracy")).to_have_count(1)


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
    mine.teach(3)
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
    mine.says("#answer", "It is 4")
    mine.page.focus("#classes button[tabindex='0']")
    for _ in range(4):
        mine.page.keyboard.press("ArrowRight")
    mine.page.keyboard.press("Enter")
    mine.says("#lesson", f"Version {version + 1}: 4 was")
    for _ in range(4):
        mine.page.keyboard.press("Tab")
    expect(mine.page.locator("#lessons li:first-child button")).to_be_focused()
    mine.page.keyboard.press("Space")
    mine.says("#lessons-text", f"4 is taken back: version {version + 2}")


def test_an_older_version_is_gone_back_to_from_the_list(tab: Callable[..., Tab], served: Server) -> None:
    served.post("/rollback", {"model_version": 1}).raise_for_status()
    mine = tab()
    version = newest(served)
    mine.open_version(version)
    expect(mine.page.locator("#go-back")).to_be_hidden()  # to the newest there is no way back
    mine.page.keyboard.press("Escape")
    mine.open_version(1)
    mine.press_when_seen("#go-back", "Go back to version 1")
    mine.says("#versions-text", f"Version {version + 1} has the weights of version 1.")
    mine.says("#versions li:first-child", "back to 1")
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
    expect(mine.page.locator("#labels button").first).to_be_enabled()
    mine.page.focus("#queue")
    mine.page.keyboard.press("3")
    mine.says("#version", str(version + 1))
    mine.says("#queue-text", "What is it?")
    mine.says("#queue-said", f"Version {version + 1} has learnt 3.")
    first = mine.page.locator("#waiting").get_attribute("src")
    mine.page.keyboard.press("ArrowRight")
    expect(mine.page.locator("#waiting")).not_to_have_attribute("src", str(first))
    mine.page.keyboard.press("Delete")
    mine.says("#queue-text", "Nothing else waits for a label.")
    (skipped,) = served.get("/predictions").json()["predictions"]
    assert newest(served) == version + 1
    mine.page.reload()
    mine.says("#queue-text", "What is it?")
    requests.delete(f"{served.url}/predictions/{skipped['prediction_id']}", timeout=60).raise_for_status()
    mine.label(5)
    mine.says("#queue-said", "Somebody was faster")
    mine.says("#queue-text", "Nothing waits for a label.")
    assert newest(served) == version + 1


def test_more_than_one_page_of_predictions_can_be_skipped(tab: Callable[..., Tab], served: Server) -> None:
    images = packaged_digits().test.images[:52].tolist()
    served.post("/predict?remember=true", {"images": images, "pixel_max": 255}).raise_for_status()
    mine = tab()
    mine.says("#queue-text", "What is it?")
    mine.page.focus("#queue")
    for _ in images[1:]:
        shown = mine.page.locator("#waiting").get_attribute("src")
        mine.page.keyboard.press("ArrowRight")
        expect(mine.page.locator("#waiting")).not_to_have_attribute("src", str(shown))
    mine.page.keyboard.press("ArrowRight")
    mine.says("#queue-text", "Nothing else waits for a label.")
    for prediction in served.get("/predictions").json()["predictions"]:
        requests.delete(f"{served.url}/predictions/{prediction['prediction_id']}", timeout=60).raise_for_status()


def test_learning_is_paused_and_goes_on(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    reason = "<b>too much</b> at once"
    requests.put(f"{served.url}/learning", json={"state": "paused", "reason": reason}, timeout=60).raise_for_status()
    mine.says("#reason", reason)
    mine.page.click("#pause")
    mine.says("#state", "learning")
    mine.page.press("text=Pause learning", "Enter")
    mine.says("#state", "paused")
    mine.draw(2)
    mine.answer()
    said = "Learning is paused: paused on the page. “Go on learning” is under “How it learns”."
    expect(mine.page.locator("#teach-hint")).to_have_text(said)
    expect(mine.page.locator("#classes button").first).to_be_disabled()
    mine.page.click("#keep")
    mine.says("#queue-hint", said)
    expect(mine.page.locator("#labels button").first).to_be_disabled()
    mine.page.press("#pause", "Enter")
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
    mine.teach(2)
    said = "Learning is paused: too much. “Go on learning” is under “How it learns”."
    expect(mine.page.locator("#lesson")).to_have_text(f"Not learnt. {said}")


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
    assert right >= 8


def test_small_digits_are_read_as_what_the_page_knows_them_to_be(tab: Callable[..., Tab]) -> None:
    """A quarter of the paper large: dark strokes, and not light spaces between them."""
    mine = tab()
    right = 0
    for digit in range(10):
        mine.page.click("#clear")
        draw(mine, [[(0.5 + (x - 0.5) * 0.32, 0.5 + (y - 0.5) * 0.32) for x, y in stroke] for stroke in drawn(digit)])
        right += f" {digit}:" in mine.answer()
    assert right >= 8


def test_a_long_reason_widens_no_page(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab(viewport={"width": 360, "height": 800})
    requests.put(f"{served.url}/learning", json={"state": "paused", "reason": "m" * 400}, timeout=60).raise_for_status()
    mine.says("#teach-hint", "mmm")
    assert mine.page.evaluate("document.documentElement.scrollWidth") <= 360
    mine.page.click("#pause")
    mine.says("#state", "learning")


def test_two_tabs_on_two_workers_agree(beside: Server, tab: Callable[..., Tab], served: Server) -> None:
    mine, other = tab(), tab(beside)
    mine.draw(4)
    other.draw(4)
    mine.answer()
    mine.teach(9)
    mine.says("#lesson", "9 was")
    for each in (mine, other):
        each.says("#versions li:first-child", str(newest(served)))
    expect(other.page.locator("#answer")).to_have_text(mine.answer())
    expect(other.page.locator("#versions li")).to_have_count(mine.page.locator("#versions li").count())


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
    mine.says("#answer", "It is 7")
    mine.page.set_input_files("#file", {"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"})
    mine.says("#paper-text", "can't read this picture")


def test_the_weights_and_the_memory_are_shown_and_can_be_taken_away(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    mine.page.click("#inside-title")
    mine.page.click("#look")
    expect(mine.page.locator("#weights canvas")).to_have_count(50)
    expect(mine.page.locator("#memory canvas")).to_have_count(10)
    corner = "canvas => [...canvas.getContext('2d').getImageData(0, 0, 1, 1).data]"
    assert mine.page.locator("#memory canvas").first.evaluate(corner) == [0, 0, 0, 255]  # as the network is given it
    with mine.page.expect_download() as download:
        mine.page.click("#download")
    got = np.load(io.BytesIO(download.value.path().read_bytes()))
    assert np.array_equal(got["W1"], np.load(io.BytesIO(served.get("/weights").content))["W1"])


def test_a_key_is_asked_for_under_a_prefix_and_kept_in_the_tab(closed: Server, tab: Callable[..., Tab]) -> None:
    mine = tab(closed)
    mine.draw(7)
    assert mine.answer().startswith("It is “<i>7</i>”")
    mine.says("#teach-hint", "needs a key")
    expect(mine.page.locator("#trouble")).to_be_hidden()
    mine.page.click("summary >> text=Key")
    mine.page.fill("#key", "another")
    mine.page.click("text=Use it")
    mine.says("#key-text", "This key is not accepted.")
    expect(mine.page.locator("#key")).to_be_focused()
    assert "another" not in mine.page.evaluate("JSON.stringify(sessionStorage)")  # it is not tried again and again
    mine.page.fill("#key", KEY)
    mine.page.keyboard.press("Enter")
    expect(mine.page.locator("#key-details summary")).to_be_focused()
    mine.says("#version", "1")
    mine.teach("<i>7</i>")
    mine.says("#lesson", "Version 2: “<i>7</i>” was")
    expect(mine.page.locator("#labels button").first).to_have_text("<i>0</i>")
    expect(mine.page.locator("main i:not(.bar i, .column i)")).to_have_count(0)
    mine.page.reload()
    mine.says("#version", "2")
    mine.says("#key-text", "A key is in use.")
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
    mine.says("#teach-hint", "needs a key")
    mine.draw(7)
    mine.says("#answer", "No answer")
    mine.page.click("summary >> text=Key")
    mine.page.fill("#key", PREDICT_KEY.replace(",", ""))
    mine.page.click("text=Use it")
    mine.says("#key-text", "This key opens predict only")
    mine.says("#answer", "It is 7")
    mine.says("#teach-hint", "needs a key")
    expect(mine.page.locator("#classes button").first).to_be_disabled()
    mine.page.reload()
    mine.says("#key-text", "This key opens predict only")
    mine.page.click("summary >> text=Key")
    mine.page.fill("#key", "ключ")
    mine.page.click("text=Use it")
    mine.says("#key-text", "A key is in use.")
    expect(mine.page.locator("#key-details summary")).to_be_focused()
    mine.says("#queue-text", "Nothing waits")
    mine.page.click("summary >> text=Key")
    mine.page.fill("#key", "неверный")
    mine.page.click("text=Use it")
    mine.says("#key-text", "This key is not accepted.")
    assert mine.page.evaluate("sessionStorage.getItem('twolayernet-key')") is None


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
    mine.page.click("#inside-title")
    mine.page.click("#look")
    expect(mine.page.locator("#weights canvas")).to_have_count(12)
    for width in (1200, 360):
        mine.page.set_viewport_size({"width": width, "height": 800})
        assert mine.page.evaluate("document.documentElement.scrollWidth") <= width
        boxes = [meter.bounding_box() or {} for meter in mine.page.locator("#bars .bar").all()]
        assert len({(box["x"], box["width"]) for box in boxes}) == 1
        for selector in ("#seen", "#waiting", "#weights canvas"):
            box = mine.page.locator(selector).first.bounding_box()
            assert box is not None
            assert abs(box["width"] / box["height"] - 4) < 0.6, selector


def test_it_says_when_the_service_is_away_and_goes_on_when_it_is_back(closed: Server, tab: Callable[..., Tab]) -> None:
    mine = tab(closed)
    closed.kill()
    mine.says("#trouble", "The service can't be reached")
    closed.start()
    expect(mine.page.locator("#trouble")).to_be_hidden()
    mine.mistakes = [mistake for mistake in mine.mistakes if "net::ERR_" not in mistake]


def test_nobody_is_kept_out_in_the_light_and_in_the_dark_on_a_phone_and_on_a_desk(tab: Callable[..., Tab]) -> None:
    mine = tab()
    mine.draw(6)
    mine.answer()
    mine.page.click("#inside-title")
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
    mine.page.click("nav >> text=HTTP interface")
    mine.page.locator("#operations-Predict-predict").get_by_role("button").first.click()
    mine.page.click("text=Try it out")
    mine.page.click("text=Execute")
    mine.says(".live-responses-table", '"labels"')
    rows = mine.page.locator("#operations-Predict-predict tr.response[data-code]")
    assert rows.evaluate_all("rows => rows.map((row) => row.dataset.code)") == ["200", "default"]
    found = Axe().run(mine.page, {"exclude": [["#swagger-ui"]]})  # which is a package's
    assert found.violations_count == 0, found.generate_report()


def test_in_the_documentation_what_requires_a_key_has_a_padlock_and_nothing_else(
    closed: Server, tab: Callable[..., Tab]
) -> None:
    mine = tab(closed)
    mine.page.goto(f"{closed.url}/docs")
    padlocks = {"Predict-predict": 0, "Predict-accuracy": 0, "Teach-train_step": 1, "Teach-rollback": 1}
    for operation, count in padlocks.items():
        expect(mine.page.locator(f"#operations-{operation}")).to_be_visible()
        expect(mine.page.locator(f"#operations-{operation} .authorization__btn")).to_have_count(count)
