"""The one place that appends versions to the log."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from model import weights_file
from model.growth import MOST_CLASSES, grown
from model.online_step import answers_stay_finite, online_step, planned
from model.types import IntArray
from model.weights_file import Weights, WeightsError
from service.errors import (
    KeyReusedError,
    LearningPausedError,
    NewClassError,
    UnknownClassError,
    WeightsChangedError,
)
from service.live.drift_alarm import Alarm, Watch
from service.live.label_queue import by_kind, examples_of, outcomes_of
from service.live.lineage import Lineage, lineage
from service.live.replica import Model, Replica, rebuild
from service.live.version_comparison import better_version
from service.metrics import counters
from service.store.answer_figures import AnswerFigures
from service.store.log import Reader, StepLog, Writer, query_of_key
from service.store.predictions import Limits, Predictions
from service.store.records import Event, Examples, StoredExamples, Version
from service.store.rolling_figures import Kind, Outcomes, RollingFigures, Row, queries_of_a_step, restarted

NO_ALARM, DEFAULT_LIMITS = Alarm(), Limits()


@dataclass(frozen=True)
class IdempotencyKey:
    """The client's name for its request, and a digest of the request, by which a repeat is recognised."""

    key: str
    digest: bytes


@dataclass(frozen=True)
class Change:
    """The next version and its weights; of a train-step, its examples and how they were answered, by kind."""

    version: Version
    weights: Weights
    stored: StoredExamples | None = None
    outcomes: dict[Kind, Outcomes] = field(default_factory=dict)


