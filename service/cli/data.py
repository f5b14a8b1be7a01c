"""What `--data` names: what the model's loader reads, or a folder of pictures, prepared as /predict prepares them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model.datasets import KINDS, Dataset, DatasetError, Split, holds_idx_files, load_dataset
from model.datasets.dataset import MOST_BYTES
from model.datasets.files import whole
from model.datasets.labels import label_names
from model.datasets.splitting import with_test_set
from model.weights import Weights

DATA_HELP = f"{KINDS}, or a folder with a sub-folder of pictures for each class."
SUFFIXES = (".png", ".jpg", ".jpeg")
LEFT_THERE_BY_SYSTEMS = ("Thumbs.db", "desktop.ini")
MOST_PICTURE_BYTES = 1 << 26
MOST_PROBLEMS_SHOWN = 3
IMAGE_SHAPE = (28, 28)
"""What pictures become, unless there are weights that say otherwise."""

Shape = tuple[int, int]


def load_data(source: str, weights: Weights | None = None) -> Dataset:
    """weights: that the data is for. Raises DatasetError."""
    folder = Path(source)
    if source in ("digits", "mnist") or not folder.is_dir() or holds_idx_files(folder):
        return load_dataset(source)
    if not sub_folders(folder):
        raise DatasetError(
            f"{source} has no train-images-idx3-ubyte and no sub-folder of pictures: expected {DATA_HELP}"
        )
    shape = None if weights is None else weights.image_shape
    return picture_folder(folder, shape or IMAGE_SHAPE)


def picture_folder(folder: Path, shape: Shape) -> Dataset:
    """A sub-folder of PNGs and JPEGs for each class, or train/ and test/ with such sub-folders. Classes are numbered in
    the order of their names. Raises DatasetError that names the pictures that can't be used."""
    name = folder.resolve().name
    train, test = folder / "train", folder / "test"
    if not sub_folders(train):
        names = class_names(folder)
        return with_test_set(name, read_classes(folder, names, shape), shape, names)
    names = class_names(train)
    if not sub_folders(test):
        return with_test_set(name, read_classes(train, names, shape), shape, names)
    unknown = [path for path in sub_folders(test) if path.name not in names]
    if unknown:
        raise DatasetError(f"{unknown[0]}: there is no class of that name in {train}")
    return Dataset(name, read_classes(train, names, shape), read_classes(test, names, shape), shape, names)


def sub_folders(folder: Path) -> list[Path]:
    """In the order of their names, or of the numbers that all of them are."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if all(path.name.isascii() and path.name.isdigit() for path in found):
        return sorted(found, key=lambda path: (len(path.name.lstrip("0")), path.name.lstrip("0"), path.name))
    return sorted(found)


def class_names(folder: Path) -> tuple[str, ...]:
    names = [path.name for path in sub_folders(folder)]
    if len(names) < 2:
        raise DatasetError(f"{folder} has one sub-folder, {names[0]}: expected one of pictures for each class")
    return label_names(names, folder)


def read_classes(folder: Path, names: Sequence[str], shape: Shape) -> Split:
    """Raises DatasetError."""
    from service.http.problems import BadInput
    from service.images.picture import read_picture

    paths = [(path, number) for number, name in enumerate(names) for path in pictures(folder / name)]
    if len(paths) * shape[0] * shape[1] > MOST_BYTES:
        raise DatasetError(f"{folder} has {len(paths)} pictures: more than {MOST_BYTES} pixels, the most that is read")
    images = np.empty((len(paths), shape[0] * shape[1]), np.uint8)
    problems = []
    for i, (path, _) in enumerate(paths):
        try:
            images[i] = read_picture(whole(path, MOST_PICTURE_BYTES), shape, (str(path),)).pixels.ravel()
        except BadInput as problem:
            problems.append(problem.detail)
    if problems:
        more = len(problems) - MOST_PROBLEMS_SHOWN
        raise DatasetError("; ".join(problems[:MOST_PROBLEMS_SHOWN]) + (f"; and {more} more" if more > 0 else ""))
    return Split(images, np.array([number for _, number in paths], np.uint8))


def pictures(folder: Path) -> list[Path]:
    """Raises DatasetError where there are none, or where something else is."""
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.name not in LEFT_THERE_BY_SYSTEMS
    ]
    if not found and folder.is_dir():
        raise DatasetError(f"{folder} has no pictures")
    for path in found:
        if path.suffix.lower() not in SUFFIXES:
            raise DatasetError(f"{path} is no picture by its name: expected {', '.join(SUFFIXES)}")
    return found
