"""The files of a store on SQLite, and how a database file is recognised.

Next to `s.db` there are SQLite's own `s.db-wal` and `s.db-shm`, and two of the service: writers queue on `s.db-lock`
(`write_lock.py`), and every service that uses the store holds `s.db-open`, so that no restore replaces it meanwhile.

A database file can be removed, replaced or overwritten while it is served. It is recognised by its inode, by the
identity in its table `store`, and by a number in its header. A service that starts alone writes a new number and notes
it in the lock file, which also reveals a write-ahead log that was left next to another file.
"""

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from model.atomic_file import PRIVATE
from service.errors import StartupError, StoreError

REPLACED = "the store's file {path} was removed or replaced while it was served: nothing more is learnt until a restart"


def sibling(path: Path, name: str) -> Path:
    return path.with_name(f"{path.name}-{name}")


def open_sibling(path: Path, name: str) -> int:
    """An open file next to the store, created where it is missing. Raises StoreError."""
    try:
        return os.open(sibling(path, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
    except OSError as error:
        raise StoreError(f"the file {sibling(path, name)} can't be opened: {error.strerror}") from error


def try_lock(file: int, kind: int) -> bool:
    """Lock an open file, or convert its lock; False where another lock is in the way."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def create_file(path: Path) -> None:
    """An empty database that only its owner can read: SQLite gives its log and index the same mode. Raises StoreError,
    sqlite3.Error."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE))
    except OSError as error:
        raise StoreError(f"the store {path} can't be created: {error.strerror}") from error
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def check_log_belongs(path: Path, lock: int) -> None:
    """Raises StartupError for a write-ahead log without its database. Only while no service uses the store.

    lock: the open lock file, with the numbers of the database that was served last.
    """
    log = sibling(path, "wal")
    if not has_content(log):
        return
    if not path.exists():
        raise StartupError(
            f"the store {path} is gone, but its write-ahead log {log} is there: put back the file that belongs to it, "
            "or move the log away to begin a new store"
        )
    if is_another(path, noted_numbers(lock)):
        raise StartupError(
            f"the store {path} was replaced by another file, and {log} is the write-ahead log of the previous one: "
            f"put the previous file back, or move {log} and {sibling(path, 'shm')} away to serve this one "
            "(twolayernet restore does all of that)"
        )


def number_of(path: Path) -> int | None:
    """The number in a database's header, as the file has it; None where it can't be read: during a checkpoint, and
    after an interrupted one, the header counts pages that are not written yet.

    SQLite reads it, because closing the file here would release the locks that this process has on it.
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
    """The numbers that the header may have; without any, every number will do."""
    os.pwrite(lock, " ".join(map(str, numbers)).ljust(32).encode(), 0)
    os.fsync(lock)


def inode_of(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def appearance(path: Path) -> tuple[int, ...]:
    """What changes when a file is written to or gets a write-ahead log."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, has_content(sibling(path, "wal"))


def has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
