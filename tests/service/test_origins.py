"""What a page of another origin can have its reader's browser do: nothing, unless the settings name it."""

from typing import Any

import pytest
from pydantic import SecretStr

from service.app import create_app
from service.errors import StartupError
from service.server.address import say_where
from service.settings import Settings, load_settings
from tests.conftest import Client, as_json, random_batch, shared_client
from tests.service.test_bad_input import is_problem

client = shared_client

X, T = random_batch(1)
FRIEND = "https://friend.example"
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FOREIGN: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "what is that"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://localhost:3000"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "null"},
    {"Origin": "http://evil.example", "X-Forwarded-Host": "evil.example"},
    {"Origin": "http://[", "Host": "localhost"},
    {"Origin": "http://localhost:8000", "Host": "localhost"},
    {**LINK, "Sec-Fetch-Dest": "iframe"},
]
OWN: list[dict[str, str]] = [
    {},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost"},
    {"Origin": "http://localhost:80"},
    {"Origin": "https://localhost:8443", "Host": "localhost:8443"},
    {"Origin": "http://[::1]:8000", "Host": "[::1]:8000"},
]


def with_settings(settings: Settings, **changes: Any) -> Client:
    return Client(create_app(settings.model_copy(update=changes)))


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_of_another_origin_changes_nothing_and_reads_nothing(client: Client, headers: dict[str, str]) -> None:
    for answer in (
        client.post("/train-step", json=as_json(X, T), headers=headers),
        client.post("/predict", json=as_json(X), headers=headers),
        client.put("/weights", data=b"", headers=headers),
        client.get("/weights", headers=headers),
        client.get("/readyz", headers=headers),
        client.get("/nowhere", headers=headers),
    ):
        is_problem(answer, 403)
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert client.get("/readyz").json["model_version"] == 1


@pytest.mark.parametrize("headers", OWN)
def test_the_service_s_own_pages_and_clients_that_are_no_browsers_go_on(
    client: Client, headers: dict[str, str]
) -> None:
    assert client.post("/train-step", json=as_json(X, T), headers=headers).status_code == 200


def test_a_link_from_elsewhere_can_be_followed_but_no_form_sent(client: Client) -> None:
    assert client.get("/healthz", headers=LINK).status_code == 200
    is_problem(client.post("/train-step", json=as_json(X, T), headers=LINK), 403)


def test_behind_a_trusted_proxy_the_host_is_the_one_that_the_browser_asked(settings: Settings) -> None:
    client = with_settings(settings, trusted_proxies=1, trusted_forwarded_host=True)
    headers = {"Origin": "https://models.example", "X-Forwarded-Host": "models.example", "X-Forwarded-Proto": "https"}
    assert client.get("/versions", headers=headers).status_code == 200
    is_problem(client.get("/versions", headers={**headers, "X-Forwarded-Host": "other.example"}), 403)
    is_problem(client.get("/versions", headers={**headers, "X-Forwarded-Proto": "http"}), 403)


def test_the_scheme_counts_where_a_trusted_proxy_names_it(settings: Settings) -> None:
    client = with_settings(settings, trusted_proxies=1)
    page = {"Origin": "http://models.example", "Host": "models.example"}
    assert client.put("/learning", json={"state": "learning"}, headers=page).status_code == 200
    tls = {**page, "X-Forwarded-Proto": "https"}
    is_problem(client.put("/learning", json={"state": "learning"}, headers=tls), 403)
    own = {**tls, "Origin": "https://models.example"}
    assert client.put("/learning", json={"state": "learning"}, headers=own).status_code == 200


def test_an_origin_that_is_named_gets_cors_answers_and_no_other_does(settings: Settings) -> None:
    client = with_settings(settings, allowed_origins=f"{FRIEND},http://[::1]:3000", api_key=SecretStr("secret"))
    friend = {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"}
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}
    preflight = client.app.test_client().options("/train-step", headers={**friend, **wanted})
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == FRIEND
    assert preflight.headers["Access-Control-Allow-Headers"].lower() == "authorization, content-type"
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    assert preflight.headers["Vary"] == "Origin"

    key = {"Authorization": "Bearer secret"}
    step = client.post("/train-step", json=as_json(X, T), headers={**friend, **key})
    assert step.status_code == 200
    assert step.headers["Access-Control-Allow-Origin"] == FRIEND
    refused = client.post("/train-step", json=as_json(X, T), headers=friend)
    is_problem(refused, 401)
    assert refused.headers["Access-Control-Allow-Origin"] == FRIEND

    for origin in ("https://friend.example.evil.example", "https://friendxexample", "http://friend.example", "null"):
        stranger = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
        for answer in (
            client.app.test_client().options("/train-step", headers={**stranger, **wanted}),
            client.post("/train-step", json=as_json(X, T), headers={**stranger, **key}),
        ):
            is_problem(answer, 403)
            assert "Access-Control-Allow-Origin" not in answer.headers
    assert client.get("/versions", headers={"Origin": "http://[::1]:3000", **key}).status_code == 200


