"""What every decoder returns, and the checks that they share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from model.growth import MOST_CLASSES
from model.types import IntArray
from model.weights_file import Weights
from service.decoders.digit_finder import Digit
from service.decoders.request_body import P
from service.http.problems import BadInput, Location
from service.schemas.requests import ImageParameters


@dataclass(frozen=True)
class Images:
    """pixels: (n, features), uint8 0…255 or float32 0…1; pictures: the digits in each picture."""

    pixels: NDArray[Any]
    pictures: Sequence[Sequence[Digit]] | None = None

    @classmethod
    def of(cls, pictures: Sequence[Sequence[Digit]]) -> "Images":
        return cls(np.stack([digit.pixels.ravel() for digits in pictures for digit in digits]), pictures)


@dataclass(frozen=True)
class Labelled(Generic[P]):
    """pixels as in `Images`; labels: (n,) class numbers; parameters: those of the query, wherever they were given."""

    pixels: NDArray[Any]
    labels: IntArray
    parameters: P


TOLERANCE = 1e-6
"""Share of the range by which a pixel may be outside it."""


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
    """Numbers 0…pixel_max, (n, features), as stored. Those just out of range, as resizing leaves them, are clipped.

    locate: where pixel i of image n is in the request. say: how a request sets pixel_max. Raises
    BadInput for the first that is out of range.
    """
    if are_within(values, pixel_max):
        return as_stored(values, pixel_max)
    low, high, margin = values.min(), values.max(), TOLERANCE * pixel_max
    if low >= 0 and high <= pixel_max:
        return as_stored(values, pixel_max)
    if low >= -margin and high <= pixel_max + margin:
        return as_stored(np.clip(values, 0, pixel_max), pixel_max)
    n, i = divmod(int(((values >= -margin) & (values <= pixel_max + margin)).argmin()), values.shape[1])
    value = values[n, i]
    hint = f"; for pixels 0…255 send {say}" if pixel_max == 1 and are_bytes(values) else ""
    shown = "NaN" if np.isnan(value) else str(value).removesuffix(".0").replace("inf", "infinity")
    raise BadInput(locate(n, i), f"the pixel is {shown}: expected 0…{pixel_max:g}{hint}")


def refuse_polarity(parameters: ImageParameters) -> None:
    """Raises BadInput where the images are no pictures."""
    if parameters.polarity is not None:
        raise BadInput(("polarity",), "only pictures have one: the strokes of arrays are light")


def are_within(values: NDArray[Any], pixel_max: float) -> bool:
    """Whether all are floats of 0…pixel_max: a comparison of their bits, in one pass in place of two.

    Read as whole numbers, the bits of positive floats are in the floats' own order (IEEE 754), and those of negative
    ones and of NaN are above them. Each pass of numpy over many numbers lets another thread have Python's lock.
    """
    if values.dtype not in (np.float32, np.float64):
        return False
    bits = np.dtype(f"u{values.dtype.itemsize}")
    return bool(values.view(bits).max() <= values.dtype.type(pixel_max).view(bits))


def are_bytes(values: NDArray[Any]) -> bool:
    """Whether they are clearly 0…255: a few that are too large might be overshoot of resizing."""
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
        hint = "; POST /classes adds a class" if labels[i] in range(classes, MOST_CLASSES) else ""
        raise BadInput((*location, i), f"the label is {labels[i]}: expected a class number, 0…{classes - 1}{hint}")
    numbers: IntArray = labels.astype(np.intp)
    return numbers
