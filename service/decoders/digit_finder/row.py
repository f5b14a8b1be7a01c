"""Several digits in a row: which strokes are one digit, and where the next one begins."""

import functools
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from service.decoders.digit_finder import tuning
from service.decoders.digit_finder.boxes import Box, box_of, gap_between, union

Digits = list[tuple[list[int], Box]]


def digits_among(stats: NDArray[np.int32], strokes: list[int]) -> list[list[int]]:
    """The strokes of each digit, from left to right. Dust belongs to none."""
    digits = [
        ([i], box_of(stats[i]))
        for i in sorted(strokes, key=lambda i: int(stats[i, 0]))
        if stats[i, 4] > tuning.DUST * stats[strokes[0], 4]
    ]
    digits = merged(digits)
    tallest = max(height(box) for _, box in digits)
    rest = [digit for digit in digits if height(digit[1]) < tuning.WHOLE_DIGIT * tallest]
    digits = [digit for digit in digits if height(digit[1]) >= tuning.WHOLE_DIGIT * tallest]
    for parts, box in rest:  # a bar or a hook next to a digit
        near = min(digits, key=lambda digit: gap_between(digit[1], box))
        if gap_between(near[1], box) < tuning.NEAR * tallest:
            near[0].extend(parts)
    return [parts for parts, _ in digits]


def merged(digits: Digits) -> Digits:
    """With those put together that are above each other."""
    whole: Digits = []
    for parts, box in digits:
        for at, (others, outline) in enumerate(whole):
            if overlap(outline, box) > tuning.SAME_COLUMNS:
                whole[at] = [*others, *parts], union(outline, box)
                break
        else:
            whole.append((parts, box))
    return whole if len(whole) == len(digits) else merged(whole)


def height(box: Box) -> int:
    return box[3] - box[1]


def overlap(a: Box, b: Box) -> float:
    """The share of the narrower one's width that is above or below the other."""
    return (min(a[2], b[2]) - max(a[0], b[0])) / min(a[2] - a[0], b[2] - b[0])


def is_one_line(stats: NDArray[np.int32], digits: list[list[int]]) -> bool:
    """Whether no large stroke is below another one, with a space between, and each digit is left of the next one."""
    outlines = []
    for parts in digits:
        boxes = sorted((box_of(stats[i]) for i in parts), key=lambda box: box[1])
        tallest = max(map(height, boxes))
        large = [box for box in boxes if height(box) > tuning.LINE * tallest]
        if any(b[1] - a[3] > tuning.LINE_SPACE * tallest for a, b in pairwise(large)):
            return False
        outlines.append(functools.reduce(union, boxes))
    return all(min(a[3], b[3]) > max(a[1], b[1]) for a, b in pairwise(outlines))
