"""An .npz file with images and labels, such as Keras' mnist.npz."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.datasets.class_labels import label_names, numbered
from model.datasets.dataset import MOST_BYTES, MOST_CLASSES, Dataset, DatasetError, Split, input_to_pixels, shape_of
from model.datasets.gzip_files import whole
from model.datasets.splits import with_test_set
from model.safe_npz import NpyError, read_npz
from model.weights_file import shown

ROUNDING = 1e-6
"""How far a pixel may be outside of 0…1, as after a resize."""

ROWS_AT_A_TIME = 1000

Shape = tuple[int, int]
Names = tuple[str, ...] | None
Arrays = dict[str, NDArray[Any]]


def npz_file(path: Path) -> Dataset:
    """x and t, or x_train and y_train with or without x_test and y_test; label_names is optional.

    Images are (n, features) or (n, rows, columns), whole numbers 0…255 or floats 0…1, labels class numbers, one-hot
    rows or texts. Raises DatasetError.
    """
    try:
        arrays = read_npz(whole(path), MOST_BYTES)
    except NpyError as error:
        raise DatasetError(f"{path}: {error}") from error
    stated = stated_names(arrays["label_names"], path) if "label_names" in arrays else None
    train_names = ("x", "t") if "x" in arrays else ("x_train", "y_train")
    train, shape, train_classes = labelled(arrays, *train_names, path, stated)
    names = stated or train_classes
    if "x" in arrays or "x_test" not in arrays:
        return with_test_set(path.name, train, shape, names)
    test, test_shape, test_classes = labelled(arrays, "x_test", "y_test", path, names)
    if shape != test_shape:
        raise DatasetError(f"{path}: the images of x_train are {shape}, those of x_test {test_shape}")
    if stated is None and train_classes != test_classes:
        raise DatasetError(f"{path}: y_train and y_test should both be numbers or both names")
    return Dataset(path.name, train, test, shape, names)


def labelled(arrays: Arrays, x: str, t: str, source: object, names: Names = None) -> tuple[Split, Shape, Names]:
    """The images and labels in these arrays. names: of the known classes."""
    for name in (x, t):
        if name not in arrays:
            present = ", ".join(sorted(shown(array) for array in arrays)) or "none"
            raise DatasetError(
                f"{source}: the array {name} is missing: expected x and t, or x_train, y_train, x_test and y_test "
                f"(the file has {present})"
            )
    images, shape = pixels(arrays[x], f"{source}: {x}")
    labels, named_classes = classes(arrays[t], len(images), f"{source}: {t}", names)
    return Split(images, labels), shape, named_classes


def pixels(x: NDArray[Any], where: str) -> tuple[NDArray[np.uint8], Shape]:
    """Images as bytes, (n, features), and the shape of one. Raises DatasetError that names the first wrong pixel."""
    if x.ndim == 4 and 1 in (x.shape[1], x.shape[3]):
        x = x.reshape(len(x), *(x.shape[2:] if x.shape[1] == 1 else x.shape[1:3]))
    if x.ndim not in (2, 3) or x.dtype.kind not in "iuf" or x.size == 0:
        raise DatasetError(
            f"{where} is {x.dtype} {x.shape}: expected (n, features) or (n, rows, columns), "
            "whole numbers 0…255 or floats 0…1"
        )
    shape = (x.shape[1], x.shape[2]) if x.ndim == 3 else shape_of(x.shape[1])
    flat = x.reshape(len(x), -1)
    images = np.empty(flat.shape, np.uint8)
    for i in range(0, len(flat), ROWS_AT_A_TIME):  # needs more memory than bytes for a few rows only
        images[i : i + ROWS_AT_A_TIME] = as_bytes(flat[i : i + ROWS_AT_A_TIME], i, where)
    check_range(images, x.dtype.kind != "f", where)
    return images, shape


def as_bytes(rows: NDArray[Any], first: int, where: str) -> NDArray[np.uint8]:
    floats = rows.dtype.kind == "f"
    least, most = (-ROUNDING, 1 + ROUNDING) if floats else (0, 255)
    wrong = ~((rows >= least) & (rows <= most))  # NaN is neither
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        expected = "floats are pixels 0…1" if floats else "whole numbers are pixels 0…255"
        raise DatasetError(f"{where}: row {first + row}, pixel {column} is {rows[row, column]}: {expected}")
    return input_to_pixels(rows) if floats else rows.astype(np.uint8)


def check_range(images: NDArray[np.uint8], whole_numbers: bool, where: str) -> None:
    """Raises DatasetError for whole numbers 0 and 1: as pixels 0…255 they would all be black."""
    if whole_numbers and images.max() <= 1:
        raise DatasetError(f"{where}: no pixel is above 1: whole numbers are pixels 0…255")


def classes(t: NDArray[Any], count: int, where: str, names: Names) -> tuple[NDArray[np.uint8], Names]:
    """Class numbers, (n,), and the names of the classes if labels are texts. names: of all classes, if known."""
    if t.ndim == 2 and t.shape[1] == 1:
        t = t[:, 0]
    if t.ndim not in (1, 2) or len(t) != count or t.dtype.kind not in "biufUS" or t.size == 0:
        raise DatasetError(f"{where} is {t.dtype} {t.shape}: expected {count} class numbers, names or one-hot rows")
    if t.dtype.kind in "US":
        return named(t, where, names)
    if t.ndim == 2:
        wrong = ~(((t == 0) | (t == 1)).all(axis=1) & ((t == 1).sum(axis=1) == 1))
        if wrong.any():
            raise DatasetError(f"{where}: row {np.argmax(wrong)} is not one-hot: expected a 1 among zeros")
        t = t.argmax(axis=1)
    wrong = ~((t >= 0) & (t < MOST_CLASSES)) | (t != np.round(t))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DatasetError(f"{where}: row {row} is {t[row]}: expected a class number 0…{MOST_CLASSES - 1}")
    if names is not None and t.max() >= len(names):
        row = int(np.argmax(t >= len(names)))
        raise DatasetError(f"{where}: row {row} is {t[row]}, but there are only {len(names)} names of classes")
    return t.astype(np.uint8), None


def named(t: NDArray[Any], where: str, names: Names) -> tuple[NDArray[np.uint8], Names]:
    if t.ndim != 1:
        raise DatasetError(f"{where} is {t.dtype} {t.shape}: expected a row of names")
    try:
        texts = t.astype(str).tolist()
    except (UnicodeError, ValueError) as error:
        raise DatasetError(f"{where} holds something that is not text") from error
    if names is not None:
        known = {name: number for number, name in enumerate(names)}
        for row, text in enumerate(texts):
            if text not in known:
                raise DatasetError(f"{where}: row {row} is {shown(text)}, which is not one of the classes")
        return np.array([known[text] for text in texts], np.uint8), names
    return numbered(texts, where)


def stated_names(array: NDArray[Any], path: Path) -> tuple[str, ...]:
    if array.ndim != 1 or array.dtype.kind != "U" or array.size == 0:
        raise DatasetError(f"{path}: label_names is {array.dtype} {array.shape}: expected a row of texts")
    try:
        return label_names(array.tolist(), f"{path}: label_names")
    except ValueError as error:
        raise DatasetError(f"{path}: label_names holds something that is not text") from error
