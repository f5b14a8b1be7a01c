"""Strokes that stand out from the paper, and which of them may be a digit."""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from service.decoders.digit_finder import tuning
from service.decoders.digit_finder.boxes import Box, box_of, gap_between, gaps, inside, longer_side, union
from service.decoders.digit_finder.paper import ink_of
from service.decoders.digit_finder.row import digits_among
from service.decoders.digit_finder.types import Bytes, Grey, Mask
from service.decoders.digit_finder.view import mean_slope, opencv, sample

Polarities = tuple[bool, ...]
BOTH: Polarities = (True, False)
"""Dark on light, and light on dark."""


@dataclass(frozen=True, eq=False)
class Layer:
    """What is above one threshold in a picture.

    ink: (rows, columns), 0…1: how much each pixel stands out from the paper. grain, peak: of the ink, its noise and its
    strongest. labels, stats: OpenCV's connected parts. strokes: those that may be of a digit, the largest first; apart:
    frames and lines inside the picture.
    """

    dark: bool
    ink: Grey
    slopes: Grey
    grain: float
    peak: float
    labels: NDArray[np.int32]
    stats: NDArray[np.int32]
    strokes: list[int]
    apart: list[int]

    @property
    def parts(self) -> int:
        return len(self.stats) - 1

    def box(self, parts: Iterable[int]) -> Box:
        return functools.reduce(union, (box_of(self.stats[i]) for i in parts))

    def share(self, parts: list[int]) -> float:
        """Of all ink but frames and lines."""
        total = self.stats[1:, 4].sum() - self.stats[self.apart, 4].sum()
        return float(self.stats[parts, 4].sum() / total)

    def group(self, parts: list[int], seen: int = 1, share: float = 1.0) -> "Group":
        chosen = np.zeros(len(self.stats), np.bool_)
        chosen[parts] = True
        return Group(self, chosen[self.labels], self.box(parts), len(parts), seen, share)


@dataclass(frozen=True, eq=False)
class Group:
    """Strokes that may be a digit. count: of connected strokes. seen: digits in the picture. share: of all ink.

    of_row: it is all digits of a row.
    """

    layer: Layer
    mask: Mask
    box: Box
    count: int
    seen: int
    share: float
    of_row: bool = False

    def digits(self) -> list["Group"]:
        """Each digit of a row."""
        return [self.layer.group(parts) for parts in digits_among(self.layer.stats, self.layer.strokes)]

    @property
    def dark(self) -> bool:
        return self.layer.dark

    @property
    def size(self) -> int:
        return longer_side(self.box)

    @functools.cached_property
    def stroke(self) -> float:
        left, top, right, bottom = self.box
        return stroke_width(self.mask[top:bottom, left:right])

    @functools.cached_property
    def sharpness(self) -> float:
        """The mean slope along the contour, per pixel, as a share of the strongest ink."""
        return mean_slope(self.layer.slopes, self.mask) / self.layer.peak

    @functools.cached_property
    def separability(self) -> float:
        """Otsu's: the share of the variance in the box that is explained by what is stroke and what is not."""
        left, top, right, bottom = self.box
        return separability(self.layer.ink[top:bottom, left:right], self.mask[top:bottom, left:right])

    @property
    def framed(self) -> bool:
        """Whether something of the same ink is around it, apart from the picture's border."""
        return any(inside(self.box, box_of(self.layer.stats[i])) for i in self.layer.apart)

    @functools.cached_property
    def likeness(self) -> float:
        """To a digit. It is 0 for a blot, for noise and for a pattern."""
        layer, size = self.layer, self.size
        relative = self.stroke / max(1, size)
        if relative > tuning.THICKEST_STROKE and size >= tuning.TINY:
            return 0.0
        digits = self.seen if self.of_row else 1
        count, parts = self.count / digits, layer.parts / digits
        if self.separability < 0.6 and parts > 8:
            return 0.0
        softest = tuning.SHARP if parts > 8 else 0.9 if relative > 0.12 else 0.0
        rows, columns = layer.ink.shape
        if not inside(self.box, (0, 0, columns, rows)):
            if count > tuning.MOST_STROKES_AT_THE_BORDER:
                return 0.0
            softest = tuning.SHARP
        if size >= tuning.TINY and self.stroke > 4 and self.sharpness * self.stroke < softest:
            return 0.0
        if self.seen > 1:
            size = longer_side(layer.box(layer.strokes))
        return float(self.sharpness * self.share / count**0.25 * size * layer.peak)


