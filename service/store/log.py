"""The append-only log of versions: the truth that every worker follows.

A version is a row: a `load` (weights from outside), a `train-step` (its examples and its rate) or a `rollback`.
Loads, rollbacks and, among the steps, enough to bound what it costs to come to any version, carry a snapshot of the
weights.
"""

import secrets
from collections.abc import Iterator
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
from service.store.database import Database, Session
from service.store.migrations import MIGRATIONS
from service.store.records import (
    NOTHING_BEFORE,
    RECORD_FIELDS,
    Entry,
    Link,
    Record,
    Step,
    StoredExamples,
    Version,
    snapshot_digest,
    stored_is,
)
from service.store.schema import SCHEMA_VERSION, metadata, snapshots_table, store_table, versions_table
from service.store.sqlite import SqliteDatabase, database_path, parsed_url

MOST_UNSNAPPED_BYTES = 32 * 2**20
"""Of pixels: more than that is not replayed to come to a version."""

MOST_SNAPSHOTS_FOLDED = 4
"""At once: where there is more to be removed than each snapshot gives cause for, each removes some of it."""

FEWEST_VERSIONS_FOLDED = 50
"""Where few versions are kept, snapshots are due so often that some others can be folded into one."""

AFTER_ALL = 2**63 - 1

AFTER: sa.BindParameter[int] = sa.bindparam("after")
UNTIL: sa.BindParameter[int] = sa.bindparam("until")
BEFORE: sa.BindParameter[int] = sa.bindparam("before")

version_column = versions_table.c.model_version
RECORD_COLUMNS = [versions_table.c[name] for name in RECORD_FIELDS]
EXAMPLES_COLUMNS = [versions_table.c[name] for name in StoredExamples.__dataclass_fields__]
RECORDS = len(RECORD_COLUMNS)

SELECT_SCHEMA_VERSION = sa.select(store_table.c.schema_version)
STORE_COLUMNS = [store_table.c[name] for name in ("store_id", "created_at", "network_shape", "weights_digest")]
SELECT_STORE = sa.select(*STORE_COLUMNS)
SELECT_NEWEST = sa.select(*RECORD_COLUMNS).order_by(version_column.desc()).limit(1)
SELECT_OLDEST = sa.select(sa.func.min(version_column))
SELECT_COUNT = sa.select(sa.func.count()).select_from(versions_table)
SELECT_LATEST_SNAPSHOT = (
    sa.select(snapshots_table.c.weights, *RECORD_COLUMNS)
    .join_from(snapshots_table, versions_table, version_column == snapshots_table.c.model_version)
    .where(snapshots_table.c.model_version > AFTER, snapshots_table.c.model_version <= UNTIL)
    .order_by(snapshots_table.c.model_version.desc())
    .limit(1)
)
SELECT_ENTRIES = (
    sa.select(*RECORD_COLUMNS, snapshots_table.c.weights, *EXAMPLES_COLUMNS)
    .join_from(versions_table, snapshots_table, version_column == snapshots_table.c.model_version, isouter=True)
    .where(version_column > AFTER, version_column <= UNTIL)
    .order_by(version_column)
)
SELECT_STEPS = (
    sa.select(*RECORD_COLUMNS, *EXAMPLES_COLUMNS)
    .where(version_column > AFTER, version_column <= UNTIL, versions_table.c.kind == "train-step")
    .order_by(version_column)
)
SELECT_VERSION = sa.select(*RECORD_COLUMNS).where(version_column == sa.bindparam("version"))
SELECT_VERSIONS = (
    sa.select(*RECORD_COLUMNS)
    .where(version_column < BEFORE)
    .order_by(version_column.desc())
    .limit(sa.bindparam("most", type_=sa.Integer))
)
SELECT_OF_KEY = sa.select(*RECORD_COLUMNS).where(versions_table.c.idempotency_key == sa.bindparam("key"))
SELECT_BASES = (
    sa.select(snapshots_table.c.model_version)
    .where(snapshots_table.c.model_version > AFTER, snapshots_table.c.model_version <= UNTIL)
    .order_by(snapshots_table.c.model_version)
    .limit(MOST_SNAPSHOTS_FOLDED)
)

