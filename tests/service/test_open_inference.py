"""/v2, as the Open Inference Protocol has it, asked by hand: tests/processes has a client that others wrote."""

import json
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from service.app import create_app
from service.settings import Settings
from tests.conftest import CLASSES, FEATURES, Client, as_json, random_batch, shared_client

client = shared_client

X, T = random_batch(3)
INFER = "/v2/models/twolayernet/infer"
AT_1 = "/v2/models/twolayernet/versions/1/infer"


def tensor(array: np.ndarray, datatype: str, **more: Any) -> dict[str, Any]:
    return {"name": "images", "shape": list(array.shape), "datatype": datatype, "data": array.tolist(), **more}


def outputs_of(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.data
    return {output["name"]: np.reshape(output["data"], output["shape"]) for output in answer.json["outputs"]}


def binary(header: Any, behind: bytes, length: Any = None) -> dict[str, Any]:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return {
        "data": text + behind,
        "headers": {"Inference-Header-Content-Length": str(len(text) if length is None else length)},
    }


def error_of(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.data
    assert answer.mimetype == "application/json"
    assert set(answer.json) == {"error"}
    return str(answer.json["error"])


@pytest.mark.parametrize("shape", [(3, FEATURES), (3, 28, 28), (3, 28, 28, 1)])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "UINT8"])
def test_a_tensor_is_answered_as_predict_answers(client: Client, shape: tuple[int, ...], datatype: str) -> None:
    expected = client.post("/predict", json=as_json(X)).json
    x = X.reshape(shape) if datatype == "UINT8" else X.reshape(shape) / 255
    flat = {**tensor(x, datatype), "data": x.ravel().tolist()}
    for body in (tensor(x, datatype), flat):
        answer = client.post(INFER, json={"id": "42", "inputs": [body], "model_name": "twolayernet"})
        found = outputs_of(answer)
        assert answer.json.keys() == {"model_name", "model_version", "id", "outputs"}
        assert (answer.json["model_name"], answer.json["model_version"], answer.json["id"]) == (
            "twolayernet",
            "1",
            "42",
        )
        np.testing.assert_array_equal(found["labels"], expected["labels"])
        np.testing.assert_allclose(found["probabilities"], expected["probabilities"], rtol=1e-5)
        assert [output["datatype"] for output in answer.json["outputs"]] == ["FP32", "INT64"]


@pytest.mark.parametrize(("datatype", "dtype"), [("FP32", "<f4"), ("FP64", "<f8"), ("UINT8", "u1")])
def test_bytes_go_in_and_out_behind_the_json(client: Client, datatype: str, dtype: str) -> None:
    expected = client.post("/predict", json=as_json(X)).json
    behind = (X if datatype == "UINT8" else X / 255).astype(dtype).tobytes()
    head = {"name": "any", "shape": [3, FEATURES], "datatype": datatype}
    asked: dict[str, Any] = {"inputs": [{**head, "parameters": {"binary_data_size": len(behind)}}]}
    as_numbers = outputs_of(client.post(INFER, **binary(asked, behind)))
    np.testing.assert_array_equal(as_numbers["labels"], expected["labels"])

    asked["outputs"] = [
        {"name": "labels", "parameters": {"binary_data": True}},
        {"name": "probabilities", "parameters": {"binary_data": False}},
    ]
    answer = client.post(INFER, **binary(asked, behind))
    length = int(answer.headers["Inference-Header-Content-Length"])
    labels, probabilities = json.loads(answer.data[:length])["outputs"]
    assert labels["parameters"] == {"binary_data_size": 24}
    assert np.frombuffer(answer.data[length:], "<i8").tolist() == expected["labels"]
    np.testing.assert_allclose(probabilities["data"], np.ravel(expected["probabilities"]), rtol=1e-5)


def test_a_version_in_the_path_is_that_version(client: Client) -> None:
    before = outputs_of(client.post(INFER, json={"inputs": [tensor(X, "UINT8")]}))
    client.post("/train-step", json=as_json(X, T, learning_rate=0.5))
    body = {"inputs": [tensor(X, "UINT8")], "outputs": [{"name": "probabilities"}]}
    newest, old = client.post(INFER, json=body), client.post(AT_1, json=body)
    assert (newest.json["model_version"], old.json["model_version"]) == ("2", "1")
    assert outputs_of(old).keys() == {"probabilities"}
    np.testing.assert_array_equal(outputs_of(old)["probabilities"], before["probabilities"])
    assert not np.array_equal(outputs_of(newest)["probabilities"], before["probabilities"])


