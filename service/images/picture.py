"""A picture of a digit, of any size, on any background → what the network was trained on.

MNIST's authors fitted each digit into 20 × 20 pixels, its proportions kept, and put it into 28 × 28 with its centre of
mass in the middle, light on dark. A picture that has the network's size already is taken to be so; only its polarity
is seen to. Any other is brought there, photographs of dark ink on lighter paper included.
"""

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from service.http.problems import BadInput, Location

MOST_PICTURE_PIXELS = 40_000_000
"""In all the pictures of one request: what bounds memory and time. It is checked before a pixel is decoded."""

WORKING_SIDE = 400
"""A picture is made about so large before it is looked at: enough for any digit, and as quick for any camera."""

FITTED_SHARE = 20 / 28
INK = 0.25
"""Of the strongest stroke: what counts as the digit when its edges are looked for."""

THINNEST_STROKE = 0.09
"""Of the digit's longer side. Thinner strokes are thickened: scaled down they would fade."""

LEAST_CONTRAST = 0.06

Image.MAX_IMAGE_PIXELS = None  # the limit above is checked instead: Pillow's own is a warning first

Pixels = NDArray[np.uint8]
Grey = NDArray[np.float32]


def read_picture(data: bytes, shape: tuple[int, int], location: Location, budget: int = MOST_PICTURE_PIXELS) -> Pixels:
    """The pixels, (rows × columns,), 0…255, of a PNG or JPEG. Raises BadInput."""
    return np.round(prepared(decoded(data, location, budget), shape, location) * 255).astype(np.uint8).ravel()


def picture_size(data: bytes, location: Location) -> int:
    """How many pixels a picture says that it has, from its header alone. Raises BadInput."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            return picture.width * picture.height
    except Exception as error:  # Pillow raises whatever its parsers met
        raise BadInput(location, "not a PNG or JPEG picture that can be read") from error


def decoded(data: bytes, location: Location, budget: int = MOST_PICTURE_PIXELS) -> Grey:
    """Brightness 0…1, (rows, columns), upright, at about the working size."""
    if picture_size(data, location) > budget:
        raise BadInput(location, f"the picture has more than {budget:,} pixels, the most that is read in one request")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            if getattr(picture, "is_animated", False):
                raise BadInput(location, "an animated picture: expected a single image")
            picture.draft("RGB", (WORKING_SIDE, WORKING_SIDE))  # a JPEG can be decoded at a fraction of its size
            return brightness(picture)
    except BadInput:
        raise
    except Exception as error:  # Pillow raises whatever its decoders met
        raise BadInput(location, "the picture is damaged: it can't be decoded") from error


def brightness(picture: Image.Image) -> Grey:
    """Brightness 0…1 of any kind of picture; what is transparent gets the background that the rest stands out from."""
    upright: Image.Image = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):  # 16 bits: a conversion to bytes would cut instead of scale
        sixteen = np.asarray(upright, np.float32) / 65535
        return reduced(Image.fromarray(sixteen))
    if upright.has_transparency_data:
        rgba = reduced_image(upright.convert("RGBA"))
        grey = np.asarray(rgba.convert("RGB").convert("L"), np.float32) / 255
        alpha = np.asarray(rgba.getchannel("A"), np.float32) / 255
        total = float(alpha.sum())
        background = 0.0 if total > 0 and float((grey * alpha).sum()) / total > 0.5 else 1.0
        composed: Grey = (grey * alpha + background * (1 - alpha)).astype(np.float32)
        return composed
    if upright.mode != "L":
        upright = upright.convert("RGB").convert("L")
    grey = np.asarray(reduced_image(upright), np.float32) / 255
    return grey.astype(np.float32)


def reduced_image(picture: Image.Image) -> Image.Image:
    factor = min(picture.size) // WORKING_SIDE
    return picture.reduce(factor) if factor > 1 else picture


def reduced(picture: Image.Image) -> Grey:
    return np.asarray(reduced_image(picture), np.float32)


def prepared(grey: Grey, shape: tuple[int, int], location: Location) -> Grey:
    """Light on dark, 0…1, of the network's shape, the digit fitted in and centred."""
    if grey.shape == shape:
        return 1 - grey if dark_on_light(grey) else grey
    ink = ink_of(grey, location)
    left, top, right, bottom = bounding_box(ink)
    thick = thickened(ink[top:bottom, left:right])
    return centred(fitted(thick, shape), shape)


