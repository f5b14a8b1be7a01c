"""Verifying a copy of a store: a backup, a Litestream replica, or a database that was restored from one."""

import math
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from model.atomic_file import temporary_folder
from service.errors import StartupError, StoreError
from service.store.log import StepLog
from service.store.records import Record
from service.store.sqlite import FileAtRest
from service.store.sqlite_file import has_content, sibling
from service.store.url import sqlite_path


def verified(log: StepLog, check: Callable[[StepLog], int]) -> Record:
    """Read all of a log, and return its newest version. check: raises StoreError for a log that can't be served. Raises
    StartupError, StoreError."""
    if not log.database.exists():
        raise StartupError("there is no store")
    log.database.check_whole(math.inf)
    with log.reading() as reader:
        if reader.schema_version() == 0:
            raise StartupError("it is a database without tables")
        newest = reader.version(reader.check())
    check(log)
    return newest


def copy_at(name: str) -> StepLog:
    """The log in a backup file, or in the database that a URL names. Raises StartupError."""
    if "://" in name:
        return StepLog.at(name)
    path = Path(os.path.realpath(name))
    if has_content(sibling(path, "wal")):
        raise StartupError(f"{name} has a write-ahead log next to it, so it is no backup: name it with --store")
    return StepLog(FileAtRest(path))


@contextmanager
def fetched(replica: str, needs: int) -> Iterator[StepLog]:
    """What Litestream restores from a replica, in a temporary folder. Raises StartupError, OSError.

    needs: bytes that have to be free.
    """
    with temporary_folder(Path(tempfile.gettempdir()) / "twolayernet", needs) as folder:
        path = folder / "copy.db"
        command = ["litestream", "restore", "-o", str(path), replica]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StartupError(f"the replica {replica} can't be restored: {(done.stderr or done.stdout).strip()}")
        yield StepLog(FileAtRest(path))


def has_versions(url: str) -> bool:
    """Whether a URL names a file that certainly is a store with versions. It is not changed."""
    with suppress(StartupError, StoreError), StepLog(FileAtRest(sqlite_path(url))).reading() as reader:
        return reader.schema_version() > 0 and reader.head() > 0
    return False
