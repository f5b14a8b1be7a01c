"""The full MNIST, from the network."""

import gzip
import hashlib
import os
import zlib
from pathlib import Path
from typing import Any, cast

from model.datasets.dataset import Dataset, DatasetError
from model.datasets.idx import idx_files

MNIST_MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"
MNIST_MIRROR_VARIABLE = "TWOLAYERNET_MNIST_MIRROR"
MNIST_SHA256 = {  # of the unpacked files: mirrors pack them differently
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


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
    return idx_files(folder, "mnist")


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
