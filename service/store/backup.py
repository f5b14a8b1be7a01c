"""Copies of a store on SQLite: taken while it is served, and restored."""

import fcntl
import math
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from model.atomic_file import private, put_in_place, sync_folder, temporary_folder
from service.errors import StartupError, StoreCorruptError, StoreError
from service.store.log import StepLog
from service.store.sqlite import SqliteDatabase, connect
from service.store.sqlite_file import check_log_belongs, note_numbers, open_sibling, sibling, try_lock
from service.store.url import sqlite_path

SQLITE_MAGIC = b"SQLite format 3\0"
PIECE_BYTES = 1 << 20


def back_up(url: str, target: BinaryIO) -> None:
    """Write one consistent copy of the store, as an SQLite file, while writers go on.

    The copy is checked first. Raises StartupError where there is no store, StoreError for a damaged one, sqlite3.Error,
    OSError.
    """
    path = sqlite_path(url)
    if not path.exists():
        raise StartupError(f"there is no store at {path}")
    if os.access(path.parent, os.W_OK):
        with unused(path) as alone, opened_lock(path) as lock:
            if alone:  # SQLite would write the log of another file into this one
                check_log_belongs(path, lock)
    with temporary_folder(path, path.stat().st_size) as folder:
        copy = folder / "copy.db"
        with closing(connect(path)) as store, closing(sqlite3.connect(copy)) as into:
            store.backup(into)
        with closing(StepLog(SqliteDatabase(copy))) as log:
            log.database.check_whole(math.inf)
            with log.reading() as reader:
                reader.check()
        leave_wal_mode(copy)
        with open(copy, "rb") as file:
            shutil.copyfileobj(file, target, PIECE_BYTES)
        target.flush()


def restore(url: str, source: BinaryIO, check: Callable[[StepLog], int]) -> int:
    """Replace the store by a copy and return its newest version. Nothing changes if the copy can't be used,
    or while a service uses the store. The previous store is kept until the copy is in its place.

    check: returns the newest version of a log, or raises StoreError where it can't be served. Raises StartupError,
    StoreError, sqlite3.Error, OSError.
    """
    path = sqlite_path(url)
    if not path.parent.is_dir():
        raise StartupError(f"the store {path} can't be created: its folder does not exist")
    with not_in_use(path), temporary_folder(path) as folder:
        copy = folder / "copy.db"
        with open(copy, "wb", opener=private) as file:
            shutil.copyfileobj(source, file, PIECE_BYTES)
        try:
            newest = checked(copy, check)
        except (StartupError, StoreError) as error:
            raise type(error)(f"the backup can't be used: {error}") from error
        take_over(copy, path)
    return newest


def checked(copy: Path, check: Callable[[StepLog], int]) -> int:
    """Check a copy, and make it another store than the one that it was taken from, of this release's schema, which
    SQLite syncs; its newest version. Raises StartupError, StoreError."""
    with open(copy, "rb") as file:
        magic = file.read(len(SQLITE_MAGIC))
    if magic != SQLITE_MAGIC:
        raise StoreCorruptError("it is not an SQLite database" if magic else "it is empty")
    with closing(StepLog(SqliteDatabase(copy))) as log:
        log.database.check_whole(math.inf)
        with log.reading() as reader:
            if reader.schema_version() == 0:
                raise StartupError("it is a database without tables")
        log.prepare(None)
        with log.writing() as writer:
            writer.renew_identity()
            newest = writer.check()
        if check(log) != newest:
            raise StoreCorruptError("its newest version can't be reconstructed")
    leave_wal_mode(copy)
    return newest


def leave_wal_mode(path: Path) -> None:
    """One file, without a log next to it, and without a number in its header. Raises sqlite3.Error, also while another
    process has it open."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA user_version = 0")


def take_over(copy: Path, path: Path) -> None:
    """Rename the copy, so that there is a store at every moment. Raises StartupError while another process has the
    previous store open.

    First, that takes in its write-ahead log, which must be gone before the new file is there. Where it is missing or
    too damaged for that, the log is there until the end: a start in between finds it next to another file, and is
    refused.
    """
    if path.exists():
        status = path.stat()
        copy.chmod(stat.S_IMODE(status.st_mode))
        with suppress(PermissionError):
            os.chown(copy, status.st_uid, status.st_gid)
        try:
            leave_wal_mode(path)
        except sqlite3.Error as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise StartupError(
                    f"another process has the store {path} open: stop it first (Litestream would ruin its replica)"
                ) from error
        sibling(path, "journal").unlink(missing_ok=True)  # of a damaged store
        sync_folder(path.parent)
    put_in_place(copy, path)
    for name in ("wal", "shm"):
        sibling(path, name).unlink(missing_ok=True)
    sync_folder(path.parent)
    with opened_lock(path) as lock:
        note_numbers(lock)


@contextmanager
def opened_lock(path: Path) -> Iterator[int]:
    lock = open_sibling(path, "lock")
    try:
        yield lock
    finally:
        os.close(lock)


@contextmanager
def unused(path: Path) -> Iterator[bool]:
    """Whether no service uses the store. If so, none can start to until the block has ended."""
    file = open_sibling(path, "open")
    try:
        yield try_lock(file, fcntl.LOCK_EX)
    finally:
        os.close(file)


@contextmanager
def not_in_use(path: Path) -> Iterator[None]:
    """Raises StartupError while a service uses the store."""
    with unused(path) as alone:
        if not alone:
            raise StartupError(f"a service uses the store {path}: stop it first")
        yield
