"""Reading .npy and .npz bytes that nobody vouches for: nothing is unpickled, and no size that a header only claims
is allocated."""

import io
import math
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

MOST_ARRAYS = 64


class NpyError(ValueError):
    """The bytes are no .npy or .npz that can be read safely; the message says why."""


def read_npy(data: bytes) -> NDArray[Any]:
    """The array in the bytes of a .npy file; it shares their memory, so it can't be written to.

    Raises NpyError for what is not a .npy file, for an array of Python objects or of records, and for a shape that
    the bytes do not fill exactly.
    """
    stream = io.BytesIO(data)
    try:
        version = npy_format.read_magic(stream)
        if version == (1, 0):
            shape, fortran_order, dtype = npy_format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran_order, dtype = npy_format.read_array_header_2_0(stream)
        else:
            raise NpyError(f"the .npy format version {version[0]}.{version[1]} is not one that is read here")
    except NpyError:
        raise
    except Exception as error:  # numpy raises whatever its header parser met: ValueError, SyntaxError, TokenError …
        raise NpyError("not a .npy file: its header can't be read") from error
    if dtype.hasobject or dtype.names is not None:
        raise NpyError(f"an array of {dtype} is refused: only plain numbers are read")
    if any(size < 0 for size in shape):
        raise NpyError(f"the header's shape {shape} has a negative size")
    claimed = math.prod(shape) * dtype.itemsize
    held = len(data) - stream.tell()
    if claimed != held:
        raise NpyError(f"the header's shape {shape} of {dtype} needs {claimed} bytes, but {held} follow")
    if dtype.itemsize == 0 or claimed == 0:
        return np.empty(shape, dtype)
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran_order else "C")


def read_npz(data: bytes, most_bytes: int) -> dict[str, NDArray[Any]]:
    """The arrays by name in the bytes of a .npz file, as `read_npy` gives them.

    Raises NpyError as `read_npy` does, and when the arrays would unpack to more than `most_bytes` in all.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_ARRAYS:
                raise NpyError(f"the .npz holds {len(entries)} arrays, more than {MOST_ARRAYS}")
            unpacked = sum(entry.file_size for entry in entries)
            if unpacked > most_bytes:
                raise NpyError(f"the .npz unpacks to {unpacked} bytes, more than the limit of {most_bytes}")
            return {entry.filename.removesuffix(".npy"): read_npy(archive.read(entry)) for entry in entries}
    except NpyError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        raise NpyError(f"not a .npz file: {error}") from error
