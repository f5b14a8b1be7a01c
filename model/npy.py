"""Reading .npy and .npz bytes that nobody vouches for: nothing is unpickled, no size that a header only claims is
allocated, and whatever is wrong with them is an NpyError."""

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
"""Of dtypes: truth values, numbers, texts. Not objects, records, dates, durations, raw memory."""

MOST_DIRECTORY_BYTES = 2**17
"""Far more than 64 entries have, or the comment behind them."""

PACKINGS = {zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA", 9: "Deflate64", 93: "Zstandard"}
"""What a ZIP file may be packed with, and is not read here: numpy writes none of them."""

ENCRYPTED = 0x1
LONGEST_REASON = 200


class NpyError(ValueError):
    """The bytes are no .npy or .npz that can be read safely; the message says why."""


def read_npy(data: bytes) -> NDArray[Any]:
    """The array in the bytes of a .npy file; it shares their memory, so it can't be written to.

    Raises NpyError for what is not a .npy file, for an array of anything but plain numbers or text, and for a shape
    that the bytes do not fill exactly.
    """
    stream = io.BytesIO(data)
    try:
        version = npy_format.read_magic(stream)
        if version == (1, 0):
            shape, fortran_order, dtype = npy_format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran_order, dtype = npy_format.read_array_header_2_0(stream)
        else:  # 3.0 is for records whose fields have names that are not Latin
            raise NpyError(f"the .npy format version {version[0]}.{version[1]} is not one that is read here")
    except NpyError:
        raise
    except Exception as error:  # numpy raises whatever its header parser met: ValueError, SyntaxError, TokenError …
        raise NpyError("not a .npy file: its header can't be read") from error
    if dtype.kind not in PLAIN_KINDS or dtype.itemsize == 0:
        raise NpyError(f"an array of {_short(dtype)} is refused: only plain numbers and text are read")
    _check_shape(shape, dtype.itemsize)
    claimed = math.prod(shape) * dtype.itemsize
    held = len(data) - stream.tell()
    if claimed != held:
        raise NpyError(f"the header's shape {_short(shape)} of {dtype} needs {claimed} bytes, but {held} follow")
    if claimed == 0:
        return np.empty(shape, dtype)
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran_order else "C")


def _check_shape(shape: tuple[int, ...], itemsize: int) -> None:
    """Raises NpyError for a shape that no array can have, even one that is empty for a 0 among its sizes."""
    if len(shape) > MOST_DIMENSIONS:
        raise NpyError(f"the header's shape has {len(shape)} dimensions, more than {MOST_DIMENSIONS}")
    if any(type(size) is not int for size in shape):
        raise NpyError(f"the header's shape {_short(shape)} has a size that is no whole number")
    if any(size < 0 for size in shape):
        raise NpyError(f"the header's shape {_short(shape)} has a negative size")
    if math.prod(size or 1 for size in shape) * itemsize >= 2**63:
        raise NpyError(f"the header's shape {_short(shape)} is larger than any memory, but few bytes follow")


def read_npz(data: bytes, most_bytes: int) -> dict[str, NDArray[Any]]:
    """The arrays by name in the bytes of a .npz file, as `read_npy` gives them.

    Raises NpyError as `read_npy` does, and when the arrays would unpack to more than `most_bytes` in all.
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
    except Exception as error:  # zipfile raises whatever it met: BadZipFile, struct.error, UnicodeDecodeError …
        raise NpyError("not a .npz file: it is damaged, or no ZIP archive at all") from error


class _Directory(io.BytesIO):
    """A ZIP file whose directory zipfile reads in one piece, before it makes an object of each entry.

    Counting what looks like an entry would not do: pixels may look like anything.
    """

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
            packing = PACKINGS.get(entry.compress_type, f"method {entry.compress_type}")
            raise NpyError(f"the array {_short(repr(name))} is packed with {packing}, not stored or deflated")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > most_bytes:
        raise NpyError(f"the .npz unpacks to {unpacked} bytes, more than the limit of {most_bytes}")


def _array_name(entry: zipfile.ZipInfo) -> str:
    return entry.filename.removesuffix(".npy")


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """An entry's bytes; never many more than its directory says that there are, whatever is packed in it."""
    stated = entry.file_size
    entry.file_size = stated + 1  # zipfile would cut off without a word what is more
    with archive.open(entry) as member:
        data = member.read(stated + 1)
    if len(data) != stated:
        more_or_less = "more" if len(data) > stated else f"{len(data)}"
        raise NpyError(f"not a .npz file: an array of {stated} bytes, by its directory, unpacks to {more_or_less}")
    return data


def _short(value: object) -> str:
    """For a message: one line that does not go on and on, though a stranger chose what is in it."""
    try:
        text = str(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "(…)"
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}…"
