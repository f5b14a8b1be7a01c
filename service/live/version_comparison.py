"""Whether an earlier version does better than the newest one, on the same examples, by more than chance.

A fall of the accuracy may come from harder images, which no earlier version recognises better either. So versions are
compared pair by pair with McNemar's exact test, on the last labelled examples that were not chosen for their
uncertainty, and on the training images of the replay memory.

No version is measured on what only it has learnt. For examples that came after the earlier version, or after the newest
load or rollback, what counts is what was answered before they were learnt. The others were learnt by both versions or
by neither, so both are asked now. A step that was unlearned says nothing; for one that was relabelled, its new labels
count: they are newer than its answers, so these are not used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from model.datasets import pixels_to_input
from model.paired_test import p_value
from model.replay_memory import most_examples
from model.types import FloatArray, IntArray
from model.weights_file import Weights
from service.live.drift_alarm import Watch
from service.live.lineage import lineage
from service.live.replica import Model, rebuild
from service.store.log import Writer
from service.store.rolling_figures import RollingFigures, Row

LEVEL = 0.01
"""How often an earlier version that is not better seems to be. It is divided by the number of versions compared."""

MOST_EXAMPLES = 1000
"""Labelled ones, in as many versions, and as many of the replay memory."""

SNAPSHOTS_COMPARED, SNAPSHOTS_READ = 2, 10


@dataclass(frozen=True)
class Lesson:
    """The examples of one step; hits, (n,): whether their posted labels were recognised before they were learnt;
    is_past: whether that was before the newest load, rollback or change of earlier steps."""

    version: int
    x: FloatArray
    t: IntArray
    hits: NDArray[np.bool_]
    is_past: bool


@dataclass(frozen=True)
class Comparison:
    """lost: what only the earlier version recognises; won: what only the newest one does; count: of examples."""

    model: Model
    lost: int
    won: int
    count: int

    @property
    def p(self) -> float:
        return p_value(self.lost, self.won)

    def __str__(self) -> str:
        return (
            f"of {self.count} examples, the last labelled ones and training images of the memory, version "
            f"{self.model.version} recognises {self.lost} that the newest version did not, "
            f"and misses {self.won} that were (p = {self.p:.1g})"
        )


def better_version(writer: Writer, newest: Model, row: Row, watch: Watch) -> Comparison | None:
    """The best of the earlier versions that are better than the newest one. row: the newest one, not written yet."""
    lessons = list(last_lessons(writer, newest.weights, row))
    if not lessons:
        return None
    x, t = memory_examples(newest.weights)
    x, t = np.concatenate([lesson.x for lesson in lessons] + [x]), np.concatenate([one.t for one in lessons] + [t])
    now = hits_of(newest.weights, x, t)
    before = np.concatenate([lesson.hits for lesson in lessons])
    compared = []
    for model in earlier_models(writer, newest, watch):
        learnt_by_both_or_neither = np.concatenate(
            [np.full(len(one.t), one.is_past or one.version <= model.version) for one in lessons]
        )
        hits, earlier = now.copy(), hits_of(model.weights, x, t)
        hits[: len(before)] = np.where(learnt_by_both_or_neither, now[: len(before)], before)
        compared.append(Comparison(model, int((earlier & ~hits).sum()), int((hits & ~earlier).sum()), len(t)))
    better = [one for one in compared if one.p < LEVEL / len(compared)]
    return max(better, key=lambda one: (one.lost - one.won, one.model.version), default=None)


def hits_of(weights: Weights, x: FloatArray, t: IntArray) -> NDArray[np.bool_]:
    hits: NDArray[np.bool_] = weights.network().predict(x).argmax(axis=1) == t
    return hits


def earlier_models(writer: Writer, newest: Model, watch: Watch) -> Iterator[Model]:
    """What a client last loaded or went back to, what the alarm last went back to, and the last snapshots. None is
    older than the first of these, so nothing comes back that a client undid."""
    first = max(watch.since, writer.oldest())
    versions = {version for version in (first, watch.good) if first <= version < newest.version}
    until, most = newest.version - 1, len(versions) + SNAPSHOTS_COMPARED
    for _ in range(SNAPSHOTS_READ):
        entry = writer.latest_snapshot(after=first, until=until)
        if entry is None or len(versions) == most:
            break
        version = entry.record.version
        until = version.model_version - 1
        if version.event is None:  # else it repeats another version
            versions.add(version.model_version)
    for number in sorted(versions):
        model = rebuild(writer, number)
        if model.weights.output_size == newest.weights.output_size:
            yield model


def last_lessons(writer: Writer, weights: Weights, row: Row) -> Iterator[Lesson]:
    """Of the kind `served`, with the labels that count now. Steps that also had others are left out: it is not recorded
    which is which. So are those that were unlearned. row: the newest one, not written yet."""
    most = most_examples(MOST_EXAMPLES, weights.input_size)
    rows = {one.model_version: one for one in RollingFigures(writer.session).last(row, most) if one.outcomes}
    now = lineage(writer, row.model_version, oldest=min(rows, default=row.model_version))
    written = writer.steps_of_kind("served", row.examples - most)
    for step in chain(written, writer.steps(row.model_version - 1, row.model_version)):
        number, its_row = step.model_version, rows.get(step.model_version)
        if its_row is None or number in now.unlearned:
            continue
        hits, changed = its_row.last_outcomes()["hit"], now.labels_of(number)
        if len(hits) == len(step.examples.labels):
            labels = step.examples.labels if changed is None else np.array(changed, np.intp)
            some = slice(-min(len(hits), most - (row.examples - its_row.examples)), None)
            x, is_past = pixels_to_input(step.examples.pixels[some]), its_row.examples <= row.counted_from
            yield Lesson(number, x, labels[some], hits[some].astype(np.bool_), is_past)


def memory_examples(weights: Weights) -> tuple[FloatArray, IntArray]:
    """Of the sample, the training images only: both versions were trained on these. x: (n, features); t: (n,)."""
    classes = enumerate(weights.memory.classes)
    kept = [(one.pixels, label) for label, rows in classes for one in rows if not one.posted]
    kept = kept[:: 1 + len(kept) // (MOST_EXAMPLES + 1)]
    pixels = np.frombuffer(b"".join(pixels for pixels, _ in kept), np.uint8).reshape(len(kept), weights.input_size)
    return pixels_to_input(pixels), np.array([label for _, label in kept], np.intp)
