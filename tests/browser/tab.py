"""A tab of a browser at a service, and a hand that draws in it."""

import os
import shutil
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Playwright, Request, expect

from tests.browser.strokes import Stroke, drawn

TIMEOUT = 15_000
"""Milliseconds: CI's cores are busy."""

expect.set_options(timeout=TIMEOUT)


def launch_chromium(driver: Playwright) -> Browser | None:
    """The one of this machine, if there is one."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    return driver.chromium.launch(executable_path=path, args=root) if path else None


class Tab:
    """A page at a service. Whoever ends with it asks for `mistakes`: what went wrong that nobody expected."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.url = url
        self.mistakes: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.mistakes.append(str(error)))
        self.page.on("request", self._request)
        self.page.set_default_timeout(TIMEOUT)
        self.page.goto(url)

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium counts an answer of 4xx as an error of the page; what the page makes of it is looked at in the tests.
        if message.type in ("error", "warning") and "the server responded with a status of" not in message.text:
            self.mistakes.append(message.text)

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(self.url).netloc:
            self.mistakes.append(f"a request to {request.url}")

    def draw(self, digit: int) -> None:
        self.strokes(drawn(digit))

    def strokes(self, strokes: list[Stroke]) -> None:
        self.page.click("#clear")
        self.page.locator("#pad").scroll_into_view_if_needed()
        box = self.page.locator("#pad").bounding_box()
        assert box is not None
        for stroke in strokes:
            for at, (x, y) in enumerate(stroke):
                self.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
                if at == 0:
                    self.page.mouse.down()
            self.page.mouse.up()

    def answer(self) -> str:
        """What the page says that the drawing is, once it is asked about no more."""
        expect(self.page.locator("#answer")).to_have_attribute("aria-busy", "false")
        return str(self.page.locator("#answer").inner_text())

    def says(self, selector: str, text: str) -> None:
        expect(self.page.locator(selector)).to_contain_text(text)

    def teach(self, name: object) -> None:
        """Press the class of this name, once that can be done."""
        self.page.locator("#classes button").get_by_text(str(name), exact=True).click()

    def label(self, name: object) -> None:
        """Press a class in the queue. A label does not count for a picture that has only just appeared."""
        expect(self.page.locator("#labels button").first).to_be_enabled()
        self.page.wait_for_timeout(350)
        self.page.locator("#labels button").get_by_text(str(name), exact=True).click()

    def open_version(self, version: int) -> None:
        self.page.fill("#version-number", str(version))
        self.page.press("#version-number", "Enter")
        expect(self.page.locator("#dialog-title")).to_have_text(f"Version {version}")
        expect(self.page.locator("#version-dialog")).to_be_visible()

    def press_when_seen(self, selector: str, text: str) -> None:
        """What appears under the pointer is not pressed by a click that was meant for something else."""
        expect(self.page.locator(selector)).to_have_text(text)
        self.page.wait_for_timeout(350)
        self.page.click(selector)
