"""The digit brought to the form of MNIST's digits."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.decoders.digit_finder import tuning
from service.decoders.digit_finder.boxes import Box, bounds
from service.decoders.digit_finder.strokes import Group
from service.decoders.digit_finder.types import Bytes, Digit, Grey
from service.decoders.digit_finder.view import opencv


def in_mnist_form(grey: Bytes) -> Digit | None:
    """The picture, if it plainly is what the network was trained on: a flat background, the digit in its usual place
    and size. Full contrast is left as it is, to the bit; less is stretched."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background = int(np.median(border))
    difference = grey.astype(np.int16) - background
    lighter, darker = int(difference.max()), -int(difference.min())
    if max(lighter, darker) < 51 or min(lighter, darker) > 5:
        return None
    dark = darker > lighter
    ink = np.clip(-difference if dark else difference, 0, 255)
    box = bounds(ink > 0.1 * ink.max())
    if np.mean(ink == 0) < 0.4 or not in_its_place(ink, box):
        return None
    strongest = int(ink.max())
    if strongest < 0.98 * 255:
        if mean_width(ink) < tuning.THINNEST_IN_MNIST:
            return None
        ink = np.round(ink * (255 / strongest))
    return Digit(ink.astype(np.uint8), box, dark)


def mean_width(ink: NDArray[Any]) -> float:
    """Of the strokes: twice their area by their outline."""
    values = ink.astype(np.float32)
    outline = np.abs(np.diff(values, axis=0)).sum() + np.abs(np.diff(values, axis=1)).sum()
    return float(2 * values.sum() / max(float(outline), 1e-6))


def in_its_place(ink: NDArray[Any], box: Box) -> bool:
    """As large as MNIST's digits are, and its centre of mass in the middle, within a pixel of 28."""
    rows, columns = ink.shape
    left, top, right, bottom = box
    size = max((bottom - top) / rows, (right - left) / columns)
    mass = ink / ink.sum()
    off_down = float((mass.sum(axis=1) * (np.arange(rows) + 0.5)).sum()) / rows - 0.5
    off_across = float((mass.sum(axis=0) * (np.arange(columns) + 0.5)).sum()) / columns - 0.5
    return bool(17 / 28 <= size <= 20.5 / 28 and max(abs(off_down), abs(off_across)) <= 1.2 / 28)


def strokes_of(group: Group) -> Grey:
    """The digit's ink, 0…1, cut out and its thin strokes thickened."""
    cv2 = opencv()
    left, top, right, bottom = group.box
    mask = np.pad(group.mask[top:bottom, left:right], 2)
    ink = np.pad(group.layer.ink, 2)[top : bottom + 4, left : right + 4]
    strongest = float(np.percentile(ink[mask], 60))
    least = max(0.15 * strongest, 3 * group.layer.grain)
    ink = np.clip((ink - least) / max(0.85 * strongest - least, 1e-6), 0, 1)
    if group.count > 1:  # the breaks in its strokes
        across = math.ceil(1.2 * tuning.BROKEN * group.size)
        ink = cv2.morphologyEx(ink, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (across, across)))
        mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((across, across), np.uint8)) > 0
    fullness = float(ink[mask].mean())  # of a soft stroke the mask is wider than what is seen of it
    ink *= cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    ink = cut_out(ink)
    return upright(with_usual_strokes(ink, group.stroke * fullness))


def with_usual_strokes(ink: Grey, stroke: float) -> Grey:
    """With strokes of about the width that MNIST's have: thin ones would fade, thick ones run together."""
    cv2 = opencv()
    size = max(ink.shape)
    missing, excess = tuning.THINNEST_STROKE * size - stroke, stroke - tuning.WIDEST_STROKE * size
    radius = math.ceil(max(missing, excess) / 2)
    if max(missing, excess) < 1:
        return np.asarray(ink, np.float32)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    if missing > 0:
        return np.asarray(cv2.dilate(np.pad(ink, radius), kernel), np.float32)
    thinned = np.asarray(cv2.erode(np.pad(ink, 1), kernel), np.float32)
    return cut_out(thinned) if thinned.max() > 0.3 else ink


def cut_out(ink: Grey) -> Grey:
    """Without the empty margins."""
    strong = ink > 0.3
    if not strong.any():
        return ink
    left, top, right, bottom = bounds(strong)
    return ink[top:bottom, left:right]


def upright(ink: Grey) -> Grey:
    """What leans more than most of MNIST's digits do, sheared until it leans like these: it may have been turned."""
    cv2 = opencv()
    moments = cv2.moments(ink)
    lean = moments["mu11"] / max(moments["mu02"], 1e-6)
    shear = min(max(lean, tuning.MOST_LEAN[0]), tuning.MOST_LEAN[1]) - lean
    if abs(shear) < 0.01 or abs(shear) > tuning.MOST_SHEAR:
        return ink
    rows, columns = ink.shape
    matrix = np.array([[1, shear, max(0.0, -shear * rows)], [0, 1, 0]], np.float32)
    return cut_out(cv2.warpAffine(ink, matrix, (columns + math.ceil(abs(shear) * rows), rows)))


def fitted(ink: Grey, shape: tuple[int, int]) -> Grey:
    """The digit scaled, its proportions kept, into MNIST's share of the shape."""
    cv2 = opencv()
    rows, columns = (max(1, round(size * tuning.FITTED_SHARE)) for size in shape)
    scale = min(rows / ink.shape[0], columns / ink.shape[1])
    height, width = (max(1, round(size * scale)) for size in ink.shape)
    small = cv2.resize(ink, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(np.clip(small / max(float(small.max()), 1e-6), 0, 1), np.float32)


def centred(digit: Grey, shape: tuple[int, int]) -> Grey:
    """The digit in an empty image of the shape, its centre of mass in the middle, as far as it fits."""
    image = np.zeros(shape, np.float32)
    at = []
    for axis, size in enumerate(shape):
        mass = digit.sum(axis=1 - axis)
        centre = float((mass * (np.arange(len(mass)) + 0.5)).sum() / max(float(mass.sum()), 1e-6))
        at.append(min(max(0, round(size / 2 - centre)), size - digit.shape[axis]))
    image[at[0] : at[0] + digit.shape[0], at[1] : at[1] + digit.shape[1]] = digit
    return image
