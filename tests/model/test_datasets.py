import gzip
import hashlib
import http.server
import struct
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from model import datasets
from model.datasets import Dataset, DatasetError, Split, load_dataset
from model.datasets.splits import validation_split, with_test_set


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
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "its header promises .* more than the limit"),
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
    with pytest.raises(DatasetError, match=r"nowhere does not exist: expected digits"):
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


def test_a_folder_without_a_test_set_holds_a_part_of_each_class_out(folder: Path) -> None:
    for path in folder.glob("t10k*"):
        path.unlink()
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(8, dtype=np.uint8) % 2)))
    dataset = load_dataset(str(folder))
    assert len(dataset.train) + len(dataset.test) == 8
    assert set(dataset.test.labels) == set(dataset.train.labels) == {0, 1}


RANDOM = np.random.default_rng(3)
IMAGES = RANDOM.integers(0, 256, (60, 2, 3), dtype=np.uint8)
LABELS = np.arange(60) % 3


def saved(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def in_order(dataset: Dataset) -> list[tuple[bytes, int]]:
    """All the images and their labels, whatever side they are on."""
    both = dataset.train + dataset.test
    return sorted((image.tobytes(), int(label)) for image, label in zip(both.images, both.labels, strict=True))


EXPECTED = sorted((image.tobytes(), int(label)) for image, label in zip(IMAGES, LABELS, strict=True))


@pytest.mark.parametrize(
    "x",
    [IMAGES, IMAGES.reshape(60, 6), IMAGES[..., None], IMAGES[:, None], IMAGES.astype(">i8"), IMAGES / 255 * 1.0000001],
    ids=["rows", "flat", "channel last", "channel first", "wide", "floats"],
)
@pytest.mark.parametrize(
    "t", [LABELS, LABELS[:, None], np.eye(3)[LABELS], LABELS * 1.0], ids=["numbers", "column", "one-hot", "floats"]
)
def test_an_npz_of_images_in_any_of_the_usual_forms(tmp_path: Path, x: np.ndarray, t: np.ndarray) -> None:
    dataset = load_dataset(saved(tmp_path / "data.npz", x=x, t=t))
    assert in_order(dataset) == EXPECTED
    assert dataset.image_shape == ((1, 6) if x.ndim == 2 else (2, 3))
    assert set(dataset.test.labels) == {0, 1, 2}


def test_an_npz_as_keras_has_it_keeps_its_test_set(tmp_path: Path) -> None:
    dataset = load_dataset(
        saved(tmp_path / "m.npz", x_train=IMAGES[:50], y_train=LABELS[:50], x_test=IMAGES[50:], y_test=LABELS[50:])
    )
    assert (dataset.train.labels == LABELS[:50]).all()
    assert (dataset.test.images == IMAGES[50:].reshape(10, 6)).all()
    assert (dataset.name, dataset.label_names) == ("m.npz", None)


def test_names_in_place_of_numbers_are_kept(tmp_path: Path) -> None:
    names = np.array(["dog", "cat", "owl"])
    named = load_dataset(saved(tmp_path / "a.npz", x=IMAGES, t=names[LABELS]))
    assert named.label_names == ("cat", "dog", "owl")
    assert in_order(named) == sorted((image, (1, 0, 2)[label]) for image, label in EXPECTED)
    stated = load_dataset(saved(tmp_path / "b.npz", x=IMAGES, t=LABELS, label_names=names))
    assert stated.label_names == ("dog", "cat", "owl")
    assert in_order(stated) == EXPECTED


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": None}, "data.npz: the array x_train is missing: expected x and t, or .*the file has 't'"),
        ({"t": None}, "the array t is missing"),
        ({"x": IMAGES.astype(object)}, "data.npz: an array of object is refused"),
        ({"x": IMAGES[..., None].repeat(3, 3)}, r"x is uint8 \(60, 2, 3, 3\): expected"),
        ({"x": IMAGES.astype(float)}, r"x: row 0, pixel 0 is \d+.0: floats are pixels 0…1"),
        ({"x": np.where(np.arange(6) < 5, 0.5, np.nan)[None].repeat(60, 0)}, "row 0, pixel 5 is nan"),
        ({"x": IMAGES.astype(int) + 1}, "is 256: whole numbers are pixels 0…255"),
        ({"x": IMAGES // 128}, "no pixel is above 1"),
        ({"t": LABELS[1:]}, r"t is int64 \(59,\): expected 60 class numbers"),
        ({"t": LABELS - 1}, "t: row 0 is -1: expected a class number 0…255"),
        ({"t": LABELS + 0.5}, "t: row 0 is 0.5"),
        ({"t": LABELS * 200}, "t: row 2 is 400"),
        ({"t": np.eye(3)[LABELS] * 0.5}, "t: row 0 is not one-hot"),
        ({"t": np.array([f"c{i % 30}" * 60 for i in range(60)])}, "characters"),
        ({"label_names": np.array(["a", "b"])}, "row 2 is 2, but there are only 2 names of classes"),
        ({"label_names": np.array(["a", "b", "b"])}, "label_names has 'b' twice"),
        ({"label_names": np.arange(3)}, "label_names is int64"),
    ],
)
def test_what_is_wrong_in_an_npz_is_named(tmp_path: Path, changed: dict[str, np.ndarray | None], message: str) -> None:
    arrays = {"x": IMAGES, "t": LABELS, **changed}
    with pytest.raises(DatasetError, match=message):
        load_dataset(saved(tmp_path / "data.npz", **{name: a for name, a in arrays.items() if a is not None}))


def test_an_npz_that_would_unpack_to_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(1 << 20))
    data = bytearray((tmp_path / "bomb.npz").read_bytes())
    at = data.index(b"PK\x01\x02") + 24  # the size in the directory
    data[at : at + 4] = (0xF0000000).to_bytes(4, "little")
    (tmp_path / "bomb.npz").write_bytes(data)
    with pytest.raises(DatasetError, match=r"bomb\.npz: the \.npz unpacks to 4026531840 bytes, more than the limit"):
        load_dataset(str(tmp_path / "bomb.npz"))


