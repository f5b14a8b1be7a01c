"""The pictures of the page in docs/, and what a load of it costs, from a service that is trained as `make serve` does.

`python -m tests.browser.screenshots [FOLDER]` clicks a sample that is misread, teaches it until it is read, and writes
`playground-before.png` and `playground.png` to the folder, docs/ unless you name one. Then it prints the requests and
the bytes of a load, and the seconds to the first answer at full speed and on a slow 3G network, which Chromium emulates.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ViewportSize, expect, sync_playwright

from tests.browser.fixtures import train_weights
from tests.browser.tab import Tab, launch_chromium
from tests.processes.server import Server

DOCS = Path(__file__).parents[2] / "docs"
WINDOW: ViewportSize = {"width": 1366, "height": 768}
MOST_LESSONS = 10

Network = dict[str, Any] | None
"""What Chromium emulates: milliseconds of latency, bytes per second."""

NETWORKS: dict[str, Network] = {
    "full speed": None,
    "slow 3G": {"offline": False, "latency": 400, "downloadThroughput": 50_000, "uploadThroughput": 50_000},
}


def main() -> None:
    pictures = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = launch_chromium(driver)
        assert browser is not None, "no Chromium on this machine: .ci/browser installs it"
        train_weights(Path(folder))
        server = Server(Path(folder)).start()
        try:
            for line in lessons(browser, server, pictures):
                print(line)
            print("\n| load | requests | kB | s to the samples | s to the first answer |")
            print("| --- | ---: | ---: | ---: | ---: |")
            for name, network in NETWORKS.items():
                context = browser.new_context(viewport=WINDOW)
                for load in ("first", "second"):
                    print(f"| {load}, {name} | {measured(context, server.url, network)} |", flush=True)
                context.close()
        finally:
            server.kill()


def lessons(browser: Browser, server: Server, pictures: Path) -> list[str]:
    """Takes the pictures; what the page said before them, and after each lesson."""
    tab = Tab(browser, server.url + "/", viewport=WINDOW)
    misread = tab.page.locator("#samples button.wrong").first
    digit = (misread.get_attribute("aria-label") or "").split(":")[1].strip()
    misread.click()
    said = [tab.answer()]
    tab.page.screenshot(path=pictures / "playground-before.png")
    while not said[-1].startswith(f"It is {digit}:") and len(said) <= MOST_LESSONS:
        tab.teach(digit)
        tab.says("#lesson", f"Version {len(said) + 1}: {digit} was")
        said.append(tab.answer())
    tab.page.mouse.move(0, 0)
    expect(tab.page.locator("#samples .wrong")).to_have_count(0)
    expect(tab.page.locator("#versions li")).to_have_count(len(said))
    tab.page.screenshot(path=pictures / "playground.png")
    tab.context.close()
    return [f"A {digit}, before: {said[0]}", *(f"After lesson {at}: {text}" for at, text in enumerate(said[1:], 1))]


def measured(context: BrowserContext, url: str, network: Network) -> str:
    """Of one load, from the address to the answer to a sample, which is clicked as soon as it is there."""
    page = context.new_page()
    chromium = context.new_cdp_session(page)
    chromium.send("Network.enable")
    if network is not None:
        chromium.send("Network.emulateNetworkConditions", network)
    sizes: list[float] = []
    chromium.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    began = time.monotonic()
    page.goto(url, wait_until="commit")
    page.locator("#samples button").first.click()
    shown = time.monotonic() - began
    expect(page.locator("#answer")).to_contain_text("It is")
    answered = time.monotonic() - began
    row = f"{len(sizes)} | {sum(sizes) / 1000:.0f} | {shown:.1f} | {answered:.1f}"
    page.close()
    return row


if __name__ == "__main__":
    main()
