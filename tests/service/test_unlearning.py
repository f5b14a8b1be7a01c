"""POST /unlearn and /relabel: what is left is, to the bit, what one thread gets that never took those steps."""

import io
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from model import weights_file
from model.growth import grown
from model.online_step import Rehearsal, replay_step
from model.weights_file import Weights
from service.app import create_app
from service.live import replica, unlearning
from service.live.replica import newest_version
from service.settings import Settings
from service.store import log
from service.store.copy_store import copy_store
from service.store.log import Reader, Writer
from service.store.records import Step
from tests.conftest import CLASSES, Client, as_json, random_batch, store_of_each_kind
from tests.service.test_bad_input import is_problem

store = store_of_each_kind

MEMORY_SIZE = 12


class Folded:
    """A service, and the versions that it has to have: for each, the weights that it goes back to, and its steps."""

    def __init__(self, settings: Settings, **changed: Any) -> None:
        self.settings = settings.model_copy(update={"memory_size": MEMORY_SIZE, "snapshot_every": 4, **changed})
        self.client = Client(create_app(self.settings))
        self.chains: dict[int, tuple[Weights, dict[int, Any]]] = {1: (self.served(), {})}
        self.head = 1

    def served(self, version: int | None = None) -> Weights:
        query = {} if version is None else {"model_version": version}
        return weights_file.from_bytes(self.client.get("/weights", query_string=query).data)

    def made(self, answer: Any, base: Weights, steps: dict[int, Any]) -> dict[str, Any]:
        assert answer.status_code == 200, answer.json
        self.head += 1
        assert answer.json["model_version"] == self.head
        self.chains[self.head] = base, steps
        fields: dict[str, Any] = answer.json
        return fields

    def step(self, seed: int = 0, count: int = 1, source: str | None = None, rehearse: int = 3) -> int:
        x, t = random_batch(count, seed)
        more = {} if source is None else {"source": source}
        answer = self.client.post("/train-step", json=as_json(x, t, rehearse=rehearse, **more))
        base, steps = self.chains[self.head]
        fields = self.made(answer, base, steps)
        rehearsal = Rehearsal(self.head, fields["rehearsed"], MEMORY_SIZE if rehearse else 0)
        self.chains[self.head] = base, {**steps, self.head: (x, t, fields["learning_rate"], rehearsal)}
        return self.head

    def rollback(self, version: int) -> None:
        self.made(self.client.post("/rollback", json={"model_version": version}), *self.chains[version])

    def load(self, seed: int) -> None:
        params = {
            name: np.random.default_rng(seed).normal(0, 0.1, array.shape).astype(np.float32)
            for name, array in self.served().params.items()
        }
        self.made(self.client.put("/weights", data=weights_file.to_bytes(Weights(params))), self.served(), {})
        self.chains[self.head] = self.served(self.head), {}

    def pause(self) -> None:
        for state in ("paused", "learning"):
            assert self.client.put("/learning", json={"state": state}).status_code == 200
            self.chains[self.head + 1] = self.chains[self.head]
            self.head += 1

    def unlearn(self, *versions: int) -> dict[str, Any]:
        answer = self.client.post("/unlearn", json={"model_versions": versions})
        base, steps = self.chains[self.head]
        rest = {number: step for number, step in steps.items() if number not in versions}
        fields = self.made(answer, base, rest)
        assert (fields["kind"], fields["unlearned"]) == ("unlearn", sorted(versions))
        assert fields["examples"] == sum(len(steps[version][1]) for version in versions)
        return fields

    def relabel(self, version: int, labels: list[int]) -> None:
        answer = self.client.post("/relabel", json={"model_version": version, "labels": labels})
        base, steps = self.chains[self.head]
        x, _, rate, rehearsal = steps[version]
        changed = {**steps, version: (x, np.array(labels), rate, rehearsal)}
        self.made(answer, base, dict(sorted(changed.items())))

    def grow(self) -> None:
        """An entry that is None is a class more."""
        base, steps = self.chains[self.head]
        self.made(self.client.post("/classes", json={}), base, {**steps, self.head + 1: None})

    def restart(self) -> None:
        self.client.close()
        self.client = Client(create_app(self.settings))

    def check(self, *versions: int) -> None:
        """Weights and memory, bit for bit. Default: of the newest version."""
        for version in versions or (self.head,):
            weights, steps = self.chains[version]
            for step in steps.values():
                weights = grown(weights) if step is None else replay_step(weights, *step)
            file = self.client.get("/weights", query_string={"model_version": version}).data
            assert weights_file.to_bytes(weights) == file, version

    def examples(self) -> dict[str, np.ndarray]:
        with np.load(io.BytesIO(self.client.get("/examples").data)) as arrays:
            return dict(arrays)


