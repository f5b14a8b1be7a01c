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
LEFT_THERE_BY_SYSTEMS = ("Thumbs.db", "desktop.ini", "__MACOSX")
TRAIN, TEST = ("train", "training"), ("test", "testing")
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
    the order of their names. Raises DatasetError that names what can't be used."""
    name = folder.resolve().name
    train, test = splits(folder)
    classes = class_folders(train)
    names = label_names(list(classes), train)
    images = read_classes(train, classes, names, shape)
    if test is None:
        return with_test_set(name, images, shape, names)
    tests = class_folders(test)
    unknown = [label for label in tests if label not in names]
    if unknown:
        raise DatasetError(f"{tests[unknown[0]][0]}: there is no class of that name in {train}")
    return Dataset(name, images, read_classes(test, tests, names, shape), shape, names)


def splits(folder: Path) -> tuple[Path, Path | None]:
    """The folders to train and to test on: the folder itself and none, unless it has sub-folders that say so."""
    below = {path.name.lower(): path for path in sub_folders(folder) if sub_folders(path)}
    train = next((below[name] for name in TRAIN if name in below), None)
    if train is None:
        return folder, None
    test = next((below[name] for name in TEST if name in below), None)
    other = [path.name for path in sub_folders(folder) if path not in (train, test)]
    if other:
        raise DatasetError(f"{folder} has {other[0]} next to {train.name}: expected train and test only")
    return train, test


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """Each class and its folders: the sub-folders, or theirs of the same name where each sub-folder is one person's.

    Raises DatasetError where it can't be told which of them are the classes.
    """
    outer = sub_folders(folder)
    inner = [path for person in outer for path in sub_folders(person)]
    by_name = {name: [path for path in inner if path.name == name] for name in sorted({path.name for path in inner})}
    if len(outer) > 1 and 1 < len(by_name) < len(inner) and not are_numbers(outer):
        if not are_numbers(inner):
            raise DatasetError(
                f"{folder}: {outer[0].name} and {outer[1].name} have sub-folders of the same names, such as "
                f"{inner[0].name}: expected one folder of pictures for each class"
            )
        return {path.name: by_name[path.name] for path in in_order(inner)}
    if len(outer) < 2:
        raise DatasetError(f"{folder} has one sub-folder, {outer[0].name}: expected one of pictures for each class")
    return {path.name: [path] for path in outer}


def sub_folders(folder: Path) -> list[Path]:
    """In the order of their names, or of the numbers that all of them are."""
    if not folder.is_dir():
        return []
    return in_order([path for path in folder.iterdir() if path.is_dir() and not left_by_a_system(path.name)])


def in_order(folders: list[Path]) -> list[Path]:
    if are_numbers(folders):
        return sorted(folders, key=lambda path: (int(path.name), path.name))
    return sorted(folders)


def are_numbers(folders: list[Path]) -> bool:
    return all(path.name.isascii() and path.name.isdigit() for path in folders)


def left_by_a_system(name: str) -> bool:
    return name.startswith(".") or name in LEFT_THERE_BY_SYSTEMS


def read_classes(folder: Path, classes: dict[str, list[Path]], names: Sequence[str], shape: Shape) -> Split:
    """Raises DatasetError."""
    from service.http.problems import BadInput
    from service.images.picture import read_picture

    paths = [
        (path, number)
        for number, name in enumerate(names)
        for below in classes.get(name, [])
        for path in pictures(below)
    ]
    if len(paths) * shape[0] * shape[1] > MOST_BYTES:
        raise DatasetError(f"{folder} has {len(paths)} pictures: more than {MOST_BYTES} pixels, the most that is read")
    images = np.empty((len(paths), shape[0] * shape[1]), np.uint8)
    problems = []
    for i, (path, _) in enumerate(paths):
        try:
            images[i] = read_picture(whole(path, MOST_PICTURE_BYTES), shape, ()).pixels.ravel()
        except BadInput as problem:
            problems.append(f"{path}: {problem.detail}")
    if problems:
        more = len(problems) - MOST_PROBLEMS_SHOWN
        raise DatasetError("; ".join(problems[:MOST_PROBLEMS_SHOWN]) + (f"; and {more} more" if more > 0 else ""))
    return Split(images, np.array([number for _, number in paths], np.uint8))


def pictures(folder: Path) -> list[Path]:
    """Raises DatasetError where there are none, or where something else is."""
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(map(left_by_a_system, path.relative_to(folder).parts))
    ]
    if not found:
        raise DatasetError(f"{folder} has no pictures")
    for path in found:
        if path.suffix.lower() not in SUFFIXES:
            raise DatasetError(f"{path} is no picture by its name: expected {', '.join(SUFFIXES)}")
    return found