INSERT_STORE = sa.insert(store_table)
UPDATE_SCHEMA_VERSION = sa.update(store_table).values(schema_version=sa.bindparam("version"))
UPDATE_STORE_ID = sa.update(store_table).values(store_id=sa.bindparam("id"))
INSERT_VERSION = sa.insert(versions_table)
INSERT_SNAPSHOT = sa.insert(snapshots_table)
DELETE_VERSIONS = sa.delete(versions_table).where(version_column < BEFORE)
DELETE_SNAPSHOTS = sa.delete(snapshots_table).where(snapshots_table.c.model_version < BEFORE)


@dataclass(frozen=True)
class StoreIdentity:
    """Which store this is: its identity, when it was made (seconds since the epoch), the shape of the network and a
    digest of the weights that it began with (None where an older release made it)."""

    store_id: str
    created_at: float
    network_shape: str
    weights_digest: bytes | None


class StepLog:
    """The log in a database. Safe to use from any number of threads and processes."""

    def __init__(self, database: Database, snapshot_every: int = 500, keep_versions: int | None = None) -> None:
        """Nothing is opened yet."""
        self.snapshot_every = snapshot_every
        self.keep_versions = keep_versions
        self.name = database.name
        self._store_id: str | None = None
        self._database = database
        self.exists = database.exists
        self.head = database.head
        self.is_newest = database.is_newest
        self.follow = database.follow
        self.goes_on_alone = database.goes_on_alone
        self.staleness = database.staleness
        self.release = database.release
        self.close = database.close
        self.opening = database.opening
        self.check_whole = database.check_whole
        self.is_replaced = database.is_replaced
        self.recorded = database.recorded
        self.record = database.record
        self.status = database.status
        self.users = database.users

    @classmethod
    def at(
        cls, url: str, snapshot_every: int = 500, keep_versions: int | None = None, connections: int = 4
    ) -> "StepLog":
        """The log in the database that a URL names. Raises StartupError for a URL that can't be used."""
        return cls(database_at(url, connections), snapshot_every, keep_versions)

    @contextmanager
    def reading(self) -> Iterator["Reader"]:
        """One consistent view of the log. Raises StoreError."""
        with self._database.reading() as session:
            yield Reader(session)

    @contextmanager
    def writing(self, *ahead: tuple[Any, dict[str, Any]]) -> Iterator["Writer"]:
        """The one writer of this moment; what it appended is on the disk when the block has ended, or not there at all.

        ahead: what the writer is sure to read, with its parameters: it comes with the lock. Raises StoreError.
        """
        with self._database.writing() as session:
            if self._store_id is not None:
                session.ahead((SELECT_STORE, {}), (SELECT_NEWEST, {}), *ahead)
            writer = Writer(session, self.snapshot_every, self.keep_versions)
            self.check_identity(writer)
            yield writer

    def check_identity(self, reader: "Reader") -> None:
        """Raises StoreReplacedError for another store than the one that was prepared, in the same place."""
        if self._store_id is not None and reader.identity().store_id != self._store_id:
            raise StoreReplacedError(self._database.replaced)

    def prepare(self, network_shape: str | None, weights_digest: bytes | None = None) -> StoreIdentity:
        """Create the tables or bring them to this release's schema; from here on it is this store and no other.

        network_shape, weights_digest: recorded in a new store. Raises StartupError for a store of a newer release and
        for one that is not a store at all, StoreCorruptError for a damaged one.
        """
        with self.reading() as reader:
            found = reader.schema_version()
        if found != SCHEMA_VERSION:
            with self.writing() as writer:
                writer.migrate(network_shape, weights_digest)
        with self.reading() as reader:
            identity = reader.identity()
        self._store_id = identity.store_id
        self._database.served_as(identity.store_id)
        return identity


def database_at(url: str, connections: int) -> Database:
    """connections: the most of this process, where the database is a server. Raises StartupError."""
    if parsed_url(url).get_backend_name() == "sqlite":
        return SqliteDatabase(database_path(url))
    try:
        from service.store.postgres import PostgresDatabase
    except ImportError:
        raise StartupError(
            "a store on PostgreSQL needs the extra postgres: install twolayernet-service[postgres]"
        ) from None
    return PostgresDatabase(parsed_url(url), connections)


