"""What must hold on a disk after a power cut, whenever it was."""

import json
import random
import shutil
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from service.app import create_app
from service.live.replica import Replica
from service.settings import Settings
from service.startup import open_log
from service.store.log import StepLog
from service.store.records import Record
from service.store.schema import UNLEARNT, learnt_predictions_table, predictions_table
from tests.conftest import Client
from tests.power.disk import Disk
from tests.power.recording import Event, Operation
from tests.power.workload import BACKUP, KEEP_VERSIONS, RESTORED, SERVED, SETTINGS, SNAPSHOT_EVERY, TRAINED, Recording
from tests.processes import stranger
from tests.processes.server import Server

REPLACED_WHOLE = {BACKUP: "backup", TRAINED: "train", f"{TRAINED}.checkpoint": ""}
"""Files that are the old one or the new one; the mark of the command that has then written a new one."""
KNOWN_EVERY = 150  # events, in which fewer versions are made than are kept
FEW = (Operation.WRITE, Operation.FDATASYNC, Operation.ANSWER)

Files = dict[str, bytes]


class Expected:
    """What the recording says."""

    def __init__(self, recording: Recording, place: Path) -> None:
        """place: a folder that does not exist yet."""
        self.recording = recording
        self.out_at = {
            event.path: at for at, event in enumerate(recording.events) if event.operation == Operation.ANSWER
        }
        self.marks: dict[str, list[int]] = defaultdict(list)
        self.whole: dict[str, list[tuple[int, bytes]]] = defaultdict(list)  # each content, and since when
        self.digests: dict[str, dict[str, dict[int, bytes]]] = {SERVED: {}, RESTORED: {}}
        """Of each store that was at a path, in their order, by its identity: the digest of each version."""
        self.kinds: set[str] = set()  # of versions, and the events that made some of them
        self.passed: set[int] = set()  # what `check` need not look at again
        disk = Disk(recording.before)
        for at, event in enumerate(recording.events):
            renamed = event.data.decode() if event.operation == Operation.RENAME else ""
            if at % KNOWN_EVERY == 0 or event.operation == Operation.MARK or renamed in self.digests:
                self._learn(disk, place)
            disk.play(event)
            if event.operation == Operation.MARK:
                self.marks[event.path].append(at)
            if renamed in REPLACED_WHOLE:
                self.whole[renamed].append((at, disk.written()[renamed]))
        self._learn(disk, place)

    def _learn(self, disk: Disk, place: Path) -> None:
        with laid_out(disk.written(), place):
            for store, lives in self.digests.items():
                if (place / store).exists():
                    identity, records = history(place / store)
                    self.kinds |= {record.version.event or record.version.kind for record in records}
                    if records:
                        digests = {record.version.model_version: record.link.digest for record in records}
                        lives.setdefault(identity, {}).update(digests)

    def answers(self, store: str, since: int, until: int) -> dict[str, Any]:
        """Of a store's service, those that went out between two events, by the request's id."""
        requests = self.recording.requests
        return {
            number: answer
            for number, answer in self.recording.answers.items()
            if requests[number].store == store and since <= self.out_at[number] < until
        }

    def seldom(self) -> list[int]:
        """The events of which there are few: in the middle of a load, most are a commit's."""
        events = self.recording.events
        return [at for at, event in enumerate(events) if event.operation not in FEW or is_of_a_checkpoint(event)]

    def some_cuts(self, count: int, chance: random.Random) -> list[int]:
        """Half of them at any event, half of them near those of which there are few."""
        last, seldom = len(self.recording.events), self.seldom()
        anywhere = [chance.randrange(last + 1) for _ in range(count // 2)]
        near = [chance.choice(seldom) + chance.randrange(4) for _ in range(count - count // 2)]
        return sorted(anywhere + [min(last, cut) for cut in near])


def is_of_a_checkpoint(event: Event) -> bool:
    return event.operation == Operation.FDATASYNC and not event.path.endswith("-wal")


def history(path: Path) -> tuple[str, list[Record]]:
    """A store's identity, and its versions."""
    with closing(StepLog.at(f"sqlite:///{path}")) as log, log.reading() as reader:
        if reader.schema_version() == 0:
            return "", []
        return reader.identity().store_id, [entry.record for entry in reader.entries(0, reader.head())]


@contextmanager
def laid_out(files: Files, place: Path) -> Iterator[Files]:
    place.mkdir()
    for folder in (SERVED, RESTORED, BACKUP, TRAINED):
        (place / folder).parent.mkdir()
    try:
        for name, content in files.items():
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_bytes(content)
        yield files
    finally:
        shutil.rmtree(place)


def cuts(
    expected: Expected,
    place: Path,
    at: Iterable[int],
    seed: str = "",
    ignored: Callable[[Event], bool] = lambda _: False,
) -> Iterator[tuple[int, Files]]:
    """The disk after each of these cuts, laid out in a folder that does not exist yet.

    at: numbers of events, in ascending order: so many took place before the cut, the last of which may be half done.
    ignored: syncs that do nothing.
    """
    disk, played = Disk(expected.recording.before, ignored), 0
    for number, cut in enumerate(at):
        for event in expected.recording.events[played:cut]:
            disk.play(event)
        played = cut
        with laid_out(disk.after_cut(random.Random(f"{seed} {number} {cut}")), place) as files:
            yield cut, files


def settings_of(place: Path, store: str) -> Settings:
    return Settings(
        store=f"sqlite:///{place / store}",
        weights=(place / store).with_name("weights.npz"),
        snapshot_every=SNAPSHOT_EVERY,
        keep_versions=KEEP_VERSIONS,
        access_log="off",
    )


def check(expected: Expected, cut: int, files: Files, place: Path) -> None:
    """Raises AssertionError, or an error of the service, where the disk in a folder is not one to go on with."""
    for path, command in REPLACED_WHOLE.items():
        check_whole(expected, cut, path, command, files)
    check_store(expected, cut, SERVED, files, place)
    (removed,), put_back = expected.marks["remove"], expected.marks["restore"][-1]
    if not removed < cut <= put_back:  # its write-ahead log alone is refused
        check_store(expected, cut, RESTORED, files, place)


def check_whole(expected: Expected, cut: int, path: str, command: str, files: Files) -> None:
    """The file is an old or a new one, and not an older one than that of the last command that has ended."""
    contents = [content for at, content in expected.whole[path] if at < cut]
    done = [at for at in expected.marks[command] if at < cut]
    if path not in files:
        assert not done, f"{path} is gone"
        return
    assert files[path] in contents, f"{path} is neither an old one nor a new one"
    if done:
        at_the_end = sum(at < done[-1] for at, _ in expected.whole[path])
        assert files[path] in contents[at_the_end - 1 :], f"{path} is one from before the last {command}"


def check_store(expected: Expected, cut: int, store: str, files: Files, place: Path) -> None:
    """A service can be started on it, and has all that was answered: by the store that was restored last, or, while
    that was under way, by the one before it."""
    began = [0] if store == SERVED else expected.marks["restore"]
    restored = bisect_left(began, cut)
    of_store = {
        name: content for name, content in files.items() if name.startswith(store) and not name.endswith("-shm")
    }
    answered = expected.answers(store, 0, cut)
    seen = hash((store, restored, len(answered), tuple(sorted(of_store.items()))))
    if seen in expected.passed:
        return
    with closing(open_log(settings_of(place, store))) as log:
        with log.reading() as reader:
            head, identity = reader.check(), reader.identity().store_id
            digest = reader.version(head).link.digest
        assert Replica(log).newest().version == head
        lives = list(expected.digests[store])
        if identity not in lives or (head == 1 and not answered):  # a new one
            assert head == 1
            assert not answered, "the store is gone"
            assert not restored or store == SERVED, "what was restored is gone"
        else:
            assert digest == expected.digests[store][identity].get(head), f"version {head} is another one"
            life = lives.index(identity)
            assert life >= restored - 1, "what was restored is gone"
            ended = began[life + 1] if life + 1 < len(began) else cut
            check_answers(expected, expected.answers(store, began[life], min(cut, ended)), log)
    expected.passed.add(seen)


def check_answers(expected: Expected, answered: dict[str, Any], log: StepLog) -> None:
    """What these answers said is so."""
    requests = expected.recording.requests
    with log.reading() as reader:
        head, oldest = reader.head(), reader.oldest()
        kept = {row[0] for row in reader.session.execute(sa.select(predictions_table.c.prediction_id))}
        learnt = dict(reader.session.execute(sa.select(*list(learnt_predictions_table.c)[:2])).fetchall())
        waiting = {
            row[0] for row in reader.session.execute(sa.select(predictions_table.c.prediction_id).where(UNLEARNT))
        }
        versions = {version.model_version: version for version in reader.versions(head, None)}
    by_key = {version.idempotency_key: version.model_version for version in versions.values()}
    deleted = {request.path.split("/")[-1] for request in requests.values() if request.method == "DELETE"}
    for number, answer in answered.items():
        request, named = requests[number], newest_named(answer)
        assert named <= head, f"version {named} was answered, and {head} is the newest"
        if "/predict?" in request.path:
            gone = set(answer["prediction_ids"]) - kept - learnt.keys() - deleted
            assert not gone, "predictions are gone that were kept for labelling"
        elif request.method == "DELETE":
            assert request.path.split("/")[-1] not in kept, "a prediction is there again that was deleted"
        elif "kind" in answer and named >= oldest:
            version = versions[named]
            assert (version.kind, version.loss) == (answer["kind"], answer.get("loss"))
            assert not request.key or by_key[request.key] == named, "a key is gone"
            learnt_from = json.loads(request.body) if request.path == "/train-step" else {}
            for prediction_id in learnt_from.get("prediction_ids", []):
                assert learnt[prediction_id] == named
                assert prediction_id not in waiting, "a prediction could be learnt twice"


def newest_named(answer: dict[str, Any]) -> int:
    """The newest version that an answer names; 0 if it names none."""
    versions: list[dict[str, Any]] = answer.get("versions", [answer])
    return max(int(version.get("model_version", 0)) for version in versions)


def check_repeats(expected: Expected, cut: int, place: Path) -> int:
    """Clients that repeat a request with its key get the first answer, and those with another body 409. Returns how
    many requests were repeated."""
    answered, requests = expected.answers(SERVED, 0, cut), expected.recording.requests
    client = Client(create_app(settings_of(place, SERVED)))
    try:
        oldest = client.get("/versions?limit=1000").json["versions"][-1]["model_version"]
        keyed = [
            number for number, answer in answered.items() if requests[number].key and answer["model_version"] >= oldest
        ]
        for number in keyed:
            request = requests[number]
            again = client.open(request.method, request.path, headers=request.headers, data=request.body)
            assert (again.status_code, again.json) == (200, answered[number]), again.json
            other = client.post("/rollback", headers={"Idempotency-Key": request.key}, json={"model_version": oldest})
            assert other.status_code == 409
        return len(keyed)
    finally:
        client.close()


def check_with_a_stranger(place: Path) -> None:
    """A service starts on the disk, and its versions can be recomputed from its history."""
    server = Server(place, 2, **SETTINGS, TWOLAYERNET_STORE=f"sqlite:///{place / SERVED}")
    server.environment["TWOLAYERNET_WEIGHTS"] = str((place / SERVED).with_name("weights.npz"))
    server.start()
    try:
        for version, params in stranger.recomputed(server):
            served = stranger.weights_of(server, version)
            different = np.concatenate([np.abs(array - params[name]).ravel() > 1e-3 for name, array in served.items()])
            assert different.mean() < 0.2, version
    finally:
        server.kill()
