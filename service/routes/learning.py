"""POST /train-step, /rollback; GET /examples."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Blueprint, Response
from numpy.typing import NDArray

from model.datasets import pixels_to_input
from service.http.answers import npz_answer, train_step_answer, version_answer
from service.http.incoming import request
from service.http.problems import BadInput
from service.http.queries import read_json, read_query
from service.images import TRAIN_STEP, read_labelled
from service.live import rehearsal
from service.live.service import Service
from service.routes import predictions
from service.routes.keys import idempotency_key, if_match
from service.schemas import MOST_EXAMPLES_GIVEN, ExamplesQuery, Request, RollbackRequest, TrainStepQuery
from service.settings import variable
from service.store.log import AFTER_ALL, Reader
from service.store.records import Examples


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("learning", __name__)

    @routes.post("/train-step")
    def train_step() -> Response:
        query = read_query(request, TrainStepQuery)
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

    def defaults(parameters: Mapping[str, Any]) -> tuple[float, int]:
        """The learning rate and how much is rehearsed: the request's, or those of the settings."""
        settings = service.settings
        rate, rehearse = parameters.get("learning_rate"), parameters.get("rehearse")
        if rate is not None and rate > settings.max_learning_rate:
            bound = f"{settings.max_learning_rate:g} or less, which {variable('max_learning_rate')} allows"
            raise BadInput(("learning_rate",), f"expected {bound}")
        return rate or settings.learning_rate, settings.rehearse if rehearse is None else rehearse

    @routes.post("/rollback")
    def rollback() -> Response:
        read_query(request, Request)
        key = idempotency_key()
        if key is not None and (done := service.learner.answered(key)) is not None:
            return version_answer(done)
        model_version = read_json(request, RollbackRequest).model_version
        return version_answer(service.learner.rollback(model_version, key, if_match()))

    @routes.get("/examples")
    def examples() -> Response:
        query = read_query(request, ExamplesQuery)
        features = service.replica.newest().weights.input_size
        limit = min(query.limit, max(1, service.settings.max_unpacked_bytes // (4 * features)))
        with service.log.reading() as reader:
            steps = rehearsed_steps(reader, query.after) if query.rehearsed else plain_steps(reader, query.after)
            groups = whole_steps(steps, limit)
            oldest = reader.oldest()
        data = examples_npz(groups, features, query.rehearsed)
        return npz_answer(data, "examples.npz", **{"X-Oldest-Model-Version": str(oldest)})

    return routes


@dataclass(frozen=True)
class Group:
    """Examples of one step: posted, or remembered."""

    model_version: int
    examples: Examples
    rehearsed: bool = False


def plain_steps(reader: Reader, after: int) -> Iterator[list[Group]]:
    """For each step its examples, oldest first."""
    for step in reader.steps(after, AFTER_ALL):
        yield [Group(step.model_version, step.examples)]


def rehearsed_steps(reader: Reader, after: int) -> Iterator[list[Group]]:
    """For each step its examples and the remembered ones that took part, oldest first."""
    for step, remembered in rehearsal.rehearsed_steps(reader, after):
        yield [Group(step.model_version, step.examples), Group(step.model_version, remembered, True)]


def whole_steps(steps: Iterator[list[Group]], limit: int) -> list[Group]:
    """Whole ones, of `limit` images in all at the most, but one at the least if there is any."""
    found: list[Group] = []
    total = 0
    for groups in steps:
        total += sum(len(group.examples.labels) for group in groups)
        if found and total > limit:
            break
        found += groups
    return found


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