class Reader:
    """What can be asked of the log within one transaction. Every record is held against its digest as it is read."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def schema_version(self) -> int:
        """0 for an empty database. Raises StartupError for a newer schema or for somebody else's tables."""
        tables = self.session.table_names()
        if "store" not in tables:
            if tables:
                raise StartupError(f"the store is a database of something else: it has the tables {', '.join(tables)}")
            return 0
        found = self.session.scalar(SELECT_SCHEMA_VERSION)
        if not isinstance(found, int):
            raise StoreCorruptError("the table store says no schema version")
        if found > SCHEMA_VERSION:
            raise StartupError(
                f"the store was made by a newer release: its schema is {found}, this one knows up to {SCHEMA_VERSION}"
            )
        return found

    def now(self) -> float:
        """Seconds since the epoch, by the clock that all hosts share."""
        return self.session.now()

    def identity(self) -> StoreIdentity:
        row = self.session.execute(SELECT_STORE).fetchone()
        if row is None:
            raise StoreCorruptError("the table store is empty")
        return StoreIdentity(*row)

    def newest(self) -> Record | None:
        """The newest version; None for an empty log."""
        row = self.session.execute(SELECT_NEWEST).fetchone()
        return None if row is None else Record.of_row(row)

    def head(self) -> int:
        """The number of the newest version, 0 for an empty log."""
        newest = self.newest()
        return 0 if newest is None else newest.version.model_version

    def oldest(self) -> int:
        """The oldest version that is kept. On its own: asked for both ends at once, SQLite reads the whole table."""
        return self.session.scalar(SELECT_OLDEST) or 0

    def count(self) -> int:
        """How many versions are kept."""
        return int(self.session.scalar(SELECT_COUNT))

    def latest_snapshot(self, after: int, until: int) -> Entry | None:
        """The newest snapshot of a version in after + 1 … until."""
        row = self.session.execute(SELECT_LATEST_SNAPSHOT, after=after, until=until).fetchone()
        return None if row is None else entry_of(Record.of_row(row[1:]), row[0], None)

    def entries(self, after: int, until: int) -> Iterator[Entry]:
        """What leads from version `after` to `until`, oldest first, one at a time. Raises StoreCorruptError."""
        with closing(self.session.stream(SELECT_ENTRIES, after=after, until=until)) as rows:
            for row in rows:
                yield entry_of(Record.of_row(row[:RECORDS]), row[RECORDS], StoredExamples(*row[RECORDS + 1 :]))

    def steps(self, after: int, until: int) -> Iterator[Step]:
        """The train-steps after + 1 … until, oldest first. Raises StoreCorruptError."""
        with closing(self.session.stream(SELECT_STEPS, after=after, until=until)) as rows:
            for row in rows:
                yield Step.of(Record.of_row(row[:RECORDS]), StoredExamples(*row[RECORDS:]))

    def check(self) -> int:
        """Read all of the log; the number of its newest version. Raises StoreCorruptError for what is not as it was
        written, for a hole, and for a log without a version or without weights to begin with."""
        before: Record | None = None
        for row in self.session.stream(SELECT_ENTRIES, after=0, until=AFTER_ALL):
            record = Record.of_row(row[:RECORDS])
            entry = entry_of(record, row[RECORDS], None)
            number = record.version.model_version
            if before is None:
                if entry.snapshot is None:
                    raise StoreCorruptError("the log holds no weights to begin with")
            elif number != before.version.model_version + 1:
                raise StoreCorruptError(f"version {before.version.model_version + 1} is missing from the log")
            elif record.link.previous != before.link.digest:
                raise StoreCorruptError(f"version {number} does not follow from the one before it")
            if record.version.kind == "train-step" and not stored_is(StoredExamples(*row[RECORDS + 1 :]), record):
                raise StoreCorruptError(f"version {number} is corrupt: its examples are not what was written")
            before = record
        if before is None:
            raise StoreCorruptError("it holds no version")
        return before.version.model_version

    def version(self, model_version: int) -> Record:
        """Raises UnknownVersionError."""
        row = self.session.execute(SELECT_VERSION, version=model_version).fetchone()
        if row is None:
            raise UnknownVersionError(model_version, self.oldest(), self.head())
        return Record.of_row(row)

    def versions(self, limit: int, before: int | None) -> list[Version]:
        """Newest first."""
        rows = self.session.execute(SELECT_VERSIONS, before=AFTER_ALL if before is None else before, most=limit)
        return [Record.of_row(row).version for row in rows]

    def of_key(self, idempotency_key: str) -> Version | None:
        row = self.session.execute(SELECT_OF_KEY, key=idempotency_key).fetchone()
        return None if row is None else Record.of_row(row).version


