"""Pictures of a digit on the papers, under the light and with the dirt that people have; and of what isn't a digit."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[Any]
Kind = Callable[[NDArray[np.uint8], np.random.Generator], Field]

PAPER, PEN = 0.9, 0.15


def encoded(picture: Field) -> bytes:
    """As a PNG; brightness 0…1."""
    stream = io.BytesIO()
    Image.fromarray(np.clip(np.round(picture * 255), 0, 255).astype(np.uint8)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def written(digit: NDArray[np.uint8], side: int = 360, height: float = 0.6, pen: float = PEN) -> Field:
    """On paper, crisp, in the middle."""
    large = round(side * height)
    field = Image.fromarray(digit).resize((large, large), Image.Resampling.BICUBIC)
    ink = np.zeros((side, side))
    at = (side - large) // 2
    ink[at : at + large, at : at + large] = np.clip((np.asarray(field, float) / 255 - 0.5) * 4 + 0.5, 0, 1)
    return PAPER + (pen - PAPER) * ink


GAPS = (1, 2, 3, 4, 6, 8, 12, 16, 20)
"""Between the digits of a row, in pixels of their 28 × 28."""


def written_row(digits: list[NDArray[np.uint8]], gap: int, scale: int = 6) -> Field:
    """On paper, crisp, from left to right, with that many pixels from one digit to the next."""
    cut = [
        digit[:, np.flatnonzero(digit.any(axis=0))[0] : np.flatnonzero(digit.any(axis=0))[-1] + 1] for digit in digits
    ]
    parts = [part for digit in cut for part in (np.zeros((28, gap), np.uint8), digit)][1:]
    row = Image.fromarray(np.pad(np.hstack(parts), 6))
    field = row.resize((row.width * scale, row.height * scale), Image.Resampling.BICUBIC)
    ink = np.clip((np.asarray(field, float) / 255 - 0.5) * 4 + 0.5, 0, 1)
    return PAPER + (PEN - PAPER) * ink


def grainy(picture: Field, deviation: float, random: np.random.Generator) -> Field:
    return np.clip(picture + random.normal(0, deviation, picture.shape), 0, 1)


def salted(picture: Field, share: float, random: np.random.Generator) -> Field:
    return np.where(random.random(picture.shape) < share, 0.05, picture)


def lined(picture: Field, gap: int = 45, contrast: float = 0.3, squared: bool = False) -> Field:
    down, across = np.indices(picture.shape)
    lines = (down % gap) < 2
    if squared:
        lines |= (across % gap) < 2
    return np.where(lines, np.minimum(picture, PAPER - contrast), picture)


def outlined(picture: Field, inset: int, width: int) -> Field:
    picture, end = picture.copy(), -inset or None
    inner = slice(inset + width, -inset - width)
    kept = picture[inner, inner].copy()
    rest = picture[inset:end, inset:end]
    rest[...] = 0.1
    picture[inner, inner] = kept
    return picture


def specked(picture: Field, random: np.random.Generator) -> Field:
    picture, (down, across) = picture.copy(), np.indices(picture.shape)
    for y, x in random.integers(8, 50, (3, 2)):
        picture[(down - y) ** 2 + (across - x) ** 2 < 16] = 0.1
    return picture


def on_a_desk(picture: Field) -> Field:
    picture = picture.copy()
    picture[:, :30] = 0.3
    return picture


def turned(picture: Field, degrees: float = 5) -> Field:
    """With what a scanner puts into the corners: black."""
    image = Image.fromarray(np.round(picture * 255).astype(np.uint8))
    return np.asarray(image.rotate(degrees, Image.Resampling.BICUBIC), float) / 255


def cropped(picture: Field, margin: int = 0) -> Field:
    ink = np.pad(picture, margin, constant_values=PAPER) < 0.6
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def broken(picture: Field, gap: int = 10) -> Field:
    """Where the pen lost touch: a slanted band through the middle of the ink."""
    down, across = np.indices(picture.shape)
    ys, xs = np.nonzero(picture < 0.6)
    away = (down - ys.mean()) + 0.6 * (across - xs.mean())
    return np.where(np.abs(away) < gap / 2 * np.hypot(1, 0.6), PAPER, picture)


def shaded(picture: Field) -> Field:
    down, across = np.indices(picture.shape) / picture.shape[0]
    return picture * np.where(down + across < 0.9, 1, 0.6)


def reduced(picture: Field, side: int = 28) -> Field:
    image = Image.fromarray(picture.astype(np.float32)).resize((side, side), Image.Resampling.BOX)
    return np.asarray(image, float)


def enlarged(picture: Field, side: int = 360) -> Field:
    image = Image.fromarray(picture.astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(image, float)


def far_away(digit: NDArray[np.uint8]) -> Field:
    page = np.full((1754, 1240), PAPER)
    page[400:480, 300:380] = written(digit, 80, 1.0)
    return page


def reduced_by(picture: Field, factor: int) -> Field:
    rows, columns = (size // factor for size in picture.shape)
    blocks: Field = (
        picture[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    )
    return blocks


def on_a_page(row: Field) -> Field:
    small = reduced_by(row, 2)
    page = np.full((1200, 1400), PAPER)
    page[500 : 500 + small.shape[0], 60 : 60 + small.shape[1]] = small
    return page


def disc(radius: int, side: int = 300) -> Field:
    """As a pen leaves it that is set down and lifted again."""
    down, across = np.indices((side, side)) - side / 2
    field: Field = PAPER + (PEN - PAPER) * np.clip(radius - np.hypot(down, across) + 0.5, 0, 1)
    return field


TO_BE_READ: dict[str, Kind] = {
    "plain": lambda digit, random: written(digit),
    "white on black": lambda digit, random: 1 - written(digit),
    "grain": lambda digit, random: grainy(written(digit), 0.1, random),
    "specks": lambda digit, random: specked(written(digit), random),
    "salt": lambda digit, random: salted(written(digit), 0.005, random),
    "lines": lambda digit, random: lined(written(digit)),
    "squares": lambda digit, random: lined(written(digit), 36, squared=True),
    "a frame": lambda digit, random: outlined(written(digit), 0, 2),
    "the box of a form": lambda digit, random: outlined(written(digit), 24, 3),
    "a frame inside of the rim": lambda digit, random: outlined(written(digit), 8, 2),
    "white on black, the box of a form": lambda digit, random: 1 - outlined(written(digit), 24, 3),
    "a desk": lambda digit, random: on_a_desk(written(digit)),
    "black corners": lambda digit, random: turned(written(digit)),
    "a shadow": lambda digit, random: shaded(written(digit)),
    "cropped tightly": lambda digit, random: cropped(written(digit)),
    "cropped tightly, white on black": lambda digit, random: 1 - cropped(written(digit)),
    "cropped, a margin of two pixels": lambda digit, random: np.pad(cropped(written(digit)), 2, constant_values=PAPER),
    "a broken stroke": lambda digit, random: broken(written(digit)),
    "faint pencil": lambda digit, random: grainy(written(digit, pen=0.65), 0.03, random),
    "small on a page": lambda digit, random: far_away(digit),
    "28 × 28, small": lambda digit, random: reduced(written(digit)),
    "28 × 28, grain": lambda digit, random: grainy(0.9 - 0.8 * digit / 255, 0.04, random),
}

ROWS_TO_BE_READ: dict[str, Callable[[Field, np.random.Generator], Field]] = {
    "plain": lambda row, random: row,
    "white on black": lambda row, random: 1 - row,
    "grain": lambda row, random: grainy(row, 0.08, random),
    "salt": lambda row, random: salted(row, 0.005, random),
    "lines": lambda row, random: lined(row),
    "squares": lambda row, random: lined(row, 36, squared=True),
    "the box of a form": lambda row, random: outlined(np.pad(row, 24, constant_values=PAPER), 12, 3),
    "a shadow": lambda row, random: shaded(row),
    "small on a page": lambda row, random: on_a_page(row),
    "28 pixels high": lambda row, random: reduced_by(row, 6),
}

TO_BE_REFUSED: dict[str, Kind] = {
    "blank": lambda digit, random: np.full((300, 300), PAPER),
    "blank, grain": lambda digit, random: grainy(np.full((300, 300), PAPER), 0.05, random),
    "blank, lines": lambda digit, random: lined(np.full((360, 360), PAPER)),
    "blank, the box of a form": lambda digit, random: outlined(np.full((360, 360), PAPER), 24, 3),
    "blank, 28 × 28": lambda digit, random: np.ones((28, 28)),
    "noise": lambda digit, random: random.random((300, 300)),
    "noise, 28 × 28": lambda digit, random: random.random((28, 28)),
    "slanted stripes": lambda digit, random: np.indices((300, 300)).sum(axis=0) // random.integers(4, 33) % 2,
    "a checkerboard": lambda digit, random: (np.indices((300, 300)) // random.integers(4, 33)).sum(axis=0) % 2,
    "a disc": lambda digit, random: disc(int(random.integers(10, 50))),
    "blots": lambda digit, random: enlarged(random.random((12, 12))),
    "two digits": lambda digit, random: np.hstack([written(digit, 240), written(digit, 240)]),
}
