"""GET /labels, GET /examples/{model_version}/{index}/image."""

from typing import Annotated

from flask import Blueprint, Response
from pydantic import Field

from service.http.endpoint import Endpoint, Link
from service.http.json_response import fields_of, json_answer, time_text
from service.http.parsing import digits, version_number
from service.http.problems import Problem
from service.live.service import Service
from service.routes.image_body import image_answer
from service.schemas.answers import LabelAnswer, LabelsAnswer
from service.schemas.fields import MOST_EXAMPLES_GIVEN, Version
from service.schemas.requests import LabelsQuery
from service.validation import shortened

FIRST = "$response.body#/labels/0"
PLACE = {name: f"{FIRST}/{name}" for name in ("model_version", "index")}
PATH = {
    "model_version": Annotated[Version, Field(description="A train-step.")],
    "index": Annotated[int, Field(ge=0, lt=MOST_EXAMPLES_GIVEN, description="The place of an example in it, from 0.")],
}


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("labels", __name__)

    @routes.get("/labels")
    @Endpoint(
        "Learnt labels, those that are probably wrong first",
        LabelsAnswer,
        errors=(503,),
        links=(
            Link("labels.example_image", {f"path.{name}": place for name, place in PLACE.items()}),
            Link("unlearning.unlearn", body={"model_versions": [PLACE["model_version"]]}),
        ),
    )
    def labels(query: LabelsQuery) -> Response:
        found = service.label_review.suspicious(query.limit)
        listed = [fields_of(LabelAnswer, one) | {"created_at": time_text(one.created_at)} for one in found]
        return json_answer(LabelsAnswer, labels=listed)

    @routes.get("/examples/<model_version>/<index>/image")
    @Endpoint("The image of a learnt example", media_types=("image/png",), errors=(404, 503), path=PATH)
    def example_image(model_version: str, index: str) -> Response:
        step, place = version_number(model_version), digits(index)
        pixels = None if step is None or place is None else service.label_review.pixels(step, place)
        if pixels is None:
            wanted = f"version {shortened(model_version)} has no example {shortened(index)}"
            raise Problem(404, f"{wanted}: expected a train-step, whose examples count from 0")
        return image_answer(pixels, service.replica.newest().weights)

    return routes
