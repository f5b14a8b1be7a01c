"""Training images moved, turned and distorted a little, so that a network learns what stays the same."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.types import FloatArray, IntArray

Pixels = TypeVar("Pixels", bound=NDArray[Any])
"""Bytes or floats."""

Shape = tuple[int, int]

ROTATE, SHEAR, SCALE, ELASTIC, STROKE = 6.0, 0.12, 0.1, 0.8, 0.5
"""The most of each that a distortion of strength 1 does: degrees; columns per row; logarithms of the factors for width
and height; pixels, a standard deviation; a share of the difference to a pixel's lightest or darkest neighbour."""

SIGMA = 1 / 7
"""How smooth an elastic distortion is, as a share of the image's size: 4 of 28 pixels (Simard, Steinkraus and Platt
2003)."""

NEIGHBOURS: list[tuple[Any, Any]] = [
    (np.s_[1:], np.s_[:-1]),
    (np.s_[:-1], np.s_[1:]),
    (np.s_[:, 1:], np.s_[:, :-1]),
    (np.s_[:, :-1], np.s_[:, 1:]),
]
"""The pixels that have a neighbour above, below, to the left and to the right, and these neighbours."""

ALIKE = 50
"""Images of a batch that share a distortion, because copying rows of many images at a time is faster."""


def shifted(x: Pixels, shape: Shape, most: int, random: np.random.Generator) -> Pixels:
    """The images moved by up to `most` pixels in each direction, all by the same amount; what enters at an edge is 0.

    x: (n, rows × columns).
    """
    if most == 0:
        return x
    down, right = (int(shift) for shift in random.integers(-most, most + 1, 2))
    if down == right == 0:
        return x
    rows, columns = shape
    images = x.reshape(len(x), rows, columns)
    moved = np.zeros_like(images)
    target = (slice(max(down, 0), rows + min(down, 0)), slice(max(right, 0), columns + min(right, 0)))
    source = (slice(max(-down, 0), rows + min(-down, 0)), slice(max(-right, 0), columns + min(-right, 0)))
    moved[:, *target] = images[:, *source]
    return moved.reshape(x.shape)  # type: ignore[return-value]  # of the type of x


def turned(x: FloatArray, shape: Shape, angle: float) -> FloatArray:
    """The images turned by an angle in radians about their middle; what comes in from outside is 0."""
    down, right = from_the_middle(shape)
    row = np.cos(angle) * down - np.sin(angle) * right
    column = np.sin(angle) * down + np.cos(angle) * right
    result = Resampling(row, column, shape)(np.ascontiguousarray(x.T)).T
    return np.clip(result, x.min(), x.max())  # the weights of four neighbours add up to 1 but for rounding


def from_the_middle(shape: Shape) -> tuple[FloatArray, FloatArray]:
    """Rows down and columns to the right of each pixel, (rows × columns,)."""
    rows, columns = shape
    down, right = np.mgrid[0:rows, 0:columns].reshape(2, -1).astype(np.float32)
    return down - (rows - 1) / 2, right - (columns - 1) / 2


class Resampling:
    """Takes each pixel of an image from elsewhere in it, with bilinear interpolation; what is outside is 0.

    down, right: from the image's middle, (rows × columns,), or (k, rows × columns) for k resamplings.
    """

    def __init__(self, down: FloatArray, right: FloatArray, shape: Shape) -> None:
        (top, above, below), (left, before, after) = (
            neighbours(distance, size) for distance, size in zip((down, right), shape, strict=True)
        )
        columns = shape[1]
        bottom, next_column = np.minimum(top + 1, shape[0] - 1), np.minimum(left + 1, columns - 1)
        self.sources = [row * columns + column for row in (top, bottom) for column in (left, next_column)]
        self.weights = [(row * column)[..., np.newaxis] for row in (above, below) for column in (before, after)]

    def __call__(self, pixels: FloatArray, number: int | tuple[()] = ()) -> FloatArray:
        """pixels: (rows × columns, n); number: of the resampling, where there are several."""
        result, part = np.empty_like(pixels), np.empty_like(pixels)
        for neighbour, (source, weight) in enumerate(zip(self.sources, self.weights, strict=True)):
            to = part if neighbour else result
            np.take(pixels, source[number], axis=0, out=to, mode="clip")
            to *= weight[number]
            if neighbour:
                result += part
        return result


