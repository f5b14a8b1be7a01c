"""McNemar's exact test, against the sum over all outcomes."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.paired_test import LEVEL, is_worse, p_value


@given(st.integers(0, 60), st.integers(0, 60))
def test_is_the_tail_of_the_binomial_distribution(lost: int, won: int) -> None:
    total = lost + won
    exact = sum(Fraction(comb(total, count), 2**total) for count in range(lost, total + 1))
    assert p_value(lost, won) == pytest.approx(float(exact), rel=1e-9)


def test_many_examples_neither_overflow_nor_take_long() -> None:
    assert p_value(50_000, 50_000) == pytest.approx(0.5, abs=0.01)
    assert p_value(60_000, 40_000) < 1e-100


@pytest.mark.parametrize(
    ("lost", "won", "worse"), [(0, 0, False), (4, 0, False), (5, 0, True), (0, 5, False), (20, 10, True)]
)
def test_a_few_examples_are_chance(lost: int, won: int, worse: bool) -> None:
    """Of 100 others, both have half right."""
    t = np.zeros(lost + won + 100, int)
    mine, other = t.copy(), t.copy()
    mine[:lost] = 1
    other[lost : lost + won] = 1
    mine[-50:] = other[-50:] = 1
    assert is_worse(mine, other, t) is worse


def test_equal_networks_are_seldom_told_apart() -> None:
    rng = np.random.default_rng(0)
    t = np.zeros(200, int)
    told = [is_worse(rng.integers(0, 2, 200), rng.integers(0, 2, 200), t) for _ in range(2000)]
    assert np.mean(told) < LEVEL
