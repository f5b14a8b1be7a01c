"""What was found in a picture, for its sender to see."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.images.finding import Digit


def explained(digit: Digit) -> dict[str, Any]:
    """What `PictureAnswer` describes."""
    left, top, right, bottom = digit.box
    return {
        "box": [left, top, right - left, bottom - top],
        "polarity": "dark on light" if digit.dark else "light on dark",
        "image": "data:image/png;base64," + base64.b64encode(png(digit.pixels)).decode(),
    }


def png(pixels: NDArray[np.uint8]) -> bytes:
    """pixels: (rows, columns), 0…255."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