def lines(order: list[int], header: str | None, labels: list[str]) -> str:
    """A CSV of IMAGES; order: of the columns, 0 being the label."""
    rows = [[label, *map(str, image.ravel())] for image, label in zip(IMAGES, labels, strict=True)]
    text = [header] if header is not None else []
    return "\n".join([*text, *(",".join(row[i] for i in order) for row in rows)]) + "\n"


NUMBERS = [str(label) for label in LABELS]
KAGGLE = "label,pixel0,pixel1,pixel2,pixel3,pixel4,pixel5"


@pytest.mark.parametrize(
    "text",
    [
        lines(list(range(7)), KAGGLE, NUMBERS),
        lines(list(range(7)), None, NUMBERS),
        lines(list(range(7)), "Label,0,1,2,3,4,5", NUMBERS),
        lines([1, 2, 3, 4, 5, 6, 0], "a,b,c,d,e,f,Label", NUMBERS),
        lines(list(range(7)), "digit,1x1,1x2,1x3,2x1,2x2,2x3", NUMBERS),
        "\ufeff" + lines(list(range(7)), KAGGLE.replace("label", '"label"'), NUMBERS).replace("\n", "\r\n") + "\r\n",
        "," + lines(list(range(7)), KAGGLE, [f"{i},{label}" for i, label in enumerate(NUMBERS)]),
        lines(list(range(7)), KAGGLE, NUMBERS).replace("\n", "\r"),
        lines(list(range(7)), KAGGLE, NUMBERS).replace(",255\n", ",255.0\n").replace(",0\n", ",0.0\n"),
    ],
    ids=[
        "Kaggle",
        "no header",
        "header of numbers",
        "label last",
        "label first",
        "quoted, CRLF, a mark",
        "numbered by pandas",
        "lines that end in CR",
        "floats",
    ],
)
def test_a_csv_with_its_label_first_or_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(text.encode())
    assert in_order(load_dataset(str(path))) == EXPECTED
    packed = tmp_path / "train.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert in_order(load_dataset(str(packed))) == EXPECTED


