import numpy as np
import pytest

from model import TwoLayerNet
from model.gradient import relative_errors
from model.online import (
    OnlineOptimizer,
    UnsafeStepError,
    answers_stay_finite,
    global_norm,
    online_step,
    replay_step,
)
from model.optimizer import AdaGrad
from tests import oracle

PARAMS = TwoLayerNet(12, 7, 4, "he", seed=0, dtype=np.float32).params
X = np.random.default_rng(1).random((5, 12), dtype=np.float32)
T = np.array([0, 1, 2, 3, 0])


def test_a_step_is_what_the_formula_says_and_leaves_the_old_parameters() -> None:
    before = {name: array.copy() for name, array in PARAMS.items()}
    step = online_step(PARAMS, "relu", X, T, 0.1)
    loss, gradient = oracle.loss_and_gradient(PARAMS, X.astype(np.float64), T.tolist())  # type: ignore[arg-type]
    expected = {name: before[name] - 0.1 * gradient[name] for name in before}
    assert max(relative_errors(step.params, expected).values()) < 1e-6  # type: ignore[arg-type]
    assert step.loss == pytest.approx(loss, rel=1e-6)
    norm = np.sqrt(sum((array**2).sum() for array in gradient.values()))
    assert step.gradient_norm == pytest.approx(norm, rel=1e-6)
    assert all((PARAMS[name] == before[name]).all() for name in before)


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("limit", [None, 0.01])
def test_replayed_steps_are_the_same_to_the_bit(limit: float | None, optimizer: OnlineOptimizer) -> None:
    params, squares = again, squares_again = PARAMS, None
    for _ in range(3):
        step = online_step(params, "relu", X, T, 0.1, gradient_norm_limit=limit, optimizer=optimizer, squares=squares)
        again, squares_again = replay_step(
            again, "relu", X, T, step.learning_rate, optimizer=optimizer, squares=squares_again
        )
        params, squares = step.params, step.squares
        assert all((again[name] == params[name]).all() for name in again)
    assert (squares is None) == (optimizer == "sgd")


def test_adagrad_s_steps_are_those_of_the_training_job_s_optimiser() -> None:
    network = TwoLayerNet.from_params({name: array.copy() for name, array in PARAMS.items()})
    optimizer = AdaGrad(0.1)
    params, squares = PARAMS, None
    for _ in range(4):
        optimizer.update(network.params, network.gradient(X, T))
        step = online_step(params, "relu", X, T, 0.1, optimizer="adagrad", squares=squares)
        params, squares = step.params, step.squares
    assert max(relative_errors(params, network.params).values()) < 1e-6


def test_a_clipped_step_is_as_long_as_the_limit() -> None:
    step = online_step(PARAMS, "relu", X, T, 0.1, gradient_norm_limit=0.01)
    moved = {name: (step.params[name] - PARAMS[name]).astype(np.float64) for name in PARAMS}
    assert global_norm(moved) == pytest.approx(0.1 * 0.01, rel=1e-3)  # type: ignore[arg-type]
    assert step.gradient_norm > 0.01
    assert step.learning_rate == pytest.approx(0.1 * 0.01 / step.gradient_norm)


def test_a_step_that_would_not_be_finite_is_refused() -> None:
    huge = {name: np.full_like(array, 1e30) for name, array in PARAMS.items()}
    assert not answers_stay_finite(huge)
    with pytest.raises(UnsafeStepError):
        online_step(huge, "relu", X, T, 1.0)
    large = {**PARAMS, "W1": PARAMS["W1"] * np.float32(1e19), "W2": PARAMS["W2"] * np.float32(1e19)}
    with pytest.raises(UnsafeStepError, match="AdaGrad"):
        online_step(large, "relu", X, T, 1e-30, optimizer="adagrad")


def test_answers_stay_finite_says_no_to_anything_that_is_not_a_number() -> None:
    assert answers_stay_finite(PARAMS)
    for bad in (np.nan, np.inf, -np.inf):
        for name, array in PARAMS.items():
            broken = array.copy()
            broken.flat[-1] = bad
            assert not answers_stay_finite({**PARAMS, name: broken})


def test_the_norm_of_a_gradient_that_overflows_float32_is_still_right() -> None:
    assert global_norm({"W1": np.full(4, 1e25, np.float32)}) == pytest.approx(2e25)
