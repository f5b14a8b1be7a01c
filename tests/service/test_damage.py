"""Everything in a row is covered: what is not as it was written is never served, and is said in one line."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from service.app import create_app
from service.errors import StartupError, StoreCorruptError, StoreError
from service.settings import Settings
from service.store import log, schema
from service.store.database import Session
from service.store.migrations import MIGRATIONS
from service.store.schema import SCHEMA_VERSION, versions_table
from tests.conftest import Client, as_json, behind_the_back, random_batch

STEPS = 6
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
    "source": "'somebody'",
    "source_version": "1",
    "unlearned_steps": "'2'",
    "new_labels": "'1,2'",
    "label_name": "'α'",
    "classes": "11",
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


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, shared_weights: bytes) -> Path:
    """A folder with the store of a service that has learnt a little, and is stopped."""
    folder = tmp_path_factory.mktemp("learnt")
    (folder / "weights.npz").write_bytes(shared_weights)
    client = Client(create_app(Settings(weights=folder / "weights.npz", store=f"sqlite:///{folder}/store.db")))
    for seed in range(STEPS):
        client.post("/train-step", json=as_json(*random_batch(2, seed)), headers={"Idempotency-Key": str(seed)})
    client.close()
    return folder


@pytest.fixture
def stopped(settings: Settings, learnt: Path) -> Settings:
    shutil.copytree(learnt, store_of(settings).parent, dirs_exist_ok=True)
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


def to_the_next_schema(session: Session) -> int:
    session.run("ALTER TABLE store ADD COLUMN motto VARCHAR DEFAULT 'keep'")
    return SCHEMA_VERSION + 1


def a_migration_that_fails(session: Session) -> int:
    to_the_next_schema(session)
    raise StoreCorruptError("version 5 is corrupt")


@pytest.fixture
def next_release(stopped: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A store of this release, which the next one is about to serve."""
    for module in (log, schema):
        monkeypatch.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    return stopped


def columns_of(path: Path) -> set[str]:
    with behind_the_back(path) as connection:
        return {row[1] for row in connection.execute("PRAGMA table_info(store)")}


def test_a_store_of_an_older_schema_is_migrated_at_the_start(
    next_release: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MIGRATIONS, SCHEMA_VERSION, to_the_next_schema)
    for _ in range(2):  # a second start has nothing left to migrate
        client = Client(create_app(next_release))
        assert client.post("/predict", json=as_json(*random_batch(1)[:1])).json["model_version"] == STEPS + 1
        client.close()
    assert "motto" in columns_of(store_of(next_release))
    with behind_the_back(store_of(next_release)) as connection:
        assert connection.execute("SELECT schema_version FROM store").fetchone() == (SCHEMA_VERSION + 1,)


def test_a_migration_that_fails_leaves_the_store_as_it_was(
    next_release: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MIGRATIONS, SCHEMA_VERSION, a_migration_that_fails)
    with pytest.raises(StoreError, match="version 5 is corrupt"):
        create_app(next_release)
    assert "motto" not in columns_of(store_of(next_release))
    with behind_the_back(store_of(next_release)) as connection:
        assert connection.execute("SELECT schema_version FROM store").fetchone() == (SCHEMA_VERSION,)