def layers(
    picture: Bytes, slopes: Grey, dark: bool, flat: bool, rank: int, *, most_parts: int = tuning.MOST_PARTS
) -> Iterator[Layer]:
    ink = ink_of(picture, dark, flat)
    if ink.size <= rank:
        return
    peak = ranked(ink, rank)
    if peak < tuning.LEAST_CONTRAST:
        return
    some = sample(ink)
    faint = some[some < 0.3 * peak]
    grain = 1.4826 * float(np.median(faint)) + 1e-4 if len(faint) else 1.0
    tried = 0.0
    for share in tuning.FLAT_THRESHOLDS if flat else tuning.THRESHOLDS:
        threshold = max(share * peak, tuning.NOISE_FACTOR * grain)
        if threshold > 0.9 * peak or threshold == tried:
            continue
        tried = threshold
        labels, stats, largest = parts_above(ink, threshold, most_parts)
        strokes = [i for i in largest if is_stroke(labels, stats[i].tolist(), i)]
        if strokes:
            rows, columns = ink.shape
            whole = (0, 0, columns, rows)
            apart = [i for i in largest if i not in strokes and inside(box_of(stats[i]), whole)]
            yield Layer(dark, ink, slopes, grain, peak, labels, stats, strokes, apart)


def ranked(ink: Grey, rank: int) -> float:
    """The strongest ink of that many pixels. Only what is stronger than most is put in order."""
    strong = ink[ink > 0.5 * float(ink.max())]
    some = strong if len(strong) >= rank else ink.ravel()
    return float(np.partition(some, -rank)[-rank])