def neighbours(distance: FloatArray, size: int) -> tuple[IntArray, FloatArray, FloatArray]:
    """Along one axis: the pixel before a place, and the weights of that pixel and the next, 0 for one outside."""
    at = np.clip(distance + (size - 1) / 2, -1, size)
    first = np.floor(at)
    after = (at - first).astype(np.float32)
    before = 1 - after
    before[(first < 0) | (first >= size)] = 0
    after[first >= size - 1] = 0
    return np.clip(first, 0, size - 1).astype(np.intp), before, after


class Distortions:
    """Random distortions of images: elastic, and in angle, slant, width, height, place and stroke width.

    strength: 1 for those above, 0 for none of them; shift: most pixels by which images are moved, and rotate: most
    degrees by which they are turned, whatever the strength.
    """

    def __init__(
        self,
        count: int,
        shape: Shape,
        random: np.random.Generator,
        strength: float = 1,
        *,
        shift: float = 0,
        rotate: float = 0,
    ) -> None:
        def uniform(limit: float) -> FloatArray:
            return random.uniform(-limit, limit, (count, 1)).astype(np.float32)

        self.shape = shape
        self.count = count
        self.stroke = strength * STROKE
        down, right = from_the_middle(shape)
        angle, shear = np.radians(uniform(max(rotate, strength * ROTATE))), uniform(strength * SHEAR)
        taller, wider = np.exp(uniform(strength * SCALE)), np.exp(uniform(strength * SCALE))
        elastic = strength * ELASTIC * smooth_fields(2 * count, shape, random)
        from_row = (np.cos(angle) * down - np.sin(angle) * right) / taller
        from_column = ((np.sin(angle) + shear) * down + np.cos(angle) * right) / wider
        self.resampling = Resampling(
            from_row + uniform(shift) + elastic[:count], from_column + uniform(shift) + elastic[count:], shape
        )

    def __call__(self, images: NDArray[np.uint8], random: np.random.Generator) -> FloatArray:
        """The images, (n, rows × columns), 0…255, as float32 0…1, each group of ALIKE by one of the distortions."""
        x = np.empty(images.T.shape, np.float32)
        for start in range(0, len(images), ALIKE):
            group = np.s_[start : start + ALIKE]
            pixels = np.multiply(images[group].T, np.float32(1 / 255), dtype=np.float32, order="C")
            resampled = self.resampling(pixels, int(random.integers(self.count)))
            x[:, group] = with_strokes(resampled, self.shape, float(random.uniform(-self.stroke, self.stroke)))
        return x.T


def smooth_fields(count: int, shape: Shape, random: np.random.Generator) -> FloatArray:
    """Random numbers that change smoothly over an image, of standard deviation 1: (count, rows × columns).

    Simard, Steinkraus and Platt smooth a random number for each pixel by a Gaussian. Here are only 8 × 8 numbers, each
    multiplied by a Gaussian bump of its own.
    """
    down, across = (bumps(size) for size in shape)
    numbers = random.standard_normal((count, len(down), len(across)), np.float32)
    return (down.T @ numbers @ across).reshape(count, -1)


def bumps(size: int) -> FloatArray:
    """Gaussians along one axis, (8, size). The squares of those at a pixel add up to 1."""
    pixels, middles = np.arange(size) - (size - 1) / 2, np.linspace(-size / 2, size / 2, 8)
    gaussians = np.exp(-(((pixels - middles[:, np.newaxis]) / (SIGMA * size)) ** 2) / 2)
    normalised: FloatArray = (gaussians / np.sqrt((gaussians**2).sum(axis=0))).astype(np.float32)
    return normalised


def with_strokes(pixels: FloatArray, shape: Shape, by: float) -> FloatArray:
    """With wider strokes, or narrower ones where `by` is negative: a mean of each pixel and of the lightest, or
    darkest, of it and its four neighbours. pixels: (rows × columns, n)."""
    if by == 0:
        return pixels
    images = pixels.reshape(*shape, -1)
    extreme = np.maximum if by > 0 else np.minimum
    changed = images.copy()
    for to, neighbour in NEIGHBOURS:
        extreme(changed[to], images[neighbour], out=changed[to])
    changed -= images
    changed *= np.float32(abs(by))
    changed += images
    return changed.reshape(pixels.shape)
