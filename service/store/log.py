"""The append-only log of versions, from which every worker replays its model.

A version is a row: a `load` (weights from outside), a `train-step` (its examples and its rate), a `rollback`, an
`unlearn`, a `relabel` or a `grow`, which adds a class. All but the steps have a snapshot of the weights, and some of
the steps do, often enough to bound the cost of reconstructing any version. A snapshot is stored once, however many
versions have it. A version that repeats the one before it needs none.
"""

import secrets
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.errors import (
    EmptyStoreError,
    StartupError,
    StoreCorruptError,
    StoreError,
    StoreReplacedError,
    UnknownVersionError,
)
from service.store.database import Database, Query, Session
from service.store.migrations import MIGRATIONS
from service.store.records import (
    NO_DIGEST,
    RECORD_FIELDS,
    Entry,
    Link,
    Record,
    Step,
    StoredExamples,
    Version,
    bytes_digest,
)
from service.store.rolling_figures import OUTCOME, Kind
from service.store.schema import (
    NO_STEP,
    SCHEMA_VERSION,
    keys_table,
    metadata,
    progress_table,
    snapshots_table,
    store_table,
    versions_table,
)
from service.store.url import database_at

MOST_UNSNAPPED_BYTES = 32 * 2**20  # of pixels: more are not replayed to reconstruct a version
MOST_SNAPSHOTS_FOLDED = 4  # at once, so that a long history that may be removed goes in parts
FEWEST_VERSIONS_FOLDED = 50  # where fewer are kept, snapshots are still not taken more often than this
MOST_READ_AT_ONCE = 200  # versions that are no steps
MOST_NUMBERS_READ_AT_ONCE = 5000
AFTER_ALL = 2**63 - 1  # above every version

AFTER: sa.BindParameter[int] = sa.bindparam("after")
UNTIL: sa.BindParameter[int] = sa.bindparam("until")
BEFORE: sa.BindParameter[int] = sa.bindparam("before")

version_column = versions_table.c.model_version
snapshot_digest_column = versions_table.c.snapshot_digest
IS_ITS_SNAPSHOT = snapshots_table.c.digest == snapshot_digest_column
RECORD_COLUMNS = [versions_table.c[name] for name in RECORD_FIELDS]
EXAMPLES_COLUMNS = [versions_table.c[name] for name in StoredExamples.__dataclass_fields__]
RECORD_WIDTH = len(RECORD_COLUMNS)

SELECT_SCHEMA_VERSION = sa.select(store_table.c.schema_version)
STORE_COLUMNS = [store_table.c[name] for name in ("store_id", "created_at", "network_shape", "weights_digest")]
SELECT_STORE = sa.select(*STORE_COLUMNS)
SELECT_NEWEST = sa.select(*RECORD_COLUMNS).order_by(version_column.desc()).limit(1)
SELECT_OLDEST = sa.select(sa.func.min(version_column))
SELECT_COUNT = sa.select(sa.func.count()).select_from(versions_table)
SELECT_LATEST_SNAPSHOT = (
    sa.select(snapshots_table.c.weights, *RECORD_COLUMNS)
    .join_from(versions_table, snapshots_table, IS_ITS_SNAPSHOT, isouter=True)
    .where(snapshot_digest_column.is_not(None), version_column > AFTER, version_column <= UNTIL)
    .order_by(version_column.desc())
    .limit(1)
)
SELECT_ENTRIES = (
    sa.select(*RECORD_COLUMNS, snapshots_table.c.weights, *EXAMPLES_COLUMNS)
    .join_from(versions_table, snapshots_table, IS_ITS_SNAPSHOT, isouter=True)
    .where(version_column > AFTER, version_column <= UNTIL)
    .order_by(version_column)
)
SELECT_STEPS_OF_KIND = (
    sa.select(*RECORD_COLUMNS, *EXAMPLES_COLUMNS)
    .join_from(progress_table, versions_table, progress_table.c.model_version == version_column)
    .where(
        progress_table.c.kind == sa.bindparam("kind", type_=sa.String),
        progress_table.c.examples > AFTER,
        sa.func.length(progress_table.c.outcomes) == OUTCOME.itemsize * versions_table.c.count,
    )
    .order_by(progress_table.c.examples)
)
SELECT_VERSION = sa.select(*RECORD_COLUMNS).where(version_column == sa.bindparam("version"))
SELECT_VERSIONS = (
    sa.select(*RECORD_COLUMNS)
    .where(version_column < BEFORE)
    .order_by(version_column.desc())
    .limit(sa.bindparam("most", type_=sa.Integer))
)
SELECT_VERSIONS_OF_SOURCE = SELECT_VERSIONS.where(versions_table.c.source == sa.bindparam("source"))
SELECT_NUMBERS_OF_SOURCE = (
    sa.select(version_column)
    .where(versions_table.c.source == sa.bindparam("source"), version_column > AFTER, version_column < BEFORE)
    .order_by(version_column)
    .limit(MOST_NUMBERS_READ_AT_ONCE)
)
SELECT_NO_STEPS = (
    sa.select(*RECORD_COLUMNS)
    .where(NO_STEP, version_column > AFTER, version_column < BEFORE)
    .order_by(version_column.desc())
    .limit(MOST_READ_AT_ONCE)
)
SELECT_OF_KEY = sa.select(*RECORD_COLUMNS).where(versions_table.c.idempotency_key == sa.bindparam("key"))
SELECT_BASES = (
    sa.select(version_column)
    .where(snapshot_digest_column.is_not(None), version_column > AFTER, version_column <= UNTIL)
    .order_by(version_column)
    .limit(MOST_SNAPSHOTS_FOLDED)
)

