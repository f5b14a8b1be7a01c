"""Copies of the store, taken while it is served, and put back."""

import fcntl
import math
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from model.whole_file import private, put_in_place
from service.errors import StartupError, StoreCorruptError, StoreError
from service.store.log import StepLog
from service.store.sqlite import (
    SqliteDatabase,
    beside,
    check_left_overs,
    connect,
    database_path,
    has_content,
    note_numbers,
    noted_numbers,
    open_beside,
)

SQLITE_MAGIC = b"SQLite format 3\0"
PIECE = 1 << 20
ANOTHER_FILE = 2**31
"""A number that no header has."""


def back_up(url: str, target: BinaryIO) -> None:
    """Write one consistent copy of the store, as an SQLite file. Writers go on meanwhile.

    The copy is checked before it is given out. Raises StartupError where there is no store, StoreError for a damaged
    one, sqlite3.Error, OSError.
    """
    path = database_path(url)
    if not path.exists():
        raise StartupError(f"there is no store at {path}")
    with folder_beside(path) as folder:
        copy = folder / "copy.db"
        look_for_left_overs(path)
        with closing(connect(path)) as store, closing(sqlite3.connect(copy)) as into:
            store.backup(into)
            into.execute("PRAGMA user_version = 0")
            into.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        log = StepLog(SqliteDatabase(copy))
        log.check_whole(math.inf)
        with log.reading() as reader:
            reader.check()
        log.close()
        with closing(sqlite3.connect(copy)) as into:
            into.execute("PRAGMA journal_mode=DELETE")
        with open(copy, "rb") as file:
            shutil.copyfileobj(file, target, PIECE)
        target.flush()


def restore(url: str, source: BinaryIO, check: Callable[[StepLog], int]) -> int:
    """Replace the store by a copy; its newest version. Nothing is changed by a copy that can't be used, nor while a
    service uses the store, and the store before is kept until the copy is in its place.

    check: raises StoreError for a log that can't be served, else its newest version. Raises StartupError, StoreError,
    sqlite3.Error, OSError.
    """
    path = database_path(url)
    if not path.parent.is_dir():
        raise StartupError(f"the store {path} can't be made: its folder does not exist")
    with unused(path), folder_beside(path) as folder:
        copy = folder / "copy.db"
        with open(copy, "wb", opener=private) as file:
            shutil.copyfileobj(source, file, PIECE)
            file.flush()
            os.fsync(file.fileno())
        try:
            newest = checked(copy, check)
        except (StartupError, StoreError) as error:
            raise type(error)(f"the backup can't be used: {error}") from error
        take_over(copy, path)
    return newest


def checked(copy: Path, check: Callable[[StepLog], int]) -> int:
    """The newest version of a copy that is all it should be; from here on it is another store than the one that it was
    taken from, of this release's schema. Raises StartupError, StoreError."""
    if copy.stat().st_size == 0:
        raise StoreCorruptError("it is empty")
    with open(copy, "rb") as file:
        if file.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
            raise StoreCorruptError("it is no SQLite database")
    log = StepLog(SqliteDatabase(copy))
    try:
        log.check_whole(math.inf)
        with log.reading() as reader:
            if reader.schema_version() == 0:
                raise StartupError("it is a database without tables")
        log.prepare(None)
        with log.writing() as writer:
            writer.identify_anew()
            newest = writer.check()
        if check(log) != newest:
            raise StoreCorruptError("its newest version can't be come to")
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("PRAGMA user_version = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            log.close()
            connection.execute("PRAGMA journal_mode=DELETE")
    finally:
        log.close()
    return newest


def take_over(copy: Path, path: Path) -> None:
    """One rename, so that there is a store at every moment; the one before stays, under another name, until then.

    Its write-ahead log is brought into it first. Where it is too damaged for that, the log stays as well, and a start
    in between finds a log beside another file, and says so.
    """
    before, log = beside(path, "before"), beside(path, "wal")
    if path.exists():
        copy.chmod(path.stat().st_mode & 0o777)
        with suppress(sqlite3.Error, StoreError), closing(connect(path)) as store:
            store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        keep(path, before)
        if has_content(log):
            keep(log, beside(before, "wal"))
            note(path, ANOTHER_FILE)
    put_in_place(copy, path)
    for name in (log, beside(path, "shm"), beside(before, "wal"), before):
        name.unlink(missing_ok=True)
    note(path)


def keep(path: Path, name: Path) -> None:
    """The file under another name, too."""
    name.unlink(missing_ok=True)
    try:
        name.hardlink_to(path)
    except OSError:  # not on every file system
        shutil.copy2(path, name)


def note(path: Path, *numbers: int) -> None:
    """In the lock file: the numbers that the store's header may have, none where any will do."""
    lock = open_beside(path, "lock")
    try:
        note_numbers(lock, *numbers)
    finally:
        os.close(lock)


def look_for_left_overs(path: Path) -> None:
    """Raises StartupError for a write-ahead log that is another file's; it would be written into this one."""
    if not os.access(path.parent, os.W_OK):
        return
    with in_use_or_not(path) as alone:
        if alone:
            lock = open_beside(path, "lock")
            try:
                check_left_overs(path, noted_numbers(lock))
            finally:
                os.close(lock)


@contextmanager
def in_use_or_not(path: Path) -> Iterator[bool]:
    """Whether no service uses the store; if so, none can begin to meanwhile."""
    file = open_beside(path, "open")
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        yield alone
    finally:
        os.close(file)


@contextmanager
def unused(path: Path) -> Iterator[None]:
    """While no service uses the store, nor can one begin to. Raises StartupError."""
    with in_use_or_not(path) as alone:
        if not alone:
            raise StartupError(f"a service uses the store {path}: stop it first")
        yield


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        yield Path(folder)
