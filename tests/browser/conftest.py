"""Where requirements/browser.txt is not installed these tests are not there: `.ci/browser` installs it."""

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NEEDED = ("playwright", "axe_playwright_python", "openapi_python_client", "schemathesis")

if all(map(find_spec, NEEDED)):
    pytest.register_assert_rewrite("tests.browser.fixtures", "tests.browser.tab")
    from tests.browser.fixtures import beside, closed, other, served, tab, tabs

    __all__ = ["beside", "closed", "other", "served", "tab", "tabs"]
else:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=path, args=root)
        yield browser
        browser.close()
