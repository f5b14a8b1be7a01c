"""The log's database as an SQLite file.

In WAL mode with synchronous=FULL a commit has been fsynced when it returns. Writers queue on a lock file, which the
kernel grants about in order and takes back from a process that dies; SQLite's own busy handler would sleep and let
others pass.
"""

import fcntl
import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.sql.ddl import CreateIndex, CreateTable

from service.errors import StartupError, StoreCorruptError, StoreError
from service.store.schema import metadata, versions_table

BUSY_TIMEOUT_MS = 5000
CHECKED_AT_START_BYTES = 256 * 2**20
"""A larger database is not read from end to end at every start; what is served is checked as it is read."""

DIALECT = sqlite_dialect(paramstyle="named")
Parameters = dict[str, Any]


class Session:
    """A connection within one transaction.

    Statements are written with SQLAlchemy, compiled once, and run by the driver itself: each takes part in a predict
    or a step, and SQLAlchemy's own execute costs ten times what SQLite does.
    """

    _compiled: dict[sa.ClauseElement, tuple[str, Parameters]] = {}  # noqa: RUF012  shared on purpose

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: sa.ClauseElement, **parameters: Any) -> sqlite3.Cursor:
        """statement: one that is kept, so that it is compiled once for all."""
        try:
            text, constants = self._compiled[statement]
        except KeyError:
            compiled = statement.compile(dialect=DIALECT)
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            text = str(compiled)
            self._compiled[statement] = text, constants
        return self._connection.execute(text, constants | parameters)

    def scalar(self, statement: sa.ClauseElement, **parameters: Any) -> Any:
        """The first column of the first row, None where there is no row."""
        row = self.execute(statement, **parameters).fetchone()
        return None if row is None else row[0]

    def table_names(self) -> set[str]:
        return {row[0] for row in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def create_tables(self) -> None:
        for table in metadata.sorted_tables:
            self._connection.execute(str(CreateTable(table).compile(dialect=DIALECT)))
            for index in table.indexes:
                self._connection.execute(str(CreateIndex(index).compile(dialect=DIALECT)))

    def run(self, text: str) -> None:
        self._connection.execute(text)


HEAD = str(sa.select(sa.func.max(versions_table.c.model_version)).compile(dialect=DIALECT))


class SqliteDatabase:
    """The file that a URL names. Safe to use from any number of threads and processes.

    Connections that nobody uses are kept for whoever comes next, so that there are as many as were ever used at once.
    """

    def __init__(self, url: str) -> None:
        """Raises StartupError for a URL that can't be used. Nothing is opened yet."""
        self.path = database_path(url)
        self._idle: list[sqlite3.Connection] = []
        self._of_the_parent: list[sqlite3.Connection] = []
        weakref.finalize(self, close_all, self._idle)
        forget = weakref.WeakMethod(self._forget_connections)
        os.register_at_fork(after_in_child=lambda: (method := forget()) and method())

    def _forget_connections(self) -> None:
        """A SQLite connection must not be used across a fork, nor closed there."""
        self._of_the_parent += self._idle
        self._idle.clear()

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = connect(self.path)
        try:
            yield connection
        except BaseException:
            with suppress(sqlite3.Error):  # after some errors SQLite has rolled back itself, and says so
                connection.execute("ROLLBACK")
            self._idle.append(connection)
            raise
        self._idle.append(connection)

    def close(self) -> None:
        """Close the connections that are not in use: before a fork. The next call opens another."""
        close_all(self._idle)

    def head(self) -> int:
        """The newest version, 0 when there is none. Raises StoreError.

        Asked by every predict: 4 µs.
        """
        try:
            connection = self._idle.pop()
        except IndexError:
            with store_errors():
                connection = connect(self.path)
        try:
            newest = connection.execute(HEAD).fetchone()[0]
        except sqlite3.Error as error:
            raise store_error(error) from error
        finally:
            self._idle.append(connection)
        return newest or 0

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view. Raises StoreError."""
        with store_errors(), self._connected() as connection:
            connection.execute("BEGIN")
            yield Session(connection)
            connection.execute("COMMIT")

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """The one writer of this moment; what was written is on the disk when the block has ended, or not at all.

        Raises StoreError.
        """
        with self._lock_file(), store_errors(), self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield Session(connection)
            connection.execute("COMMIT")

    @contextmanager
    def _lock_file(self) -> Iterator[None]:
        """Opened anew each time: a lock is held by an open file, which a fork would share."""
        try:
            lock = os.open(f"{self.path}-lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"the store's lock file can't be opened: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def check_whole(self) -> None:
        """Raises StartupError where there can be no store, StoreCorruptError for a damaged one."""
        if not self.path.exists():
            if not self.path.parent.is_dir():
                raise StartupError(f"the store {self.path} can't be made: its folder does not exist")
            return
        if self.path.stat().st_size <= CHECKED_AT_START_BYTES:
            with store_errors(), self._connected() as connection:
                answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if answer != "ok":
                raise StoreCorruptError(f"the database is corrupt: {str(answer).splitlines()[-1]}")


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
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.DatabaseError as error:
        connection.close()
        write_ahead_log = Path(f"{path}-wal")
        left_over = write_ahead_log.exists() and write_ahead_log.stat().st_size > 0
        cannot_write = isinstance(error, sqlite3.OperationalError) and not os.access(path.parent, os.W_OK)
        if left_over or not path.exists() or not cannot_write:
            raise
        address = f"{path.absolute().as_uri()}?immutable=1"
        return sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None)
    # In WAL mode synchronous=NORMAL would lose acknowledged commits at a power cut.
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()


@contextmanager
def store_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error) from error


def store_error(error: sqlite3.Error) -> StoreError:
    """What the database said, as one of ours."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return StoreCorruptError(f"the database is corrupt: {error}")
    return StoreError(f"the database can't be used now: {error}")
