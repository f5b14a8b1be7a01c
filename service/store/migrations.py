"""How the tables of an older release are brought to this one's, within one transaction."""

import secrets
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import orjson
import sqlalchemy as sa

from service.errors import StoreCorruptError
from service.store.adagrad import OldModel
from service.store.database import Session
from service.store.records import NOTHING_BEFORE, Link, StoredExamples, Version, snapshot_digest
from service.store.schema import TABLES_OF_SCHEMA_3, snapshots_table, store_table, versions_table

IDENTIFY_STORE = sa.update(store_table).values(store_id=sa.bindparam("id"), created_at=sa.bindparam("at"))
INSERT_VERSION = sa.insert(versions_table)
INSERT_SNAPSHOT = sa.insert(snapshots_table)

OLD_FIELDS = (
    "model_version", "kind", "created_at", "count", "loss", "accuracy", "learning_rate", "optimizer", "gradient_norm",
    "clip_norm", "source_version", "idempotency_key", "request_digest",
)  # fmt: skip
"""Of a version in schemas 1 and 2."""

LINK_FIELDS = tuple(Link.__dataclass_fields__)

OLD_ROWS = (
    "SELECT v.*, s.weights AS snapshot FROM old_versions v LEFT JOIN snapshots s USING (model_version) "
    "ORDER BY v.model_version"
)


def identify_the_store(session: Session) -> int:
    """Schema 1 did not say which store it is."""
    for column, kind in (("store_id", "VARCHAR"), ("created_at", "FLOAT"), ("weights_digest", "BLOB")):
        session.run(f"ALTER TABLE store ADD COLUMN {column} {kind}")
    session.execute(IDENTIFY_STORE, id=secrets.token_hex(16), at=time.time())
    return chain_anew(session, checked_by_checksum)


def link_by_name(session: Session) -> int:
    """In schema 2 a record's digest was of its values in the order of the columns, and could not bear another one."""
    return chain_anew(session, checked_by_digest)


Row = dict[str, Any]


def chain_anew(session: Session, checked: Callable[[Row, bytes], bytes]) -> int:
    """Write every record again, as schema 3 has it. checked: holds a row against what the old schema says of it, given
    the digest of the row before, and gives its own; raises StoreCorruptError."""
    session.run("DROP INDEX versions_idempotency_key")
    session.run("ALTER TABLE versions RENAME TO old_versions")
    for table in (versions_table, *TABLES_OF_SCHEMA_3):
        session.create_table(table)
    model = (
        OldModel() if session.run("SELECT 1 FROM old_versions WHERE optimizer = 'adagrad' LIMIT 1").fetchone() else None
    )
    old_digest = digest = NOTHING_BEFORE
    unsnapped = 0
    for row in rows_of(session.run(OLD_ROWS)):
        old_digest = checked(row, old_digest)
        is_step, snapshot = row["kind"] == "train-step", row["snapshot"]
        if model is not None and snapshot is not None:
            model.after_snapshot(snapshot)
        elif model is not None:
            stepped = model.after_step(row)
            if row["optimizer"] == "adagrad":
                snapshot = stepped
                session.execute(INSERT_SNAPSHOT, model_version=row["model_version"], weights=snapshot)
        unsnapped = 0 if snapshot is not None else unsnapped + len(row["pixels"])
        version = Version(**{name: row[name] for name in OLD_FIELDS if name != "optimizer"})
        stored = StoredExamples(row["pixel_type"], row["labels"], row["pixels"])
        content = stored.digest() if is_step else None
        link = Link.of(version, unsnapped, content, None if snapshot is None else snapshot_digest(snapshot), digest)
        session.execute(INSERT_VERSION, **vars(version), **vars(link), **vars(stored))
        digest = link.digest
    session.run("DROP TABLE old_versions")
    return 3


def rows_of(cursor: sqlite3.Cursor) -> Iterator[Row]:
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, values, strict=True)) for values in cursor)


def checked_by_checksum(row: Row, before: bytes) -> bytes:
    """Schema 1: a CRC of the examples alone."""
    if row["kind"] == "train-step":
        said = f"{row['learning_rate']!r} {row['optimizer']}".encode()
        if zlib.crc32(said, zlib.crc32(row["labels"], zlib.crc32(row["pixels"]))) != row["checksum"]:
            raise StoreCorruptError(f"version {row['model_version']} is corrupt: its checksum does not fit")
    return before


def checked_by_digest(row: Row, before: bytes) -> bytes:
    """Schema 2: a digest of the record's values and of the digest before."""
    values = [row[name] for name in (*OLD_FIELDS, *LINK_FIELDS[:-1])]
    said = orjson.dumps([value.hex() if isinstance(value, bytes) else value for value in values])
    stored = StoredExamples(row["pixel_type"], row["labels"], row["pixels"])
    is_step, snapshot = row["kind"] == "train-step", row["snapshot"]
    whole = (
        sha256(said).digest() == row["digest"]
        and before in (row["previous"], NOTHING_BEFORE)  # the oldest may follow one that has been folded
        and (not is_step or stored.digest() == row["content_digest"])
        and (None if snapshot is None else snapshot_digest(snapshot)) == row["snapshot_digest"]
    )
    if not whole:
        raise StoreCorruptError(f"version {row['model_version']} is corrupt: its digest does not fit")
    digest: bytes = row["digest"]
    return digest


MIGRATIONS: dict[int, Callable[[Session], int]] = {1: identify_the_store, 2: link_by_name}
"""For each schema version, what leads from it to a later one, which it gives."""
