"""The append-only log of versions: the truth that every worker follows.

A version is a row: a `load` (weights from outside), a `train-step` (its examples and its rate) or a `rollback`.
Loads, rollbacks and every so many steps carry a snapshot of the weights, so that any version is at most one interval
of steps away from one. Rows are only ever appended; retention removes them from the old end, up to a snapshot.

SQLite in WAL mode with synchronous=FULL: a commit has been fsynced when it returns. Writers, each thread for itself,
queue on a lock file, which the kernel grants about in order and takes back from a process that dies; SQLite's own busy
handler would sleep and let others pass.
"""

import fcntl
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from model.online import OnlineOptimizer
from model.types import IntArray
from service.errors import EmptyStoreError, StartupError, StoreCorruptError, StoreError, UnknownVersionError
from service.waiting import about_to_wait

SCHEMA_VERSION = 1
BUSY_TIMEOUT_MS = 5000
CHECKED_AT_START_BYTES = 256 * 2**20
"""A larger database is not read from end to end at every start; what is served is checked as it is read."""

Kind = Literal["load", "train-step", "rollback"]

metadata = sa.MetaData()

store_table = sa.Table(
    "store",
    metadata,
    sa.Column("schema_version", sa.Integer, nullable=False),
    sa.Column("network_shape", sa.String, nullable=False),
)

