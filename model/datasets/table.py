"""A CSV file with an image in each row: its label and its pixels, as Kaggle's digit recognizer has them."""

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from model.datasets.arrays import check_range
from model.datasets.dataset import MOST_BYTES, MOST_CLASSES, Dataset, DatasetError, Split, shape_of
from model.datasets.files import opened
from model.datasets.labels import label_names, numbered, too_many
from model.datasets.splitting import with_test_set
from model.weights import shown

LABEL = "label"
ROW_NUMBERS = ("", "id", "index", "unnamed: 0")
FIRST_COLUMNS = 3
"""Where columns that number the rows may be."""
FEWEST_TO_DOUBT = 64
"""With as many pixels as a square and one more, a file without a header has a column of something else."""
MOST_LINE_BYTES = 1 << 24
BYTE_ORDER_MARK = "\ufeff"

Line = tuple[int, list[str]]
"""Its number in the file, from 1, and its cells."""


def csv_file(path: Path) -> Dataset:
    """The label is in the column `label` or in the first one; the others are pixels, whole numbers 0…255. Labels are
    class numbers, or names if one of them isn't a number. Raises DatasetError that names the line and the pixel."""
    lines = rows(path)
    first = next(lines, None)
    if first is None:
        raise DatasetError(f"{path} holds nothing")
    width, header = len(first[1]), is_header(first[1])
    label, columns = layout(first[1], header, path)
    first_lines: dict[str, int] = {}  # of each text that is a label
    places: dict[str, int] = {}
    order, pixels = bytearray(), bytearray()
    for line, cells in lines if header else chain([first], lines):
        if len(cells) != width:
            raise DatasetError(f"{path}: line {line} has {len(cells)} columns: expected {width}, as in the first")
        text = cells[label].strip()
        first_lines.setdefault(text, line)
        if len(first_lines) > MOST_CLASSES:
            raise too_many(f"{path}: line {line}")
        order.append(places.setdefault(text, len(places)))
        pixels += row_pixels([cells[i] for i in columns], line, path)
        if len(pixels) > MOST_BYTES:
            raise DatasetError(f"{path}: line {line}: more than {MOST_BYTES} pixels, the most that is read")
    if not pixels:
        raise DatasetError(f"{path} holds no image")
    numbers, names = numbered(list(places))
    if names is not None:
        label_names(names, f"{path}: the column of labels")
    elif numbers.max() >= MOST_CLASSES:
        text, line = list(first_lines.items())[int(numbers.argmax())]
        expected = f"a class number 0…{MOST_CLASSES - 1}, or a name"
        raise DatasetError(f"{path}: line {line} has the label {text}: expected {expected}")
    images = np.frombuffer(pixels, np.uint8).reshape(len(order), -1)
    check_range(images, True, str(path))
    labels = numbers.astype(np.uint8)[np.frombuffer(order, np.uint8)]
    return with_test_set(path.name, Split(images, labels), shape_of(images.shape[1]), names)


def layout(first: list[str], header: bool, path: Path) -> tuple[int, list[int]]:
    """Which column is the label's, and which ones are pixels. Raises DatasetError."""
    label = label_column(first, path) if header else 0
    pixels = [i for i in range(len(first)) if i != label]
    if header:
        pixels = pixel_columns(first, pixels, path)
    if not pixels:
        raise DatasetError(f"{path}: the first line has 1 column: expected a label and pixels, separated by commas")
    rest = len(pixels) - 1
    if rest >= FEWEST_TO_DOUBT and math.isqrt(rest) ** 2 == rest:
        raise DatasetError(
            f"{path} has {len(pixels)} pixels in a row, one more than {math.isqrt(rest)} × "
            f"{math.isqrt(rest)}: a column seems to be something else"
        )
    return label, pixels


def pixel_columns(header: list[str], others: list[int], path: Path) -> list[int]:
    """Those that are named as most are, such as pixel0 or 1x1, of all that are not the label's.

    Columns that number the rows are left out. Raises DatasetError for any other.
    """
    names = {i: header[i].strip().lower() for i in others}
    kept = [i for i in others if i >= FIRST_COLUMNS or names[i] not in ROW_NUMBERS]
    patterns = Counter(re.sub(r"\d+", "#", names[i]) for i in kept)
    usual, count = patterns.most_common(1)[0] if patterns else ("", 0)
    if 2 * count > len(kept):
        for i in kept:
            if re.sub(r"\d+", "#", names[i]) != usual:
                raise DatasetError(
                    f"{path}: the column {shown(header[i].strip())} is not one of pixels, as most are: remove it"
                )
    return kept


def rows(path: Path) -> Iterator[Line]:
    """The lines that are not blank."""
    number = 0
    with opened(path) as file:
        while line := file.readline(MOST_LINE_BYTES + 1):
            number += 1
            if len(line) > MOST_LINE_BYTES:
                raise DatasetError(f"{path}: line {number} has more than {MOST_LINE_BYTES} bytes: not a CSV file")
            try:
                text = line.decode()
                if number == 1:
                    text = text.removeprefix(BYTE_ORDER_MARK)
                if "\r" in text.rstrip("\r\n"):
                    raise DatasetError(
                        f"{path}: line {number} has carriage returns in it: save it with line ends of LF"
                    )
                if text.strip() and not (number == 1 and text.strip().lower() == "sep=,"):
                    yield number, text.split(",") if '"' not in text else next(csv.reader([text], strict=True))
            except UnicodeDecodeError as error:
                raise DatasetError(f"{path}: line {number} is not text in UTF-8: not a CSV file") from error
            except csv.Error as error:
                raise DatasetError(f"{path}: line {number} is not CSV: {error}") from error


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def is_header(first: list[str]) -> bool:
    """A row of an image has numbers alone, but for its label; so may a header, behind the name of the first column."""
    return first[0].strip().lower() in (LABEL, "") or any(not is_number(cell) for cell in first[1:])


def label_column(header: list[str], path: Path) -> int:
    """Raises DatasetError where even the first column is one of pixels, as in a file that has no labels."""
    names = [name.strip().lower() for name in header]
    if LABEL in names:
        return names.index(LABEL)
    first, second = (name.rstrip("0123456789") for name in names[:2])
    if first == second or not first:
        raise DatasetError(
            f"{path}: no column is named {LABEL}, and the first, {shown(header[0])}, is not one of labels"
        )
    return 0


def row_pixels(cells: list[str], line: int, path: Path) -> bytes:
    try:
        return bytes(map(int, cells))
    except ValueError:
        return bytes(pixel(cell, i, line, path) for i, cell in enumerate(cells))


def pixel(cell: str, i: int, line: int, path: Path) -> int:
    """One that isn't written as a plain number 0…255: 12.0 is still one."""
    value = float(cell) if is_number(cell) else -1.0
    if not (0 <= value <= 255 and value == int(value)):
        raise DatasetError(f"{path}: line {line}, pixel {i} is {shown(cell.strip())}: expected a whole number 0…255")
    return int(value)
