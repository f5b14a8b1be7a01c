"""GET /predictions, GET /predictions/{id}/image, DELETE /predictions/{id}; and their ids in a /train-step."""

from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field

from model.types import IntArray
from model.weights_file import Weights
from service.decoders.checks import checked_labels
from service.decoders.request_body import TRAIN_STEP, Body
from service.http.endpoint import NEXT_BEFORE, Endpoint, Link
from service.http.json_response import fields_of, json_answer, time_text
from service.http.origins import refuse_link
from service.http.parsing import parse
from service.http.problems import BadInput
from service.http.request import IncomingRequest
from service.live.label_queue import position
from service.live.service import Service
from service.routes.image_body import image_answer
from service.schemas.answers import PredictionAnswer, PredictionsAnswer
from service.schemas.requests import ImageParameters, PredictionsQuery, RememberedRequest, StepParameters

PATH = {"prediction_id": Annotated[str, Field(description="An id that /predict?remember=true returned.")]}
FIRST = "$response.body#/predictions/0"


def links_of(prediction_id: str, label: str) -> tuple[Link, ...]:
    """What can be done with a prediction."""
    return (
        Link("predictions.image", {"path.prediction_id": prediction_id}),
        Link("predictions.delete", {"path.prediction_id": prediction_id}),
        Link("learning.train_step", body={"prediction_ids": [prediction_id], "labels": [label]}),
    )


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("predictions", __name__)

    @routes.get("/predictions")
    @Endpoint(
        "Predictions that are kept for labelling",
        PredictionsAnswer,
        errors=(503,),
        links=(
            *links_of(f"{FIRST}/prediction_id", f"{FIRST}/label"),
            Link("predictions.predictions", {"query.before": NEXT_BEFORE}),
        ),
    )
    def predictions(query: PredictionsQuery) -> Response:
        try:
            before = None if query.before is None else position(query.before, query.order)
        except ValueError as error:
            raise BadInput(("query", "before"), str(error)) from None
        if query.order == "uncertain":
            refuse_link()
        page, next_before = service.label_queue.page(query.order, query.limit, before)
        page_fields = [
            fields_of(PredictionAnswer, one)
            | {"created_at": time_text(one.created_at), "expires_at": time_text(one.expires_at)}
            for one in page
        ]
        return json_answer(PredictionsAnswer, predictions=page_fields, next_before=next_before)

    @routes.get("/predictions/<prediction_id>/image")
    @Endpoint(
        "The image of a prediction that is kept for labelling", media_types=("image/png",), errors=(404, 503), path=PATH
    )
    def image(prediction_id: str) -> Response:
        return image_answer(service.label_queue.one(prediction_id).pixels, service.replica.newest().weights)

    @routes.delete("/predictions/<prediction_id>")
    @Endpoint("Delete a prediction that is kept for labelling", errors=(404, 503), path=PATH)
    def delete(prediction_id: str) -> Response:
        service.label_queue.delete(prediction_id)
        answer = Response(status=204)
        del answer.headers["Content-Type"]
        return answer

    return routes


def are_named(incoming: IncomingRequest) -> bool:
    """Whether a train-step's body names predictions instead of images."""
    return incoming.mimetype == "application/json" and b'"prediction_ids"' in incoming.body


def read_lesson(
    incoming: IncomingRequest, weights: Weights, query: StepParameters
) -> tuple[list[str], IntArray, StepParameters]:
    """The ids, their labels (n,), and the parameters of the body or the query. Raises Problem."""
    body = parse(incoming.body, RememberedRequest)
    labels = checked_labels(body.labels, len(body.prediction_ids), weights.output_size, ("labels",))
    for name in ImageParameters.model_fields:
        if getattr(query, name) is not None:
            raise BadInput(("query", name), "only for new images: those of predictions are stored already")
    return body.prediction_ids, labels, Body(incoming, weights, TRAIN_STEP, query).parameters(body)