class Learner:
    """Safe to use from any number of threads. Every method raises StoreError."""

    def __init__(
        self,
        log: StepLog,
        replica: Replica,
        gradient_norm_limit: float | None = None,
        memory_size: int = 1000,
        *,
        alarm: Alarm = NO_ALARM,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """limits: of the predictions that are kept for labelling."""
        self._log = log
        self._replica = replica
        self._gradient_norm_limit = gradient_norm_limit
        self._memory_size = memory_size
        self.alarm = alarm
        self._limits = limits

    def answered(self, key: IdempotencyKey) -> Version | None:
        """The version that an earlier request with this key appended. Raises KeyReusedError."""
        with self._log.reading() as reader:
            return same_request(reader.of_key(key.key), key)

    def train_step(
        self,
        examples: Examples,
        learning_rate: float,
        rehearse: int = 0,
        key: IdempotencyKey | None = None,
        if_match: set[str] | None = None,
        *,
        source: str | None = None,
    ) -> Version:
        """Take one gradient step from the newest version. When this returns, the step is durable and visible.

        rehearse: how many examples of the replay memory take part for each of these; with 0 it is the plain step, and
        the memory stays as it is. source: who or what teaches it. if_match: ETags, one of which the newest version must
        have; None: any.

        A repeat of a key returns the version of the first request. Raises UnsafeStepError, LearningPausedError,
        KeyReusedError, WeightsChangedError and StoreError. Then nothing has changed, except perhaps after a StoreError
        at the commit itself: repeat the request with its key to know.
        """
        stored, count = StoredExamples.of(examples), len(examples.labels)

        def step(writer: Writer, model: Model) -> Change:
            change = self._step(writer, model, stored, count, learning_rate=learning_rate, rehearse=rehearse)
            return replace(change, version=replace(change.version, source=source))

        return self.append(step, key, if_match, count)

    def learn_predictions(
        self,
        ids: Sequence[str],
        labels: IntArray,
        learning_rate: float,
        rehearse: int,
        *,
        key: IdempotencyKey | None,
        if_match: set[str] | None = None,
        source: str | None = None,
    ) -> Version:
        """As `train_step`, from predictions that were kept for labelling. Each is in a version once. The loss and the
        accuracy are those of what was answered at the time. labels: (n,). Raises PredictionsGoneError, too."""

        def step(writer: Writer, model: Model) -> Change:
            check_not_paused(writer)
            taken = Predictions(writer.session).take(ids, model.version + 1, writer.now(), is_in_force(writer))
            stored, then = StoredExamples.of(examples_of(taken, labels)), outcomes_of(taken, labels)
            change = self._step(writer, model, stored, len(labels), learning_rate=learning_rate, rehearse=rehearse)
            version = replace(change.version, loss=then.loss, accuracy=then.accuracy, source=source)
            return replace(change, version=version, outcomes=by_kind(taken, then, change.outcomes["served"]))

        return self.append(step, key, if_match, len(labels))

    def _step(
        self, writer: Writer, model: Model, stored: StoredExamples, count: int, *, learning_rate: float, rehearse: int
    ) -> Change:
        """Computed from the bytes that are stored, as each replay is."""
        check_not_paused(writer)
        Predictions(writer.session).delete_expired(writer.now(), self._limits)
        examples, number = stored.examples(count), model.version + 1
        check_classes(examples.labels, model.weights)
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
            created_at=writer.now(),
            count=count,
            loss=taken.loss,
            accuracy=taken.accuracy,
            learning_rate=taken.learning_rate,
            gradient_norm=taken.gradient_norm,
            rehearsed=rehearsal.count,
            memory_size=rehearsal.memory_size or None,
            clip_norm=self._gradient_norm_limit if taken.learning_rate < learning_rate else None,
        )
        return Change(version, taken.weights, stored, {"served": Outcomes.of(taken.probabilities, examples.labels)})

    def rollback(
        self, model_version: int, key: IdempotencyKey | None = None, if_match: set[str] | None = None
    ) -> Version:
        """Append a version with the weights of an earlier one.

        Raises UnknownVersionError, WeightsChangedError, KeyReusedError.
        """

        def back(writer: Writer, model: Model) -> Change:
            version = Version(model.version + 1, "rollback", writer.now(), source_version=model_version)
            return Change(version, rebuild(writer, model_version).weights)

        return self.append(back, key, if_match)

    def load(self, weights: Weights, key: IdempotencyKey | None = None, if_match: set[str] | None = None) -> Version:
        """Append a version with weights from outside. Raises WeightsError, WeightsChangedError, KeyReusedError."""
        check_answers_stay_finite(weights)

        def put(writer: Writer, model: Model) -> Change:
            check_sizes(weights, model.weights)
            AnswerFigures(since=model.version + 1).write(writer.session)
            return Change(Version(model.version + 1, "load", writer.now()), described(weights, model.weights))

        return self.append(put, key, if_match)

    def grow(
        self, label_name: str | None, key: IdempotencyKey | None = None, if_match: set[str] | None = None
    ) -> Version:
        """Append a version with one class more. label_name: of the class, where classes have names.

        Raises NewClassError, WeightsChangedError, KeyReusedError.
        """

        def add(writer: Writer, model: Model) -> Change:
            check_new_class(model.weights, label_name)
            version = Version(model.version + 1, "grow", writer.now(), label_name=label_name)
            weights = grown(model.weights, label_name)
            return Change(replace(version, classes=weights.output_size), weights)

        try:
            return self.append(add, key, if_match)
        except WeightsError as error:  # they are too many for a weights file
            raise NewClassError(str(error)) from error

    def pause(self, reason: str) -> None:
        """Pause learning on all workers and hosts. Does nothing while it is paused."""
        self._set_paused(reason)

    def resume(self) -> None:
        """Does nothing unless learning is paused."""
        self._set_paused(None)

    def _set_paused(self, reason: str | None) -> None:
        with self._log.writing() as writer:
            if (paused(writer) is None) == (reason is None):
                return
            model = self._replica.at_head(writer)
            event = event_after(writer, "resume" if reason is None else "pause", model.version, reason, paused=reason)
            changed = append(writer, event, model.weights)
        self._replica.advance(changed)

    def append(
        self,
        change: Callable[[Writer, Model], Change],
        key: IdempotencyKey | None = None,
        if_match: set[str] | None = None,
        count_of_step: int | None = None,
    ) -> Version:
        """Append what `change` makes of the newest version, unless an earlier request had this key, or the newest
        version's `etag` is not in `if_match`. count_of_step: the number of examples, of a train-step."""
        began = time.perf_counter()
        prefetched = [] if key is None else [query_of_key(key.key)]
        if count_of_step is not None:
            prefetched += queries_of_a_step(count_of_step)
        with self._log.writing(*prefetched) as writer:
            counters.LOG_WAIT.observe(time.perf_counter() - began)
            if key is not None and (done := same_request(writer.of_key(key.key), key)) is not None:
                return done
            model = self._replica.at_head(writer)
            check_match(model, if_match)
            made = change(writer, model)
            version = replace(made.version, paused=paused(writer))
            if key is not None:
                version = replace(version, idempotency_key=key.key, request_digest=key.digest)
            figures = newest_figures(writer) if made.outcomes else None
            changed = append(writer, version, made.weights, made.stored)
            if figures is not None:
                changed = self._advance_figures(writer, changed, figures, made.outcomes)
        self._replica.advance(changed)
        count(version)
        if changed.version > version.model_version:
            counters.VERSIONS.labels("alarm").inc()
        return version

    def _advance_figures(self, writer: Writer, model: Model, before: Row, outcomes: dict[Kind, Outcomes]) -> Model:
        """Add a step's outcomes to the rolling metrics. Returns the newest version: the alarm may append one."""
        for kind, its_outcomes in outcomes.items():
            if kind != "served" and len(its_outcomes.labels):
                figures = RollingFigures(writer.session, kind)
                figures.append(figures.after(figures.newest(), model.version, its_outcomes))
        figures = RollingFigures(writer.session)
        row = figures.after(before, model.version, outcomes["served"])
        watch, model = self._watched(writer, model, row, outcomes["served"])
        figures.append(replace(row, watch=watch.text()))
        return model

    def _watched(self, writer: Writer, model: Model, row: Row, outcomes: Outcomes) -> tuple[Watch, Model]:
        """The alarm's state after a step, and the newest version: the step's, or the one that the alarm appended."""
        alarm, number = self.alarm, model.version
        watch, changed, due = Watch.of(row.watch).after(outcomes.hits, row.examples, alarm.threshold)
        found = better_version(writer, model, row, watch) if due and alarm.act != "off" else None
        if changed or found is not None:
            watch = watch.changed(number, row.examples)
        if found is None:
            return watch, model
        again = watch.acts > 0  # since the change: the labels go on as before
        goes_back = alarm.act == "rollback"
        watch = watch.acted(found.model.version if goes_back else watch.good)
        reason = str(found)
        if again and goes_back:
            reason += f". It is the second time since version {watch.changed_version}, so learning is paused as well"
        version = event_after(writer, "alarm", number, reason, paused=reason if again or alarm.act == "pause" else None)
        if not goes_back:
            return watch, append(writer, version, model.weights)
        return watch, append(writer, replace(version, source_version=found.model.version), found.model.weights)


