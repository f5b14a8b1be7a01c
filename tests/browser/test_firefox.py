"""The same page in Firefox."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.fixtures import newest
from tests.browser.tab import Tab
from tests.processes.server import Server

pytestmark = pytest.mark.browser

AS_IT_IS = dict.fromkeys(("color_scheme", "reduced_motion", "forced_colors", "contrast"), "null")
"""Firefox has no command yet that emulates these."""


@pytest.fixture
def mine(firefox: Browser, served: Server) -> Iterator[Tab]:
    tab = Tab(firefox, served.url + "/", **AS_IT_IS)
    yield tab
    tab.context.close()
    assert tab.mistakes == []


def test_in_firefox_what_is_drawn_is_read_taught_and_taken_back(mine: Tab, served: Server) -> None:
    mine.draw(7)
    before = mine.answer()
    assert before.startswith("It is 7:")
    version = newest(served)
    mine.teach(1)
    mine.says("#lesson", f"Version {version + 1}: 1 was")
    assert mine.answer() != before
    mine.page.click("#lessons li:first-child button")
    mine.says("#lessons-text", f"1 is taken back: version {version + 2} is without it.")
    expect(mine.page.locator("#answer")).to_have_text(before)
