"""A PNG or JPEG of any size and kind → its brightness, upright and at a bounded size → the pixels of its digit.

What a decoded picture may cost is bounded before a pixel of it is decoded; where the digit is, `finding` says.
"""

import io
import math
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from service.http.problems import BadInput, Location
from service.images.finding import Digit, NoDigitError, find, scaled

MOST_PICTURE_PIXELS = 40_000_000
"""In all the pictures of one request, as they are decoded: what bounds memory and time. It is checked before."""

MOST_JPEG_PIXELS = 50_000_000
"""Of which at most the above are decoded: a phone's 48 megapixels are read, at a quarter of their sides."""

DECODED_SIDE = 800
"""A picture's shorter side is made about so large while it is decoded: 100 px on an A4 page are still seen."""

MOST_DECODED_PIXELS = (2 * DECODED_SIDE) ** 2
"""Of a long and thin picture, too."""

LARGE_PICTURE_PIXELS = 4_000_000
"""Of pictures above this, one at a time is decoded in a process: their memory is what a process must have to spare."""

BAND_PIXELS = 1_000_000
"""A large picture is converted and reduced in bands of about so many: what there is of it twice."""

ONE_LARGE_PICTURE = threading.Lock()

Image.MAX_IMAGE_PIXELS = None  # the limit above is checked instead: Pillow's own is a warning first

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Decoded:
    """brightness: 0…255, (rows, columns), upright; across, down: pixels of the picture as sent in one of these."""

    brightness: Pixels
    across: float
    down: float


def read_picture(data: bytes, shape: tuple[int, int], location: Location, budget: int = MOST_PICTURE_PIXELS) -> Digit:
    """The digit in a PNG or JPEG, its box in pixels of the picture as sent, upright. Raises BadInput."""
    picture = decoded(data, location, budget)
    try:
        digit = find(picture.brightness, shape)
    except NoDigitError as problem:
        raise BadInput(location, str(problem)) from None
    return replace(digit, box=scaled(digit.box, picture.across, picture.down))


def picture_size(data: bytes, location: Location) -> int:
    """How many pixels of a picture would be decoded, from its header alone. Raises BadInput."""
    return sizes(data, location)[1]


def sizes(data: bytes, location: Location) -> tuple[int, int]:
    """How many pixels a picture says that it has, and how many of them would be decoded. Raises BadInput."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            whole = picture.width * picture.height
            drafted(picture)
            return whole, picture.width * picture.height
    except Exception as error:  # Pillow raises whatever its parsers met
        raise BadInput(location, "not a PNG or JPEG picture that can be read") from error


def drafted(picture: Image.Image) -> None:
    """A JPEG can be decoded at a half, a quarter or an eighth of its size."""
    picture.draft(None, (DECODED_SIDE, DECODED_SIDE))


def decoded(data: bytes, location: Location, budget: int = MOST_PICTURE_PIXELS) -> Decoded:
    """The picture's brightness, upright, its shorter side less than twice the decoded one. Raises BadInput."""
    whole, size = sizes(data, location)
    if size > budget:
        raise BadInput(location, f"the picture has more than {budget:,} pixels, the most that is read in one request")
    if whole > MOST_JPEG_PIXELS:
        raise BadInput(
            location, f"the picture has more than {MOST_JPEG_PIXELS:,} pixels, the most that a JPEG may have"
        )
    try:
        with (
            ONE_LARGE_PICTURE if whole > LARGE_PICTURE_PIXELS else nullcontext(),
            Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture,
        ):
            if getattr(picture, "is_animated", False):
                raise BadInput(location, "an animated picture: expected a single image")
            sent = picture.size
            drafted(picture)
            grey = brightness(picture)
            upright = turned(grey, picture)
    except BadInput:
        raise
    except Exception as error:  # Pillow raises whatever its decoders met
        raise BadInput(location, "the picture is damaged: it can't be decoded") from error
    columns, rows = sent if upright.shape == grey.shape else sent[::-1]
    return Decoded(upright, columns / upright.shape[1], rows / upright.shape[0])


def turned(grey: Pixels, picture: Image.Image) -> Pixels:
    """As the picture's EXIF says that it was held."""
    image = Image.fromarray(grey)
    image.getexif()[ExifTags.Base.Orientation] = picture.getexif().get(ExifTags.Base.Orientation, 1)
    return np.asarray(ImageOps.exif_transpose(image))


def brightness(picture: Image.Image) -> Pixels:
    """Brightness 0…255 of any kind of picture; what is transparent gets a background that the rest stands out from."""
    if picture.mode.startswith("I"):
        return scaled_to_bytes(picture)
    if picture.has_transparency_data:
        return on_a_background(reduced(picture, "RGBA"))
    if picture.mode in ("L", "P", "PA", "1"):
        return np.asarray(reduced(picture, "L"))
    return np.asarray(reduced(picture, "RGB").convert("L"))


def on_a_background(rgba: Image.Image) -> Pixels:
    """Composed onto white if what can be seen is dark, onto black if it is light."""
    alpha = np.asarray(rgba.getchannel("A"), np.float32) / 255
    grey = np.asarray(rgba.convert("RGB").convert("L"), np.float32)
    total = float(alpha.sum())
    background = 0.0 if total > 0 and float((grey * alpha).sum()) / total > 127.5 else 255.0
    return np.round(grey * alpha + background * (1 - alpha)).astype(np.uint8)


def scaled_to_bytes(picture: Image.Image) -> Pixels:
    """16 bits, or the 8, 10 or 12 that a camera or a scanner put into them: scaled by what they hold."""
    most = max(int(np.asarray(band).max()) for _, band in bands(picture, 1))
    full = next(full for full in (255, 1023, 4095, max(65535, most)) if most <= full)
    factor = reduction(picture)
    means = np.concatenate([block_means(np.asarray(band), factor) for _, band in bands(picture, factor)])
    brightness: Pixels = np.clip(np.round(means * (255 / full)), 0, 255).astype(np.uint8)
    return brightness


def block_means(values: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Of blocks of factor × factor; what is left over at the end is left out."""
    rows, columns = (size // factor for size in values.shape)
    blocks = values[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def reduced(picture: Image.Image, mode: str) -> Image.Image:
    """In the mode, and small enough to be looked at."""
    factor = reduction(picture)
    if factor == 1:
        return picture.convert(mode)
    small = Image.new(mode, (math.ceil(picture.width / factor), math.ceil(picture.height / factor)))
    for top, band in bands(picture, factor):
        small.paste(band.convert(mode).reduce(factor), (0, top // factor))
    return small


def reduction(picture: Image.Image) -> int:
    by_area = math.ceil(math.sqrt(picture.width * picture.height / MOST_DECODED_PIXELS))
    return max(1, by_area, min(picture.size) // DECODED_SIDE)


def bands(picture: Image.Image, factor: int) -> Iterator[tuple[int, Image.Image]]:
    """Parts of the picture from top to bottom, of a multiple of factor rows but for the last, and where they begin."""
    height = max(1, BAND_PIXELS // (picture.width * factor)) * factor
    for top in range(0, picture.height, height):
        yield top, picture.crop((0, top, picture.width, min(top + height, picture.height)))
