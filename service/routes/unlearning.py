"""POST /unlearn, /relabel."""

from functools import partial

from flask import Blueprint, Response

from service.decoders.checks import checked_labels
from service.http.json_response import fields_of, json_answer, time_text
from service.http.problems import BadInput
from service.live.service import Service
from service.routes.new_version import NewVersionEndpoint, once, read_with_its_classes
from service.schemas.answers import ChangedStepsAnswer
from service.schemas.fields import MOST_EXAMPLES_GIVEN
from service.schemas.requests import RelabelRequest, UnlearnRequest
from service.store.records import Version


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("unlearning", __name__)

    @routes.post("/unlearn")
    @NewVersionEndpoint(
        "A new version without some train-steps, as if they had never been taken",
        ChangedStepsAnswer,
        examples={"steps": {"model_versions": [2]}, "a source": {"source": "tablet-7", "after": 2}},
        errors=(409, 412, 503),
    )
    def unlearn(body: UnlearnRequest) -> Response:
        if body.source is not None:
            change = partial(service.unlearning.unlearn_source, body.source, body.after, body.before)
            return answer(once(service, change))
        return answer(once(service, partial(service.unlearning.unlearn, body.model_versions or ())))

    @routes.post("/relabel")
    @NewVersionEndpoint(
        "A new version in which a train-step has other labels",
        ChangedStepsAnswer,
        examples={"one example": {"model_version": 4, "labels": [0]}},
        errors=(409, 412, 503),
    )
    def relabel(body: RelabelRequest) -> Response:
        if not 0 < (count := len(body.labels)) <= MOST_EXAMPLES_GIVEN:
            raise BadInput(("labels",), f"{count} labels: expected one for each example of the train-step")
        labels = read_with_its_classes(
            service, lambda weights: checked_labels(body.labels, count, weights.output_size, ("labels",))
        )
        return answer(once(service, partial(service.unlearning.relabel, body.model_version, tuple(labels.tolist()))))

    return routes


def answer(version: Version) -> Response:
    fields = fields_of(ChangedStepsAnswer, version) | {"created_at": time_text(version.created_at)}
    return json_answer(ChangedStepsAnswer, **fields)
