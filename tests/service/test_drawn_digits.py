"""Digits drawn by code look to the network as a user's pictures do."""

import numpy as np
from PIL import Image, ImageDraw

from model.drawn_digits import FITTED, compiled_forms, handwritten, rendered
from service.decoders.digit_finder import NoDigitError, find

ENLARGED = 8


def test_a_drawn_digit_is_what_the_picture_code_makes_of_the_same_strokes_in_a_picture() -> None:
    random = np.random.default_rng(0)
    alike = []
    for form in compiled_forms():
        samples, _ = handwritten(form, 1, random)
        pen = 2.8  # wide enough for the picture code to leave it as it is
        try:
            pixels = find(pictured(samples[0], pen), (28, 28)).pixels.ravel()
        except NoDigitError:
            continue
        alike.append(np.corrcoef(pixels, rendered(samples, np.array([pen]))[0])[0, 1])
    assert len(alike) > 0.9 * len(compiled_forms())
    assert np.median(alike) > 0.93


def pictured(strokes: np.ndarray, pen: float) -> np.ndarray:
    """The strokes in a large picture, dark on light."""
    middle = (strokes.min(axis=0) + strokes.max(axis=0)) / 2
    scale = ENLARGED * (FITTED - pen) / np.ptp(strokes, axis=0).max()
    radius = ENLARGED * pen / 2
    picture = Image.new("L", (320, 320), 255)
    draw = ImageDraw.Draw(picture)
    for x, y in (strokes - middle) * scale + 160:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=20)
    return np.asarray(picture)