@pytest.fixture
def folded(settings: Settings) -> Iterator[Folded]:
    made = Folded(settings)
    yield made
    made.client.close()


def test_what_is_left_is_what_one_thread_gets_without_it(folded: Folded) -> None:
    for seed in range(11):
        folded.step(seed, count=1 + seed % 3)
    folded.unlearn(4)
    folded.check()
    for seed in range(11, 15):
        folded.step(seed)
    folded.unlearn(2, 9, 15)
    folded.step(20)
    folded.restart()
    folded.check(*folded.chains)


def test_all_that_taught_a_memory_its_first_examples(folded: Folded) -> None:
    """The file has no memory: without the first steps, the others have nothing to rehearse yet."""
    for seed in range(6):
        folded.step(seed)
    folded.unlearn(2, 3, 4)
    folded.check()
    folded.unlearn(5, 6, 7)
    folded.check()
    assert folded.served().params["W1"].tobytes() == folded.served(1).params["W1"].tobytes()
    assert len(folded.served().memory) == 0


def test_a_step_with_other_labels(folded: Folded) -> None:
    for seed in range(9):
        folded.step(seed, count=2)
    folded.relabel(3, [1, 2])
    folded.check()
    folded.step(30)
    folded.relabel(3, [3, 2])
    folded.relabel(5, [0, 0])
    folded.unlearn(5)
    folded.check(*folded.chains)
    rows = folded.client.get("/versions").json["versions"]
    assert (rows[1]["kind"], rows[1]["source_version"], rows[1]["labels"]) == ("relabel", 5, [0, 0])
    assert (rows[0]["kind"], rows[0]["source_version"], rows[0]["unlearned"]) == ("unlearn", None, [5])


def test_labels_may_be_one_hot(folded: Folded) -> None:
    folded.step(0, count=2)
    rows = np.eye(CLASSES, dtype=int)[[4, 5]].tolist()
    answer = folded.client.post("/relabel", json={"model_version": 2, "labels": rows})
    assert (answer.json["labels"], answer.json["examples"]) == ([4, 5], 2)


def test_a_rollback_goes_back_to_the_state_without_them_and_before_it_brings_them_back(folded: Folded) -> None:
    for seed in range(5):
        folded.step(seed)
    folded.unlearn(3)  # version 7
    folded.step(10)
    folded.rollback(7)
    folded.check()
    folded.rollback(6)
    folded.check()
    folded.unlearn(3, 6)
    folded.check()


def refused(folded: Folded, path: str, body: dict[str, Any], status: int = 422) -> Any:
    """The problem. Nothing was appended."""
    problem = is_problem(folded.client.post(path, json=body), status)
    assert folded.client.get("/readyz").json["model_version"] == folded.head
    return problem


