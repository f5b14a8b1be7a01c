"""Labels as people write them: class numbers, or names."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.datasets.dataset import MOST_CLASSES, DatasetError
from model.weights import WeightsError, checked_label_names


def numbered(texts: Sequence[str]) -> tuple[NDArray[np.intp], tuple[str, ...] | None]:
    """The class number of each text, which is the number that it says where all of them do, and else its place among
    the sorted texts; and these texts as the classes' names. Numbers may be too large."""
    if all(text.isascii() and text.isdigit() and len(text) < 10 for text in texts):
        return np.array([int(text) for text in texts], np.intp), None
    names = tuple(sorted(set(texts)))
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers[text] for text in texts], np.intp), names


def too_many(where: object) -> DatasetError:
    return DatasetError(f"{where}: more than {MOST_CLASSES} classes, the most that is read")


def label_names(names: Sequence[str], where: object) -> tuple[str, ...]:
    """Raises DatasetError for what can't be the names of classes."""
    if len(names) > MOST_CLASSES:
        raise too_many(where)
    try:
        "".join(names).encode()
        return checked_label_names(list(names), len(names))
    except UnicodeEncodeError as error:
        raise DatasetError(f"{where}: a class has a name that is no text in UTF-8") from error
    except WeightsError as error:
        raise DatasetError(f"{where}: {error}") from error
