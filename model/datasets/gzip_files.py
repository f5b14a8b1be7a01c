"""Files that may be gzipped, and may be damaged."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from model.datasets.dataset import MOST_BYTES, DatasetError

GZIP_MAGIC = b"\x1f\x8b"

Readable = BinaryIO | gzip.GzipFile


@contextmanager
def opened(path: Path) -> Iterator[Readable]:
    """A file to read bytes from, decompressed if it is gzipped. Raises DatasetError, also for errors in the block."""
    try:
        with open(path, "rb") as plain:
            packed = plain.read(2) == GZIP_MAGIC
            plain.seek(0)
            yield gzip.GzipFile(fileobj=plain) if packed else plain
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DatasetError(f"{path} can't be read: {reason}") from error


def whole(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """The bytes of a file. Raises DatasetError."""
    try:
        with open(path, "rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise DatasetError(f"{path} can't be read: {error.strerror}") from error
    if len(data) > most_bytes:
        raise DatasetError(f"{path} has more than the limit of {most_bytes} bytes")
    return data
