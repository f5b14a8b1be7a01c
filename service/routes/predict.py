"""POST /predict, /accuracy."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from flask import Blueprint, Response
from numpy.typing import NDArray
from pydantic import Field

from model.datasets import pixels_to_input
from model.functions import confusion_matrix, softmax
from model.layers import SoftmaxWithLoss
from model.two_layer_net import accuracy_of
from service.decoders import IMAGES, LABELLED, Images, read_images, read_labelled
from service.decoders.explanation import box_of, explained
from service.http.authentication import require_key
from service.http.endpoint import Endpoint
from service.http.json_response import json_answer, named
from service.http.parsing import version_number
from service.http.problems import MIN_VERSION_HEADER, BadInput, Kind
from service.http.request import IncomingRequest, this_request
from service.live.replica import Model, Replica
from service.live.service import Service
from service.routes.image_body import of_images
from service.routes.predictions import links_of
from service.schemas.answers import AccuracyAnswer, PredictAnswer
from service.schemas.fields import MOST_AT_ONCE, Version
from service.schemas.requests import AccuracyQuery, PredictQuery
from service.settings import variable

MinVersion = Annotated[
    Version,
    Field(description="Use this version or a newer one; 503 if there is none within 250 ms.", examples=[1]),
]
Staleness = Annotated[
    float, Field(ge=0, description="For how many seconds it has been unknown whether there is a newer version.")
]
PredictionEndpoint = partial(
    Endpoint,
    access="predict",
    errors=(404, 503),
    headers={MIN_VERSION_HEADER: MinVersion},
    sometimes={"X-Model-Staleness": Staleness},
)


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("prediction", __name__)
    served = service.replica.known().weights
    report_staleness(routes, service)

    @routes.post("/predict")
    @PredictionEndpoint(
        "Labels and probabilities of images",
        PredictAnswer,
        body=of_images(IMAGES, served),
        links=links_of("$response.body#/prediction_ids/0", "$response.body#/labels/0"),
    )
    def predict(query: PredictQuery) -> Response:
        request = this_request()
        if query.remember:
            require_key("remember=true")
        model = requested_model(request, service.replica, query.model_version)
        weights = model.weights
        try:
            images = read_images(request, weights, query)
        except BadInput as error:
            if error.kind in (Kind.NO_DIGIT, Kind.SEVERAL_DIGITS):
                service.answers.refused(model.version)
            raise
        for name in ("explain", "several"):
            if getattr(query, name) and images.pictures is None:
                raise BadInput(("query", name), "only for pictures, not for arrays")
        if query.remember:
            check_can_be_kept(service, images, weights.output_size)
        probabilities = softmax(model.network.predict(pixels_to_input(images.pixels)))
        labels = probabilities.argmax(axis=1)
        fields: dict[str, Any] = {
            **named(labels, weights.label_names),
            **pictures_of(images, query, labels, probabilities.max(axis=1), weights.label_names),
        }
        if query.model_version is None:
            pictures = 0 if images.pictures is None else len(images.pictures)
            service.answers.answered(model.version, probabilities, pictures)
        if query.remember:
            pinned = query.model_version is not None and model is not service.replica.newest()
            fields["prediction_ids"] = service.label_queue.keep(
                images.pixels, probabilities, model.version, pinned=pinned
            )
        return json_answer(
            PredictAnswer, labels=labels, probabilities=probabilities, model_version=model.version, **fields
        )

    @routes.post("/accuracy")
    @PredictionEndpoint("How well labelled images are recognised", AccuracyAnswer, body=of_images(LABELLED, served))
    def accuracy(query: AccuracyQuery) -> Response:
        request = this_request()
        model = requested_model(request, service.replica, query.model_version)
        labelled = read_labelled(request, model.weights, LABELLED, query)
        logits, classes = model.network.predict(pixels_to_input(labelled.pixels)), model.weights.output_size
        return json_answer(
            AccuracyAnswer,
            accuracy=accuracy_of(logits, labelled.labels),
            loss=SoftmaxWithLoss().forward(logits, labelled.labels),
            count=len(labelled.labels),
            confusion_matrix=confusion_matrix(logits.argmax(axis=1), labelled.labels, classes),
            model_version=model.version,
            **named(range(classes), model.weights.label_names),
        )

    return routes


def pictures_of(
    images: Images, query: PredictQuery, labels: NDArray[Any], probabilities: NDArray[Any], names: Sequence[str] | None
) -> dict[str, Any]:
    """The answer's field about the pictures, if the query asks for it."""
    pictures = images.pictures
    if pictures is None or not (query.explain or query.several):
        return {}
    if not query.several:
        return {"pictures": [explained(digit) for (digit,) in pictures]}
    read = zip(labels.tolist(), probabilities, strict=True)  # orjson writes float32 as in the other field
    rows = []
    for its_digits in pictures:
        row = [
            {"label": label, "probability": probability}
            | (explained(digit) if query.explain else {"box": box_of(digit)})
            for digit, (label, probability) in zip(its_digits, read, strict=False)
        ]
        text = "".join(str(digit["label"]) if names is None else names[digit["label"]] for digit in row)
        rows.append({"text": text, "digits": row})
    return {"pictures": rows}


def report_staleness(routes: Blueprint, service: Service) -> None:
    """Add X-Model-Staleness to every answer of a model that may be stale."""

    @routes.after_request
    def with_staleness(answer: Response) -> Response:
        if (seconds := service.log.database.staleness()) is not None:
            answer.headers["X-Model-Staleness"] = f"{seconds:.1f}"
        return answer


def requested_model(request: IncomingRequest, replica: Replica, version: int | None) -> Model:
    """The named version or the newest one, and at least X-Min-Model-Version. Raises Problem."""
    at_least, newest = min_version(request), replica.newest()
    if version is None:
        if at_least > newest.version:
            require_key(f"an {MIN_VERSION_HEADER} above the newest version, {newest.version},")
            return replica.at_least(at_least)
        return newest
    if version < at_least:
        raise BadInput((MIN_VERSION_HEADER,), f"{at_least} is above model_version, which is {version}")
    if version != newest.version:
        require_key("a model_version that is not the newest one")
        return replica.at(version)
    return newest


def check_can_be_kept(service: Service, images: Images, classes: int) -> None:
    """Raises BadInput if there are too many images or too many bytes."""
    count = len(images.pixels)
    if count > MOST_AT_ONCE:
        raise BadInput((), f"{count} images: at most {MOST_AT_ONCE} are kept for labelling in one request")
    size, most_bytes = service.label_queue.bytes_of(images.pixels, classes), service.settings.remember_bytes
    if size > most_bytes:
        raise BadInput((), f"{count} images take {size:,} bytes: {variable('remember_bytes')} is {most_bytes:,}")


def min_version(request: IncomingRequest) -> int:
    """X-Min-Model-Version; 1 without it. Raises BadInput."""
    text: str | None = request.environ.get("HTTP_X_MIN_MODEL_VERSION")
    if text is None:
        return 1
    version = version_number(text.strip())
    if version is None:
        raise BadInput((MIN_VERSION_HEADER,), "expected a version number, 1 or more")
    return version