def is_in_force(reader: Reader) -> Callable[[int], bool]:
    """Whether the newest version contains a train-step, as far as that is known: one that was folded away may be."""

    @cache
    def newest() -> Lineage:
        return lineage(reader)

    return lambda version: version < reader.oldest() or newest().contains(version)


def newest_figures(reader: Reader) -> Row:
    """The rolling metrics from which the next step goes on."""
    row, head = RollingFigures(reader.session).newest(), reader.head()
    if row.model_version == head:
        return row
    since: list[Version] = []
    for version in reader.versions_between_steps(row.model_version, head):
        since.append(version)
        if version.event is None:  # whatever came before it does not matter
            break
    return replace(restarted(row, since), watch=Watch.of(row.watch).restarted(since).text())


def event_after(
    writer: Writer, event: Event, model_version: int, reason: str | None = None, paused: str | None = None
) -> Version:
    """The version after that one, with the same weights."""
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
    """Why learning is paused; None where it is not."""
    newest = reader.newest()
    return None if newest is None else newest.version.paused


def check_not_paused(reader: Reader) -> None:
    """Raises LearningPausedError."""
    if (reason := paused(reader)) is not None:
        raise LearningPausedError(reason)


def count(version: Version) -> None:
    """In the metrics."""
    counters.VERSIONS.labels(version.kind).inc()
    if version.kind == "train-step":
        counters.EXAMPLES.inc(version.count or 0)
        counters.REHEARSED.inc(version.rehearsed or 0)


