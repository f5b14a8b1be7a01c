"""What people meet: any window, slow and dead networks, any picture, no storage, many classes, several languages."""

import contextlib
import io
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Error, Route, expect

import service
from tests.browser.fixtures import newest, untrained
from tests.browser.strokes import drawn, picture
from tests.browser.tab import Tab
from tests.processes.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("nothing_waits")]

PLAYGROUND = Path(service.__file__).parent / "playground"


def file(kind: str, name: str, size: int = 280, mime: str = "") -> dict[str, object]:
    stream = io.BytesIO()
    Image.open(io.BytesIO(picture(drawn(7), "as it is"))).resize((size, size)).save(stream, kind)
    return {"name": name, "mimeType": mime, "buffer": stream.getvalue()}


WIDTHS = [(320, 225), (360, 800), (768, 1024), (1366, 768), (1920, 1080), (2560, 1440)]


def test_every_window_has_the_paper_and_the_answer_first_and_nothing_sideways(tab: Callable[..., Tab]) -> None:
    mine = tab()
    mine.draw(6)
    mine.answer()
    for width, height in WIDTHS:
        mine.page.set_viewport_size({"width": width, "height": height})
        assert mine.page.evaluate("document.documentElement.scrollWidth") <= width
        pad = mine.page.locator("#pad").bounding_box()
        assert pad is not None
        assert pad["height"] < height
        main = mine.page.locator("main").bounding_box()
        assert main is not None
        assert main["width"] <= 1220
        for button in mine.page.locator("button:visible, summary:visible, a:visible, select:visible").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 24, button.inner_text()
            assert box["x"] >= 0, button.inner_text()
            assert box["x"] + box["width"] <= width, button.inner_text()


def test_drawing_answer_teaching_and_what_changed_are_on_one_screen(tab: Callable[..., Tab]) -> None:
    mine = tab(viewport={"width": 1366, "height": 768})
    mine.page.click("#samples button >> nth=0")
    mine.says("#answer", "It is")
    mine.teach(7)
    mine.says("#lesson", "7 was")
    for selector in ("#pad", "#samples", "#bars", "#classes", "#lesson", "#lessons li:first-child button"):
        box = mine.page.locator(selector).bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 768, selector


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out_at_any_width(tab: Callable[..., Tab], scheme: str) -> None:
    mine = tab(color_scheme=scheme)
    mine.draw(6)
    mine.answer()
    mine.teach(6)
    mine.says("#lesson", "6 was")
    for panel in ("#inside-panel", "#code-panel", "#suspicious-panel"):
        mine.page.click(f"{panel} > summary")
    mine.says("#thinking-text", "hidden units fired")
    for width, height in WIDTHS:
        mine.page.set_viewport_size({"width": width, "height": height})
        found = Axe().run(mine.page)
        assert found.violations_count == 0, found.generate_report()


def test_what_hangs_is_said(tab: Callable[..., Tab], served: Server) -> None:
    """The clock of the page goes faster than a test could wait."""
    mine = tab()
    mine.says("#version", str(newest(served)))
    mine.page.clock.install()
    held: list[Route] = []
    mine.page.route("**/*", lambda route: held.append(route))  # noqa: PLW0108  Playwright looks into it
    mine.draw(6)
    mine.says("#answer", "Asking")
    mine.page.clock.run_for(11_000)
    mine.says("#seen-caption", "No answer yet; still waiting")
    mine.says("#trouble", "No answer yet; still waiting")
    mine.page.unroute("**/*")
    for route in held:
        with contextlib.suppress(Error):  # the page has given up on it
            route.continue_()
    mine.page.clock.run_for(2_000)
    mine.says("#answer", "It is 6")
    expect(mine.page.locator("#trouble")).to_be_hidden()


def test_a_service_that_is_stopped_and_goes_on_is_waited_for(closed: Server, tab: Callable[..., Tab]) -> None:
    mine = tab(closed)
    mine.says("#version", "1")
    assert closed.process is not None
    os.killpg(closed.process.pid, signal.SIGSTOP)
    try:
        mine.draw(6)
        mine.says("#answer", "Asking")
    finally:
        os.killpg(closed.process.pid, signal.SIGCONT)
    mine.says("#answer", "It is “<i>6</i>”")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "AVIF"])
def test_every_picture_that_the_browser_reads_is_read_whatever_its_name_says(
    tab: Callable[..., Tab], kind: str
) -> None:
    mine = tab()
    mine.page.set_input_files("#file", file(kind, "seven"))
    mine.says("#answer", "It is 7")