INSERT_STORE = sa.insert(store_table)
UPDATE_SCHEMA_VERSION = sa.update(store_table).values(schema_version=sa.bindparam("version"))
SELECT_KEY = sa.select(keys_table.c.digest)
DELETE_KEY = sa.delete(keys_table)
INSERT_KEY = sa.insert(keys_table)
SELECT_COPIED_UNTIL = sa.select(store_table.c.copied_until)
UPDATE_COPIED_UNTIL = sa.update(store_table).values(copied_until=sa.bindparam("until", type_=sa.Float))
UPDATE_STORE_ID = sa.update(store_table).values(store_id=sa.bindparam("id"))
INSERT_VERSION = sa.insert(versions_table)
INSERT_SNAPSHOT = sa.text(  # in place of a damaged one, too
    "INSERT INTO snapshots (digest, weights) VALUES (:digest, :weights) "
    "ON CONFLICT (digest) DO UPDATE SET weights = excluded.weights WHERE snapshots.weights <> excluded.weights"
)
DELETE_VERSIONS = sa.delete(versions_table).where(version_column < BEFORE)
DELETE_SNAPSHOTS = sa.delete(snapshots_table).where(
    snapshots_table.c.digest.not_in(sa.select(snapshot_digest_column).where(snapshot_digest_column.is_not(None)))
)


@dataclass(frozen=True)
class StoreIdentity:
    """created_at: seconds since the epoch; weights_digest: of the weights that the store began with."""

    store_id: str
    created_at: float
    network_shape: str
    weights_digest: bytes | None


