"""A snapshot is stored once, however many versions have it, and for as long as one of them is kept."""

from contextlib import closing

import pytest

from service.app import EXTENSION, create_app
from service.settings import Settings
from service.store.log import StepLog
from tests.conftest import Client, as_json, random_batch, store_of_each_kind
from tests.service.test_bad_input import is_problem

store = store_of_each_kind

STEPS = 9


def learn(client: Client, steps: int) -> None:
    for seed in range(steps):
        assert client.post("/train-step", json=as_json(*random_batch(2, seed))).status_code == 200


def pause_and_resume(client: Client, times: int) -> None:
    for _ in range(times):
        for state in ("paused", "learning"):
            assert client.put("/learning", json={"state": state}).status_code == 200


def roll_back(client: Client, version: int) -> None:
    assert client.post("/rollback", json={"model_version": version}).status_code == 200


def weights(client: Client, version: int | None = None) -> bytes:
    answer = client.get("/weights" if version is None else f"/weights?model_version={version}")
    assert answer.status_code == 200, answer.data
    return bytes(answer.data)


def run(client: Client, statement: str) -> list[tuple[object, ...]]:
    with client.app.extensions[EXTENSION].log.writing() as writer:
        return [*writer.session.run(statement)]


def stored(client: Client) -> int:
    [(count,)] = run(client, "SELECT count(*) FROM snapshots")
    return int(str(count))


def checked(settings: Settings) -> int:
    """All of the log, as `restore` and `store copy` look through it."""
    with closing(StepLog.at(settings.store)) as log, log.reading() as reader:
        return reader.check()


def test_pauses_resumes_and_rollbacks_to_a_snapshot_store_no_weights(settings: Settings) -> None:
    settings = settings.model_copy(update={"snapshot_every": 5})
    client = Client(create_app(settings))
    learn(client, STEPS)
    assert stored(client) == 3  # of versions 1, 5 and 10
    for source in (5, 1, 10, 5):
        roll_back(client, source)
        pause_and_resume(client, 6)
        assert weights(client) == weights(client, source)
    assert stored(client) == 3
    roll_back(client, 7)
    assert stored(client) == 4
    roll_back(client, 7)
    pause_and_resume(client, 1)
    assert stored(client) == 4
    wanted = {version: weights(client, version) for version in range(1, checked(settings) + 1)}
    fresh = Client(create_app(settings))
    assert {version: weights(fresh, version) for version in wanted} == wanted
    learn(fresh, 2)
    assert weights(Client(create_app(settings))) == weights(fresh) == weights(client)


def test_many_pauses_in_a_row_do_not_make_a_start_longer(settings: Settings) -> None:
    """There is a snapshot after every so many versions of any kind, but its bytes are stored once."""
    client = Client(create_app(settings.model_copy(update={"snapshot_every": 5})))
    learn(client, 1)
    pause_and_resume(client, 20)
    rows = run(client, "SELECT model_version FROM versions WHERE snapshot_digest IS NOT NULL ORDER BY 1")
    assert [version for (version,) in rows] == [1, 5, 10, 15, 20, 25, 30, 35, 40]
    assert stored(client) == 2
    assert weights(Client(create_app(settings))) == weights(client)


def test_retention_keeps_a_snapshot_that_a_kept_version_has(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"snapshot_every": 5, "keep_versions": 5})))
    first = weights(client)
    learn(client, 3)
    for _ in range(4):
        roll_back(client, client.get("/versions?limit=1000").json["versions"][-1]["model_version"])
        pause_and_resume(client, 3)
    listed = [version["model_version"] for version in client.get("/versions?limit=1000").json["versions"]]
    assert listed[-1] > 10
    fresh = Client(create_app(settings))
    assert all(weights(fresh, version) == first for version in listed)
    assert stored(client) == 1
    learn(client, 20)
    held = run(client, "SELECT DISTINCT snapshot_digest FROM versions WHERE snapshot_digest IS NOT NULL")
    assert sorted(held) == sorted(run(client, "SELECT digest FROM snapshots"))
    is_problem(client.get(f"/weights?model_version={listed[0]}"), 404)
    assert checked(settings) == listed[0] + 20


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM snapshots",
        "UPDATE snapshots SET digest = previous FROM versions",
        "UPDATE snapshots SET weights = digest",
    ],
)
def test_damage_of_a_shared_snapshot_is_reported_for_every_version_that_has_it(settings: Settings, damage: str) -> None:
    client = Client(create_app(settings))
    learn(client, 1)
    roll_back(client, 1)
    learn(client, 1)
    with client.app.extensions[EXTENSION].log.writing() as writer:
        writer.session.run(f"{damage} WHERE versions.model_version = 2" if "FROM v" in damage else damage)
    for version in (1, 3):
        answer = is_problem(Client(client.app).get(f"/weights?model_version={version}"), 503)
        assert f"the snapshot of version {version} is corrupt" in answer["detail"]


def test_a_load_of_the_same_file_mends_a_damaged_snapshot(settings: Settings) -> None:
    client = Client(create_app(settings))
    whole = weights(client)
    with client.app.extensions[EXTENSION].log.writing() as writer:
        writer.session.run("UPDATE snapshots SET weights = digest")
    assert client.put("/weights", data=whole).status_code == 200
    assert checked(settings) == 2
    fresh = Client(create_app(settings))
    assert weights(fresh, 1) == weights(fresh) == whole
    assert stored(fresh) == 1
