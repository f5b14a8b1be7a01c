"""What every decoder gives, and the checks that are the same for all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from model.types import IntArray
from model.weights import Weights
from service.http.problems import BadInput, Location
from service.images.body import P
from service.images.finding import Digit


@dataclass(frozen=True)
class Images:
    """pixels: (n, features), uint8 0…255 or float32 0…1; found: in pictures, where the digits were."""

    pixels: NDArray[Any]
    found: Sequence[Digit] | None = None

    @classmethod
    def of(cls, found: Sequence[Digit]) -> "Images":
        return cls(np.stack([digit.pixels.ravel() for digit in found]), found)


@dataclass(frozen=True)
class Labelled(Generic[P]):
    """pixels as in `Images`; labels: (n,) class numbers; parameters: those of the query, wherever they were given."""

    pixels: NDArray[Any]
    labels: IntArray
    parameters: P


HAIR = 1e-6
"""Of the range: how far outside of it a pixel may be."""


def wanted(weights: Weights) -> str:
    """The pixels of an image, in words."""
    if weights.image_shape is None:
        return f"{weights.input_size} pixels"
    rows, columns = weights.image_shape
    return f"{weights.input_size} pixels ({rows} × {columns})"


def as_stored(values: NDArray[Any], pixel_max: float) -> NDArray[Any]:
    """Numbers in range, (n, features), as bytes where they are, else as float32 0…1."""
    if pixel_max == 255:
        rounded = values.astype(np.uint8)
        if (rounded == values).all():
            return rounded
    if pixel_max != 1:
        values = values / pixel_max
    return values.astype(np.float32)


def checked_pixels(
    values: NDArray[Any], pixel_max: float, locate: Callable[[int, int], Location], say: str = '"pixel_max": 255'
) -> NDArray[Any]:
    """Numbers 0…pixel_max, (n, features), as stored; what is a hair outside, as a resize leaves it, is clipped.

    locate: where in the request pixel i of image n stands. say: how a request says what a white pixel is. Raises
    BadInput for the first that is out of range.
    """
    low, high, margin = values.min(), values.max(), HAIR * pixel_max
    if low >= 0 and high <= pixel_max:
        return as_stored(values, pixel_max)
    if low >= -margin and high <= pixel_max + margin:
        return as_stored(np.clip(values, 0, pixel_max), pixel_max)
    n, i = divmod(int(((values >= -margin) & (values <= pixel_max + margin)).argmin()), values.shape[1])
    value = values[n, i]
    hint = f"; for pixels 0…255 say {say}" if pixel_max == 1 and are_bytes(values) else ""
    found = str(value).removesuffix(".0") if np.isfinite(value) else "not a finite number"
    raise BadInput(locate(n, i), f"the pixel is {found}: expected 0…{pixel_max:g}{hint}")


def are_bytes(values: NDArray[Any]) -> bool:
    """Whether they are meant as 0…255, beyond doubt: a few that are too large might also be a resize's overshoot."""
    low, high = values.min(), values.max()
    return bool(low >= 0 and 1 < high <= 255 and (high > 127 or (values == np.round(values)).all()))


def checked_labels(labels: Sequence[Any] | NDArray[Any], count: int, classes: int, location: Location) -> IntArray:
    """Class numbers, (n,), from class numbers or one-hot rows. Raises BadInput that says which label is wrong."""
    if len(labels) != count:
        raise BadInput(location, f"{len(labels)} labels for {count} images: expected one for each")
    first = labels[0]
    if np.ndim(first) == 0:
        return _checked_numbers(np.asarray(labels), classes, location)
    for i, row in enumerate(labels):
        if len(row) != classes:
            raise BadInput(
                (*location, i), f"a one-hot label of {len(row)} numbers: expected {classes}, one for each class"
            )
    rows = np.asarray(labels)
    ones = rows == 1
    wrong = ~((ones | (rows == 0)).all(axis=1) & (ones.sum(axis=1) == 1))
    if wrong.any():
        raise BadInput((*location, int(wrong.argmax())), "not a one-hot label: expected a single 1 and otherwise 0")
    numbers: IntArray = ones.argmax(axis=1)
    return numbers


def _checked_numbers(labels: NDArray[Any], classes: int, location: Location) -> IntArray:
    wrong = ~((labels >= 0) & (labels < classes))  # as NaN is
    wrong[~wrong] = labels[~wrong] % 1 != 0
    if wrong.any():
        i = int(wrong.argmax())
        raise BadInput((*location, i), f"the label is {labels[i]}: expected a class number, 0…{classes - 1}")
    numbers: IntArray = labels.astype(np.intp)
    return numbers
