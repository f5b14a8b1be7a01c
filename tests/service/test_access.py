from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from service.app import create_app
from service.errors import StartupError
from service.settings import Settings, load_settings
from tests.conftest import Client, as_json, random_batch, shared_client
from tests.service.test_bad_input import is_problem

client = shared_client

X, T = random_batch(1)
CLOSED: list[tuple[str, str, dict[str, Any]]] = [
    ("post", "/train-step", {"json": as_json(X, T)}),
    ("post", "/rollback", {"json": {"model_version": 1}}),
    ("post", "/unlearn", {"json": {"source": "nobody"}}),
    ("post", "/relabel", {"json": {"model_version": 1, "labels": [1]}}),
    ("post", "/classes", {"json": {}}),
    ("get", "/weights", {}),
    ("put", "/weights", {"data": b""}),
    ("get", "/examples", {}),
    ("get", "/versions", {}),
    ("get", "/predictions", {}),
    ("get", "/predictions/none/image", {}),
    ("delete", "/predictions/none", {}),
    ("get", "/learning", {}),
    ("put", "/learning", {"json": {"state": "learning"}}),
]
PREDICT: list[tuple[str, str, dict[str, Any]]] = [
    ("post", "/predict", {"json": as_json(X)}),
    ("post", "/accuracy", {"json": as_json(X, T)}),
]
HEALTH: list[tuple[str, str, dict[str, Any]]] = [("get", "/healthz", {}), ("get", "/readyz", {})]


def with_keys(settings: Settings, **keys: str) -> Client:
    return Client(create_app(settings.model_copy(update={name: SecretStr(key) for name, key in keys.items()})))


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory, shared_weights: bytes) -> Iterator[Client]:
    """A service with a key, for all tests that ask for no more than an answer's status."""
    folder = tmp_path_factory.mktemp("closed")
    (folder / "weights.npz").write_bytes(shared_weights)
    client = with_keys(Settings(weights=folder / "weights.npz", store=f"sqlite:///{folder}/store.db"), api_key="secret")
    yield client
    client.close()


def ask(client: Client, request: tuple[str, str, dict[str, Any]], authorization: str | None = None) -> Any:
    method, path, options = request
    headers = {} if authorization is None else {"Authorization": authorization}
    return getattr(client, method)(path, headers=headers, **options)


@pytest.mark.parametrize("request_", CLOSED)
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", "Bearer secre", "Basic secret", "Bearer é"]
)
def test_what_changes_the_model_or_hands_out_its_data_wants_the_key(
    closed: Client, request_: tuple[str, str, dict[str, Any]], authorization: str | None
) -> None:
    answer = ask(closed, request_, authorization)
    assert "secret" not in is_problem(answer, 401)["detail"]
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert ask(closed, request_, "Bearer secret").status_code in (200, 404, 422)


def test_a_closed_endpoint_does_not_look_at_what_an_unknown_client_sends(settings: Settings) -> None:
    client = with_keys(settings, api_key="secret")
    is_problem(client.post("/train-step", data=b"x" * 100, content_type="text/plain"), 401)
    ask(client, CLOSED[0], "bearer secret")
    assert client.post("/predict", json=as_json(X)).json["model_version"] == 2


@pytest.mark.parametrize("request_", PREDICT + HEALTH)
def test_the_rest_stays_open(settings: Settings, request_: tuple[str, str, dict[str, Any]]) -> None:
    assert ask(with_keys(settings, api_key="secret"), request_).status_code == 200


@pytest.mark.parametrize("request_", PREDICT)
def test_predict_can_be_closed_too_by_a_key_of_its_own(
    settings: Settings, request_: tuple[str, str, dict[str, Any]]
) -> None:
    client = with_keys(settings, api_key="secret", api_key_predict="reader")
    is_problem(ask(client, request_), 401)
    assert ask(client, request_, "Bearer reader").status_code == 200
    assert ask(client, request_, "Bearer secret").status_code == 200
    is_problem(ask(client, CLOSED[0], "Bearer reader"), 401)
    assert ask(client, HEALTH[0]).status_code == 200


def test_of_several_keys_each_is_accepted_as_long_as_clients_change_over(settings: Settings) -> None:
    client = with_keys(settings, api_key="old, new\n  third\n", api_key_predict="reader,other")
    for key in ("old", "new", "third"):
        assert ask(client, CLOSED[-1], f"Bearer {key}").status_code == 200
        assert ask(client, PREDICT[0], f"Bearer {key}").status_code == 200
    assert ask(client, PREDICT[0], "Bearer other").status_code == 200
    for wrong in ("old, new", "old,new", "", ","):
        is_problem(ask(client, CLOSED[-1], f"Bearer {wrong}"), 401)


