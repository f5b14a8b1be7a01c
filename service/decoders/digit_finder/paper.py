"""The paper under the ink: shadows and falling light, a desk, a frame, the black corners of a turned scan."""

import math

import numpy as np

from service.decoders.digit_finder import tuning
from service.decoders.digit_finder.types import Bytes, Grey
from service.decoders.digit_finder.view import opencv, sample, slopes_of


def ink_of(picture: Bytes, dark: bool, flat: bool) -> Grey:
    """0…1: how much each pixel stands out. Dark ink takes a part of the light, whatever the light."""
    seen = picture if dark else 255 - picture
    paper = np.full(seen.shape, np.percentile(sample(seen), 98)) if flat else paper_of(seen)
    paper = paper.astype(np.float32) / 255
    ink = paper - seen.astype(np.float32) / 255
    if dark and not flat:
        ink /= np.maximum(paper, 0.35)
    if not flat:
        ink -= max(0.0, float(np.median(sample(ink))))
    return np.asarray(np.clip(ink, 0, 1), np.float32)


def paper_of(picture: Bytes) -> Bytes:
    """The paper, were there no dark ink: a grey closing, made at half the size."""
    cv2 = opencv()
    rows, columns = picture.shape
    kernel = max(9, int(tuning.PAPER_SHARE * math.sqrt(picture.size)) | 1)
    half = cv2.resize(picture, (max(1, columns // 2), max(1, rows // 2)), interpolation=cv2.INTER_AREA)
    pad = kernel // 2 + 1
    padded = cv2.copyMakeBorder(
        half, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=float(np.percentile(sample(half), 80))
    )
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((kernel // 2 | 1,) * 2, np.uint8))
    return np.asarray(cv2.resize(closed[pad:-pad, pad:-pad], (columns, rows), interpolation=cv2.INTER_LINEAR))


def without_rim(picture: Bytes) -> Bytes:
    """With what is dark and belongs to the picture's rim taken for paper: a desk, a frame, the corners of a scan."""
    cv2 = opencv()
    some = sample(picture)
    paper, darkest = float(np.median(some)), float(np.percentile(some, 1))
    if paper - darkest < 0.15 * 255:
        return picture
    dark = (picture < darkest + 0.55 * (paper - darkest)).astype(np.uint8)
    count, labels = cv2.connectedComponents(dark, connectivity=8)
    cornered = np.zeros(count, np.bool_)
    for corner in (labels[:2, :2], labels[:2, -2:], labels[-2:, :2], labels[-2:, -2:]):
        cornered[corner] = True
    sides = [labels[:, 0], labels[:, -1], labels[0], labels[-1]]
    longest = np.max([np.bincount(side, minlength=count) / len(side) for side in sides], axis=0)
    of_rim = ((longest > 0.85) | (cornered & (longest > 0.12))).astype(np.uint8)
    of_rim[0] = 0
    if not of_rim.any():
        return picture
    region = of_rim[labels]
    if np.count_nonzero(region) > tuning.RIM_AREA * region.size or soft(picture, region, paper - darkest):
        return picture
    covered = cv2.dilate(region, np.ones((5, 5), np.uint8)) > 0
    cleared = picture.copy()
    cleared[covered] = round(paper)
    return cleared


def soft(picture: Bytes, region: Bytes, contrast: float) -> bool:
    """Whether the region ends gradually, as light does, not as things do."""
    cv2 = opencv()
    edge = cv2.morphologyEx(region, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return float(np.median(slopes_of(picture)[edge])) < 0.06 * contrast / 255
