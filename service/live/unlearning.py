"""Taking train-steps out of the model again, or giving one other labels: exactly, whenever they were taken.

A version is the fold of the steps that it contains (`lineage`). So the weights without some of them are computed by
replaying the others, from the newest snapshot that none of them had touched. Each step keeps its number, learning rate
and memory limit, and draws by its number what it rehearses from the memory as it then is.

The replay reads the log in pieces, and others go on learning meanwhile. Only when it has come close to the newest
version does it take the write lock, for the last few steps.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from model.growth import grown
from model.online_step import UnsafeStepError, answers_stay_finite
from model.weights_file import Weights
from service.errors import (
    FoldedAwayError,
    NotInForceError,
    StoreBusyError,
    StoreCorruptError,
    WeightsChangedError,
)
from service.live.learner import Change, IdempotencyKey, Learner, check_match
from service.live.lineage import NOTHING, Labels, Lineage, lineage
from service.live.replica import Model, Replica, replayed_step, stored_weights
from service.store.log import AFTER_ALL, Reader, StepLog, Writer
from service.store.records import Step, Version, numbers_text

MOST_STEPS = 10_000
"""Steps that one version may take out."""

AT_ONCE = 250  # steps that are read in one transaction
MOST_UNDER_LOCK = 32  # steps; every other writer waits for them
MOST_TRIES = 8  # to come so close; then the rest is replayed under the lock, however long it takes
WAIT_SECONDS = 5.0  # of a request while another one replays: one at a time
MOST_NAMED = 20  # steps that can't be changed, in an error


@dataclass(frozen=True)
class Edit:
    """What changes: these steps are taken out or, if there are labels, the only one gets these."""

    steps: frozenset[int]
    labels: Labels | None = None

    def version(self, number: int, created_at: float, examples: int) -> Version:
        if self.labels is None:
            steps = numbers_text(sorted(self.steps))
            return Version(number, "unlearn", created_at, examples, unlearned_steps=steps)
        text = numbers_text(self.labels)
        return Version(number, "relabel", created_at, examples, source_version=min(self.steps), new_labels=text)


Location = tuple[str | int, ...]
Chosen = Callable[[Reader, Lineage], Edit]
"""The edit of a lineage; raises NotInForceError, FoldedAwayError."""


@dataclass(frozen=True)
class Replayed:
    """How far a replay is: the weights of a lineage with the edit, up to a version. examples: how many were changed so
    far; is_newest: whether the version is the log's newest."""

    edit: Edit
    lineage: Lineage
    version: int
    weights: Weights
    examples: int = 0
    is_newest: bool = False


class TooFarBehindError(Exception):
    """There are more steps to replay than others should wait for."""


