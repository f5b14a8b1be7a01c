"""The append-only log of versions: the truth that every worker follows.

A version is a row: a `load` (weights from outside), a `train-step` (its examples and its rate) or a `rollback`.
Loads, rollbacks and every so many steps carry a snapshot of the weights, so that any version is at most one interval
of steps away from one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from service.errors import EmptyStoreError, StartupError, StoreError, UnknownVersionError
from service.store.records import (
    Entry,
    Examples,
    Step,
    Version,
    checksum,
    stored_labels,
    stored_pixels,
    stored_step,
)
from service.store.schema import MIGRATIONS, SCHEMA_VERSION, snapshots_table, store_table, versions_table
from service.store.sqlite import Session, SqliteDatabase

version_column = versions_table.c.model_version
RECORD_COLUMNS = [versions_table.c[name] for name in Version.__dataclass_fields__]
STEP_COLUMNS = [
    versions_table.c[name]
    for name in ("model_version", "learning_rate", "optimizer", "count", "checksum", "pixel_type", "labels", "pixels")
]
AFTER: sa.BindParameter[int] = sa.bindparam("after")
UNTIL: sa.BindParameter[int] = sa.bindparam("until")
BEFORE: sa.BindParameter[int] = sa.bindparam("before")

SELECT_SCHEMA_VERSION = sa.select(store_table.c.schema_version)
SELECT_NETWORK_SHAPE = sa.select(store_table.c.network_shape)
SELECT_NEWEST = sa.select(sa.func.max(version_column))
SELECT_OLDEST = sa.select(sa.func.min(version_column))
SELECT_LATEST_SNAPSHOT = (
    sa.select(snapshots_table)
    .where(snapshots_table.c.model_version > AFTER, snapshots_table.c.model_version <= UNTIL)
    .order_by(snapshots_table.c.model_version.desc())
    .limit(1)
)
SELECT_ENTRIES = (
    sa.select(snapshots_table.c.weights, versions_table.c.kind, *STEP_COLUMNS)
    .join_from(versions_table, snapshots_table, version_column == snapshots_table.c.model_version, isouter=True)
    .where(version_column > AFTER, version_column <= UNTIL)
    .order_by(version_column)
)
SELECT_STEPS = (
    sa.select(*STEP_COLUMNS)
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
SELECT_BASE = sa.select(sa.func.max(snapshots_table.c.model_version)).where(snapshots_table.c.model_version <= UNTIL)

INSERT_STORE = sa.insert(store_table)
UPDATE_SCHEMA_VERSION = sa.update(store_table).values(schema_version=sa.bindparam("version"))
INSERT_VERSION = sa.insert(versions_table)
INSERT_SNAPSHOT = sa.insert(snapshots_table)
DELETE_VERSIONS = sa.delete(versions_table).where(version_column < BEFORE)
DELETE_SNAPSHOTS = sa.delete(snapshots_table).where(snapshots_table.c.model_version < BEFORE)

AFTER_ALL = 2**63 - 1


class StepLog:
    """The log in the database that `url` names. Safe to use from any number of threads and processes."""

    def __init__(self, url: str, snapshot_every: int = 500, keep_versions: int | None = None) -> None:
        """Raises StartupError for a URL that can't be used. Nothing is opened yet."""
        self.snapshot_every = snapshot_every
        self.keep_versions = keep_versions
        self._database = SqliteDatabase(url)
        self.path = self._database.path
        self.head = self._database.head
        self.close = self._database.close

    @contextmanager
    def reading(self) -> Iterator["Reader"]:
        """One consistent view of the log. Raises StoreError."""
        with self._database.reading() as session:
            yield Reader(session)

    @contextmanager
    def writing(self) -> Iterator["Writer"]:
        """The one writer of this moment; what it appended is on the disk when the block has ended, or not there at all.

        Raises StoreError.
        """
        with self._database.writing() as session:
            yield Writer(session, self.snapshot_every, self.keep_versions)

    def prepare(self, network_shape: str | None) -> None:
        """Create the tables or bring them to this release's schema, and check that the database is whole.

        network_shape: recorded in a new store. Raises StartupError for a store of a newer release and for one that is
        not a store at all, StoreCorruptError for a damaged one.
        """
        try:
            self._database.check_whole()
            with self.reading() as reader:
                found = reader.schema_version()
            if found != SCHEMA_VERSION:
                with self.writing() as writer:
                    writer.migrate(network_shape)
        except StoreError as error:
            raise type(error)(f"the store {self.path}: {error}") from error


