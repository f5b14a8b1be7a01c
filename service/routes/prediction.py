"""POST /predict, /accuracy."""

from flask import Blueprint, Response

from model.datasets import pixels_to_input
from model.functions import confusion_matrix, softmax
from model.layers import SoftmaxWithLoss
from model.two_layer_net import accuracy_of
from service.http.answers import json_answer, named
from service.http.incoming import request
from service.http.problems import BadInput
from service.http.queries import read_query
from service.images import read_images, read_labelled
from service.live.replica import Model
from service.live.service import Service
from service.schemas import AccuracyAnswer, PredictAnswer, PredictQuery


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("prediction", __name__)

    def asked_for() -> Model:
        """The version that the query names, or the newest."""
        version = read_query(request, PredictQuery).model_version
        return service.replica.newest() if version is None else service.replica.at(version)

    @routes.post("/predict")
    def predict() -> Response:
        model = asked_for()
        images = read_images(request, model.weights)
        probabilities = softmax(model.network.predict(pixels_to_input(images.pixels)))
        labels = probabilities.argmax(axis=1)
        return json_answer(
            PredictAnswer,
            labels=labels,
            probabilities=probabilities,
            model_version=model.version,
            **named(labels, model.weights.label_names),
        )

    @routes.post("/accuracy")
    def accuracy() -> Response:
        model = asked_for()
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
            **named(range(model.weights.output_size), model.weights.label_names),
        )

    return routes
