"""Digits that are drawn by code in the forms that people write, to train on next to real images.

A form is a text such as "10,4-86,4-40,100; 30,50-86,50", a seven with a bar. Strokes are separated by ";". A point is
its x and y in per cent of the digit's width and height; "-" joins two points by a straight line, and "~" joins any
number of them by one curve. Each drawing moves the points at random, then slants, narrows and turns the whole digit.

The drawings are rendered as the service's picture code would render a picture of them, which would take a hundred times
as long; tests/service/test_drawn_digits.py compares the two.
"""

import math
import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from model.datasets.dataset import Split
from model.types import FloatArray

SIDE, FITTED = 28, 20
"""Pixels: of an image, and of the square into which MNIST fits a digit."""

SPACING = 0.03
"""Distance between two samples of a stroke, as a share of the digit's height: 0.6 pixels."""

CHUNK = 32
"""Digits that are rendered at a time: the distances of all their pixels to all their samples take 5 MB."""

JITTER = 0.045
"""Standard deviation by which a point moves, as a share of the digit's height."""

USUAL_PEN, ANY_PEN, USUAL_SHARE = (0.09, 0.18), (0.07, 0.23), 0.65
"""Width of the pen, as a share of the digit's longer side, from thin to thick: two thirds are of usual width. The
picture code makes a hairline thicker and a marker's stroke thinner than these."""

PROPORTION, PROPORTION_OF_ONE = 0.72, 0.62
"""Usual width to height."""

NARROWEST_SEVEN = 0.6
"""A narrower seven could be a one with a flag."""

PIXELS = np.stack(np.meshgrid(*[np.arange(FITTED) - (FITTED - 1) / 2] * 2), axis=-1).reshape(-1, 2).astype(np.float32)
"""The pixels' centres, x and y from the middle, (400, 2)."""

