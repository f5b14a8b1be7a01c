"""The log's database as an SQLite file.

In WAL mode with synchronous=FULL a commit has been fsynced when it returns. Beside the file `s.db` lie SQLite's own
`s.db-wal` and `s.db-shm`, and two of ours: `s.db-lock`, on which writers queue (`turn.py`), and `s.db-open`, which
every service that uses the store holds, so that nobody restores another one under it.

The file can be taken away or overwritten by somebody who does not ask. It is known by its inode, by the identity in its
table `store`, and by a number in its header, written anew by a service that finds itself alone with it and noted in the
lock file as well: a write-ahead log that was left beside another file is told by that.
"""

import fcntl
import mmap
import os
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from model.whole_file import PRIVATE
from service.errors import StartupError, StoreBusyError, StoreCorruptError, StoreError, StoreReplacedError
from service.store.database import Database, Session, compiled
from service.store.schema import versions_table
from service.store.turn import WriteTurn
from service.store.wal_index import HEADER_BYTES, is_whole, mapped

BUSY_TIMEOUT_SECONDS = 3
CHECKED_AT_START_BYTES = 256 * 2**20
"""A larger database is not read from end to end at every start; what is served is checked as it is read."""

DIALECT = sqlite_dialect(paramstyle="named")

AT_SIGN = ": in a user's name or a password, @ is written %40, : is %3A and / is %2F"
REPLACED = "the store's file {path} was removed or replaced while it was served: nothing more is learnt until a restart"


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
        return {row[0] for row in self.run("SELECT name FROM sqlite_master WHERE type = 'table'")}


class Connection(sqlite3.Connection):
    """frozen: what the file looked like, where it is read as one that nobody changes; index: the header of the
    database's WAL-index, where there is one."""

    inode: tuple[int, int]
    index: mmap.mmap | None = None
    frozen: tuple[int, ...] | None = None

    def close(self) -> None:
        super().close()
        self.index = None  # not before: its file's locks are this connection's


HEAD = str(sa.select(sa.func.max(versions_table.c.model_version)).compile(dialect=DIALECT))


