"""The log's database as an SQLite file.

In WAL mode with synchronous=FULL, a commit has been fsynced when it returns.
"""

import fcntl
import os
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from service.errors import StartupError, StoreBusyError, StoreCorruptError, StoreError, StoreReplacedError
from service.store import sqlite_file, wal_index
from service.store.database import Database, Session, compiled
from service.store.schema import versions_table
from service.store.wal_index import WalIndex
from service.store.write_lock import WriteLock, after_fork_in_child

BUSY_TIMEOUT_SECONDS = 3
CACHE_KIB = 256  # of a connection: SQLite's own 2,000 would fill with a snapshot, which is read once
CHECKED_AT_START_BYTES = 256 * 2**20  # a larger file is not read whole at each start: all that is served is checked

DIALECT = sqlite_dialect(paramstyle="named")
HEAD = str(sa.select(sa.func.max(versions_table.c.model_version)).compile(dialect=DIALECT))


class SqliteSession(Session):
    dialect = DIALECT

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: Any, **parameters: Any) -> sqlite3.Cursor:
        text, constants = compiled(statement, DIALECT)
        return self._connection.execute(text, constants | parameters)

    stream = execute

    def run(self, text: str) -> sqlite3.Cursor:
        return self._connection.execute(text)

    def now(self) -> float:
        return time.time()

    def table_names(self) -> set[str]:
        names = {row[0] for row in self.run("SELECT name FROM sqlite_master WHERE type = 'table'")}
        return {name for name in names if not name.startswith("_litestream_")}  # Litestream keeps two of its own


class Connection(sqlite3.Connection):
    """inode: of the file that was opened; index: the WAL-index, None where there is none; frozen: the appearance of a
    file that is read as one that no process writes."""

    inode: tuple[int, int]
    index: WalIndex | None = None
    frozen: tuple[int, ...] | None = None

    def close(self) -> None:
        super().close()
        if self.index is not None:
            self.index.connections.discard(self)


