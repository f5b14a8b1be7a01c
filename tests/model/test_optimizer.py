"""Each optimiser against its formula, written out for one number at a time."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from model.optimizer import OPTIMIZERS, SGD, AdaGrad, Adam, Momentum
from model.types import Parameters

GRADIENTS = [0.5, -2.0, 0.0, 3.0]
Formula = Callable[[list[float]], float]


def sgd(gradients: list[float]) -> float:
    return 1 - 0.1 * sum(gradients)


def momentum(gradients: list[float]) -> float:
    w, v = 1.0, 0.0
    for g in gradients:
        v = 0.9 * v - 0.1 * g
        w += v
    return w


def adagrad(gradients: list[float]) -> float:
    w, h = 1.0, 0.0
    for g in gradients:
        h += g * g
        w -= 0.1 * g / (math.sqrt(h) + 1e-7)
    return w


def adam(gradients: list[float]) -> float:
    """With the bias taken from m and v themselves, as the paper's algorithm 1 has it."""
    w, m, v = 1.0, 0.0, 0.0
    for i, g in enumerate(gradients, 1):
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        w -= 0.1 * (m / (1 - 0.9**i)) / (math.sqrt(v / (1 - 0.999**i)) + 1e-7)
    return w


FORMULAS: dict[type[SGD], Formula] = {SGD: sgd, Momentum: momentum, AdaGrad: adagrad, Adam: adam}


def test_every_optimiser_has_a_rate_of_its_own_and_a_formula_here() -> None:
    assert set(OPTIMIZERS.values()) == set(FORMULAS)
    for optimizer in OPTIMIZERS.values():
        assert "default_learning_rate" in vars(optimizer)
        assert optimizer().learning_rate == optimizer.default_learning_rate


@pytest.mark.parametrize("make", OPTIMIZERS.values())
def test_an_optimiser_computes_its_formula(make: type[SGD]) -> None:
    optimizer, formula = make(0.1), FORMULAS[make]
    params: Parameters = {"W1": np.ones((2, 3)), "b1": np.ones(2)}
    for value in GRADIENTS:
        gradient: Parameters = {"W1": np.full((2, 3), value), "b1": np.full(2, value)}
        optimizer.update(params, gradient)
        assert (gradient["W1"] == value).all(), "the gradient is not the optimiser's to change"
    for array in params.values():
        assert array == pytest.approx(formula(GRADIENTS), rel=1e-5)


@pytest.mark.parametrize("make", OPTIMIZERS.values())
def test_an_optimiser_goes_on_from_its_state(make: type[SGD]) -> None:
    def run(optimizer: SGD, params: Any, gradients: list[float]) -> None:
        for value in gradients:
            optimizer.update(params, {"W1": np.full(3, float(value))})

    whole, params = make(), {"W1": np.ones(3)}
    run(whole, params, GRADIENTS)
    first, second, stopped = make(), make(), {"W1": np.ones(3)}
    run(first, stopped, GRADIENTS[:2])
    second.state = {name: array.copy() for name, array in first.state.items()}
    second.iterations = first.iterations
    run(second, stopped, GRADIENTS[2:])
    assert (stopped["W1"] == params["W1"]).all()
