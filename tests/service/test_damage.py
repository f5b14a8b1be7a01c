"""Everything in a row is covered: what is not as it was written is never served, and is said in one line."""

import json
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.engine import make_url

from service.app import create_app
from service.errors import StartupError, StoreError
from service.settings import Settings
from service.store.schema import versions_table
from tests.conftest import Client, as_json, behind_the_back, random_batch

STEPS = 6
STORES = Path(__file__).with_name("stores")
DAMAGE = {
    "kind": "'load'",
    "created_at": "created_at + 1",
    "count": "1",
    "loss": "loss * 1.0000001",
    "accuracy": "1 - accuracy",
    "learning_rate": "0.5",
    "gradient_norm": "gradient_norm * 2",
    "clip_norm": "1.0",
    "rehearsed": "rehearsed + 1",
    "memory_size": "memory_size + 1",
    "source_version": "1",
    "event": "'alarm'",
    "reason": "'because'",
    "paused": "'because'",
    "idempotency_key": "'another'",
    "request_digest": "x'00'",
    "unsnapped_bytes": "unsnapped_bytes + 1",
    "content_digest": "zeroblob(32)",
    "snapshot_digest": "zeroblob(32)",
    "previous": "zeroblob(32)",
    "digest": "zeroblob(32)",
    "pixel_type": "'>f4'",
    "labels": "zeroblob(length(labels))",
    "pixels": "zeroblob(length(pixels))",
}
ODD = ["NULL", "'text'", "x'ff00'", "1e300", "-1", "CAST(x'ff' AS TEXT)"]


def store_of(settings: Settings) -> Path:
    return Path(make_url(settings.store).database or "")


@pytest.fixture
def stopped(settings: Settings) -> Settings:
    client = Client(create_app(settings))
    for seed in range(STEPS):
        client.post("/train-step", json=as_json(*random_batch(2, seed)), headers={"Idempotency-Key": str(seed)})
    client.close()
    return settings


def test_every_column_has_its_damage_here() -> None:
    assert set(DAMAGE) == set(versions_table.c.keys()) - {"model_version"}


@pytest.mark.parametrize("column", DAMAGE)
def test_a_record_that_was_changed_is_found_at_the_start(stopped: Settings, column: str) -> None:
    path = store_of(stopped)
    whole = path.read_bytes()
    for value in [DAMAGE[column], *ODD]:
        path.write_bytes(whole)
        try:
            with behind_the_back(path) as connection:
                connection.execute(f"UPDATE versions SET {column} = {value} WHERE model_version = 4")
                [(changed,)] = (
                    connection.execute(
                        f"SELECT {column} IS NOT (SELECT {column} FROM before.versions WHERE model_version = 4) "
                        "FROM versions WHERE model_version = 4"
                    )
                    if attached(connection, path, whole)
                    else [(1,)]
                )
        except sqlite3.IntegrityError:
            continue
        if not changed:
            continue
        with pytest.raises(
            (StoreError, StartupError), match=r"version 4|snapshot of version|can't be used|corrupt"
        ) as error:
            create_app(stopped)
        assert len(str(error.value).splitlines()) == 1


def attached(connection: sqlite3.Connection, path: Path, whole: bytes) -> bool:
    """The store as it was, beside the connection's."""
    before = path.with_name("before.db")
    before.write_bytes(whole)
    connection.execute("ATTACH ? AS before", [os.fspath(before)])
    return True


def test_a_history_that_was_exchanged_is_found(stopped: Settings) -> None:
    """Two records, each whole in itself, in each other's place."""
    with behind_the_back(store_of(stopped)) as connection:
        for old, new in ((3, 100), (4, 3), (100, 4)):
            connection.execute("UPDATE versions SET model_version = ? WHERE model_version = ?", [new, old])
    with pytest.raises(StoreError, match="version 3 is corrupt"):
        create_app(stopped)


@pytest.mark.parametrize("name", ["schema_1", "schema_2", "schema_2_adagrad"])
def test_a_store_of_an_older_release_is_brought_to_this_one(settings: Settings, name: str) -> None:
    """As the releases before wrote them, with what they answered."""
    path = store_of(settings)
    with behind_the_back(path) as connection:
        connection.executescript((STORES / f"{name}.sql").read_text())
    known = json.loads((STORES / f"{name}.json").read_text())
    settings.weights.unlink()
    client = Client(create_app(settings))
    for version, probabilities in enumerate(known["probabilities"], 1):
        answer = client.post(f"/predict?model_version={version}", json={"images": [[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]]})
        assert np.array(answer.json["probabilities"]) == pytest.approx(np.array(probabilities), abs=1e-6), version
    versions = client.get("/versions").json["versions"]
    assert versions == [{field: entry[field] for field in entry if field != "optimizer"} for entry in known["versions"]]
    random = np.random.default_rng(0)
    first = {"images": random.integers(0, 256, (2, 6)).tolist(), "labels": random.integers(0, 3, 2).tolist()}
    repeat = client.post("/train-step", json={**first, "pixel_max": 255}, headers={"Idempotency-Key": "key 0"})
    assert repeat.json["model_version"] == 2
    assert client.post("/train-step", json={**first, "pixel_max": 255}).json["model_version"] == 10
    client.close()
    Client(create_app(settings)).close()


def test_an_old_store_with_a_bit_that_has_changed_is_refused_and_left_as_it_was(settings: Settings) -> None:
    path = store_of(settings)
    with behind_the_back(path) as connection:
        connection.executescript((STORES / "schema_2.sql").read_text())
        connection.execute("UPDATE versions SET loss = loss + 1 WHERE model_version = 5")
    with pytest.raises(StoreError, match="version 5 is corrupt"):
        create_app(settings)
    with behind_the_back(path) as connection:
        assert connection.execute("SELECT schema_version FROM store").fetchone() == (2,)
        assert connection.execute("SELECT count(optimizer) FROM versions").fetchone() == (7,)
