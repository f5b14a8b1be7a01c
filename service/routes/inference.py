"""/v2: the Open Inference Protocol, which clients of KServe, Triton and MLServer speak. Its errors have a form of their
own: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md"""

from functools import partial
from importlib.metadata import version
from typing import Annotated, Any

import numpy as np
import orjson
from flask import Blueprint, Flask, Response, jsonify
from pydantic import Field

from model.datasets import pixels_to_input
from model.functions import softmax
from service.http.access import require_key
from service.http.incoming import request
from service.http.operation import JSON, Content, Errors
from service.http.problems import MEDIA_TYPE, Kind, Problem
from service.http.queries import digits
from service.live.service import Service
from service.routes.endpoint import Endpoint
from service.routes.prediction import MIN_VERSION, asked_for, say_how_stale
from service.routes.protocol import (
    InferAnswer,
    InferenceErrorAnswer,
    LiveAnswer,
    ModelMetadataAnswer,
    ModelReadyAnswer,
    ServerMetadataAnswer,
    ServerReadyAnswer,
)
from service.routes.tensors import HEADER_LENGTH, InferRequest, inference_answer, read_inference
from service.schemas import LARGEST_VERSION, Version

MODEL = "twolayernet"
MOST_VERSIONS_NAMED = 100
BYTES = "application/octet-stream"

endpoint = partial(Endpoint, form=Errors("InferenceError", JSON, InferenceErrorAnswer, bad_input=400))
OF_A_VERSION = {"model_version": Annotated[Version, Field(description="One that is kept; without it, the newest.")]}
HeaderLength = Annotated[
    int, Field(ge=1, description="How many bytes of the body are JSON, where bytes of tensors stand behind it.")
]


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("inference", __name__)
    say_how_stale(routes, service)
    size = service.replica.known().weights.input_size
    black = {"name": "images", "shape": [1, size], "datatype": "UINT8", "data": [0] * size}

    @routes.get("/v2", strict_slashes=False)
    @endpoint("The server's name and version", ServerMetadataAnswer, access="predict")
    def server_metadata() -> Response:
        return jsonify(name=MODEL, version=version("twolayernet-service"), extensions=["binary_tensor_data"])

    @routes.get("/v2/health/live")
    @endpoint("Whether the process lives", LiveAnswer, access="open")
    def live() -> Response:
        return jsonify(live=True)

    @routes.get("/v2/health/ready")
    @endpoint("Whether it can predict", ServerReadyAnswer, errors=(503,), access="open")
    def ready() -> Response:
        service.replica.newest()
        return jsonify(ready=True)

    @routes.get(f"/v2/models/{MODEL}")
    @routes.get(f"/v2/models/{MODEL}/versions/<model_version>")
    @endpoint(
        "The model's inputs and outputs",
        ModelMetadataAnswer,
        errors=(404, 503),
        path=OF_A_VERSION,
        access="predict",
    )
    def model_metadata(model_version: str | None = None) -> Response:
        newest = service.replica.newest()
        weights = newest.weights
        if model_version is None:
            versions = [version.model_version for version in service.history.page(MOST_VERSIONS_NAMED)[0]]
        else:
            versions = [number(model_version)]
            if versions != [newest.version]:
                require_key("a version that is not the newest one")
            service.history.check_kept(*versions)
        inputs = [{"name": "images", "datatype": "FP32", "shape": [-1, weights.input_size]}]
        outputs = [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, weights.output_size]},
            {"name": "labels", "datatype": "INT64", "shape": [-1]},
        ]
        return jsonify(
            name=MODEL, versions=list(map(str, versions)), platform="twolayernet_npz", inputs=inputs, outputs=outputs
        )

    @routes.get(f"/v2/models/{MODEL}/ready")
    @routes.get(f"/v2/models/{MODEL}/versions/<model_version>/ready")
    @endpoint("Whether the model can predict", ModelReadyAnswer, errors=(404, 503), path=OF_A_VERSION, access="open")
    def model_ready(model_version: str | None = None) -> Response:
        service.replica.newest()
        if model_version is not None:
            service.history.check_kept(number(model_version))
        return jsonify(name=MODEL, ready=True)

    @routes.post(f"/v2/models/{MODEL}/infer")
    @routes.post(f"/v2/models/{MODEL}/versions/<model_version>/infer")
    @endpoint(
        "Probabilities and labels of a tensor of images",
        InferAnswer,
        body={JSON: Content((InferRequest,), examples={"black": {"inputs": [black]}}), BYTES: Content()},
        media_types=(BYTES,),
        errors=(404, 503),
        headers={**MIN_VERSION, HEADER_LENGTH: HeaderLength},
        sometimes={HEADER_LENGTH: HeaderLength},
        path=OF_A_VERSION,
        access="predict",
    )
    def infer(model_version: str | None = None) -> Response:
        model = asked_for(request, service.replica, None if model_version is None else number(model_version))
        inference = read_inference(request, model.weights)
        probabilities = softmax(model.network.predict(pixels_to_input(inference.pixels)))
        arrays: dict[str, Any] = {
            "probabilities": probabilities.astype(np.float32, copy=False),
            "labels": probabilities.argmax(axis=1).astype(np.int64, copy=False),
        }
        return inference_answer(inference, {"model_name": MODEL, "model_version": str(model.version)}, arrays)

    return routes


def number(text: str) -> int:
    version = digits(text)
    if version is None or not 1 <= version <= LARGEST_VERSION:
        raise Problem(404, f"there is no version {text[:40]!r}: versions are numbers from 1", kind=Kind.UNKNOWN_VERSION)
    return version


def errors_in_the_protocol_s_form(app: Flask) -> None:
    """Under /v2, every problem document becomes what the protocol has for it; what is 422 elsewhere is its 400."""

    @app.after_request
    def in_the_protocol_s_form(answer: Response) -> Response:
        if (
            answer.status_code >= 400
            and answer.mimetype == MEDIA_TYPE
            and (request.path == "/v2" or request.path.startswith("/v2/"))
        ):
            problem = orjson.loads(answer.get_data())
            answer.set_data(orjson.dumps({"error": problem["detail"]}))
            answer.mimetype = "application/json"
            if answer.status_code == 422:
                answer.status_code = 400
        return answer
