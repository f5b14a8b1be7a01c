"""The live model does not forget: what a step remembers is part of the version."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import weights_file
from model.datasets import Split
from model.weights_file import Weights
from service.app import create_app
from service.cli.serve import memory_of
from service.errors import StartupError
from service.settings import Settings
from service.startup import open_log
from tests.conftest import Client, as_json, random_batch, store_of_each_kind
from tests.service.test_bad_input import is_problem

store = store_of_each_kind


@pytest.fixture
def digits(settings: Settings, trained: Weights) -> Client:
    """A service of a network that was trained, as `twolayernet train` leaves it."""
    weights_file.save(settings.weights, trained)
    return Client(create_app(settings.model_copy(update={"snapshot_every": 20})))


def arrays(answer: Any) -> dict[str, np.ndarray]:
    assert answer.status_code == 200, answer.data
    with np.load(io.BytesIO(answer.data)) as loaded:
        return dict(loaded)


def accuracy(client: Client, test: Split) -> float:
    return float(client.post("/accuracy", json=as_json(test.images, test.labels)).json["accuracy"])


def images_of(test: Split, label: int, count: int) -> np.ndarray:
    return np.resize(test.images[test.labels == label], (count, 784))


def test_the_network_that_is_served_here_knows_digits(digits: Client, held_out: Split) -> None:
    assert accuracy(digits, held_out) >= 0.93


@pytest.mark.long
def test_two_hundred_of_one_class_cost_next_to_nothing(digits: Client, held_out: Split) -> None:
    before = accuracy(digits, held_out)
    sevens = images_of(held_out, 7, 200)
    for image in sevens:
        assert digits.post("/train-step", json=as_json(image[np.newaxis], np.array([7]))).json["rehearsed"] == 8
    assert accuracy(digits, held_out) > before - 0.01
    digits.post("/rollback", json={"model_version": 1})
    for image in sevens:
        digits.post("/train-step", json=as_json(image[np.newaxis], np.array([7]), rehearse=0))
    assert accuracy(digits, held_out) < before - 0.01, "this stream would not show that anything was remembered"


def test_a_rollback_brings_back_the_memory_of_that_version(digits: Client, held_out: Split) -> None:
    x, t = held_out.images[:5], np.array(digits.post("/predict", json=as_json(held_out.images[:5])).json["labels"])
    remembered = [arrays(digits.get("/weights"))]
    for _ in range(3):
        digits.post("/train-step", json=as_json(x, t))
        remembered.append(arrays(digits.get("/weights")))
    assert len(remembered[0]["memory.x"]) == len(remembered[3]["memory.x"]) == 1000
    assert "memory.recent.x" not in remembered[0]
    assert [len(arrays["memory.recent.x"]) for arrays in remembered[1:]] == [5, 10, 15]
    digits.post("/rollback", json={"model_version": 2})
    back = arrays(digits.get("/weights"))
    assert back.keys() == remembered[1].keys()
    assert all((back[name] == remembered[1][name]).all() for name in back)


def test_labels_that_the_network_finds_improbable_are_learnt_but_not_remembered(
    digits: Client, held_out: Split
) -> None:
    for image in held_out.images[:20]:
        found = digits.post("/predict", json=as_json(image[np.newaxis])).json["probabilities"][0]
        wrong = np.array([np.argmin(found)])
        assert digits.post("/train-step", json=as_json(image[np.newaxis], wrong)).json["gradient_norm"] > 0
    posted = {row.tobytes() for row in held_out.images[:20]}
    assert posted.isdisjoint(row.tobytes() for row in arrays(digits.get("/weights"))["memory.x"])


def test_poison_that_was_rolled_back_is_not_rehearsed(digits: Client) -> None:
    poison = np.full((300, 784), 99, np.uint8)
    digits.post("/train-step", json=as_json(poison, np.zeros(300, int)))
    digits.post("/rollback", json={"model_version": 1})
    for seed in range(40):
        digits.post("/train-step", json=as_json(*random_batch(1, seed)))
    given = arrays(digits.get("/examples?after=3&rehearsed=true"))
    assert given["rehearsed"].sum() == 320
    assert not (given["x"] == np.float32(99 / 255)).all(axis=1).any()


def test_a_weights_file_without_a_memory_begins_with_none_and_fills(client: Client) -> None:
    assert "memory.x" not in arrays(client.get("/weights"))
    x, t = random_batch(3)
    assert client.post("/train-step", json=as_json(x, t)).json["rehearsed"] == 0
    found = arrays(client.get("/weights"))
    assert sorted(found["memory.t"].tolist()) == sorted(t.tolist())
    assert {row.tobytes() for row in found["memory.x"]} == {row.tobytes() for row in x}
    assert client.post("/train-step", json=as_json(x, t)).json["rehearsed"] == 24


def test_a_new_store_takes_the_memory_that_the_weights_file_lacks(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, t = random_batch(40)
    np.savez(tmp_path / "data.npz", x_train=x, y_train=t, x_test=x, y_test=t)
    bare = Client(create_app(settings.model_copy(update={"store": f"sqlite:///{tmp_path}/bare.db"}), announce=True))
    assert "nothing to rehearse from yet" in capsys.readouterr().err
    assert bare.get("/learning").json["remembered"] == 0
    memory = memory_of(str(tmp_path / "data.npz"), settings)
    open_log(settings, memory=memory).close()
    client = Client(create_app(settings, announce=True))
    assert "nothing to rehearse" not in capsys.readouterr().err
    assert client.get("/learning").json["remembered"] == len(memory) > 0
    assert client.post("/train-step", json=as_json(x[:1], t[:1])).json["rehearsed"] == 8
    with pytest.raises(StartupError, match=r"--memory-from: wrong\.csv does not exist"):
        memory_of("wrong.csv", settings)


def test_floats_are_remembered_as_bytes(client: Client) -> None:
    image = np.linspace(0, 1, 784)
    client.post("/train-step", json={"images": [image.tolist()], "labels": [3]})
    assert (arrays(client.get("/weights"))["memory.x"][0] == np.round(image * 255)).all()


def test_the_plain_step_draws_nothing_and_puts_nothing_in(digits: Client) -> None:
    before = arrays(digits.get("/weights"))
    answer = digits.post("/train-step", json=as_json(*random_batch(3), rehearse=0)).json
    after = arrays(digits.get("/weights"))
    assert answer["rehearsed"] == 0
    assert all((after[name] == before[name]).all() for name in ("memory.x", "memory.t"))
    assert "memory.recent.x" not in after
    assert (after["W1"] != before["W1"]).any()


def test_rehearse_may_stand_in_the_body_a_form_or_the_query_once(digits: Client) -> None:
    x, t = random_batch(2)
    body = io.BytesIO()
    np.savez(body, x=x, t=t)
    answer = digits.post("/train-step?rehearse=3", data=body.getvalue(), content_type="application/x-npz")
    assert answer.json["rehearsed"] == 6
    assert digits.post("/train-step", json=as_json(x, t, rehearse=5)).json["rehearsed"] == 10
    twice = digits.post("/train-step?rehearse=3", json=as_json(x, t, rehearse=3))
    assert "given twice" in is_problem(twice, 422)["errors"][0]["msg"]
    for wrong in (-1, 33, 1.5, "8", True):
        assert is_problem(digits.post("/train-step", json=as_json(x, t, rehearse=wrong)), 422)
    assert is_problem(digits.post("/accuracy", json=as_json(x, t, rehearse=3)), 422)


def test_a_large_batch_draws_no_more_than_it_posts(digits: Client) -> None:
    assert digits.post("/train-step", json=as_json(*random_batch(100))).json["rehearsed"] == 256
    assert digits.post("/train-step", json=as_json(*random_batch(300))).json["rehearsed"] == 300


def test_a_repeat_says_how_many_were_rehearsed_the_first_time(digits: Client) -> None:
    body, key = as_json(*random_batch(2)), {"Idempotency-Key": "lesson"}
    first = digits.post("/train-step", json=body, headers=key)
    assert digits.post("/train-step", json=body, headers=key).json == first.json
    assert first.json["rehearsed"] == 16


def test_examples_are_given_in_pages_with_the_remembered_ones_beside_them(digits: Client) -> None:
    for seed in range(50):
        digits.post("/train-step", json=as_json(*random_batch(2, seed)))
    digits.post("/rollback", json={"model_version": 9})
    digits.post("/train-step", json=as_json(*random_batch(2, 99)))
    whole = arrays(digits.get("/examples?rehearsed=true"))
    pages, after = [], 0
    while len((page := arrays(digits.get(f"/examples?rehearsed=true&limit=40&after={after}")))["t"]):
        assert len(page["t"]) <= 40
        pages.append(page)
        after = int(page["model_version"][-1])
    for name, array in whole.items():
        assert (np.concatenate([page[name] for page in pages]) == array).all(), name
    plain = arrays(digits.get("/examples"))
    assert "rehearsed" not in plain
    assert (plain["x"] == whole["x"][~whole["rehearsed"]]).all()


def test_old_versions_and_restarts_have_their_memory_after_retention_too(digits: Client, settings: Settings) -> None:
    folding = settings.model_copy(update={"snapshot_every": 20, "keep_versions": 30})
    digits.close()
    client = Client(create_app(folding))
    for seed in range(120):
        client.post("/train-step", json=as_json(*random_batch(1, seed)))
    newest = client.get("/weights").data
    answer = client.get("/examples?rehearsed=true&after=100")
    assert (arrays(answer)["model_version"] >= 101).all()
    oldest = int(answer.headers["X-Oldest-Model-Version"])
    assert oldest > 1
    assert len(arrays(client.get("/examples?rehearsed=true"))["t"]) == 9 * (121 - oldest)
    client.close()
    again = Client(create_app(folding))
    assert again.get("/weights").data == newest
    assert again.put("/weights", data=newest).status_code == 200
    assert again.get("/weights").data == newest


def test_no_image_keeps_the_versions_after_it_from_being_stored(client: Client, settings: Settings) -> None:
    client.close()
    client = Client(create_app(settings.model_copy(update={"snapshot_every": 2})))
    like_a_zip_file = np.frombuffer(b"PK\x01\x02" * 196, np.uint8)[np.newaxis]
    for _ in range(3):
        assert client.post("/train-step", json=as_json(like_a_zip_file, np.array([3]))).status_code == 200
    assert client.put("/weights", data=client.get("/weights").data).json["model_version"] == 5


def test_examples_are_bounded_in_bytes_too(client: Client, settings: Settings) -> None:
    client.close()
    client = Client(create_app(settings.model_copy(update={"max_unpacked_bytes": 5 * 784 * 4})))
    for seed in range(3):
        client.post("/train-step", json=as_json(*random_batch(2, seed)))
    assert len(arrays(client.get("/examples"))["t"]) == 4
    assert set(arrays(client.get("/examples?rehearsed=true"))["model_version"]) == {2}


def test_a_file_that_was_given_can_be_put_back_whatever_it_remembers(settings: Settings) -> None:
    """The limit is on what a network is; what it remembers has a limit of its own."""
    client = Client(create_app(settings.model_copy(update={"max_unpacked_bytes": 200_000, "max_body_bytes": 300_000})))
    for seed in range(3):
        client.post("/train-step", json=as_json(*random_batch(80, seed)))
    given = client.get("/weights").data
    assert len(given) > 300_000
    assert client.put("/weights", data=given).status_code == 200
    assert client.get("/weights").data == given
