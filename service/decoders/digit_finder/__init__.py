"""Where the digit is in a picture: strokes that stand out from the paper.

`view` brings the picture to a bounded size. `paper` estimates the paper under the ink with a grey closing, so that
shadows and falling light do not count. `strokes` tries a few thresholds, each of which yields a group of connected
strokes. `choice` takes the group with the sharpest contour. `mnist_form` fits it into the network's shape as MNIST's
authors did. `tuning` has the numbers.

OpenCV does the work, in C and without the GIL. It is imported with the first picture.
"""

import numpy as np

from service.decoders.digit_finder.boxes import scaled
from service.decoders.digit_finder.choice import digit_in, is_halo, row_in
from service.decoders.digit_finder.mnist_form import centred, fitted, in_mnist_form, strokes_of
from service.decoders.digit_finder.strokes import BOTH, Group, Polarities
from service.decoders.digit_finder.types import NOTHING, Bytes, Digit, NoDigitError, SeveralDigitsError
from service.decoders.digit_finder.view import View, opencv

__all__ = ["BOTH", "Digit", "NoDigitError", "SeveralDigitsError", "find", "find_row", "opencv", "scaled"]


def find(grey: Bytes, shape: tuple[int, int], polarities: Polarities = BOTH) -> Digit:
    """The digit in a picture, brought to the shape. polarities: may its strokes be dark? Raises NoDigitError."""
    if grey.shape == shape:
        as_it_is = in_mnist_form(grey)
        if as_it_is is not None and as_it_is.dark in polarities:
            return as_it_is
    view, group = digit_in(grey, polarities)
    if is_halo(view.picture, group):
        raise NoDigitError(NOTHING)
    return digit_of(view, group, shape)


def find_row(grey: Bytes, shape: tuple[int, int], polarities: Polarities = BOTH) -> list[Digit]:
    """All digits of a row, from left to right. Raises NoDigitError."""
    view, groups = row_in(grey, polarities)
    if len(groups) == 1:
        return [find(grey, shape, polarities)]
    return [digit_of(view, group, shape) for group in groups]


def digit_of(view: View, group: Group, shape: tuple[int, int]) -> Digit:
    pixels = np.round(centred(fitted(strokes_of(group), shape), shape) * 255).astype(np.uint8)
    return Digit(pixels, view.seen_whole(group.box), group.dark)