class Unlearning:
    """Safe to use from any number of threads. Every method raises StoreError."""

    def __init__(self, log: StepLog, replica: Replica, learner: Learner) -> None:
        self._log = log
        self._replica = replica
        self._learner = learner
        self._replaying = threading.Lock()

    def unlearn(
        self, versions: Sequence[int], key: IdempotencyKey | None = None, if_match: set[str] | None = None
    ) -> Version:
        """Append a version without these train-steps.

        Raises NotInForceError, FoldedAwayError, UnsafeStepError, WeightsChangedError, KeyReusedError.
        """
        steps = frozenset(versions)

        def chosen(reader: Reader, before: Lineage) -> Edit:
            check_in_force(reader, before, [(("model_versions", at), one) for at, one in enumerate(versions)])
            return Edit(steps)

        return self._append(chosen, key, if_match)

    def unlearn_source(
        self,
        source: str,
        after: int | None = None,
        before: int | None = None,
        key: IdempotencyKey | None = None,
        if_match: set[str] | None = None,
    ) -> Version:
        """As `unlearn`, for those in force that a source taught, between two versions and before the request."""
        taught: list[int] | None = None

        def chosen(reader: Reader, lineage: Lineage) -> Edit:
            nonlocal taught
            if taught is None:
                check_kept(reader, (after or 0) + 1, lineage.root)
                numbers = reader.numbers_of_source(source, after or 0, before or AFTER_ALL)
                taught = list(islice(filter(lineage.contains, numbers), MOST_STEPS + 1))
            if len(taught) > MOST_STEPS:
                why = f"{source!r} taught more than {MOST_STEPS:,} train-steps there"
                raise NotInForceError({("source",): f'{why}: set the bounds "after" and "before"'})
            check_kept(reader, min(taught, default=AFTER_ALL), lineage.root)
            steps = frozenset(filter(lineage.contains, taught))
            if not steps:
                raise NotInForceError({("source",): f"{source!r} taught nothing there that is in force"})
            return Edit(steps)

        return self._append(chosen, key, if_match)

    def relabel(
        self, version: int, labels: Labels, key: IdempotencyKey | None = None, if_match: set[str] | None = None
    ) -> Version:
        """Append a version with other labels for a train-step. Raises as `unlearn` does."""

        def chosen(reader: Reader, before: Lineage) -> Edit:
            check_in_force(reader, before, [(("model_version",), version)])
            if (count := reader.version(version).version.count) != len(labels):
                raise NotInForceError(
                    {
                        (
                            "labels",
                        ): f"expected {count}, one for each example of version {version}: there are {len(labels)}"
                    }
                )
            return Edit(frozenset([version]), labels)

        return self._append(chosen, key, if_match)

    def _append(self, chosen: Chosen, key: IdempotencyKey | None, if_match: set[str] | None) -> Version:
        if not self._replaying.acquire(timeout=WAIT_SECONDS):
            raise StoreBusyError("other train-steps are being unlearned: try again")
        try:
            check_match(self._replica.newest(), if_match)
            return self._replay_and_append(chosen, key, if_match)
        except (WeightsChangedError, NotInForceError, FoldedAwayError):  # perhaps by this very request's first try
            if key is not None and (done := self._learner.answered(key)) is not None:
                return done
            raise
        finally:
            self._replaying.release()

    def _replay_and_append(self, chosen: Chosen, key: IdempotencyKey | None, if_match: set[str] | None) -> Version:
        replayed: Replayed | None = None
        most = MOST_UNDER_LOCK

        def change(writer: Writer, model: Model) -> Change:
            assert replayed is not None
            if model.version - replayed.version > most:
                raise TooFarBehindError
            result = advanced(writer, replayed, chosen, most)
            if not result.is_newest:  # it began anew
                raise TooFarBehindError
            if not answers_stay_finite(result.weights.params):
                raise UnsafeStepError("without these steps, weights would not be finite, or too large to compute with")
            return Change(result.edit.version(model.version + 1, writer.now(), result.examples), result.weights)

        for _ in range(MOST_TRIES):
            if key is not None and (done := self._learner.answered(key)) is not None:
                return done
            replayed = self._caught_up(replayed, chosen)
            self._replica.newest()  # or this worker's copy would catch up under the lock
            with suppress(TooFarBehindError):
                return self._learner.append(change, key, if_match)
        most = AFTER_ALL
        return self._learner.append(change, key, if_match)

    def _caught_up(self, replayed: Replayed | None, chosen: Chosen) -> Replayed:
        """Up to the version that is the newest now, or a later one; less far if it has to begin anew."""
        goal = None
        while True:
            before = 0 if replayed is None else replayed.version
            with self._log.reading() as reader:
                goal = goal or reader.head()
                replayed = advanced(reader, replayed, chosen, AT_ONCE)
            if not before < replayed.version < goal:
                return replayed