def test_another_host_is_refused_where_hosts_are_named(settings: Settings) -> None:
    client = with_settings(settings, trusted_hosts="models.example,.internal")
    for host in (
        "models.example",
        "models.example:8000",
        "a.internal",
        "127.0.0.1:8000",
        "localhost",
        "MODELS.Example.:80",
    ):
        assert client.get("/readyz", headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", "models.example.evil.example", "127.0.0.1.evil.example", "", "a b", "[::ffff]"):
        is_problem(client.post("/train-step", json=as_json(X, T), headers={"Host": host}), 400)
        is_problem(client.get("/healthz", headers={"Host": host, "Origin": f"http://{host}"}), 400)
    assert client.get("/readyz").json["model_version"] == 1


REBOUND = ("evil.example", "evil.example:5000", "localhost.evil.example", "127.0.0.1.evil.example", "127.1", "", "a b")


def test_on_loopback_only_the_names_of_loopback_are_answered(settings: Settings) -> None:
    client = with_settings(settings)
    for host in ("localhost", "LOCALHOST.:5000", "127.0.0.1", "127.0.0.1:5000", "[::1]", "[::1]:5000"):
        assert client.get("/readyz", headers={"Host": host}).status_code == 200, host
    for host in REBOUND:
        page = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        problem = is_problem(client.post("/train-step", json=as_json(X, T), headers=page), 400)
        assert "TWOLAYERNET_TRUSTED_HOSTS" in problem["detail"]
        is_problem(client.get("/healthz", headers=page), 400)
    named = with_settings(settings, trusted_hosts="models.example")
    assert named.get("/readyz", headers={"Host": "models.example:5000"}).status_code == 200
    is_problem(named.get("/readyz", headers={"Host": "evil.example"}), 400)


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.7", "::", "models.internal", "/run/socket", ""])
def test_a_socket_that_others_reach_answers_to_any_host(settings: Settings, address: str) -> None:
    """SERVER_NAME is the address of the socket, whatever the setting `host` says."""
    client = with_settings(settings, host="127.0.0.1")
    environ = {"SERVER_NAME": address}
    answer = client.get("/readyz", headers={"Host": "models.example"}, environ_overrides=environ)
    assert answer.status_code == 200
    local = {"SERVER_NAME": "127.0.0.1"}
    other = with_settings(settings, host="0.0.0.0")
    is_problem(other.get("/readyz", headers={"Host": "models.example"}, environ_overrides=local), 400)


def test_behind_a_trusted_proxy_on_loopback_any_host_is_answered(settings: Settings) -> None:
    client = with_settings(settings, trusted_proxies=1)
    assert client.get("/readyz", headers={"Host": "models.example"}).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "friend.example"),
        ("ALLOWED_ORIGINS", "https://friend.example/page"),
        ("ALLOWED_ORIGINS", "https://friend.example:port"),
        ("TRUSTED_HOSTS", "*"),
        ("TRUSTED_HOSTS", "http://models.example"),
        ("TRUSTED_HOSTS", "models..example"),
    ],
)
def test_what_names_no_origin_and_no_host_is_a_mistake(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TWOLAYERNET_{name}", value)
    with pytest.raises(StartupError, match=f"TWOLAYERNET_{name} is .* is not (an origin|a host name)"):
        load_settings()


def test_origins_may_be_written_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOLAYERNET_ALLOWED_ORIGINS", "HTTPS://Friend.example:443/, http://localhost:3000")
    assert load_settings().allowed_origins == "https://friend.example,http://localhost:3000"


@pytest.mark.parametrize(
    ("host", "key", "warned"),
    [
        ("0.0.0.0", None, True),
        ("::", None, True),
        ("models.example", None, True),
        ("127.0.0.1", None, False),
        ("::1", None, False),
        ("localhost", None, False),
        ("0.0.0.0", SecretStr("secret"), False),
    ],
)
def test_a_start_that_opens_the_service_to_all_says_what_anyone_may_do(
    settings: Settings, capsys: pytest.CaptureFixture[str], host: str, key: SecretStr | None, warned: bool
) -> None:
    say_where(settings.model_copy(update={"host": host, "api_key": key}), 8000)
    said = capsys.readouterr().err
    assert ("WARNING" in said and "can train the model" in said and "TWOLAYERNET_API_KEY" in said) == warned


def test_every_answer_says_what_it_is_and_whose(settings: Settings) -> None:
    client = with_settings(settings, api_key=SecretStr("secret"), prefix="/m")
    key = {"Authorization": "Bearer secret"}
    for method, path, options, status in (
        ("get", "/m/readyz", {}, 200),
        ("get", "/m/", {}, 200),
        ("get", "/m/docs", {}, 200),
        ("get", "/m/openapi.json", {}, 200),
        ("get", "/m/weights", {"headers": key}, 200),
        ("get", "/m/metrics", {"headers": key}, 200),
        ("post", "/m/predict", {"json": {}}, 422),
        ("get", "/m/versions", {}, 401),
        ("get", "/m/nowhere", {}, 404),
        ("get", "/nowhere", {}, 404),
        ("get", "/m", {}, 308),
    ):
        answer = client.open(method, path, **options)
        assert answer.status_code == status, path
        assert answer.headers.getlist("X-Content-Type-Options") == ["nosniff"], path
        assert answer.headers.getlist("Cross-Origin-Resource-Policy") == ["same-origin"], path
