import numpy as np
import pytest

from model import TwoLayerNet
from model.gradient import relative_errors
from model.online import UnsafeStepError, answers_stay_finite, global_norm, online_step, replay_step
from tests import oracle

PARAMS = TwoLayerNet(12, 7, 4, "he", seed=0, dtype=np.float32).params
X = np.random.default_rng(1).random((5, 12), dtype=np.float32)
T = np.array([0, 1, 2, 3, 0])


def test_a_step_is_what_the_formula_says_and_leaves_the_old_parameters() -> None:
    before = {name: each.copy() for name, each in PARAMS.items()}
    step = online_step(PARAMS, "relu", X, T, 0.1)
    loss, gradient = oracle.loss_and_gradient(PARAMS, X.astype(np.float64), T.tolist())  # type: ignore[arg-type]
    expected = {name: before[name] - 0.1 * gradient[name] for name in before}
    assert max(relative_errors(step.params, expected).values()) < 1e-6  # type: ignore[arg-type]
    assert step.loss == pytest.approx(loss, rel=1e-6)
    norm = np.sqrt(sum((each**2).sum() for each in gradient.values()))
    assert step.gradient_norm == pytest.approx(norm, rel=1e-6)
    assert all((PARAMS[name] == before[name]).all() for name in before)


@pytest.mark.parametrize("limit", [None, 0.01])
def test_a_replayed_step_is_the_same_to_the_bit(limit: float | None) -> None:
    step = online_step(PARAMS, "relu", X, T, 0.1, gradient_norm_limit=limit)
    again = replay_step(PARAMS, "relu", X, T, step.learning_rate)
    assert all((again[name] == step.params[name]).all() for name in again)


def test_a_clipped_step_is_as_long_as_the_limit() -> None:
    step = online_step(PARAMS, "relu", X, T, 0.1, gradient_norm_limit=0.01)
    moved = {name: (step.params[name] - PARAMS[name]).astype(np.float64) for name in PARAMS}
    assert global_norm(moved) == pytest.approx(0.1 * 0.01, rel=1e-3)  # type: ignore[arg-type]
    assert step.gradient_norm > 0.01
    assert step.learning_rate == pytest.approx(0.1 * 0.01 / step.gradient_norm)


def test_a_step_that_would_not_be_finite_is_refused() -> None:
    huge = {name: np.full_like(each, 1e30) for name, each in PARAMS.items()}
    assert not answers_stay_finite(huge)
    with pytest.raises(UnsafeStepError):
        online_step(huge, "relu", X, T, 1.0)


def test_answers_stay_finite_says_no_to_anything_that_is_not_a_number() -> None:
    assert answers_stay_finite(PARAMS)
    for bad in (np.nan, np.inf, -np.inf):
        for name, each in PARAMS.items():
            broken = each.copy()
            broken.flat[-1] = bad
            assert not answers_stay_finite({**PARAMS, name: broken})


def test_the_norm_of_a_gradient_that_overflows_float32_is_still_right() -> None:
    assert global_norm({"W1": np.full(4, 1e25, np.float32)}) == pytest.approx(2e25)
