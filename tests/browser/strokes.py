"""Ten digits as two hands draw them with a mouse: strokes of points, 0…1 across and down, put down for these tests."""

import io
import math
import random
from collections.abc import Callable, Iterator

from PIL import Image, ImageDraw

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

ANOTHER_HAND: list[list[Stroke]] = [
    [[(0.5, 0.1), (0.3, 0.16), (0.22, 0.5), (0.34, 0.84), (0.54, 0.9), (0.74, 0.72), (0.76, 0.4), (0.66, 0.16), (0.46, 0.1)]],
    [[(0.36, 0.28), (0.52, 0.12), (0.52, 0.5), (0.52, 0.9)]],
    [[(0.24, 0.26), (0.4, 0.12), (0.62, 0.14), (0.68, 0.34), (0.5, 0.6), (0.24, 0.86), (0.24, 0.87), (0.5, 0.86), (0.78, 0.86)]],
    [[(0.26, 0.14), (0.5, 0.13), (0.72, 0.14), (0.56, 0.3), (0.46, 0.42), (0.64, 0.48), (0.72, 0.66), (0.62, 0.84), (0.42, 0.88), (0.24, 0.78)]],
    [[(0.6, 0.1), (0.44, 0.34), (0.22, 0.62), (0.5, 0.63), (0.8, 0.62)], [(0.62, 0.4), (0.62, 0.66), (0.61, 0.92)]],
    [[(0.34, 0.14), (0.32, 0.3), (0.3, 0.46), (0.5, 0.4), (0.7, 0.52), (0.7, 0.74), (0.54, 0.88), (0.28, 0.84)], [(0.34, 0.14), (0.52, 0.14), (0.72, 0.13)]],
    [[(0.58, 0.1), (0.4, 0.3), (0.3, 0.6), (0.34, 0.82), (0.52, 0.9), (0.68, 0.76), (0.62, 0.58), (0.46, 0.56), (0.32, 0.68)]],
    [[(0.24, 0.16), (0.5, 0.15), (0.76, 0.16), (0.6, 0.45), (0.44, 0.9)], [(0.36, 0.52), (0.5, 0.51), (0.68, 0.52)]],
    [[(0.5, 0.5), (0.32, 0.34), (0.36, 0.16), (0.52, 0.11), (0.68, 0.2), (0.64, 0.38), (0.5, 0.5), (0.32, 0.66), (0.34, 0.84), (0.52, 0.9), (0.7, 0.8), (0.68, 0.64), (0.5, 0.5)]],
    [[(0.68, 0.24), (0.5, 0.12), (0.32, 0.26), (0.36, 0.46), (0.54, 0.5), (0.68, 0.34), (0.7, 0.2), (0.7, 0.5), (0.68, 0.9)]],
]  # fmt: skip

PEN = 20
"""Pixels of the 280 that the paper of the page has each way."""


def turned(degrees: float) -> Callable[[float, float], Point]:
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return lambda x, y: (
        0.5 + (x - 0.5) * cosine - (y - 0.5) * sine,
        0.5 + (x - 0.5) * sine + (y - 0.5) * cosine,
    )


WAYS: dict[str, tuple[Callable[[float, float], Point], int]] = {
    "as it is": (lambda x, y: (x, y), PEN),
    "small": (lambda x, y: (0.5 + (x - 0.5) / 2, 0.5 + (y - 0.5) / 2), PEN),
    "in a corner": (lambda x, y: (0.05 + x * 0.55, 0.42 + y * 0.55), PEN),
    "slanted to the right": (lambda x, y: (x - (y - 0.5) * 0.35, y), PEN),
    "slanted to the left": (lambda x, y: (x + (y - 0.5) * 0.25, y), PEN),
    "turned to the right": (turned(12), PEN),
    "turned to the left": (turned(-12), PEN),
    "wide": (lambda x, y: (0.5 + (x - 0.5) * 1.3, 0.5 + (y - 0.5) * 0.8), PEN),
    "narrow": (lambda x, y: (0.5 + (x - 0.5) * 0.7, y), PEN),
    "with a thin pen": (lambda x, y: (x, y), 8),
    "with a thick pen": (lambda x, y: (x, y), 36),
}
"""How people draw the same digit: where each point goes, and the pen."""


def picture(strokes: list[Stroke], way: str) -> bytes:
    """As a PNG of the page's size."""
    place, pen = WAYS[way]
    image = Image.new("L", (560, 560), 255)
    draw = ImageDraw.Draw(image)
    for stroke in strokes:
        points = [(560 * x, 560 * y) for x, y in (place(x, y) for x, y in stroke)]
        draw.line(points, fill=0, width=2 * pen)
        for x, y in points:
            draw.ellipse([x - pen, y - pen, x + pen, y + pen], fill=0)
    stream = io.BytesIO()
    image.resize((280, 280), Image.Resampling.BOX).save(stream, "PNG")
    return stream.getvalue()


def drawn(digit: int, hand: list[list[Stroke]] = DIGITS) -> list[Stroke]:
    """Its strokes, along smooth curves, with the tremor of a hand; each time the same."""
    tremor = random.Random(digit)
    return [
        [(x + tremor.gauss(0, 0.004), y + tremor.gauss(0, 0.004)) for x, y in curve(stroke)] for stroke in hand[digit]
    ]


def curve(points: Stroke) -> Iterator[Point]:
    """Through all the points (Catmull and Rom 1974), a point to each tenth of the paper and more."""
    padded = [points[0], *points, points[-1]]
    for p0, p1, p2, p3 in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for step in range(count := max(2, round(math.dist(p1, p2) / 0.1))):
            t = step / count
            x, y = (
                0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
                for a, b, c, d in zip(p0, p1, p2, p3, strict=True)
            )
            yield x, y
    yield points[-1]
