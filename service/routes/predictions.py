"""GET /predictions, GET /predictions/{id}/image, DELETE /predictions/{id}; and their ids in a /train-step."""

from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field

from model.datasets import input_to_pixels
from model.types import IntArray
from model.weights import Weights
from service.http.answers import json_answer, time_text
from service.http.incoming import IncomingRequest
from service.http.operation import Link
from service.http.problems import BadInput
from service.http.queries import parse
from service.images.batch import checked_labels
from service.images.body import TRAIN_STEP, Body
from service.images.explained import png
from service.live.service import Service
from service.live.waiting import position
from service.routes.endpoint import NEXT_BEFORE, Endpoint
from service.schemas import PredictionsAnswer, PredictionsQuery, RememberedRequest, StepParameters

PREDICTION = {"prediction_id": Annotated[str, Field(description="What /predict?remember=true gave.")]}
FIRST = "$response.body#/predictions/0"


def of_prediction(prediction_id: str, label: str) -> tuple[Link, ...]:
    """What can be done with one."""
    return (
        Link("predictions.image", {"path.prediction_id": prediction_id}),
        Link("predictions.delete", {"path.prediction_id": prediction_id}),
        Link("learning.train_step", body={"prediction_ids": [prediction_id], "labels": [label]}),
    )


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("predictions", __name__)

    @routes.get("/predictions")
    @Endpoint(
        "Remembered predictions that wait for a label",
        PredictionsAnswer,
        errors=(503,),
        links=(
            *of_prediction(f"{FIRST}/prediction_id", f"{FIRST}/label"),
            Link("predictions.predictions", {"query.before": NEXT_BEFORE}),
        ),
    )
    def predictions(query: PredictionsQuery) -> Response:
        try:
            before = None if query.before is None else position(query.before)
        except ValueError as error:
            raise BadInput(("query", "before"), str(error)) from None
        page, next_before = service.waiting.page(query.order, query.limit, before)
        return json_answer(
            PredictionsAnswer,
            predictions=[
                {
                    "prediction_id": prediction.prediction_id,
                    "created_at": time_text(prediction.created_at),
                    "label": prediction.label,
                    "probabilities": prediction.probabilities,
                    "model_version": prediction.model_version,
                    "expires_at": time_text(prediction.expires_at),
                }
                for prediction in page
            ],
            next_before=next_before,
        )

    @routes.get("/predictions/<prediction_id>/image")
    @Endpoint("The image of a remembered prediction", media_types=("image/png",), errors=(404, 503), path=PREDICTION)
    def image(prediction_id: str) -> Response:
        pixels = service.waiting.one(prediction_id).pixels
        shape = service.replica.newest().weights.image_shape or (1, len(pixels))
        answer = Response(png(input_to_pixels(pixels).reshape(shape)), mimetype="image/png")
        answer.headers["Cache-Control"] = "no-store"
        return answer

    @routes.delete("/predictions/<prediction_id>")
    @Endpoint("Forget a remembered prediction", errors=(404, 503), path=PREDICTION)
    def delete(prediction_id: str) -> Response:
        service.waiting.delete(prediction_id)
        answer = Response(status=204)
        del answer.headers["Content-Type"]  # of nothing
        return answer

    return routes


def are_named(incoming: IncomingRequest) -> bool:
    """Whether a train-step's body speaks of remembered predictions."""
    return incoming.mimetype == "application/json" and b'"prediction_ids"' in incoming.body


def read_lesson(
    incoming: IncomingRequest, weights: Weights, query: StepParameters
) -> tuple[list[str], IntArray, StepParameters]:
    """The ids, their labels (n,), and the parameters in the body or the query. Raises Problem."""
    body = parse(incoming.body, RememberedRequest)
    count = len(body.prediction_ids)
    labels = checked_labels(body.labels, count, weights.output_size, ("labels",))
    parameters = Body(incoming, weights, TRAIN_STEP, query).parameters(body)
    if parameters.pixel_max is not None:
        raise BadInput(("pixel_max",), "the images are remembered as they were taken: only new ones have one")
    return body.prediction_ids, labels, parameters
