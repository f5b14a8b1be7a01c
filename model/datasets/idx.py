"""IDX files: MNIST's own format."""

import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.datasets.dataset import MOST_BYTES, Dataset, DatasetError, Split
from model.datasets.gzip_files import Readable, opened
from model.datasets.splits import with_test_set

UNSIGNED_BYTE = 0x08
"""The type code in an IDX file's magic number; the byte after it is the number of dimensions."""


def holds_idx_files(folder: Path) -> bool:
    """Whether the folder has any IDX file."""
    return any(folder.glob("*-ubyte")) or any(folder.glob("*-ubyte.gz"))


def idx_files(folder: Path, name: str) -> Dataset:
    """A folder with four files named as MNIST's, gzipped or not. Without a t10k file, a part of each class is held out.
    Raises DatasetError."""
    train, image_shape = _read_split(folder, "train")
    if not any(folder.glob("t10k*")):
        return with_test_set(name, train, image_shape)
    test, test_shape = _read_split(folder, "t10k")
    if image_shape != test_shape:
        raise DatasetError(f"{folder}: the training images are {image_shape}, the test images {test_shape}")
    return Dataset(name, train, test, image_shape)


def _read_split(folder: Path, prefix: str) -> tuple[Split, tuple[int, int]]:
    images_path = _find(folder, f"{prefix}-images", 3)
    labels_path = _find(folder, f"{prefix}-labels", 1)
    images = read_idx(images_path, dimensions=3)
    labels = read_idx(labels_path, dimensions=1)
    if len(images) != len(labels):
        raise DatasetError(f"{images_path} holds {len(images)} images, but {labels_path} {len(labels)} labels")
    count, rows, columns = images.shape
    return Split(images.reshape(count, rows * columns), labels), (rows, columns)


def _find(folder: Path, stem: str, dimensions: int) -> Path:
    names = [f"{stem}{separator}idx{dimensions}-ubyte{end}" for separator in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DatasetError(f"{folder} has no {names[0]}, gzipped or not")


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, gzipped or not.

    The format: two zero bytes, a type code, the number of dimensions, each dimension as a big-endian 32-bit number,
    then the data. Raises DatasetError for another format and for a file of the wrong size.
    """
    with opened(path) as file:
        magic, expected = file.read(4), bytes([0, 0, UNSIGNED_BYTE, dimensions])
        if magic != expected:
            raise DatasetError(
                f"{path} begins with {magic.hex() or 'nothing'}: the magic number should be {expected.hex()}"
            )
        header = file.read(4 * dimensions)
        if len(header) < 4 * dimensions:
            raise DatasetError(f"{path} is truncated: it ends within its header")
        shape = struct.unpack(f">{dimensions}I", header)
        promised = math.prod(shape)
        if promised == 0:
            raise DatasetError(f"{path} is empty: its header has the shape {' × '.join(map(str, shape))}")
        if promised > MOST_BYTES:
            raise DatasetError(
                f"{path}: its header promises {promised} bytes of data, more than the limit of {MOST_BYTES}"
            )
        data = _read_at_most(file, promised + 1)
    if len(data) < promised:
        raise DatasetError(f"{path} is truncated: its header promises {promised} bytes of data, it has {len(data)}")
    if len(data) > promised:
        raise DatasetError(f"{path} goes on after the {promised} bytes of data that its header promises")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_at_most(file: Readable, most: int) -> bytes:
    """Read in pieces, so that a forged header can't allocate more memory than the file has bytes."""
    pieces = []
    while most > 0 and (piece := file.read(min(most, 1 << 24))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)
