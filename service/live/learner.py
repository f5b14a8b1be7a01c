"""What makes new versions: the one place that appends to the log."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from model import weights as weights_file
from model.online import answers_stay_finite, online_step, planned
from model.weights import Weights, WeightsError
from service.errors import KeyReusedError, WeightsChangedError
from service.live.replica import Model, Replica, rebuild
from service.store.log import StepLog, Writer
from service.store.records import Examples, StoredExamples, Version


@dataclass(frozen=True)
class IdempotencyKey:
    """What the client calls its request, and a digest of the request, to tell a repeat from another one."""

    key: str
    digest: bytes


class Learner:
    def __init__(
        self, log: StepLog, replica: Replica, gradient_norm_limit: float | None = None, memory_size: int = 1000
    ) -> None:
        self._log = log
        self._replica = replica
        self._gradient_norm_limit = gradient_norm_limit
        self._memory_size = memory_size

    def answered(self, key: IdempotencyKey) -> Version | None:
        """The version that an earlier request with this key made. Raises KeyReusedError, StoreError."""
        with self._log.reading() as reader:
            return same_request(reader.of_key(key.key), key)

    def train_step(
        self, examples: Examples, learning_rate: float, rehearse: int = 0, key: IdempotencyKey | None = None
    ) -> Version:
        """Take one gradient step from the newest version; when this returns it is durable and every worker's.

        rehearse: how many remembered examples take part for each of these; with 0 it is the plain step, and the memory
        stays as it is.

        It is computed from the bytes that are stored, as every replay is. A repeat of a key gets the version that the
        first request made. Raises UnsafeStepError, KeyReusedError and StoreError; then nothing has changed, but for a
        StoreError at the commit itself, where the key tells.
        """
        stored = StoredExamples.of(examples)
        examples = stored.examples(len(examples.labels))

        def step(model: Model) -> tuple[Version, Weights]:
            number, count = model.version + 1, len(examples.labels)
            rehearsal = planned(model.weights, number, count, rehearse, self._memory_size)
            taken = online_step(
                model.weights,
                examples.pixels,
                examples.labels,
                learning_rate,
                rehearsal=rehearsal,
                gradient_norm_limit=self._gradient_norm_limit,
            )
            version = Version(
                model_version=number,
                kind="train-step",
                created_at=time.time(),
                count=count,
                loss=taken.loss,
                accuracy=taken.accuracy,
                learning_rate=taken.learning_rate,
                gradient_norm=taken.gradient_norm,
                rehearsed=rehearsal.count,
                memory_size=rehearsal.memory_size or None,
                clip_norm=self._gradient_norm_limit if taken.learning_rate < learning_rate else None,
            )
            return version, taken.weights

        return self._append(lambda _, model: step(model), stored, key)

    def rollback(self, model_version: int, key: IdempotencyKey | None = None) -> Version:
        """Append a version with the weights of an earlier one.

        Raises UnknownVersionError, KeyReusedError, StoreError.
        """

        def back(writer: Writer, model: Model) -> tuple[Version, Weights]:
            version = Version(model.version + 1, "rollback", time.time(), source_version=model_version)
            return version, rebuild(writer, model_version).weights

        return self._append(back, key=key)

    def load(self, weights: Weights, key: IdempotencyKey | None = None, if_match: set[str] | None = None) -> Version:
        """Append a version with weights from outside.

        if_match: of which the newest version's `etag` has to be one. Raises WeightsError, WeightsChangedError,
        KeyReusedError, StoreError.
        """
        check_answers_stay_finite(weights)

        def put(_: Writer, model: Model) -> tuple[Version, Weights]:
            served = model.weights
            if if_match is not None and etag(served) not in if_match:
                raise WeightsChangedError(model.version)
            check_sizes(weights, served)
            return Version(model.version + 1, "load", time.time()), described(weights, served)

        return self._append(put, key=key)

    def _append(
        self,
        change: Callable[[Writer, Model], tuple[Version, Weights]],
        stored: StoredExamples | None = None,
        key: IdempotencyKey | None = None,
    ) -> Version:
        """Append what `change` makes of the newest version, unless the key says that it has been done."""
        with self._log.writing() as writer:
            if key is not None and (done := same_request(writer.of_key(key.key), key)) is not None:
                return done
            version, weights = change(writer, self._replica.follow(writer))
            if key is not None:
                version = replace(version, idempotency_key=key.key, request_digest=key.digest)
            changed = append(writer, version, weights, stored)
        self._replica.advance(changed)
        return version


def append(writer: Writer, version: Version, weights: Weights, stored: StoredExamples | None = None) -> Model:
    """Write a version, with a snapshot where one is due. What was stored is read back by the code that will read it
    later, and that is what is served: nothing else about the weights can make a difference.

    Raises WeightsError for weights that could not be read back, StoreError.
    """
    snapshot = None
    if writer.needs_snapshot(version, stored):
        snapshot = weights_file.to_bytes(weights)
        weights = weights_file.from_bytes(snapshot)
    record = writer.append(version, stored, snapshot)
    return Model(version.model_version, weights, record.link.digest)


def same_request(done: Version | None, key: IdempotencyKey) -> Version | None:
    """Raises KeyReusedError where the key was another request's."""
    if done is not None and done.request_digest != key.digest:
        raise KeyReusedError(f"the Idempotency-Key {key.key!r} was used for another request")
    return done


def check_sizes(weights: Weights, served: Weights) -> None:
    """Raises WeightsError for weights that take or give something else than what is served."""
    for side, size, expected in (
        ("input", weights.input_size, served.input_size),
        ("output", weights.output_size, served.output_size),
    ):
        if size != expected:
            raise WeightsError(f"the {side} size is {size}: the model that is served has {expected}")


def described(weights: Weights, served: Weights) -> Weights:
    """Weights whose file may not say what shape the images have and what the classes are called: as was served."""
    return replace(
        weights,
        image_shape=weights.image_shape or served.image_shape,
        label_names=weights.label_names or served.label_names,
    )


def check_answers_stay_finite(weights: Weights) -> None:
    """Raises WeightsError."""
    if not answers_stay_finite(weights.params):
        raise WeightsError("the weights are too large to compute with in float32")


def etag(weights: Weights) -> str:
    """Names the bytes that GET /weights gives."""
    return etag_of(weights_file.to_bytes(weights))


def etag_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
