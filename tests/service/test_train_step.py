from dataclasses import replace

import numpy as np
import pytest

from model import replay_memory, weights_file
from model.weights_file import Weights
from service.app import create_app
from service.schemas.answers import TrainStepAnswer, VersionsAnswer
from service.settings import Settings
from tests import oracle
from tests.conftest import Client, as_json, random_batch, store_of_each_kind

store = store_of_each_kind


def test_a_step_answers_with_figures_from_before_it(client: Client, weights: Weights) -> None:
    x, t = random_batch(8)
    before = client.post("/accuracy", json=as_json(x, t)).json
    answer = client.post("/train-step", json=as_json(x, t, learning_rate=0.1)).json
    TrainStepAnswer.model_validate(answer, extra="forbid")
    assert (answer["loss"], answer["accuracy"]) == (pytest.approx(before["loss"]), before["accuracy"])
    assert (answer["model_version"], answer["count"], answer["learning_rate"]) == (2, 8, 0.1)
    _, gradient = oracle.loss_and_gradient(weights.params, x / 255, t.tolist())  # type: ignore[arg-type]
    norm = np.sqrt(sum((array**2).sum() for array in gradient.values()))
    assert answer["gradient_norm"] == pytest.approx(norm, rel=1e-5)


def test_the_next_predict_is_computed_from_the_step_s_version(client: Client, weights: Weights) -> None:
    x, t = random_batch(8)
    client.post("/train-step", json=as_json(x, t, learning_rate=0.1))
    _, gradient = oracle.loss_and_gradient(weights.params, x / 255, t.tolist())  # type: ignore[arg-type]
    params = {name: weights.params[name] - 0.1 * gradient[name] for name in gradient}
    answer = client.post("/predict", json=as_json(x)).json
    assert answer["model_version"] == 2
    assert np.array(answer["probabilities"]) == pytest.approx(oracle.probabilities(params, x / 255), abs=1e-5)


def test_steps_teach(client: Client) -> None:
    x, t = random_batch(10)
    losses = [client.post("/train-step", json=as_json(x, t)).json["loss"] for _ in range(30)]
    assert losses[-1] < losses[0] / 2


def test_the_default_learning_rate_is_a_setting(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"learning_rate": 0.5})))
    assert client.post("/train-step", json=as_json(*random_batch(1))).json["learning_rate"] == 0.5


def test_a_gradient_over_the_limit_is_clipped_and_the_answer_says_so(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"gradient_norm_limit": 0.5})))
    answer = client.post("/train-step", json=as_json(*random_batch(1), learning_rate=0.1)).json
    assert answer["gradient_norm"] > 0.5
    assert answer["clip_norm"] == 0.5
    assert answer["learning_rate"] == pytest.approx(0.1 * 0.5 / answer["gradient_norm"])
    listed = client.get("/versions").json["versions"][0]
    assert listed["learning_rate"] == answer["learning_rate"]


def test_a_service_goes_on_from_its_newest_version(settings: Settings) -> None:
    x, t = random_batch(3)
    first = Client(create_app(settings))
    for _ in range(3):
        first.post("/train-step", json=as_json(x, t))
    answer = first.post("/predict", json=as_json(x)).json
    assert answer["model_version"] == 4
    assert Client(create_app(settings)).post("/predict", json=as_json(x)).json == answer


def test_versions_are_listed_newest_first_in_pages(client: Client) -> None:
    for seed in range(5):
        client.post("/train-step", json=as_json(*random_batch(2, seed), learning_rate=0.01))
    whole = client.get("/versions").json
    VersionsAnswer.model_validate(whole, extra="forbid")
    assert [version["model_version"] for version in whole["versions"]] == [6, 5, 4, 3, 2, 1]
    assert [version["kind"] for version in whole["versions"]] == ["train-step"] * 5 + ["load"]
    assert whole["next_before"] is None
    newest = whole["versions"][0]
    assert (newest["count"], newest["learning_rate"], newest["source_version"]) == (2, 0.01, None)
    assert newest["created_at"].endswith("Z")
    pages, before = [], ""
    while True:
        page = client.get(f"/versions?limit=2{before}").json
        pages.append([version["model_version"] for version in page["versions"]])
        if page["next_before"] is None:
            break
        before = f"&before={page['next_before']}"
    assert pages == [[6, 5], [4, 3], [2, 1]]


@pytest.mark.parametrize("later", [False, True])
def test_a_loss_of_exactly_nothing_can_be_read_back(settings: Settings, weights: Weights, later: bool) -> None:
    """-log(1) is -0.0, which SQLite gives back as 0.0."""
    params = {**weights.params, "b2": np.where(np.arange(10) == 3, 200, 0).astype(np.float32)}
    remembered = replay_memory.sample(random_batch(20)[0], random_batch(20)[1], 20, seed=0)
    weights_file.save(settings.weights, replace(weights, params=params, memory=remembered))
    client = Client(create_app(settings))
    x, _ = random_batch(1)
    body = as_json(x, np.array([3]))
    if later:
        body = {"labels": [3], **client.post("/predict?remember=true", json=as_json(x)).json}
        body = {name: body[name] for name in ("prediction_ids", "labels")}
    step = client.post("/train-step", json=body)
    assert step.json["loss"] == 0
    assert Client(create_app(settings)).get("/readyz").json["model_version"] == 2
    assert client.get("/learning").json["windows"][0]["loss"] == 0
