"""A page of another origin, in a real browser, at a service on its reader's machine."""

import base64
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from model.weights_file import Weights
from tests.browser.tab import TIMEOUT
from tests.processes.server import Server

pytestmark = pytest.mark.browser

KEY = "a key of the tests"

LESSON = """
  const got = await (await fetch("/picture")).blob();
  const form = new FormData();
  form.append("image", new File([got], "seven.png", { type: "image/png" }));
  form.append("labels", "7");
"""
FORM = """async (service) => {
  const got = await (await fetch("/picture")).blob();
  document.body.innerHTML = `<form method="post" enctype="multipart/form-data" action="${service}/train-step">
    <input type="file" name="image"><input name="labels" value="7"></form>`;
  const files = new DataTransfer();
  files.items.add(new File([got], "seven.png", { type: "image/png" }));
  document.querySelector("input").files = files.files;
  document.querySelector("form").submit();
}"""
NO_CORS = f"""async (service) => {{ {LESSON}
  try {{
    return (await fetch(service + "/train-step", {{ method: "POST", mode: "no-cors", body: form }})).type;
  }} catch (error) {{ return String(error); }}
}}"""
SIMPLE = f"""async (service) => {{ {LESSON}
  try {{
    return (await (await fetch(service + "/train-step", {{ method: "POST", body: form }})).json()).model_version;
  }} catch (error) {{ return String(error); }}
}}"""
ASKED_FIRST = """async ([service, key]) => {
  const headers = { "Content-Type": "application/json", "Authorization": `Bearer ${key}`, "Idempotency-Key": "one" };
  try {
    const body = JSON.stringify({ model_version: 1 });
    const answer = await fetch(service + "/rollback", { method: "POST", headers, body });
    return [(await answer.json()).model_version, Boolean(answer.headers.get("X-Request-ID"))];
  } catch (error) { return String(error); }
}"""
READ = """async (service) => {
  try { return await (await fetch(service + "/readyz")).text(); } catch (error) { return String(error); }
}"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """The origin of a page that is not the service's, and of a picture that it has."""

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            data = (
                (tmp_path / "seven.png").read_bytes() if self.path == "/picture" else b"<!doctype html><title>x</title>"
            )
            self.send_response(200)
            self.send_header("Content-Type", "image/png" if self.path == "/picture" else "text/html")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://stranger.localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(chromium: Browser, elsewhere: str) -> Iterator[Page]:
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(TIMEOUT)
    page.goto(elsewhere)
    yield page
    context.close()


@pytest.fixture
def start(tmp_path: Path, weights: Weights) -> Iterator[Any]:
    started: list[Server] = []

    def start(**environment: str) -> Server:
        started.append(Server(tmp_path, workers=1, **environment).start())
        example = started[-1].get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]
        url = example["content"]["application/json"]["examples"]["picture"]["value"]["image"]
        (tmp_path / "seven.png").write_bytes(data_of(url))
        return started[-1]

    yield start
    for server in started:
        server.kill()


def data_of(url: str) -> bytes:

    return base64.b64decode(url.partition(",")[2])


def newest(server: Server, **options: Any) -> int:
    version: int = server.get("/readyz", **options).json()["model_version"]
    return version


def submitted(page: Page, url: str) -> str:
    """What the reader then sees instead of the page."""
    with page.expect_navigation(url=f"{url}/train-step"):
        page.evaluate(FORM, url)
    return str(page.inner_text("body"))


def test_a_page_of_another_origin_changes_nothing_and_reads_nothing(page: Page, start: Any, elsewhere: str) -> None:
    server = start()
    assert "Failed to fetch" in page.evaluate(NO_CORS, server.url)  # Cross-Origin-Resource-Policy
    assert "Failed to fetch" in page.evaluate(SIMPLE, server.url)
    assert "Failed to fetch" in page.evaluate(ASKED_FIRST, [server.url, KEY])
    assert "Failed to fetch" in page.evaluate(READ, server.url)
    assert "another origin" in submitted(page, server.url)
    assert newest(server) == 1
    page.goto(server.url)  # of the service's own page the same is taken
    page.route("**/picture", partial(_picture, path=server.folder / "seven.png"))
    assert page.evaluate(SIMPLE, server.url) == 2


def _picture(route: Any, path: Path) -> None:
    route.fulfill(body=path.read_bytes(), content_type="image/png")


def test_a_page_of_an_origin_that_is_named_may_do_what_its_key_may(page: Page, start: Any, elsewhere: str) -> None:
    server = start(TWOLAYERNET_ALLOWED_ORIGINS=elsewhere)
    assert "Failed to fetch" in page.evaluate(NO_CORS, server.url)  # Cross-Origin-Resource-Policy
    assert newest(server) == 2
    assert page.evaluate(SIMPLE, server.url) == 3
    assert page.evaluate(ASKED_FIRST, [server.url, KEY]) == [4, True]
    assert '"ready"' in page.evaluate(READ, server.url)
    assert '"model_version":5' in submitted(page, server.url)
    page.goto(elsewhere.replace("stranger", "another"))
    assert "Failed to fetch" in page.evaluate(SIMPLE, server.url)
    assert newest(server) == 5


def test_the_key_is_asked_of_a_page_that_is_named_too(page: Page, start: Any, elsewhere: str) -> None:
    server = start(TWOLAYERNET_ALLOWED_ORIGINS=elsewhere, TWOLAYERNET_API_KEY=KEY)
    page.evaluate(SIMPLE, server.url)
    assert page.evaluate(ASKED_FIRST, [server.url, "another"])[0] is None
    assert newest(server) == 1
    assert page.evaluate(ASKED_FIRST, [server.url, KEY]) == [2, True]
