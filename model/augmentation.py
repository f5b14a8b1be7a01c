"""Training images moved and turned a little, so that a network learns what stays the same."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.types import FloatArray

Pixels = TypeVar("Pixels", bound=NDArray[Any])
"""Bytes or floats."""


def shifted(x: Pixels, shape: tuple[int, int], most: int, random: np.random.Generator) -> Pixels:
    """The images moved by up to `most` pixels each way, all by the same amount; what comes in at an edge is 0.

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


def rotated(x: FloatArray, shape: tuple[int, int], most: float, random: np.random.Generator) -> FloatArray:
    """The images turned by up to `most` degrees each way, all by the same angle, with bilinear interpolation."""
    if most == 0:
        return x
    angle = np.deg2rad(random.uniform(-most, most))
    return turned(x, shape, float(angle))


def turned(x: FloatArray, shape: tuple[int, int], angle: float) -> FloatArray:
    """The images turned by an angle in radians about their middle; what comes in from outside is 0."""
    rows, columns = shape
    row, column = np.mgrid[0:rows, 0:columns].astype(np.float64)
    middle_row, middle_column = (rows - 1) / 2, (columns - 1) / 2
    down, right = row - middle_row, column - middle_column
    from_row = middle_row + np.cos(angle) * down - np.sin(angle) * right
    from_column = middle_column + np.sin(angle) * down + np.cos(angle) * right
    top, left = np.floor(from_row).astype(np.intp), np.floor(from_column).astype(np.intp)
    result = np.zeros_like(x)
    for r, c in ((0, 0), (0, 1), (1, 0), (1, 1)):
        at_row, at_column = top + r, left + c
        weight = (1 - np.abs(from_row - at_row)) * (1 - np.abs(from_column - at_column))
        inside = (at_row >= 0) & (at_row < rows) & (at_column >= 0) & (at_column < columns)
        source = np.where(inside, at_row * columns + at_column, 0).ravel()
        result += np.take(x, source, axis=1) * np.where(inside, weight, 0).ravel().astype(x.dtype)
    return np.clip(result, x.min(), x.max(), out=result)  # the weights of four neighbours add up to 1 but for rounding
