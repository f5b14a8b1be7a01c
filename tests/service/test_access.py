import time
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


def ask(client: Client, request: tuple[str, str, dict[str, Any]], authorization: str | None = None) -> Any:
    method, path, options = request
    headers = {} if authorization is None else {"Authorization": authorization}
    return getattr(client, method)(path, headers=headers, **options)


@pytest.mark.parametrize("request_", CLOSED)
@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer wrong", "Bearer secre", "Basic secret", "Bearer é"]
)
def test_what_changes_the_model_or_hands_out_its_data_wants_the_key(
    settings: Settings, request_: tuple[str, str, dict[str, Any]], authorization: str | None
) -> None:
    client = with_keys(settings, api_key="secret")
    answer = ask(client, request_, authorization)
    assert "secret" not in is_problem(answer, 401)["detail"]
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert ask(client, request_, "Bearer secret").status_code in (200, 404, 422)


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
        time.sleep(0.05)
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


@pytest.mark.parametrize("content", [None, b"", b" \n,\n", b"\xff"])
def test_a_file_without_a_key_is_no_open_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    monkeypatch.setenv("TWOLAYERNET_API_KEY_FILE", str(tmp_path / "keys"))
    with pytest.raises(StartupError, match=r"TWOLAYERNET_API_KEY_FILE: the file .*keys (can't be read|holds no key)"):
        load_settings()


def test_who_tries_keys_is_slowed_down_and_others_are_not(settings: Settings) -> None:
    client = with_keys(settings.model_copy(update={"threads": 1}), api_key="secret")  # of one thread, none may wait
    statuses = [ask(client, CLOSED[-1], f"Bearer {n}").status_code for n in range(300)]
    assert statuses[0] == 401
    assert statuses.count(429) > 200
    refused = ask(client, CLOSED[-1], "Bearer secrets")
    is_problem(refused, 429)
    assert refused.headers["Retry-After"] == "1"
    assert ask(client, CLOSED[-1], "Bearer secret").status_code == 200  # as somebody behind the same address would
    elsewhere = {"environ_base": {"REMOTE_ADDR": "203.0.113.9"}}
    assert client.get("/versions", headers={"Authorization": "Bearer secret"}, **elsewhere).status_code == 200
    assert ask(client, PREDICT[0]).status_code == 200
    is_problem(ask(client, CLOSED[-1]), 401)


def test_a_key_of_any_letters_is_accepted(settings: Settings) -> None:
    for key in ("geheimà", "schlüssel€", "naïve\u0085x"):
        sent = f"Bearer {key}".encode().decode("latin-1")
        assert ask(with_keys(settings, api_key=key), CLOSED[-1], sent).status_code == 200


def test_one_who_asks_again_at_once_gets_the_same_answer_later(settings: Settings) -> None:
    client = with_keys(settings, api_key="secret")
    began = time.monotonic()
    for n in range(6):
        is_problem(ask(client, CLOSED[-1], f"Bearer {n}"), 401)
    assert 0.3 < time.monotonic() - began < 2


def test_keys_are_not_in_the_settings_as_text(settings: Settings) -> None:
    assert "secret" not in repr(settings.model_copy(update={"api_key": SecretStr("secret")}))
