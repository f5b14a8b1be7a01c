"""The pages that browsers get: what they may load, and that it is there."""

import json
import re
from pathlib import Path
from urllib.parse import urljoin

import pytest
from pydantic import SecretStr

import service
from service.app import create_app
from service.settings import Settings
from tests.conftest import Client, shared_client

client = shared_client

PAGES = ["/", "/docs", "/models"]
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}
PLAYGROUND = Path(service.__file__).parent / "playground"
ENTRIES = {"index.html": "main.js", "wall.html": "wall.js"}
"""The pages, and the module that each begins with."""

MODULES = sorted(PLAYGROUND.glob("*.js"))
ENGLISH: dict[str, str] = json.loads((PLAYGROUND / "en.json").read_text())


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_nothing_but_what_the_service_has(client: Client, page: str) -> None:
    answer = client.get(page, headers=BROWSER)
    assert answer.mimetype == "text/html"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', answer.text)
    assert loaded
    seen: set[str] = set()
    while loaded:
        url = urljoin(page, loaded.pop())
        if url in seen:
            continue
        seen.add(url)
        assert url.startswith("/"), url
        answer = client.get(url)
        assert answer.status_code == 200, url
        if answer.mimetype == "text/javascript" and url.startswith("/playground"):
            loaded += [urljoin(url, name) for name in re.findall(r'from "([^"]+)"', answer.text)]


@pytest.mark.parametrize("page", [*PAGES, "/openapi.json", "/playground/main.js", "/docs/swagger-ui-bundle.js"])
def test_a_page_that_is_kept_is_not_sent_again(client: Client, page: str) -> None:
    answer = client.get(page, headers=BROWSER)
    head = client.open("HEAD", page, headers=BROWSER)
    assert (head.status_code, head.data, head.headers["ETag"]) == (200, b"", answer.headers["ETag"])
    again = client.get(page, headers=BROWSER | {"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers.get("Content-Security-Policy") == answer.headers.get("Content-Security-Policy")
    assert client.get(page, headers=BROWSER | {"If-None-Match": '"another"'}).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "/playground/none.js",
        "/playground/",
        "/playground/..%2Fapp.py",
        "/playground/..%2Fswagger%2Fstart.js",
        "/playground/%2Fetc%2Fhostname.js",
        "/docs/..",
        "/docs/%00.js",
        "/docs/.js",
    ],
)
def test_no_other_file_is_handed_out(client: Client, name: str) -> None:
    assert client.get(name).status_code == 404


def test_under_a_prefix_the_page_is_where_its_files_are_found(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"prefix": "/models/digits"})))
    answer = client.get("/models/digits")
    assert (answer.status_code, answer.headers["Location"]) == (308, "/models/digits/")
    assert client.get("/models/digits/").mimetype == "text/html"


@pytest.mark.parametrize("language", ["de", "fr", "ja", "ko", "zh"])
def test_no_message_is_missing_in_any_language(language: str) -> None:
    messages: dict[str, str] = json.loads((PLAYGROUND / f"{language}.json").read_text())
    without_singular = {name for name in ENGLISH if name.endswith(".one")} if language in ("ja", "ko", "zh") else set()
    assert set(messages) == set(ENGLISH) - without_singular
    for name, text in messages.items():
        assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", ENGLISH[name])), name


def test_the_page_says_nothing_that_is_no_message_and_no_message_is_left_over() -> None:
    html = "".join((PLAYGROUND / name).read_text() for name in ENTRIES)
    code = "".join(path.read_text() for path in MODULES)
    for name, text in re.findall(r'data-say="([^"]+)"[^>]*>([^<]*)<', html):
        assert ENGLISH[name] == text
    for name, text in re.findall(r'data-label="([^"]+)"\s+aria-label="([^"]+)"', html):
        assert ENGLISH[name] == text
    named = set(re.findall(r'"([a-z][\w.-]*)"', html + code))
    families = ("problem", "kind.", "state.", "draw.", "intro.", "lesson-", "queue-help.", "several-digits", "no-digit")
    unused = {name.removesuffix(".one").removesuffix(".other") for name in ENGLISH} - named
    assert {name for name in unused if not name.startswith(families)} == set()


def test_every_module_is_small_and_asked_for_at_once() -> None:
    imported = {path.name: set(re.findall(r'"\./([^"]+\.js)"', path.read_text())) for path in MODULES}
    for html, entry in ENTRIES.items():
        preloaded = re.findall(r'modulepreload" href="playground/([^"]+)"', (PLAYGROUND / html).read_text())
        assert preloaded == sorted(preloaded), html
        assert set(preloaded) == set().union(*(imported[name] for name in [entry, *preloaded])), html
    assert set(imported) == set().union(*imported.values(), ENTRIES.values())
    assert {path.name: len(path.read_text().splitlines()) for path in MODULES if path.stat().st_size > 12_000} == {}
    assert all(len(path.read_text().splitlines()) <= 200 for path in MODULES)


def test_the_page_is_told_what_is_served_and_what_its_key_opens(settings: Settings) -> None:
    keys = {"api_key": SecretStr("full"), "api_key_predict": SecretStr("predict")}
    client = Client(create_app(settings.model_copy(update=keys)))

    def may(key: str | None) -> object:
        answer = client.get("/playground/network.json", headers={"Authorization": f"Bearer {key}"} if key else {})
        return answer.json["may"] if answer.status_code == 200 else answer.status_code

    assert may(None) == {"predict": False, "teach": False}
    assert may("predict") == {"predict": True, "teach": False}
    assert may("full") == {"predict": True, "teach": True}
    assert may("wrong") == 401
