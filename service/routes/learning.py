"""POST /train-step, /rollback; GET /examples."""

import io
from collections.abc import Sequence

import numpy as np
from flask import Blueprint, Response

from model.datasets import pixels_to_input
from service.http.answers import npz_answer, train_step_answer, version_answer
from service.http.incoming import request
from service.http.problems import BadInput
from service.http.queries import read_json, read_query
from service.images import TRAIN_STEP, read_labelled
from service.live.service import Service
from service.routes.keys import idempotency_key
from service.schemas import MOST_EXAMPLES_GIVEN, ExamplesQuery, Request, RollbackRequest, TrainStepQuery
from service.store.records import Examples, Step


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("learning", __name__)

    @routes.post("/train-step")
    def train_step() -> Response:
        query = read_query(request, TrainStepQuery)
        key = idempotency_key()
        if key is not None and (done := service.learner.answered(key)) is not None:
            return train_step_answer(done)
        labelled = read_labelled(request, service.replica.newest().weights, TRAIN_STEP, query)
        learning_rate = labelled.parameters.get("learning_rate") or service.settings.learning_rate
        count = len(labelled.labels)
        if count > MOST_EXAMPLES_GIVEN:
            raise BadInput(("labels",), f"{count} images: at most {MOST_EXAMPLES_GIVEN} are learnt in one step")
        examples = Examples(labelled.pixels, labelled.labels)
        return train_step_answer(service.learner.train_step(examples, learning_rate, key))

    @routes.post("/rollback")
    def rollback() -> Response:
        read_query(request, Request)
        key = idempotency_key()
        if key is not None and (done := service.learner.answered(key)) is not None:
            return version_answer(done)
        return version_answer(service.learner.rollback(read_json(request, RollbackRequest).model_version, key))

    @routes.get("/examples")
    def examples() -> Response:
        query = read_query(request, ExamplesQuery)
        features = service.replica.newest().weights.input_size
        with service.log.reading() as reader:
            steps = reader.examples(query.after, query.limit)
            oldest = reader.oldest()
        return npz_answer(examples_npz(steps, features), "examples.npz", **{"X-Oldest-Model-Version": str(oldest)})

    return routes


def examples_npz(steps: Sequence[Step], features: int) -> bytes:
    """x: (n, features) float32 0…1, as the network took them; t: (n,) class numbers; model_version: (n,)."""
    stream = io.BytesIO()
    np.savez(
        stream,
        x=np.concatenate([np.empty((0, features), np.float32), *(pixels_to_input(s.examples.pixels) for s in steps)]),
        t=np.concatenate([np.empty(0, np.int64), *(s.examples.labels for s in steps)]),
        model_version=np.repeat([s.model_version for s in steps], [len(s.examples.labels) for s in steps]).astype("i8"),
    )
    return stream.getvalue()