class StepLog:
    """The log in a database. Safe to use from any number of threads and processes."""

    def __init__(self, database: Database, snapshot_every: int = 500, keep_versions: int | None = None) -> None:
        """Nothing is opened yet."""
        self.database = database
        self.close = database.close
        self.snapshot_every = snapshot_every
        self.keep_versions = keep_versions
        self._store_id: str | None = None

    @classmethod
    def at(
        cls, url: str, snapshot_every: int = 500, keep_versions: int | None = None, connections: int = 4
    ) -> "StepLog":
        """The log in the database that a URL names. Raises StartupError."""
        return cls(database_at(url, connections), snapshot_every, keep_versions)

    @contextmanager
    def reading(self) -> Iterator["Reader"]:
        """One consistent view of the log. Raises StoreError."""
        with self.database.reading() as session:
            yield Reader(session)

    @contextmanager
    def writing(self, *prefetched: Query) -> Iterator["Writer"]:
        """The only writer. When the block has ended, what it appended is durable; after an error, nothing was appended.

        prefetched: queries that the writer will certainly run. Raises StoreError.
        """
        with self.database.writing() as session:
            if self._store_id is not None:
                session.prefetch((SELECT_STORE, {}), (SELECT_NEWEST, {}), *prefetched)
            writer = Writer(session, self.snapshot_every, self.keep_versions)
            self.check_identity(writer)
            yield writer

    @property
    def store_id(self) -> str | None:
        """The identity of the prepared store."""
        return self._store_id

    def check_identity(self, reader: "Reader") -> None:
        """Raises StoreReplacedError for another store than the prepared one, in the same place."""
        if self._store_id is not None and reader.identity().store_id != self._store_id:
            raise StoreReplacedError(self.database.replaced)

    def prepare(self, network_shape: str | None, weights_digest: bytes | None = None) -> StoreIdentity:
        """Create the tables or migrate them to this release's schema. From now on, this store is used and no other.

        network_shape, weights_digest: recorded in a new store. Raises StartupError for a store of a newer release and
        for a database that is no store, StoreCorruptError for a damaged one.
        """
        with self.reading() as reader:
            schema = reader.schema_version()
        if schema != SCHEMA_VERSION:
            with self.writing() as writer:
                writer.migrate(network_shape, weights_digest)
        with self.reading() as reader:
            identity = reader.identity()
        self._store_id = identity.store_id
        self.database.serve_only(identity.store_id)
        return identity