def test_a_large_photograph_is_sent_small_and_not_again_for_each_version(
    tab: Callable[..., Tab], served: Server
) -> None:
    noise = np.random.default_rng(1).integers(200, 256, (2400, 3200), np.uint8)
    seven = np.asarray(Image.open(io.BytesIO(picture(drawn(7), "as it is"))).resize((1200, 1200)))
    noise[600:1800, 1000:2200] = np.minimum(noise[600:1800, 1000:2200], seven)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "JPEG", quality=95)
    assert len(stream.getvalue()) > 2_000_000
    mine = tab()
    sent: list[int] = []
    mine.page.on("request", lambda request: sent.append(len(request.post_data_buffer or b"")))
    mine.page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": stream.getvalue()})
    mine.says("#answer", "It is 7")
    assert max(sent) < 900_000
    sent.clear()
    served.post("/rollback", {"model_version": newest(served)}).raise_for_status()
    mine.says("#version", str(newest(served)))
    mine.says("#versions li:first-child", "back to")
    assert max(sent, default=0) < 100_000


def test_a_refused_file_is_forgotten_with_the_next_stroke(tab: Callable[..., Tab]) -> None:
    mine = tab()
    mine.page.set_input_files("#file", {"name": "no.webp", "mimeType": "image/webp", "buffer": b"no picture"})
    mine.says("#paper-text", "The browser can't read this picture.")
    mine.draw(3)
    assert mine.answer().startswith("It is 3")
    expect(mine.page.locator("#paper-text")).to_have_text("")


def test_a_drawing_that_is_none_yet_is_spoken_to_as_a_drawing(tab: Callable[..., Tab]) -> None:
    mine = tab()
    mine.page.click("#pad", position={"x": 50, "y": 50})
    mine.says("#answer", "Keep drawing")
    mine.page.route(
        "**/predict?*",
        lambda route: route.fulfill(
            status=422,
            json={"type": "urn:twolayernet:problem:several-digits", "detail": "2 digits: crop", "errors": []},
        ),
    )
    mine.draw(1)
    mine.says("#answer", "That looks like several digits: draw one at a time")
    expect(mine.page.locator("body")).not_to_contain_text("crop")


def test_a_refused_drawing_is_asked_about_again_when_its_stroke_has_ended_and_not_before(
    tab: Callable[..., Tab], served: Server
) -> None:
    """Each refusal is a red line in the browser's console, which no page can prevent."""
    mine = tab()
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        problem = {"type": "urn:twolayernet:problem:no-digit", "status": 422, "detail": "no digit", "errors": []}
        route.fulfill(status=422, json=problem)

    mine.page.route("**/predict?*", refuse)
    box = mine.page.locator("#pad").bounding_box()
    assert box is not None
    mine.page.mouse.move(box["x"] + 50, box["y"] + 50)
    mine.page.mouse.down()
    with mine.page.expect_response("**/predict?*"):
        mine.page.mouse.move(box["x"] + 100, box["y"] + 50)
    mine.answer()
    for down in range(60, 200, 20):
        mine.page.mouse.move(box["x"] + 100, box["y"] + down)
    mine.answer()
    assert len(asked) == 1
    with mine.page.expect_response("**/predict?*"):
        mine.page.mouse.up()
    assert mine.answer() == "Keep drawing"
    served.post("/rollback", {"model_version": newest(served)}).raise_for_status()
    mine.says("#version", str(newest(served)))
    mine.says("#versions li:first-child", "back to")
    assert len(asked) == 2


def white_on_transparent(size: int, grain: int) -> dict[str, object]:
    """A 7, as a PNG that has nothing but white pixels of different transparency; grain: 0…255 of it."""
    seven = Image.open(io.BytesIO(picture(drawn(7), "as it is"))).resize((size, size))
    alpha = 255 - np.asarray(seven).astype(int)
    alpha = np.where(alpha > 127, alpha - np.random.default_rng(1).integers(0, grain + 1, alpha.shape), alpha)
    white = np.dstack([np.full((size, size, 3), 255), alpha]).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(white, "RGBA").save(stream, "PNG")
    return {"name": "seven.png", "mimeType": "image/png", "buffer": stream.getvalue()}


@pytest.mark.parametrize(("size", "grain"), [(280, 0), (1600, 100)])
def test_white_strokes_on_transparent_paper_are_seen_and_read(tab: Callable[..., Tab], size: int, grain: int) -> None:
    mine = tab()
    mine.page.set_input_files("#file", white_on_transparent(size, grain))
    mine.says("#answer", "It is 7")
    shown = np.asarray(Image.open(io.BytesIO(mine.page.locator("#pad").screenshot())).convert("L"))
    assert np.median(shown) < 160
    assert (shown > 200).mean() > 0.02