def test_health_and_metadata(client: Client) -> None:
    assert client.get("/v2/health/live").json == {"live": True}
    assert client.get("/v2/health/ready").json == {"ready": True}
    for path in ("/v2", "/v2/"):
        assert client.get(path).json.keys() == {"name", "version", "extensions"}
    model = client.get("/v2/models/twolayernet").json
    assert model == client.get("/v2/models/twolayernet/versions/1").json
    assert model["versions"] == ["1"]
    assert model["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, FEATURES]}]
    assert {output["name"]: output["shape"] for output in model["outputs"]} == {
        "probabilities": [-1, CLASSES],
        "labels": [-1],
    }
    for path in ("/v2/models/twolayernet/ready", "/v2/models/twolayernet/versions/1/ready"):
        assert client.get(path).json == {"name": "twolayernet", "ready": True}


GOOD = tensor(X / 255, "FP64")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"data": b"{"}, "JSON"),
        ({"data": b""}, "no body"),
        ({"json": []}, "JSON object"),
        ({"json": {"inputs": []}}, "inputs"),
        ({"json": {"inputs": [GOOD, GOOD]}}, "at most 1"),
        ({"json": {"inputs": [{**GOOD, "datatype": "BYTES"}]}}, "expected 'FP32', 'FP64' or 'UINT8'"),
        ({"json": {"inputs": [tensor(X, "FP32")]}}, "datatype UINT8"),
        ({"json": {"inputs": [tensor(X + 0.5, "UINT8")]}}, "whole numbers"),
        ({"json": {"inputs": [{**GOOD, "shape": [2, FEATURES]}]}}, "numbers: the shape"),
        ({"json": {"inputs": [{**GOOD, "shape": [3, 7], "data": [0] * 21}]}}, "784 pixels"),
        ({"json": {"inputs": [{**GOOD, "shape": [2**31] * 8}]}}, "expected (n, 784)"),
        ({"json": {"inputs": [{**GOOD, "shape": [0, 2**31, 2**31, 2**31], "data": []}]}}, "expected (n, 784)"),
        (binary({"inputs": [{**GOOD, "data": None, "shape": [0] + [2**31] * 3, "parameters": {"binary_data_size": 0}}]}, b""), "expected (n, 784)"),
        ({"json": {"inputs": [{**GOOD, "data": [0] * 3 * FEATURES + ["a" * 10**6]}]}}, "expected numbers"),
        ({"json": {"inputs": [{**GOOD, "data": [[True]] + [[0]] * (3 * FEATURES - 1)}]}}, "expected numbers"),
        ({"json": {"inputs": [{**GOOD, "shape": [-1]}]}}, "shape"),
        ({"json": {"inputs": [{**GOOD, "data": [[1], [2, 3]]}]}}, "expected numbers"),
        ({"json": {"inputs": [{**GOOD, "data": ["1"] * 3 * FEATURES}]}}, "expected numbers"),
        ({"json": {"inputs": [{**GOOD, "data": None}]}}, "missing"),
        ({"data": b'{"inputs": [{"name": "x", "shape": [784], "datatype": "FP32", "data": [NaN%s]}]}' % (b", 0" * 783)}, "the pixel is NaN: expected 0…1"),
        ({"json": {"inputs": [GOOD], "outputs": [{"name": "logits"}]}}, "'probabilities' or 'labels'"),
        ({"json": {"inputs": [GOOD], "output": []}}, "did you mean outputs"),
        (binary({"inputs": [GOOD]}, b"abc"), "3 bytes"),
        (binary({"inputs": [GOOD]}, b"", 10**9), "bytes of the body"),
        (binary({"inputs": [GOOD]}, b"", "-1"), "bytes of the body"),
        (binary({"inputs": [{**GOOD, "parameters": {"binary_data_size": 3}}]}, b"abc"), "given twice"),
        (binary({"inputs": [{**GOOD, "data": None, "parameters": {"binary_data_size": 3}}]}, b"abc"), "bytes after the JSON, not 3"),
        (binary({"inputs": [{**GOOD, "data": None, "parameters": {"binary_data_size": "3"}}]}, b"abc"), "bytes after the JSON, not 3"),
    ],
)  # fmt: skip
def test_what_is_no_inference_is_said_in_the_protocol_s_form(client: Client, options: Any, said: str) -> None:
    assert said in error_of(client.post(INFER, **options), 400)


def test_every_error_under_v2_has_that_form(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"max_body_bytes": 2000, "api_key": SecretStr("secret")})))
    assert "/v2/models/twolayernet" in error_of(client.get("/v2/models/other"), 404)
    error_of(client.get("/v2/nowhere"), 404)
    for version in ("7", "0", "one", "9" * 30):
        known = {"Authorization": "Bearer secret"}
        path = f"/v2/models/twolayernet/versions/{version}"
        error_of(client.post(f"{path}/infer", json={"inputs": [GOOD]}, headers=known), 404)
        error_of(client.get(f"/v2/models/twolayernet/versions/{version}/ready"), 404)
    error_of(client.get(INFER), 405)
    error_of(client.post(INFER, data=b"x" * 3000), 413)
    error_of(client.post(INFER, data=b"x", content_type="text/plain"), 415)
    error_of(client.post(INFER, data=b"x", headers={"Content-Encoding": "br"}), 415)
    error_of(client.post(INFER, json={}, headers={"Sec-Fetch-Site": "cross-site"}), 403)
    assert client.get("/v2nowhere").mimetype == "application/problem+json"


def test_it_is_open_as_predict_is(settings: Settings) -> None:
    keys = {"api_key": SecretStr("secret"), "api_key_predict": SecretStr("reader")}
    client = Client(create_app(settings.model_copy(update=keys)))
    error_of(client.post(INFER, json={"inputs": [GOOD]}), 401)
    assert client.get("/v2/health/ready").status_code == 200
    reader = {"Authorization": "Bearer reader"}
    assert client.post(INFER, json={"inputs": [GOOD]}, headers=reader).status_code == 200