def border_of(grey: NDArray[Any]) -> NDArray[Any]:
    """The values of the outermost twentieth of each side."""
    width = max(1, min(grey.shape) // 20)
    inside = np.zeros(grey.shape, bool)
    inside[width:-width, width:-width] = True
    return ~inside


def dark_on_light(grey: Grey) -> bool:
    return bool(np.median(grey[border_of(grey)]) > (grey.min() + grey.max()) / 2)


def ink_of(grey: Grey, location: Location) -> Grey:
    """How much each pixel stands out from the background, 0…1.

    The background is a plane fitted to the border, so that light falling from one side does not count as ink; ink is
    what lies on the side of it, darker or lighter, where the strongest differences are; what varies as little as the
    border does is noise.
    """
    rows, columns = grey.shape
    border = border_of(grey)
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    terms = np.stack([np.ones_like(x), x / columns, y / rows], axis=-1)
    near, values = terms[border], grey[border]
    background = np.ones(len(values), bool)
    for _ in range(3):  # where the digit touches the border it is taken for background the first time only
        plane, *_ = np.linalg.lstsq(near[background], values[background], rcond=None)
        off = np.abs(values - near @ plane)
        background = off <= 3 * np.median(off) + 0.01
    difference = grey - terms @ plane
    if -difference.min() > difference.max():
        difference = -difference
    noise = 2.5 * float(np.median(off))
    strongest = float(difference.max())
    if min(grey.shape) < 3 or smoothed(difference).max() < LEAST_CONTRAST or strongest < 1.5 * noise:
        raise BadInput(location, "nothing stands out from the picture's background: expected a digit")
    ink: Grey = np.clip((difference - noise) / (0.9 * strongest - noise), 0, 1).astype(np.float32)
    return ink


def smoothed(values: Grey) -> Grey:
    """The mean of each 3 × 3 pixels: grain fades, a stroke stays."""
    across = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    both: Grey = (across[:-2] + across[1:-1] + across[2:]) / 9
    return both


def bounding_box(ink: Grey) -> tuple[int, int, int, int]:
    """left, top, right, bottom of what counts as ink."""
    mask = ink > INK
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def thickened(ink: Grey) -> Grey:
    """Ink with strokes that are wide enough to be scaled down. A stroke's width is about 2 × area / perimeter."""
    mask = np.pad(ink > INK, 1)
    perimeter = int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())
    missing = THINNEST_STROKE * max(ink.shape) - 2 * float(mask.sum()) / perimeter
    if missing < 1:
        return ink
    grow = math.ceil(missing / 2)
    wider = Image.fromarray(np.round(np.pad(ink, grow) * 255).astype(np.uint8)).filter(
        ImageFilter.MaxFilter(2 * grow + 1)
    )
    return np.asarray(wider, np.float32) / np.float32(255)


def fitted(ink: Grey, shape: tuple[int, int]) -> Grey:
    """The digit scaled, its proportions kept, into MNIST's share of the shape."""
    rows, columns = (max(1, round(size * FITTED_SHARE)) for size in shape)
    scale = min(rows / ink.shape[0], columns / ink.shape[1])
    height, width = (max(1, round(size * scale)) for size in ink.shape)
    small = np.asarray(
        Image.fromarray(ink).resize((width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    )
    strongest = float(small.max())
    return np.clip(small / max(strongest, 1e-6), 0, 1).astype(np.float32)


def centred(digit: Grey, shape: tuple[int, int]) -> Grey:
    """The digit in an empty image of the shape, its centre of mass in the middle, as far as it fits."""
    image = np.zeros(shape, np.float32)
    at = []
    for axis, size in enumerate(shape):
        mass = digit.sum(axis=1 - axis)
        centre = float((mass * (np.arange(len(mass)) + 0.5)).sum() / mass.sum())
        at.append(min(max(0, round(size / 2 - centre)), size - digit.shape[axis]))
    image[at[0] : at[0] + digit.shape[0], at[1] : at[1] + digit.shape[1]] = digit
    return image
