"""Labels as text: class numbers or names."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.datasets.dataset import MOST_CLASSES, DatasetError
from model.weights_file import WeightsError, checked_label_names


def numbered(texts: Sequence[str], where: object) -> tuple[NDArray[np.uint8], tuple[str, ...] | None]:
    """The class number of each text, and the names of the classes. If all texts are numbers, these are the class
    numbers, and there are no names. Else the classes are the sorted texts. Raises DatasetError."""
    if all(text.isascii() and text.isdigit() and len(text) < 10 for text in texts):
        most = max(map(int, texts))
        if most >= MOST_CLASSES:
            raise DatasetError(f"{where}: the label {most} is not a class number 0…{MOST_CLASSES - 1}, or a name")
        return np.array(list(map(int, texts)), np.uint8), None
    names = label_names(sorted(set(texts)), where)
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[text] for text in texts], np.uint8), names


def label_names(names: Sequence[str], where: object) -> tuple[str, ...]:
    """Raises DatasetError for texts that can't be names of classes."""
    if len(names) > MOST_CLASSES:
        raise DatasetError(f"{where}: more than the limit of {MOST_CLASSES} classes")
    try:
        "".join(names).encode()
        return checked_label_names(list(names), len(names))
    except UnicodeEncodeError as error:
        raise DatasetError(f"{where}: the name of a class is not text in UTF-8") from error
    except WeightsError as error:
        raise DatasetError(f"{where}: {error}") from error