class SqliteDatabase(Database):
    """The database in the file at a path. Idle connections are kept for the next use."""

    def __init__(self, path: Path, most_bytes: int | None = None) -> None:
        """Nothing is opened yet. most_bytes: limit for the size of the file."""
        self.path = path
        self._most_bytes = most_bytes
        self.name = str(path)
        self.replaced = sqlite_file.REPLACED.format(path=path)
        self._write_lock = WriteLock(sqlite_file.sibling(path, "lock"))
        self._opener: int | None = None  # the thread that has the write lock for a whole start
        self._inode: tuple[int, int] | None = None
        self._numbers: set[int] = set()  # which the file's header may have
        self._checked_mtime = 0  # st_mtime_ns of the file when its header was last checked
        self._seen: tuple[WalIndex, bytes, int] | None = None
        """The WAL-index, its header before the newest version was last read, and that version."""
        self._idle: list[Connection] = []
        self._of_the_parent: list[Connection] = []
        self._held: list[int] = []  # the open file `s.db-open`, locked, from `_hold` on
        weakref.finalize(self, close_all, self._idle)
        weakref.finalize(self, close_files, self._held)
        after_fork_in_child(self._begin_in_a_worker)

    def _begin_in_a_worker(self) -> None:
        """An SQLite connection must neither be used nor closed in a forked process. The worker opens its own at once:
        it then sees all acknowledged versions, even if the file is removed before the first request."""
        self._seen = None
        self._of_the_parent += self._idle
        self._idle.clear()
        if self._inode is not None:
            with suppress(StoreError, sqlite3.Error):  # the first request raises it again
                self._idle.append(self._take())

    def release(self) -> None:
        self._seen = None
        close_all(self._idle)
        with wal_index.opening:
            wal_index.close_unused_indexes()

    def close(self) -> None:
        """After this another store may be restored in its place."""
        self.release()
        close_files(self._held)
        self._write_lock.close()

    def _take(self) -> Connection:
        """A connection to the file that is served. Raises StoreError, sqlite3.Error."""
        with suppress(IndexError):
            connection = self._idle.pop()
            if connection.frozen is None or connection.frozen == sqlite_file.appearance(self.path):
                return connection
            connection.close()
        connection = connect(self.path)
        if self._inode is None:
            self._inode = connection.inode
        elif self._inode != connection.inode:
            connection.close()
            raise StoreReplacedError(self.replaced)
        if self._most_bytes is not None:
            [page_size] = connection.execute("PRAGMA page_size").fetchone()
            connection.execute(f"PRAGMA max_page_count={self._most_bytes // page_size}")
        return connection

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with store_errors(self._most_bytes):
            connection = self._take()
            try:
                yield connection
            finally:
                self._idle.append(connection)

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[SqliteSession]:
        with self._connected() as connection:
            connection.execute(begin)
            try:
                yield SqliteSession(connection)
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # after some errors SQLite has already rolled back
                    connection.execute("ROLLBACK")
                raise

    def head(self) -> int:
        """Every predict asks for it. SQLite is asked only after the WAL-index has changed. Its header is read before
        the newest version is: what is committed in between is seen the next time."""
        seen = self._seen
        try:
            if seen is not None and seen[0].header() == seen[1]:
                return seen[2]
        except ValueError:  # the index was closed by another thread
            pass
        with self._connected() as connection:
            index = connection.index
            header = b"" if index is None else index.header()
            newest: int = connection.execute(HEAD).fetchone()[0] or 0
            self._seen = None if index is None or not wal_index.is_whole(header) else (index, header, newest)
        return newest

    def exists(self) -> bool:
        return self.path.exists()

    def is_newest(self, model_version: int) -> bool:
        return model_version == self.head()

    def status(self) -> dict[str, Any]:
        files = [file for file in (self.path, sqlite_file.sibling(self.path, "wal")) if file.exists()]
        return {"engine": f"SQLite {sqlite3.sqlite_version}", "bytes": sum(file.stat().st_size for file in files)}

    def serves_without_store(self) -> bool:
        """Where the store was removed or replaced: there is no newer version."""
        return self.is_replaced()

    @contextmanager
    def reading(self) -> Iterator[SqliteSession]:
        with self._transaction("BEGIN") as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[SqliteSession]:
        """Raises StoreReplacedError, too, for a file that is not the one that is served."""
        is_opener = self._opener == threading.get_ident()
        with nullcontext() if is_opener else self._write_lock.held(), self._transaction("BEGIN IMMEDIATE") as session:
            self._check_not_replaced()
            yield session

    @contextmanager
    def opening(self) -> Iterator[bool]:
        """Yields whether nothing else uses the store. Creates a file that is missing, and holds it until `close`."""
        if not self.path.parent.is_dir():
            raise StartupError(f"the store {self.path} can't be created: its folder does not exist")
        if not os.access(self.path.parent, os.W_OK) and self.path.exists():
            self._hold_read_only()
            yield True
            return
        with self._write_lock.held() as lock:
            alone = self._hold()
            if alone:  # otherwise the write-ahead log belongs to the services that use the store
                sqlite_file.check_log_belongs(self.path, lock)
            if not self.path.exists():
                sqlite_file.note_numbers(lock)  # those of a store that was removed are not this one's
                with store_errors():
                    sqlite_file.create_file(self.path)
            self._opener = threading.get_ident()
            try:
                yield alone
            finally:
                self._opener = None
            if alone:
                self._write_new_number(lock)
            self._numbers = sqlite_file.noted_numbers(lock)

    def _hold(self) -> bool:
        """Hold the store; whether nothing else does."""
        if self._held:
            return False
        file = sqlite_file.open_sibling(self.path, "open")
        alone = sqlite_file.try_lock(file, fcntl.LOCK_EX)
        if not sqlite_file.try_lock(file, fcntl.LOCK_SH):
            os.close(file)
            raise StoreBusyError("another store is being restored in its place: try again")
        self._held.append(file)
        return alone

    def _hold_read_only(self) -> None:
        """On a read-only disk, which others may write to elsewhere: they must not restore another store there."""
        with suppress(OSError):
            self._held.append(os.open(sqlite_file.sibling(self.path, "open"), os.O_RDONLY | os.O_CLOEXEC))
            sqlite_file.try_lock(self._held[-1], fcntl.LOCK_SH)

    def _write_new_number(self, lock: int) -> None:
        """While somebody reads, SQLite may leave the number in the write-ahead log. Until a checkpoint brings it into
        the file, both numbers are the store's."""
        before, number = sqlite_file.number_of(self.path), secrets.randbelow(2**31 - 1) + 1
        if before is None:
            return
        sqlite_file.note_numbers(lock, before, number)
        with self._connected() as connection:
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if sqlite_file.number_of(self.path) == number:
            sqlite_file.note_numbers(lock, number)

    def is_replaced(self) -> bool:
        """Whether the path leads to no file or to another one, or the file was overwritten: its header then has another
        number, unless with a copy of this store that was made by hand since the last start."""
        if self._inode is None:
            return False
        return sqlite_file.inode_of(self.path) != self._inode or sqlite_file.is_another(self.path, self._numbers)

    def _check_not_replaced(self) -> None:
        """Raises StoreReplacedError. Reads the header only if the file was written to since the last check."""
        try:
            mtime = self.path.stat().st_mtime_ns
        except OSError:
            mtime = 0
        if mtime != self._checked_mtime or sqlite_file.inode_of(self.path) != self._inode:
            if self.is_replaced():
                raise StoreReplacedError(self.replaced)
            self._checked_mtime = mtime

    def check_whole(self, up_to_bytes: float = CHECKED_AT_START_BYTES) -> None:
        if self.path.stat().st_size <= up_to_bytes:
            with self._connected() as connection:
                answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if answer != "ok":
                log = sqlite_file.sibling(self.path, "wal")
                hint = f" (if {log} is the log of another file, move it away)" if sqlite_file.has_content(log) else ""
                raise StoreCorruptError(f"the database is corrupt: {str(answer).splitlines()[-1]}{hint}")


