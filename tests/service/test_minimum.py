"""X-Min-Model-Version: an answer from a version that is new enough, or none."""

import pytest

from tests.conftest import Client, as_json, random_batch
from tests.service.test_bad_input import is_problem

X, T = random_batch(2)


@pytest.mark.parametrize(("path", "body"), [("/predict", as_json(X)), ("/accuracy", as_json(X, T))])
def test_an_answer_is_as_new_as_it_was_wanted(client: Client, path: str, body: object) -> None:
    client.post("/train-step", json=as_json(X, T))
    assert client.post(path, json=body, headers={"X-Min-Model-Version": "2"}).json["model_version"] == 2
    answer = client.post(path, json=body, headers={"X-Min-Model-Version": "3"})
    assert "no version 3 yet: the newest is 2" in is_problem(answer, 503)["detail"]
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("value", ["", "0", "-1", "two", "1.0", "٣", "9" * 30])
def test_a_minimum_that_is_no_version_is_422(client: Client, value: str) -> None:
    problem = is_problem(client.post("/predict", json=as_json(X), headers={"X-Min-Model-Version": value}), 422)
    assert problem["errors"][0]["loc"] == ["X-Min-Model-Version"]


def test_a_minimum_above_the_version_that_is_named_is_422(client: Client) -> None:
    headers = {"X-Min-Model-Version": "2"}
    is_problem(client.post("/predict?model_version=1", json=as_json(X), headers=headers), 422)
    assert client.post("/v2/models/twolayernet/versions/1/infer", json={}, headers=headers).status_code == 400
