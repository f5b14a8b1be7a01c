"""What is clicked changes what was aimed at, once, whatever others do meanwhile."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from model.datasets import packaged_digits
from tests.browser.fixtures import forget_all, newest
from tests.browser.tab import Tab
from tests.processes.server import Server

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("nothing_waits")]


def train(server: Server, count: int = 1) -> None:
    """As somebody else does."""
    digits = packaged_digits().test
    for at in range(count):
        body = {"images": digits.images[at : at + 1].tolist(), "labels": [int(digits.labels[at])], "pixel_max": 255}
        server.post("/train-step", body).raise_for_status()


def clicks(tab: Tab, selector: str, times: int = 3) -> None:
    """A double click, and one more."""
    tab.page.hover(selector)
    for count in range(1, times + 1):
        tab.page.mouse.down(click_count=count)
        tab.page.mouse.up(click_count=count)
        tab.page.wait_for_timeout(150)


def keep(server: Server, count: int) -> None:
    images = packaged_digits().test.images[:count].tolist()
    server.post("/predict?remember=true", {"images": images, "pixel_max": 255}).raise_for_status()


def versions(server: Server) -> list[dict[str, object]]:
    listed: list[dict[str, object]] = server.get("/versions").json()["versions"]
    return listed


def test_however_often_it_is_clicked_it_is_one_lesson_and_one_picture_for_later(
    tab: Callable[..., Tab], served: Server
) -> None:
    mine = tab()
    mine.draw(2)
    mine.answer()
    version = newest(served)
    clicks(mine, "#classes button >> text=2")
    mine.says("#lesson", f"Version {version + 1}: 2 was")
    assert newest(served) == version + 1
    clicks(mine, "#keep")
    mine.says("#lesson", "It waits for a label.")
    assert len(served.get("/predictions").json()["predictions"]) == 1
    forget_all(served)


def test_a_row_that_is_aimed_at_stays_while_others_teach(tab: Callable[..., Tab], served: Server) -> None:
    train(served, 4)
    mine = tab()
    mine.says("#versions li:first-child", str(newest(served)))
    target = newest(served) - 3
    row = mine.page.locator(f"#version-{target} button")
    row.hover()
    before = row.bounding_box()
    train(served, 3)
    mine.says("#newer", "3 newer")
    assert row.bounding_box() == before
    mine.page.mouse.down()
    mine.page.mouse.up()
    mine.says("#dialog-title", f"Version {target}")
    mine.says("#dialog-since", "Going back takes back 6 lessons.")
    mine.press_when_seen("#go-back", f"Go back to version {target}")
    mine.says("#versions-text", f"has the weights of version {target}.")
    assert versions(served)[0]["source_version"] == target
    mine.says("#versions li:first-child", f"back to {target}")
    mine.open_version(target - 1)
    mine.says("#dialog-since", "Going back takes back 1 lesson.")  # the six after it are taken back already


def test_a_double_click_on_a_version_goes_back_nowhere_and_one_on_the_way_back_goes_once(
    tab: Callable[..., Tab], served: Server
) -> None:
    train(served, 2)
    mine = tab()
    version = newest(served)
    mine.says("#versions li:first-child", str(version))
    clicks(mine, f"#version-{version - 1} button")
    expect(mine.page.locator("#version-dialog")).to_be_visible()
    assert newest(served) == version
    mine.press_when_seen("#close-dialog", "Close")
    mine.open_version(version - 1)
    mine.page.wait_for_timeout(350)
    clicks(mine, "#go-back")
    mine.says("#versions-text", f"Version {version + 1} has the weights of version {version - 1}.")
    assert newest(served) == version + 1


def test_a_label_counts_only_for_the_picture_that_was_seen(tab: Callable[..., Tab], served: Server) -> None:
    keep(served, 6)
    version = newest(served)
    mine = tab()
    expect(mine.page.locator("#labels button").first).to_be_enabled()
    clicks(mine, "#labels button >> text=3")
    mine.says("#queue-said", f"Version {version + 1} has learnt 3.")
    mine.page.focus("#queue")
    expect(mine.page.locator("#labels button").first).to_be_enabled()
    for _ in range(3):
        mine.page.keyboard.press("4")
    mine.says("#queue-said", f"Version {version + 2} has learnt 4.")
    assert len(served.get("/predictions").json()["predictions"]) == 4
    assert newest(served) == version + 2
    forget_all(served)


def test_where_nothing_waits_there_is_a_sentence_and_nothing_to_press(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    mine.says("#queue-text", "Nothing waits for a label.")
    expect(mine.page.locator("#queue-panel button:visible")).to_have_count(0)
    expect(mine.page.locator("#queue-help")).to_be_hidden()
    keep(served, 1)
    mine.says("#queue-text", "What is it?")
    expect(mine.page.locator("#queue-panel button:visible")).to_have_count(12)
    mine.says("#queue-help", "a digit labels, → skips, Delete forgets")
    mine.page.click("#forget")
    mine.says("#queue-text", "Nothing waits for a label.")
    expect(mine.page.locator("#queue-panel button:visible")).to_have_count(0)


def test_the_next_pictures_are_there_before_they_are_asked_for(tab: Callable[..., Tab], served: Server) -> None:
    keep(served, 6)
    mine = tab()
    mine.page.wait_for_function(
        "() => performance.getEntriesByType('resource').filter(({ name }) => /predictions.*image/.test(name)).length === 4"
    )
    mine.says("#queue-count", "(6)")
    mine.page.route("**/predictions**", lambda route: route.abort())
    mine.page.focus("#queue")
    for _ in range(3):
        shown = mine.page.locator("#waiting").get_attribute("src")
        mine.page.keyboard.press("ArrowRight")
        expect(mine.page.locator("#waiting")).not_to_have_attribute("src", str(shown))
    mine.page.unroute("**/predictions**")
    forget_all(served)
    mine.mistakes = [mistake for mistake in mine.mistakes if "net::ERR_FAILED" not in mistake]


def test_what_goes_wrong_low_on_the_page_is_said_where_it_is_pressed(tab: Callable[..., Tab], served: Server) -> None:
    train(served, 2)
    keep(served, 1)
    mine = tab(viewport={"width": 390, "height": 700})
    for path in ("rollback", "train-step"):
        mine.page.route(
            f"**/{path}", lambda route: route.fulfill(status=503, json={"detail": "no disk", "status": 503})
        )
    mine.label(3)
    mine.says("#queue-said", "The service has a problem: no disk")
    expect(mine.page.locator("#queue-said")).to_be_in_viewport()
    mine.open_version(newest(served) - 1)
    mine.press_when_seen("#go-back", f"Go back to version {newest(served) - 1}")
    mine.says("#dialog-text", "The service has a problem: no disk")
    expect(mine.page.locator("#dialog-text")).to_be_in_viewport()
    forget_all(served)


def test_another_store_behind_the_address_is_noticed_and_nothing_is_changed_in_it(
    tab: Callable[..., Tab], served: Server, tmp_path: Path
) -> None:
    shutil.copy(served.folder / "weights.npz", tmp_path)
    server = Server(tmp_path, workers=1).start()
    try:
        mine = tab(server)
        mine.draw(7)
        mine.answer()
        mine.teach(7)
        mine.says("#lesson", "Version 2: 7 was")
        server.kill()
        for path in tmp_path.glob("store.db*"):
            path.unlink()
        server.start()
        mine.says("#trouble", "The service has another store now")
        mine.page.locator("#lessons button").first.dispatch_event("click")
        mine.says("#lessons-text", "The service has another store now")
        assert newest(server) == 1
        mine.page.click("#reload")
        mine.says("#version", "1")
        expect(mine.page.locator("#versions li")).to_have_count(1)
        expect(mine.page.locator("#lessons li")).to_have_count(0)
        mine.context.close()  # else it goes on asking while the service ends
        mine.mistakes = [mistake for mistake in mine.mistakes if "net::ERR_" not in mistake]
    finally:
        server.kill()


def test_one_lesson_of_mine_is_taken_back_and_those_of_others_stay(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    mine.draw(7)
    mine.answer()
    version = newest(served)
    mine.teach(1)
    mine.says("#lesson", "1 was")
    train(served, 2)
    mine.page.click("#lessons li:first-child button")
    mine.says("#lessons-text", f"1 is taken back: version {version + 4} is without it.")
    assert versions(served)[0]["unlearned"] == [version + 1]


def test_what_follows_a_lesson_or_a_way_back_comes_from_that_version_or_a_newer_one(
    tab: Callable[..., Tab], served: Server
) -> None:
    """Another worker may not have it yet; and the lesson can be taken back even if no answer to it comes."""
    mine = tab()
    mine.draw(7)
    before = mine.answer()
    version = newest(served)
    asked_for: list[str | None] = []

    def fail(route: Route) -> None:
        asked_for.append(route.request.headers.get("x-min-model-version"))
        route.abort()

    mine.page.route("**/predict?*", fail)
    mine.teach(1)
    mine.says("#lessons li:first-child", f"Version {version + 1}")
    mine.page.wait_for_function("() => document.querySelector('#lesson').textContent")
    assert asked_for[0] == str(version + 1)
    mine.page.unroute("**/predict?*")
    with mine.page.expect_request(lambda asked: asked.headers.get("x-min-model-version") == str(version + 2)):
        mine.page.click("#lessons li:first-child button")
    expect(mine.page.locator("#answer")).to_have_text(before)
    mine.mistakes = [mistake for mistake in mine.mistakes if "net::ERR_FAILED" not in mistake]


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
    mine.teach(2)
    mine.says("#lesson", f"Version {version + 1}")
    assert newest(served) == version + 1
    mine.mistakes = [mistake for mistake in mine.mistakes if "net::ERR_FAILED" not in mistake]


def test_a_lesson_that_could_not_be_sent_is_kept_over_a_reload_and_sent_when_asked(
    tab: Callable[..., Tab], served: Server
) -> None:
    mine = tab()
    mine.draw(3)
    mine.answer()
    version = newest(served)
    mine.page.route("**/train-step", lambda route: route.abort())
    mine.teach(8)
    mine.says("#lesson", "Not learnt. The service can't be reached.")
    mine.page.reload()
    mine.page.unroute("**/train-step")
    mine.says("#lessons li:first-child", "not learnt yet")
    assert newest(served) == version
    mine.page.click("#lessons li:first-child button")
    mine.says("#lessons li:first-child", f"Version {version + 1}")
    assert newest(served) == version + 1
    mine.mistakes = [mistake for mistake in mine.mistakes if "net::ERR_FAILED" not in mistake]
