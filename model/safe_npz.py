"""Reading untrusted .npy and .npz data: nothing is unpickled, no memory is allocated for a size that a header only
claims, and every error is an NpyError."""

import io
import math
import zipfile
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

MOST_ARRAYS = 64
MOST_DIMENSIONS = 32
PLAIN_KINDS = "biufcUS"
"""Kinds of dtypes: booleans, numbers and texts, but not objects, records, dates, durations or raw memory."""

MOST_DIRECTORY_BYTES = 2**17
"""Far more than MOST_ARRAYS entries and a comment need."""

ENCRYPTED = 0x1
LONGEST_REASON = 200


class NpyError(ValueError):
    """The data is not an .npy or .npz file that can be read safely; the message says why."""


def read_npy(data: bytes) -> NDArray[Any]:
    """The array in an .npy file. It shares the memory of `data` and is read-only.

    Raises NpyError for data that is not an .npy file, for an array of anything but plain numbers or text, and for a
    shape that does not match the size of the data.
    """
    stream = io.BytesIO(data)
    try:
        version = npy_format.read_magic(stream)
        if version == (1, 0):
            shape, fortran_order, dtype = npy_format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran_order, dtype = npy_format.read_array_header_2_0(stream)
        else:  # 3.0 is for records with field names outside of Latin-1
            raise NpyError(f"the .npy format version {version[0]}.{version[1]} is not supported")
    except NpyError:
        raise
    except Exception as error:  # numpy raises ValueError, SyntaxError, TokenError and more
        raise NpyError("not a .npy file: its header can't be read") from error
    if dtype.kind not in PLAIN_KINDS or dtype.itemsize == 0:
        raise NpyError(f"an array of {_short(dtype)} is refused: only plain numbers and text are read")
    possible = len(shape) <= MOST_DIMENSIONS and all(type(size) is int and size >= 0 for size in shape)
    if not possible or math.prod(size or 1 for size in shape) * dtype.itemsize >= 2**63:
        raise NpyError(f"the header's shape {_short(shape)} is not a possible shape of an array")
    claimed = math.prod(shape) * dtype.itemsize
    held = len(data) - stream.tell()
    if claimed != held:
        raise NpyError(f"the header's shape {_short(shape)} of {dtype} needs {claimed} bytes, but {held} follow")
    if claimed == 0:
        return np.empty(shape, dtype)
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran_order else "C")


def read_npz(data: bytes, most_bytes: int) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by name, as `read_npy` returns them.

    Raises NpyError as `read_npy` does, and if the arrays would unpack to more than `most_bytes` together.
    """
    try:
        stream = _Directory(data)
        with zipfile.ZipFile(stream) as archive:
            stream.most_bytes = len(data)
            entries = archive.infolist()
            _check_entries(entries, most_bytes)
            return {_array_name(entry): read_npy(_unpacked(archive, entry)) for entry in entries}
    except NpyError:
        raise
    except Exception as error:  # zipfile raises BadZipFile, struct.error, UnicodeDecodeError and more
        raise NpyError("not a .npz file: it is damaged or not a ZIP archive") from error


class _Directory(io.BytesIO):
    """A ZIP file with a bounded directory. zipfile reads the directory in one piece before it makes objects of its
    entries, which can't be counted before: pixels may look like entries."""

    most_bytes = MOST_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if len(data) > self.most_bytes:
            raise NpyError(f"the .npz holds more than {MOST_ARRAYS} arrays")
        return data


def _check_entries(entries: list[zipfile.ZipInfo], most_bytes: int) -> None:
    if len(entries) > MOST_ARRAYS:
        raise NpyError(f"the .npz holds {len(entries)} arrays, more than {MOST_ARRAYS}")
    names: set[str] = set()
    for entry in entries:
        name = _array_name(entry)
        if name in names:
            raise NpyError(f"the .npz holds the array {_short(repr(name))} twice")
        names.add(name)
        if entry.flag_bits & ENCRYPTED:
            raise NpyError(f"the array {_short(repr(name))} is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            method = entry.compress_type
            raise NpyError(f"the array {_short(repr(name))} has compression method {method}: expected none or deflate")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > most_bytes:
        raise NpyError(f"the .npz unpacks to {unpacked} bytes, more than the limit of {most_bytes}")


def _array_name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.removesuffix(".npy")


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """The bytes of an entry. Raises NpyError unless they have the size in the directory."""
    stated = entry.file_size
    entry.file_size = stated + 1  # zipfile would silently cut off the rest
    with archive.open(entry) as member:
        data = member.read(stated + 1)
    if len(data) != stated:
        raise NpyError(f"not a .npz file: an array does not unpack to the {stated} bytes in its directory")
    return data


def _short(value: object) -> str:
    """An untrusted value for a message, in one short line."""
    try:
        text = str(value)
    except ValueError:  # a number of more than 4,300 digits
        return "(…)"
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}…"