def test_what_can_not_be_unlearned_is_named(folded: Folded) -> None:
    folded.step(0)  # 2
    folded.step(1, count=2)  # 3
    folded.rollback(2)  # 4
    folded.step(2)  # 5
    folded.unlearn(2)  # 6
    for version, why in (
        (2, "version 2 was unlearned already"),
        (3, "version 3 is not in force: it was rolled back, or other weights were loaded since"),
        (4, "version 4 is a rollback: expected a train-step"),
        (6, "version 6 is an unlearn: expected a train-step"),
        (1, "version 1 is a load: expected a train-step"),
        (7, "there is no version 7 yet: the newest is 6"),
        (2**63 - 1, f"there is no version {2**63 - 1} yet: the newest is 6"),
    ):
        problem = refused(folded, "/unlearn", {"model_versions": [5, version]})
        assert problem["errors"] == [{"loc": ["model_versions", 1], "msg": why}]
        problem = refused(folded, "/relabel", {"model_version": version, "labels": [1]})
        assert problem["errors"] == [{"loc": ["model_version"], "msg": why}]
    problem = refused(folded, "/unlearn", {"model_versions": [2, 3, 4]})
    assert [error["loc"][1] for error in problem["errors"]] == [0, 1, 2]
    folded.load(0)  # 7
    refused(folded, "/unlearn", {"model_versions": [5]})
    folded.check()


def test_bad_requests(folded: Folded) -> None:
    folded.step(0, count=2)
    for body, loc in (
        ({}, []),
        ({"model_versions": [2], "source": "tablet"}, []),
        ({"model_versions": [2], "after": 1}, []),
        ({"before": 3}, []),
        ({"model_versions": []}, ["model_versions"]),
        ({"model_versions": [2, "3"]}, ["model_versions", 1]),
        ({"model_versions": [0]}, ["model_versions", 0]),
        ({"model_versions": list(range(1, 10_002))}, ["model_versions"]),
        ({"source": ""}, ["source"]),
        ({"source": "x" * 101}, ["source"]),
        ({"source": "two\nlines"}, ["source"]),
        ({"source": "nobody"}, ["source"]),
        ({"source": "nobody", "after": -1}, ["after"]),
    ):
        assert refused(folded, "/unlearn", body)["errors"][0]["loc"] == loc, body
    for labels, loc in (([1], ["labels"]), ([1, 10], ["labels", 1]), ([1, 2, 3], ["labels"]), ([], ["labels"])):
        problem = refused(folded, "/relabel", {"model_version": 2, "labels": labels})
        assert problem["errors"][0]["loc"] == loc, labels
    assert (
        "expected 2, one for each example of version 2"
        in refused(folded, "/relabel", {"model_version": 2, "labels": [1]})["detail"]
    )


def test_what_a_source_taught(folded: Folded) -> None:
    for seed, source in enumerate(["tablet", None, "tablet", "phone", "tablet", "tablet"]):
        folded.step(seed, source=source)  # 2…7
    rows = folded.client.get("/versions?source=tablet&limit=3").json
    assert [row["model_version"] for row in rows["versions"]] == [7, 6, 4]
    assert {row["source"] for row in rows["versions"]} == {"tablet"}
    rest = folded.client.get(f"/versions?source=tablet&before={rows['next_before']}").json
    assert ([row["model_version"] for row in rest["versions"]], rest["next_before"]) == ([2], None)
    base, steps = folded.chains[folded.head]
    body = {"source": "tablet", "after": 2, "before": 7}
    left = {number: step for number, step in steps.items() if number not in (4, 6)}
    fields = folded.made(folded.client.post("/unlearn", json=body), base, left)
    assert (fields["unlearned"], fields["examples"]) == ([4, 6], 2)
    folded.check()
    assert "taught nothing" in refused(folded, "/unlearn", body)["detail"]
    fields = folded.made(
        folded.client.post("/unlearn", json={"source": "tablet"}),
        base,
        {number: step for number, step in left.items() if number not in (2, 7)},
    )
    assert fields["unlearned"] == [2, 7]
    folded.check()


def test_a_source_that_taught_too_much_at_once(folded: Folded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlearning, "MOST_STEPS", 2)
    for seed in range(4):
        folded.step(seed, source="tablet")
    problem = refused(folded, "/unlearn", {"source": "tablet"})
    assert "more than 2 train-steps" in problem["detail"]
    assert folded.client.post("/unlearn", json={"source": "tablet", "after": 3}).json["unlearned"] == [4, 5]


