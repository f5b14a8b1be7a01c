"""Which train-steps a version contains, and with which labels.

Most versions contain what the one before them does, and a train-step itself as well. A load contains nothing before it.
A rollback contains what the version that it returned to does. An `unlearn` lacks some steps, a `relabel` has other
labels for one, and a `grow` has one class more. So going back from a version, from each of these to the one it depends
on, leads past all steps that it contains, without reading a step.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from service.store.log import AFTER_ALL, Reader

Labels = tuple[int, ...]


@dataclass(frozen=True)
class Lineage:
    """The train-steps of a version.

    root: the version that the others build on: a load, or the oldest one whose state is kept. What it contains itself
    can't be changed any more; parts: runs of successive versions, oldest first, some of them empty, of which the first
    may be a train-step or not, and all others are; the last run ends with the version itself; unlearned: the steps of
    these that it does not contain; relabelled: the labels that count in place of the posted ones, by version; changes:
    the versions that unlearned or relabelled steps, each with the oldest of these, oldest first; grown: the versions
    that added a class, ascending, each with the class's name.
    """

    root: int
    parts: tuple[range, ...]
    unlearned: frozenset[int] = frozenset()
    relabelled: Mapping[int, Labels] = field(default_factory=dict)
    changes: tuple[tuple[int, int], ...] = field(default=(), compare=False)
    grown: tuple[tuple[int, str | None], ...] = ()

    def contains(self, version: int) -> bool:
        """Whether it is a train-step that is in force."""
        at = bisect_right(self.parts, version, key=lambda part: part.start) - 1
        return at >= 0 and version in self.parts[at] and version not in self.unlearned

    def labels_of(self, version: int) -> Labels | None:
        """The labels that count for a step, where it was relabelled."""
        return self.relabelled.get(version)

    def ranges(self, after: int = 0, until: int = AFTER_ALL) -> Iterator[range]:
        """Versions after + 1 … until that are train-steps in force or were unlearned, ascending."""
        first = bisect_right(self.parts, after, key=lambda part: part.start) - 1
        for part in self.parts[max(first, 0) :]:
            steps = range(max(part.start, after + 1), min(part.stop, until + 1))
            if steps:
                yield steps

    def steps(self, after: int = 0, until: int = AFTER_ALL) -> Iterator[int]:
        """The train-steps in force of versions after + 1 … until, ascending."""
        for steps in self.ranges(after, until):
            yield from (version for version in steps if version not in self.unlearned)

    def growths(self, after: int, until: int) -> list[str | None]:
        """The names of the classes that versions after + 1 … until added."""
        return [name for number, name in self.grown if after < number <= until]

    def until(self, version: int, after: int = 0) -> "Lineage":
        """Without the steps above that version, and those up to `after`."""
        return Lineage(
            max(self.root, after),
            tuple(self.ranges(after, version)),
            frozenset(one for one in self.unlearned if after < one <= version),
            {one: labels for one, labels in self.relabelled.items() if after < one <= version},
            grown=tuple(one for one in self.grown if after < one[0] <= version),
        )

    def continues(self, known: "Lineage", version: int) -> bool:
        """Whether it contains the same up to a version as an earlier lineage did, which shares a step above its root
        with it. Retention may have moved the root since."""
        if self.root > version:
            return False
        if self.parts[-1].start == known.parts[-1].start:  # only steps were added
            return True
        if any(oldest <= self.root < number for number, oldest in known.changes):  # these were rolled back
            return False
        return self.until(version, after=self.root) == known.until(version, after=self.root)


NOTHING = Lineage(0, (range(0),))


def lineage(
    reader: Reader, model_version: int | None = None, *, known: Lineage = NOTHING, oldest: int | None = None
) -> Lineage:
    """Of a version that is kept; default: the newest. known: of an earlier version, so that only what came after it is
    read, unless that was a rollback to an older one. oldest: of the versions that matter; default: of those that are
    kept. Raises StoreCorruptError."""
    at = reader.head() if model_version is None else model_version
    oldest = reader.oldest() if oldest is None else oldest
    known_until = known.parts[-1].stop - 1
    parts: list[range] = []
    unlearned: set[int] = set()
    relabelled: dict[int, Labels] = {}
    grown: list[tuple[int, str | None]] = []
    changes: list[tuple[int, int]] = []  # versions that changed steps, newest first, and the oldest step of each
    for version in reader.versions_between_steps(known_until, at):
        number = version.model_version
        if number > at:
            continue
        parts.append(range(number + 1, at + 1))
        if version.kind == "load":
            at = 0
        elif version.kind == "rollback":
            at = version.source_version or 0
        elif version.kind == "grow":
            grown.append((number, version.label_name))
            at = number - 1
        else:
            changed = version.unlearned or []
            unlearned.update(changed)
            if version.kind == "relabel" and version.source_version is not None:
                changed = [version.source_version]
                relabelled.setdefault(version.source_version, tuple(version.labels or ()))
            changes.append((number, min(changed)))
            at = number - 1
        if at < oldest:
            known = NOTHING
            break
    else:
        if at < known_until:
            return lineage(reader, model_version)
        older = (range(known.parts[-1].start, at + 1), *known.parts[-2::-1])
        parts += [range(max(part.start, oldest), part.stop) for part in older if part.stop > oldest]
    root = max(parts[-1].start - 1, oldest)
    changes += reversed(known.changes)
    changes.reverse()
    for number, least in changes:
        if least <= root < number:  # the steps that it changed were folded away
            root = number
    return Lineage(
        root,
        tuple(reversed(parts)),
        known.unlearned.union(unlearned) if unlearned else known.unlearned,
        {**known.relabelled, **relabelled},
        tuple(changes),
        (*known.grown, *reversed(grown)),
    )