def append(writer: Writer, version: Version, weights: Weights, stored: StoredExamples | None = None) -> Model:
    """Write a version, with a snapshot where one is due. The weights that are then served are read back from the
    snapshot, as each replay does: no other property of them can make a difference.

    Raises WeightsError for weights that could not be read back, StoreError.
    """
    snapshot = None
    if writer.needs_snapshot(version, stored):
        snapshot = weights_file.to_bytes(weights)
        weights = weights_file.from_bytes(snapshot)
    record = writer.append(version, stored, snapshot)
    return Model(version.model_version, weights, record.link.digest)


def same_request(done: Version | None, key: IdempotencyKey) -> Version | None:
    """Raises KeyReusedError where the key was used for another request."""
    if done is not None and done.request_digest != key.digest:
        raise KeyReusedError(f"the Idempotency-Key {key.key!r} was used for another request")
    return done


def check_sizes(weights: Weights, served: Weights) -> None:
    """Raises WeightsError for weights with another input, output or order of classes than the served model's."""
    for side, size, expected in (
        ("input", weights.input_size, served.input_size),
        ("output", weights.output_size, served.output_size),
    ):
        if size != expected:
            missing = size - expected if side == "output" else 0
            hint = f"; POST /classes adds a class to it: it lacks {missing:,}" if missing > 0 else ""
            raise WeightsError(f"the {side} size is {size}: that of the served model is {expected}{hint}")
    names, served_names = weights.label_names or (), served.label_names or ()
    if names != served_names and sorted(names) == sorted(served_names):
        raise WeightsError(
            "the classes are those of the served model in another order, which would change the meaning of every label "
            f"in the history. Expected the order {shown(served_names)}"
        )


def check_classes(labels: IntArray, weights: Weights) -> None:
    """Raises UnknownClassError."""
    if (largest := int(labels.max())) >= weights.output_size:
        raise UnknownClassError(largest, weights.output_size)


def check_new_class(served: Weights, label_name: str | None) -> None:
    """Raises NewClassError."""
    names = served.label_names
    if served.output_size >= MOST_CLASSES:
        raise NewClassError(f"the network has {served.output_size:,} classes, and may not have more")
    if names is None:
        if label_name is not None:
            raise NewClassError("the classes of this network are numbers: the new one can't have a name")
    elif label_name is None:
        raise NewClassError(f"the classes of this network have names: expected a name other than {shown(names)}")
    elif label_name in names:
        raise NewClassError(f"there is a class {label_name!r} already: it is number {names.index(label_name)}")


def shown(names: Sequence[str]) -> str:
    return ", ".join(names[:20])


def described(weights: Weights, served: Weights) -> Weights:
    """With the served model's image shape and class names, where the file records none."""
    return replace(
        weights,
        image_shape=weights.image_shape or served.image_shape,
        label_names=weights.label_names or served.label_names,
    )


def check_answers_stay_finite(weights: Weights) -> None:
    """Raises WeightsError."""
    if not answers_stay_finite(weights.params):
        raise WeightsError("the weights are too large to compute with in float32")


def check_match(model: Model, if_match: set[str] | None) -> None:
    """Raises WeightsChangedError."""
    if if_match is not None and etag(model.weights) not in if_match:
        raise WeightsChangedError(model.version)


def etag(weights: Weights) -> str:
    """Identifies the bytes that GET /weights returns."""
    return etag_of(weights_file.to_bytes(weights))


def etag_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