class FileAtRest(SqliteDatabase):
    """A file that no process writes, such as a backup. Reading it leaves it as it is, and creates no other file."""

    def _take(self) -> Connection:
        return self._idle.pop() if self._idle else opened(self.path, "mode=ro&immutable=1")


def connect(path: Path) -> Connection:
    """A connection to an existing database. Raises StoreReplacedError where there is none, sqlite3.Error.

    On a read-only disk, SQLite follows a process that writes elsewhere. Where it can't, and there is no write-ahead log
    that would be missed, the file is read as one that no process writes.
    """
    try:
        return opened(path, "mode=rw")
    except sqlite3.OperationalError:
        if not path.exists():
            raise StoreReplacedError(sqlite_file.REPLACED.format(path=path)) from None
        if os.access(path.parent, os.W_OK):
            raise
    try:
        return opened(path, "mode=ro")
    except sqlite3.OperationalError:
        if sqlite_file.has_content(sqlite_file.sibling(path, "wal")):
            raise
    frozen = sqlite_file.appearance(path)
    connection = opened(path, "mode=ro&immutable=1")
    connection.frozen = frozen
    return connection


def opened(path: Path, options: str) -> Connection:
    before = sqlite_file.inode_of(path)
    with wal_index.opening:
        wal_index.close_unused_indexes()
        connection: Connection = sqlite3.connect(
            f"{path.as_uri()}?{options}",
            uri=True,
            timeout=BUSY_TIMEOUT_SECONDS,
            check_same_thread=False,
            isolation_level=None,
            factory=Connection,
        )
        try:
            connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            if options == "mode=rw":
                connection.execute("PRAGMA journal_mode=WAL")
                # In WAL mode synchronous=NORMAL would lose acknowledged commits at a power cut.
                connection.execute("PRAGMA synchronous=FULL")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if before is None or before != sqlite_file.inode_of(path):
                raise StoreReplacedError(sqlite_file.REPLACED.format(path=path))
        except BaseException:
            connection.close()
            raise
        connection.inode = before
        if options == "mode=rw":
            connection.index = wal_index.map_index(sqlite_file.sibling(path, "shm"), connection)
    return connection


def close_all(connections: list[Connection]) -> None:
    while connections:
        connections.pop().close()


def close_files(files: list[int]) -> None:
    while files:
        os.close(files.pop())


@contextmanager
def store_errors(most_bytes: int | None = None) -> Iterator[None]:
    """Raise SQLite's errors as the service's. most_bytes: limit for the size of the file."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        undecodable = "Could not decode" in str(error)  # the service writes no such text
        if undecodable or name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise StoreCorruptError(f"the database is corrupt: {error}") from error
        if name == "SQLITE_FULL" and most_bytes is not None:
            why = f"the store has its limit of {most_bytes:,} bytes, or the disk is full"
            raise StoreError(f"nothing can be written: {why}") from error
        kind = StoreBusyError if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) else StoreError
        raise kind(f"the database can't be used now: {error}") from error
