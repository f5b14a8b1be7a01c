"""What was found in a picture, for its sender to see."""

import base64
import io
from typing import Any

from PIL import Image

from service.images.finding import Digit


def explained(digit: Digit) -> dict[str, Any]:
    """What `PictureAnswer` describes."""
    left, top, right, bottom = digit.box
    return {
        "box": [left, top, right - left, bottom - top],
        "polarity": "dark on light" if digit.dark else "light on dark",
        "image": data_url(digit),
    }


def data_url(digit: Digit) -> str:
    stream = io.BytesIO()
    Image.fromarray(digit.pixels).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