def test_a_hidden_tab_asks_for_nothing(tab: Callable[..., Tab]) -> None:
    mine = tab()
    mine.page.clock.install()
    mine.page.reload()
    mine.says("#versions li:first-child", "")
    asked: list[str] = []
    mine.page.on("request", lambda request: asked.append(request.url))
    with mine.page.expect_response("**/network.json"):
        mine.page.clock.run_for(3_000)
    mine.page.evaluate("Object.defineProperty(document, 'hidden', { value: true })")
    for _ in range(2):  # what was on its way
        mine.page.clock.run_for(5_000)
        mine.page.wait_for_load_state("networkidle")
    asked.clear()
    mine.page.clock.run_for(60_000)
    assert asked == []


def test_a_file_over_the_page_is_shown_where_to_drop_and_text_is_no_picture(tab: Callable[..., Tab]) -> None:
    mine = tab()
    expect(mine.page.locator("#drop")).to_be_hidden()
    mine.page.evaluate("document.body.dispatchEvent(new DragEvent('dragenter', { bubbles: true }))")
    expect(mine.page.locator("#drop")).to_be_visible()
    mine.page.evaluate(
        "document.body.dispatchEvent(new DragEvent('drop', { bubbles: true, dataTransfer: new DataTransfer() }))"
    )
    expect(mine.page.locator("#drop")).to_be_hidden()
    mine.says("#paper-text", "There was no picture in that.")


def test_a_stroke_is_taken_back(tab: Callable[..., Tab]) -> None:
    mine = tab()
    mine.draw(1)
    mine.answer()
    mine.page.focus("#pad")
    mine.page.keyboard.press("Control+z")
    mine.says("#answer", "Nothing drawn yet")


def test_without_storage_everything_works_until_the_page_is_left(tab: Callable[..., Tab]) -> None:
    mine = tab()
    mine.page.add_init_script(
        "for (const name of ['sessionStorage', 'localStorage']) Object.defineProperty(window, name,"
        " { get() { throw new DOMException('denied', 'SecurityError'); } });"
    )
    mine.page.reload()
    mine.draw(7)
    assert mine.answer().startswith("It is 7")
    mine.teach(7)
    mine.says("#lesson", "7 was")


def test_of_many_classes_the_likeliest_are_shown_and_letters_are_keys(
    other: Callable[..., Server], tab: Callable[..., Tab]
) -> None:
    names = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    server = other(untrained(784, 26, image_shape=(28, 28), label_names=names))
    mine = tab(server)
    mine.says("#draw-title", "Draw")
    expect(mine.page.locator("#samples")).to_be_hidden()
    mine.draw(7)
    mine.answer()
    expect(mine.page.locator("#bars li")).to_have_count(5)
    shares = [float(bar.get_attribute("aria-valuenow") or 0) for bar in mine.page.locator("#bars .bar").all()]
    assert shares == sorted(shares, reverse=True)
    mine.page.click("text=All 26 classes")
    expect(mine.page.locator("#bars li")).to_have_count(26)
    mine.page.focus("#pad")
    mine.page.keyboard.press("h")
    mine.says("#lesson", "Version 2: “H” was")
    mine.page.click("#keep")
    mine.says("#queue-help", "a name of one letter or digit labels, → skips, Delete forgets")
    expect(mine.page.locator("#labels button").first).to_be_enabled()
    mine.page.focus("#queue")
    mine.page.keyboard.press("s")
    mine.says("#queue-said", "Version 3 has learnt “S”.")
    problem = {"type": "urn:twolayernet:problem:several-digits", "detail": "2 digits: crop", "errors": []}
    mine.page.route("**/predict?*", lambda route: route.fulfill(status=422, json=problem))
    mine.draw(1)
    mine.says("#answer", "That looks like several drawings: draw one at a time")


def test_units_that_are_not_shown_are_said(other: Callable[..., Server], tab: Callable[..., Tab]) -> None:
    mine = tab(other(untrained(784, 10, hidden=300, image_shape=(28, 28))))
    mine.page.click("#inside-title")
    mine.page.click("#look")
    mine.says("#weights-text", "the first 200 of 300 hidden units")
    expect(mine.page.locator("#weights canvas")).to_have_count(200)


def test_letters_are_seen_by_those_who_may_only_draw(closed: Server, tab: Callable[..., Tab]) -> None:
    mine = tab(closed)
    expect(mine.page.locator("#bars .name").nth(3)).to_have_text("<i>3</i>")
    expect(mine.page.locator("#trouble")).to_be_hidden()


LANGUAGES = ["de", "fr", "ja", "ko", "zh"]