def test_a_source_is_named_in_json_in_a_form_and_in_the_query(client: Client) -> None:
    x, t = random_batch(1)
    client.post("/train-step", json=as_json(x, t, source="Größe 7"))
    client.post("/train-step", query_string={"source": "query"}, json=as_json(x, t))
    ids = client.post("/predict?remember=true", json=as_json(x)).json["prediction_ids"]
    client.post("/train-step", json={"prediction_ids": ids, "labels": [1], "source": "later"})
    client.post("/train-step", json=as_json(x, t))
    rows = client.get("/versions?limit=4").json["versions"]
    assert [row["source"] for row in rows] == [None, "later", "query", "Größe 7"]
    for source in ("", "x" * 101, "two\nlines", "\x00"):
        is_problem(client.post("/train-step", json=as_json(x, t, source=source)), 422)


def test_examples_say_what_is_in_force(folded: Folded) -> None:
    for seed in range(4):
        folded.step(seed, count=2)  # 2…5
    folded.rollback(4)  # 6
    folded.unlearn(3)  # 7
    folded.relabel(2, [8, 9])  # 8
    folded.step(9)  # 9
    found = folded.examples()
    assert found["model_version"].tolist() == [2, 2, 3, 3, 4, 4, 5, 5, 9]
    assert found["in_force"].tolist() == [True, True, False, False, True, True, False, False, True]
    assert (found["t"][:2].tolist(), found["t_in_force"][:2].tolist()) == (random_batch(2, 0)[1].tolist(), [8, 9])
    assert (found["t"] == found["t_in_force"])[2:].all()
    again = folded.client.get("/examples").data  # can be posted as it is
    assert folded.client.post("/train-step", data=again, content_type="application/x-npz").status_code == 200


def test_a_repeat_with_its_key_gets_the_first_answer(folded: Folded) -> None:
    for seed in range(5):
        folded.step(seed)
    for path, body, other in (
        ("/unlearn", {"model_versions": [3]}, {"model_versions": [4]}),
        ("/relabel", {"model_version": 2, "labels": [5]}, {"model_version": 2, "labels": [6]}),
    ):
        headers = {"Idempotency-Key": path}
        first = folded.client.post(path, json=body, headers=headers)
        assert first.status_code == 200
        folded.client.post("/train-step", json=as_json(*random_batch(1)))
        again = folded.client.post(path, json=body, headers=headers)
        assert (again.status_code, again.json) == (200, first.json)
        is_problem(folded.client.post(path, json=other, headers=headers), 409)


def test_only_of_the_version_that_is_meant(folded: Folded) -> None:
    for seed in range(3):
        folded.step(seed)
    tag = folded.client.get("/weights").headers["ETag"]
    folded.step(4)
    for path, body in (("/unlearn", {"model_versions": [3]}), ("/relabel", {"model_version": 2, "labels": [5]})):
        is_problem(folded.client.post(path, json=body, headers={"If-Match": tag}), 412)
        newest = folded.client.get("/weights").headers["ETag"]
        assert folded.client.post(path, json=body, headers={"If-Match": newest}).status_code == 200


def test_while_learning_is_paused(folded: Folded) -> None:
    folded.step(0)
    folded.step(1)
    folded.client.put("/learning", json={"state": "paused", "reason": "because"})
    folded.chains[4], folded.head = folded.chains[3], 4
    folded.unlearn(2)
    folded.check()
    assert folded.client.get("/learning").json["reason"] == "because"
    is_problem(folded.client.post("/train-step", json=as_json(*random_batch(1))), 409)


