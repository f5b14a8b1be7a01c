"""What makes new versions: the one place that appends to the log."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from model import weights as weights_file
from model.online import answers_stay_finite, online_step, planned
from model.types import IntArray
from model.weights import Weights, WeightsError
from service import metrics
from service.errors import KeyReusedError, LearningPausedError, WeightsChangedError
from service.live.alarm import Alarm
from service.live.replica import Model, Replica, rebuild
from service.live.waiting import examples_of, outcomes_of
from service.store.log import Reader, StepLog, Writer, asked_of_key
from service.store.predictions import ASKED_BY_A_STEP, Limits, Predictions
from service.store.progress import Outcomes, Progress, Row, asked_by_a_step, begun_anew
from service.store.records import Event, Examples, StoredExamples, Version


@dataclass(frozen=True)
class IdempotencyKey:
    """What the client calls its request, and a digest of the request, to tell a repeat from another one."""

    key: str
    digest: bytes


MOST_ACTS_SEEN = 100
"""Versions between two train-steps that are looked at. In so many, somebody has been at it."""


NO_ALARM, USUAL_LIMITS = Alarm(), Limits()


@dataclass(frozen=True)
class Change:
    """The next version and its weights; of a train-step, its examples and what came of them."""

    version: Version
    weights: Weights
    stored: StoredExamples | None = None
    outcomes: Outcomes | None = None


class Learner:
    def __init__(
        self,
        log: StepLog,
        replica: Replica,
        gradient_norm_limit: float | None = None,
        memory_size: int = 1000,
        *,
        alarm: Alarm = NO_ALARM,
        limits: Limits = USUAL_LIMITS,
    ) -> None:
        """limits: of the remembered predictions."""
        self._log = log
        self._replica = replica
        self._gradient_norm_limit = gradient_norm_limit
        self._memory_size = memory_size
        self._alarm = alarm
        self._limits = limits

    def answered(self, key: IdempotencyKey) -> Version | None:
        """The version that an earlier request with this key made. Raises KeyReusedError, StoreError."""
        with self._log.reading() as reader:
            return same_request(reader.of_key(key.key), key)

    def train_step(
        self,
        examples: Examples,
        learning_rate: float,
        rehearse: int = 0,
        key: IdempotencyKey | None = None,
        if_match: set[str] | None = None,
    ) -> Version:
        """Take one gradient step from the newest version; when this returns it is durable and every worker's.

        if_match: ETags, one of which the newest version must have; None: whichever it has.

        rehearse: how many remembered examples take part for each of these; with 0 it is the plain step, and the memory
        stays as it is.

        It is computed from the bytes that are stored, as every replay is. A repeat of a key gets the version that the
        first request made. Raises UnsafeStepError, LearningPausedError, KeyReusedError, WeightsChangedError and
        StoreError; then nothing has changed, but for a StoreError at the commit itself, where the key tells.
        """
        stored, count = StoredExamples.of(examples), len(examples.labels)

        def step(writer: Writer, model: Model) -> Change:
            return self._step(writer, model, stored, count, learning_rate=learning_rate, rehearse=rehearse)

        return self._append(step, key, if_match, count)

    def learn_remembered(
        self,
        ids: Sequence[str],
        labels: IntArray,
        learning_rate: float,
        rehearse: int,
        *,
        key: IdempotencyKey | None,
        if_match: set[str] | None = None,
    ) -> Version:
        """As `train_step`, from remembered predictions, each of which is learnt once; the version's loss and accuracy
        are those of what was answered then. labels: (n,). Raises PredictionsGoneError, too."""

        def step(writer: Writer, model: Model) -> Change:
            check_not_paused(writer)
            taken = Predictions(writer.session).take(ids, model.version + 1, writer.now())
            stored, outcomes = StoredExamples.of(examples_of(taken, labels)), outcomes_of(taken, labels)
            change = self._step(writer, model, stored, len(labels), learning_rate=learning_rate, rehearse=rehearse)
            version = replace(change.version, loss=outcomes.loss, accuracy=outcomes.accuracy)
            return replace(change, version=version, outcomes=outcomes)

        return self._append(step, key, if_match, len(labels))

    def _step(
        self, writer: Writer, model: Model, stored: StoredExamples, count: int, *, learning_rate: float, rehearse: int
    ) -> Change:
        check_not_paused(writer)
        Predictions(writer.session).forget_expired(writer.now(), self._limits)
        examples = stored.examples(count)
        labels = examples.labels
        number = model.version + 1
        rehearsal = planned(model.weights, number, len(labels), rehearse, self._memory_size)
        taken = online_step(
            model.weights,
            examples.pixels,
            labels,
            learning_rate,
            rehearsal=rehearsal,
            gradient_norm_limit=self._gradient_norm_limit,
        )
        version = Version(
            model_version=number,
            kind="train-step",
            created_at=writer.now(),
            count=len(labels),
            loss=taken.loss,
            accuracy=taken.accuracy,
            learning_rate=taken.learning_rate,
            gradient_norm=taken.gradient_norm,
            rehearsed=rehearsal.count,
            memory_size=rehearsal.memory_size or None,
            clip_norm=self._gradient_norm_limit if taken.learning_rate < learning_rate else None,
        )
        return Change(version, taken.weights, stored, Outcomes.of(taken.probabilities, labels))

    def rollback(
        self, model_version: int, key: IdempotencyKey | None = None, if_match: set[str] | None = None
    ) -> Version:
        """Append a version with the weights of an earlier one.

        Raises UnknownVersionError, WeightsChangedError, KeyReusedError, StoreError.
        """

        def back(writer: Writer, model: Model) -> Change:
            version = Version(model.version + 1, "rollback", writer.now(), source_version=model_version)
            return Change(version, rebuild(writer, model_version).weights)

        return self._append(back, key, if_match)

    def load(self, weights: Weights, key: IdempotencyKey | None = None, if_match: set[str] | None = None) -> Version:
        """Append a version with weights from outside.

        Raises WeightsError, WeightsChangedError, KeyReusedError, StoreError.
        """
        check_answers_stay_finite(weights)

        def put(writer: Writer, model: Model) -> Change:
            check_sizes(weights, model.weights)
            return Change(Version(model.version + 1, "load", writer.now()), described(weights, model.weights))

        return self._append(put, key, if_match)

    def pause(self, reason: str) -> None:
        """Learn nothing until `resume`, on any worker or host; nothing happens where that is so. Raises StoreError."""
        self._set_paused(reason)

    def resume(self) -> None:
        """Learn again; nothing happens where that is so. Raises StoreError."""
        self._set_paused(None)

    def _set_paused(self, reason: str | None) -> None:
        with self._log.writing() as writer:
            if (paused(writer) is None) == (reason is None):
                return
            model = self._replica.at_head(writer)
            event = event_of(writer, "resume" if reason is None else "pause", model.version, reason, paused=reason)
            changed = append(writer, event, model.weights)
        self._replica.advance(changed)

    def _append(
        self,
        change: Callable[[Writer, Model], Change],
        key: IdempotencyKey | None = None,
        if_match: set[str] | None = None,
        count_of_step: int | None = None,
    ) -> Version:
        """Append what `change` makes of the newest version, unless the key says that it has been done, or the newest
        version's `etag` is none of `if_match`. count_of_step: of the examples, where it is a train-step."""
        began = time.perf_counter()
        ahead = [] if key is None else [asked_of_key(key.key)]
        if count_of_step is not None:
            ahead += [ASKED_BY_A_STEP, *asked_by_a_step(count_of_step, self._alarm.examples)]
        with self._log.writing(*ahead) as writer:
            metrics.LOG_WAIT.observe(time.perf_counter() - began)
            if key is not None and (done := same_request(writer.of_key(key.key), key)) is not None:
                return done
            model = self._replica.at_head(writer)
            if if_match is not None and etag(model.weights) not in if_match:
                raise WeightsChangedError(model.version)
            made = change(writer, model)
            version = replace(made.version, paused=paused(writer))
            if key is not None:
                version = replace(version, idempotency_key=key.key, request_digest=key.digest)
            figures = None if made.outcomes is None else figures_before(writer)
            changed = append(writer, version, made.weights, made.stored)
            if figures is not None and made.outcomes is not None:
                changed = self._watched(writer, changed, figures, made.outcomes)
        self._replica.advance(changed)
        count(version)
        if changed.version > version.model_version:
            metrics.VERSIONS.labels("alarm").inc()
        return version

    def _watched(self, writer: Writer, model: Model, before: Row, outcomes: Outcomes) -> Model:
        """Put what came of a step to the running figures, and do what they give cause for. The newest version then."""
        alarm = self._alarm
        row = Progress(writer.session).advance(before, model.version, outcomes, alarm.examples)
        reason = alarm.raised_by(row)
        if reason is None or row.best_version is None:
            return model
        if alarm.act == "pause":
            return append(writer, event_of(writer, "alarm", model.version, reason, paused=reason), model.weights)
        best = rebuild(writer, max(row.best_version, writer.oldest()))
        version = replace(event_of(writer, "alarm", model.version, reason), source_version=best.version)
        return append(writer, version, best.weights)