def test_keys_come_out_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").write_text("new\r\nold\r\n")
    monkeypatch.setenv("TWOLAYERNET_API_KEY_FILE", str(tmp_path / "keys"))
    assert load_settings().keys("api_key") == ["new", "old"]
    monkeypatch.setenv("TWOLAYERNET_API_KEY_PREDICT_FILE", str(tmp_path / "keys"))
    assert load_settings().keys("api_key_predict") == ["new", "old"]
    monkeypatch.setenv("TWOLAYERNET_API_KEY", "third")
    with pytest.raises(StartupError, match="API_KEY and TWOLAYERNET_API_KEY_FILE are both set"):
        load_settings()


@pytest.mark.parametrize("name", ["API_KEY", "API_KEY_FILE", "API_KEY_PREDICT", "API_KEY_PREDICT_FILE"])
@pytest.mark.parametrize("value", ["", " ", "\r"])
def test_an_empty_key_or_file_of_keys_is_no_open_service(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TWOLAYERNET_{name}", value)
    with pytest.raises(StartupError, match=f"^TWOLAYERNET_{name} is empty"):
        load_settings()


def test_what_windows_adds_to_a_file_is_no_part_of_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").write_bytes(b"\xef\xbb\xbfsecret\r\n")
    for name, value in {
        "API_KEY_FILE": tmp_path / "keys",
        "API_KEY_PREDICT": "\ufeffreader",
        "STORE": "sqlite:///x.db",
        "PREFIX": "",
        "KEEP_VERSIONS": "",
        "PORT": "8001",
    }.items():
        monkeypatch.setenv(f"TWOLAYERNET_{name}", f"{value}\r")
    settings = load_settings()
    assert (settings.keys("api_key"), settings.keys("api_key_predict")) == (["secret"], ["reader"])
    assert (settings.store, settings.prefix, settings.keep_versions, settings.port) == (
        "sqlite:///x.db",
        "",
        None,
        8001,
    )


@pytest.mark.parametrize("content", [None, b"", b" \n,\n", b"\xef\xbb\xbf\r\n", b"\xff"])
def test_a_file_without_a_key_is_no_open_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    monkeypatch.setenv("TWOLAYERNET_API_KEY_FILE", str(tmp_path / "keys"))
    with pytest.raises(StartupError, match=r"TWOLAYERNET_API_KEY_FILE: the file .*keys (can't be read|holds no key)"):
        load_settings()


def test_a_key_of_any_letters_is_accepted(settings: Settings) -> None:
    for key in ("geheimà", "schlüssel€", "naïve\u0085x"):
        sent = f"Bearer {key}".encode().decode("latin-1")
        assert ask(with_keys(settings, api_key=key), CLOSED[-1], sent).status_code == 200


def test_keys_are_not_in_the_settings_as_text(settings: Settings) -> None:
    assert "secret" not in repr(settings.model_copy(update={"api_key": SecretStr("secret")}))


RULES = {
    "/": "open",
    "/playground/<name>": "open",
    "/playground/network.json": "predict",  # open without a key, which is what it says; a wrong one is refused
    "/docs": "open",
    "/docs/<name>": "open",
    "/openapi.json": "open",
    "/healthz": "open",
    "/readyz": "open",
    "/v2/health/live": "open",
    "/v2/health/ready": "open",
    "/v2/models/twolayernet/ready": "open",
    "/v2/models/twolayernet/versions/<model_version>/ready": "open",
    "POST /predict": "predict",
    "POST /accuracy": "predict",
    "/v2": "predict",
    "/v2/models/twolayernet": "predict",
    "/v2/models/twolayernet/versions/<model_version>": "predict",
    "POST /v2/models/twolayernet/infer": "predict",
    "POST /v2/models/twolayernet/versions/<model_version>/infer": "predict",
    "POST /train-step": "closed",
    "POST /rollback": "closed",
    "POST /unlearn": "closed",
    "POST /relabel": "closed",
    "POST /classes": "closed",
    "/examples": "closed",
    "/versions": "closed",
    "/weights": "closed",
    "PUT /weights": "closed",
    "/predictions": "closed",
    "/predictions/<prediction_id>/image": "closed",
    "DELETE /predictions/<prediction_id>": "closed",
    "/labels": "closed",
    "/examples/<model_version>/<index>/image": "closed",
    "/learning": "closed",
    "PUT /learning": "closed",
    "/metrics": "closed",
    "/models": "closed",
    "/models/<name>": "closed",
    "PUT /models/<name>": "closed",
    "DELETE /models/<name>": "closed",
    "POST /models/<name>/key": "closed",
    "/v2/models": "closed",
}
"""Every endpoint, and what it requires: a new one is closed until this table and the service say otherwise."""


def test_each_endpoint_requires_what_the_table_says_and_there_is_no_other(settings: Settings) -> None:
    client = with_keys(settings, api_key="secret", api_key_predict="reader")
    found = {}
    for rule in client.app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            path = (
                rule.rule.replace("<model_version>", "1")
                .replace("<prediction_id>", "x")
                .replace("<name>", "x")
                .replace("<index>", "0")
            )
            statuses = [
                client.open(method, path, headers={"Authorization": f"Bearer {key}"}).status_code
                for key in ("none", "reader", "secret")
            ]
            refused = [status == 401 for status in statuses]
            kinds = {(False,) * 3: "open", (True, False, False): "predict", (True, True, False): "closed"}
            found[rule.rule if method == "GET" else f"{method} {rule.rule}"] = kinds[tuple(refused)]
    assert found == RULES


STEP = {"json": as_json(X, T), "headers": {"Authorization": "Bearer secret"}}
V2 = "/v2/models/twolayernet/versions"
TENSOR = {"inputs": [{"name": "x", "shape": [1, 784], "datatype": "UINT8", "data": [0] * 784}]}
AHEAD = {"X-Min-Model-Version": "3"}
COSTLY: list[tuple[str, str, dict[str, Any]]] = [
    ("post", "/predict?remember=true", {"json": as_json(X)}),
    ("post", "/predict?model_version=1", {"json": as_json(X)}),
    ("post", "/predict?model_version=99", {"json": as_json(X)}),
    ("post", "/accuracy?model_version=1", {"json": as_json(X, T)}),
    ("get", f"{V2}/1", {}),
    ("post", f"{V2}/1/infer", {"json": TENSOR}),
    ("post", "/predict", {"json": as_json(X), "headers": AHEAD}),
    ("post", "/accuracy", {"json": as_json(X, T), "headers": AHEAD}),
    ("post", "/v2/models/twolayernet/infer", {"json": TENSOR, "headers": AHEAD}),
]
CHEAP: list[tuple[str, str, dict[str, Any]]] = [
    ("post", "/predict?remember=false", {"json": as_json(X)}),
    ("post", "/predict?model_version=2", {"json": as_json(X), "headers": {"X-Min-Model-Version": "2"}}),
    ("post", "/accuracy?model_version=2", {"json": as_json(X, T)}),
    ("get", f"{V2}/2", {}),
    ("post", f"{V2}/2/infer", {"json": TENSOR}),
    ("post", "/v2/models/twolayernet/infer", {"json": TENSOR, "headers": {"X-Min-Model-Version": "1"}}),
]


def sent(client: Client, request_: tuple[str, str, dict[str, Any]], key: str | None) -> Any:
    method, path, options = request_
    authorization = {} if key is None else {"Authorization": f"Bearer {key}"}
    return client.open(method, path, **{**options, "headers": {**options.get("headers", {}), **authorization}})


@pytest.mark.parametrize("request_", COSTLY)
def test_what_writes_or_costs_requires_a_key_though_predict_is_open(
    settings: Settings, request_: tuple[str, str, dict[str, Any]]
) -> None:
    client = with_keys(settings, api_key="secret")
    assert client.post("/train-step", **STEP).status_code == 200
    for key in (None, "wrong"):
        refused = sent(client, request_, key)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert sent(client, request_, "secret").status_code in (200, 404, 503)


@pytest.mark.parametrize("request_", CHEAP)
def test_what_costs_nothing_more_stays_open(settings: Settings, request_: tuple[str, str, dict[str, Any]]) -> None:
    client = with_keys(settings, api_key="secret")
    assert client.post("/train-step", **STEP).status_code == 200
    assert sent(client, request_, None).status_code == 200


@pytest.mark.parametrize("request_", COSTLY)
def test_the_key_for_predict_is_enough_for_what_writes_or_costs(
    settings: Settings, request_: tuple[str, str, dict[str, Any]]
) -> None:
    client = with_keys(settings, api_key="secret", api_key_predict="reader")
    assert client.post("/train-step", **STEP).status_code == 200
    assert sent(client, request_, None).status_code == 401
    assert sent(client, request_, "reader").status_code in (200, 404, 503)


def test_without_keys_nothing_requires_one(client: Client) -> None:
    assert client.post("/train-step", json=as_json(X, T)).status_code == 200
    for request_ in COSTLY:
        assert sent(client, request_, None).status_code in (200, 404, 503)


def test_a_key_that_is_not_text_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOLAYERNET_API_KEY", "k\udce9y")
    with pytest.raises(StartupError, match="TWOLAYERNET_API_KEY: it is not text"):
        load_settings()