def messages(language: str) -> dict[str, str]:
    read: dict[str, str] = json.loads((PLAYGROUND / f"{language}.json").read_text())
    return read


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_speaks_the_reader_s_language_and_can_be_switched(tab: Callable[..., Tab], language: str) -> None:
    mine = tab(locale=language, viewport={"width": 360, "height": 800})
    expect(mine.page.locator("html")).to_have_attribute("lang", language)
    mine.says("#answer", messages(language)["nothing-drawn"])
    mine.says("#clear", messages(language)["clear"])
    assert mine.page.evaluate("document.documentElement.scrollWidth") <= 360
    mine.page.select_option("#language", "en")
    mine.says("#answer", "Nothing drawn yet")
    mine.page.reload()
    mine.says("#clear", "Clear")


def test_the_request_behind_the_answer_gives_that_answer(tab: Callable[..., Tab]) -> None:
    import subprocess

    mine = tab()
    mine.draw(4)
    mine.answer()
    mine.page.click("#code-panel > summary")
    mine.says("#code", "curl -sS")
    command = mine.page.locator("#code").inner_text()
    answer = json.loads(subprocess.run(["bash", "-c", command], capture_output=True, check=True).stdout)
    assert answer["labels"] == [4]
    shown = mine.page.locator("#bars .bar").nth(4).get_attribute("aria-valuenow")
    assert f"{100 * answer['probabilities'][0][4]:.1f}" == shown


def test_what_speaks_for_a_class_sums_up_to_its_logit(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    mine.draw(4)
    mine.answer()
    differences = mine.page.evaluate(
        """async () => {
          const { load } = await import("./playground/inside.js");
          const { evidence } = await import("./playground/network.js");
          const { shown } = await import("./playground/answer.js");
          const image = Object.assign(new Image(), { src: shown.answer.pictures[0].image });
          await image.decode();
          const canvas = Object.assign(document.createElement("canvas"), { width: 28, height: 28 });
          canvas.getContext("2d").drawImage(image, 0, 0);
          const { data } = canvas.getContext("2d").getImageData(0, 0, 28, 28);
          const x = Float32Array.from({ length: 784 }, (_, at) => data[4 * at] / 255);
          const network = await load();
          const logits = Array.from({ length: 10 }, (_, label) => evidence(network, x, label).logit);
          const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
          return logits.map((logit, label) => Math.abs(Math.exp(logit) / sum - shown.answer.probabilities[0][label]));
        }"""
    )
    assert max(differences) < 1e-4


ADDRESSES = ["http://a.example/", "https://digits.example.org:8443/models/digits/#x"]


@pytest.mark.parametrize("text", [*ADDRESSES, *("h" * most for most in (106, 107, 134, 154, 155, 192, 193, 230))])
def test_the_address_for_phones_can_be_read(tab: Callable[..., Tab], text: str) -> None:
    mine = tab()
    rows = mine.page.evaluate("async (text) => (await import('./playground/qr.js')).modules(text)", text)
    modules = np.pad(~np.array(rows, bool), 4, constant_values=True).astype(np.uint8) * 255
    read, *_ = cv2.QRCodeDetector().detectAndDecode(
        cv2.resize(modules, None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST)
    )
    assert read == text


def test_a_presenter_sees_the_drawing_large_and_no_lists(tab: Callable[..., Tab]) -> None:
    mine = tab(viewport={"width": 1920, "height": 1080})
    before = mine.page.locator("#pad").bounding_box()
    mine.page.click("#present")
    expect(mine.page.locator("#versions")).to_be_hidden()
    after = mine.page.locator("#pad").bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] > before["width"]
    mine.page.reload()
    expect(mine.page.locator("#versions")).to_be_hidden()
    mine.page.click("#present")
    expect(mine.page.locator("#versions")).to_be_visible()


def test_a_label_that_looks_wrong_is_changed_or_taken_out(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    mine.draw(7)
    mine.answer()
    mine.page.fill("#source", "tablet 7")
    mine.teach(1)
    mine.says("#lesson", "1 was")
    wrong = newest(served)
    mine.page.click("#suspicious-panel > summary")
    row = mine.page.locator("#suspicious li").filter(has_text=f"Version {wrong}.")
    expect(row).to_contain_text("Called 1 by tablet 7; the network says 7")
    row.get_by_text("It is 7").click()
    expect(row).to_contain_text(f"It is 7 now: version {wrong + 1}.")
    newest_row = served.get("/versions?limit=1").json()["versions"][0]
    assert newest_row["kind"] == "relabel"
    mine.draw(2)
    mine.answer()
    mine.teach(9)
    mine.says("#lesson", "9 was")
    wrong = newest(served)
    mine.page.click("#look-again")
    row = mine.page.locator("#suspicious li").filter(has_text=f"Version {wrong}.")
    row.get_by_text("Take it out").click()
    expect(row).to_contain_text(f"Version {wrong + 1} is without what version {wrong} learnt.")
