"""Where the digit is in a picture: strokes that stand out from the paper, found as people see them, not as whatever
differs from the border.

The picture is brought to a bounded area and smoothed a little; what belongs to its rim (a desk, a frame, the black
corners of a turned scan) is taken for paper. The paper under the ink is a grey closing, so that shadows and falling
light don't count. A few thresholds are tried; of the groups of connected strokes that they give, the one with the
sharpest contour is the digit. It is fitted into 20/28 of the network's shape and centred, as MNIST's authors did.

OpenCV does the work, in C and without the GIL. It is imported when the first picture comes: who sends numbers only
doesn't pay for it.
"""

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORKING_AREA = 50_000
"""Pixels that are looked at, whatever the picture's size and proportions: what bounds the time."""

WORKING_SIDE = 160
"""A smaller picture is enlarged to this: below it strokes are too thin for a mask of whole pixels."""

THRESHOLDS = (0.22, 0.4, 0.6, 0.8)
"""Of the strongest ink: low ones hold faint strokes together, high ones leave out the lines of the paper."""

FLAT_THRESHOLDS = (0.5,)

SAMPLE = 10_000
"""Pixels that a median or a percentile is taken of, at least."""

LEAST_CONTRAST = 0.06
"""Of the whole range of brightness: what is fainter is not told from the paper's own texture."""

NOISE_FACTOR = 3.5
"""Ink begins at so many standard deviations of the paper's grain."""

MEDIAN_NOISE = 0.015
"""Grain of more leaves nothing of a stroke of one pixel."""

SOLID_STROKE, SOLID_PEAK = 4.0, 0.4
"""A stroke of so many pixels, and of such an ink, isn't what a median left of a thin one."""

BROKEN = 0.07
"""Of the height: a narrower gap may be a break in a stroke."""

WIDEST_SPACE = 0.2
"""Of a group's longer side: what is wider may be the space between thin strokes."""

THIN_PEAK = 0.75
"""Where a median leaves less of the strongest ink, it took a pen's strokes."""

LEAST_SIGNAL_TO_NOISE = 4.2
"""A digit's mean ink in standard deviations of the grain; groups found in nothing but noise lie below."""

PEAK_RANK = 40
"""The strongest ink is that of so many pixels at least: not of the crossings of a thin pen, and not of dust."""

SMALL_PEAK_RANK = 16
"""The same, where a digit of 8 px is looked for."""

MOST_PARTS = 24
"""Connected parts that are looked at one by one, the largest first: noise has thousands."""

ALIKE = 16
"""So many parts of about the same size are a pattern or noise."""

MOST_STROKES = 6
"""What is in more parts is a pattern, not a broken digit."""

MOST_STROKES_AT_THE_BORDER = 3
"""Of what reaches the picture's border: patterns do, and digits that are cropped tightly."""

LEAST_SHARE = 0.45
"""Of all ink: a digit is what there mostly is in the picture."""

PAPER_SHARE = 0.33
"""Of a square of its area: the kernel of the closing, wider than any stroke and narrower than most shadows."""

RIM_AREA = 0.25
"""Of the picture: what takes more isn't its rim."""

PAPER_WITHIN_THE_RIM = 0.7
"""Of what the rim leaves. There is less where the strokes of a digit reach the border and its corners look like a rim.
"""

RIM_CONVEXITY = 0.93
"""A sheet is convex, whatever lies around it; what is around a digit's strokes isn't."""

FITTED_SHARE = 20 / 28
"""Of the network's shape: what MNIST's digits fill."""

THINNEST_STROKE = 0.125
"""Of the digit's longer side. Thinner strokes are thickened: scaled down they would fade."""

MOST_LEAN = (-0.6, 0.1)
"""Columns per row, from the moments; to the right, to the left. 5 and 20 % of MNIST's digits lean further. They are
read as well when they are sheared so far, and digits that were turned by 20° are read better."""

MOST_SHEAR = 0.8
"""What leans still more is no upright digit at all."""