class SqliteDatabase(Database):
    """The file at a path. Safe to use from any number of threads and processes.

    Connections that nobody uses are kept for whoever comes next, so that there are as many as were ever used at once.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is opened yet."""
        self.path = path
        self.name = str(path)
        self.replaced = REPLACED.format(path=path)
        self._turn = WriteTurn(beside(path, "lock"))
        self._opener: int | None = None
        """The thread that has the turn for all of a start."""
        self._inode: tuple[int, int] | None = None
        self._numbers: set[int] = set()
        """What the header of the file may say."""
        self._written = 0
        """When the file had last been written to, in nanoseconds, when its header was looked at."""
        self._seen: tuple[mmap.mmap, bytes, int] | None = None
        """The WAL-index, its header before the newest version was last asked for, and that version."""
        self._idle: list[Connection] = []
        self._of_the_parent: list[Connection] = []
        self._held: list[int] = []
        """The open file `s.db-open`, locked, from `hold` on."""
        weakref.finalize(self, close_all, self._idle)
        weakref.finalize(self, close_files, self._held)
        begin = weakref.WeakMethod(self._begin_in_a_worker)
        os.register_at_fork(after_in_child=lambda: (method := begin()) and method())

    def _begin_in_a_worker(self) -> None:
        """A SQLite connection must not be used across a fork, nor closed there. One of its own, from the beginning,
        lets a worker see all that was acknowledged even if the file is taken away before it is first asked."""
        self._seen = None
        self._of_the_parent += self._idle
        self._idle.clear()
        if self._inode is not None:
            with suppress(StoreError, sqlite3.Error):  # then it is said to whoever asks first
                self._idle.append(self._take())

    def release(self) -> None:
        self._seen = None
        close_all(self._idle)

    def close(self) -> None:
        """Let the store go: somebody may restore another one in its place."""
        self.release()
        close_files(self._held)

    def _take(self) -> Connection:
        """A connection to the file that is served, as it is now. Raises StoreError, sqlite3.Error."""
        try:
            connection = self._idle.pop()
            if connection.frozen is None or connection.frozen == looks(self.path):
                return connection
            connection.close()
        except IndexError:
            pass
        connection = connect(self.path)
        if self._inode is None:
            self._inode = connection.inode
        elif self._inode != connection.inode:
            connection.close()
            raise StoreReplacedError(REPLACED.format(path=self.path))
        return connection

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        connection = self._take()
        try:
            yield connection
        except BaseException:
            with suppress(sqlite3.Error):  # after some errors SQLite has rolled back itself, and says so
                connection.execute("ROLLBACK")
            self._idle.append(connection)
            raise
        self._idle.append(connection)

    def head(self) -> int:
        """The newest version, 0 when there is none. Raises StoreError.

        Every predict asks. SQLite is asked only if the database has changed since the last time, which the header of
        its WAL-index says. The header is looked at first: what is committed in between is seen the next time.
        """
        seen = self._seen
        if seen is not None and seen[0][:HEADER_BYTES] == seen[1]:
            return seen[2]
        try:
            connection = self._take()
            try:
                index = connection.index
                header = b"" if index is None else index[:HEADER_BYTES]
                newest: int = connection.execute(HEAD).fetchone()[0] or 0
                self._seen = None if index is None or not is_whole(header) else (index, header, newest)
            finally:
                self._idle.append(connection)
        except sqlite3.Error as error:
            raise store_error(error) from error
        return newest

    def exists(self) -> bool:
        return self.path.exists()

    def is_newest(self, model_version: int) -> bool:
        return model_version == self.head()

    def status(self) -> dict[str, Any]:
        files = [file for file in (self.path, beside(self.path, "wal")) if file.exists()]
        return {"engine": f"SQLite {sqlite3.sqlite_version}", "bytes": sum(file.stat().st_size for file in files)}

    def goes_on_alone(self) -> bool:
        """Where the store was taken away: nobody can have written a newer version there."""
        return self.is_replaced()

    @contextmanager
    def reading(self) -> Iterator[SqliteSession]:
        with store_errors(), self._connected() as connection:
            connection.execute("BEGIN")
            yield SqliteSession(connection)
            connection.execute("COMMIT")

    @contextmanager
    def writing(self) -> Iterator[SqliteSession]:
        """Raises StoreReplacedError, too, for a file that is not the one that is served."""
        turn = nullcontext(0) if self._opener == threading.get_ident() else self._turn.taken()
        with turn, store_errors(), self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._check_not_replaced()
            yield SqliteSession(connection)
            connection.execute("COMMIT")

    @contextmanager
    def opening(self) -> Iterator[bool]:
        """Gives whether nobody else uses the store. The file is made where there is none; from here on it is held."""
        if not self.path.parent.is_dir():
            raise StartupError(f"the store {self.path} can't be made: its folder does not exist")
        if not os.access(self.path.parent, os.W_OK) and self.path.exists():
            self._hold_as_a_reader()
            yield True
            return
        with self._turn.taken() as lock:
            alone = self._hold()
            if alone:  # else the write-ahead log is that of those who serve it
                check_left_overs(self.path, noted_numbers(lock))
            if not self.path.exists():
                make_database(self.path)
                os.ftruncate(lock, 0)
            self._opener = threading.get_ident()
            try:
                yield alone
            finally:
                self._opener = None
            if alone:
                self._number_anew(lock)
            self._numbers = noted_numbers(lock)

    def _hold(self) -> bool:
        """Hold the store, whether or not others do; True where nobody else does."""
        if self._held:
            return False
        file = open_beside(self.path, "open")
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                alone = False
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise StoreBusyError("another store is being restored in its place: try again") from None
        self._held.append(file)
        return alone

    def _hold_as_a_reader(self) -> None:
        """On a read-only disk, which others may write to elsewhere: they must not restore another store there."""
        with suppress(OSError):
            file = os.open(beside(self.path, "open"), os.O_RDONLY | os.O_CLOEXEC)
            self._held.append(file)
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def _number_anew(self, lock: int) -> None:
        """Write another number into the database's header, and note it in the lock file.

        When it gets from the write-ahead log into the file itself is for SQLite to say, since somebody may be reading:
        until then both numbers are the store's.
        """
        before, number = number_of(self.path), secrets.randbelow(2**31 - 1) + 1
        if before is None:
            return
        note_numbers(lock, before, number)
        with store_errors(), self._connected() as connection:
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if number_of(self.path) == number:
            note_numbers(lock, number)

    def is_replaced(self) -> bool:
        """Whether the path leads to another file than the one that is served, to none, or to one that was written
        over: its header has another number then, unless it is a copy of this very store that was made by hand."""
        if self._inode is None:
            return False
        return inode_of(self.path) != self._inode or is_another(self.path, self._numbers)

    def _check_not_replaced(self) -> None:
        """Raises StoreReplacedError. The header is looked at when the file was written to since the last time."""
        try:
            written = self.path.stat().st_mtime_ns
        except OSError:
            written = 0
        if written != self._written or inode_of(self.path) != self._inode:
            if self.is_replaced():
                raise StoreReplacedError(REPLACED.format(path=self.path))
            self._written = written

    def check_whole(self, up_to_bytes: float = CHECKED_AT_START_BYTES) -> None:
        """Raises StoreCorruptError for a damaged database."""
        if self.path.stat().st_size <= up_to_bytes:
            with store_errors(), self._connected() as connection:
                answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if answer != "ok":
                log = beside(self.path, "wal")
                hint = f" (if the log {log} is another file's, move it aside)" if has_content(log) else ""
                raise StoreCorruptError(f"the database is corrupt: {str(answer).splitlines()[-1]}{hint}")


