"""What the log says of past versions: a list of them, their examples, and the rolling metrics."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from service.live import rehearsed_examples
from service.live.learner import newest_figures, paused
from service.live.lineage import Labels, Lineage, lineage
from service.store.answer_figures import AnswerFigures, Block
from service.store.log import AFTER_ALL, Reader, StepLog
from service.store.records import Examples, Version
from service.store.rolling_figures import RollingFigures, Row, Window

__all__ = ["Block", "Group", "History", "Standing", "Window"]

MOST_NUMBERS_LISTED = 100_000
"""Train-steps and labels that the versions of a page list, unless it is a single version."""


@dataclass(frozen=True)
class Group:
    """Examples of one step: posted, or rehearsed. in_force: whether the newest version contains the step; labels: those
    that count now, where it was relabelled."""

    model_version: int
    examples: Examples
    rehearsed: bool = False
    in_force: bool = True
    labels: Labels | None = None


@dataclass(frozen=True)
class Standing:
    """How well the network does at one moment. head: the newest version; paused: why learning is paused, None where it
    is not; row: of the newest step; windows: of the last labelled examples; chosen, pinned: of those of these kinds;
    answers: of the images without labels."""

    head: int
    paused: str | None
    row: Row
    windows: list[Window]
    chosen: Window
    pinned: Window
    answers: AnswerFigures


class History:
    """Safe to use from any number of threads. Every method raises StoreError."""

    def __init__(self, log: StepLog) -> None:
        self._log = log

    def page(
        self, limit: int, before: int | None = None, source: str | None = None
    ) -> tuple[list[Version], int | None]:
        """Versions below `before`, newest first, and the next page's `before`; None on the last page. A page ends early
        if these would list more than MOST_NUMBERS_LISTED numbers. source: only the train-steps that it taught."""
        page: list[Version] = []
        numbers = 0
        with self._log.reading() as reader, closing(reader.versions(limit + 1, before, source)) as versions:
            for version in versions:
                numbers += version.numbers_listed
                if len(page) == limit or (page and numbers > MOST_NUMBERS_LISTED):
                    return page, page[-1].model_version
                page.append(version)
        return page, None

    def check_kept(self, model_version: int) -> None:
        """Raises UnknownVersionError."""
        with self._log.reading() as reader:
            reader.version(model_version)

    def examples(self, after: int, limit: int, rehearsed: bool) -> tuple[list[Group], int]:
        """The examples of train-steps above `after`, of whole steps, at most `limit` images in all but at least one
        step; and the oldest version that is kept. rehearsed: with the examples that took part by rehearsal."""
        with self._log.reading() as reader:
            groups = whole_steps(groups_of_steps(reader, after, rehearsed), limit)
            newest = lineage(reader)
            return [in_force(group, newest) for group in groups], reader.oldest()

    def seconds_without_copy(self) -> float | None:
        """How long the newest verified copy of the store may have lacked something; None where none was verified."""
        with self._log.reading() as reader:
            until = reader.copied_until()
            return None if until is None else max(0.0, reader.now() - until)

    def standing(self, classes: int) -> Standing:
        with self._log.reading() as reader:
            row = newest_figures(reader)
            windows = RollingFigures(reader.session).windows(row, classes)
            chosen, pinned = (
                figures.windows(figures.newest(), classes)[1]
                for figures in (RollingFigures(reader.session, "chosen"), RollingFigures(reader.session, "pinned"))
            )
            answers = AnswerFigures.of(reader.session)
            return Standing(reader.head(), paused(reader), row, windows, chosen, pinned, answers)


def groups_of_steps(reader: Reader, after: int, rehearsed: bool) -> Iterator[list[Group]]:
    """The groups of each step, oldest first."""
    if rehearsed:
        for step, drawn in rehearsed_examples.rehearsed_steps(reader, after):
            yield [Group(step.model_version, step.examples), Group(step.model_version, drawn, True)]
    else:
        for step in reader.steps(after, AFTER_ALL):
            yield [Group(step.model_version, step.examples)]


def in_force(group: Group, newest: Lineage) -> Group:
    labels = None if group.rehearsed else newest.labels_of(group.model_version)
    return replace(group, in_force=newest.contains(group.model_version), labels=labels)


def whole_steps(steps: Iterator[list[Group]], limit: int) -> list[Group]:
    taken: list[Group] = []
    total = 0
    for groups in steps:
        total += sum(len(group.examples.labels) for group in groups)
        if taken and total > limit:
            break
        taken += groups
    return taken
