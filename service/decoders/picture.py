"""A picture of any kind and size → its brightness, upright and at a bounded size → the pixels of its digit.

What decoding a picture may cost is bounded before a pixel of it is decoded.
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
from PIL import Image

from service.decoders.digit_finder import BOTH, Digit, NoDigitError, SeveralDigitsError, find, find_row, scaled
from service.decoders.picture_kinds import JPEG, Header, PictureKind, read_header
from service.decoders.picture_kinds.kind import ORIENTATION
from service.http.problems import BadInput, Kind, Location

MOST_PICTURE_PIXELS = 40_000_000
"""In all the pictures of one request, as they are decoded: what bounds memory and time. It is checked before. Pixels of
more than a byte of grey count for more, as `WEIGHTS` has it."""

MOST_JPEG_PIXELS = 50_000_000
"""In all JPEGs of a request, of which at most the above are decoded: a phone's 48 megapixels are read, at a quarter of
their sides."""

MOST_COEFFICIENTS = 50_000_000
"""Of a JPEG of several scans, all of which libjpeg holds, in two bytes each."""

WEIGHTS = {"grey of 16 bits": 1.5, "colour": 1.6, "transparency": 3.0}
"""What a pixel costs, of one of 8 bits of grey; 16 bits of a colour are twice as much."""

DECODED_SIDE = 800
"""A picture's shorter side is made about so large while it is decoded: 100 px on an A4 page are still seen."""

MOST_DECODED_PIXELS = (2 * DECODED_SIDE) ** 2
"""Of a long and thin picture, too."""

LARGE_PICTURE_PIXELS = 4_000_000
"""Of pictures above this, one at a time is decoded in a process: their memory is what a process must have to spare."""

BAND_PIXELS = 1_000_000
"""A large picture is converted and reduced in bands of about this size, so that little of it is in memory twice."""

ONE_LARGE_PICTURE = threading.Lock()

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by EXIF's orientation."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Decoded:
    """brightness: 0…255, (rows, columns), upright; across, down: pixels of the picture as sent in one of these."""

    brightness: Pixels
    across: float
    down: float


@dataclass(frozen=True)
class Cost:
    """decoded: pixels, by what each of them costs; jpeg: of a JPEG, all that it has."""

    decoded: int
    jpeg: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.decoded + other.decoded, self.jpeg + other.jpeg)

    def check(self, location: Location) -> None:
        """Raises BadInput for more than is read in one request."""
        for cost, most in ((self.jpeg, MOST_JPEG_PIXELS), (self.decoded, MOST_PICTURE_PIXELS)):
            if cost > most:
                raise BadInput(
                    location,
                    f"the picture has more than {most:,} pixels, the most that is read in one request: colours and "
                    "transparency count for more",
                )


def read_picture(data: bytes, shape: tuple[int, int], location: Location) -> Digit:
    """The digit in a picture. Raises BadInput."""
    (digit,) = read_digits(data, shape, location)
    return digit


def read_digits(
    data: bytes, shape: tuple[int, int], location: Location, polarity: str | None = None, *, several: bool = False
) -> list[Digit]:
    """The one digit in a picture, or several from left to right, their boxes in pixels of the picture as sent, upright.

    polarity: whether the strokes are dark or light, where the sender says so. Raises BadInput.
    """
    picture = decoded(data, location)
    polarities = BOTH if polarity is None else (polarity == "dark",)
    try:
        if several:
            digits = find_row(picture.brightness, shape, polarities)
        else:
            digits = [find(picture.brightness, shape, polarities)]
    except SeveralDigitsError as problem:
        raise BadInput(location, str(problem), Kind.SEVERAL_DIGITS) from None
    except NoDigitError as problem:
        raise BadInput(location, str(problem), Kind.NO_DIGIT) from None
    return [replace(digit, box=scaled(digit.box, picture.across, picture.down)) for digit in digits]


def header_and_cost(data: bytes, location: Location) -> tuple[PictureKind, Header, Cost]:
    """What decoding it costs, from the header alone. Raises BadInput."""
    kind, header = read_header(data, location)
    # before Pillow, which would warn of a large one or refuse it
    (Cost(0, header.pixels) if kind is JPEG else Cost(decoding(kind, header))).check(location)
    try:
        with opened(kind, header) as picture:
            if picture.width * picture.height > header.pixels:
                raise ValueError  # Pillow reads it as a larger picture than was counted
            if kind is not JPEG:
                return kind, header, Cost(decoding(kind, header, weight(picture)))
            if header.scans > 1 and coefficients(picture) > MOST_COEFFICIENTS:
                raise BadInput(location, "too large for a JPEG of several scans: save it as a baseline one")
            drafted(picture)
            cost = Cost(int(picture.width * picture.height * weight(picture)), header.pixels)
            return kind, header, cost
    except BadInput:
        raise
    except Exception as error:  # Pillow raises whatever its parsers met
        raise BadInput(location, f"the {kind.name} file can't be read") from error


def decoding(kind: PictureKind, header: Header, weight: float = 1) -> int:
    """What it costs to decode a picture that is decoded whole."""
    return int(max(header.pixels * max(weight, kind.pixel_cost), len(header.data) * kind.byte_cost))


def opened(kind: PictureKind, header: Header) -> Image.Image:
    return Image.open(io.BytesIO(header.data), formats=(kind.pillow,))


def weight(picture: Any) -> float:
    grey = picture.mode in ("1", "L", "P", "I", "I;16", "I;16B")
    kind = "transparency" if picture.has_transparency_data else "grey of 16 bits" if "I" in picture.mode else "colour"
    if grey and kind == "colour":
        return 1
    return WEIGHTS[kind] * (2 if "16" in str(picture.tile) and not grey else 1)


def coefficients(picture: Any) -> float:
    """Of a JPEG, whose components may be coarser than its pixels."""
    across, down = (max(component[i] for component in picture.layer) for i in (1, 2))
    share = sum(component[1] * component[2] for component in picture.layer) / (across * down)
    return float(picture.width * picture.height * share)


def drafted(picture: Image.Image) -> None:
    """A JPEG can be decoded at a half, a quarter or an eighth of its size."""
    picture.draft(None, (DECODED_SIDE, DECODED_SIDE))


def decoded(data: bytes, location: Location) -> Decoded:
    """The picture's brightness, upright, its shorter side less than twice the decoded one. Raises BadInput."""
    kind, header, cost = header_and_cost(data, location)
    cost.check(location)
    try:
        with (
            ONE_LARGE_PICTURE if header.pixels > LARGE_PICTURE_PIXELS else nullcontext(),
            opened(kind, header) as picture,
        ):
            sent = picture.size
            drafted(picture)
            orientation = header.orientation or picture.getexif().get(ORIENTATION, 1)
            grey = brightness(picture)
    except Exception as error:  # Pillow raises whatever its decoders met
        raise BadInput(location, "the picture is damaged: it can't be decoded") from error
    turn = TURNS.get(orientation)
    upright = grey if turn is None else np.asarray(Image.fromarray(grey).transpose(turn))
    columns, rows = sent[::-1] if orientation in (5, 6, 7, 8) else sent
    return Decoded(upright, columns / upright.shape[1], rows / upright.shape[0])


def brightness(picture: Image.Image) -> Pixels:
    """Brightness 0…255 of any kind of picture. Transparent pixels get a background from which the others stand out."""
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