versions_table = sa.Table(
    "versions",
    metadata,
    sa.Column("model_version", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("count", sa.Integer),
    sa.Column("loss", sa.Float),
    sa.Column("accuracy", sa.Float),
    sa.Column("learning_rate", sa.Float),
    sa.Column("optimizer", sa.String),
    sa.Column("gradient_norm", sa.Float),
    sa.Column("clip_norm", sa.Float),
    sa.Column("source_version", sa.BigInteger),
    sa.Column("idempotency_key", sa.String),
    sa.Column("request_digest", sa.LargeBinary),
    sa.Column("checksum", sa.BigInteger),
    sa.Column("pixel_type", sa.String),
    sa.Column("labels", sa.LargeBinary),
    sa.Column("pixels", sa.LargeBinary),  # last: SQLite reads what stands before it without touching it
)
sa.Index(
    "versions_idempotency_key",
    versions_table.c.idempotency_key,
    unique=True,
    sqlite_where=versions_table.c.idempotency_key.is_not(None),
    postgresql_where=versions_table.c.idempotency_key.is_not(None),
)

snapshots_table = sa.Table(
    "snapshots",
    metadata,
    sa.Column("model_version", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("weights", sa.LargeBinary, nullable=False),
)

MIGRATIONS: dict[int, list[str]] = {}
"""For each schema version, the statements that lead from it to the next."""

HEAD = "SELECT max(model_version) FROM versions"
"""Asked by every predict, so it goes to the driver itself: 4 µs instead of the 40 µs of a full SQLAlchemy execute."""


@dataclass(frozen=True)
class Version:
    """What is recorded of a version; the fields of a train-step are None for the other kinds.

    created_at: seconds since the epoch; loss, accuracy: of the batch before the step; learning_rate: what the
    gradient was multiplied with, after clipping; clip_norm: the limit, where it cut in; source_version: what a
    rollback went back to.
    """

    model_version: int
    kind: Kind
    created_at: float
    count: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    learning_rate: float | None = None
    optimizer: OnlineOptimizer | None = None
    gradient_norm: float | None = None
    clip_norm: float | None = None
    source_version: int | None = None
    idempotency_key: str | None = None
    request_digest: bytes | None = None


@dataclass(frozen=True)
class Examples:
    """Labelled images as they came: pixels, (n, features), uint8 0…255 or float32 0…1; labels, (n,) class numbers."""

    pixels: NDArray[Any]
    labels: IntArray


@dataclass(frozen=True)
class Step:
    """What is needed to take a train-step again."""

    model_version: int
    learning_rate: float
    optimizer: OnlineOptimizer
    examples: Examples


@dataclass(frozen=True)
class Entry:
    """What leads to a version from the one before it: a snapshot of the weights (a weights file), or a step."""

    model_version: int
    snapshot: bytes | None
    step: Step | None


RECORD_COLUMNS = [versions_table.c[name] for name in Version.__dataclass_fields__]
STEP_COLUMNS = [
    versions_table.c[name]
    for name in ("model_version", "learning_rate", "optimizer", "count", "checksum", "pixel_type", "labels", "pixels")
]
SELECT_ENTRIES = (
    sa.select(snapshots_table.c.weights, versions_table.c.kind, *STEP_COLUMNS)
    .join_from(
        versions_table, snapshots_table, versions_table.c.model_version == snapshots_table.c.model_version, isouter=True
    )
    .where(
        versions_table.c.model_version > sa.bindparam("after"), versions_table.c.model_version <= sa.bindparam("until")
    )
    .order_by(versions_table.c.model_version)
)
INSERT_VERSION = sa.insert(versions_table)


@dataclass(frozen=True)
class Driver:
    """The statements that every step needs, as text for the database's driver: SQLAlchemy's execute costs many times
    what SQLite does."""

    cursor: sqlite3.Cursor
    select_entries: str
    insert_version: str


class StepLog:
    """The log in the database that `url` names. Safe to use from any number of threads and processes."""

    def __init__(self, url: str, snapshot_every: int = 500, keep_versions: int | None = None) -> None:
        """Raises StartupError for a URL that can't be used. Nothing is opened yet."""
        self.snapshot_every = snapshot_every
        self.keep_versions = keep_versions
        self.path = database_path(url)
        self._engine = sa.create_engine(
            url,
            isolation_level="AUTOCOMMIT",  # the transactions below are begun and ended by hand
            paramstyle="named",
            poolclass=sa.pool.NullPool,
            creator=lambda: connect(self.path),
        )
        self._select_entries = str(SELECT_ENTRIES.compile(dialect=self._engine.dialect))
        self._insert_version = str(INSERT_VERSION.compile(dialect=self._engine.dialect))
        self._of_this_thread = threading.local()
        os.register_at_fork(after_in_child=self._forget_connections)

    def _forget_connections(self) -> None:
        """A SQLite connection must not be used across a fork, nor closed there."""
        self._kept_from_parent = self._of_this_thread
        self._of_this_thread = threading.local()

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._of_this_thread, "connection", None)
        if connection is None:
            connection = self._engine.connect()
            self._of_this_thread.connection = connection
            cursor = cast(sqlite3.Connection, connection.connection.driver_connection).cursor()
            self._of_this_thread.cursor = cursor
            self._of_this_thread.driver = Driver(cursor, self._select_entries, self._insert_version)
        return connection

    def release(self) -> None:
        """Close this thread's connection, so that a fork does not carry it over; the next call opens another."""
        connection: Connection | None = getattr(self._of_this_thread, "connection", None)
        if connection is not None:
            self._of_this_thread = threading.local()
            connection.close()

    def head(self) -> int:
        """The newest version, 0 when there is none. Raises StoreError."""
        try:
            cursor: sqlite3.Cursor = self._of_this_thread.cursor
        except AttributeError:
            with store_errors():
                self._connection()
            cursor = self._of_this_thread.cursor
        try:
            newest = cursor.execute(HEAD).fetchone()[0]
        except sqlite3.Error as error:
            raise store_error(error) from error
        return newest or 0

    @contextmanager
    def reading(self) -> Iterator["Reader"]:
        """One consistent view of the log. Raises StoreError."""
        with store_errors(), self._transaction("BEGIN") as (connection, driver):
            yield Reader(connection, driver)

    @contextmanager
    def writing(self) -> Iterator["Writer"]:
        """The one writer of this moment; what it appended is on the disk when the block has ended, or not there at all.

        Raises StoreError.
        """
        with self._lock_file(), store_errors(), self._transaction("BEGIN IMMEDIATE") as (connection, driver):
            yield Writer(connection, driver, self.snapshot_every, self.keep_versions)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[tuple[Connection, Driver]]:
        connection = self._connection()
        driver: Driver = self._of_this_thread.driver
        driver.cursor.execute(begin)
        try:
            yield connection, driver
            driver.cursor.execute("COMMIT")
        except BaseException:
            # After some errors SQLite has rolled back itself, and says so when it is asked again.
            with suppress(sqlite3.Error):
                driver.cursor.execute("ROLLBACK")
            raise

    @contextmanager
    def _lock_file(self) -> Iterator[None]:
        """Opened anew each time: a lock is held by an open file, which a fork would share."""
        try:
            lock = os.open(f"{self.path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"the store's lock file can't be opened: {error.strerror}") from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                about_to_wait()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def prepare(self, network_shape: str | None) -> None:
        """Create the tables or bring them to this release's schema, and check that the database is whole.

        network_shape: recorded in a new store. Raises StartupError for a store of a newer release and for one that is
        not a store at all, StoreCorruptError for a damaged one.
        """
        try:
            with store_errors():
                self._check_whole()
            with self.reading() as reader:
                found = reader.schema_version()
            if found != SCHEMA_VERSION:
                with self.writing() as writer:
                    writer.migrate(network_shape)
        except StoreError as error:
            raise type(error)(f"the store {self.path}: {error}") from error

    def _check_whole(self) -> None:
        if not self.path.exists():
            if not self.path.parent.is_dir():
                raise StartupError(f"the store {self.path} can't be made: its folder does not exist")
            return
        connection = self._connection()
        if self.path.stat().st_size <= CHECKED_AT_START_BYTES:
            answer = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
            if answer != "ok":
                raise StoreCorruptError(f"the database is corrupt: {str(answer).splitlines()[-1]}")


class Reader:
    """What can be asked of the log within one transaction."""

    def __init__(self, connection: Connection, driver: Driver) -> None:
        self._connection = connection
        self._driver = driver

    def schema_version(self) -> int:
        """0 for an empty database. Raises StartupError for a newer schema or for somebody else's tables."""
        tables = set(sa.inspect(self._connection).get_table_names())
        if "store" not in tables:
            if tables:
                raise StartupError(f"the store is a database of something else: it has the tables {', '.join(tables)}")
            return 0
        found = int(self._connection.execute(sa.select(store_table.c.schema_version)).scalar_one())
        if found > SCHEMA_VERSION:
            raise StartupError(
                f"the store was made by a newer release: its schema is {found}, this one knows up to {SCHEMA_VERSION}"
            )
        return found

    def network_shape(self) -> str:
        """The shape that the store began with, such as 784-50-10."""
        return str(self._connection.execute(sa.select(store_table.c.network_shape)).scalar_one())

    def newest(self) -> int:
        """The newest version, 0 for an empty log."""
        newest: int | None = self._driver.cursor.execute(HEAD).fetchone()[0]
        return newest or 0

    def oldest(self) -> int:
        """The oldest version that is kept. On its own: asked for both ends at once, SQLite reads the whole table."""
        return self._connection.execute(sa.select(sa.func.min(versions_table.c.model_version))).scalar() or 0

    def latest_snapshot(self, after: int, until: int) -> tuple[int, bytes] | None:
        """The newest snapshot of a version in after + 1 … until: its version and its weights file."""
        row = self._connection.execute(
            sa.select(snapshots_table)
            .where(snapshots_table.c.model_version > after, snapshots_table.c.model_version <= until)
            .order_by(snapshots_table.c.model_version.desc())
            .limit(1)
        ).one_or_none()
        return None if row is None else (row.model_version, row.weights)

    def entries(self, after: int, until: int) -> Iterator[Entry]:
        """What leads from version `after` to `until`, oldest first. Raises StoreCorruptError."""
        rows = self._driver.cursor.execute(self._driver.select_entries, {"after": after, "until": until})
        for snapshot, kind, *step in rows.fetchall():
            is_step = kind == "train-step" and snapshot is None
            yield Entry(step[0], snapshot, stored_step(*step) if is_step else None)

    def steps(self, after: int, until: int) -> Iterator[Step]:
        """The train-steps after + 1 … until, oldest first. Raises StoreCorruptError."""
        rows = self._connection.execute(
            sa.select(*STEP_COLUMNS)
            .where(
                versions_table.c.model_version > after,
                versions_table.c.model_version <= until,
                versions_table.c.kind == "train-step",
            )
            .order_by(versions_table.c.model_version)
        )
        for row in rows:
            yield stored_step(*row)

    def examples(self, after: int, limit: int) -> list[Step]:
        """The train-steps of versions above `after`, oldest first: whole ones, of `limit` images in all at the most,
        but one at the least if there is any. Raises StoreCorruptError."""
        found: list[Step] = []
        total = 0
        for step in self.steps(after, self.newest()):
            total += len(step.examples.labels)
            if found and total > limit:
                break
            found.append(step)
        return found

    def version(self, model_version: int) -> Version:
        """Raises UnknownVersionError."""
        row = self._connection.execute(
            sa.select(*RECORD_COLUMNS).where(versions_table.c.model_version == model_version)
        ).one_or_none()
        if row is None:
            raise UnknownVersionError(model_version, self.oldest(), self.newest())
        return Version(*row)

    def versions(self, limit: int, before: int | None) -> list[Version]:
        """Newest first."""
        query = sa.select(*RECORD_COLUMNS).order_by(versions_table.c.model_version.desc()).limit(limit)
        if before is not None:
            query = query.where(versions_table.c.model_version < before)
        return [Version(*row) for row in self._connection.execute(query)]

    def of_key(self, idempotency_key: str) -> Version | None:
        row = self._connection.execute(
            sa.select(*RECORD_COLUMNS).where(versions_table.c.idempotency_key == idempotency_key)
        ).one_or_none()
        return None if row is None else Version(*row)


class Writer(Reader):
    """What the one writer of the moment can also do."""

    def __init__(self, connection: Connection, driver: Driver, snapshot_every: int, keep_versions: int | None) -> None:
        super().__init__(connection, driver)
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
            metadata.create_all(self._connection)
            self._connection.execute(
                sa.insert(store_table).values(schema_version=SCHEMA_VERSION, network_shape=network_shape)
            )
            return
        for version in range(found, SCHEMA_VERSION):
            for statement in MIGRATIONS[version]:
                self._connection.exec_driver_sql(statement)
        self._connection.execute(sa.update(store_table).values(schema_version=SCHEMA_VERSION))

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
        self._driver.cursor.execute(self._driver.insert_version, values)
        if snapshot is not None:
            self._connection.execute(
                sa.insert(snapshots_table).values(model_version=version.model_version, weights=snapshot)
            )
            if self._keep_versions is not None:
                self._fold(version.model_version - self._keep_versions + 1)

    def _fold(self, oldest_wanted: int) -> None:
        """Remove what lies before the newest snapshot at or before `oldest_wanted`: all later versions need no more."""
        base = self._connection.execute(
            sa.select(sa.func.max(snapshots_table.c.model_version)).where(
                snapshots_table.c.model_version <= oldest_wanted
            )
        ).scalar()
        if base is not None:
            for table in (versions_table, snapshots_table):
                self._connection.execute(sa.delete(table).where(table.c.model_version < base))


NO_EXAMPLES = dict.fromkeys(("pixel_type", "labels", "pixels", "checksum"))


def database_path(url: str) -> Path:
    """The file behind a SQLite URL. Raises StartupError."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StartupError("the store is not a database URL, such as sqlite:///path/to/file.db") from None
    if parsed.get_backend_name() != "sqlite":
        raise StartupError(f"the store's database {parsed.get_backend_name()} is not supported: sqlite is")
    if not parsed.database or parsed.database == ":memory:":
        raise StartupError("the store needs a file: workers can't share a database in memory")
    return Path(parsed.database)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a database that can be written to, or, on a read-only file system, to one that stays as it is."""
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.OperationalError:
        write_ahead_log = Path(f"{path}-wal")
        left_over = write_ahead_log.exists() and write_ahead_log.stat().st_size > 0
        if left_over or not path.exists() or os.access(path.parent, os.W_OK):
            raise
        return sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, check_same_thread=False)
    # In WAL mode synchronous=NORMAL would lose acknowledged commits at a power cut.
    connection.execute("PRAGMA synchronous=FULL")
    return connection


@contextmanager
def store_errors() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise store_error(error.orig) from error
    except sqlite3.Error as error:
        raise store_error(error) from error


def store_error(error: object) -> StoreError:
    """What the database said, as one of ours."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreCorruptError(f"the database is corrupt: {error}")
    return StoreError(f"the database can't be used now: {error}")


def stored_pixels(pixels: NDArray[Any]) -> bytes:
    return pixels.tobytes()


def stored_labels(labels: IntArray) -> bytes:
    """A byte each, or four where there are classes above 255."""
    return labels.astype("<u1" if labels.max(initial=0) < 256 else "<u4").tobytes()


def checksum(pixels: bytes, labels: bytes, learning_rate: float | None, optimizer: str | None) -> int:
    return zlib.crc32(f"{learning_rate!r} {optimizer}".encode(), zlib.crc32(labels, zlib.crc32(pixels)))


def stored_step(  # noqa: PLR0917  a row, spread out
    model_version: int,
    rate: float,
    optimizer: OnlineOptimizer,
    count: int,
    written: int,
    pixel_type: str,
    labels: bytes,
    pixels: bytes,
) -> Step:
    """The step in a row of STEP_COLUMNS. Raises StoreCorruptError when it is not what was written."""
    if checksum(pixels, labels, rate, optimizer) != written:
        raise StoreCorruptError(f"version {model_version} is corrupt: its checksum does not fit")
    numbers = np.frombuffer(labels, "<u1" if len(labels) == count else "<u4")
    images = np.frombuffer(pixels, pixel_type).reshape(count, -1)
    return Step(model_version, rate, optimizer, Examples(images, numbers.astype(np.intp)))
