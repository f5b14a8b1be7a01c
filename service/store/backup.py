"""Copies of the store, taken while it is served, and put back."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from service.errors import StartupError, StoreCorruptError
from service.store.log import StepLog
from service.store.sqlite import database_path

PAGES_AT_ONCE = 1000


def back_up(url: str, target: BinaryIO) -> None:
    """Write one consistent copy of the store, as an SQLite file. Writers go on meanwhile.

    Raises StartupError where there is no store, sqlite3.Error, OSError.
    """
    path = database_path(url)
    if not path.exists():
        raise StartupError(f"there is no store at {path}")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        copy = Path(folder) / "copy.db"
        with closing(sqlite3.connect(path)) as store, closing(sqlite3.connect(copy)) as into:
            store.backup(into)
            into.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        send(copy, target)


def restore(url: str, source: BinaryIO) -> int:
    """Replace the store by a copy; its newest version. Nothing is changed by a copy that can't be used.

    The service has to be stopped: it would go on with what it knows. Raises StartupError, StoreError, sqlite3.Error.
    """
    path = database_path(url)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        copy = Path(folder) / "copy.db"
        with open(copy, "wb") as file:
            while piece := source.read(1 << 20):
                file.write(piece)
        if copy.stat().st_size == 0:
            raise StoreCorruptError("the backup is empty")
        checked = StepLog(f"sqlite:///{copy}")
        checked.prepare(None)
        newest = checked.head()
        checked.close()
        with closing(sqlite3.connect(copy)) as backup, closing(sqlite3.connect(path)) as store:
            backup.backup(store, pages=PAGES_AT_ONCE)
            store.execute("PRAGMA journal_mode=WAL")
    return newest


def send(path: Path, target: BinaryIO) -> None:
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            target.write(piece)
    target.flush()