def asked_of_key(idempotency_key: str) -> tuple[Any, dict[str, Any]]:
    """What `of_key` asks."""
    return SELECT_OF_KEY, {"key": idempotency_key}


def entry_of(record: Record, snapshot: bytes | None, stored: StoredExamples | None) -> Entry:
    """The snapshot where there is one, and the step if it is one. Raises StoreCorruptError for what was not written
    like that."""
    taken = None if not isinstance(snapshot, bytes) else snapshot_digest(snapshot)
    number = record.version.model_version
    if taken != record.link.snapshot_digest:
        raise StoreCorruptError(f"the snapshot of version {number} is corrupt: its digest does not fit")
    is_step = stored is not None and record.version.kind == "train-step"
    return Entry(record, snapshot, Step.of(record, stored) if is_step and stored is not None else None)


class Writer(Reader):
    """What the one writer of the moment can also do."""

    def __init__(self, session: Session, snapshot_every: int, keep_versions: int | None) -> None:
        super().__init__(session)
        self._keep_versions = keep_versions
        self._newest: Record | None = None
        """Known from when it was first asked for: nobody else writes meanwhile."""
        if keep_versions is not None:
            snapshot_every = min(snapshot_every, max(keep_versions, FEWEST_VERSIONS_FOLDED))
        self._snapshot_every = snapshot_every

    def migrate(self, network_shape: str | None, weights_digest: bytes | None) -> None:
        """From whatever schema the database has to this release's.

        Raises StartupError as `schema_version` does, EmptyStoreError for a new store without a network.
        """
        found = self.schema_version()
        if found == 0:
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
            )
            return
        while found < SCHEMA_VERSION:
            found = MIGRATIONS[found](self.session)
        self.session.execute(UPDATE_SCHEMA_VERSION, version=SCHEMA_VERSION)

    def newest(self) -> Record | None:
        if self._newest is None:
            self._newest = super().newest()
        return self._newest

    def identify_anew(self) -> None:
        """From here on it is another store, though it says the same."""
        self.session.execute(UPDATE_STORE_ID, id=secrets.token_hex(16))

    def needs_snapshot(self, version: Version, stored: StoredExamples | None) -> bool:
        """Whether the next version has to come with a snapshot of its weights."""
        if version.kind != "train-step" or version.model_version % self._snapshot_every == 0:
            return True
        newest = self.newest()
        unsnapped = 0 if newest is None else newest.link.unsnapped_bytes
        return stored is not None and unsnapped + len(stored.pixels) > MOST_UNSNAPPED_BYTES

    def append(self, version: Version, stored: StoredExamples | None = None, snapshot: bytes | None = None) -> Record:
        """Add the next version: a train-step with its examples, and a snapshot (a weights file) where it needs one.

        Raises StoreError for a version that is not the next one.
        """
        newest = self.newest()
        expected = 1 if newest is None else newest.version.model_version + 1
        if version.model_version != expected:
            raise StoreError(f"version {version.model_version} can't be written: the next one is {expected}")
        unsnapped = 0
        if snapshot is None:
            unsnapped = (0 if newest is None else newest.link.unsnapped_bytes) + len(stored.pixels if stored else b"")
        link = Link.of(
            version,
            unsnapped,
            None if stored is None else stored.digest(),
            None if snapshot is None else snapshot_digest(snapshot),
            NOTHING_BEFORE if newest is None else newest.link.digest,
        )
        content = NO_EXAMPLES if stored is None else vars(stored)
        self.session.execute(INSERT_VERSION, **vars(version), **vars(link), **content)
        if snapshot is not None:
            self.session.execute(INSERT_SNAPSHOT, model_version=version.model_version, weights=snapshot)
            if self._keep_versions is not None:
                self._fold(version.model_version - self._keep_versions + 1)
        self.session.appended(version.model_version, link.digest)
        self._newest = Record(version, link)
        return self._newest

    def _fold(self, oldest_wanted: int) -> None:
        """Remove what lies before a snapshot at or before `oldest_wanted`: all later versions need no more. It is the
        newest such snapshot, unless there is more to remove than a step may take time for."""
        bases = self.session.execute(SELECT_BASES, after=self.oldest(), until=oldest_wanted)
        for base in [row[0] for row in bases][-1:]:
            self.session.execute(DELETE_VERSIONS, before=base)
            self.session.execute(DELETE_SNAPSHOTS, before=base)


NO_EXAMPLES = dict.fromkeys(StoredExamples.__dataclass_fields__)