def test_what_was_folded_away_can_not_be_unlearned(settings: Settings) -> None:
    folded = Folded(settings, keep_versions=60, snapshot_every=10)
    for seed in range(64):
        folded.step(seed, source="tablet")
    folded.unlearn(30)  # version 66
    for seed in range(50):
        folded.step(seed)
    oldest = folded.client.get("/versions?limit=1000").json["versions"][-1]["model_version"]
    assert 30 < oldest < 66
    for body in ({"model_versions": [oldest - 1]}, {"model_versions": [66 - 1]}, {"source": "tablet"}):
        problem = refused(folded, "/unlearn", body, 409)
        assert problem["type"] == "urn:twolayernet:problem:folded-away"
        assert problem["detail"].endswith("from version 67 on")
    assert refused(folded, "/relabel", {"model_version": 2, "labels": [1]}, 409)["status"] == 409
    folded.unlearn(67, 100)
    folded.check()
    folded.restart()
    folded.check(*range(oldest, folded.head + 1, 7))


@pytest.fixture
def folding(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folded]:
    """Of the newest 12 versions and up to 3 more."""
    monkeypatch.setattr(log, "FEWEST_VERSIONS_FOLDED", 4)
    made = Folded(settings, keep_versions=12)
    yield made
    made.client.close()


def test_a_source_is_unlearned_wholly_or_not_at_all(folding: Folded) -> None:
    """What it taught before the versions that are kept can't be taken out, and perhaps it taught something there."""
    for seed in range(20):
        folding.step(seed, source="tablet")
    oldest = folding.client.get("/versions").json["versions"][-1]["model_version"]
    assert oldest > 2
    for body in ({}, {"after": oldest - 1}, {"before": oldest + 3}):
        problem = refused(folding, "/unlearn", {"source": "tablet", **body}, 409)
        assert problem["detail"].endswith(f"from version {oldest + 1} on")
    base, steps = folding.chains[folding.head]
    left = {number: step for number, step in steps.items() if number <= oldest}
    folding.made(folding.client.post("/unlearn", json={"source": "tablet", "after": oldest}), base, left)
    folding.check()


def test_nothing_is_lost_where_other_weights_were_loaded_since(folding: Folded) -> None:
    for seed in range(20):
        folding.step(seed, source="tablet")
    folding.load(0)  # 22
    assert folding.step(20, source="tablet") == 23
    assert folding.client.post("/unlearn", json={"source": "tablet"}).json["unlearned"] == [23]


def test_what_is_folded_away_while_a_source_is_unlearned(folding: Folded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlearning, "AT_ONCE", 4)
    monkeypatch.setattr(unlearning, "MOST_UNDER_LOCK", 2)
    for seed in range(10):
        folding.step(seed, source="tablet" if seed % 2 == 0 else None)
    during(monkeypatch, {2: lambda: [folding.step(seed) for seed in range(10)]})
    assert refused(folding, "/unlearn", {"source": "tablet"}, 409)["detail"].startswith("version 2 can't")
    folding.check()


def test_a_copy_of_the_store_goes_on_unlearning(folded: Folded, tmp_path: Path) -> None:
    if folded.settings.store.startswith("postgresql"):
        pytest.skip("test_postgres.py copies stores")
    for seed in range(9):
        folded.step(seed)
    folded.relabel(3, [1])
    folded.unlearn(5)
    folded.client.close()
    copy = f"sqlite:///{tmp_path}/copy.db"
    assert copy_store(folded.settings.store, copy, newest_version) == folded.head
    folded.client = Client(create_app(folded.settings.model_copy(update={"store": copy})))
    folded.unlearn(4)
    folded.check(*folded.chains)


def test_the_alarm_begins_anew(folded: Folded) -> None:
    """Its best accuracy was that of a version with the steps that are taken out, to which it must not go back."""
    client = Client(create_app(folded.settings.model_copy(update={"alarm": "rollback"})))
    for seed in range(3):
        client.post("/train-step", json=as_json(*random_batch(500, seed)))
    assert client.get("/learning").json["best_window_accuracy"] is not None
    assert client.post("/unlearn", json={"model_versions": [2]}).status_code == 200
    assert client.get("/learning").json["best_window_accuracy"] is None
    client.close()