def database_path(url: str) -> Path:
    """The file behind a SQLite URL, symbolic links followed: a store has one lock, whatever name it goes by.

    Raises StartupError.
    """
    parsed = parsed_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise StartupError("the store is on PostgreSQL: pg_dump makes a backup there, and pg_restore puts it back")
    if parsed.drivername != "sqlite":
        raise StartupError(f"the store's URL names the driver {parsed.drivername}: sqlite:///path/to/file.db is meant")
    if parsed.query:
        raise StartupError(f"the store's URL has the option {next(iter(parsed.query))!r}: none is understood")
    if not parsed.database or parsed.database == ":memory:":
        raise StartupError("the store needs a file: workers can't share a database in memory")
    return Path(os.path.realpath(parsed.database))


def parsed_url(url: str) -> URL:
    """Raises StartupError for what is no URL of a database that is supported."""
    try:
        parsed = make_url(url)
    except ValueError:
        raise StartupError(
            f"the store's URL {without_password(url)!r} has a port that is not a number{AT_SIGN}"
        ) from None
    except ArgumentError:
        raise StartupError(
            f"the store (--store, TWOLAYERNET_STORE) is {without_password(url)!r}: "
            "expected a database URL, such as sqlite:///path/to/file.db"
        ) from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise StartupError(
            f"the store's database {parsed.get_backend_name()} is not supported: sqlite is, and postgresql"
        )
    if parsed.get_backend_name() == "postgresql" and url.partition("?")[0].count("@") > 1:
        raise StartupError(f"the store's URL {without_password(url)!r} has more than one @{AT_SIGN}")
    return parsed


def without_password(url: str) -> str:
    """What may be shown of a text that should be a URL: of what stands before an @ or behind a ?, nothing."""
    scheme, found, rest = url.rpartition("@")
    shown = rest.partition("?")[0]
    return f"{scheme.partition('//')[0].partition(':')[0]}://***@{shown}" if found else shown


def beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name}-{name}")


