"""The header of SQLite's WAL-index: bytes in shared memory that every commit changes.

SQLite keeps the index of a database's write-ahead log in `s.db-shm`, which every process that uses the database maps
into memory. The index begins with two copies of a header of 48 bytes (https://sqlite.org/walformat.html). A commit has
written both copies when it returns, so an unchanged header means that nothing was committed. Comparing the bytes takes
no system call and, unlike a call of SQLite, does not release Python's lock.

Closing a file gives up all locks that the process holds on it, including SQLite's. So an index is opened once for all
connections of the process. Once it is unused, it is closed while no connection is being opened: not by the garbage
collector, which may run at any moment.
"""

import mmap
import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakSet

COPY_BYTES = 48
HEADER_BYTES = 2 * COPY_BYTES
FORMAT = (3007000).to_bytes(4, sys.byteorder)

opening = threading.RLock()
"""Held while a connection is opened, from before SQLite takes its locks until its index is mapped."""
os.register_at_fork(before=opening.acquire, after_in_parent=opening.release, after_in_child=opening.release)


@dataclass(frozen=True)
class WalIndex:
    """connections: those that are open."""

    file: int
    memory: mmap.mmap
    connections: WeakSet[object] = field(default_factory=WeakSet)

    def header(self) -> bytes:
        """Raises ValueError once the index is closed."""
        return self.memory[:HEADER_BYTES]


_indexes: dict[tuple[int, int], WalIndex] = {}


def map_index(path: Path, connection: object) -> WalIndex | None:
    """The WAL-index in the file at `path`, None where there is none. Only while `opening` is held."""
    try:
        status = path.stat()
        inode = status.st_dev, status.st_ino
        if inode not in _indexes:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            _indexes[inode] = WalIndex(file, mmap.mmap(file, HEADER_BYTES, prot=mmap.PROT_READ))
    except (OSError, ValueError):  # a file that was opened stays open, for the sake of its locks
        return None
    _indexes[inode].connections.add(connection)
    return _indexes[inode]


def close_unused_indexes() -> None:
    """Only while `opening` is held."""
    for inode, index in list(_indexes.items()):
        if not index.connections:
            del _indexes[inode]
            index.memory.close()
            os.close(index.file)


def is_whole(header: bytes) -> bool:
    """Whether both copies are equal and of the known format, so that no writer is, or died, in the middle of them."""
    return header[:COPY_BYTES] == header[COPY_BYTES:] and header[: len(FORMAT)] == FORMAT