FORMS: dict[int, dict[str, float]] = {
    0: {
        "50,0~21,14~13,50~21,86~50,100~79,86~87,50~79,14~50,0": 5,
        "66,5~42,0~18,18~12,52~22,86~52,100~80,84~88,48~78,16~58,4": 3,
        "40,3~62,0~84,18~90,52~76,88~46,100~18,82~12,46~24,12~46,2": 2,
        "62,8~36,2~16,24~12,60~30,94~62,97~84,70~84,32~66,8~46,10~40,22": 1,
        "50,0~21,14~13,50~21,86~50,100~79,86~87,50~79,14~50,0; 80,8-20,92": 0.4,
    },
    1: {
        "50,0-50,100": 4,
        "54,0~50,50~47,100": 2,
        "28,20-50,0-50,100": 3,
        "18,34-52,0-52,100": 2,
        "28,20~42,12~52,0-50,100": 1.5,
        "6,50-52,0-52,100": 1.5,
        "28,20-50,0-50,100; 22,100-80,100": 3,
        "20,32-52,0-52,100; 10,100-92,100": 1.5,
        "34,10-50,4-50,100; 26,100-74,100": 1,
        "50,0-50,100; 25,100-75,100": 0.8,
        "50,0-50,100; 28,100-72,100; 28,0-72,0": 0.5,
    },
    2: {
        "15,22~28,4~54,0~80,10~84,32~66,58~12,100-90,100": 4,
        "14,28~22,6~50,0~78,12~80,36~52,66~10,98~48,95~92,100": 2,
        "16,22~34,2~64,3~80,24~70,52~42,82~22,98~10,88~24,78~50,92~72,98~94,88": 2,
        "18,20~40,0~70,6~76,32~56,62~26,94~12,90~22,76~46,84~66,100~92,94": 1,
        "12,4-84,4-12,98-90,98": 1.5,
        "12,12~48,0~82,10~84,36~54,64~10,100-90,100": 1.5,
        "16,32~20,10~52,0~84,18~72,50~40,80~10,96~46,90~74,100~96,86": 1,
    },
    3: {
        "14,16~40,0~74,6~80,26~64,44~40,49; 40,49~70,54~86,74~72,95~40,100~8,88": 4,
        "18,12~48,0~78,14~72,36~44,48; 44,48~76,56~82,80~58,100~16,92": 2,
        "14,3-82,3-42,40; 42,40~70,44~86,68~74,94~42,100~8,86": 2,
        "12,6~50,0~84,6-40,44; 40,44~72,50~86,74~60,98~10,92": 1.5,
        "12,18~38,0~74,6~76,32~54,48~42,52~50,42~72,52~84,76~62,98~12,90": 1.5,
        "10,4-80,2-36,42-84,64-12,100": 0.8,
        "14,14~46,0~80,20~68,44~20,50; 20,50~72,54~88,78~62,100~10,90": 1,
    },
    4: {
        "28,0-14,56-90,56; 68,14-64,100": 3,
        "30,2~20,34~15,55~50,57~90,52; 74,0~68,50~62,100": 2,
        "66,100-66,0-6,68-94,68": 3,
        "60,0-8,62-92,62; 66,28-66,100": 2,
        "12,0-12,50-80,50; 80,0-80,100": 2,
        "16,4~12,30~22,50~50,52~76,46; 80,2-74,100": 1.5,
        "70,0-10,66-72,66; 70,0-70,100": 1,
        "20,8~12,46-78,44-82,6~72,50~62,100": 1,
        "66,100-66,0-6,68-94,68; 46,100-86,100": 0.7,
        "44,0~22,38~12,62~46,64~90,56; 72,30-56,100": 2,
        "56,0~20,60-84,64; 56,0~66,50~62,100": 1,
    },
    5: {
        "26,2-20,44; 20,44~46,40~78,50~84,74~68,96~40,100~10,88; 26,2-84,2": 4,
        "84,2-28,4-22,44; 22,44~50,40~80,54~84,78~64,98~36,100~10,88": 3,
        "86,0~42,4~26,20~40,42~70,56~78,78~52,100~12,94": 1.5,
        "84,0-22,0-20,46; 20,46~60,45~84,70~60,99~12,97": 1.5,
        "30,10-24,46; 24,46~58,43~80,70~54,98~10,90; 34,10~62,6~96,0": 1,
        "84,2-24,2-20,44-74,46-80,90-14,98": 0.8,
    },
    6: {
        "70,0~40,20~21,50~18,76~34,97~60,98~80,82~76,60~52,52~28,62~18,80": 4,
        "82,6~52,3~24,28~14,64~28,95~56,100~82,86~84,62~62,46~34,52~16,72": 2,
        "40,0~26,30~20,62~26,88~50,100~74,88~78,68~60,52~36,60~22,78": 2,
        "24,0~16,40~16,80~44,100~76,88~80,66~56,54~30,66~20,84": 1.5,
        "66,0~30,34~16,68~30,96~62,96~76,72~58,54~38,64~40,84": 1,
        "60,0-20,58; 20,58~16,80~40,100~72,94~82,70~62,48~34,50~20,64": 1,
    },
    7: {
        "10,4-86,4-40,100": 4,
        "10,5-86,3; 86,3~58,45~46,100": 2,
        "12,12~30,3~60,8~88,2; 88,2~62,40~44,100": 1.5,
        "10,4-86,4-40,100; 30,50-86,50": 3,
        "10,6-84,3; 84,3~56,48~44,100; 24,54-80,46": 1.5,
        "10,24-12,3-86,3-42,100": 1.5,
        "10,24-12,3-86,3-42,100; 30,52-80,50": 1,
        "10,2-78,2-66,100": 0.5,
        "10,2-76,2-66,100; 42,52-92,50": 0.5,
        "4,10~50,12~96,8; 96,8~70,50~30,92": 1,
    },
    8: {
        "50,47~25,32~26,8~50,0~74,9~74,32~50,47~20,66~20,90~50,100~80,90~79,66~50,47": 3,
        "76,14~52,0~26,12~32,36~64,56~80,78~52,100~20,84~32,58~64,40~78,18": 2,
        "50,0~26,7~22,24~32,42~50,46~68,42~78,24~74,7~50,0; 50,46~22,56~14,74~26,95~50,100~74,95~86,74~78,56~50,46": 2,
        "50,0~24,12~30,36~66,56~80,80~50,100~20,80~36,55~70,36~76,12~50,0": 2,
        "50,0~24,10~20,26~30,44~50,50~70,44~80,26~76,10~50,0; "
        "50,50~28,56~20,76~28,94~50,100~72,94~80,76~72,56~50,50": 1,
        "84,4~50,2~22,14~34,40~68,58~74,82~48,100~22,84~42,56~68,38~90,10": 0.7,
    },
    9: {
        "75,18~54,1~26,8~16,30~28,52~54,52~76,30-70,100": 3,
        "72,10~44,0~16,18~18,42~44,54~70,42~78,14; 78,14~78,60~74,100": 2,
        "79,24~58,2~28,6~16,30~30,54~58,54~79,32~78,58~64,82~34,100": 2,
        "78,20~56,1~26,8~17,30~32,54~60,52~80,32~76,70~60,96~36,98~20,86": 2.5,
        "75,18~54,1~26,8~18,30~32,52~60,50~77,28~79,70~56,98~24,97~12,84": 1.5,
        "74,14~50,0~22,14~22,38~46,50~70,36~78,8; 78,8~70,60~60,100": 1.5,
        "78,6~48,2~20,22~30,46~60,42~78,6; 78,6~74,50~64,100": 1.5,
        "86,30~74,6~50,0~24,8~14,30~26,54~50,60~74,54~86,30; 86,30~84,62~70,88~44,100": 1,
        "75,18~54,1~26,8~16,30~28,52~54,52~76,28-46,100": 1,
        "77,18~56,0~28,6~18,28~32,50~58,50~78,34~79,62~75,90~50,100~16,98": 2,
    },
}
"""The forms of each digit, and how frequent each is."""


