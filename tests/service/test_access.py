from typing import Any

import pytest
from pydantic import SecretStr

from service.app import create_app
from service.settings import Settings
from tests.conftest import Client, as_json, random_batch
from tests.service.test_bad_input import is_problem

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


def test_keys_are_not_in_the_settings_as_text(settings: Settings) -> None:
    assert "secret" not in repr(settings.model_copy(update={"api_key": SecretStr("secret")}))