def test_a_csv_whose_labels_are_names(tmp_path: Path) -> None:
    path = tmp_path / "animals.csv"
    path.write_text(lines(list(range(7)), None, [("owl", "cat", "dog")[label] for label in LABELS]))
    dataset = load_dataset(str(path))
    assert dataset.label_names == ("cat", "dog", "owl")
    assert in_order(dataset) == sorted((image, (2, 0, 1)[label]) for image, label in EXPECTED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds nothing"),
        ("label,a,b\n", "holds no image"),
        ("7\n8\n", "the first line has 1 column"),
        ("7;0;255\n", "the first line has 1 column"),
        ("pixel0,pixel1,pixel2\n1,2,3\n", "no column is named label, and the first, 'pixel0', is not one of labels"),
        ("1,2,3\n1,2\n", "line 2 has 2 columns: expected 3"),
        ("1,2,3\n\n1,2,256\n", "line 3, pixel 1 is '256': expected a whole number 0…255"),
        ("1,2,3\n1,0.5,3\n", "line 2, pixel 0 is '0.5'"),
        ("1,2,3\n1,,3\n", "line 2, pixel 0 is ''"),
        ("1,2,3\n1,nan,3\n", "line 2, pixel 0 is 'nan'"),
        ("1,2,3\n300,2,3\n", "the column of labels: the label 300 is not a class number 0…255, or a name"),
        ("1,2,3\n,2,3\n", "the column of labels: the label name ''"),
        ('1,2,3\n"1,2,3\n', "line 2 is not CSV"),
        ("1,0,1\n2,1,1\n", "no pixel is above 1"),
        ("1,2,3\n", "1 images are too few to hold some out"),
        ("1,2,3\n" + "".join(f"c{i},2,3\n" for i in range(256)), "line 257: more than the limit of 256 classes"),
        ("1,2,3\n" + "9" * (1 << 24) + "9", "line 2 is not CSV: field larger than field limit"),
        ("1,2,3\n" + "9," * (1 << 23) + "9", "line 2 has 8388609 columns: expected 3"),
    ],
    ids=range(18),
)
def test_what_is_wrong_in_a_csv_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(DatasetError, match=f"data.csv.*{message}"):
        load_dataset(str(path))


def test_a_file_that_is_no_text_is_no_csv(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"1,2,3\n\xff\xfe\n")
    with pytest.raises(DatasetError, match=r"data\.csv is not text in UTF-8: not a CSV file"):
        load_dataset(str(path))
    path.write_bytes(gzip.compress(b"1,2,3\n" * 1000, mtime=0)[:-12])
    with pytest.raises(DatasetError, match="can't be read"):
        load_dataset(str(path))


def split_of(count: int, classes: int, seed: int = 0) -> Split:
    random = np.random.default_rng(seed)
    return Split(random.integers(0, 256, (count, 9), dtype=np.uint8), (np.arange(count) % classes).astype(np.uint8))


def seen(split: Split) -> set[bytes]:
    return {image.tobytes() for image in split.images}


def test_adding_data_moves_no_image_across() -> None:
    few, more = split_of(300, 3), split_of(900, 3, seed=1)
    before, after = with_test_set("few", few, (3, 3)), with_test_set("more", more + few, (3, 3))
    assert seen(before.test) <= seen(after.test)
    assert seen(before.train) <= seen(after.train)
    for label in range(3):
        assert 0.15 < (after.test.labels == label).sum() / 400 < 0.25
    (kept_out, used), (kept_out_later, used_later) = (validation_split(each.train) for each in (before, after))
    assert seen(kept_out) <= seen(kept_out_later)
    assert seen(used) <= seen(used_later)
    assert 0.06 < len(kept_out_later) / len(after.train) < 0.14


@pytest.mark.parametrize("seed", range(20))
def test_every_class_of_two_images_is_on_both_sides(seed: int) -> None:
    dataset = with_test_set("tiny", split_of(20, 10, seed), (3, 3))
    assert set(dataset.train.labels) == set(dataset.test.labels) == set(range(10))


def test_equal_images_are_on_the_same_side() -> None:
    some = split_of(30, 3)
    dataset = with_test_set("twice", some + Split(some.images, (some.labels + 1) % 3), (3, 3))
    assert not seen(dataset.train) & seen(dataset.test)
