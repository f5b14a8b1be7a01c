"""Files that are written whole or not at all, and that only their owner may read."""

import errno
import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

PRIVATE = 0o600


def private(path: str, flags: int) -> int:
    """An opener for `open`: only the owner may read a new file."""
    return os.open(path, flags, PRIVATE)


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A new file that replaces `target` when the block ends, durably. Until then, and after an error, `target` is
    unchanged. A symbolic link is followed. Raises OSError."""
    place = Path(os.path.realpath(target))
    try:
        with temporary_folder(place) as folder:
            with open(folder / "new", "wb", opener=private) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            put_in_place(folder / "new", place)
    except OSError as error:
        if error.filename is None or os.fspath(error.filename).startswith(os.fspath(place.with_name(prefix_of(place)))):
            error.filename = os.fspath(target)  # the name that the user gave
        raise


@contextmanager
def temporary_folder(place: Path, needs: int = 0) -> Iterator[Path]:
    """A folder next to `place`, removed at the end, along with those that killed processes have left.

    needs: bytes that have to be free, so that the disk is not filled for others. Raises OSError.
    """
    prefix = prefix_of(place)
    for left in place.parent.glob(f"{glob.escape(prefix)}*/lock"):
        with suppress(OSError), open(left, "rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.parent)
    if needs and (free := shutil.disk_usage(place.parent).free) < needs:
        raise OSError(errno.ENOSPC, f"{needs} bytes are needed and {free} are free", os.fspath(place.parent))
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place.parent) as name:
        folder = Path(name)
        with open(folder / "unlocked", "wb") as lock:
            with suppress(OSError):  # on a file system without locks, nothing is removed
                fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / "unlocked").rename(folder / "lock")
            yield folder


def prefix_of(place: Path) -> str:
    return f".{place.name}."


def put_in_place(new: Path, target: Path) -> None:
    """Rename a file durably: the new name survives a power cut. Raises OSError."""
    new.replace(target)
    sync_folder(target.parent)


def sync_folder(path: Path) -> None:
    """Make durable which files the folder has. Raises OSError."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
