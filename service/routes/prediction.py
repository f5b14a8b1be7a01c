"""POST /predict, /accuracy."""

from flask import Blueprint, Response

from model.datasets import pixels_to_input
from model.functions import confusion_matrix, softmax
from model.layers import SoftmaxWithLoss
from model.two_layer_net import accuracy_of
from service.http.answers import json_answer
from service.http.incoming import request
from service.http.problems import BadInput
from service.http.queries import read_query
from service.images import Images, read_images, read_labelled
from service.live.replica import Model
from service.live.service import Service
from service.schemas import MOST_AT_ONCE, AccuracyAnswer, PredictAnswer, PredictQuery, RememberQuery


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("prediction", __name__)

    def asked_for(version: int | None) -> Model:
        """That version, or the newest."""
        return service.replica.newest() if version is None else service.replica.at(version)

    @routes.post("/predict")
    def predict() -> Response:
        query = read_query(request, RememberQuery)
        model = asked_for(query.model_version)
        images = read_images(request, model.weights)
        probabilities = softmax(model.network.predict(pixels_to_input(images.pixels)))
        remembered = {}
        if query.remember == "true":
            check_few_enough(images)
            ids = service.waiting.keep(images.pixels, probabilities, model.version)
            remembered["prediction_ids"] = ids
        return json_answer(
            PredictAnswer,
            labels=probabilities.argmax(axis=1),
            probabilities=probabilities,
            model_version=model.version,
            **remembered,
        )

    @routes.post("/accuracy")
    def accuracy() -> Response:
        model = asked_for(read_query(request, PredictQuery).model_version)
        labelled = read_labelled(request, model.weights)
        if labelled.learning_rate is not None:
            raise BadInput(("learning_rate",), "only a train-step has one")
        logits = model.network.predict(pixels_to_input(labelled.pixels))
        return json_answer(
            AccuracyAnswer,
            accuracy=accuracy_of(logits, labelled.labels),
            loss=SoftmaxWithLoss().forward(logits, labelled.labels),
            count=len(labelled.labels),
            confusion_matrix=confusion_matrix(logits.argmax(axis=1), labelled.labels, model.weights.output_size),
            model_version=model.version,
        )

    return routes


def check_few_enough(images: Images) -> None:
    if len(images.pixels) > MOST_AT_ONCE:
        raise BadInput((), f"{len(images.pixels)} images: at most {MOST_AT_ONCE} are remembered in one request")
