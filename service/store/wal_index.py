"""The header of SQLite's WAL-index: bytes in memory that every commit changes.

SQLite keeps the index of a database's write-ahead log in `s.db-shm`, which every process that uses the database maps
into its memory. It begins with two copies of a header of 48 bytes, with a counter of changes, the log's length and its
checksum (https://sqlite.org/walformat.html). A commit has written both copies when it returns, so that bytes that have
not changed mean that there is nothing new. To compare them takes no system call, and does not release Python's lock as
a call of SQLite does.
"""

import mmap
import os
import sys
import threading
import weakref
from pathlib import Path

COPY_BYTES = 48
HEADER_BYTES = 2 * COPY_BYTES
FORMAT = (3007000).to_bytes(4, sys.byteorder)

_mapped: "weakref.WeakValueDictionary[tuple[int, int], mmap.mmap]" = weakref.WeakValueDictionary()
_lock = threading.Lock()


def mapped(path: Path, inode: tuple[int, int]) -> mmap.mmap | None:
    """The WAL-index in the file at `path`; None where there is none. inode: of its database.

    To be kept as long as the connection for which it was asked, and no longer. SQLite removes the file only when nobody
    has a connection any more. And to close a file gives up all locks that this process has on it, those of SQLite, too:
    so a database's index is opened once for all of its connections, and closed after the last of them.
    """
    with _lock:
        index = _mapped.get(inode)
        if index is None:
            try:
                file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                index = mmap.mmap(file, HEADER_BYTES, prot=mmap.PROT_READ)
            except (OSError, ValueError):  # the file stays open, for the locks' sake
                return None
            weakref.finalize(index, os.close, file).atexit = False
            _mapped[inode] = index
        return index


def is_whole(header: bytes) -> bool:
    """Whether both copies of a header are the same, in the format that is known here: nobody is writing them, and
    nobody died while writing them."""
    return header[:COPY_BYTES] == header[COPY_BYTES:] and header[: len(FORMAT)] == FORMAT