THINNEST_IN_MNIST = 1.05
"""Pixels: the mean width of its thinnest strokes."""

WIDEST_STROKE = 0.16
"""Of the digit's longer side. Wider strokes are thinned."""

THICKEST_STROKE = 0.42
"""Of the digit's longer side: what is thicker is a blot."""

SMALL = 56
"""A digit of fewer pixels than this in the working picture is looked at again, closer, if there is more to see."""

SPACES = 0.6
"""The spaces inside of a digit look like strokes of the other polarity: so much less is given for them."""

SPACES_OF_THIN_STROKES, THIN_AROUND = 0.2, 0.5
"""Thin strokes fade where thresholds are high, and the spaces between are wide: so much less, if what is around is so
much thinner."""

NO_SEAM = 0.8
"""Spaces don't stand out more than the strokes around them; the blurred seam of a stroke stands out less than it."""

FRAMED = 3.0
"""A frame and the digit in it are written with the same ink: so much more is given for what a frame is around."""

HALO = 0.25
"""A JPEG and an enlargement put a faint seam around ink, of the other polarity: so much of its ink at most."""

LEAST_BESIDE = 2
"""Of 255, between a digit's ink and what lies around its box."""

STEEP, MOST_STEEP = 0.05, 0.25
"""A slope of so much brightness per pixel, at so many pixels, isn't paper."""

TINY = 16
"""Of fewer pixels than this nothing can be said before the closer look."""

BOTH = (True, False)
"""Dark on light, and light on dark."""

NOTHING = "nothing stands out from the picture's background: expected a digit"
SEVERAL = "2 digits: crop the picture to one"

Bytes = NDArray[np.uint8]
Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""left, top, right, bottom; the last two are excluded."""


class NoDigitError(Exception):
    """There is no digit to be read, or more than one; the message says what was seen."""


class SeveralDigitsError(NoDigitError):
    """There is more than one."""


@dataclass(frozen=True)
class Digit:
    """What was found in a picture.

    pixels: of the network's shape, uint8, light on dark. box: in pixels of the picture that was looked at.
    dark: whether its ink was darker than the paper.
    """

    pixels: Bytes
    box: Box
    dark: bool


@dataclass(frozen=True)
class View:
    """A part of a picture, as it is looked at: where it begins, and how many pixels of the picture one of it is."""

    picture: Bytes
    left: int
    top: int
    across: float
    down: float

    def seen_whole(self, box: Box) -> Box:
        """The box of a group of this view, in pixels of the whole picture."""
        left, top, right, bottom = scaled(box, self.across, self.down)
        return self.left + left, self.top + top, self.left + right, self.top + bottom


@dataclass
class Group:
    """Strokes that may be the digit."""

    dark: bool
    """On light paper."""
    ink: Grey
    """(rows, columns), 0…1: how much each pixel of the working picture stands out from the paper."""
    mask: Mask
    box: Box
    share: float
    """Of all that is above the threshold and isn't a frame or a line."""
    count: int
    """Of connected strokes."""
    parts: int
    """Of connected parts in the whole picture."""
    several: bool
    stroke: float
    sharpness: float
    """The mean slope along the contour, of the strongest ink, per pixel."""
    separability: float
    """Otsu's: the part of the variance in the box that mask or not explains."""
    grain: float
    peak: float
    framed: bool
    """There is something of the same ink around it, apart from the picture's border."""
    extent: Box
    """Of all strokes, whether of the digit or not."""

    @property
    def size(self) -> int:
        return longer_side(self.box)


def scaled(box: Box, across: float, down: float) -> Box:
    """The box in smaller pixels, of which one of its own is so many; what it cuts is in it."""
    left, top, right, bottom = box
    return math.floor(left * across), math.floor(top * down), math.ceil(right * across), math.ceil(bottom * down)


def longer_side(box: Box) -> int:
    return max(box[2] - box[0], box[3] - box[1])


