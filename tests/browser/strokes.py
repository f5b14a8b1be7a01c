"""Ten digits as a hand draws them with a mouse: strokes of points, 0…1 across and down, put down for these tests."""

import math
import random
from collections.abc import Iterator

Point = tuple[float, float]
Stroke = list[Point]

DIGITS: list[list[Stroke]] = [
    [[(0.55, 0.14), (0.38, 0.2), (0.28, 0.42), (0.3, 0.68), (0.44, 0.86), (0.62, 0.8), (0.72, 0.58), (0.7, 0.32), (0.6, 0.17), (0.53, 0.15)]],
    [[(0.55, 0.12), (0.53, 0.4), (0.5, 0.65), (0.48, 0.88)]],
    [[(0.28, 0.3), (0.36, 0.17), (0.52, 0.13), (0.66, 0.22), (0.66, 0.38), (0.54, 0.56), (0.38, 0.72), (0.26, 0.84), (0.46, 0.82), (0.74, 0.84)]],
    [[(0.3, 0.18), (0.48, 0.12), (0.64, 0.2), (0.63, 0.36), (0.46, 0.46), (0.64, 0.54), (0.7, 0.7), (0.58, 0.85), (0.4, 0.87), (0.27, 0.8)]],
    [[(0.36, 0.14), (0.3, 0.36), (0.27, 0.54), (0.48, 0.55), (0.76, 0.52)], [(0.64, 0.16), (0.62, 0.5), (0.58, 0.88)]],
    [[(0.7, 0.15), (0.4, 0.16), (0.37, 0.3), (0.34, 0.45), (0.52, 0.42), (0.67, 0.53), (0.68, 0.7), (0.56, 0.84), (0.4, 0.86), (0.28, 0.78)]],
    [[(0.62, 0.12), (0.46, 0.26), (0.34, 0.48), (0.31, 0.7), (0.42, 0.86), (0.6, 0.82), (0.66, 0.66), (0.56, 0.54), (0.42, 0.58), (0.33, 0.7)]],
    [[(0.26, 0.18), (0.48, 0.17), (0.72, 0.15), (0.62, 0.36), (0.52, 0.6), (0.45, 0.88)]],
    [[(0.64, 0.22), (0.5, 0.13), (0.37, 0.22), (0.4, 0.38), (0.56, 0.5), (0.67, 0.66), (0.62, 0.82), (0.46, 0.87), (0.34, 0.76), (0.38, 0.6), (0.54, 0.46), (0.64, 0.32), (0.64, 0.21)]],
    [[(0.66, 0.26), (0.52, 0.14), (0.37, 0.24), (0.36, 0.42), (0.5, 0.5), (0.64, 0.38), (0.67, 0.24), (0.65, 0.5), (0.6, 0.72), (0.56, 0.88)]],
]  # fmt: skip


def drawn(digit: int) -> list[Stroke]:
    """Its strokes, along smooth curves, with the tremor of a hand; each time the same."""
    tremor = random.Random(digit)
    return [
        [(x + tremor.gauss(0, 0.004), y + tremor.gauss(0, 0.004)) for x, y in curve(stroke)] for stroke in DIGITS[digit]
    ]


def curve(points: Stroke) -> Iterator[Point]:
    """Through all the points (Catmull and Rom 1974), some points to each twentieth of the paper."""
    padded = [points[0], *points, points[-1]]
    for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for step in range(count := max(2, round(math.dist(p1, p2) / 0.06))):
            t = step / count
            x, y = (
                0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
                for a, b, c, d in zip(p0, p1, p2, p3, strict=True)
            )
            yield x, y
    yield points[-1]
