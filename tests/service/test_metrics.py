"""What Prometheus is told, in one process; tests/processes has several."""

import re
from functools import cache
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from service.app import create_app
from service.settings import Settings
from tests.conftest import Client, as_json, random_batch
from tests.service.test_bad_input import is_problem

X, T = random_batch(3)


@cache
def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(text: str, name: str, **labels: str) -> float:
    return samples(text).get((f"twolayernet_{name}", tuple(sorted(labels.items()))), 0.0)


def scrape(client: Client) -> str:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return str(answer.text)


def test_requests_batches_and_steps_are_counted(client: Client) -> None:
    before = scrape(client)
    client.post("/predict", json=as_json(X))
    client.post("/predict", json={})
    client.post("/train-step", json=as_json(X, T, rehearse=0))
    client.get("/no/such/path")
    after = scrape(client)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    assert grown("http_requests_total", method="POST", endpoint="/predict", status="200") == 1
    assert grown("http_requests_total", method="POST", endpoint="/predict", status="422") == 1
    assert grown("http_requests_total", method="GET", endpoint="(none)", status="404") == 1
    assert grown("http_request_duration_seconds_count", method="POST", endpoint="/predict", status="200") == 1
    assert 0 < grown("http_request_duration_seconds_sum", method="POST", endpoint="/predict", status="200") < 5
    assert grown("batch_images_sum", endpoint="/predict") == 3
    assert grown("versions_total", kind="train-step") == 1
    assert grown("examples_total") == 3
    assert grown("log_wait_seconds_count") == 1
    assert value(after, "model_version") == 2
    assert value(after, "store_up") == 1
    window = client.get("/learning").json["windows"][1]
    assert (window["examples"], window["count"]) == (1000, 3)
    assert value(after, "test_then_train_loss_nats") == pytest.approx(window["loss"])
    assert value(after, "test_then_train_accuracy_ratio") == pytest.approx(window["accuracy"])
    assert value(after, "learning") == 1
    client.put("/learning", json={"state": "paused"})
    assert value(scrape(client), "learning") == 0


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=abc", "*/*;q=x", "\u00e4", ""])
def test_whatever_is_accepted_something_is_given(client: Client, accept: str) -> None:
    answer = client.get("/metrics", headers={"Accept": accept})
    assert (answer.status_code, b"twolayernet_model_version" in answer.data) == (200, True)


def test_names_are_as_prometheus_wants_them(client: Client) -> None:
    client.post("/train-step", json=as_json(X, T))
    for family in text_string_to_metric_families(scrape(client)):
        assert re.fullmatch(r"twolayernet_[a-z_]+", family.name)
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")


def test_failed_keys_are_counted_and_the_figures_want_a_key(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"api_key": SecretStr("secret")})))
    is_problem(client.get("/metrics"), 401)
    key: dict[str, Any] = {"headers": {"Authorization": "Bearer secret"}}
    before = client.get("/metrics", **key).text
    client.get("/versions")
    client.get("/versions", headers={"Authorization": "Bearer wrong"})
    after = client.get("/metrics", **key).text
    for reason in ("none", "wrong"):
        name = "failed_authentications_total"
        assert value(after, name, reason=reason) - value(before, name, reason=reason) == 1
