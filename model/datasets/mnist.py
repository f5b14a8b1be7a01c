"""The full MNIST, from the network."""

import gzip
import hashlib
import io
import os
import urllib.request
import zlib
from http.client import HTTPException
from pathlib import Path

from model.atomic_file import replacing
from model.datasets.dataset import Dataset, DatasetError
from model.datasets.idx import idx_files

MNIST_MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist/"
MNIST_MIRROR_VARIABLE = "TWOLAYERNET_MNIST_MIRROR"
MNIST_SHA256 = {  # of the decompressed files: mirrors compress them differently
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
SECONDS = 60
"""Timeout of each read from a mirror."""
MOST_BYTES = 1 << 26
"""Limit for a file, compressed or not; MNIST's largest has 47 MB."""


def mnist() -> Dataset:
    """The full MNIST, downloaded once, verified and kept in the user's cache folder. Raises DatasetError."""
    mirror = os.environ.get(MNIST_MIRROR_VARIABLE) or MNIST_MIRROR
    folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "twolayernet"
    for name in MNIST_SHA256:
        path = folder / f"{name}.gz"
        if not path.exists():
            packed = _downloaded(f"{mirror.rstrip('/')}/{path.name}", name)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with replacing(path) as file:
                    file.write(packed)
            except OSError as error:
                raise DatasetError(f"{path} can't be written: {error.strerror}") from error
    return idx_files(folder, "mnist")


def _downloaded(url: str, name: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            packed: bytes = answer.read(MOST_BYTES)
    except (OSError, HTTPException, ValueError) as error:
        raise DatasetError(f"{url} can't be downloaded: {error}") from error
    try:
        digest = hashlib.sha256(gzip.GzipFile(fileobj=io.BytesIO(packed)).read(MOST_BYTES)).hexdigest()
    except (OSError, EOFError, zlib.error):
        digest = "unreadable"
    if digest != MNIST_SHA256[name]:
        raise DatasetError(f"{url} is not the MNIST file of that name (its SHA-256 differs)")
    return packed