def sample(values: NDArray[Any]) -> NDArray[Any]:
    """Some of the values, evenly spread; an odd step, so that stripes don't hide between."""
    flat = values.ravel()
    return flat[:: max(1, len(flat) // SAMPLE) | 1]


@functools.cache
def opencv() -> Any:
    import cv2

    cv2.setNumThreads(1)  # requests are what runs side by side
    return cv2


def find(grey: Bytes, shape: tuple[int, int]) -> Digit:
    """The digit in a picture, brought to the shape, fitted in and centred. Raises NoDigitError."""
    if grey.shape == shape:
        as_it_is = in_mnist_form(grey)
        if as_it_is is not None:
            return as_it_is
    view, group = digit_in(grey)
    if is_halo(view.picture, group):
        raise NoDigitError(NOTHING)
    pixels = np.round(centred(fitted(strokes_of(group), shape), shape) * 255).astype(np.uint8)
    return Digit(pixels, view.seen_whole(group.box), group.dark)


def is_halo(picture: Bytes, group: Group) -> bool:
    """The edge of something solid, a disc say, and not ink: what lies around it stands out as much as it does."""
    left, top, right, bottom = grown(group.box, max(3, group.size // 8))
    if min(left, top) < 0 or right > picture.shape[1] or bottom > picture.shape[0]:
        return False  # too little of it is to be seen
    around = np.zeros(picture.shape, bool)
    around[top:bottom, left:right] = True
    left, top, right, bottom = group.box
    around[top:bottom, left:right] = False
    ink, paper = float(np.median(picture[group.mask])), float(np.median(picture[around]))
    return paper <= ink + LEAST_BESIDE if group.dark else paper >= ink - LEAST_BESIDE


def in_mnist_form(grey: Bytes) -> Digit | None:
    """The picture, if it plainly is what the network was trained on: a flat background, the digit in its usual place
    and size. Full contrast is left as it is, to the bit; less is stretched."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background = int(np.median(border))
    difference = grey.astype(np.int16) - background
    lighter, darker = int(difference.max()), -int(difference.min())
    if np.mean(border != background) > 0.08 or max(lighter, darker) < 51 or min(lighter, darker) > 5:
        return None
    dark = darker > lighter
    ink = np.clip(-difference if dark else difference, 0, 255)
    box = bounds(ink > 0.1 * ink.max())
    if np.mean(ink == 0) < 0.4 or not in_its_place(ink, box):
        return None
    strongest = int(ink.max())
    if strongest < 0.98 * 255:
        if mean_width(ink) < THINNEST_IN_MNIST:
            return None
        ink = np.round(ink * (255 / strongest))
    return Digit(ink.astype(np.uint8), box, dark)


def mean_width(ink: NDArray[Any]) -> float:
    """Of the strokes: twice their area by their outline."""
    values = ink.astype(np.float32)
    outline = np.abs(np.diff(values, axis=0)).sum() + np.abs(np.diff(values, axis=1)).sum()
    return float(2 * values.sum() / max(float(outline), 1e-6))


def bounds(mask: Mask) -> Box:
    """Of what is True, of which there is some."""
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def in_its_place(ink: NDArray[Any], box: Box) -> bool:
    """As large as MNIST's digits are, and its centre of mass in the middle, within a pixel of 28."""
    rows, columns = ink.shape
    left, top, right, bottom = box
    size = max((bottom - top) / rows, (right - left) / columns)
    mass = ink / ink.sum()
    off_down = float((mass.sum(axis=1) * (np.arange(rows) + 0.5)).sum()) / rows - 0.5
    off_across = float((mass.sum(axis=0) * (np.arange(columns) + 0.5)).sum()) / columns - 0.5
    return bool(17 / 28 <= size <= 20.5 / 28 and max(abs(off_down), abs(off_across)) <= 1.2 / 28)


def digit_in(grey: Bytes) -> tuple[View, Group]:
    """The one digit, looked at closely, and what was looked at. Raises NoDigitError."""
    view = working(grey)
    scale = view.down
    noise = grain_of(grey if scale > 1 else view.picture)
    group = found(view.picture, noise)
    calm = group is not None or is_calm(view.picture)
    if calm and (group is None or group.several or group.size >= SMALL or scale <= 1.3):
        group = or_thin(group, view.picture, noise)
    if group is None:
        group = found(view.picture, noise, flat=True)  # a stroke so thick that a closing takes it for paper
    hidden = group is None and scale > 1.3 and calm
    if hidden:
        group = found_small(grey, scale)
    if group is None:
        raise NoDigitError(NOTHING)
    if group.several:
        raise SeveralDigitsError(SEVERAL)
    if scale > 1.3 and (hidden or group.size < SMALL):
        closer_view, closer = closer_look(grey, view, group)
        if closer is not None:
            view, group = closer_view, closer
        elif hidden or group.size < TINY:
            raise NoDigitError(NOTHING)
        if group.several:
            raise SeveralDigitsError(SEVERAL)
    return view, group


def is_calm(work: Bytes) -> bool:
    """Mostly paper: a pattern has edges everywhere."""
    return float(np.mean(sample(slopes_of(work)) > STEEP)) < MOST_STEEP


def found_small(grey: Bytes, scale: float) -> Group | None:
    """A digit whose strokes vanish when the picture is scaled down: they are widened first."""
    cv2 = opencv()
    kernel = np.ones((int(scale) + 2,) * 2, np.uint8)
    noise = 1.5 * grain_of(grey)
    for widen, dark in ((cv2.erode, True), (cv2.dilate, False)):
        group = found(working(widen(grey, kernel)).picture, noise, polarities=(dark,), rank=SMALL_PEAK_RANK)
        if group is not None and group.size < SMALL:
            return group
    return None


def closer_look(grey: Bytes, view: View, group: Group) -> tuple[View, Group | None]:
    left, top, right, bottom = group.box
    margin = math.ceil(0.6 * group.size + 2)
    left, top, right, bottom = view.seen_whole((left - margin, top - margin, right + margin, bottom + margin))
    left, top = max(0, left), max(0, top)
    crop = grey[top:bottom, left:right]
    closer = working(crop, left, top)
    noise = max(grain_of(crop), grain_of(closer.picture))
    polarities = (group.dark,)
    return closer, or_thin(found(closer.picture, noise, polarities=polarities), closer.picture, noise, polarities)


def working(grey: Bytes, left: int = 0, top: int = 0) -> View:
    """The picture at the working area, or at the working side if it is small."""
    cv2 = opencv()
    rows, columns = grey.shape
    factor = math.sqrt(WORKING_AREA / (rows * columns))
    if factor >= 1:
        factor = min(factor, max(1.0, WORKING_SIDE / min(rows, columns)))
    width, height = max(1, round(columns * factor)), max(1, round(rows * factor))
    if (width, height) != (columns, rows):
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    return View(grey, left, top, columns / width, rows / height)


def grain_of(grey: Bytes) -> float:
    """The standard deviation of the grain, 0…1, after Immerkær (1996), with a median instead of the mean."""
    if min(grey.shape) < 3:
        return 0.0
    step = max(1, grey.size // WORKING_AREA)
    above, row, below = (rows.astype(np.int16) for rows in (grey[:-2:step], grey[1:-1:step], grey[2::step]))
    down = above - 2 * row + below
    differences = np.abs(down[:, :-2] - 2 * down[:, 1:-1] + down[:, 2:])
    return float(np.median(sample(differences))) / 0.6745 / 6 / 255


def or_thin(group: Group | None, work: Bytes, noise: float, polarities: tuple[bool, ...] = BOTH) -> Group | None:
    """What was found, or what is found without a median: it takes away salt and thin lines of the paper, but also the
    strokes of a pen of one pixel. Where that was most of the ink, or there is nothing else, it is no good."""
    fine = None if noise > MEDIAN_NOISE or is_solid(group) else with_thin_strokes(work)
    if fine is None:
        return group
    thin = found(fine, noise, polarities=polarities, median=False)
    if thin is None:
        return group
    alone = thin.count == thin.parts
    return thin if group is None or alone or group.peak < THIN_PEAK * thin.peak else group


def is_solid(group: Group | None) -> bool:
    if group is None or group.several or group.peak < SOLID_PEAK:
        return False
    return SOLID_STROKE < group.stroke < WIDEST_SPACE * group.size


def with_thin_strokes(work: Bytes) -> Bytes | None:
    """As after a median, but with what isn't single pixels; None if there is nothing of the kind."""
    cv2 = opencv()
    median = cv2.medianBlur(work, 3)
    apart = cv2.threshold(cv2.absdiff(work, median), 0.04 * 255, 1, cv2.THRESH_BINARY)[1]
    near = cv2.boxFilter(apart, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    if cv2.countNonZero(cv2.threshold(near, 2, 1, cv2.THRESH_BINARY)[1] & apart) < PEAK_RANK:
        return None
    thin: Bytes = np.where(near < 3, median, work)
    return thin


def found(
    work: Bytes,
    noise: float,
    *,
    flat: bool = False,
    polarities: tuple[bool, ...] = BOTH,
    rank: int = PEAK_RANK,
    median: bool = True,
) -> Group | None:
    """The group of strokes that looks most like a digit: dark on light, or light on dark."""
    cv2 = opencv()
    smooth = cv2.GaussianBlur(cv2.medianBlur(work, 3) if median else work, (0, 0), 0.7)
    if not flat:
        smooth = 255 - without_rim(255 - without_rim(smooth))
    slopes = slopes_of(smooth)
    likely = {
        dark: [
            (value, group)
            for group in groups_in(smooth, slopes, dark, flat, rank)
            if (not flat or (group.share > 0.9 and group.count == 1 and group.parts <= 4))
            and (value := likeness(group)) > 0
            and group.ink[group.mask].mean() >= LEAST_SIGNAL_TO_NOISE * noise
        ]
        for dark in polarities
    }
    for dark, groups in likely.items():
        if 2 * sum(group.several for _, group in groups) < len(groups):
            likely[dark] = [(value, group) for value, group in groups if not group.several]
    # ink is found at most thresholds, the spaces between the ink and a frame at the low ones only
    total = {dark: sum(value for value, _ in groups) for dark, groups in likely.items()}
    if all(likely.get(dark) for dark in BOTH):
        for dark in BOTH:
            inner, outer = ([group for _, group in likely[one]] for one in (dark, not dark))
            halo = outer[-1].peak < HALO * inner[-1].peak
            thin = outer[-1].peak > NO_SEAM * inner[-1].peak and middle(g.stroke for g in outer) < THIN_AROUND * middle(
                g.stroke for g in inner
            )
            around = functools.reduce(union, (g.box for g in outer)) if thin else middle_box(outer)
            within = middle_box(inner)
            if inside(within, grown(around, 2)) and box_area(within) < 0.9 * box_area(around):
                total[not dark if halo else dark] *= SPACES_OF_THIN_STROKES if thin else SPACES
            if any(group.framed for _, group in likely[dark]):
                total[dark] *= FRAMED
    groups = likely[max(total, key=lambda dark: total[dark])]
    return max(groups, key=lambda pair: pair[0])[1] if groups else None


def inside(inner: Box, outer: Box) -> bool:
    return inner[0] > outer[0] and inner[1] > outer[1] and inner[2] < outer[2] and inner[3] < outer[3]


def box_area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def middle(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def middle_box(groups: list[Group]) -> Box:
    """Of most thresholds: at low ones there may be dirt in a box, at high ones a part of the digit is missing."""
    left, top, right, bottom = np.median([group.box for group in groups], axis=0).astype(int).tolist()
    return left, top, right, bottom


def grown(box: Box, by: int) -> Box:
    return box[0] - by, box[1] - by, box[2] + by, box[3] + by


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
    if not around_paper(region, dark) or soft(picture, region, paper - darkest):
        return picture
    covered = cv2.dilate(region, np.ones((5, 5), np.uint8)) > 0
    cleared = picture.copy()
    cleared[covered] = round(paper)
    return cleared


def around_paper(region: Bytes, dark: Bytes) -> bool:
    """Whether what the region leaves free is a sheet with some ink, not the strokes of a digit."""
    cv2 = opencv()
    free = 1 - region
    area = int(np.count_nonzero(free))
    if (
        area < (1 - RIM_AREA) * region.size
        or np.count_nonzero(dark) - np.count_nonzero(region) > (1 - PAPER_WITHIN_THE_RIM) * area
    ):
        return False
    rows = np.flatnonzero(free.any(axis=1))
    lefts, rights = free[rows].argmax(axis=1), free.shape[1] - 1 - free[rows, ::-1].argmax(axis=1)
    hull = cv2.convexHull(np.array([[*lefts, *rights], [*rows, *rows]], np.int32).T)
    return bool(area > RIM_CONVEXITY * cv2.contourArea(hull))


def soft(picture: Bytes, region: Bytes, contrast: float) -> bool:
    """Whether the region ends gradually, as light does, not as things do."""
    cv2 = opencv()
    edge = cv2.morphologyEx(region, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    return float(np.median(slopes_of(picture)[edge])) < 0.06 * contrast / 255


def slopes_of(picture: Bytes) -> Grey:
    cv2 = opencv()
    down, across = (cv2.Sobel(picture, cv2.CV_32F, dx, dy, ksize=3, scale=1 / 8 / 255) for dx, dy in ((0, 1), (1, 0)))
    return np.asarray(cv2.magnitude(across, down))


def mean_slope(slopes: Grey, mask: NDArray[Any]) -> float:
    """Along the mask's contour."""
    cv2 = opencv()
    edge = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return float(cv2.mean(slopes, edge)[0])


def paper_of(picture: Bytes) -> Bytes:
    """The paper, were there no dark ink: a grey closing, made at half the size."""
    cv2 = opencv()
    rows, columns = picture.shape
    kernel = max(9, int(PAPER_SHARE * math.sqrt(picture.size)) | 1)
    half = cv2.resize(picture, (max(1, columns // 2), max(1, rows // 2)), interpolation=cv2.INTER_AREA)
    pad = kernel // 2 + 1
    padded = cv2.copyMakeBorder(
        half, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=float(np.percentile(sample(half), 80))
    )
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((kernel // 2 | 1,) * 2, np.uint8))
    return np.asarray(cv2.resize(closed[pad:-pad, pad:-pad], (columns, rows), interpolation=cv2.INTER_LINEAR))


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


def groups_in(picture: Bytes, slopes: Grey, dark: bool, flat: bool = False, rank: int = PEAK_RANK) -> Iterator[Group]:
    ink = ink_of(picture, dark, flat)
    if ink.size <= rank:
        return
    peak = ranked(ink, rank)
    if peak < LEAST_CONTRAST:
        return
    some = sample(ink)
    faint = some[some < 0.3 * peak]
    grain = 1.4826 * float(np.median(faint)) + 1e-4 if len(faint) else 1.0
    several = True
    tried = 0.0
    for share in FLAT_THRESHOLDS if flat else THRESHOLDS:
        threshold = max(share * peak, NOISE_FACTOR * grain)
        if threshold > 0.9 * peak or threshold == tried:
            continue
        tried = threshold
        group = group_above(ink, threshold, slopes, dark=dark, peak=peak, grain=grain)
        if group is not None:
            several = group.several = group.several and several
            yield group


def ranked(ink: Grey, rank: int) -> float:
    """The strongest ink of so many pixels. Only what is stronger than most is put in order."""
    strong = ink[ink > 0.5 * float(ink.max())]
    some = strong if len(strong) >= rank else ink.ravel()
    return float(np.partition(some, -rank)[-rank])


def group_above(ink: Grey, threshold: float, slopes: Grey, *, dark: bool, peak: float, grain: float) -> Group | None:
    cv2 = opencv()
    above = cv2.morphologyEx((ink > threshold).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    largest = [i for i in np.argsort(-stats[:, 4])[: MOST_PARTS + 1].tolist() if i and stats[i, 4] >= 4]
    if len(largest) > ALIKE and stats[largest[ALIKE], 4] > 0.5 * stats[largest[0], 4]:
        return None
    strokes = [i for i in largest if is_stroke(labels, stats[i].tolist(), i)]
    if not strokes:
        return None
    rows, columns = ink.shape
    apart = {
        i
        for i in set(largest) - set(strokes)
        if 0 < stats[i, 0] < columns - stats[i, 2] and 0 < stats[i, 1] < rows - stats[i, 3]
    }
    total = int(stats[1:, 4].sum() - stats[list(apart), 4].sum())
    members, box, several = gathered(stats, strokes)
    share = float(stats[members, 4].sum()) / total
    if len(members) > MOST_STROKES or share < LEAST_SHARE:
        return None
    chosen = np.zeros(count, np.bool_)
    chosen[members] = True
    mask: Mask = chosen[labels]
    left, top, right, bottom = box
    part, values = mask[top:bottom, left:right], ink[top:bottom, left:right]
    extent = stats[strokes]
    return Group(
        dark=dark,
        ink=ink,
        mask=mask,
        box=box,
        share=share,
        count=len(members),
        parts=count - 1,
        several=several,
        stroke=stroke_width(part),
        sharpness=mean_slope(slopes, mask) / peak,
        separability=separability(values, part),
        grain=grain,
        peak=peak,
        framed=any(inside(box, box_of(stats[i])) for i in apart),
        extent=(
            int(extent[:, 0].min()),
            int(extent[:, 1].min()),
            int((extent[:, 0] + extent[:, 2]).max()),
            int((extent[:, 1] + extent[:, 3]).max()),
        ),
    )


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
    return not (any(ends) and along_border(part, ends, labels.shape)) and not (large and is_box(part, area))


def along_border(part: Mask, ends: list[bool], shape: tuple[int, ...]) -> bool:
    height, width = part.shape
    left, right, top, bottom = ends
    edges = [edge for edge, at in zip((part[:, 0], part[:, -1], part[0], part[-1]), ends, strict=True) if at]
    if max(int(edge[0]) + int(np.count_nonzero(edge[1:] & ~edge[:-1])) for edge in edges) >= 4:
        return True  # many strokes leave the picture side by side: squared paper
    contact = sum(int(edge.sum()) for edge in edges)
    if contact > 0.5 * sum(len(edge) for edge in edges) and contact > 0.8 * min(width, height):
        return True
    across = left and right and height < 0.3 * shape[0] and width > 2 * height
    down = top and bottom and width < 0.3 * shape[1] and height > 2 * width and (left or right)
    return across or down


def is_box(part: Mask, area: int) -> bool:
    """A closed rectangle, at any angle, mostly empty."""
    cv2 = opencv()
    contours, _ = cv2.findContours(part.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    outline = max(contours, key=cv2.contourArea)
    (_, (width, height), _) = cv2.minAreaRect(outline)
    return bool(width * height > 0 and cv2.contourArea(outline) > 0.9 * width * height and area < 0.35 * width * height)


def gathered(stats: NDArray[np.int32], strokes: list[int]) -> tuple[list[int], Box, bool]:
    """The largest stroke and those near to it; and whether there is another digit beside it."""
    boxes = {i: box_of(stats[i]) for i in strokes}
    area = {i: int(stats[i, 4]) for i in strokes}
    main, rest = strokes[0], strokes[1:]
    size = longer_side(boxes[main])
    members, box, several, growing = [main], boxes[main], False, True
    while growing and len(members) <= MOST_STROKES:
        growing = False
        for i in list(rest):
            if area[i] < 0.02 * area[main]:
                continue
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
        and 0.2 <= gap_between(box, boxes[i]) / longer_side(box) < 3
        for i in rest
    )
    return members, box, several


def box_of(stats: NDArray[np.int32]) -> Box:
    x, y, width, height, _ = stats.tolist()
    return x, y, x + width, y + height


def gaps(a: Box, b: Box) -> tuple[int, int]:
    return max(0, a[0] - b[2], b[0] - a[2]), max(0, a[1] - b[3], b[1] - a[3])


def gap_between(a: Box, b: Box) -> float:
    return math.hypot(*gaps(a, b))


def union(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def side_by_side(a: Box, b: Box) -> bool:
    """Two of a height, one after the other, together wider than tall, or both as narrow as a 1: no digit is so."""
    left, top, right, bottom = union(a, b)
    heights, widths = (a[3] - a[1], b[3] - b[1]), (a[2] - a[0], b[2] - b[0])
    tall = min(heights) / (bottom - top)
    if gaps(a, b)[0] <= BROKEN * (bottom - top) or tall < 0.6:
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


def likeness(group: Group) -> float:
    """To a digit; 0 for what isn't one."""
    relative = group.stroke / max(1, group.size)
    if group.size < 4 or (relative > THICKEST_STROKE and group.size >= TINY):
        return 0.0
    if (group.share < 0.6 and group.parts > 10) or (group.separability < 0.6 and group.parts > 8):
        return 0.0
    softest = 1.3 if group.count > 2 or group.parts > 8 else 0.9 if relative > 0.12 else 0.0
    if at_the_border(group):
        if group.count > MOST_STROKES_AT_THE_BORDER:
            return 0.0
        softest = 1.3
    if group.size >= TINY and group.stroke > 4 and group.sharpness * group.stroke < softest:
        return 0.0  # blots that end gradually
    size = longer_side(group.extent if group.several else group.box)
    share = min(1.0, 2 * group.share) if group.several else group.share
    return float(group.sharpness * share / group.count**0.25 * size * group.peak)


def at_the_border(group: Group) -> bool:
    rows, columns = group.ink.shape
    left, top, right, bottom = group.box
    return left == 0 or top == 0 or right == columns or bottom == rows


def strokes_of(group: Group) -> Grey:
    """The digit's ink, 0…1, cut out and its thin strokes thickened."""
    cv2 = opencv()
    left, top, right, bottom = group.box
    mask = np.pad(group.mask[top:bottom, left:right], 2)
    ink = np.pad(group.ink, 2)[top : bottom + 4, left : right + 4]
    strongest = float(np.percentile(ink[mask], 60))
    least = max(0.15 * strongest, 3 * group.grain)
    ink = np.clip((ink - least) / max(0.85 * strongest - least, 1e-6), 0, 1)
    if group.count > 1:  # the breaks in its strokes
        across = math.ceil(1.2 * BROKEN * group.size)
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
    missing, excess = THINNEST_STROKE * size - stroke, stroke - WIDEST_STROKE * size
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
    shear = min(max(lean, MOST_LEAN[0]), MOST_LEAN[1]) - lean
    if abs(shear) < 0.01 or abs(shear) > MOST_SHEAR:
        return ink
    rows, columns = ink.shape
    matrix = np.array([[1, shear, max(0.0, -shear * rows)], [0, 1, 0]], np.float32)
    return cut_out(cv2.warpAffine(ink, matrix, (columns + math.ceil(abs(shear) * rows), rows)))


def fitted(ink: Grey, shape: tuple[int, int]) -> Grey:
    """The digit scaled, its proportions kept, into MNIST's share of the shape."""
    cv2 = opencv()
    rows, columns = (max(1, round(size * FITTED_SHARE)) for size in shape)
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
