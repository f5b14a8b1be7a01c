"""POST /train-step, /rollback; GET /examples."""

import io
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from flask import Blueprint, Response
from numpy.typing import NDArray
from pydantic import Field

from model.datasets import pixels_to_input
from service.http.answers import NPZ, npz_answer
from service.http.incoming import request
from service.http.problems import BadInput
from service.images import LABELLED_DECODERS, TRAIN_STEP, read_labelled
from service.live.history import Group
from service.live.service import Service
from service.routes import predictions
from service.routes.answers import train_step_answer, version_answer
from service.routes.endpoint import Endpoint, a_labelled_image, of_images
from service.routes.keys import CHANGE, idempotency_key, if_match
from service.routes.versions import OF_NEW_VERSION
from service.schemas import (
    MOST_EXAMPLES_GIVEN,
    ExamplesQuery,
    RememberedRequest,
    RollbackRequest,
    StepParameters,
    TrainStepAnswer,
    VersionAnswer,
)
from service.settings import variable
from service.store.records import Examples

OldestVersion = Annotated[int, Field(ge=1, description="Where the log begins.")]


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("learning", __name__)
    served = service.replica.known().weights

    @routes.post("/train-step")
    @Endpoint(
        "One gradient step on labelled images, or on remembered ones",
        TrainStepAnswer,
        body=of_images(LABELLED_DECODERS, TRAIN_STEP, a_labelled_image(served), RememberedRequest),
        errors=(409, 412, 503),
        headers=CHANGE,
        links=OF_NEW_VERSION,
    )
    def train_step(query: StepParameters) -> Response:
        key = idempotency_key()
        if key is not None and (done := service.learner.answered(key)) is not None:
            return train_step_answer(done)
        if predictions.are_named(request):
            ids, labels, parameters = predictions.read_lesson(request, service.replica.newest().weights, query)
            learning_rate, rehearse = defaults(parameters)
            learn = service.learner.learn_remembered
            return train_step_answer(learn(ids, labels, learning_rate, rehearse, key=key, if_match=if_match()))
        labelled = read_labelled(request, service.replica.newest().weights, TRAIN_STEP, query)
        learning_rate, rehearse = defaults(labelled.parameters)
        count = len(labelled.labels)
        if count > MOST_EXAMPLES_GIVEN:
            raise BadInput(("labels",), f"{count} images: at most {MOST_EXAMPLES_GIVEN} are learnt in one step")
        examples = Examples(labelled.pixels, labelled.labels)
        return train_step_answer(service.learner.train_step(examples, learning_rate, rehearse, key, if_match()))

    def defaults(parameters: StepParameters) -> tuple[float, int]:
        """The learning rate and how much is rehearsed: the request's, or those of the settings."""
        settings, rate, rehearse = service.settings, parameters.learning_rate, parameters.rehearse
        if rate is not None and rate > settings.max_learning_rate:
            bound = f"{settings.max_learning_rate:g} or less, which {variable('max_learning_rate')} allows"
            raise BadInput(("learning_rate",), f"expected {bound}")
        return rate or settings.learning_rate, settings.rehearse if rehearse is None else rehearse

    @routes.post("/rollback")
    @Endpoint(
        "A new version with the weights of an older one",
        VersionAnswer,
        examples={"first": {"model_version": 1}},
        errors=(404, 409, 412, 503),
        headers=CHANGE,
        links=OF_NEW_VERSION,
    )
    def rollback(body: RollbackRequest) -> Response:
        key = idempotency_key()
        if key is not None and (done := service.learner.answered(key)) is not None:
            return version_answer(done)
        return version_answer(service.learner.rollback(body.model_version, key, if_match()))

    @routes.get("/examples")
    @Endpoint(
        "The labelled examples that train-steps brought",
        media_types=(NPZ,),
        errors=(503,),
        given={"X-Oldest-Model-Version": OldestVersion},
    )
    def examples(query: ExamplesQuery) -> Response:
        features = service.replica.newest().weights.input_size
        limit = min(query.limit, max(1, service.settings.max_unpacked_bytes // (4 * features)))
        groups, oldest = service.history.examples(query.after, limit, query.rehearsed)
        data = examples_npz(groups, features, query.rehearsed)
        return npz_answer(data, "examples.npz", **{"X-Oldest-Model-Version": str(oldest)})

    return routes


def examples_npz(groups: Sequence[Group], features: int, tell_apart: bool) -> bytes:
    """x: (n, features) float32 0…1, as the network took them; t: (n,) class numbers; model_version: (n,).

    tell_apart: with an array `rehearsed` too, True where an example was remembered and not posted.
    """
    sizes = [len(group.examples.labels) for group in groups]
    arrays: dict[str, NDArray[Any]] = {
        "x": np.concatenate(
            [np.empty((0, features), np.float32), *(pixels_to_input(group.examples.pixels) for group in groups)]
        ),
        "t": np.concatenate([np.empty(0, np.int64), *(group.examples.labels for group in groups)]),
        "model_version": np.repeat([group.model_version for group in groups], sizes).astype("i8"),
    }
    if tell_apart:
        arrays["rehearsed"] = np.repeat([group.rehearsed for group in groups], sizes).astype(np.bool_)
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()
