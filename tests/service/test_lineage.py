"""Which steps a version contains, against a fold that knows nothing of ranges: a dictionary for each version."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from service.live.lineage import Lineage, lineage
from service.store.log import StepLog
from service.store.records import Examples, StoredExamples, Version, numbers_text
from tests.conftest import store_of_each_kind

store = store_of_each_kind

Chain = dict[int, tuple[int, ...]]
"""The steps that a version contains, and their labels."""

STORED = StoredExamples.of(Examples(np.zeros((2, 3), np.uint8), np.zeros(2, np.intp)))
WEIGHTS = b"weights"


def random_versions(seed: int, count: int, kept: int | None) -> Iterator[tuple[Version, Chain]]:
    """Version after version, and what it contains. kept: no rollback goes back by more."""
    random = np.random.default_rng(seed)
    chains: list[Chain] = [{}]
    for number in range(1, count + 1):
        chain = chains[-1].copy()
        kind = (
            "load"
            if number == 1
            else str(random.choice(["train-step"] * 9 + ["load", "rollback", "pause", "change", "grow"]))
        )
        version = Version(number, "load", float(number))
        recent = [one for one in chain if kept is None or one > number - kept // 2]
        if kind == "train-step":
            version, chain[number] = Version(number, "train-step", float(number), 2, learning_rate=0.1), (0, 0)
        elif kind == "grow":
            version = Version(number, "grow", float(number))
        elif kind in ("rollback", "pause"):
            least = 1 if kept is None else max(1, number - kept // 2)
            to = number - 1 if kind == "pause" else int(random.integers(least, number))
            version, chain = Version(number, "rollback", float(number), source_version=to), chains[to]
        elif kind == "change" and recent and random.random() < 0.7:
            removed = sorted({int(one) for one in random.choice(recent, random.integers(1, 4))})
            version = Version(number, "unlearn", float(number), 2, unlearned_steps=numbers_text(removed))
            chain = {one: labels for one, labels in chain.items() if one not in removed}
        elif kind == "change" and recent:
            step, labels = int(random.choice(recent)), tuple(random.integers(0, 9, 2).tolist())
            version = Version(number, "relabel", float(number), 2, source_version=step, new_labels=numbers_text(labels))
            chain[step] = labels
        else:
            chain = {}
        chains.append(chain)
        yield version, chain


def begin(log: StepLog) -> None:
    with log.database.opening():
        log.prepare("3-2-2")


def written(log: StepLog, seed: int, count: int, kept: int | None) -> list[Chain]:
    """What each version contains, from version 0 on."""
    chains: list[Chain] = [{}]
    begin(log)
    for version, chain in random_versions(seed, count, kept):
        append(log, version)
        chains.append(chain)
    return chains


def append(log: StepLog, version: Version) -> None:
    with log.writing() as writer:
        stored = STORED if version.kind == "train-step" else None
        writer.append(version, stored, WEIGHTS if writer.needs_snapshot(version, stored) else None)


@pytest.mark.parametrize("kept", [None, 60])
@pytest.mark.parametrize("seed", range(3))
def test_a_version_contains_what_a_fold_of_the_log_does(store: str, seed: int, kept: int | None) -> None:
    with closing(StepLog.at(store, snapshot_every=7, keep_versions=kept)) as log:
        chains = written(log, seed, 300 if kept else 150, kept)
        with log.reading() as reader:
            head, oldest = reader.head(), reader.oldest()
            assert (oldest > 1) == (kept is not None)
            for number in range(oldest, head + 1):
                found, chain = lineage(reader, number), chains[number]
                expected = [one for one in chain if one >= oldest]
                assert list(found.steps()) == expected
                assert [one for one in range(oldest, head + 2) if found.contains(one)] == expected
                for one in expected:
                    assert found.labels_of(one) in (chain[one], *([None] if chain[one] == (0, 0) else []))
                for after, until in ((number // 2, number), (oldest, number - 3)):
                    assert list(found.steps(after, until)) == [one for one in expected if after < one <= until]
                assert list(found.until(number - 9, 9).steps()) == [one for one in expected if 9 < one <= number - 9]
                # What the root contains, the version contains as well: all other steps are above it.
                assert chains[found.root] == {one: labels for one, labels in chain.items() if one <= found.root}
                assert lineage(reader, found.root).root == found.root
            assert lineage(reader) == lineage(reader, head)


@pytest.mark.parametrize("kept", [None, 60])
@pytest.mark.parametrize("seed", range(3))
def test_it_can_go_on_from_an_earlier_one(tmp_path: Path, seed: int, kept: int | None) -> None:
    random = np.random.default_rng(seed)
    chains: list[Chain] = [{}]
    known: list[tuple[int, Lineage]] = []
    went_on = 0
    with closing(StepLog.at(f"sqlite:///{tmp_path}/store.db", snapshot_every=7, keep_versions=kept)) as log:
        begin(log)
        for version, chain in random_versions(seed, 200 if kept else 100, kept):
            number = version.model_version
            append(log, version)
            chains.append(chain)
            with log.reading() as reader:
                fresh = lineage(reader)
                for earlier, old in known[-8:]:
                    found = lineage(reader, known=old)
                    assert (found.root, found.parts) == (fresh.root, fresh.parts)
                    assert found.until(number, found.root) == fresh.until(number, found.root)
                    if not any(step in chains[earlier] for step in chain if step > found.root):
                        continue
                    for until in random.integers(max(1, earlier - 30), earlier + 1, 3).tolist():
                        same = found.root <= until and part(chains[earlier], until) == part(chain, until)
                        assert found.continues(old, until) <= same
                        went_on += found.continues(old, until)
            if random.random() < 0.4:
                known.append((number, fresh))
    assert went_on > 100


def part(chain: Chain, until: int) -> Chain:
    return {one: labels for one, labels in chain.items() if one <= until}


def test_folding_and_steps_alone_let_a_replay_go_on(tmp_path: Path) -> None:
    """No pause is read again."""
    with closing(StepLog.at(f"sqlite:///{tmp_path}/store.db", snapshot_every=50, keep_versions=300)) as log:
        begin(log)
        known: Lineage | None = None
        for number in range(1, 701):
            version = Version(number, "load" if number == 1 else "train-step", 0.0, 2)
            if 1 < number < 400 and number % 2:
                version = Version(number, "rollback", 0.0, source_version=number - 1)
            append(log, version)
            if number == 400:
                with log.reading() as reader:
                    known = lineage(reader)
        assert known is not None
        with log.reading() as reader:
            assert 300 < reader.oldest() <= 400
            read = reader.versions_between_steps
            numbers: list[int] = []

            def recorded(after: int, until: int) -> Iterator[Version]:
                for one in read(after, until):
                    numbers.append(one.model_version)
                    yield one

            reader.versions_between_steps = recorded  # type: ignore[method-assign]
            found = lineage(reader, known=known)
            assert not numbers
            assert found == lineage(reader)
            assert found.root == reader.oldest() > known.root
            assert found.continues(known, 400)
            assert not found.continues(known, found.root - 1)


def test_a_change_that_was_rolled_back_before_its_step_was_folded_away(tmp_path: Path) -> None:
    """The replay of a lineage with it lacks a step that the root contains."""
    with closing(StepLog.at(f"sqlite:///{tmp_path}/store.db", snapshot_every=50, keep_versions=50)) as log:
        begin(log)
        known = []
        for number in range(1, 101):
            version = Version(number, "load" if number == 1 else "train-step", 0.0, 2)
            if number == 80:
                version = Version(number, "unlearn", 0.0, 2, unlearned_steps="20")
            if number == 81:
                version = Version(number, "rollback", 0.0, source_version=79)
            append(log, version)
            if number in (79, 80):
                with log.reading() as reader:
                    known.append(lineage(reader))
        with log.reading() as reader:
            found = lineage(reader)
    assert found.root == 50
    assert [found.continues(one, 79) for one in known] == [True, False]


def test_a_change_of_steps_that_were_folded_away_is_the_root(tmp_path: Path) -> None:
    with closing(StepLog.at(f"sqlite:///{tmp_path}/store.db", snapshot_every=50, keep_versions=50)) as log:
        begin(log)
        for number in range(1, 152):
            version = Version(number, "load" if number == 1 else "train-step", 0.0, 2)
            if number in (60, 120):
                version = Version(number, "unlearn", 0.0, 2, unlearned_steps=str(number - 40))
            append(log, version)
        with log.reading() as reader:
            assert reader.oldest() == 100
            found = lineage(reader)
            assert found.root == 120
            assert list(found.steps()) == [*range(100, 120), *range(121, 152)]


def test_no_step_is_read_for_it(tmp_path: Path) -> None:
    """Whatever their number: SQLite answers from the index of the other versions."""
    with closing(StepLog.at(f"sqlite:///{tmp_path}/store.db")) as log:
        written(log, 0, 40, None)
        with log.reading() as reader:
            plan = reader.session.run(
                "EXPLAIN QUERY PLAN SELECT * FROM versions WHERE kind <> 'train-step' AND model_version < 40 "
                "ORDER BY model_version DESC"
            ).fetchall()
    assert "versions_no_step" in str(plan)