def drawn_digits(count: int, random: np.random.Generator) -> Split:
    """Digits in the form of MNIST's images, in random order. All classes are equally frequent."""
    forms = compiled_forms()
    chosen = random.choice(len(forms), count, p=[form.share for form in forms])
    images = np.empty((count, SIDE * SIDE), np.uint8)
    labels = np.empty(count, np.uint8)
    for number, form in enumerate(forms):
        places = np.flatnonzero(chosen == number)
        labels[places] = form.digit
        for start in range(0, len(places), CHUNK):
            chunk = places[start : start + CHUNK]
            images[chunk] = rendered(*handwritten(form, len(chunk), random))
    return Split(images, labels)


@dataclass(frozen=True)
class Form:
    """A form, ready to be drawn.

    share: of all digits; points: (m, 2), x and y as shares of width and height; curve: (samples, m), the weights of the
    points in each sample of the strokes.
    """

    digit: int
    share: float
    points: FloatArray
    curve: FloatArray


@cache
def compiled_forms() -> tuple[Form, ...]:
    return tuple(
        compiled(text, digit, frequency / sum(forms.values()) / len(FORMS))
        for digit, forms in FORMS.items()
        for text, frequency in forms.items()
    )


def compiled(text: str, digit: int, share: float) -> Form:
    names = list(dict.fromkeys(re.findall(r"\d{1,3},\d{1,3}", text)))  # a point that strokes share is moved as one
    points = np.array([name.split(",") for name in names], float) / 100
    curve = []
    for stroke in text.split(";"):
        curves = [[names.index(name.strip()) for name in run.split("~")] for run in stroke.split("-")]
        lines = [[before[-1], after[0]] for before, after in pairwise(curves)]
        curve += [spline(run, points) for run in curves + lines if len(run) > 1]
    return Form(digit, share, points, np.concatenate(curve))


