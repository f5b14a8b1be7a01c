"""Classes that have names: they are part of the model, and answered beside the numbers."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model import weights_file
from model.weights_file import Weights
from service.app import create_app
from service.schemas.answers import AccuracyAnswer, PredictAnswer
from service.settings import Settings
from tests.conftest import Client, as_json, random_batch

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
OTHERS = tuple(f"{name} again" for name in NAMES)
X, T = random_batch(5)


@pytest.fixture
def settings(tmp_path: Path, weights: Weights) -> Settings:
    weights_file.save(tmp_path / "named.npz", replace(weights, label_names=NAMES))
    return Settings(weights=tmp_path / "named.npz", store=f"sqlite:///{tmp_path}/store.db")


def check_named(client: Client, names: tuple[str, ...], path: str = "/predict") -> None:
    answer = client.post(path, json=as_json(X)).json
    PredictAnswer.model_validate(answer, extra="forbid")
    assert answer["label_names"] == [names[label] for label in answer["labels"]]


def test_labels_are_answered_with_their_names(client: Client) -> None:
    check_named(client, NAMES)
    accuracy = client.post("/accuracy", json=as_json(X, T)).json
    AccuracyAnswer.model_validate(accuracy, extra="forbid")
    assert accuracy["label_names"] == list(NAMES)
    assert client.get("/learning").json["label_names"] == list(NAMES)


def test_names_outlive_steps_a_rollback_a_load_and_a_restart(client: Client, settings: Settings) -> None:
    client.post("/train-step", json=as_json(X, T))
    check_named(client, NAMES)
    client.post("/rollback", json={"model_version": 1})
    check_named(client, NAMES)
    data = client.get("/weights").data
    assert weights_file.from_bytes(data).label_names == NAMES
    plain = io.BytesIO()
    np.savez(plain, **weights_file.from_bytes(data).params)  # type: ignore[arg-type]
    assert client.put("/weights", data=plain.getvalue()).status_code == 200
    check_named(client, NAMES)
    renamed = replace(weights_file.from_bytes(data), label_names=OTHERS)
    assert client.put("/weights", data=weights_file.to_bytes(renamed)).status_code == 200
    client.post("/train-step", json=as_json(X, T))
    client.close()
    again = Client(create_app(settings))
    check_named(again, OTHERS)
    check_named(again, NAMES, "/predict?model_version=4")


def test_the_same_classes_in_another_order_are_refused(client: Client, weights: Weights) -> None:
    """What the history says of class 0 would be said of another one."""
    turned = weights_file.to_bytes(replace(weights, label_names=NAMES[::-1]))
    answer = client.put("/weights", data=turned)
    assert (answer.status_code, "in another order" in answer.json["detail"]) == (422, True)
    check_named(client, NAMES)


def test_names_that_do_not_fit_are_refused(client: Client, weights: Weights) -> None:
    named = weights_file.to_bytes(replace(weights, label_names=NAMES))
    with np.load(io.BytesIO(named)) as arrays:
        settings = str(arrays["settings"])
        for changed, message in (
            (settings.replace('"three", ', ""), "label_names has 9 names, but W2 gives 10 classes"),
            (settings.replace("three", "seven"), "label_names has 'seven' twice"),
            (settings.replace('"three"', "3"), "it should be a list of texts"),
            (settings.replace("three", " "), "class 3 should have 1 to 100 characters"),
        ):
            stream = io.BytesIO()
            np.savez(stream, **{**dict(arrays), "settings": np.array(changed)})
            answer = client.put("/weights", data=stream.getvalue())
            assert answer.status_code == 422
            assert message in answer.json["detail"]
    check_named(client, NAMES)
