"""The wall of models: a teacher makes many at once, hands out their keys, and compares them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Dialog, Page, Request, Route, expect

from tests.browser.fixtures import KEY
from tests.browser.strokes import drawn, picture
from tests.browser.tab import Tab
from tests.browser.test_people import LANGUAGES, WIDTHS, messages
from tests.processes.server import Server

pytestmark = pytest.mark.browser

BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def school(tmp_path: Path, served: Server) -> Iterator[Server]:
    """A service with a key and models, which begins with what `make serve` trains."""
    (tmp_path / "weights.npz").write_bytes((served.folder / "weights.npz").read_bytes())
    models = str(tmp_path / "models")
    server = Server(tmp_path, workers=2, TWOLAYERNET_API_KEY=KEY, TWOLAYERNET_MODELS=models).start()
    yield server
    server.kill()


def made(server: Server, *names: str, body: Any = None) -> None:
    for name in names:
        answer = server.request("PUT", f"/models/{name}", json=body or {"copy_of": "default"}, headers=BEARER)
        answer.raise_for_status()


def taught(server: Server, name: str, digit: int, label: int | None = None) -> None:
    """label: what the drawn digit is called."""
    called = str(digit if label is None else label)
    form = {"image": ("drawn.png", picture(drawn(digit), "as it is")), "labels": (None, called)}
    answer = server.request("POST", f"/models/{name}/train-step", files=form, headers=BEARER)
    answer.raise_for_status()


@pytest.fixture
def wall(chromium: Browser, school: Server, tabs: list[Tab]) -> Callable[..., Tab]:
    """The page of all models, with the service's key."""

    def opened(**options: Any) -> Tab:
        mine = Tab(chromium, school.url + "/models", **options)
        tabs.append(mine)
        mine.says("#wall-text", messages(options.get("locale", "en"))["needs-key"])
        mine.page.click("#key-details summary")
        mine.page.fill("#key", KEY)
        mine.page.keyboard.press("Enter")
        expect(mine.page.locator("#cards li").first).to_be_visible()
        return mine

    return opened


def make(mine: Tab, names: str) -> None:
    if not mine.page.locator("#names").is_visible():
        mine.page.click("#make-panel summary")
    mine.page.fill("#names", names)
    mine.page.click("#make")


