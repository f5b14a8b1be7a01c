"""How the tables of an older release are brought to this one's, within one transaction."""

import secrets
import time
import zlib
from collections.abc import Callable

import sqlalchemy as sa

from service.errors import StoreCorruptError
from service.store.records import NOTHING_BEFORE, Link, StoredExamples, Version, snapshot_digest
from service.store.schema import store_table, versions_table
from service.store.sqlite import Session

INSERT_VERSION = sa.insert(versions_table)
IDENTIFY_STORE = sa.update(store_table).values(store_id=sa.bindparam("id"), created_at=sa.bindparam("at"))


def chain_the_records(session: Session) -> None:
    """Schema 1 had a CRC of the examples alone. Each record gets its digest, that of the record before in it."""
    fields = list(Version.__dataclass_fields__)
    for column, kind in (("store_id", "VARCHAR"), ("created_at", "FLOAT"), ("weights_digest", "BLOB")):
        session.run(f"ALTER TABLE store ADD COLUMN {column} {kind}")
    session.execute(IDENTIFY_STORE, id=secrets.token_hex(16), at=time.time())
    session.run("DROP INDEX versions_idempotency_key")
    session.run("ALTER TABLE versions RENAME TO versions_of_schema_1")
    session.create_table(versions_table)
    previous, unsnapped = NOTHING_BEFORE, 0
    rows = session.run(
        f"SELECT {', '.join(f'v.{name}' for name in fields)}, v.checksum, v.pixel_type, v.labels, v.pixels, s.weights "
        "FROM versions_of_schema_1 v LEFT JOIN snapshots s USING (model_version) ORDER BY v.model_version"
    )
    for *values, checksum, pixel_type, labels, pixels, snapshot in rows:
        version = Version(*values)
        content = None
        if version.kind == "train-step":
            said = f"{version.learning_rate!r} {version.optimizer}".encode()
            if zlib.crc32(said, zlib.crc32(labels, zlib.crc32(pixels))) != checksum:
                raise StoreCorruptError(f"version {version.model_version} is corrupt: its checksum does not fit")
            content = StoredExamples(pixel_type, labels, pixels).digest()
            unsnapped += len(pixels)
        if snapshot is not None:
            unsnapped = 0
        taken = None if snapshot is None else snapshot_digest(snapshot)
        link = Link.of(version, unsnapped, content, taken, previous)
        session.execute(
            INSERT_VERSION, **vars(version), **vars(link), pixel_type=pixel_type, labels=labels, pixels=pixels
        )
        previous = link.digest
    session.run("DROP TABLE versions_of_schema_1")


MIGRATIONS: dict[int, Callable[[Session], None]] = {1: chain_the_records}
"""For each schema version, what leads from it to the next."""
