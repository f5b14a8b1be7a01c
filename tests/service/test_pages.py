"""The pages that browsers get: what they may load, and that it is there."""

import re
from urllib.parse import urljoin

import pytest

from service.app import create_app
from service.settings import Settings
from tests.conftest import Client, shared_client

client = shared_client

PAGES = ["/", "/docs"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_nothing_but_what_the_service_has(client: Client, page: str) -> None:
    answer = client.get(page)
    assert answer.mimetype == "text/html"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', answer.text)
    assert loaded
    while loaded:
        url = urljoin(page, loaded.pop())
        assert url.startswith("/"), url
        answer = client.get(url)
        assert answer.status_code == 200, url
        if answer.mimetype == "text/javascript" and url.startswith("/playground"):
            loaded += [urljoin(url, name) for name in re.findall(r'from "([^"]+)"', answer.text)]


@pytest.mark.parametrize("page", [*PAGES, "/openapi.json", "/playground/main.js", "/docs/swagger-ui-bundle.js"])
def test_a_page_that_is_kept_is_not_sent_again(client: Client, page: str) -> None:
    answer = client.get(page)
    head = client.open("HEAD", page)
    assert (head.status_code, head.data, head.headers["ETag"]) == (200, b"", answer.headers["ETag"])
    again = client.get(page, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers.get("Content-Security-Policy") == answer.headers.get("Content-Security-Policy")
    assert client.get(page, headers={"If-None-Match": '"another"'}).status_code == 200


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
