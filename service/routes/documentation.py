"""GET /openapi.json, /docs: what there is, for programs and to try."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import orjson
from flask import Blueprint, Response, current_app

from service.http.answers import NPZ
from service.http.incoming import request
from service.http.openapi import FORM, JSON, Content, Operation, document
from service.http.queries import read_query
from service.http.static import Static, packaged
from service.images import IMAGE_DECODERS, LABELLED_DECODERS
from service.images.body import IMAGES, LABELLED, TRAIN_STEP, Takes
from service.live.service import Service
from service.schemas import (
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
    VersionAnswer,
    VersionsAnswer,
    VersionsQuery,
    WeightsQuery,
)

DESCRIBED = """A two-layer network that keeps learning while it is served. Every step that was answered with 200 is
durable, seen by all workers at once, applied in one order, and can be taken back."""

A_SEVEN = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAABwAAAAcCAAAAABXZoBIAAAATklEQVR42tWOwQoAIAhDdfT/v2yXiJyZ0Km8BHu8NpEfzsarHKwxtupQGgf8"
    "BzdOinRN0qkpXBtxEAN0U3HajSDqnelEglaYKfRzCvO568PaCx8IDhMmAAAAAElFTkSuQmCC"
)
"""28 × 28 pixels."""

ONCE = {
    "Idempotency-Key": "Of your own making: a repeat with the same body gets the first answer, and changes nothing."
}
PREDICTION = {"prediction_id": "What /predict?remember=true gave."}


def bodies(
    types: Iterable[str], takes: Takes, example: Mapping[str, Any], *others: type[Request]
) -> dict[str, Content]:
    """A body of images, of each content type that there is a decoder for."""
    return {
        **{name: Content() for name in types},
        JSON: Content((takes.whole, *others), examples={"picture": example}),
        FORM: Content((takes.form,), files="image"),
    }


OPERATIONS = {
    "prediction.predict": Operation(
        "Labels and probabilities of images",
        PredictAnswer,
        PredictQuery,
        bodies(IMAGE_DECODERS, IMAGES, {"image": A_SEVEN}),
        errors=(404, 503),
    ),
    "prediction.accuracy": Operation(
        "How well labelled images are recognised",
        AccuracyAnswer,
        AccuracyQuery,
        bodies(LABELLED_DECODERS, LABELLED, {"image": A_SEVEN, "labels": [7]}),
        errors=(404, 503),
    ),
    "learning.train_step": Operation(
        "One gradient step on labelled images, or on remembered ones",
        TrainStepAnswer,
        TrainStepQuery,
        bodies(LABELLED_DECODERS, TRAIN_STEP, {"image": A_SEVEN, "labels": [7]}, RememberedRequest),
        errors=(409, 503),
        headers=ONCE,
    ),
    "learning.rollback": Operation(
        "A new version with the weights of an older one",
        VersionAnswer,
        body={JSON: Content((RollbackRequest,), examples={"first": {"model_version": 1}})},
        errors=(404, 409, 503),
        headers=ONCE,
    ),
    "learning.examples": Operation(
        "The labelled examples that train-steps brought",
        NPZ,
        ExamplesQuery,
        errors=(503,),
        given={"X-Oldest-Model-Version": "Where the log begins."},
    ),
    "predictions.predictions": Operation(
        "Remembered predictions that wait for a label", PredictionsAnswer, PredictionsQuery, errors=(503,)
    ),
    "predictions.image": Operation(
        "The image of a remembered prediction", "image/png", errors=(404, 503), path=PREDICTION
    ),
    "predictions.delete": Operation("Forget a remembered prediction", None, errors=(404, 503), path=PREDICTION),
    "progress.get_learning": Operation(
        "How well the network does, and whether it learns", LearningAnswer, errors=(503,)
    ),
    "progress.put_learning": Operation(
        "Pause learning, or go on",
        LearningAnswer,
        body={JSON: Content((LearningRequest,), examples={"go on": {"state": "learning"}})},
        errors=(503,),
    ),
    "versions.versions": Operation("The log, newest first", VersionsAnswer, VersionsQuery, errors=(503,)),
    "weights.get_weights": Operation(
        "The weights of the newest version, or of another one",
        NPZ,
        WeightsQuery,
        errors=(404, 412, 503),
        headers={
            "If-None-Match": "The ETag of what the client has: 304 where it is the same.",
            "If-Match": "The ETag that is wanted: 412 where it is another one.",
        },
        given={"ETag": "Of these bytes.", "X-Model-Version": "The version."},
    ),
    "weights.put_weights": Operation(
        "A new version with weights from a file",
        VersionAnswer,
        PutWeightsQuery,
        {NPZ: Content(), "application/octet-stream": Content()},
        errors=(409, 412, 503),
        headers={**ONCE, "If-Match": "The ETag of the version that is to be replaced: 412 where there is a newer one."},
    ),
    "health.healthz": Operation("Whether the process lives", HealthAnswer),
    "health.readyz": Operation("Whether it can serve", ReadyAnswer, errors=(503,)),
}

NOT_DESCRIBED = ("documentation.", "playground.", "inference.", "monitoring.")
"""What is there for browsers and for whoever reads the document."""


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("documentation", __name__)

    @lru_cache(maxsize=4)
    def described(root: str) -> Static:
        """root: where the service is mounted, as the client sees it."""
        whole = {**document(current_app, OPERATIONS, DESCRIBED, service.settings), "servers": [{"url": root or "/"}]}
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
