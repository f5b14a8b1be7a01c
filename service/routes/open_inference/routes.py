"""The routes of the Open Inference Protocol, whose errors have a form of their own:
https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md"""

from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
from flask import Blueprint, Response, jsonify
from pydantic import Field

from model.datasets import pixels_to_input
from model.functions import softmax
from service.http.authentication import require_key
from service.http.endpoint import JSON, Content, Endpoint, Errors
from service.http.model_path import inference_name
from service.http.parsing import version_number
from service.http.problems import Kind, Problem
from service.http.request import request
from service.live.service import Service
from service.routes.open_inference.schemas import (
    InferAnswer,
    InferenceErrorAnswer,
    LiveAnswer,
    ModelMetadataAnswer,
    ModelReadyAnswer,
    ServerMetadataAnswer,
    ServerReadyAnswer,
)
from service.routes.open_inference.tensors import HEADER_LENGTH, InferRequest, inference_answer, read_inference
from service.routes.predict import PredictionEndpoint, report_staleness, requested_model
from service.schemas.fields import Version

MODEL = "twolayernet"
MOST_VERSIONS_NAMED = 100
BYTES = "application/octet-stream"

FORM = Errors("InferenceError", JSON, InferenceErrorAnswer, bad_input=400)
ServerEndpoint = partial(Endpoint, form=FORM)
PATH = {"model_version": Annotated[Version, Field(description="A version in the log. Default: the newest.")]}
ModelEndpoint = partial(ServerEndpoint, errors=(404, 503), path=PATH)
HeaderLength = Annotated[
    int, Field(ge=1, description="How many bytes of the body are JSON, if bytes of tensors come after it.")
]


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("inference", __name__)
    report_staleness(routes, service)
    size = service.replica.known().weights.input_size
    black = {"name": "images", "shape": [1, size], "datatype": "UINT8", "data": [0] * size}

    @routes.get("/v2", strict_slashes=False)
    @ServerEndpoint("The server's name and version", ServerMetadataAnswer, access="predict")
    def server_metadata() -> Response:
        return jsonify(name=MODEL, version=version("twolayernet-service"), extensions=["binary_tensor_data"])

    @routes.get("/v2/health/live")
    @ServerEndpoint("Whether the process is alive", LiveAnswer, access="open")
    def live() -> Response:
        return jsonify(live=True)

    @routes.get("/v2/health/ready")
    @ServerEndpoint("Whether it can predict", ServerReadyAnswer, errors=(503,), access="open")
    def ready() -> Response:
        service.replica.newest()
        return jsonify(ready=True)

    @routes.get(f"/v2/models/{MODEL}")
    @routes.get(f"/v2/models/{MODEL}/versions/<model_version>")
    @ModelEndpoint("The model's inputs and outputs", ModelMetadataAnswer, access="predict")
    def model_metadata(model_version: str | None = None) -> Response:
        newest = service.replica.newest()
        weights = newest.weights
        if model_version is None:
            versions = [version.model_version for version in service.history.page(MOST_VERSIONS_NAMED)[0]]
        else:
            versions = [number(model_version)]
            if versions != [newest.version]:
                require_key("a version that is not the newest one")
            weights = service.replica.at(*versions).weights
        inputs = [{"name": "images", "datatype": "FP32", "shape": [-1, weights.input_size]}]
        outputs = [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, weights.output_size]},
            {"name": "labels", "datatype": "INT64", "shape": [-1]},
        ]
        return jsonify(
            name=model_name(),
            versions=list(map(str, versions)),
            platform="twolayernet_npz",
            inputs=inputs,
            outputs=outputs,
        )

    @routes.get(f"/v2/models/{MODEL}/ready")
    @routes.get(f"/v2/models/{MODEL}/versions/<model_version>/ready")
    @ModelEndpoint("Whether the model can predict", ModelReadyAnswer, access="open")
    def model_ready(model_version: str | None = None) -> Response:
        service.replica.newest()
        if model_version is not None:
            service.history.check_kept(number(model_version))
        return jsonify(name=model_name(), ready=True)

    @routes.post(f"/v2/models/{MODEL}/infer")
    @routes.post(f"/v2/models/{MODEL}/versions/<model_version>/infer")
    @PredictionEndpoint(
        "Probabilities and labels of a tensor of images",
        InferAnswer,
        body={JSON: Content((InferRequest,), examples={"black": {"inputs": [black]}}), BYTES: Content()},
        media_types=(BYTES,),
        headers={**PredictionEndpoint.keywords["headers"], HEADER_LENGTH: HeaderLength},
        sometimes={HEADER_LENGTH: HeaderLength},
        path=PATH,
        form=FORM,
    )
    def infer(model_version: str | None = None) -> Response:
        model = requested_model(request, service.replica, None if model_version is None else number(model_version))
        inference = read_inference(request, model.weights)
        probabilities = softmax(model.network.predict(pixels_to_input(inference.pixels)))
        if model_version is None:
            service.answers.answered(model.version, probabilities, 0)
        arrays: dict[str, Any] = {
            "probabilities": probabilities.astype(np.float32, copy=False),
            "labels": probabilities.argmax(axis=1).astype(np.int64, copy=False),
        }
        return inference_answer(inference, {"model_name": model_name(), "model_version": str(model.version)}, arrays)

    return routes


def model_name() -> str:
    """As the client calls it."""
    return inference_name(request.environ, MODEL)


def number(text: str) -> int:
    version = version_number(text)
    if version is None:
        raise Problem(404, f"there is no version {text[:40]!r}: versions are numbers from 1", kind=Kind.UNKNOWN_VERSION)
    return version


def error_answer(problem: Problem) -> Response | None:
    """Under /v2, an error in the protocol's form, which has 400 instead of 422. Elsewhere None."""
    if not f"{request.path}/".startswith("/v2/"):
        return None
    answer = jsonify(error=problem.detail)
    answer.status_code = 400 if problem.status == 422 else problem.status
    answer.headers.update(problem.headers)
    return answer
