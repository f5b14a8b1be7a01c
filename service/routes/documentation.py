"""GET /openapi.json, /docs: what there is, for programs and to try."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any

import orjson
from flask import Blueprint, Response, current_app
from pydantic import Field

from model.weights import Weights
from service.http.answers import NPZ
from service.http.incoming import request
from service.http.openapi import FORM, JSON, Content, Errors, Json, Link, Operation, document
from service.http.queries import read_query
from service.http.static import Static, packaged
from service.images import IMAGE_DECODERS, LABELLED_DECODERS
from service.images.body import IMAGES, LABELLED, TRAIN_STEP, Takes
from service.images.picture_body import TYPES
from service.live.service import Service
from service.routes.protocol import (
    InferAnswer,
    InferenceErrorAnswer,
    LiveAnswer,
    ModelMetadataAnswer,
    ModelReadyAnswer,
    ServerMetadataAnswer,
    ServerReadyAnswer,
)
from service.routes.tensors import InferRequest
from service.schemas import (
    LONGEST_KEY,
    AccuracyAnswer,
    AccuracyQuery,
    ExamplesQuery,
    HealthAnswer,
    LearningAnswer,
    LearningRequest,
    PredictAnswer,
    PredictionsAnswer,
    PredictionsQuery,
    PredictQuery,
    PutWeightsQuery,
    ReadyAnswer,
    RememberedRequest,
    Request,
    RollbackRequest,
    TrainStepAnswer,
    TrainStepQuery,
    Version,
    VersionAnswer,
    VersionsAnswer,
    VersionsQuery,
    WeightsQuery,
)

DESCRIBED = """A two-layer network that keeps learning while it is served. Every step that was answered with 200 is
durable, seen by all workers at once, applied in one order, and can be taken back. Bodies may be packed:
Content-Encoding gzip or deflate."""

A_SEVEN = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAATklEQVR42tWOwQoAIAhDdfT/v2yXiJyZ0Km8BHu8NpEfzsarHKwxtupQGgf8"
    "BzdOinRN0qkpXBtxEAN0U3HajSDqnelEglaYKfRzCvO568PaCx8IDhMmAAAAAElFTkSuQmCC"
)
"""28 × 28 pixels."""

IdempotencyKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_KEY,
        description="Of your own making: a repeat with the same body gets the first answer, and changes nothing.",
    ),
]
MinVersion = Annotated[
    Version,
    Field(
        description="From this version or a newer one; 503 where there is none. One above the newest requires a key.",
        examples=[1],
    ),
]
ETagToReplace = Annotated[str, Field(description="The ETag of GET /weights: 412 where the newest version has another.")]
ETagWanted = Annotated[str, Field(description="The ETag that is wanted: 412 where it is another one.")]
ETagKept = Annotated[str, Field(description="The ETag of what the client has: 304 where it is the same.")]
ETag = Annotated[str, Field(description="Of these bytes.")]
VersionAnswered = Annotated[int, Field(ge=1, description="The version.")]
OldestVersion = Annotated[int, Field(ge=1, description="Where the log begins.")]
Staleness = Annotated[
    float, Field(ge=0, description="For how many seconds nobody could tell whether there is a newer version.")
]
PredictionId = Annotated[str, Field(description="What /predict?remember=true gave.")]
HeaderLength = Annotated[
    int, Field(ge=1, description="How many bytes of the body are JSON, where bytes of tensors stand behind it.")
]

CHANGE = {"Idempotency-Key": IdempotencyKey, "If-Match": ETagToReplace}
MIN_VERSION = {"X-Min-Model-Version": MinVersion}
STALENESS = {"X-Model-Staleness": Staleness}
PREDICTION = {"prediction_id": PredictionId}

NEW_VERSION = "$response.body#/model_version"
OF_NEW_VERSION = (
    Link("learning.rollback", body={"model_version": NEW_VERSION}),
    Link("weights.get_weights", {"query.model_version": NEW_VERSION}),
    Link("versions.versions", {"query.before": NEW_VERSION}),
    Link("inference.model_metadata_at_model_version", {"path.model_version": NEW_VERSION}),
)
NEXT_BEFORE = "$response.body#/next_before"
FIRST_ID, FIRST_WAITING = "$response.body#/prediction_ids/0", "$response.body#/predictions/0/prediction_id"


def of_prediction(prediction_id: str, label: str) -> tuple[Link, ...]:
    return (
        Link("predictions.image", {"path.prediction_id": prediction_id}),
        Link("predictions.delete", {"path.prediction_id": prediction_id}),
        Link("learning.train_step", body={"prediction_ids": [prediction_id], "labels": [label]}),
    )


def bodies(
    types: Iterable[str], takes: Takes, example: Mapping[str, Any], *others: type[Request]
) -> dict[str, Content]:
    """A body of images, of each content type that there is a decoder for."""
    return {
        **{name: Content() for name in types},
        JSON: Content((takes.whole, *others), examples={"picture": example}),
        FORM: Content((takes.form,), files="image", file_types=TYPES),
    }


OPERATIONS = {
    "prediction.predict": Operation(
        "Labels and probabilities of images",
        PredictAnswer,
        PredictQuery,
        bodies(IMAGE_DECODERS, IMAGES, {"image": A_SEVEN}),
        errors=(404, 503),
        headers=MIN_VERSION,
        sometimes=STALENESS,
        links=of_prediction(FIRST_ID, "$response.body#/labels/0"),
    ),
    "prediction.accuracy": Operation(
        "How well labelled images are recognised",
        AccuracyAnswer,
        AccuracyQuery,
        bodies(LABELLED_DECODERS, LABELLED, {"image": A_SEVEN, "labels": [7]}),
        errors=(404, 503),
        headers=MIN_VERSION,
        sometimes=STALENESS,
    ),
    "learning.train_step": Operation(
        "One gradient step on labelled images, or on remembered ones",
        TrainStepAnswer,
        TrainStepQuery,
        bodies(LABELLED_DECODERS, TRAIN_STEP, {"image": A_SEVEN, "labels": [7]}, RememberedRequest),
        errors=(409, 412, 503),
        headers=CHANGE,
        links=OF_NEW_VERSION,
    ),
    "learning.rollback": Operation(
        "A new version with the weights of an older one",
        VersionAnswer,
        body={JSON: Content((RollbackRequest,), examples={"first": {"model_version": 1}})},
        errors=(404, 409, 412, 503),
        headers=CHANGE,
        links=OF_NEW_VERSION,
    ),
    "learning.examples": Operation(
        "The labelled examples that train-steps brought",
        query=ExamplesQuery,
        media_types=(NPZ,),
        errors=(503,),
        given={"X-Oldest-Model-Version": OldestVersion},
    ),
    "predictions.predictions": Operation(
        "Remembered predictions that wait for a label",
        PredictionsAnswer,
        PredictionsQuery,
        errors=(503,),
        links=(
            *of_prediction(FIRST_WAITING, "$response.body#/predictions/0/label"),
            Link("predictions.predictions", {"query.before": NEXT_BEFORE}),
        ),
    ),
    "predictions.image": Operation(
        "The image of a remembered prediction", media_types=("image/png",), errors=(404, 503), path=PREDICTION
    ),
    "predictions.delete": Operation("Forget a remembered prediction", errors=(404, 503), path=PREDICTION),
    "progress.get_learning": Operation(
        "How well the network does, and whether it learns", LearningAnswer, errors=(503,)
    ),
    "progress.put_learning": Operation(
        "Pause learning, or go on",
        LearningAnswer,
        body={JSON: Content((LearningRequest,), examples={"go on": {"state": "learning"}})},
        errors=(503,),
    ),
    "versions.versions": Operation(
        "The log, newest first",
        VersionsAnswer,
        VersionsQuery,
        errors=(503,),
        links=(
            Link("learning.rollback", body={"model_version": "$response.body#/versions/0/model_version"}),
            Link("versions.versions", {"query.before": NEXT_BEFORE}),
        ),
    ),
    "weights.get_weights": Operation(
        "The weights of the newest version, or of another one",
        query=WeightsQuery,
        media_types=(NPZ,),
        errors=(404, 412, 503),
        headers={"If-None-Match": ETagKept, "If-Match": ETagWanted},
        given={"ETag": ETag, "X-Model-Version": VersionAnswered},
        links=(
            Link("weights.put_weights", {"header.If-Match": "$response.header.ETag"}),
            Link("weights.get_weights", {"header.If-None-Match": "$response.header.ETag"}),
        ),
    ),
    "weights.put_weights": Operation(
        "A new version with weights from a file",
        VersionAnswer,
        PutWeightsQuery,
        {NPZ: Content(), "application/octet-stream": Content()},
        errors=(409, 412, 503),
        headers=CHANGE,
        links=OF_NEW_VERSION,
    ),
    "health.healthz": Operation("Whether the process lives", HealthAnswer),
    "health.readyz": Operation("Whether it can serve", ReadyAnswer, errors=(503,)),
    "monitoring.prometheus": Operation(
        "What Prometheus reads, of all workers together",
        media_types=("text/plain", "application/openmetrics-text"),
    ),
}

IN_THE_PROTOCOL = Errors("InferenceError", JSON, InferenceErrorAnswer, bad_input=400)
OF_A_VERSION = {"model_version": Annotated[Version, Field(description="One that is kept; without it, the newest.")]}


def inference(served: Weights) -> dict[str, Operation]:
    """The Open Inference Protocol's, with an example that fits."""
    black = {"name": "images", "shape": [1, served.input_size], "datatype": "UINT8", "data": [0] * served.input_size}
    operations = {
        "inference.server_metadata": Operation("The server's name and version", ServerMetadataAnswer),
        "inference.live": Operation("Whether the process lives", LiveAnswer),
        "inference.ready": Operation("Whether it can predict", ServerReadyAnswer, errors=(503,)),
        "inference.model_metadata": Operation(
            "The model's inputs and outputs", ModelMetadataAnswer, errors=(404, 503), path=OF_A_VERSION
        ),
        "inference.model_ready": Operation(
            "Whether the model can predict", ModelReadyAnswer, errors=(404, 503), path=OF_A_VERSION
        ),
        "inference.infer": Operation(
            "Probabilities and labels of a tensor of images",
            InferAnswer,
            body={
                JSON: Content((InferRequest,), examples={"black": {"inputs": [black]}}),
                "application/octet-stream": Content(),
            },
            media_types=("application/octet-stream",),
            errors=(404, 503),
            headers={**MIN_VERSION, "Inference-Header-Content-Length": HeaderLength},
            sometimes={"Inference-Header-Content-Length": HeaderLength},
            path=OF_A_VERSION,
        ),
    }
    return {name: replace(operation, form=IN_THE_PROTOCOL) for name, operation in operations.items()}


