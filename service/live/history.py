"""What the log tells of the versions that there have been: a list of them, their examples, how well each answered."""

from collections.abc import Iterator
from dataclasses import dataclass

from service.live import rehearsal
from service.live.learner import figures_before, paused
from service.store.log import AFTER_ALL, Reader, StepLog
from service.store.progress import Progress, Row, Window
from service.store.records import Examples, Version


@dataclass(frozen=True)
class Group:
    """Examples of one step: posted, or remembered."""

    model_version: int
    examples: Examples
    rehearsed: bool = False


@dataclass(frozen=True)
class Standing:
    """How well the network does at one moment. head: the newest version; paused: why nothing is learnt, None where
    something is; row: of the newest step; windows: of the last labelled examples."""

    head: int
    paused: str | None
    row: Row
    windows: list[Window]


class History:
    """Safe to use from any number of threads. Everything here raises StoreError."""

    def __init__(self, log: StepLog) -> None:
        self._log = log

    def page(self, limit: int, before: int | None = None) -> tuple[list[Version], int | None]:
        """Versions below `before`, newest first, and what the next page is before; None on the last."""
        with self._log.reading() as reader:
            found = reader.versions(limit + 1, before)
        return found[:limit], found[limit - 1].model_version if len(found) > limit else None

    def check_kept(self, model_version: int) -> None:
        """Raises UnknownVersionError."""
        with self._log.reading() as reader:
            reader.version(model_version)

    def examples(self, after: int, limit: int, rehearsed: bool) -> tuple[list[Group], int]:
        """The examples of train-steps above `after`, whole steps of at most `limit` images in all, but at least one;
        and the oldest version that is kept. rehearsed: with the remembered ones that took part."""
        with self._log.reading() as reader:
            steps = rehearsed_steps(reader, after) if rehearsed else plain_steps(reader, after)
            return whole_steps(steps, limit), reader.oldest()

    def standing(self, classes: int) -> Standing:
        with self._log.reading() as reader:
            row = figures_before(reader)
            return Standing(reader.head(), paused(reader), row, Progress(reader.session).windows(row, classes))


def plain_steps(reader: Reader, after: int) -> Iterator[list[Group]]:
    """For each step its examples, oldest first."""
    for step in reader.steps(after, AFTER_ALL):
        yield [Group(step.model_version, step.examples)]


def rehearsed_steps(reader: Reader, after: int) -> Iterator[list[Group]]:
    """For each step its examples and the remembered ones that took part, oldest first."""
    for step, remembered in rehearsal.rehearsed_steps(reader, after):
        yield [Group(step.model_version, step.examples), Group(step.model_version, remembered, True)]


def whole_steps(steps: Iterator[list[Group]], limit: int) -> list[Group]:
    found: list[Group] = []
    total = 0
    for groups in steps:
        total += sum(len(group.examples.labels) for group in groups)
        if found and total > limit:
            break
        found += groups
    return found
