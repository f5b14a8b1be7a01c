import numpy as np
import pytest

from model import numerical_gradient
from model.gradient import relative_error


def test_numerical_gradient_of_a_known_function() -> None:
    x = np.array([[3.0, 4.0], [0.0, -2.0]])
    assert numerical_gradient(lambda a: float((a**2).sum()), x) == pytest.approx(2 * x, abs=1e-9)


def test_numerical_gradient_refuses_float32() -> None:
    with pytest.raises(TypeError, match="float32"):
        numerical_gradient(lambda a: float(a.sum()), np.ones(2, np.float32))


def test_numerical_gradient_puts_back_what_it_moved_even_when_the_function_fails() -> None:
    x = np.array([1.0, 2.0])

    def fails(_: np.ndarray) -> float:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        numerical_gradient(fails, x)
    assert x.tolist() == [1, 2]


def test_relative_error() -> None:
    assert relative_error(np.array([1.0, 100.0]), np.array([2.0, 100.0])) == 0.01
    assert relative_error(np.zeros(2), np.zeros(2)) == 0
