"""Whether one network is worse than another on the same examples by more than chance: McNemar's exact test (1947)."""

import math

from model.types import IntArray

LEVEL = 0.05
"""How often two networks that are equally good are told apart by chance."""


def p_value(lost: int, won: int) -> float:
    """How probable it is that of lost + won examples that only one of two equal networks has right, this one loses at
    least `lost`: the upper tail of the binomial distribution with p = 1/2."""
    total = lost + won
    log_of_all = math.lgamma(total + 1) - total * math.log(2)
    tail = (
        math.exp(log_of_all - math.lgamma(count + 1) - math.lgamma(total - count + 1))
        for count in range(lost, total + 1)
    )
    return min(1.0, math.fsum(tail))


def is_worse(predicted: IntArray, other: IntArray, t: IntArray) -> bool:
    """Whether `predicted` has fewer labels right than `other`, by more than chance at LEVEL. Shapes: (n,)."""
    right, other_right = predicted == t, other == t
    lost, won = int((other_right & ~right).sum()), int((right & ~other_right).sum())
    return p_value(lost, won) < LEVEL
