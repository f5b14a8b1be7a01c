"""A CSV file with an image in each row: its label and its pixels, as Kaggle's digit recognizer has them."""

import csv
import io
import logging
import math
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from model.datasets.class_labels import numbered
from model.datasets.dataset import MOST_BYTES, MOST_CLASSES, Dataset, DatasetError, Split, shape_of
from model.datasets.gzip_files import opened
from model.datasets.npz import check_range
from model.datasets.splits import with_test_set
from model.weights_file import shown

LABEL = "label"
ROW_NUMBERS = ("", "id", "index", "unnamed: 0")
FIRST_COLUMNS = 3
"""How many columns at the start may number the rows."""
FEWEST_TO_DOUBT = 64
"""From this many pixels on, one more than a square is taken for a square and a column of something else."""
MOST_LINE_CHARACTERS = 1 << 24

Line = tuple[int, list[str]]
"""Its number in the file, from 1, and its cells."""

logger = logging.getLogger(__name__)


def csv_file(path: Path) -> Dataset:
    """The label is in the column `label`, or else in the first; the others are pixels, whole numbers 0…255. Labels are
    class numbers, or names if one of them is not a number. Raises DatasetError that names the line and the pixel."""
    lines = rows(path)
    first = next(lines, None)
    if first is None:
        raise DatasetError(f"{path} holds nothing")
    width, header = len(first[1]), is_header(first[1])
    label, columns = layout(first[1], header, path)
    order, pixels = bytearray(), bytearray()
    places: dict[str, int] = {}  # of the texts of labels, which `order` refers to
    for line, cells in lines if header else chain([first], lines):
        if len(cells) != width:
            raise DatasetError(f"{path}: line {line} has {len(cells)} columns: expected {width}, as in the first")
        place = places.setdefault(cells[label].strip(), len(places))
        if place >= MOST_CLASSES:
            raise DatasetError(f"{path}: line {line}: more than the limit of {MOST_CLASSES} classes")
        order.append(place)
        pixels += row_pixels([cells[i] for i in columns], line, path)
        if len(pixels) > MOST_BYTES:
            raise DatasetError(f"{path}: line {line}: more than the limit of {MOST_BYTES} pixels")
    if not pixels:
        raise DatasetError(f"{path} holds no image")
    numbers, names = numbered(list(places), f"{path}: the column of labels")
    images = np.frombuffer(pixels, np.uint8).reshape(len(order), -1)
    check_range(images, True, str(path))
    labels = numbers[np.frombuffer(order, np.uint8)]
    return with_test_set(path.name, Split(images, labels), shape_of(images.shape[1]), names)


def layout(first: list[str], header: bool, path: Path) -> tuple[int, list[int]]:
    """The column of labels and the columns of pixels. Raises DatasetError."""
    label = label_column(first, path) if header else 0
    pixels = [i for i in range(len(first)) if i != label]
    if header:
        pixels = pixel_columns(first, pixels, path)
    if not pixels:
        raise DatasetError(f"{path}: the first line has 1 column: expected a label and pixels, separated by commas")
    side = math.isqrt(len(pixels) - 1)
    if side**2 == len(pixels) - 1 >= FEWEST_TO_DOUBT:
        raise DatasetError(
            f"{path} has {len(pixels)} pixels in a row, one more than {side} × {side}: a column seems to hold "
            "something else; remove it"
        )
    return label, pixels


def label_column(header: list[str], path: Path) -> int:
    """Raises DatasetError for a file without labels, whose first columns are both pixels."""
    names = [name.strip().lower() for name in header]
    if LABEL in names:
        return names.index(LABEL)
    first, second = (name.rstrip("0123456789") for name in (*names, "")[:2])
    if first == second or not first or first in ROW_NUMBERS:
        raise DatasetError(
            f"{path}: no column is named {LABEL}, and the first, {shown(header[0])}, is not one of labels"
        )
    return 0


def pixel_columns(header: list[str], others: list[int], path: Path) -> list[int]:
    """The columns whose names follow the pattern of most, such as pixel0 or 1x1.

    Columns that number the rows are left out with a warning. Raises DatasetError for any other.
    """
    names = {i: header[i].strip().lower() for i in others}
    kept = [i for i in others if i >= FIRST_COLUMNS or names[i] not in ROW_NUMBERS]
    for i in set(others) - set(kept):
        logger.warning("%s: the column %s numbers the rows: it is left out", path, shown(header[i].strip()))
    patterns = {i: re.sub(r"\d+", "#", names[i]) for i in kept}
    usual, count = next(iter(Counter(patterns.values()).most_common(1)), ("", 0))
    other = next((i for i in kept if patterns[i] != usual), None)
    if 2 * count > len(kept) and other is not None:
        name = shown(header[other].strip())
        raise DatasetError(f"{path}: the column {name} is not one of pixels, as most are: remove it")
    return kept


def rows(path: Path) -> Iterator[Line]:
    """The lines that are not blank; a line may end in LF, CR LF or CR. Raises DatasetError."""
    with opened(path) as file:
        text = io.TextIOWrapper(file, "utf-8-sig")
        reader = csv.reader(iter(partial(text.readline, MOST_LINE_CHARACTERS), ""), strict=True)
        try:
            for cells in reader:
                sep = reader.line_num == 1 and ",".join(cells).strip().lower() == "sep=,"  # for Excel
                if not sep and (len(cells) > 1 or any(map(str.strip, cells))):
                    yield reader.line_num, cells
        except UnicodeDecodeError as error:
            raise DatasetError(f"{path} is not text in UTF-8: not a CSV file") from error
        except csv.Error as error:
            raise DatasetError(f"{path}: line {reader.line_num} is not CSV: {error}") from error


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def is_header(first: list[str]) -> bool:
    """A row of an image has numbers only, except for its label. A header may have them after its first name, too."""
    return first[0].strip().lower() in (LABEL, "") or any(not is_number(cell) for cell in first[1:])


def row_pixels(cells: list[str], line: int, path: Path) -> bytes:
    try:
        return bytes(map(int, cells))
    except ValueError:
        return bytes(pixel(cell, i, line, path) for i, cell in enumerate(cells))


def pixel(cell: str, i: int, line: int, path: Path) -> int:
    """A pixel that is not written as a plain number 0…255; 12.0 is accepted."""
    value = float(cell) if is_number(cell) else -1.0
    if not (0 <= value <= 255 and value == int(value)):
        raise DatasetError(f"{path}: line {line}, pixel {i} is {shown(cell.strip())}: expected a whole number 0…255")
    return int(value)
