"""A client that openapi-python-client makes from /openapi.json, at a real service."""

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.weights_file import Weights
from tests.conftest import random_batch
from tests.processes.server import Server

pytestmark = pytest.mark.browser

PACKAGE = "client_made_by_a_generator"
X, T = random_batch(3)


@pytest.fixture
def server(tmp_path: Path, weights: Weights) -> Iterator[Server]:
    server = Server(tmp_path).start()
    yield server
    server.kill()


@pytest.fixture
def call(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """An operation, called with what it takes, by the name of its module."""
    (tmp_path / "openapi.json").write_bytes(server.get("/openapi.json").content)
    generate = [str(Path(sys.executable).parent / "openapi-python-client"), "generate", "--path", "openapi.json"]
    generate += ["--meta", "none", "--output-path", PACKAGE, "--fail-on-warning"]
    generate += ["--config", str(Path(__file__).with_name("client.yaml"))]
    done = subprocess.run(generate, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    client = import_module(PACKAGE).Client(base_url=server.url)

    def called(operation: str, *path: Any, **takes: Any) -> Any:
        answer = import_module(f"{PACKAGE}.api.{operation}").sync_detailed(*path, client=client, **takes)
        assert answer.status_code < 300, answer.content
        return answer.content if answer.parsed is None else answer.parsed

    with client:
        yield called


def test_it_has_every_endpoint_and_predicts_teaches_and_goes_back(call: Callable[..., Any], server: Server) -> None:
    models = import_module(f"{PACKAGE}.models")
    images = {"images": X.tolist(), "pixel_max": models.ImagesRequestPixelMaxType0.VALUE_255}
    before = call("prediction.predict", body=models.ImagesRequest(**images), remember=True)
    assert before.labels == server.predict(X)["labels"]

    labelled = {**images, "pixel_max": models.TrainStepRequestPixelMaxType0.VALUE_255, "labels": T.tolist()}
    step = call("learning.train_step", body=models.TrainStepRequest(**labelled, learning_rate=0.5))
    assert (step.model_version, step.count) == (2, 3)
    remembered = models.RememberedRequest(labels=[1], prediction_ids=before.prediction_ids[:1])
    assert call("learning.train_step", body=remembered, idempotency_key="once").model_version == 3
    assert call("learning.train_step", body=remembered, idempotency_key="once").model_version == 3
    (second, third) = call("predictions.predictions", order=models.PredictionsOrder.UNCERTAIN).predictions
    assert {second.prediction_id, third.prediction_id} == set(before.prediction_ids[1:])

    back = call("learning.rollback", body=models.RollbackRequest(model_version=1))
    assert (back.model_version, back.source_version) == (4, 1)
    after = call("prediction.predict", body=models.ImagesRequest(**images), x_min_model_version=4)
    assert after.probabilities == before.probabilities
    assert [version.kind for version in call("versions.versions", limit=2).versions] == ["rollback", "train-step"]

    file = import_module(f"{PACKAGE}.types").File
    weights = call("weights.get_weights", model_version=2)
    assert np.load(io.BytesIO(weights.payload.read()))["W1"].shape == (784, 50)
    weights.payload.seek(0)
    assert call("weights.put_weights", body=file(payload=weights.payload.read())).kind == "load"

    tensor = models.InputTensor("images", [3, 784], models.InputTensorDatatype.UINT8, data=X.ravel().tolist())
    probabilities, labels = call("inference.infer_at_model_version", 1, body=models.InferRequest([tensor])).outputs
    assert labels.data == before.labels
    np.testing.assert_allclose(np.reshape(probabilities.data, (3, 10)), before.probabilities, rtol=1e-5)
