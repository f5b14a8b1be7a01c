"""Digits drawn by code, as pictures of any size, thickness, polarity and place, and the light of a photograph."""

import io

import numpy as np
from PIL import Image, ImageDraw

STROKES: dict[int, list[list[tuple[float, float]]]] = {
    0: [
        [
            (0.5, 0),
            (0.25, 0.08),
            (0.12, 0.3),
            (0.1, 0.6),
            (0.2, 0.88),
            (0.45, 1),
            (0.7, 0.92),
            (0.85, 0.65),
            (0.85, 0.3),
            (0.72, 0.08),
            (0.5, 0),
        ]
    ],
    1: [[(0.55, 0), (0.5, 0.5), (0.45, 1)]],
    2: [
        [
            (0.1, 0.2),
            (0.3, 0.02),
            (0.65, 0.02),
            (0.82, 0.22),
            (0.7, 0.45),
            (0.35, 0.75),
            (0.08, 0.98),
            (0.4, 0.95),
            (0.92, 0.98),
        ]
    ],
    3: [
        [
            (0.15, 0.08),
            (0.5, 0),
            (0.8, 0.12),
            (0.78, 0.35),
            (0.45, 0.47),
            (0.8, 0.6),
            (0.85, 0.82),
            (0.55, 1),
            (0.12, 0.92),
        ]
    ],
    4: [[(0.2, 0), (0.12, 0.5), (0.85, 0.52)], [(0.75, 0.02), (0.72, 0.5), (0.65, 1)]],
    7: [[(0.08, 0.08), (0.85, 0.05), (0.6, 0.45), (0.42, 1)]],
}


def drawn(
    digit: int,
    *,
    side: int = 200,
    thickness: float = 0.12,
    height: float = 0.7,
    centre: tuple[float, float] = (0.5, 0.5),
    ink: int = 0,
    paper: int = 255,
) -> Image.Image:
    """A digit of `height` × side, with strokes of `thickness` × its own height, its middle at centre × side."""
    image = Image.new("L", (side, side), paper)
    pen = ImageDraw.Draw(image)
    tall = side * height
    width = max(1, round(thickness * tall))
    for stroke in STROKES[digit]:
        points = [(side * centre[0] + (x - 0.5) * tall * 0.7, side * centre[1] + (y - 0.5) * tall) for x, y in stroke]
        pen.line(points, fill=ink, width=width, joint="curve")
        for x, y in points:
            pen.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=ink)
    return image


def photographed(image: Image.Image, seed: int = 0) -> Image.Image:
    """Uneven light, paper that is not white, grain and a little blur."""
    random = np.random.default_rng(seed)
    rows, columns = image.height, image.width
    y, x = np.mgrid[0:rows, 0:columns]
    light = 0.55 + 0.35 * x / columns + 0.1 * y / rows
    pixels = np.asarray(image, np.float64) * 0.7 + 40
    pixels = pixels * light + random.normal(0, 4, (rows, columns))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.copy().save(stream, kind, **options)  # saving a GIF changes the image
    return stream.getvalue()