def spline(run: list[int], points: FloatArray) -> FloatArray:
    """The curve through these points, (samples, m): a Catmull-Rom spline, which is a straight line for two of them."""
    rows = []
    for i, (start, end) in enumerate(pairwise(run)):
        samples = math.ceil(float(np.linalg.norm(points[end] - points[start])) / SPACING)
        t = np.linspace(0, 1, samples + 1)
        neighbours = run[max(i - 1, 0)], start, end, run[min(i + 2, len(run) - 1)]
        weights = -t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2
        part = np.zeros((len(t), len(points)))
        for point, weight in zip(neighbours, weights, strict=True):
            part[:, point] += weight / 2
        rows.append(part)
    return np.concatenate(rows)


def handwritten(form: Form, count: int, random: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Drawings of a form: the samples of their strokes, (count, samples, 2), in heights of a digit, and the width of
    the pen, (count,), in pixels."""
    moved = form.points + random.normal(0, JITTER, (count, *form.points.shape))
    x, y = moved[..., 0] - 0.5, moved[..., 1] - 0.5
    bulge, taper = random.uniform(-1, 1, (2, count, 1))
    y = y + 0.1 * bulge * np.cos(np.pi * np.clip(y, -0.5, 0.5))
    proportion = np.exp(random.normal(0, 0.28, (count, 1))) * (PROPORTION_OF_ONE if form.digit == 1 else PROPORTION)
    if form.digit == 7:
        proportion = np.maximum(proportion, NARROWEST_SEVEN)
    x = x * (1 + 0.5 * taper * y) * proportion
    x = x - y * random.normal(0.12, 0.18, (count, 1))
    angle = random.normal(0, math.radians(5), (count, 1))
    turned = np.stack([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], axis=-1)
    usual, any_pen = random.uniform(*USUAL_PEN, count), random.uniform(*ANY_PEN, count)
    pen = np.where(random.random(count) < USUAL_SHARE, usual, any_pen)
    return form.curve @ turned, FITTED * pen


def rendered(samples: FloatArray, pen: FloatArray) -> NDArray[np.uint8]:
    """Drawings in MNIST's form, (n, 784): fitted into 20 × 20 pixels, their centre of mass in the middle of 28 × 28.

    A pixel's grey is the share of it that the pen covers, taken from its distance to the nearest sample.
    """
    lowest, highest = samples.min(axis=1), samples.max(axis=1)
    scale = (FITTED - pen) / (highest - lowest).max(axis=1)
    at = (samples - ((lowest + highest) / 2)[:, np.newaxis]) * scale[:, np.newaxis, np.newaxis]
    at = at.astype(np.float32)
    # |pixel - sample|² = |sample|² - 2 pixel · sample + |pixel|²
    squares = (at * at).sum(axis=2, keepdims=True) - 2 * at @ PIXELS.T
    distance = np.sqrt(np.maximum(squares.min(axis=1) + (PIXELS * PIXELS).sum(axis=1), 0))
    ink = np.clip(pen[:, np.newaxis] / 2 + 0.5 - distance, 0, 1).reshape(-1, FITTED, FITTED)
    images = np.zeros((len(ink), SIDE, SIDE), np.uint8)
    for image, drawing in zip(images, ink, strict=True):
        top, left = (centred(drawing.sum(axis=axis)) for axis in (1, 0))
        image[top : top + FITTED, left : left + FITTED] = np.round(drawing * 255)
    return images.reshape(-1, SIDE * SIDE)


def centred(mass: FloatArray) -> int:
    """Where a drawing begins, if its centre of mass is to be in the middle. mass: of its rows, or of its columns."""
    middle = float(mass @ (np.arange(FITTED) + 0.5) / mass.sum())
    return min(max(round(SIDE / 2 - middle), 0), SIDE - FITTED)
