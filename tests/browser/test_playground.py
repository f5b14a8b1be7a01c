"""The playground, used as a person uses it."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.browser.tab import Tab
from tests.processes.server import Server

pytestmark = pytest.mark.browser

FULL_MNIST = os.environ.get("WEIGHTS_OF_FULL_MNIST", "")
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
        right += tab.answer().startswith(f"It is a {digit}:")
    return right


def newest(server: Server) -> int:
    version: int = server.get("/readyz").json()["model_version"]
    return version


def test_of_ten_drawn_digits_eight_are_right_with_what_make_serve_trains_on(tab: Callable[..., Tab]) -> None:
    assert right_of_ten(tab()) >= 8


@pytest.mark.skipif(
    not FULL_MNIST, reason="WEIGHTS_OF_FULL_MNIST names no weights file that was trained on all of MNIST"
)
def test_of_ten_drawn_digits_nine_are_right_with_full_mnist(tab: Callable[..., Tab], tmp_path: Path) -> None:
    shutil.copy(FULL_MNIST, tmp_path / "weights.npz")
    server = Server(tmp_path).start()
    try:
        assert right_of_ten(tab(server)) >= 9
    finally:
        server.kill()


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


def test_an_older_version_is_gone_back_to_from_the_list(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    version = newest(served)
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
    assert len(served.get("/predictions").json()["predictions"]) == 1
    assert newest(served) == version + 1


def test_learning_is_paused_and_goes_on(tab: Callable[..., Tab]) -> None:
    mine = tab()
    mine.page.click("text=Pause learning")
    mine.says("#state", "paused")
    mine.draw(2)
    mine.answer()
    mine.page.click("#classes >> text=2")
    mine.says("#trouble", "learning is paused")
    mine.page.click("text=Go on learning")
    mine.says("#state", "learning")


def test_two_tabs_agree(tab: Callable[..., Tab], served: Server) -> None:
    mine, other = tab(), tab()
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
    """Wants a key, stands under a prefix, and is one process, which starts soonest."""
    (tmp_path / "weights.npz").write_bytes((served.folder / "weights.npz").read_bytes())
    server = Server(tmp_path, workers=1, TWOLAYERNET_API_KEY=KEY, TWOLAYERNET_PREFIX="/models/digits")
    server.url += "/models/digits"
    server.start()
    yield server
    server.kill()


def test_a_key_is_asked_for_under_a_prefix_and_kept_in_the_tab(tab: Callable[..., Tab], closed: Server) -> None:
    mine = tab(closed)
    mine.says("#trouble", "wants a key")
    mine.draw(7)
    assert mine.answer().startswith("It is a 7")
    mine.page.fill("#key", "another")
    mine.page.click("text=Use it")
    mine.says("#trouble", "not the one")
    mine.page.fill("#key", KEY)
    mine.page.keyboard.press("Enter")
    mine.says("#version", "1")
    expect(mine.page.locator("#trouble")).to_be_hidden()
    mine.page.click("#classes >> text=7")
    mine.says("#lesson", "Version 2")
    mine.page.reload()
    mine.says("#version", "2")
    assert KEY not in json.dumps(mine.context.storage_state())


def test_it_says_when_the_service_is_away_and_goes_on_when_it_is_back(tab: Callable[..., Tab], closed: Server) -> None:
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
    for width, scheme in ((1200, "light"), (1200, "dark"), (390, "dark"), (390, "light")):
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
