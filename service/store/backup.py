"""Copies of the store, taken while it is served, and put back."""

import fcntl
import math
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from service.errors import StartupError, StoreCorruptError, StoreError
from service.store.log import StepLog
from service.store.sqlite import beside, connect, database_path, open_beside

SQLITE_MAGIC = b"SQLite format 3\0"
PIECE = 1 << 20


def back_up(url: str, target: BinaryIO) -> None:
    """Write one consistent copy of the store, as an SQLite file. Writers go on meanwhile.

    Raises StartupError where there is no store, sqlite3.Error, OSError.
    """
    path = database_path(url)
    if not path.exists():
        raise StartupError(f"there is no store at {path}")
    with folder_beside(path) as folder:
        copy = folder / "copy.db"
        with closing(connect(path)) as store, closing(sqlite3.connect(copy)) as into:
            store.backup(into)
            into.execute("PRAGMA user_version = 0")
            into.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
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
        with open(copy, "wb") as file:
            shutil.copyfileobj(source, file, PIECE)
            file.flush()
            os.fsync(file.fileno())
        try:
            newest = checked(copy, check)
        except (StartupError, StoreError) as error:
            raise type(error)(f"the backup can't be used: {error}") from error
        put_in_place(copy, path)
    return newest


def checked(copy: Path, check: Callable[[StepLog], int]) -> int:
    """The newest version of a copy that is all it should be; from here on it is another store than the one that it was
    taken from, of this release's schema. Raises StartupError, StoreError."""
    if copy.stat().st_size == 0:
        raise StoreCorruptError("it is empty")
    with open(copy, "rb") as file:
        if file.read(len(SQLITE_MAGIC)) != SQLITE_MAGIC:
            raise StoreCorruptError("it is no SQLite database")
    log = StepLog(copy)
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


def put_in_place(copy: Path, path: Path) -> None:
    """The store, with its write-ahead log, gets another name, under which it is whole; then the copy gets its name."""
    before = beside(path, "before")
    if path.exists():
        copy.chmod(path.stat().st_mode & 0o777)
        log = beside(path, "wal")
        if log.exists():
            log.replace(beside(before, "wal"))
        path.replace(before)
    beside(path, "shm").unlink(missing_ok=True)
    beside(path, "wal").unlink(missing_ok=True)
    copy.replace(path)
    flush_folder(path.parent)
    for name in (beside(before, "wal"), before):
        name.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """What was renamed in it stays so after a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def unused(path: Path) -> Iterator[None]:
    """While no service uses the store, nor can one begin to. Raises StartupError."""
    file = open_beside(path, "open")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StartupError(f"a service uses the store {path}: stop it first") from None
    finally:
        os.close(file)


@contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        yield Path(folder)
