"""Files that are written whole or not at all, and that no other user of the machine may read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

PRIVATE = 0o600


def private(path: str, flags: int) -> int:
    """For `open`: a file that is made is its owner's alone."""
    return os.open(path, flags, PRIVATE)


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `target`, on the disk, when the block has ended. Until then, and after an
    error, `target` is what it was. A symbolic link stays one. Raises OSError."""
    place = Path(os.path.realpath(target))
    new = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        with open(new, "wb", opener=private) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        put_in_place(new, place)
    except OSError as error:
        if error.filename is None or os.fspath(error.filename) == os.fspath(new):
            error.filename = os.fspath(target)  # the name that the user gave
        raise
    finally:
        new.unlink(missing_ok=True)


def put_in_place(new: Path, target: Path) -> None:
    """Rename a file that is on the disk, so that it stays renamed after a power cut. Raises OSError."""
    new.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