def figures_before(reader: Reader) -> Row:
    """The running figures, as the next step goes on from them."""
    row = Progress(reader.session).newest()
    newest = reader.newest()
    if row.model_version == 0 or newest is None or newest.version.model_version == row.model_version:
        return row
    return begun_anew(
        row, [act for act in reader.versions(MOST_ACTS_SEEN, None) if act.model_version > row.model_version]
    )


def event_of(
    writer: Writer, event: Event, model_version: int, reason: str | None = None, paused: str | None = None
) -> Version:
    """The version after that one, with its weights."""
    return Version(
        model_version + 1,
        "rollback",
        writer.now(),
        source_version=model_version,
        event=event,
        reason=reason,
        paused=paused,
    )


def paused(reader: Reader) -> str | None:
    """Why nothing is learnt; None where something is."""
    newest = reader.newest()
    return None if newest is None else newest.version.paused


def check_not_paused(reader: Reader) -> None:
    """Raises LearningPausedError."""
    if (reason := paused(reader)) is not None:
        raise LearningPausedError(reason)


def count(version: Version) -> None:
    metrics.VERSIONS.labels(version.kind).inc()
    if version.kind == "train-step":
        metrics.EXAMPLES.inc(version.count or 0)
        metrics.REHEARSED.inc(version.rehearsed or 0)


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
    names, served_names = weights.label_names or (), served.label_names or ()
    if names != served_names and sorted(names) == sorted(served_names):
        raise WeightsError(
            "the classes are those of the model that is served, in another order: every label in the history would "
            f"change its meaning. Expected the order {', '.join(served_names[:20])}"
        )


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