def during(monkeypatch: pytest.MonkeyPatch, acts: dict[int, Any]) -> list[int]:
    """Do something at the nth step that is replayed, or the first one after it that is not replayed under the write
    lock. Returns the versions that are replayed, those under the lock as negative numbers."""
    replay, advance = replica.replayed_step, unlearning.advanced
    numbers: list[int] = []
    locked: list[bool] = []

    def and_meanwhile(weights: Weights, step: Step) -> Weights:
        numbers.append(-step.model_version if locked else step.model_version)
        due = [n for n in acts if n <= len(numbers) and not locked]
        for n in due[:1]:
            acts.pop(n)()
        return replay(weights, step)

    def advanced(reader: Reader, *arguments: Any) -> Any:
        locked.extend([True] * isinstance(reader, Writer))
        try:
            return advance(reader, *arguments)
        finally:
            locked.clear()

    monkeypatch.setattr(unlearning, "replayed_step", and_meanwhile)
    monkeypatch.setattr(unlearning, "advanced", advanced)
    return numbers


@pytest.fixture
def long(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folded]:
    """Forty steps, version 2 to 41, that are replayed in pieces of ten."""
    monkeypatch.setattr(unlearning, "AT_ONCE", 10)
    monkeypatch.setattr(unlearning, "MOST_UNDER_LOCK", 2)
    made = Folded(settings, snapshot_every=1000)
    for seed in range(40):
        made.step(seed)
    yield made
    made.client.close()