class Reader:
    """What can be read from the log within one transaction. Every record that is read is verified by its digest."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.now = session.now

    def schema_version(self) -> int:
        """0 for an empty database. Raises StartupError for a newer schema and for the tables of something else."""
        tables = self.session.table_names()
        if "store" not in tables:
            if tables:
                raise StartupError(f"the database is not a store: it has the tables {', '.join(sorted(tables))}")
            return 0
        schema = self.session.scalar(SELECT_SCHEMA_VERSION)
        if not isinstance(schema, int):
            raise StoreCorruptError("the table store has no schema version")
        if schema > SCHEMA_VERSION:
            raise StartupError(
                f"the store was created by a newer release: its schema is {schema}, this release knows up to "
                f"{SCHEMA_VERSION}"
            )
        return schema

    def identity(self) -> StoreIdentity:
        row = self.session.execute(SELECT_STORE).fetchone()
        if row is None:
            raise StoreCorruptError("the table store is empty")
        return StoreIdentity(*row)

    def newest(self) -> Record | None:
        """The newest version; None for an empty log."""
        return self._record(SELECT_NEWEST)

    def _record(self, statement: Any, **parameters: Any) -> Record | None:
        row = self.session.execute(statement, **parameters).fetchone()
        return None if row is None else Record.of_row(row)

    def head(self) -> int:
        """The number of the newest version, 0 for an empty log."""
        newest = self.newest()
        return 0 if newest is None else newest.version.model_version

    def oldest(self) -> int:
        """The oldest version that is kept. A query for both ends would read the whole table on SQLite."""
        return self.session.scalar(SELECT_OLDEST) or 0

    def count(self) -> int:
        """How many versions are kept."""
        return int(self.session.scalar(SELECT_COUNT))

    def latest_snapshot(self, after: int, until: int) -> Entry | None:
        """The newest snapshot of the versions after + 1 … until."""
        row = self.session.execute(SELECT_LATEST_SNAPSHOT, after=after, until=until).fetchone()
        return None if row is None else Entry.of(Record.of_row(row[1:]), row[0], None)

    def entries(self, after: int, until: int) -> Iterator[Entry]:
        """What leads from version `after` to `until`, oldest first, one at a time. Raises StoreCorruptError."""
        with closing(self.session.stream(SELECT_ENTRIES, after=after, until=until)) as rows:
            for row in rows:
                stored = StoredExamples(*row[RECORD_WIDTH + 1 :])
                yield Entry.of(Record.of_row(row[:RECORD_WIDTH]), row[RECORD_WIDTH], stored)

    def steps(self, after: int, until: int) -> Iterator[Step]:
        """The train-steps after + 1 … until, oldest first. Raises StoreCorruptError."""
        for entry in self.entries(after, until):
            if entry.step is not None:
                yield entry.step

    def steps_of_kind(self, kind: Kind, after: int) -> Iterator[Step]:
        """The train-steps that have examples of this kind only, without those of its first `after` examples, oldest
        first, in one query: they have to fit into memory together. Raises StoreCorruptError."""
        for row in self.session.execute(SELECT_STEPS_OF_KIND, kind=kind, after=after):
            yield Step.of(Record.of_row(row[:RECORD_WIDTH]), StoredExamples(*row[RECORD_WIDTH:]))

    def check(self) -> int:
        """Read the whole log and return its newest version. Raises StoreCorruptError for a record that is not as
        written, a missing one, and a log without a version or without weights to begin with."""
        newest: Record | None = None
        for entry in self.entries(after=0, until=AFTER_ALL):
            number = entry.record.version.model_version
            if newest is None:
                if entry.snapshot is None:
                    raise StoreCorruptError("the log has no weights to begin with")
            elif number != newest.version.model_version + 1:
                raise StoreCorruptError(f"version {newest.version.model_version + 1} is missing from the log")
            elif entry.record.link.previous != newest.link.digest:
                raise StoreCorruptError(f"version {number} does not continue from the previous one")
            newest = entry.record
        if newest is None:
            raise StoreCorruptError("the log has no version")
        return newest.version.model_version

    def version(self, model_version: int) -> Record:
        """Raises UnknownVersionError."""
        record = self._record(SELECT_VERSION, version=model_version)
        if record is None:
            raise UnknownVersionError(model_version, self.oldest(), self.head())
        return record

    def versions(self, limit: int, before: int | None, source: str | None = None) -> Generator[Version]:
        """Newest first, one at a time. source: only those that it taught."""
        parameters: dict[str, Any] = {"before": AFTER_ALL if before is None else before, "most": limit}
        if source is None:
            selected = self.session.execute(SELECT_VERSIONS, **parameters)
        else:
            selected = self.session.execute(SELECT_VERSIONS_OF_SOURCE, source=source, **parameters)
        with closing(selected) as rows:
            yield from (Record.of_row(row).version for row in rows)

    def numbers_of_source(self, source: str, after: int, before: int) -> Iterator[int]:
        """The versions between these two that a source taught, ascending."""
        while rows := self.session.execute(
            SELECT_NUMBERS_OF_SOURCE, source=source, after=after, before=before
        ).fetchall():
            yield from (row[0] for row in rows)
            after = rows[-1][0]

    def versions_between_steps(self, after: int, until: int) -> Iterator[Version]:
        """Those of the versions after + 1 … until that are no steps, newest first, without reading any step."""
        before = until + 1
        while rows := self.session.execute(SELECT_NO_STEPS, after=after, before=before).fetchall():
            yield from (Record.of_row(row).version for row in rows)
            before = rows[-1][0]

    def copied_until(self) -> float | None:
        """The time before which everything acknowledged is in a copy that was verified; None: none was."""
        until: float | None = self.session.scalar(SELECT_COPIED_UNTIL)
        return until

    def key_digest(self) -> bytes | None:
        """Of the key that opens this model; None where it has none."""
        if keys_table.name not in self.session.table_names():
            return None
        digest: bytes | None = self.session.scalar(SELECT_KEY)
        return digest

    def of_key(self, idempotency_key: str) -> Version | None:
        record = self._record(SELECT_OF_KEY, key=idempotency_key)
        return None if record is None else record.version


def query_of_key(idempotency_key: str) -> Query:
    """The query that `of_key` runs."""
    return SELECT_OF_KEY, {"key": idempotency_key}


class Writer(Reader):
    """What only the writer can do."""

    def __init__(self, session: Session, snapshot_every: int, keep_versions: int | None) -> None:
        super().__init__(session)
        self._keep_versions = keep_versions
        self._newest: Record | None = None  # once read; there is no other writer
        if keep_versions is not None:
            snapshot_every = min(snapshot_every, max(keep_versions, FEWEST_VERSIONS_FOLDED))
        self._snapshot_every = snapshot_every

    def migrate(self, network_shape: str | None, weights_digest: bytes | None) -> None:
        """From the schema of the database to this release's.

        Raises StartupError as `schema_version` does, EmptyStoreError for a new store without a network.
        """
        schema = self.schema_version()
        if schema == 0:
            if network_shape is None:
                raise EmptyStoreError
            for table in metadata.sorted_tables:
                self.session.create_table(table)
            self.session.execute(
                INSERT_STORE,
                schema_version=SCHEMA_VERSION,
                network_shape=network_shape,
                store_id=secrets.token_hex(16),
                created_at=self.now(),
                weights_digest=weights_digest,
                copied_until=None,
            )
            return
        while schema < SCHEMA_VERSION:
            schema = MIGRATIONS[schema](self.session)
        self.session.execute(UPDATE_SCHEMA_VERSION, version=SCHEMA_VERSION)

    def newest(self) -> Record | None:
        if self._newest is None:
            self._newest = super().newest()
        return self._newest

    def set_key_digest(self, digest: bytes) -> None:
        """In place of the one before."""
        if keys_table.name not in self.session.table_names():
            self.session.create_table(keys_table)
        self.session.execute(DELETE_KEY)
        self.session.execute(INSERT_KEY, digest=digest)

    def renew_identity(self) -> None:
        """From now on it is another store, with the same contents."""
        self.session.execute(UPDATE_STORE_ID, id=secrets.token_hex(16))

    def record_copy(self, newest: Record) -> float:
        """Record that a copy with this newest version was verified; until when it has everything. Raises StoreError."""
        number = newest.version.model_version
        if self._record(SELECT_VERSION, version=number) != newest:
            raise StoreError(
                f"not recorded: the store does not have the copy's version {number}: it is no copy of this store, or "
                "older than all that is kept"
            )
        following = self._record(SELECT_VERSION, version=number + 1)
        until = self.now() if following is None else following.version.created_at
        self.session.execute(UPDATE_COPIED_UNTIL, until=max(until, self.copied_until() or 0.0))
        return until

    def needs_snapshot(self, version: Version, stored: StoredExamples | None) -> bool:
        """Whether the next version has to come with a snapshot of its weights."""
        if version.model_version % self._snapshot_every == 0:
            return True
        if version.kind != "train-step" and not version.repeats_the_one_before:
            return True
        return self._unsnapped_bytes(stored) > MOST_UNSNAPPED_BYTES

    def _unsnapped_bytes(self, stored: StoredExamples | None) -> int:
        """The bytes of pixels since the newest snapshot, with those of the next version."""
        newest = self.newest()
        return (0 if newest is None else newest.link.unsnapped_bytes) + (0 if stored is None else len(stored.pixels))

    def append(self, version: Version, stored: StoredExamples | None = None, snapshot: bytes | None = None) -> Record:
        """Append the next version: a train-step with its examples, and a snapshot (a weights file) where it needs one.

        Raises StoreError for a version that is not the next one.
        """
        newest = self.newest()
        expected = 1 if newest is None else newest.version.model_version + 1
        if version.model_version != expected:
            raise StoreError(f"version {version.model_version} can't be written: the next one is {expected}")
        link = Link(
            unsnapped_bytes=0 if snapshot is not None else self._unsnapped_bytes(stored),
            content_digest=None if stored is None else stored.digest(),
            snapshot_digest=None if snapshot is None else bytes_digest(snapshot),
            previous=NO_DIGEST if newest is None else newest.link.digest,
        ).sealed(version)
        content = NO_EXAMPLES if stored is None else vars(stored)
        self.session.execute(INSERT_VERSION, **vars(version), **vars(link), **content)
        if snapshot is not None:
            self.session.execute(INSERT_SNAPSHOT, digest=link.snapshot_digest, weights=snapshot)
            if self._keep_versions is not None:
                self._fold(version.model_version - self._keep_versions + 1)
        self.session.notify(version.model_version, link.digest)
        self._newest = Record(version, link)
        return self._newest

    def _fold(self, oldest_kept: int) -> None:
        """Delete what is older than a snapshot at or before `oldest_kept`. It is the newest such snapshot, unless there
        is more to delete than one step may take time for."""
        bases = self.session.execute(SELECT_BASES, after=self.oldest(), until=oldest_kept)
        for base in [row[0] for row in bases][-1:]:
            self.session.execute(DELETE_VERSIONS, before=base)
            self.session.execute(DELETE_SNAPSHOTS)


NO_EXAMPLES = dict.fromkeys(StoredExamples.__dataclass_fields__)
