"""Which strokes are the digit: dark or light, thin or thick, looked at closely where they are small."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

import numpy as np

from service.decoders.digit_finder import tuning
from service.decoders.digit_finder.boxes import Box, box_area, grown, inside, union
from service.decoders.digit_finder.paper import without_rim
from service.decoders.digit_finder.row import digits_among, is_one_line
from service.decoders.digit_finder.strokes import BOTH, Group, Polarities, groups_in, rows_in
from service.decoders.digit_finder.types import (
    NOTHING,
    Bytes,
    NoDigitError,
    SeveralDigitsError,
    SeveralLinesError,
    TooManyDigitsError,
)
from service.decoders.digit_finder.view import View, grain_of, opencv, sample, slopes_of, working


def digit_in(grey: Bytes, polarities: Polarities = BOTH) -> tuple[View, Group]:
    """The one digit, looked at closely, and what was looked at. Raises NoDigitError."""
    view = working(grey)
    scale = view.down
    noise = grain_of(grey if scale > 1 else view.picture)
    group = best(view.picture, noise, polarities)
    calm = group is not None or is_calm(view.picture)
    if calm and (group is None or group.seen > 1 or group.size >= tuning.SMALL or scale <= 1.3):
        group = or_thin(group, view.picture, noise, polarities)
    if group is None:
        group = best(view.picture, noise, polarities, flat=True)  # a stroke so thick that a closing takes it for paper
    hidden = group is None and scale > 1.3 and calm
    if hidden:
        group = best_small(grey, scale, polarities)
    if group is not None and group.seen == 1 and is_halo(view.picture, group):
        group = None
    if group is None and calm:
        group = best_bridged(view.picture, noise, polarities)
        hidden = False
    if group is None:
        raise NoDigitError(NOTHING)
    if group.seen > 1:
        raise SeveralDigitsError(group.seen)
    if scale > 1.3 and (hidden or group.size < tuning.SMALL):
        closer_view, closer = closer_look(grey, view, group)
        if closer is not None:
            view, group = closer_view, closer
        elif hidden or group.size < tuning.TINY:
            raise NoDigitError(NOTHING)
        if group.seen > 1:
            raise SeveralDigitsError(group.seen)
    return view, group


def row_in(grey: Bytes, polarities: Polarities = BOTH) -> tuple[View, list[Group]]:
    """All digits of a row, and what was looked at. Raises NoDigitError."""
    view, rows = working(grey), []
    for rows_in_it in (
        rows_in,
        functools.partial(rows_in, least_share=tuning.LEAST_SHARE),
    ):  # the picture, then the row
        noise = grain_of(grey if view.down > 1 else view.picture)
        again = likely(view.picture, noise, polarities, groups_in=rows_in_it)
        if not again:
            break
        seen, rows, polarities = view, again, (again[0].dark,)
        box = functools.reduce(union, (row.box for row in rows))
        view = part_of(grey, view, box, (box[3] - box[1]) // 2)
    row = best_row(rows)
    if row is None or row.seen == 1:
        view, group = digit_in(grey, polarities)
        return view, [group]
    if len(row.layer.strokes) >= tuning.MOST_PARTS_OF_A_ROW:
        raise TooManyDigitsError(len(row.layer.strokes))
    digits = row.digits()
    if not is_one_line(row.layer.stats, digits_among(row.layer.stats, row.layer.strokes)):
        raise SeveralLinesError
    return seen, digits


def best_row(rows: list[Group]) -> Group | None:
    """Of the thresholds that agree about the number of digits, the lowest one that is about as good as the best: it
    breaks the fewest strokes."""
    scores = [row.likeness * tuning.TOUCHING ** sum(is_wide(digit, row) for digit in row.digits()) for row in rows]
    votes: dict[int, float] = {}
    for row, score in zip(rows, scores, strict=True):
        votes[row.seen] = votes.get(row.seen, 0) + score
    number = max(votes, key=lambda seen: votes[seen], default=0)
    agreed = [(row, score) for row, score in zip(rows, scores, strict=True) if row.seen == number]
    most = max((score for _, score in agreed), default=0)
    return next((row for row, score in agreed if score >= tuning.ABOUT_AS_GOOD * most), None)


def is_wide(digit: Group, row: Group) -> bool:
    return digit.box[2] - digit.box[0] > tuning.WIDEST_DIGIT * (row.box[3] - row.box[1])


def is_calm(work: Bytes) -> bool:
    """Mostly paper: a pattern has edges everywhere."""
    return float(np.mean(sample(slopes_of(work)) > tuning.STEEP)) < tuning.MOST_STEEP


def best_small(grey: Bytes, scale: float, polarities: Polarities) -> Group | None:
    """A digit whose strokes vanish when the picture is scaled down: they are widened first."""
    kernel = np.ones((int(scale) + 2,) * 2, np.uint8)
    noise = 1.5 * grain_of(grey)
    for dark in polarities:
        widened = opencv().erode(grey, kernel) if dark else opencv().dilate(grey, kernel)
        group = best(working(widened).picture, noise, (dark,), rank=tuning.SMALL_PEAK_RANK)
        if group is not None and group.size < tuning.SMALL:
            return group
    return None


def best_bridged(work: Bytes, noise: float, polarities: Polarities) -> Group | None:
    """A digit whose strokes are broken into many, by gaps of about their own width: these are closed first."""
    cv2 = opencv()
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (round(tuning.BRIDGE * min(work.shape)),) * 2)
    calm = cv2.medianBlur(work, 3)
    for dark in polarities:
        bridged = cv2.morphologyEx(calm, cv2.MORPH_OPEN if dark else cv2.MORPH_CLOSE, kernel)
        group = best(bridged, noise, (dark,))
        if group is None or group.separability < tuning.SEPARABLE:
            continue
        added = cv2.absdiff(calm, bridged)[group.mask] > 255 * 0.5 * group.layer.peak
        if added.mean() < tuning.MOST_BRIDGED:
            return group
    return None


def closer_look(grey: Bytes, view: View, group: Group) -> tuple[View, Group | None]:
    closer = part_of(grey, view, group.box, math.ceil(0.6 * group.size + 2))
    noise = grain_of(closer.picture)
    polarities = (group.dark,)
    return closer, or_thin(best(closer.picture, noise, polarities), closer.picture, noise, polarities)


def part_of(grey: Bytes, view: View, box: Box, margin: int) -> View:
    """The box of a view, with a margin, looked at closer."""
    left, top, right, bottom = view.seen_whole(grown(box, margin))
    left, top = max(0, left), max(0, top)
    return working(grey[top:bottom, left:right], left, top)


def or_thin(group: Group | None, work: Bytes, noise: float, polarities: Polarities) -> Group | None:
    """The group, or what there is without a median. A median removes salt and thin lines of the paper, but also the
    strokes of a pen of one pixel. It is no good where that was most of the ink, or where nothing else is left."""
    fine = None if noise > tuning.MEDIAN_NOISE or is_solid(group) else with_thin_strokes(work)
    if fine is None:
        return group
    thin = best(fine, noise, polarities, median=False)
    if thin is None:
        return group
    alone = thin.count == thin.layer.parts
    return thin if group is None or alone or group.layer.peak < tuning.THIN_PEAK * thin.layer.peak else group


def is_solid(group: Group | None) -> bool:
    if group is None or group.seen > 1 or group.layer.peak < tuning.SOLID_PEAK:
        return False
    return tuning.SOLID_STROKE < group.stroke < tuning.WIDEST_SPACE * group.size


def with_thin_strokes(work: Bytes) -> Bytes | None:
    """As after a median, but with what isn't single pixels; None if there is nothing of the kind."""
    cv2 = opencv()
    median = cv2.medianBlur(work, 3)
    apart = cv2.threshold(cv2.absdiff(work, median), 0.04 * 255, 1, cv2.THRESH_BINARY)[1]
    near = cv2.boxFilter(apart, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    if cv2.countNonZero(cv2.threshold(near, 2, 1, cv2.THRESH_BINARY)[1] & apart) < tuning.PEAK_RANK:
        return None
    thin: Bytes = np.where(near < 3, median, work)
    return thin


likeness_of = attrgetter("likeness")


def best(work: Bytes, noise: float, polarities: Polarities, **how: Any) -> Group | None:
    return max(likely(work, noise, polarities, **how), key=likeness_of, default=None)


def likely(
    work: Bytes,
    noise: float,
    polarities: Polarities,
    *,
    flat: bool = False,
    rank: int = tuning.PEAK_RANK,
    median: bool = True,
    groups_in: Callable[..., Iterator[Group]] = groups_in,
) -> list[Group]:
    """The groups of strokes that look like a digit, dark on light or light on dark."""
    cv2 = opencv()
    smooth = cv2.GaussianBlur(cv2.medianBlur(work, 3) if median else work, (0, 0), 0.7)
    if not flat:
        smooth = 255 - without_rim(255 - without_rim(smooth))
    slopes = slopes_of(smooth)
    candidates = {
        dark: [
            group
            for group in groups_in(smooth, slopes, dark, flat, rank)
            if (not flat or (group.share > 0.9 and group.count == 1 and group.layer.parts <= 4))
            and group.likeness > 0
            and group.layer.ink[group.mask].mean() >= tuning.LEAST_SIGNAL_TO_NOISE * noise
        ]
        for dark in polarities
    }
    return candidates[is_dark(candidates)]


def is_dark(candidates: dict[bool, list[Group]]) -> bool:
    """Whether the dark groups are more like a digit than the light ones, where both have been looked for.

    Ink is above most thresholds, the spaces inside it and around it above the low ones only.
    """
    total = {dark: sum(group.likeness for group in groups) for dark, groups in candidates.items()}
    for dark in BOTH if all(candidates.get(dark) for dark in BOTH) else ():
        inner, outer = candidates[dark], candidates[not dark]
        halo = outer[-1].layer.peak < tuning.HALO * inner[-1].layer.peak
        thinner = middle(g.stroke for g in outer) < tuning.THIN_AROUND * middle(g.stroke for g in inner)
        thin = thinner and outer[-1].layer.peak > tuning.NO_SEAM * inner[-1].layer.peak
        around = functools.reduce(union, (g.box for g in outer)) if thin else middle_box(outer)
        within = middle_box(inner)
        if inside(within, grown(around, 2)) and box_area(within) < 0.9 * box_area(around):
            total[not dark if halo else dark] *= tuning.SPACES_OF_THIN_STROKES if thin else tuning.SPACES
        if any(group.framed for group in inner):
            total[dark] *= tuning.FRAMED
    return max(total, key=lambda dark: total[dark])


def middle(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def middle_box(groups: list[Group]) -> Box:
    """Of most thresholds: at low ones there may be dirt in a box, at high ones a part of the digit is missing."""
    left, top, right, bottom = np.median([group.box for group in groups], axis=0).astype(int).tolist()
    return left, top, right, bottom


def is_halo(picture: Bytes, group: Group) -> bool:
    """Whether it is the edge of something solid, such as a disc: what is around it is as dark or as light."""
    left, top, right, bottom = grown(group.box, max(3, group.size // 8))
    if min(left, top) < 0 or right > picture.shape[1] or bottom > picture.shape[0]:
        return False  # too little of it is to be seen
    around = np.zeros(picture.shape, bool)
    around[top:bottom, left:right] = True
    left, top, right, bottom = group.box
    around[top:bottom, left:right] = False
    ink, paper = float(np.median(picture[group.mask])), float(np.median(picture[around]))
    return paper <= ink + tuning.LEAST_BESIDE if group.dark else paper >= ink - tuning.LEAST_BESIDE
