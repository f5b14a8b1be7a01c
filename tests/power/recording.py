"""What the processes of a service do to the files below a folder, in one order, and when their answers go out."""

import ctypes
import mmap
import os
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).with_name("recorder.c")
TRACE_BYTES = 2**30  # of a sparse file
FIRST = 4096
EVENT = struct.Struct("=IIQqII")


class Operation(IntEnum):
    CREATE = 1
    MKDIR = 2
    WRITE = 3
    TRUNCATE = 4
    FSYNC = 5
    FDATASYNC = 6
    RENAME = 7
    UNLINK = 8
    ANSWER = 9
    MARK = 10
    UNSUPPORTED = 11


@dataclass(frozen=True)
class Event:
    """path: relative to the folder; of ANSWER the request's id, of MARK its text. data: what was written; of RENAME the
    new path. offset: of TRUNCATE the new size. cause: of the sync of a folder, the file whose entry was made or removed
    just before by that process."""

    operation: Operation
    inode: int
    offset: int
    path: str
    data: bytes
    cause: str = ""


class Recorder:
    """Needs a C compiler."""

    def __init__(self, folder: Path, workplace: Path) -> None:
        """folder: whose files are recorded; workplace: another one, for the trace."""
        self.folder, self._trace, library = folder, workplace / "trace", workplace / "recorder.so"
        compiler = [
            os.environ.get("CC", "cc"),
            "-O2",
            "-shared",
            "-fPIC",
            "-o",
            str(library),
            str(SOURCE),
            "-ldl",
            "-lpthread",
        ]
        subprocess.run(compiler, check=True)
        with open(self._trace, "wb") as file:
            file.truncate(TRACE_BYTES)
        self._library = ctypes.CDLL(str(library))
        self._library.power_create(str(self._trace).encode())
        self.environment = {"LD_PRELOAD": str(library), "POWER_ROOT": str(folder), "POWER_TRACE": str(self._trace)}

    def mark(self, text: str) -> None:
        """Record that something has happened now."""
        self._library.power_mark(text.encode())

    def events(self) -> list[Event]:
        """What was recorded so far."""
        with open(self._trace, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as trace:
            return list(events_of(trace, str(self.folder)))


def events_of(trace: mmap.mmap, folder: str) -> Iterator[Event]:
    at, end = FIRST, int.from_bytes(trace[:8], "little")
    causes: dict[int, str] = {}
    while at < end:
        number, process, inode, offset, path_bytes, data_bytes = EVENT.unpack_from(trace, at)
        at += EVENT.size
        path = trace[at : at + path_bytes].decode()
        data = trace[at + path_bytes : at + path_bytes + data_bytes]
        at += path_bytes + data_bytes
        operation = Operation(number)
        path = path.removeprefix(folder).lstrip("/")
        if operation == Operation.RENAME:
            data = data.decode().removeprefix(folder).lstrip("/").encode()
            causes[process] = data.decode()
        elif operation in (Operation.CREATE, Operation.UNLINK):
            causes[process] = path
        is_sync = operation in (Operation.FSYNC, Operation.FDATASYNC)
        yield Event(operation, inode, offset, path, data, causes.get(process, "") if is_sync else "")