def parts_above(ink: Grey, threshold: float, most: int) -> tuple[NDArray[np.int32], NDArray[np.int32], list[int]]:
    """The connected parts: labels, OpenCV's statistics, and the largest ones in order."""
    cv2 = opencv()
    above = cv2.morphologyEx((ink > threshold).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    order = np.argsort(-stats[:, 4])[: most + 1].tolist()
    return labels, stats, [i for i in order if i and stats[i, 4] >= 4]


def groups_in(picture: Bytes, slopes: Grey, dark: bool, flat: bool, rank: int) -> Iterator[Group]:
    """The strokes around the largest one, at each threshold."""
    several = True
    for layer in layers(picture, slopes, dark, flat, rank):
        members, others = gathered(layer.stats, layer.strokes)
        row = digits_among(layer.stats, layer.strokes) if others and several else [members]
        share = layer.share([*chain.from_iterable(row)])
        least = tuning.LEAST_ROW_SHARE if others and several else tuning.LEAST_SHARE
        if len(members) > tuning.MOST_STROKES or share < least:
            continue
        several = others and several
        yield layer.group(members, max(2, len(row)) if several else 1, share)


def rows_in(
    picture: Bytes, slopes: Grey, dark: bool, flat: bool, rank: int, *, least_share: float = tuning.LEAST_ROW_SHARE
) -> Iterator[Group]:
    """All digits of a row, at each threshold."""
    for layer in islice(
        layers(picture, slopes, dark, flat, rank, most_parts=tuning.MOST_PARTS_OF_A_ROW), tuning.LOW_THRESHOLDS
    ):
        row = digits_among(layer.stats, layer.strokes)
        parts = [*chain.from_iterable(row)]
        share = layer.share(parts)
        if share >= least_share:
            yield replace(layer.group(parts, len(row), share), of_row=True)


def is_stroke(labels: NDArray[np.int32], stats: list[int], i: int) -> bool:
    """Not what runs along the border or from border to border, not a box, not a long straight line."""
    rows, columns = labels.shape
    x, y, width, height, area = stats
    if (width > 0.7 * columns and height < 0.12 * width) or (height > 0.85 * rows and width < 0.03 * height):
        return False
    ends = [x == 0, x + width == columns, y == 0, y + height == rows]
    large = (width > 0.45 * columns and height > 0.45 * rows) or max(width, height) > 0.6 * max(rows, columns)
    if not any(ends) and not large:
        return True
    part: Mask = labels[y : y + height, x : x + width] == i
    return not (any(ends) and along_border(part, ends)) and not (large and is_box(part, area))


def along_border(part: Mask, ends: list[bool]) -> bool:
    edges = [edge for edge, at in zip((part[:, 0], part[:, -1], part[0], part[-1]), ends, strict=True) if at]
    if max(int(edge[0]) + int(np.count_nonzero(edge[1:] & ~edge[:-1])) for edge in edges) >= 4:
        return True  # many strokes leave the picture side by side: squared paper
    contact = sum(int(edge.sum()) for edge in edges)
    return contact > 0.5 * sum(len(edge) for edge in edges) and contact > 0.8 * min(part.shape)


def is_box(part: Mask, area: int) -> bool:
    """A closed rectangle, at any angle, mostly empty."""
    cv2 = opencv()
    contours, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(contours, key=cv2.contourArea)
    (_, (width, height), _) = cv2.minAreaRect(outline)
    return bool(width * height > 0 and cv2.contourArea(outline) > 0.9 * width * height and area < 0.35 * width * height)


def gathered(stats: NDArray[np.int32], strokes: list[int]) -> tuple[list[int], bool]:
    """The largest stroke with those near it, and whether there is another digit."""
    boxes = {i: box_of(stats[i]) for i in strokes}
    area = {i: int(stats[i, 4]) for i in strokes}
    main, rest = strokes[0], strokes[1:]
    size = longer_side(boxes[main])
    members, box, several, growing = [main], boxes[main], False, True
    while growing and len(members) <= tuning.MOST_STROKES:
        growing = False
        for i in list(rest):
            if gap_between(box, boxes[i]) < 0.2 * longer_side(box) and area[i] > 0.04 * area[main]:
                if side_by_side(box, boxes[i]):
                    several = True
                    continue
                members.append(i)
                rest.remove(i)
                box = union(box, boxes[i])
                growing = True
    several = several or any(
        area[i] > 0.25 * area[main]
        and longer_side(boxes[i]) > 0.4 * size
        and gap_between(box, boxes[i]) >= 0.2 * longer_side(box)
        for i in rest
    )
    return members, several


def side_by_side(a: Box, b: Box) -> bool:
    """Whether two strokes look like two digits: of similar heights, one after the other, and either wider than tall
    together or both as narrow as a 1."""
    left, top, right, bottom = union(a, b)
    heights, widths = (a[3] - a[1], b[3] - b[1]), (a[2] - a[0], b[2] - b[0])
    tall = min(heights) / (bottom - top)
    if gaps(a, b)[0] <= tuning.BROKEN * (bottom - top) or tall < 0.6:
        return False
    narrow = all(width < 0.5 * height for width, height in zip(widths, heights, strict=True))
    return right - left > 1.05 * (bottom - top) or (tall > 0.75 and narrow)


def stroke_width(mask: Mask) -> float:
    """Twice the median distance from the strokes' middle to their edge."""
    cv2 = opencv()
    away = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    middle = away[(away >= cv2.dilate(away, np.ones((3, 3), np.uint8)) - 1e-6) & (away > 0)]
    return 2 * float(np.median(middle)) if len(middle) else 0.0


def separability(values: Grey, mask: Mask) -> float:
    inside, outside = values[mask], values[~mask]
    if not len(inside) or not len(outside):
        return 1.0
    share = len(inside) / values.size
    return share * (1 - share) * float(inside.mean() - outside.mean()) ** 2 / max(float(values.var()), 1e-9)
