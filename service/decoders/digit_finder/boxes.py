"""Boxes around strokes: left, top, right, bottom, of which the last two are excluded."""

import math

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]


def scaled(box: Box, across: float, down: float) -> Box:
    """The box in smaller pixels, across and down of which make one of its own. Pixels that it cuts are in it."""
    left, top, right, bottom = box
    return math.floor(left * across), math.floor(top * down), math.ceil(right * across), math.ceil(bottom * down)


def longer_side(box: Box) -> int:
    return max(box[2] - box[0], box[3] - box[1])


def bounds(mask: NDArray[np.bool_]) -> Box:
    """Of what is True, of which there is some."""
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def grown(box: Box, by: int) -> Box:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


def inside(inner: Box, outer: Box) -> bool:
    return inner[0] > outer[0] and inner[1] > outer[1] and inner[2] < outer[2] and inner[3] < outer[3]


def box_area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def union(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def gaps(a: Box, b: Box) -> tuple[int, int]:
    return max(0, a[0] - b[2], b[0] - a[2]), max(0, a[1] - b[3], b[1] - a[3])


def gap_between(a: Box, b: Box) -> float:
    return math.hypot(*gaps(a, b))


def box_of(stats: NDArray[np.int32]) -> Box:
    x, y, width, height, _ = stats.tolist()
    return x, y, x + width, y + height
