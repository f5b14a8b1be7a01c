"""A step that was answered survives a power cut, at any moment: what was not synced by then is there or not, at random."""

import fcntl
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import StartupError, StoreError
from tests.power.checks import Expected, check, check_repeats, check_with_a_stranger, cuts
from tests.power.recording import Event, Operation
from tests.power.workload import BACKUP, KEEP_VERSIONS, RESTORED, SERVED, TRAINED, recorded

pytestmark = pytest.mark.long

PARTS = 4  # of the cuts, so that they run at the same time
CUTS = 1000
MOST_TRIES = 200


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    """The first process that needs the recording makes it for all."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with open(folder / "recording.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = folder / "recording.pickle"
        if not path.exists():
            made = recorded(tmp_path_factory.mktemp("recording"))
            path.write_bytes(pickle.dumps(Expected(made, tmp_path_factory.mktemp("known") / "disk")))
        found: Expected = pickle.loads(path.read_bytes())
    return found


@pytest.fixture
def seed() -> str:
    """Printed where a test fails."""
    number = os.urandom(4).hex()
    print(f"seed {number}")
    return number


def test_some_of_everything_was_recorded(expected: Expected) -> None:
    assert expected.kinds >= {"train-step", "rollback", "load", "pause", "resume", "alarm"}
    (served,), restored = (list(expected.digests[store].values()) for store in (SERVED, RESTORED))
    assert len(served) > 2 * KEEP_VERSIONS
    assert len(restored) == 3
    paths = {request.method + request.path.split("?")[0] for request in expected.recording.requests.values()}
    assert {"POST/predict", "PUT/weights", "PUT/learning"} <= paths
    assert len(expected.marks["backup"]) == 2
    assert len(expected.marks["train"]) == 2


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_that_was_answered_is_lost_by_a_power_cut(
    expected: Expected, tmp_path: Path, seed: str, part: int
) -> None:
    at = expected.some_cuts(CUTS // PARTS, random.Random(seed))
    for cut, files in cuts(expected, tmp_path / "disk", at, seed):
        print(f"event {cut}")
        check(expected, cut, files, tmp_path / "disk")


def test_after_a_power_cut_a_repeat_with_a_key_gets_the_first_answer(
    expected: Expected, tmp_path: Path, seed: str
) -> None:
    repeated = 0
    for cut, _ in cuts(expected, tmp_path / "disk", expected.some_cuts(30, random.Random(seed)), seed):
        print(f"event {cut}")
        repeated += check_repeats(expected, cut, tmp_path / "disk")
    assert repeated > 20


def test_after_a_power_cut_the_service_starts_and_a_stranger_recomputes_its_versions(
    expected: Expected, tmp_path: Path, seed: str
) -> None:
    for cut, _ in cuts(expected, tmp_path / "disk", expected.some_cuts(4, random.Random(seed)), seed):
        print(f"event {cut}")
        check_with_a_stranger(tmp_path / "disk")


def is_of_sqlite(event: Event) -> bool:
    """As with PRAGMA synchronous=OFF: the service calls fsync, SQLite fdatasync."""
    return event.operation == Operation.FDATASYNC


def is_of_a_commit(event: Event) -> bool:
    """As with PRAGMA synchronous=NORMAL."""
    return is_of_sqlite(event) and event.path.endswith(".db-wal")


def is_of_a_file(target: str) -> Callable[[Event], bool]:
    """Of the new file that replaces another."""
    folder, name = target.split("/")
    return lambda event: event.operation == Operation.FSYNC and event.path.startswith(f"{folder}/.{name}.")


def is_of_the_name(target: str) -> Callable[[Event], bool]:
    """Of the folder, after a rename."""
    return lambda event: event.operation == Operation.FSYNC and event.cause == target and "/" not in event.path


def is_of_a_log_that_is_gone(event: Event) -> bool:
    """Of the folder, after SQLite's log or journal was removed from it."""
    gone = f"{RESTORED}-wal", f"{RESTORED}-journal"
    return event.operation == Operation.FSYNC and event.path == "restored" and event.cause in gone


def is_of_the_numbers(event: Event) -> bool:
    return event.operation == Operation.FSYNC and event.path.endswith("-lock")


@pytest.mark.parametrize(
    ("ignored", "which"),
    [
        pytest.param(is_of_sqlite, None, id="synchronous=OFF"),
        pytest.param(is_of_a_commit, None, id="synchronous=NORMAL"),
        pytest.param(is_of_a_file(BACKUP), None, id="backup"),
        pytest.param(is_of_the_name(BACKUP), None, id="the backup's name"),
        pytest.param(is_of_a_file(TRAINED), None, id="weights"),
        pytest.param(is_of_the_name(TRAINED), None, id="the weights' name"),
        pytest.param(is_of_a_file(f"{TRAINED}.checkpoint"), None, id="checkpoint"),
        pytest.param(is_of_the_name(RESTORED), None, id="the restored store's name"),
        pytest.param(is_of_a_log_that_is_gone, 0, id="the log of the store before"),
        pytest.param(is_of_a_log_that_is_gone, -1, id="the log of a store that was removed"),
        pytest.param(is_of_the_numbers, 0, id="the numbers of a store that was removed"),
        pytest.param(is_of_the_numbers, None, id="the store's numbers"),
    ],
)
def test_a_sync_that_is_missing_would_be_noticed(
    expected: Expected, tmp_path: Path, ignored: Callable[[Event], bool], which: int | None
) -> None:
    """which: of these syncs; None: all of them."""
    events, place, chance = expected.recording.events, tmp_path / "disk", random.Random(0)
    syncs = [at for at, event in enumerate(events) if ignored(event)]
    missing = syncs if which is None else [syncs[which]]
    dropped = {id(events[at]) for at in missing}
    for seed in range(MOST_TRIES):
        near = [chance.choice(missing) + 1 + int(chance.expovariate(chance.choice((0.1, 0.5)))) for _ in range(10)]
        at = sorted(min(len(events), cut) for cut in near)
        for cut, files in cuts(expected, place, at, str(seed), lambda event: id(event) in dropped):
            try:
                check(expected, cut, files, place)
            except (AssertionError, StartupError, StoreError) as error:
                print(f"noticed after event {cut}: {error}")
                return
    pytest.fail("no cut of these breaks a promise")
