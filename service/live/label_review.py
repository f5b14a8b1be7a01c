"""Which of the labels that were learnt are probably wrong."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from model.datasets import pixels_to_input
from model.replay_memory import most_examples
from model.types import IntArray
from service.live.lineage import Lineage, lineage
from service.live.replica import Model, Replica
from service.schemas.fields import MOST_LABELS_LISTED
from service.store.log import Reader, StepLog
from service.store.records import Version
from service.store.rolling_figures import OUTCOME, Kind, RollingFigures

MOST_EXAMPLES = 10_000
EXAMPLES_AT_ONCE = 1000

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class LearntLabel:
    """The label that counts for an example of a train-step. index: the example's place in the step; predicted: by the
    newest version; source: who taught it.

    probability: of the label, the geometric mean of its probabilities before the step and by the newest version. A
    version that has learnt a wrong label believes it a little; one that knew little before knows more now. `python -m
    bench.unlearning` compares the mean with both.
    """

    model_version: int
    index: int
    label: int
    predicted: int
    probability: float
    source: str | None
    created_at: float


@dataclass(frozen=True)
class Learnt:
    """Labelled examples of a step. pixels: (n, features); labels: those that count, (n,); log_before: the logarithms of
    their probabilities before the step, (n,), NaN where that is not known."""

    version: Version
    pixels: NDArray[Any]
    labels: IntArray
    log_before: Scores


class LabelReview:
    """Safe to use from any number of threads."""

    def __init__(self, log: StepLog, replica: Replica) -> None:
        self._log = log
        self._replica = replica
        self._ranking = threading.Lock()
        self._ranked: tuple[bytes, list[LearntLabel]] = b"", []

    def suspicious(self, limit: int) -> list[LearntLabel]:
        """Of the newest MOST_EXAMPLES labelled examples, those in force, the least probable labels first. limit: up to
        MOST_LABELS_LISTED. The list is kept until there is a new version. Raises StoreError."""
        model = self._replica.newest()
        with self._ranking:  # one at a time, to bound the memory used
            if self._ranked[0] != model.digest:
                with self._log.reading() as reader:
                    self._ranked = model.digest, ranked(reader, model)
            return self._ranked[1][:limit]

    def pixels(self, model_version: int, index: int) -> NDArray[Any] | None:
        """Of an example of a train-step, (features,), whether in force or not; None where the version has no such
        example. Raises UnknownVersionError, StoreError."""
        with self._log.reading() as reader:
            reader.version(model_version)
            steps = list(reader.steps(after=model_version - 1, until=model_version))
        pixels: list[NDArray[Any]] = [image for step in steps for image in step.examples.pixels[index : index + 1]]
        return pixels[0] if pixels else None


def ranked(reader: Reader, model: Model) -> list[LearntLabel]:
    """The MOST_LABELS_LISTED least probable labels."""
    found: list[LearntLabel] = []
    for group in grouped(learnt(reader, lineage(reader, model.version), model.version)):
        found += judged(group, model)
        found = sorted(found, key=lambda label: label.probability)[:MOST_LABELS_LISTED]
    return found


def learnt(reader: Reader, contained: Lineage, until: int) -> Iterator[Learnt]:
    """The newest labelled examples, up to a version, of those steps that are contained in it, oldest first."""
    newest = newest_outcomes(reader)
    outcomes = {version: outcome for version, outcome in newest.items() if contained.contains(version)}
    for steps in contained.ranges(min(outcomes, default=until + 1) - 1, until):
        for entry in reader.entries(after=steps.start - 1, until=steps.stop - 1):
            if (step := entry.step) is None or step.model_version not in outcomes:
                continue
            outcome, changed = outcomes[step.model_version], contained.labels_of(step.model_version)
            labels = step.examples.labels if changed is None else np.array(changed, np.intp)
            log_before = np.full(len(labels), np.nan)
            if len(outcome) == len(labels):
                log_before = np.where(outcome["label"] == labels, -outcome["loss"].astype(np.float64), np.nan)
            yield Learnt(entry.record.version, step.examples.pixels, labels, log_before)


def newest_outcomes(reader: Reader) -> dict[int, NDArray[Any]]:
    """How the newest MOST_EXAMPLES labelled examples were answered, by step; empty for a step with several kinds of
    examples, since their order is not recorded."""
    parts: dict[int, list[NDArray[Any]]] = {}
    for kind in get_args(Kind):
        figures = RollingFigures(reader.session, kind)
        for row in figures.last(figures.newest(), MOST_EXAMPLES):
            if row.outcomes:
                parts.setdefault(row.model_version, []).append(row.last_outcomes())
    found: dict[int, NDArray[Any]] = {}
    left = MOST_EXAMPLES
    for version in sorted(parts, reverse=True):
        left -= sum(map(len, parts[version]))
        if left < 0 and found:
            break
        found[version] = parts[version][0] if len(parts[version]) == 1 else np.empty(0, OUTCOME)
    return found


def grouped(steps: Iterator[Learnt]) -> Iterator[list[Learnt]]:
    """Steps together, up to EXAMPLES_AT_ONCE examples, fewer of large images, or a single step that has more."""
    group: list[Learnt] = []
    count = 0
    for step in steps:
        if group and count + len(step.labels) > most_examples(EXAMPLES_AT_ONCE, step.pixels.shape[1]):
            yield group
            group, count = [], 0
        group.append(step)
        count += len(step.labels)
    if group:
        yield group


def judged(group: list[Learnt], model: Model) -> list[LearntLabel]:
    logits = model.network.predict(np.concatenate([pixels_to_input(step.pixels) for step in group]))
    labels = np.concatenate([step.labels for step in group])
    log_newest = log_softmax(logits.astype(np.float64))[np.arange(len(labels)), labels]
    log_before = np.concatenate([step.log_before for step in group])
    log_before = np.where(np.isnan(log_before), log_newest, log_before)
    probabilities = np.exp((log_before + log_newest) / 2)
    predicted = logits.argmax(axis=1)
    places = [(step.version, index) for step in group for index in range(len(step.labels))]
    return [
        LearntLabel(version.model_version, index, *judgement, version.source, version.created_at)
        for (version, index), judgement in zip(
            places, zip(labels.tolist(), predicted.tolist(), probabilities.tolist(), strict=True), strict=True
        )
    ]


def log_softmax(logits: Scores) -> Scores:
    shifted = logits - logits.max(axis=1, keepdims=True)
    logarithms: Scores = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logarithms