class Reader:
    """What can be asked of the log within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def schema_version(self) -> int:
        """0 for an empty database. Raises StartupError for a newer schema or for somebody else's tables."""
        tables = self._session.table_names()
        if "store" not in tables:
            if tables:
                raise StartupError(f"the store is a database of something else: it has the tables {', '.join(tables)}")
            return 0
        found = int(self._session.scalar(SELECT_SCHEMA_VERSION))
        if found > SCHEMA_VERSION:
            raise StartupError(
                f"the store was made by a newer release: its schema is {found}, this one knows up to {SCHEMA_VERSION}"
            )
        return found

    def network_shape(self) -> str:
        """The shape that the store began with, such as 784-50-10."""
        return str(self._session.scalar(SELECT_NETWORK_SHAPE))

    def newest(self) -> int:
        """The newest version, 0 for an empty log."""
        return self._session.scalar(SELECT_NEWEST) or 0

    def oldest(self) -> int:
        """The oldest version that is kept. On its own: asked for both ends at once, SQLite reads the whole table."""
        return self._session.scalar(SELECT_OLDEST) or 0

    def latest_snapshot(self, after: int, until: int) -> tuple[int, bytes] | None:
        """The newest snapshot of a version in after + 1 … until: its version and its weights file."""
        row: tuple[int, bytes] | None = self._session.execute(
            SELECT_LATEST_SNAPSHOT, after=after, until=until
        ).fetchone()
        return row

    def entries(self, after: int, until: int) -> Iterator[Entry]:
        """What leads from version `after` to `until`, oldest first. Raises StoreCorruptError."""
        for snapshot, kind, *step in self._session.execute(SELECT_ENTRIES, after=after, until=until):
            is_step = kind == "train-step" and snapshot is None
            yield Entry(step[0], snapshot, stored_step(*step) if is_step else None)

    def steps(self, after: int, until: int) -> Iterator[Step]:
        """The train-steps after + 1 … until, oldest first. Raises StoreCorruptError."""
        for row in self._session.execute(SELECT_STEPS, after=after, until=until):
            yield stored_step(*row)

    def examples(self, after: int, limit: int) -> list[Step]:
        """The train-steps of versions above `after`, oldest first: whole ones, of `limit` images in all at the most,
        but one at the least if there is any. Raises StoreCorruptError."""
        found: list[Step] = []
        total = 0
        for step in self.steps(after, AFTER_ALL):
            total += len(step.examples.labels)
            if found and total > limit:
                break
            found.append(step)
        return found

    def version(self, model_version: int) -> Version:
        """Raises UnknownVersionError."""
        row = self._session.execute(SELECT_VERSION, version=model_version).fetchone()
        if row is None:
            raise UnknownVersionError(model_version, self.oldest(), self.newest())
        return Version(*row)

    def versions(self, limit: int, before: int | None) -> list[Version]:
        """Newest first."""
        rows = self._session.execute(SELECT_VERSIONS, before=AFTER_ALL if before is None else before, most=limit)
        return [Version(*row) for row in rows]

    def of_key(self, idempotency_key: str) -> Version | None:
        row = self._session.execute(SELECT_OF_KEY, key=idempotency_key).fetchone()
        return None if row is None else Version(*row)


class Writer(Reader):
    """What the one writer of the moment can also do."""

    def __init__(self, session: Session, snapshot_every: int, keep_versions: int | None) -> None:
        super().__init__(session)
        self._snapshot_every = snapshot_every
        self._keep_versions = keep_versions

    def migrate(self, network_shape: str | None) -> None:
        """From whatever schema the database has to this release's.

        Raises StartupError as `schema_version` does, EmptyStoreError for a new store without a network.
        """
        found = self.schema_version()
        if found == 0:
            if network_shape is None:
                raise EmptyStoreError
            self._session.create_tables()
            self._session.execute(INSERT_STORE, schema_version=SCHEMA_VERSION, network_shape=network_shape)
            return
        for version in range(found, SCHEMA_VERSION):
            for statement in MIGRATIONS[version]:
                self._session.run(statement)
        self._session.execute(UPDATE_SCHEMA_VERSION, version=SCHEMA_VERSION)

    def needs_snapshot(self, version: Version) -> bool:
        return version.kind != "train-step" or version.model_version % self._snapshot_every == 0

    def append(self, version: Version, examples: Examples | None = None, snapshot: bytes | None = None) -> None:
        """Add the next version: a train-step with its examples, and a snapshot (a weights file) where it needs one."""
        values = {**NO_EXAMPLES, **vars(version)}
        if examples is not None:
            pixels, labels = stored_pixels(examples.pixels), stored_labels(examples.labels)
            values |= {
                "pixel_type": examples.pixels.dtype.str,
                "labels": labels,
                "pixels": pixels,
                "checksum": checksum(pixels, labels, version.learning_rate, version.optimizer),
            }
        self._session.execute(INSERT_VERSION, **values)
        if snapshot is not None:
            self._session.execute(INSERT_SNAPSHOT, model_version=version.model_version, weights=snapshot)
            if self._keep_versions is not None:
                self._fold(version.model_version - self._keep_versions + 1)

    def _fold(self, oldest_wanted: int) -> None:
        """Remove what lies before the newest snapshot at or before `oldest_wanted`: all later versions need no more."""
        base = self._session.scalar(SELECT_BASE, until=oldest_wanted)
        if base is not None:
            self._session.execute(DELETE_VERSIONS, before=base)
            self._session.execute(DELETE_SNAPSHOTS, before=base)


NO_EXAMPLES = dict.fromkeys(("pixel_type", "labels", "pixels", "checksum"))
