"""Everything in a row is covered: what is not as it was written is never served, and is said in one line."""

import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from service.app import create_app
from service.errors import StartupError, StoreError
from service.settings import Settings
from service.store.schema import versions_table
from tests.conftest import Client, as_json, behind_the_back, random_batch

STEPS = 6
DAMAGE = {
    "kind": "'load'",
    "created_at": "created_at + 1",
    "count": "1",
    "loss": "loss * 1.0000001",
    "accuracy": "1 - accuracy",
    "learning_rate": "0.5",
    "optimizer": "'adagrad'",
    "gradient_norm": "gradient_norm * 2",
    "clip_norm": "1.0",
    "source_version": "1",
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


def test_a_store_of_schema_1_is_brought_to_this_one(settings: Settings) -> None:
    """As the release before made it: a CRC of the examples, no chain, no identity."""
    client = Client(create_app(settings))
    for seed in range(5):
        client.post("/train-step", json=as_json(*random_batch(2, seed)), headers={"Idempotency-Key": str(seed)})
    answer = client.post("/predict", json=as_json(*random_batch(2)[:1])).json
    versions = client.get("/versions").json
    client.close()
    to_schema_1(store_of(settings))
    again = Client(create_app(settings))
    assert again.post("/predict", json=as_json(*random_batch(2)[:1])).json == answer
    assert again.get("/versions").json == versions
    repeat = again.post("/train-step", json=as_json(*random_batch(2, 0)), headers={"Idempotency-Key": "0"})
    assert repeat.json["model_version"] == 2
    assert again.post("/train-step", json=as_json(*random_batch(2, 9))).json["model_version"] == 7
    again.close()
    Client(create_app(settings)).close()


def to_schema_1(path: Path) -> None:
    import zlib

    chained = ("unsnapped_bytes", "content_digest", "snapshot_digest", "previous", "digest")
    with behind_the_back(path) as connection:
        connection.execute("ALTER TABLE versions ADD COLUMN checksum BIGINT")
        rows = connection.execute("SELECT model_version, learning_rate, optimizer, labels, pixels FROM versions")
        for version, rate, optimizer, labels, pixels in rows.fetchall():
            if pixels is not None:
                said = f"{rate!r} {optimizer}".encode()
                crc = zlib.crc32(said, zlib.crc32(labels, zlib.crc32(pixels)))
                connection.execute("UPDATE versions SET checksum = ? WHERE model_version = ?", [crc, version])
        for column in chained:
            connection.execute(f"ALTER TABLE versions DROP COLUMN {column}")
        for column in ("store_id", "created_at", "weights_digest"):
            connection.execute(f"ALTER TABLE store DROP COLUMN {column}")
        connection.execute("UPDATE store SET schema_version = 1")
