import threading

import numpy as np
import pytest

from model.weights_file import Weights
from service.schemas.answers import AccuracyAnswer, PredictAnswer
from tests import oracle
from tests.conftest import Client, as_json, random_batch, shared_client

client = shared_client


def test_predict_answers_with_labels_probabilities_and_version(client: Client, weights: Weights) -> None:
    x, _ = random_batch(3)
    answer = client.post("/predict", json=as_json(x))
    assert answer.status_code == 200
    PredictAnswer.model_validate_json(answer.data, strict=True, extra="forbid")
    expected = oracle.probabilities(weights.params, x / 255)  # type: ignore[arg-type]
    assert np.array(answer.json["probabilities"]) == pytest.approx(expected, abs=1e-6)
    assert answer.json["labels"] == expected.argmax(axis=1).tolist()
    assert answer.json["model_version"] == 1


def test_the_same_image_in_every_json_form_gets_the_same_answer(client: Client) -> None:
    x, _ = random_batch(1)
    flat, rows = x[0].tolist(), x[0].reshape(28, 28).tolist()
    bodies = [
        {"images": [flat], "pixel_max": 255},
        {"images": [rows], "pixel_max": 255},
        {"image": flat, "pixel_max": 255},
        {"image": rows, "pixel_max": 255.0},
        {"images": [flat], "image": None, "pixel_max": 255},
        {"images": (x / np.float32(255)).astype(float).tolist()},
    ]
    answers = [client.post("/predict", json=body).json for body in bodies]
    assert answers == [answers[0]] * len(bodies)


def test_accuracy_counts_what_was_right(client: Client) -> None:
    x, t = random_batch(40)
    predicted = np.array(client.post("/predict", json=as_json(x)).json["labels"])
    t[:25], t[25:] = predicted[:25], (predicted[25:] + 1) % 10
    answer = client.post("/accuracy", json=as_json(x, t)).json
    AccuracyAnswer.model_validate(answer, extra="forbid")
    assert answer["accuracy"] == 0.625
    assert answer["count"] == 40
    expected = np.zeros((10, 10), int)
    for true, label in zip(t, predicted, strict=True):
        expected[true, label] += 1
    assert answer["confusion_matrix"] == expected.tolist()


def test_one_hot_labels_are_the_same_as_class_numbers(client: Client) -> None:
    x, t = random_batch(5)
    one_hot = {**as_json(x), "labels": np.eye(10)[t].tolist()}
    assert client.post("/accuracy", json=one_hot).json == client.post("/accuracy", json=as_json(x, t)).json


def test_threads_of_one_process_get_whole_answers_while_the_model_learns(client: Client) -> None:
    """Two answers that name one version are the same answer."""
    x, t = random_batch(2)
    seen: dict[int, set[bytes]] = {}
    stop = threading.Event()

    def predict() -> None:
        own = Client(client.app)
        while not stop.is_set():
            answer = own.post("/predict", json=as_json(x))
            seen.setdefault(answer.json["model_version"], set()).add(answer.data)

    threads = [threading.Thread(target=predict) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        assert client.post("/train-step", json=as_json(x, t)).status_code == 200
    stop.set()
    for thread in threads:
        thread.join()
    assert len(seen) > 5
    assert all(len(answers) == 1 for answers in seen.values())