def test_others_go_on_learning_meanwhile(long: Folded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of their steps is answered while the others are replayed, and takes part in the result."""
    acts = {n: partial(long.step, 100 + n) for n in (1, 9, 25, 30, 31, 32, 37, 38, 39, 40)}
    numbers = during(monkeypatch, acts)
    assert long.unlearn(2)["model_version"] == 52
    assert not acts
    long.check()
    assert [abs(number) for number in numbers] == list(range(3, 52))  # each once
    assert min(numbers) < 0 < min(numbers[:-2])  # the last ones under the lock


@pytest.mark.parametrize(
    ("path", "body"), [("/unlearn", {"model_versions": [5]}), ("/relabel", {"model_version": 5, "labels": [3]})]
)
def test_a_repeat_to_another_worker_while_the_first_is_under_way(
    long: Folded, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    """The one that is done first answers both."""
    other, answers = Client(create_app(long.settings)), []
    options = {"json": body, "headers": {"Idempotency-Key": "once"}}
    numbers = during(monkeypatch, {20: lambda: answers.append(other.post(path, **options))})
    answers.append(long.client.post(path, **options))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json == answers[1].json
    assert long.client.get("/versions?limit=1").json["versions"][0]["model_version"] == long.head + 1
    if path == "/unlearn":
        assert len(numbers) < 2 * 40  # the second one stops early
    other.close()


@pytest.mark.parametrize("act", ["pause", "load", "rollback", "unlearn", "relabel", "relabel it"])
def test_others_change_what_is_replayed(long: Folded, monkeypatch: pytest.MonkeyPatch, act: str) -> None:
    acts: dict[str, Callable[[], Any]] = {
        "pause": long.pause,
        "load": partial(long.load, 1),
        "rollback": partial(long.rollback, 20),
        "unlearn": partial(long.unlearn, 7),
        "relabel": partial(long.relabel, 7, [3]),
        "relabel it": partial(long.relabel, 5, [3]),
    }
    other = Client(create_app(long.settings))

    def meanwhile() -> None:
        mine, long.client = long.client, other
        acts[act]()
        long.client = mine

    during(monkeypatch, {30: meanwhile})
    if act == "load":
        refused_now = is_problem(long.client.post("/unlearn", json={"model_versions": [5]}), 422)
        assert "not in force" in refused_now["detail"]
    else:
        long.unlearn(5)
    long.check(*list(long.chains)[-3:])
    other.close()


def test_a_log_that_grows_as_fast_is_finished_under_the_lock(long: Folded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlearning, "MOST_UNDER_LOCK", 0)
    monkeypatch.setattr(unlearning, "MOST_TRIES", 3)
    numbers = during(monkeypatch, {n: partial(long.step, n) for n in range(1, 1000)})
    long.unlearn(2)
    long.check()
    under_lock = [number for number in numbers if number < 0]
    assert under_lock == numbers[-len(under_lock) :]
    assert len(under_lock) > 10


def counted(monkeypatch: pytest.MonkeyPatch, then: Callable[[], Any]) -> list[int]:
    """The versions at which a replay began. then: what others do after each piece."""
    advance, begin = unlearning.advanced, unlearning.begun
    began: list[int] = []

    def begun(*arguments: Any) -> Any:
        made = begin(*arguments)
        began.append(made.version)
        return made

    def advanced(reader: Reader, *arguments: Any) -> Any:
        made = advance(reader, *arguments)
        if not isinstance(reader, Writer):
            then()
        return made

    monkeypatch.setattr(unlearning, "begun", begun)
    monkeypatch.setattr(unlearning, "advanced", advanced)
    return began


def test_what_retention_folds_meanwhile_does_not_stop_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "FEWEST_VERSIONS_FOLDED", 4)
    monkeypatch.setattr(unlearning, "AT_ONCE", 8)
    monkeypatch.setattr(unlearning, "MOST_UNDER_LOCK", 4)
    folding = Folded(settings, keep_versions=100)
    for seed in range(110):
        folding.step(seed)
    began = counted(monkeypatch, lambda: [folding.step(seed) for seed in range(4)])
    folding.unlearn(folding.head - 50)
    folding.check()
    assert len(began) == 1
    folding.client.close()


def test_others_who_go_back_and_forth_do_not_stop_it(long: Folded, monkeypatch: pytest.MonkeyPatch) -> None:
    long.rollback(5)  # 42
    for seed in range(20):
        long.step(seed)  # 43…62
    pieces: list[int] = []

    def back() -> None:
        pieces.append(1)
        assert len(pieces) < 50
        long.rollback((41, 62)[len(pieces) % 2])

    began = counted(monkeypatch, back)
    long.unlearn(2)
    long.check()
    assert len(began) > unlearning.MOST_TRIES


ACTS = ["step"] * 6 + ["unlearn", "relabel", "rollback", "pause", "load", "grow", "restart"]


@pytest.mark.parametrize("examples", [4, pytest.param(60, marks=pytest.mark.long)])
def test_any_history(settings: Settings, examples: int, request: pytest.FixtureRequest) -> None:
    number = iter(range(10**6))

    @given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 10**6)), min_size=10, max_size=40))
    @hypothesis_settings(max_examples=examples, deadline=None, derandomize=True)
    def try_it(acts: list[tuple[str, int]]) -> None:
        if settings.store.startswith("sqlite"):
            url = settings.store.replace("store.db", f"store{next(number)}.db")
        else:
            url = request.getfixturevalue("postgres").new_database()
        folded = Folded(settings.model_copy(update={"store": url}))
        try:
            for act, chance in acts:
                random_act(folded, act, np.random.default_rng(chance))
            folded.check(*folded.chains)
        finally:
            folded.client.close()

    try_it()


def random_act(folded: Folded, act: str, random: np.random.Generator) -> None:
    in_force = [number for number, step in folded.chains[folded.head][1].items() if step is not None]
    if act == "step":
        folded.step(int(random.integers(100)), int(random.integers(1, 4)), rehearse=int(random.integers(0, 4)))
    elif act == "unlearn" and in_force:
        folded.unlearn(*sorted({int(one) for one in random.choice(in_force, random.integers(1, 4))}))
    elif act == "relabel" and in_force:
        version = int(random.choice(in_force))
        count = len(folded.chains[folded.head][1][version][1])
        folded.relabel(version, random.integers(0, CLASSES, count).tolist())
    elif act == "rollback":
        folded.rollback(int(random.integers(1, folded.head + 1)))
    elif act == "grow":
        folded.grow()
    elif act == "pause":
        folded.pause()
    elif act == "load":
        folded.load(int(random.integers(100)))
    elif act == "restart":
        folded.restart()
