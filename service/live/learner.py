"""What makes new versions: the one place that appends to the log."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from model import weights as weights_file
from model.datasets import pixels_to_input
from model.online import OnlineOptimizer, answers_stay_finite, online_step
from model.weights import Weights, WeightsError
from service.errors import KeyReusedError
from service.live.replica import Model, Replica, rebuild
from service.store.log import StepLog, Writer
from service.store.records import Examples, Version


@dataclass(frozen=True)
class IdempotencyKey:
    """What the client calls its request, and a digest of the request, to tell a repeat from another one."""

    key: str
    digest: bytes


class Learner:
    def __init__(
        self, log: StepLog, replica: Replica, gradient_norm_limit: float | None, optimizer: OnlineOptimizer = "sgd"
    ) -> None:
        self._log = log
        self._replica = replica
        self._gradient_norm_limit = gradient_norm_limit
        self._optimizer: OnlineOptimizer = optimizer

    def train_step(self, examples: Examples, learning_rate: float, key: IdempotencyKey | None = None) -> Version:
        """Take one gradient step from the newest version; when this returns it is durable and every worker's.

        A repeat of a key gets the version that the first request made. Raises UnsafeStepError, KeyReusedError and
        StoreError; then nothing has changed, but for a StoreError at the commit itself, where the key tells.
        """
        x = pixels_to_input(examples.pixels)
        with self._log.writing() as writer:
            if key is not None and (done := writer.of_key(key.key)) is not None:
                if done.request_digest != key.digest:
                    raise KeyReusedError(f"the Idempotency-Key {key.key!r} was used for another request")
                return done
            model = self._replica.follow(writer)
            weights = model.weights
            step = online_step(
                weights.params,
                weights.activation,
                x,
                examples.labels,
                learning_rate,
                gradient_norm_limit=self._gradient_norm_limit,
                optimizer=self._optimizer,
                squares=weights.squares,
            )
            version = Version(
                model_version=model.version + 1,
                kind="train-step",
                created_at=time.time(),
                count=len(x),
                loss=step.loss,
                accuracy=step.accuracy,
                learning_rate=step.learning_rate,
                optimizer=self._optimizer,
                gradient_norm=step.gradient_norm,
                clip_norm=self._gradient_norm_limit if step.learning_rate < learning_rate else None,
                idempotency_key=None if key is None else key.key,
                request_digest=None if key is None else key.digest,
            )
            changed = Model(version.model_version, replace(weights, params=step.params, squares=step.squares))
            append(writer, version, changed, examples)
        self._replica.advance(changed)
        return version

    def rollback(self, model_version: int) -> Version:
        """Append a version with the weights of an earlier one. Raises UnknownVersionError, StoreError."""
        return self._append(lambda writer: rebuild(writer, model_version).weights, source_version=model_version)

    def load(self, weights: Weights) -> Version:
        """Append a version with weights from outside. Raises WeightsError, StoreError."""
        check_answers_stay_finite(weights)
        served = self._replica.newest().weights
        for side, size, expected in (
            ("input", weights.input_size, served.input_size),
            ("output", weights.output_size, served.output_size),
        ):
            if size != expected:
                raise WeightsError(f"the {side} size is {size}: the model that is served has {expected}")
        if weights.image_shape is None:
            weights = replace(weights, image_shape=served.image_shape)
        return self._append(lambda _: weights)

    def _append(self, weights: Callable[[Writer], Weights], source_version: int | None = None) -> Version:
        with self._log.writing() as writer:
            changed = Model(writer.newest() + 1, weights(writer))
            version = Version(
                model_version=changed.version,
                kind="load" if source_version is None else "rollback",
                created_at=time.time(),
                source_version=source_version,
            )
            append(writer, version, changed)
        self._replica.advance(changed)
        return version


def check_answers_stay_finite(weights: Weights) -> None:
    """Raises WeightsError."""
    if not answers_stay_finite(weights.params):
        raise WeightsError("the weights are too large to compute with in float32")


def append(writer: Writer, version: Version, model: Model, examples: Examples | None = None) -> None:
    snapshot = weights_file.to_bytes(model.weights) if writer.needs_snapshot(version) else None
    writer.append(version, examples, snapshot)
