"""The Open Inference Protocol, spoken by clients that others wrote, against a running service."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model import TwoLayerNet, weights_file
from model.weights_file import Weights
from tests.conftest import CLASSES, FEATURES, random_batch
from tests.processes.server import Server

triton = pytest.importorskip("tritonclient.http", reason="tritonclient is not installed")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("inference")
    network = TwoLayerNet(FEATURES, 50, CLASSES, "he", seed=1, dtype=np.float32)
    weights_file.save(folder / "weights.npz", Weights(network.params, image_shape=(28, 28)))
    server = Server(folder, workers=1).start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    yield client
    client.close()


def test_triton_s_client_finds_the_model(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("twolayernet")
    assert client.is_model_ready("twolayernet", "1")
    assert not client.is_model_ready("twolayernet", "7")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("twolayernet")["inputs"][0]["shape"] == [-1, FEATURES]


@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "UINT8"])
def test_triton_s_client_gets_what_predict_gives(
    server: Server, client: Any, datatype: str, as_bytes: bool, packed: str | None
) -> None:
    x, _ = random_batch(5)
    expected = server.predict(x)
    array = x if datatype == "UINT8" else (x / 255).astype({"FP32": np.float32, "FP64": np.float64}[datatype])
    tensor = triton.InferInput("images", list(x.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=as_bytes)
    wanted = [triton.InferRequestedOutput(name, binary_data=as_bytes) for name in ("labels", "probabilities")]
    for outputs in (wanted, None):
        result = client.infer(
            "twolayernet", [tensor], model_version="1", outputs=outputs, request_id="42",
            request_compression_algorithm=packed, response_compression_algorithm=packed,
        )  # fmt: skip
        assert result.get_response()["id"] == "42"
        assert result.as_numpy("labels").tolist() == expected["labels"]
        np.testing.assert_allclose(result.as_numpy("probabilities"), expected["probabilities"], rtol=1e-5)


def test_triton_s_client_understands_the_errors(client: Any) -> None:
    tensor = triton.InferInput("images", [1, 3], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 3), np.float32))
    with pytest.raises(triton.InferenceServerException, match=r"784 pixels") as caught:
        client.infer("twolayernet", [tensor])
    assert caught.value.status() == "400"


def test_kserve_s_client_gets_what_predict_gives(server: Server) -> None:
    python = os.environ.get("KSERVE_PYTHON")
    if python is None:
        pytest.skip("KSERVE_PYTHON names no Python that has requirements/kserve.txt: .ci/kserve makes one")
    program = Path(__file__).with_name("kserve_client.py")
    done = subprocess.run([python, program, server.url], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said.pop("live"), said.pop("ready"), said.pop("model ready")) == (True, True, True)
    assert "784 pixels" in said.pop("error")
    expected = server.predict(np.arange(2 * FEATURES, dtype=np.uint8).reshape(2, FEATURES))
    assert len(said) == 6
    for id_, name, outputs in said.values():
        assert (id_, name, outputs["labels"]) == ("42", "twolayernet", expected["labels"])
        np.testing.assert_allclose(outputs["probabilities"], expected["probabilities"], rtol=1e-5)
