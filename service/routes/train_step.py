"""POST /train-step, /rollback; GET /examples."""

import io
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
from flask import Blueprint, Response
from numpy.typing import NDArray
from pydantic import Field

from model.datasets import pixels_to_input
from model.types import IntArray
from service.decoders import TRAIN_STEP, read_labelled
from service.http.endpoint import Endpoint
from service.http.json_response import NPZ, fields_of, json_answer, npz_answer
from service.http.problems import BadInput
from service.http.request import this_request
from service.live.history import Group
from service.live.service import Service
from service.routes import predictions
from service.routes.image_body import of_images
from service.routes.new_version import NewVersionEndpoint, once, read_with_its_classes, version_answer
from service.schemas.answers import TrainStepAnswer, VersionAnswer
from service.schemas.fields import MOST_EXAMPLES_GIVEN
from service.schemas.requests import ExamplesQuery, RememberedRequest, RollbackRequest, StepParameters
from service.settings import variable
from service.store.records import Examples, Version

OldestVersion = Annotated[int, Field(ge=1, description="The first version in the log.")]


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("learning", __name__)

    @routes.post("/train-step")
    @NewVersionEndpoint(
        "One gradient step on labelled images, or on earlier predictions",
        TrainStepAnswer,
        body=of_images(TRAIN_STEP, service.replica.known().weights, RememberedRequest),
        errors=(409, 412, 503),
    )
    def train_step(query: StepParameters) -> Response:
        return step_answer(once(service, partial(step, query)))

    def step(query: StepParameters, **conditions: Any) -> Version:
        request = this_request()
        if predictions.are_named(request):
            ids, labels, parameters = read_with_its_classes(
                service, lambda weights: predictions.read_lesson(request, weights, query)
            )
            conditions["source"] = parameters.source
            return service.learner.learn_predictions(ids, labels, *rates(parameters, query), **conditions)
        labelled = read_with_its_classes(service, lambda weights: read_labelled(request, weights, TRAIN_STEP, query))
        count = len(labelled.labels)
        if count > MOST_EXAMPLES_GIVEN:
            raise BadInput(("labels",), f"{count} images: at most {MOST_EXAMPLES_GIVEN} in one train-step")
        examples = Examples(labelled.pixels, labelled.labels)
        conditions["source"] = labelled.parameters.source
        return service.learner.train_step(examples, *rates(labelled.parameters, query), **conditions)

    def rates(parameters: StepParameters, query: StepParameters) -> tuple[float, int]:
        """The learning rate and how many examples are rehearsed: the request's, or those of the settings."""
        settings, rate, rehearse = service.settings, parameters.learning_rate, parameters.rehearse
        if rate is not None and rate > settings.max_learning_rate:
            within = ("query",) if query.learning_rate is not None else ()
            limit = f"{settings.max_learning_rate:g} or less ({variable('max_learning_rate')})"
            raise BadInput((*within, "learning_rate"), f"expected {limit}")
        return rate or settings.learning_rate, settings.rehearse if rehearse is None else rehearse

    @routes.post("/rollback")
    @NewVersionEndpoint(
        "A new version with the weights of an older one",
        VersionAnswer,
        examples={"first": {"model_version": 1}},
        errors=(404, 409, 412, 503),
    )
    def rollback(body: RollbackRequest) -> Response:
        return version_answer(once(service, partial(service.learner.rollback, body.model_version)))

    @routes.get("/examples")
    @Endpoint(
        "The labelled examples of train-steps",
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


def step_answer(version: Version) -> Response:
    fields = fields_of(TrainStepAnswer, version)
    return json_answer(TrainStepAnswer, **{**fields, "rehearsed": version.rehearsed or 0})


def labels_that_count(group: Group) -> IntArray:
    return group.examples.labels if group.labels is None else np.array(group.labels, np.intp)


def examples_npz(groups: Sequence[Group], features: int, with_rehearsed: bool) -> bytes:
    """x: (n, features) float32 0…1, as the network got them; t: (n,) class numbers; model_version: (n,); in_force: (n,)
    whether the newest version contains the step; t_in_force: (n,) the labels that count now, after relabelling.

    with_rehearsed: add an array `rehearsed`, True for examples from the replay memory.
    """
    sizes = [len(group.examples.labels) for group in groups]
    arrays: dict[str, NDArray[Any]] = {
        "x": np.concatenate(
            [np.empty((0, features), np.float32), *(pixels_to_input(group.examples.pixels) for group in groups)]
        ),
        "t": np.concatenate([np.empty(0, np.int64), *(group.examples.labels for group in groups)]),
        "model_version": np.repeat([group.model_version for group in groups], sizes).astype("i8"),
        "in_force": np.repeat([group.in_force for group in groups], sizes).astype(np.bool_),
        "t_in_force": np.concatenate([np.empty(0, np.int64), *(labels_that_count(group) for group in groups)]),
    }
    if with_rehearsed:
        arrays["rehearsed"] = np.repeat([group.rehearsed for group in groups], sizes).astype(np.bool_)
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()
