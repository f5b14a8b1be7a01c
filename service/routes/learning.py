"""POST /train-step."""

from typing import TYPE_CHECKING

from flask import Blueprint, Response, request

from service.answers import digest, train_step_answer
from service.images import read_labelled
from service.learner import IdempotencyKey
from service.problems import BadInput
from service.queries import read_query
from service.schemas import TrainStepQuery
from service.step_log import Examples

if TYPE_CHECKING:
    from service.app import Service

LONGEST_KEY = 255


def blueprint(service: "Service") -> Blueprint:
    routes = Blueprint("learning", __name__)

    @routes.post("/train-step")
    def train_step() -> Response:
        query = read_query(request, TrainStepQuery)
        labelled = read_labelled(request, service.replica.newest().weights)
        if query.learning_rate is not None and labelled.learning_rate is not None:
            raise BadInput(("learning_rate",), "given twice, in the body and in the query")
        learning_rate = query.learning_rate or labelled.learning_rate or service.settings.learning_rate
        examples = Examples(labelled.pixels, labelled.labels)
        return train_step_answer(service.learner.train_step(examples, learning_rate, idempotency_key()))

    return routes


def idempotency_key() -> IdempotencyKey | None:
    """The request's Idempotency-Key. Raises BadInput for an empty one and for one that is too long."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    key = key.strip()
    if not 0 < len(key) <= LONGEST_KEY:
        raise BadInput(("Idempotency-Key",), f"expected 1 to {LONGEST_KEY} characters")
    return IdempotencyKey(key, digest(request.mimetype.encode(), request.query_string, request.get_data()))
