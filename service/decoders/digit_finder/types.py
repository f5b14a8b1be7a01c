"""What the parts of the digit finder hand to each other."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.decoders.digit_finder.boxes import Box

Bytes = NDArray[np.uint8]
Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]

NOTHING = "nothing stands out from the picture's background: expected a digit"


class NoDigitError(Exception):
    """There is no digit to be read, or more than one; the message says what was seen."""


class SeveralDigitsError(NoDigitError):
    """There is more than one."""

    def __init__(self, seen: int) -> None:
        super().__init__(f"{seen} digits: crop the picture to one, or read them with /predict?several=true")


class TooManyDigitsError(SeveralDigitsError):
    def __init__(self, strokes: int) -> None:
        NoDigitError.__init__(self, f"at least {strokes} strokes: crop the picture to fewer digits")


class SeveralLinesError(SeveralDigitsError):
    def __init__(self) -> None:
        NoDigitError.__init__(self, "several lines: crop the picture to one line of digits")


@dataclass(frozen=True)
class Digit:
    """A digit in a picture.

    pixels: of the network's shape, uint8, light on dark. box: in pixels of the picture that was looked at.
    dark: whether its ink was darker than the paper.
    """

    pixels: Bytes
    box: Box
    dark: bool
