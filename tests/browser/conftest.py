"""Where requirements/browser.txt is not installed these tests are not there: `.ci/browser` installs it."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NEEDED = ("playwright", "axe_playwright_python", "openapi_python_client", "schemathesis")

if all(map(find_spec, NEEDED)):
    pytest.register_assert_rewrite("tests.browser.fixtures", "tests.browser.tab")
    from tests.browser.fixtures import beside, closed, nothing_waits, other, served, tab, tabs

    __all__ = ["beside", "closed", "nothing_waits", "other", "served", "tab", "tabs"]
else:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    from tests.browser.tab import launch_chromium

    with sync_playwright() as driver:
        browser = launch_chromium(driver)
        if browser is None:
            pytest.skip("no Chromium on this machine")
        yield browser
        browser.close()
