"""What `--data` names: what the model's loader reads, or a folder of pictures, prepared as /predict prepares them."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from model.datasets import KINDS, Dataset, DatasetError, Split, holds_idx_files, load_dataset
from model.datasets.class_labels import label_names
from model.datasets.dataset import MOST_BYTES
from model.datasets.gzip_files import whole
from model.datasets.splits import with_test_set
from model.weights_file import Weights

DATA_HELP = f"{KINDS}, or a folder with a sub-folder of pictures for each class."
SYSTEM_FILES = ("Thumbs.db", "desktop.ini", "__MACOSX")
TRAIN = re.compile(r"train(ing)?[ _-]?(set|data|images)?", re.IGNORECASE)
TEST = re.compile(r"(test(ing)?|val(id(ation)?)?)[ _-]?(set|data|images)?", re.IGNORECASE)
MOST_PICTURE_BYTES = 1 << 26
MOST_SHOWN = 3
IMAGE_SHAPE = (28, 28)
"""The shape that pictures are brought to when no weights state another."""

Shape = tuple[int, int]
Classes = dict[str, list[Path]]


def load_data(source: str, weights: Weights | None = None) -> Dataset:
    """Load the data, with pictures in the image shape of `weights`. Raises DatasetError."""
    folder = Path(source)
    if source in ("digits", "mnist") or not folder.is_dir() or holds_idx_files(folder):
        return load_dataset(source)
    if not sub_folders(folder):
        raise DatasetError(
            f"{source} has no IDX files and no sub-folder of pictures: it has {names_of(sorted(folder.iterdir()))}; "
            f"expected {DATA_HELP}"
        )
    shape = None if weights is None else weights.image_shape
    return picture_folder(folder, shape or IMAGE_SHAPE)


def picture_folder(folder: Path, shape: Shape) -> Dataset:
    """A sub-folder of pictures for each class, or a training and a test folder with such sub-folders. Classes are
    numbered in the order of their names. Raises DatasetError that names what can't be used."""
    name = folder.resolve().name
    train, test = splits(unwrapped(folder))
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


def unwrapped(folder: Path) -> Path:
    """The folder that holds more than one sub-folder: a ZIP file often adds one around its content."""
    below = sub_folders(folder)
    return unwrapped(below[0]) if len(below) == 1 and sub_folders(below[0]) else folder


def splits(folder: Path) -> tuple[Path, Path | None]:
    """The folders to train and to test on: the folder itself and none, unless the names of its sub-folders are those of
    splits. A class may be called train, if it has no sub-folders and there is no test folder. Raises DatasetError."""
    below = sub_folders(folder)
    train, test = ([path for path in below if kind.fullmatch(path.name)] for kind in (TRAIN, TEST))
    if len(train) == len(test) == 1 and len(below) == 2:
        return train[0], test[0]
    if (train and test) or any(map(sub_folders, train + test)):
        raise DatasetError(f"{folder} has {names_of(below)}: expected one training and one test folder and no other")
    return folder, None


def class_folders(folder: Path) -> Classes:
    """Each class and its folders: the sub-folders, or, where each sub-folder is one person's, the folders in them.

    Raises DatasetError if it is not clear which folders are the classes.
    """
    outer = sub_folders(unwrapped(folder))
    inner = [path for path in outer for path in sub_folders(path)]
    by_name: Classes = {path.name: [] for path in in_order(inner)}
    for path in inner:
        by_name[path.name].append(path)
    if len(outer) < 2:
        raise DatasetError(f"{folder} has {names_of(outer)}: expected a sub-folder for each class")
    persons = not are_numbers(outer) and are_numbers(inner) and all(map(sub_folders, outer))
    if persons:
        return by_name
    if 1 < len(by_name) < len(inner) and are_numbers(outer) == are_numbers(inner):
        raise DatasetError(
            f"{folder}: {names_of(outer)} have sub-folders of the same names, {names_of(by_name)}: it is not clear "
            "which of them are the classes; expected one folder of pictures for each class"
        )
    return {path.name: [path] for path in outer}


def sub_folders(folder: Path) -> list[Path]:
    """In the order of their names, or of their numbers if all names are numbers."""
    if not folder.is_dir():
        return []
    return in_order([path for path in folder.iterdir() if path.is_dir() and not is_system_file(path.name)])


def in_order(folders: list[Path]) -> list[Path]:
    if are_numbers(folders):
        return sorted(folders, key=lambda path: (int(path.name), path.name))
    return sorted(folders)


def are_numbers(folders: list[Path]) -> bool:
    return all(path.name.isascii() and path.name.isdigit() for path in folders)


def is_system_file(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM_FILES


def names_of(paths: Iterable[Path | str]) -> str:
    """For a message: the first few names."""
    names = [str(getattr(path, "name", path)) for path in paths] or ["nothing"]
    return ", ".join(names[:MOST_SHOWN]) + (f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else "")


def read_classes(folder: Path, classes: Classes, names: Sequence[str], shape: Shape) -> Split:
    """Raises DatasetError."""
    from service.decoders.picture import read_picture
    from service.http.problems import BadInput

    paths = [
        (path, number)
        for number, name in enumerate(names)
        for below in classes.get(name, [])
        for path in pictures(below)
    ]
    if len(paths) * shape[0] * shape[1] > MOST_BYTES:
        raise DatasetError(f"{folder} has {len(paths)} pictures, more than the limit of {MOST_BYTES} pixels")
    images = np.empty((len(paths), shape[0] * shape[1]), np.uint8)
    problems = []
    for i, (path, _) in enumerate(paths):
        try:
            images[i] = read_picture(whole(path, MOST_PICTURE_BYTES), shape, ()).pixels.ravel()
        except BadInput as problem:
            problems.append(f"{path}: {problem.detail}")
    if problems:
        more = len(problems) - MOST_SHOWN
        raise DatasetError("; ".join(problems[:MOST_SHOWN]) + (f"; and {more} more" if more > 0 else ""))
    return Split(images, np.array([number for _, number in paths], np.uint8))


def pictures(folder: Path) -> list[Path]:
    """Raises DatasetError for a folder without pictures, or with other files."""
    from service.decoders.picture_kinds import SUFFIXES

    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(map(is_system_file, path.relative_to(folder).parts))
    ]
    if not files:
        raise DatasetError(f"{folder} has no pictures")
    for path in files:
        if path.suffix.lower() not in SUFFIXES:
            raise DatasetError(f"{path} is not named as a picture: expected {', '.join(SUFFIXES)}")
    return files
