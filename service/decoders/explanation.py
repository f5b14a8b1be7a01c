"""What was seen in a picture, for its sender."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.decoders.digit_finder import Digit


def explained(digit: Digit) -> dict[str, Any]:
    """What `PictureAnswer` describes."""
    return {
        "box": box_of(digit),
        "polarity": "dark on light" if digit.dark else "light on dark",
        "image": "data:image/png;base64," + base64.b64encode(png(digit.pixels)).decode(),
    }


def box_of(digit: Digit) -> list[int]:
    """left, top, width, height"""
    left, top, right, bottom = digit.box
    return [left, top, right - left, bottom - top]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """pixels: (rows, columns), 0…255."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
