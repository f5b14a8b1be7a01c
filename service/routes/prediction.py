"""POST /predict, /accuracy."""

from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field

from model.datasets import pixels_to_input
from model.functions import confusion_matrix, softmax
from model.layers import SoftmaxWithLoss
from model.two_layer_net import accuracy_of
from service.http.access import require_key
from service.http.answers import json_answer, named
from service.http.incoming import IncomingRequest, this_request
from service.http.problems import MIN_VERSION_HEADER, BadInput
from service.http.queries import digits
from service.images import IMAGE_DECODERS, IMAGES, LABELLED, LABELLED_DECODERS, Images, read_images, read_labelled
from service.images.explained import explained
from service.live.replica import Model, Replica
from service.live.service import Service
from service.routes.endpoint import Endpoint, a_labelled_image, an_image, of_images
from service.routes.predictions import of_prediction
from service.schemas import (
    LARGEST_VERSION,
    MOST_AT_ONCE,
    AccuracyAnswer,
    AccuracyQuery,
    PredictAnswer,
    PredictQuery,
    Version,
)
from service.settings import variable

MinVersion = Annotated[
    Version,
    Field(description="From this version or a newer one; 503 where there is none within 250 ms.", examples=[1]),
]
MIN_VERSION = {MIN_VERSION_HEADER: MinVersion}
Staleness = Annotated[
    float, Field(ge=0, description="For how many seconds nobody could tell whether there is a newer version.")
]
STALENESS = {"X-Model-Staleness": Staleness}


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("prediction", __name__)
    served = service.replica.known().weights

    say_how_stale(routes, service)

    @routes.post("/predict")
    @Endpoint(
        "Labels and probabilities of images",
        PredictAnswer,
        body=of_images(IMAGE_DECODERS, IMAGES, an_image(served)),
        access="predict",
        errors=(404, 503),
        headers=MIN_VERSION,
        sometimes=STALENESS,
        links=of_prediction("$response.body#/prediction_ids/0", "$response.body#/labels/0"),
    )
    def predict(query: PredictQuery) -> Response:
        request = this_request()
        if query.remember:
            require_key("remember=true")
        model = asked_for(request, service.replica, query.model_version)
        images = read_images(request, model.weights, query)
        if query.explain and images.found is None:
            raise BadInput(("query", "explain"), "only pictures can be explained, not arrays")
        if query.remember:
            check_few_enough(service, images, model.weights.output_size)
        pictures = {"pictures": [explained(digit) for digit in images.found or ()]} if query.explain else {}
        probabilities = softmax(model.network.predict(pixels_to_input(images.pixels)))
        labels = probabilities.argmax(axis=1)
        ids = {}
        if query.remember:
            ids["prediction_ids"] = service.waiting.keep(images.pixels, probabilities, model.version)
        return json_answer(
            PredictAnswer,
            labels=labels,
            probabilities=probabilities,
            model_version=model.version,
            **named(labels, model.weights.label_names),
            **pictures,
            **ids,
        )

    @routes.post("/accuracy")
    @Endpoint(
        "How well labelled images are recognised",
        AccuracyAnswer,
        body=of_images(LABELLED_DECODERS, LABELLED, a_labelled_image(served)),
        access="predict",
        errors=(404, 503),
        headers=MIN_VERSION,
        sometimes=STALENESS,
    )
    def accuracy(query: AccuracyQuery) -> Response:
        request = this_request()
        model = asked_for(request, service.replica, query.model_version)
        labelled = read_labelled(request, model.weights, LABELLED, query)
        logits = model.network.predict(pixels_to_input(labelled.pixels))
        return json_answer(
            AccuracyAnswer,
            accuracy=accuracy_of(logits, labelled.labels),
            loss=SoftmaxWithLoss().forward(logits, labelled.labels),
            count=len(labelled.labels),
            confusion_matrix=confusion_matrix(logits.argmax(axis=1), labelled.labels, model.weights.output_size),
            model_version=model.version,
            **named(range(model.weights.output_size), model.weights.label_names),
        )

    return routes


def say_how_stale(routes: Blueprint, service: Service) -> None:
    """In the header X-Model-Staleness of every answer."""

    @routes.after_request
    def with_staleness(answer: Response) -> Response:
        if (seconds := service.log.staleness()) is not None:
            answer.headers["X-Model-Staleness"] = f"{seconds:.1f}"
        return answer


def asked_for(request: IncomingRequest, replica: Replica, version: int | None) -> Model:
    """That version, or the newest: as new as the request wants it. Raises Problem."""
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


def check_few_enough(service: Service, images: Images, classes: int) -> None:
    """Raises BadInput for more than are remembered, or than would be forgotten at once."""
    count = len(images.pixels)
    if count > MOST_AT_ONCE:
        raise BadInput((), f"{count} images: at most {MOST_AT_ONCE} are remembered in one request")
    size, most_bytes = service.waiting.bytes_of(images.pixels, classes), service.settings.remember_bytes
    if size > most_bytes:
        raise BadInput((), f"{count} images take {size:,} bytes: {variable('remember_bytes')} is {most_bytes:,}")


def min_version(request: IncomingRequest) -> int:
    """What X-Min-Model-Version says; 1 without it. Raises BadInput."""
    text: str | None = request.environ.get("HTTP_X_MIN_MODEL_VERSION")
    if text is None:
        return 1
    version = digits(text.strip())
    if version is None or not 1 <= version <= LARGEST_VERSION:
        raise BadInput((MIN_VERSION_HEADER,), "expected the number of a version, from 1")
    return version