def codes(page: Page) -> list[str]:
    """What a phone reads in the codes of the sheet."""
    texts = []
    for code in page.locator("#key-list svg").all():
        image = cv2.imdecode(np.frombuffer(code.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        texts.append(next(filter(None, (decoded(image, scale) for scale in (4, 3, 2, 5))), ""))
    return texts


def decoded(image: np.ndarray, scale: int) -> str:
    """OpenCV does not find every code at every size."""
    larger = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    framed = cv2.copyMakeBorder(larger, 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=255)
    return str(cv2.QRCodeDetector().detectAndDecode(framed)[0])


def test_many_are_made_from_one_and_each_code_opens_one_of_them(
    wall: Callable[..., Tab], school: Server, chromium: Browser, tabs: list[Tab]
) -> None:
    made(school, "pupil-02")
    taught(school, "pupil-02", 7)
    mine = wall()
    make(mine, "pupil-01 … pupil-03\nÉlodie Martin")
    mine.says("#make-text", "Made 3 models. Already there, and left as they are: pupil-02.")
    assert mine.page.locator("#key-list b").all_inner_texts() == ["pupil-01", "pupil-03", "elodie-martin"]
    expect(mine.page.locator("#names")).to_have_value("")
    mine.says("#count", "5 models")
    addresses = codes(mine.page)
    assert [address.partition("#key=")[0] for address in addresses] == [
        f"{school.url}/models/{name}/" for name in ("pupil-01", "pupil-03", "elodie-martin")
    ]
    pupil = Tab(chromium, addresses[0])
    tabs.append(pupil)
    pupil.says("#key-text", "A key is in use.")
    pupil.says("h1", "pupil-01")
    expect(pupil.page).to_have_title("pupil-01 – TwoLayerNet")
    assert pupil.page.evaluate("location.href") == f"{school.url}/models/pupil-01/"
    pupil.draw(7)
    pupil.answer()
    pupil.teach(7)
    pupil.says("#lesson", "Version 2: 7 was")
    pupil.page.goto(f"{school.url}/models/pupil-03/")
    pupil.says("#teach-hint", "needs a key")
    pupil.page.goto(f"{school.url}/models/pupil-01/")
    pupil.says("#key-text", "A key is in use.")
    versions = {one["name"]: one["model_version"] for one in school.get("/models", headers=BEARER).json()["models"]}
    assert versions == {"default": 1, "elodie-martin": 1, "pupil-01": 2, "pupil-02": 2, "pupil-03": 1}


def test_the_keys_are_shown_until_they_are_put_away_and_printed_alone(wall: Callable[..., Tab]) -> None:
    mine = wall()
    make(mine, "2")
    expect(mine.page.locator("#key-list li")).to_have_count(2)
    expect(mine.page.locator("#keys-title")).to_be_focused()
    mine.page.emulate_media(media="print")
    for selector in ("header", "#pad", "#cards", "#print"):
        expect(mine.page.locator(selector)).to_be_hidden()
    expect(mine.page.locator("#key-list svg").first).to_be_visible()
    mine.page.emulate_media(media="screen")
    asked: list[str] = []

    def refuse(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    mine.page.once("dialog", refuse)
    mine.page.click("#put-away")
    assert asked == ["The keys were not printed, and are not shown again. Put the sheet away?"]
    expect(mine.page.locator("#keys")).to_be_visible()
    mine.page.evaluate("window.print = () => dispatchEvent(new Event('afterprint'))")
    mine.page.click("#print")
    mine.page.click("#put-away")
    expect(mine.page.locator("#keys")).to_be_hidden()
    expect(mine.page.locator("#key-list li")).to_have_count(0)


def test_a_model_whose_answer_was_lost_has_a_key_and_one_that_fails_stays_in_the_list(
    wall: Callable[..., Tab], school: Server
) -> None:
    mine = wall()
    lost: list[str] = []

    def lose(route: Route) -> None:
        if route.request.method == "PUT" and not lost:
            lost.append(str(route.fetch().json()["key"]))
            route.abort()
        else:
            route.continue_()

    def refuse(route: Route) -> None:
        route.fulfill(status=422, json={"type": "about:blank", "detail": "no", "errors": []})

    mine.page.route("**/models/ann", lose)
    mine.page.route("**/models/bob", refuse)
    make(mine, "ann\nbob\ncarl")
    mine.says("#make-text", "Made 2 models. Not made: bob.")
    expect(mine.page.locator("#names")).to_have_value("bob")
    key = mine.page.locator("#key-list code").first.inner_text()
    assert key != lost[0]
    for one, status in ((lost[0], 401), (key, 200)):
        answer = school.get("/models/ann/versions", headers={"Authorization": f"Bearer {one}"})
        assert answer.status_code == status
    mine.page.unroute("**/models/bob", refuse)
    mine.page.click("#make")
    mine.says("#make-text", "Made 1 model.")
    expect(mine.page.locator("#key-list li")).to_have_count(3)
    mine.mistakes = [mistake for mistake in mine.mistakes if "net::ERR_" not in mistake]


def test_untrained_models_have_the_classes_that_are_typed(wall: Callable[..., Tab], school: Server) -> None:
    mine = wall()
    mine.page.click("#make-panel summary")
    mine.page.select_option("#beginning", label="an untrained network")
    mine.page.fill("#class-names", "cat\ndog")
    make(mine, "pets")
    mine.says("#make-text", "Made 1 model.")
    assert school.get("/models/pets", headers=BEARER).json()["classes"] == 2


def test_a_card_shows_how_well_a_model_does_and_what_it_learnt(wall: Callable[..., Tab], school: Server) -> None:
    made(school, "alice", "bob")
    mine = wall()
    expect(mine.page.locator("#card-alice .facts")).to_contain_text("nothing learnt yet")
    expect(mine.page.locator("#card-alice img")).to_be_hidden()
    taught(school, "alice", 7)
    expect(mine.page.locator("#card-alice .facts")).to_contain_text("of the last 1")
    expect(mine.page.locator("#card-alice .rate")).to_have_text("1 lesson a minute")
    expect(mine.page.locator("#card-alice img")).to_have_attribute("alt", "What alice learnt last")
    expect(mine.page.locator("#card-alice img")).to_be_visible()
    expect(mine.page.locator("#card-bob img")).to_be_hidden()
    school.request("PUT", "/models/alice/learning", json={"state": "paused"}, headers=BEARER).raise_for_status()
    expect(mine.page.locator("#card-alice .rate")).to_have_text("paused")
    again = wall()
    expect(again.page.locator("#card-alice img")).to_be_visible()
    mine.page.click("#card-bob h2 a")
    mine.says("#key-text", "A key is in use.")


def test_one_drawing_is_answered_by_all_and_again_by_one_that_has_learnt(
    wall: Callable[..., Tab], school: Server
) -> None:
    made(school, "alice", "bob")
    made(school, "pets", body={"new": {"image_shape": [28, 28], "label_names": ["<i>cat</i>"]}})
    mine = wall()
    mine.draw(7)
    mine.says("#tally", "7: 3 ×, <i>cat</i>: 1 ×")
    expect(mine.page.locator("#card-pets .says b")).to_have_text("<i>cat</i>")
    before = mine.page.locator("#card-alice .says").text_content()
    assert before is not None
    assert before.startswith("7")
    for _ in range(3):
        taught(school, "alice", 7, label=1)
    expect(mine.page.locator("#card-alice .says")).not_to_have_text(before)
    mine.page.click("#clear")
    expect(mine.page.locator(".says:visible")).to_have_count(0)
    expect(mine.page.locator("#tally")).to_have_text("")
    mine.page.set_input_files("#file", {"name": "7.png", "mimeType": "image/png", "buffer": picture(drawn(7), "small")})
    mine.says("#tally", "7: 2 ×")


def test_what_a_model_out_of_sight_said_of_another_drawing_is_not_counted(
    wall: Callable[..., Tab], school: Server
) -> None:
    made(school, *(f"pupil-{number:02}" for number in range(1, 11)))
    mine = wall(viewport={"width": 360, "height": 800})
    mine.draw(4)
    last = mine.page.locator("#card-pupil-10")
    last.scroll_into_view_if_needed()
    expect(last.locator(".says")).to_be_visible()
    mine.page.click("#undo-stroke")
    expect(last.locator(".says")).to_be_hidden()


def test_a_model_is_set_aside_and_gets_another_key_after_it_is_said_what_that_does(
    wall: Callable[..., Tab], school: Server
) -> None:
    made(school, "alice", "bob")
    mine = wall()
    expect(mine.page.locator("#card-default .more")).to_be_hidden()
    mine.page.get_by_label("More for alice").click()
    mine.says("#set-aside-text", "Its store is kept: twolayernet models restore brings it back.")
    mine.page.click("#new-key")
    expect(mine.page.locator("#key-list b")).to_have_text("alice")
    mine.page.get_by_label("More for bob").click()
    mine.page.keyboard.press("Escape")
    assert school.get("/models/bob/readyz").status_code == 200
    mine.page.get_by_label("More for bob").click()
    mine.page.click("#set-aside")
    mine.says("#wall-said", "bob is set aside. Its store is bob.")
    expect(mine.page.locator("#card-bob")).to_have_count(0)
    assert school.get("/models/bob/readyz").status_code == 404


def test_without_news_no_model_is_asked_and_in_a_hidden_tab_nothing(wall: Callable[..., Tab], school: Server) -> None:
    made(school, "alice", "bob")
    mine = wall()
    mine.page.clock.install()
    mine.page.reload()
    expect(mine.page.locator("#card-bob .facts")).to_contain_text("nothing learnt yet")
    expect(mine.page.locator("#card-default .facts")).to_contain_text("nothing learnt yet")
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url.removeprefix(school.url))

    mine.page.on("request", note)
    mine.page.clock.run_for(20_000)
    assert set(asked) <= {"/models?limit=100"}
    mine.page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    mine.page.wait_for_load_state("networkidle")
    asked.clear()
    mine.page.clock.run_for(60_000)
    assert asked == []


def test_a_key_that_is_taken_away_is_asked_for_again(wall: Callable[..., Tab]) -> None:
    mine = wall()
    mine.page.evaluate("sessionStorage.setItem('twolayernet-key', 'another')")
    mine.says("#key-text", "This key is not accepted.")
    mine.says("#wall-text", "This needs a key: see Key above.")
    assert "another" not in mine.page.evaluate("JSON.stringify(sessionStorage)")


def test_a_service_with_one_model_says_so(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    mine.page.goto(f"{served.url}/models")
    mine.says("#wall-text", "This service has one model. For more, start it with TWOLAYERNET_MODELS.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_kept_out_at_any_width_and_nothing_is_sideways(
    wall: Callable[..., Tab], school: Server, scheme: str
) -> None:
    made(school, "alice", "a-name-" + "of-many-letters-" * 3)
    taught(school, "alice", 7)
    mine = wall(color_scheme=scheme)
    mine.draw(7)
    mine.says("#tally", "7: 3 ×")
    make(mine, "carl")
    expect(mine.page.locator("#key-list li")).to_have_count(1)
    for width, height in WIDTHS:
        mine.page.set_viewport_size({"width": width, "height": height})
        assert mine.page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(mine.page)
        assert found.violations_count == 0, found.generate_report()
    mine.page.get_by_label("More for alice").click()
    found = Axe().run(mine.page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_wall_speaks_the_reader_s_language(wall: Callable[..., Tab], language: str) -> None:
    mine = wall(locale=language, viewport={"width": 360, "height": 800})
    mine.says("#make-panel h2", messages(language)["wall.make"])
    mine.page.click("#make-panel summary")
    mine.says("#beginning", messages(language)["wall.copy"].replace("{name}", "default"))
    assert mine.page.evaluate("document.documentElement.scrollWidth") <= 360


NAMES: dict[str, tuple[list[str], list[str]]] = {
    "Anna\nBen\n\n": (["anna", "ben"], []),
    "Anna, Ben; Carl": (["anna", "ben", "carl"], []),
    "Müller, Anna\nGroß, Ben": (["muller-anna", "gross-ben"], []),
    "Anna\nanna\nANNA": (["anna", "anna-2", "anna-3"], []),
    "3": (["pupil-01", "pupil-02", "pupil-03"], []),
    "9-a..9-c": (["9-a-9-c"], []),
    "7b-9 … 7b-11": (["7b-9", "7b-10", "7b-11"], []),
    "pupil-08...10": (["pupil-08", "pupil-09", "pupil-10"], []),
    "花子\nTaro 1": (["taro-1"], ["花子"]),
    "!?": ([], ["!?"]),
    "x" * 70: (["x" * 63], []),
    "": ([], []),
}
"""What somebody types, the names of models that are made of it, and what none is made of."""


def test_names_are_made_of_what_people_type(tab: Callable[..., Tab]) -> None:
    mine = tab()
    for text, (names, unusable) in NAMES.items():
        found = mine.page.evaluate("async (text) => (await import('./playground/names.js')).namesIn(text)", text)
        assert found == {"names": names, "unusable": unusable}, text
