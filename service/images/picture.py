"""A PNG or JPEG of any size and kind → its brightness, upright and at a bounded size → the pixels of its digit.

What a decoded picture may cost is bounded before a pixel of it is decoded; where the digit is, `finding` says.
"""

import io
import threading
from contextlib import nullcontext

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from service.http.problems import BadInput, Location
from service.images.finding import NoDigitError, prepared

MOST_PICTURE_PIXELS = 40_000_000
"""In all the pictures of one request, as they are decoded: what bounds memory and time. It is checked before."""

MOST_JPEG_PIXELS = 50_000_000
"""Of which at most the above are decoded: a phone's 48 megapixels are read, at a quarter of their sides."""

DECODED_SIDE = 800
"""A picture's shorter side is made about so large while it is decoded: 100 px on an A4 page are still seen."""

LARGE_PICTURE_PIXELS = 4_000_000
"""Of pictures above this, one at a time is decoded in a process: their memory is what a process must have to spare."""

ONE_LARGE_PICTURE = threading.Lock()

Image.MAX_IMAGE_PIXELS = None  # the limit above is checked instead: Pillow's own is a warning first

Pixels = NDArray[np.uint8]


def read_picture(data: bytes, shape: tuple[int, int], location: Location, budget: int = MOST_PICTURE_PIXELS) -> Pixels:
    """The pixels, (rows × columns,), 0…255, of a PNG or JPEG. Raises BadInput."""
    grey = decoded(data, location, budget)
    try:
        return prepared(grey, shape).ravel()
    except NoDigitError as problem:
        raise BadInput(location, str(problem)) from None


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


def decoded(data: bytes, location: Location, budget: int = MOST_PICTURE_PIXELS) -> Pixels:
    """Brightness 0…255, (rows, columns), upright, its shorter side less than twice the decoded one."""
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
            drafted(picture)
            return brightness(picture)
    except BadInput:
        raise
    except Exception as error:  # Pillow raises whatever its decoders met
        raise BadInput(location, "the picture is damaged: it can't be decoded") from error


def brightness(picture: Image.Image) -> Pixels:
    """Brightness 0…255 of any kind of picture; what is transparent gets a background that the rest stands out from."""
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode.startswith("I"):
        return scaled_to_bytes(picture)
    if picture.has_transparency_data:
        return on_a_background(picture)
    if picture.mode == "L":
        return np.asarray(reduced(picture))
    if picture.mode in ("P", "PA", "1"):  # indices can't be averaged; they take as much as the grey that they become
        return np.asarray(reduced(picture.convert("L")))
    return np.asarray(reduced(picture).convert("RGB").convert("L"))


def on_a_background(picture: Image.Image) -> Pixels:
    """Composed onto white if what can be seen is dark, onto black if it is light."""
    if picture.mode in ("LA", "RGBA"):
        picture = reduced(picture)
    rgba = reduced(picture.convert("RGBA"))
    alpha = np.asarray(rgba.getchannel("A"), np.float32) / 255
    grey = np.asarray(rgba.convert("RGB").convert("L"), np.float32)
    total = float(alpha.sum())
    background = 0.0 if total > 0 and float((grey * alpha).sum()) / total > 127.5 else 255.0
    return np.round(grey * alpha + background * (1 - alpha)).astype(np.uint8)


def scaled_to_bytes(picture: Image.Image) -> Pixels:
    """16 bits, or the 8, 10 or 12 that a camera or a scanner put into them: scaled by what they hold."""
    values = np.asarray(picture)
    most = int(values.max())
    full = next(full for full in (255, 1023, 4095, max(65535, most)) if most <= full)
    factor = reduction(picture)
    rows, columns = (max(1, size // factor) for size in values.shape)
    total = np.zeros((rows, columns), np.float32)
    for down in range(min(factor, values.shape[0])):  # block means without a wider copy of the whole
        for across in range(min(factor, values.shape[1])):
            total += values[down::factor, across::factor][:rows, :columns]
    return np.clip(np.round(total * (255 / full / factor**2)), 0, 255).astype(np.uint8)


def reduction(picture: Image.Image) -> int:
    return max(1, min(picture.size) // DECODED_SIDE)


def reduced(picture: Image.Image) -> Image.Image:
    factor = reduction(picture)
    return picture.reduce(factor) if factor > 1 else picture
