"""A picture as it is looked at: at a bounded size, and what its brightness says by itself."""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.decoders.digit_finder import tuning
from service.decoders.digit_finder.boxes import Box, scaled
from service.decoders.digit_finder.types import Bytes, Grey


@functools.cache
def opencv() -> Any:
    import cv2

    cv2.setNumThreads(1)  # requests are what runs side by side
    return cv2


def sample(values: NDArray[Any]) -> NDArray[Any]:
    """Some of the values, evenly spread; an odd step, so that stripes don't hide between."""
    flat = values.ravel()
    return flat[:: max(1, len(flat) // tuning.SAMPLE) | 1]


@dataclass(frozen=True)
class View:
    """A part of a picture, as it is looked at: where it begins, and how many pixels of the picture one of it is."""

    picture: Bytes
    left: int
    top: int
    across: float
    down: float

    def seen_whole(self, box: Box) -> Box:
        """The box of a group of this view, in pixels of the whole picture."""
        left, top, right, bottom = scaled(box, self.across, self.down)
        return self.left + left, self.top + top, self.left + right, self.top + bottom


def working(grey: Bytes, left: int = 0, top: int = 0) -> View:
    """The picture at the working area, or at the working side if it is small."""
    cv2 = opencv()
    rows, columns = grey.shape
    factor = math.sqrt(tuning.WORKING_AREA / (rows * columns))
    if factor >= 1:
        factor = min(factor, max(1.0, tuning.WORKING_SIDE / min(rows, columns)))
    width, height = max(1, round(columns * factor)), max(1, round(rows * factor))
    if (width, height) != (columns, rows):
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    return View(grey, left, top, columns / width, rows / height)


def grain_of(grey: Bytes) -> float:
    """The standard deviation of the grain, 0…1, after Immerkær (1996), with a median instead of the mean."""
    if min(grey.shape) < 3:
        return 0.0
    step = max(1, grey.size // tuning.WORKING_AREA)
    above, row, below = (rows.astype(np.int16) for rows in (grey[:-2:step], grey[1:-1:step], grey[2::step]))
    down = above - 2 * row + below
    differences = np.abs(down[:, :-2] - 2 * down[:, 1:-1] + down[:, 2:])
    return float(np.median(sample(differences))) / 0.6745 / 6 / 255


def slopes_of(picture: Bytes) -> Grey:
    cv2 = opencv()
    down, across = (cv2.Sobel(picture, cv2.CV_32F, dx, dy, ksize=3, scale=1 / 8 / 255) for dx, dy in ((0, 1), (1, 0)))
    return np.asarray(cv2.magnitude(across, down))


def mean_slope(slopes: Grey, mask: NDArray[Any]) -> float:
    """Along the mask's contour."""
    cv2 = opencv()
    edge = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return float(cv2.mean(slopes, edge)[0])