NOT_DESCRIBED = ("documentation.", "playground.")
"""What is there for browsers and for whoever reads the document."""


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("documentation", __name__)

    @lru_cache(maxsize=4)
    def described(root: str) -> Static:
        """root: where the service is mounted, as the client sees it."""
        served = service.replica.newest().weights
        operations = {**OPERATIONS, **inference(served)}
        whole = {**document(current_app, operations, DESCRIBED, service.settings), "servers": [{"url": root or "/"}]}
        put_sizes(whole["components"]["schemas"], served)
        put_examples(whole["paths"], served)
        put_largest_rate(whole, service.settings.max_learning_rate)
        return Static.of(orjson.dumps(whole), JSON)

    @routes.get("/openapi.json")
    def openapi() -> Response:
        read_query(request, Request)
        return described(request.root_path).answer(request)

    @routes.get("/docs")
    def docs() -> Response:
        return packaged("service", "swagger", "index.html").answer(request)

    @routes.get("/docs/<name>")
    def file(name: str) -> Response:
        """start.js is ours, all else the package's that shows the document."""
        ours = name == "start.js"
        return packaged(*(("service", "swagger") if ours else ("flask_swagger_ui", "dist")), name).answer(request)

    return routes


def put_sizes(schemas: Json, served: Weights) -> None:
    """What the served network takes and gives: the sizes are the same in all versions of a store."""
    schemas["FlatImage"] |= exactly(served.input_size)
    schemas["OneHot"] |= exactly(served.output_size)
    schemas["Label"] |= {"maximum": served.output_size - 1}
    if served.image_shape is not None:
        rows, columns = served.image_shape
        schemas["Rows"] |= exactly(rows)
        schemas["Row"] |= exactly(columns)


def put_largest_rate(schema: Any, largest: float) -> None:
    """Wherever a request names a learning rate, the one number that has to be above 0."""
    if isinstance(schema, dict) and schema.get("exclusiveMinimum") == 0:
        schema["maximum"] = largest
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        put_largest_rate(part, largest)


def put_examples(paths: Json, served: Weights) -> None:
    """Such as this network takes: a picture where its input is one, and a class that it has."""
    for operation in (operation for methods in paths.values() for operation in methods.values()):
        json = operation.get("requestBody", {}).get("content", {}).get(JSON, {})
        for example in json.get("examples", {}).values():
            value = dict(example["value"])
            if "image" in value and served.image_shape is None:
                value["image"] = [0] * served.input_size
            if value.get("labels") == [7] and served.output_size <= 7:
                value["labels"] = [0]
            example["value"] = value


def exactly(count: int) -> Json:
    return {"minItems": count, "maxItems": count}
