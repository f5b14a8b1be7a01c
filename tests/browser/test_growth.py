"""A class that nobody thought of is added on the page, taught, and taken back."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import expect

from model import weights_file
from tests.browser.fixtures import newest
from tests.browser.strokes import Stroke
from tests.browser.tab import Tab
from tests.browser.test_acts import clicks, train, versions
from tests.processes.server import Server

pytestmark = pytest.mark.browser

STAR: list[Stroke] = [
    [(0.5, 0.1), (0.26, 0.86), (0.9, 0.36), (0.1, 0.36), (0.74, 0.86), (0.5, 0.1)],
]
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture
def named(tmp_path: Path, served: Server, other: Callable[..., Server]) -> Server:
    return other(replace(weights_file.load(served.folder / "weights.npz"), label_names=NAMES))


def test_a_drawing_of_no_class_is_taught_as_a_new_one_by_one_click_and_goes_with_it(
    tab: Callable[..., Tab], served: Server
) -> None:
    mine = tab()
    expect(mine.page.locator("#something-new")).to_be_disabled()
    mine.strokes(STAR)
    before = mine.answer()
    version = newest(served)
    expect(mine.page.locator("#something-new")).to_have_text("+ Something new: 10")
    clicks(mine, "#something-new")
    mine.says("#lesson", f"Version {version + 2}: 10 was 0.0 %")
    assert newest(served) == version + 2
    expect(mine.page.locator("#classes button")).to_have_count(11)
    expect(mine.page.locator("#bars li")).to_have_count(11)
    expect(mine.page.locator("#samples")).to_be_visible()  # they are still digits
    mine.page.click("#lessons li:first-child button")
    mine.says("#lessons-text", f"10 is taken back: version {version + 3} is without it.")
    expect(mine.page.locator("#classes button")).to_have_count(10)
    expect(mine.page.locator("#answer")).to_have_text(before)
    assert versions(served)[0]["source_version"] == version


def test_after_a_few_drawings_the_new_class_is_read(tab: Callable[..., Tab], named: Server) -> None:
    mine = tab(named)
    mine.strokes(STAR)
    mine.answer()
    mine.page.click("#something-new")
    expect(mine.page.locator("#new-name")).to_be_focused()
    mine.page.fill("#new-name", "⭐")
    mine.page.keyboard.press("Enter")
    mine.says("#lesson", "Version 3: “⭐” was 0.0 %")
    expect(mine.page.locator("#something-new")).to_be_focused()
    expect(mine.page.locator("#new-class")).to_be_hidden()
    for version in range(4, 24):
        mine.strokes(STAR)
        mine.answer()
        mine.teach("⭐")
        mine.says("#lesson", f"Version {version}: “⭐” was")
        if mine.answer().startswith("It is “⭐”"):
            break
    assert mine.answer().startswith("It is “⭐”")
    mine.says("#versions", "one class more · ⭐")


def test_a_name_that_there_is_adds_nothing_and_escape_gives_up(tab: Callable[..., Tab], named: Server) -> None:
    mine = tab(named)
    mine.strokes(STAR)
    mine.answer()
    mine.page.click("#something-new")
    mine.page.fill("#new-name", " seven ")
    mine.page.click("#teach-new")
    mine.says("#lesson", "There is “seven” already.")
    mine.page.press("#new-name", "Escape")
    expect(mine.page.locator("#new-class")).to_be_hidden()
    expect(mine.page.locator("#something-new")).to_be_focused()
    assert newest(named) == 1


def test_a_class_that_others_have_taught_since_stays(tab: Callable[..., Tab], served: Server) -> None:
    mine = tab()
    mine.strokes(STAR)
    mine.answer()
    version = newest(served)
    mine.page.click("#something-new")
    mine.says("#lesson", f"Version {version + 2}: 10 was")
    train(served, 1)
    mine.page.click("#lessons li:first-child button")
    mine.says("#lessons-text", "The class stays: others have taught since.")
    assert versions(served)[0]["unlearned"] == [version + 2]
    expect(mine.page.locator("#classes button")).to_have_count(11)
    served.post("/rollback", {"model_version": version}).raise_for_status()


def test_what_was_cleared_meanwhile_is_what_was_taught(tab: Callable[..., Tab], named: Server) -> None:
    """The class is made first, and the drawing is that of the click."""
    mine = tab(named)
    mine.strokes(STAR)
    mine.answer()
    mine.page.click("#something-new")
    mine.page.fill("#new-name", "star")
    mine.page.route("**/classes", lambda route: (mine.page.wait_for_timeout(300), route.continue_()))
    mine.page.click("#teach-new")
    mine.page.click("#clear")
    mine.says("#lessons li:first-child", "Version 3")
    assert versions(named)[0]["kind"] == "train-step"
