"""The pictures of the page in docs/ can be made anew."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from model import weights_file
from tests.browser.screenshots import WINDOW, lessons, measured
from tests.processes.server import Server

pytestmark = pytest.mark.browser


def test_a_digit_that_was_misread_is_taught_and_shown_before_and_after(
    chromium: Browser, served: Server, other: Callable[[weights_file.Weights], Server], tmp_path: Path
) -> None:
    server = other(weights_file.load(served.folder / "weights.npz"))
    said = lessons(chromium, server, tmp_path)
    assert said[0].startswith("A 6, before: It is")
    assert not said[0].startswith("A 6, before: It is 6")
    assert ": It is 6: " in said[-1]
    for name in ("playground-before.png", "playground.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    context = chromium.new_context(viewport=WINDOW)
    first, second = (measured(context, server.url, None).split(" | ") for _ in range(2))
    context.close()
    assert int(second[0]) <= int(first[0])
    assert int(second[1]) < int(first[1])
