import gzip
import hashlib
import http.server
import struct
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from model import datasets
from model.datasets import DatasetError, load_dataset


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight training images and four test images of 3 × 2 pixels, in 12 classes, one file gzipped."""
    random = np.random.default_rng(0)
    for prefix, count in (("train", 8), ("t10k", 4)):
        images = random.integers(0, 256, (count, 3, 2), dtype=np.uint8)
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        labels = np.arange(count, dtype=np.uint8) + 4
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path


def test_a_folder_of_idx_files_with_any_shape_and_any_classes(folder: Path) -> None:
    dataset = load_dataset(str(folder))
    assert dataset.image_shape == (3, 2)
    assert dataset.classes == 12
    assert dataset.train.images.shape == (8, 6)
    assert dataset.test.labels.tolist() == [4, 5, 6, 7]


def change(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x00\x00\x08\x01", "begins with 00000801: the magic number should be 00000803"),
        (b"\x00\x00\x08\x03\x00\x00", "truncated: it ends within its header"),
        (idx(np.zeros((8, 3, 2), np.uint8))[:-1], "truncated: its header promises 48 bytes of data, it has 47"),
        (idx(np.zeros((8, 3, 2), np.uint8)) + b"x", "goes on after the 48 bytes"),
        (idx(np.zeros((7, 3, 2), np.uint8)), "holds 7 images, but .* 8 labels"),
        (gzip.compress(idx(np.zeros((8, 3, 2), np.uint8)), mtime=0)[:-12], "train-images-idx3-ubyte"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "truncated: its header promises"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, data: bytes, message: str) -> None:
    (folder / "train-images-idx3-ubyte").write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        load_dataset(str(folder))


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetError, match="has no t10k-labels-idx1-ubyte"):
        load_dataset(str(folder))
    with pytest.raises(DatasetError, match="is not a folder"):
        load_dataset(str(folder / "nowhere"))


def test_the_packaged_digits_are_split_once_and_for_all() -> None:
    dataset = load_dataset("digits")
    assert (len(dataset.train), len(dataset.test), dataset.image_shape, dataset.classes) == (4000, 1000, (28, 28), 10)
    assert np.bincount(dataset.test.labels).tolist() == [100] * 10
    assert hashlib.sha256(dataset.test.images.tobytes()).hexdigest()[:16] == "fb8e189a3c37b5f9"


@pytest.fixture
def mirror(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server of the four files as somebody else packed them, and an empty cache."""
    served = tmp_path / "mirror"
    served.mkdir()
    for name in datasets.MNIST_SHA256:
        plain = folder / name
        data = plain.read_bytes() if plain.exists() else gzip.decompress((folder / f"{name}.gz").read_bytes())
        (served / f"{name}.gz").write_bytes(gzip.compress(data))
        monkeypatch.setitem(datasets.MNIST_SHA256, name, hashlib.sha256(data).hexdigest())
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(served))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv(datasets.MNIST_MIRROR_VARIABLE, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def test_mnist_is_downloaded_once_and_kept(mirror: Path) -> None:
    assert len(load_dataset("mnist").train) == 8
    for path in mirror.iterdir():
        path.unlink()
    assert len(load_dataset("mnist").test) == 4


def test_a_download_that_is_not_mnist_is_refused_and_not_kept(mirror: Path) -> None:
    name = "t10k-labels-idx1-ubyte.gz"
    right = (mirror / name).read_bytes()
    (mirror / name).write_bytes(gzip.compress(b"something else"))
    with pytest.raises(DatasetError, match="SHA-256 differs"):
        load_dataset("mnist")
    (mirror / name).write_bytes(right)
    assert load_dataset("mnist").name == "mnist"


def test_a_mirror_that_lacks_a_file_is_named(mirror: Path) -> None:
    (mirror / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DatasetError, match=r"train-images-idx3-ubyte.gz can't be downloaded"):
        load_dataset("mnist")