def advanced(reader: Reader, replayed: Replayed | None, chosen: Chosen, most: int) -> Replayed:
    """By at most that many train-steps. It begins anew where the log no longer continues what was replayed: after a
    rollback, a load or another edit."""
    before = lineage(reader, known=NOTHING if replayed is None else replayed.lineage)
    edit = chosen(reader, before)
    if replayed is None or replayed.edit != edit or not before.continues(replayed.lineage, replayed.version):
        replayed = begun(reader, edit, before)
    weights, version, examples, left = replayed.weights, replayed.version, replayed.examples, most
    for steps in before.ranges(version):
        for step in steps_of(reader, steps[:left]):
            weights = with_classes(weights, before.growths(version, step.model_version))
            version, left = step.model_version, left - 1
            labels = before.labels_of(version)
            if version in edit.steps:
                examples += len(step.examples.labels)
                labels = edit.labels
                if labels is None:
                    continue
            if version not in before.unlearned:
                with np.errstate(over="ignore", invalid="ignore"):
                    weights = replayed_step(weights, with_labels(step, labels, weights))
        if not left:
            break
    is_newest = next(before.ranges(version), None) is None
    if is_newest:
        weights = with_classes(weights, before.growths(version, reader.head()))
        version = reader.head()
    return Replayed(edit, before, version, weights, examples, is_newest)


def begun(reader: Reader, edit: Edit, before: Lineage) -> Replayed:
    """At the newest snapshot whose steps are all as the edit leaves them: no later version changed any of them."""
    first = min(edit.steps)
    for part in reversed(before.parts):
        begin = max(before.root, part.start - 1)
        if begin < first:
            until = min(part.stop, first, *(oldest for number, oldest in before.changes if number > begin)) - 1
            entry = reader.latest_snapshot(after=begin - 1, until=until)
            if entry is not None:
                break
    else:
        entry = reader.latest_snapshot(after=before.root - 1, until=before.root)
    if entry is None:
        raise StoreCorruptError(f"version {before.root} has no weights in the log")
    return Replayed(edit, before, entry.record.version.model_version, stored_weights(entry))


def steps_of(reader: Reader, versions: range) -> Iterator[Step]:
    """Raises StoreCorruptError where one is missing."""
    number = versions.start
    for step in reader.steps(versions.start - 1, versions.stop - 1):
        if step.model_version != number:
            break
        yield step
        number += 1
    if number != versions.stop:
        raise StoreCorruptError(f"version {number} is missing from the log")


def with_classes(weights: Weights, names: Iterable[str | None]) -> Weights:
    for name in names:
        weights = grown(weights, name)
    return weights


def with_labels(step: Step, labels: Labels | None, weights: Weights) -> Step:
    """Raises NotInForceError for a class that came after the step."""
    if labels is None:
        return step
    if (largest := max(labels)) >= weights.output_size:
        why = f"version {step.model_version} had {weights.output_size} classes: the label {largest} was added later"
        raise NotInForceError({("labels",): why})
    return replace(step, examples=replace(step.examples, labels=np.array(labels, np.intp)))


def check_kept(reader: Reader, version: int, root: int) -> None:
    """Raises FoldedAwayError where there were steps from that version on that the root of a lineage contains."""
    if version <= root and reader.version(root).version.kind != "load":
        raise FoldedAwayError(version, root + 1)


def check_in_force(reader: Reader, before: Lineage, steps: Iterable[tuple[Location, int]]) -> None:
    """Raises NotInForceError, FoldedAwayError. steps: each with its place in the request."""
    wrong: dict[Location, str] = {}
    oldest, head = reader.oldest(), reader.head()
    for place, one in steps:
        if before.contains(one) and one > before.root:
            continue
        if one > head:
            wrong[place] = f"there is no version {one} yet: the newest is {head}"
        elif one in before.unlearned:
            wrong[place] = f"version {one} was unlearned already"
        elif one < oldest or before.contains(one):
            raise FoldedAwayError(one, before.root + 1)
        elif (kind := reader.version(one).version.kind) != "train-step":
            wrong[place] = f"version {one} is {'an' if kind == 'unlearn' else 'a'} {kind}: expected a train-step"
        else:
            wrong[place] = f"version {one} is not in force: it was rolled back, or other weights were loaded since"
        if len(wrong) == MOST_NAMED:
            break
    if wrong:
        raise NotInForceError(wrong)
