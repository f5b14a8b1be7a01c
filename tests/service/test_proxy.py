"""Behind a proxy: a prefix path, and whose word about the client is taken."""

import pytest
from flask import Flask, Response, jsonify, request

from service.app import create_app
from service.errors import StartupError
from service.settings import Settings, load_settings
from tests.conftest import Client, as_json, random_batch
from tests.service.test_bad_input import is_problem

FORWARDED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "models.example",
    "X-Forwarded-Prefix": "/digits",
}


def with_echo(settings: Settings) -> Client:
    app: Flask = create_app(settings)

    @app.get("/echo")
    def echo() -> Response:
        return jsonify(client=request.remote_addr, root=request.url_root)

    return Client(app)


def test_what_a_stranger_says_about_itself_is_not_believed(settings: Settings) -> None:
    assert with_echo(settings).get("/echo", headers=FORWARDED).json == {
        "client": "127.0.0.1",
        "root": "http://localhost/",
    }


def test_a_trusted_proxy_is_believed_and_those_before_it_are_not(settings: Settings) -> None:
    client = with_echo(settings.model_copy(update={"trusted_proxies": 1}))
    expected = {"client": "203.0.113.9", "root": "https://localhost/"}
    assert client.get("/echo", headers=FORWARDED).json == expected
    lied = {**FORWARDED, "X-Forwarded-For": "10.0.0.1, 203.0.113.9"}
    assert client.get("/echo", headers=lied).json == expected


def test_host_and_prefix_are_believed_where_a_setting_of_their_own_says_so(settings: Settings) -> None:
    client = with_echo(settings.model_copy(update={"trusted_proxies": 1, "trusted_forwarded_host": True}))
    assert client.get("/echo", headers=FORWARDED).json["root"] == "https://models.example/digits/"
    alone = with_echo(settings.model_copy(update={"trusted_forwarded_host": True}))
    assert alone.get("/echo", headers=FORWARDED).json["root"] == "http://localhost/"


def test_the_named_hosts_hold_for_what_the_proxy_did_not_set(settings: Settings) -> None:
    client = with_echo(settings.model_copy(update={"trusted_proxies": 1, "trusted_hosts": "models.example"}))
    is_problem(client.get("/echo", headers={"Host": "evil.example", "X-Forwarded-Host": "models.example"}), 400)


@pytest.mark.parametrize("believed", [False, True])
@pytest.mark.parametrize(
    ("path", "location"),
    [("/m", "/m/"), ("/m/v2//health/live?x=1", "/m/v2/health/live?x=1"), ("/m/v2//a%0d%0ab", None), ("/m/", None)],
)
def test_a_redirect_leads_to_the_service_itself(
    settings: Settings, path: str, location: str | None, believed: bool
) -> None:
    changes = {"prefix": "/m", "trusted_proxies": 1, "trusted_forwarded_host": believed}
    client = with_echo(settings.model_copy(update=changes))
    headers = {"X-Forwarded-Prefix": "//evil.example", "X-Forwarded-Host": "evil.example"}
    answer = client.get(path, headers=headers)
    if location is not None:
        assert answer.status_code == 308
    assert answer.headers.get("Location", location) == location
    assert "evil.example" not in answer.headers.get("Location", "")


def test_everything_is_under_the_prefix_and_nothing_beside_it(settings: Settings) -> None:
    client = with_echo(settings.model_copy(update={"prefix": "/models/digits"}))
    body = as_json(random_batch(1)[0])
    assert client.post("/models/digits/predict", json=body).json["model_version"] == 1
    assert client.get("/models/digits/echo").json["root"] == "http://localhost/models/digits/"
    for path in ("/predict", "/models/predict", "/models/digitspredict"):
        assert "the service is at /models/digits/" in is_problem(client.post(path, json=body), 404)["detail"]
    is_problem(client.get("/models/digits/nowhere"), 404)


@pytest.mark.parametrize("prefix", ["models", "/models/", "/mo dels", "//"])
def test_a_prefix_that_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("TWOLAYERNET_PREFIX", prefix)
    with pytest.raises(StartupError, match="TWOLAYERNET_PREFIX"):
        load_settings()
