"""How many images a request may have, whatever brings them."""

import io

import numpy as np
import pytest

from service.app import create_app
from service.settings import Settings
from tests.conftest import Client, as_json, random_batch

MOST = 3
X, T = random_batch(MOST + 1)


@pytest.fixture
def bounded(settings: Settings) -> Client:
    return Client(create_app(settings.model_copy(update={"max_images": MOST})))


def npy(x: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, x)
    return stream.getvalue()


def tensor(x: np.ndarray) -> dict[str, object]:
    images = {"name": "images", "shape": list(x.shape), "datatype": "UINT8", "data": x.ravel().tolist()}
    return {"inputs": [images]}


def test_as_many_images_as_may_be_are_taken_and_not_one_more(bounded: Client) -> None:
    for count, status in ((MOST, 200), (MOST + 1, 422)):
        x, t = X[:count], T[:count]
        answers = [
            bounded.post("/predict", json=as_json(x)),
            bounded.post("/predict", data=npy(x), content_type="application/x-npy"),
            bounded.post("/accuracy", json=as_json(x, t)),
            bounded.post("/train-step", json=as_json(x, t)),
        ]
        assert [answer.status_code for answer in answers] == [status] * 4
        infer = bounded.post("/v2/models/twolayernet/infer", json=tensor(x))
        assert infer.status_code == (200 if status == 200 else 400)
    assert all("TWOLAYERNET_MAX_IMAGES" in answer.json["detail"] for answer in answers)
    assert bounded.get("/versions").json["versions"][0]["model_version"] == 2


def test_too_many_pictures_are_refused_before_they_are_looked_at(bounded: Client) -> None:
    files = {"image": [(io.BytesIO(b"no picture"), "x.png") for _ in range(MOST + 1)]}
    answer = bounded.post("/predict", data=files)
    assert answer.status_code == 422
    assert "4 pictures: at most 3" in answer.json["detail"]
