import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model import cross_entropy_error, sigmoid, softmax

numbers = arrays.arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e4, 1e4))


@given(numbers)
@settings(max_examples=30)
def test_sigmoid_neither_overflows_nor_warns(x: np.ndarray) -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = sigmoid(x)
    assert ((y >= 0) & (y <= 1)).all()
    for value, result in zip(x, y, strict=True):
        expected = 1 / (1 + math.exp(-value)) if value > -700 else math.exp(max(value, -745))
        assert result == pytest.approx(expected, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_keeps_its_type_and_its_small_values(dtype: type) -> None:
    y = sigmoid(np.array([-1e4, -50, 0, 50, 1e4], dtype))
    assert y.dtype == dtype
    assert y[0] == 0
    assert y[1] == pytest.approx(math.exp(-50), rel=1e-6)
    assert y[2:].tolist() == [0.5, 1, 1]


@given(numbers)
@settings(max_examples=30)
def test_softmax_is_a_distribution_for_any_logits(x: np.ndarray) -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = softmax(x)
    assert y.sum() == pytest.approx(1)
    assert (y >= 0).all()
    assert y[x.argmax()] == y.max()


def test_softmax_works_row_by_row() -> None:
    x = np.array([[1.0, 2.0, 3.0], [1e4, 0.0, -1e4]])
    assert softmax(x)[0] == pytest.approx(np.exp(x[0]) / np.exp(x[0]).sum())
    assert softmax(x)[1].tolist() == [1, 0, 0]
    assert softmax(x[0]) == pytest.approx(softmax(x)[0])


def test_cross_entropy_error_of_class_numbers_and_of_one_hot_labels() -> None:
    y = np.array([[0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])
    expected = -(math.log(0.7) + math.log(0.4)) / 2
    assert cross_entropy_error(y, [2, 1]) == pytest.approx(expected, rel=1e-15)
    assert cross_entropy_error(y, np.eye(3)[[2, 1]]) == pytest.approx(expected, rel=1e-15)


def test_cross_entropy_error_of_one_image() -> None:
    y = np.array([0.1, 0.2, 0.7])
    assert cross_entropy_error(y, 2) == pytest.approx(-math.log(0.7))
    assert cross_entropy_error(y, np.array([0, 0, 1])) == pytest.approx(-math.log(0.7))


def test_cross_entropy_error_of_an_impossible_class_is_finite() -> None:
    with np.errstate(all="raise"):
        assert math.isfinite(cross_entropy_error(np.array([[1.0, 0.0]], np.float32), [1]))