def open_beside(path: Path, name: str) -> int:
    """An open file beside the store. Raises StoreError."""
    try:
        return os.open(beside(path, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    except OSError as error:
        raise StoreError(f"the file {beside(path, name)} can't be opened: {error.strerror}") from error


def connect(path: Path) -> Connection:
    """A connection to a database that is there. Raises StoreReplacedError where it is not, sqlite3.Error.

    Where the disk can't be written to, it is read together with whoever writes it elsewhere; as a file that stays as
    it is only if that can't be done and there is no write-ahead log to be missed.
    """
    try:
        return opened(path, "mode=rw")
    except sqlite3.OperationalError:
        if not path.exists():
            raise StoreReplacedError(REPLACED.format(path=path)) from None
        if os.access(path.parent, os.W_OK):
            raise
    try:
        return opened(path, "mode=ro")
    except sqlite3.OperationalError:
        if has_content(beside(path, "wal")):
            raise
    appearance = looks(path)
    connection = opened(path, "mode=ro&immutable=1")
    connection.frozen = appearance
    return connection


def opened(path: Path, options: str) -> Connection:
    before = inode_of(path)
    connection: Connection = sqlite3.connect(
        f"{path.as_uri()}?{options}",
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        check_same_thread=False,
        isolation_level=None,
        factory=Connection,
    )
    try:
        if options == "mode=rw":
            connection.execute("PRAGMA journal_mode=WAL")
            # In WAL mode synchronous=NORMAL would lose acknowledged commits at a power cut.
            connection.execute("PRAGMA synchronous=FULL")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if before is None or before != inode_of(path):
            raise StoreReplacedError(REPLACED.format(path=path))
    except BaseException:
        connection.close()
        raise
    connection.inode = before
    if options == "mode=rw":
        connection.index = mapped(beside(path, "shm"), before)
    return connection


def make_database(path: Path) -> None:
    """An empty one, in WAL mode, its owner's alone: SQLite gives its log and index the same mode. Raises StoreError."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE))
    except OSError as error:
        raise StoreError(f"the store {path} can't be made: {error.strerror}") from error
    with store_errors(), closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def check_left_overs(path: Path, noted: set[int]) -> None:
    """Raises StartupError for a write-ahead log that was left behind without its store. Only while nobody serves it.

    noted: the numbers that the header of the database that was served last may have.
    """
    log = beside(path, "wal")
    if not has_content(log):
        return
    if not path.exists():
        raise StartupError(
            f"the store {path} is gone, but its write-ahead log {log} is there: put the file back that belongs to it, "
            "or move the log aside to begin a new store"
        )
    if is_another(path, noted):
        raise StartupError(
            f"the store {path} was replaced by another file, and the write-ahead log {log} of the one before lies "
            f"beside it: put the one before back, or move {log} and {beside(path, 'shm')} aside to serve this file "
            "(twolayernet restore does it all)"
        )


def number_of(path: Path) -> int | None:
    """The number in a database's header, as it stands in the file; None where it can't be told: while a checkpoint
    writes the file, or after one was broken off, its header speaks of pages that are not there yet.

    Read by SQLite: to open and close the file otherwise would take away the locks that this process has on it.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error:
        return None


def is_another(path: Path, numbers: set[int]) -> bool:
    """Whether a database's header certainly has none of the numbers, where there are any."""
    return bool(numbers) and number_of(path) not in (None, *numbers)


def noted_numbers(lock: int) -> set[int]:
    """What `note_numbers` wrote; nothing in a new lock file."""
    return {int(word) for word in os.pread(lock, 64, 0).split() if word.isdigit()}


def note_numbers(lock: int, *numbers: int) -> None:
    os.pwrite(lock, " ".join(map(str, numbers)).ljust(32).encode(), 0)
    os.fsync(lock)


def looks(path: Path) -> tuple[int, ...]:
    """What changes when a file is written to or gets a write-ahead log."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, has_content(beside(path, "wal"))


def inode_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def close_all(connections: list[Connection]) -> None:
    while connections:
        connections.pop().close()


def close_files(files: list[int]) -> None:
    while files:
        os.close(files.pop())


@contextmanager
def store_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error) from error


def store_error(error: sqlite3.Error) -> StoreError:
    """What the database said, as one of ours."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or "Could not decode" in str(error):  # no such text written
        return StoreCorruptError(f"the database is corrupt: {error}")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StoreBusyError(f"the database can't be used now: {error}")
    return StoreError(f"the database can't be used now: {error}")
