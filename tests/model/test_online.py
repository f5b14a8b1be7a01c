from dataclasses import replace

import numpy as np
import pytest

from model import TwoLayerNet
from model.gradient import relative_errors
from model.online_step import (
    Rehearsal,
    UnsafeStepError,
    answers_stay_finite,
    global_norm,
    online_step,
    planned,
    replay_step,
)
from model.replay_memory import NOTHING
from model.weights_file import Weights, to_bytes
from tests import oracle

PARAMS = TwoLayerNet(12, 7, 4, "he", seed=0, dtype=np.float32).params
WEIGHTS = Weights(PARAMS)
X = np.random.default_rng(1).random((5, 12), dtype=np.float32)
T = np.array([0, 1, 2, 3, 0])


def test_a_step_is_what_the_formula_says_and_leaves_the_old_parameters() -> None:
    before = {name: array.copy() for name, array in PARAMS.items()}
    step = online_step(WEIGHTS, X, T, 0.1)
    loss, gradient = oracle.loss_and_gradient(PARAMS, X.astype(np.float64), T.tolist())  # type: ignore[arg-type]
    expected = {name: before[name] - 0.1 * gradient[name] for name in before}
    assert max(relative_errors(step.weights.params, expected).values()) < 1e-6  # type: ignore[arg-type]
    assert step.loss == pytest.approx(loss, rel=1e-6)
    norm = np.sqrt(sum((array**2).sum() for array in gradient.values()))
    assert step.gradient_norm == pytest.approx(norm, rel=1e-6)
    assert all((PARAMS[name] == before[name]).all() for name in before)


@pytest.mark.parametrize("limit", [None, 0.01])
@pytest.mark.parametrize("rehearse", [0, 8])
def test_replayed_steps_are_the_same_to_the_bit(limit: float | None, rehearse: int) -> None:
    weights = again = WEIGHTS
    for version in range(2, 6):
        rehearsal = planned(weights, version, len(T), rehearse, 12)
        step = online_step(weights, X, T, 0.1, rehearsal=rehearsal, gradient_norm_limit=limit)
        again = replay_step(again, X, T, step.learning_rate, rehearsal)
        weights = step.weights
        assert to_bytes(again) == to_bytes(weights)
        assert rehearsal.count == (0 if version == 2 else rehearse * len(T))


def test_a_step_s_gradient_is_the_mean_over_posted_and_remembered_examples() -> None:
    remembering = online_step(WEIGHTS, X, T, 0.1, rehearsal=Rehearsal(2, 0, 12)).weights
    rehearsal = Rehearsal(3, 7, 12)
    pixels, labels = remembering.memory.draw(7, 3)
    step = online_step(remembering, X, T, 0.1, rehearsal=rehearsal)
    x, t = np.concatenate([X, pixels / 255]), [*T.tolist(), *labels.tolist()]
    _, gradient = oracle.loss_and_gradient(remembering.params, x, t)  # type: ignore[arg-type]
    expected = {name: array - 0.1 * gradient[name] for name, array in remembering.params.items()}
    assert max(relative_errors(step.weights.params, expected).values()) < 1e-5  # type: ignore[arg-type]
    loss, _ = oracle.loss_and_gradient(remembering.params, X.astype(np.float64), T.tolist())  # type: ignore[arg-type]
    assert step.loss == pytest.approx(loss, rel=1e-5)


def test_without_rehearsal_the_memory_makes_no_difference() -> None:
    remembering = online_step(WEIGHTS, X, T, 0.1, rehearsal=Rehearsal(2, 0, 12)).weights
    plain = online_step(WEIGHTS, X, T, 0.1).weights
    assert to_bytes(replace(remembering, memory=NOTHING)) == to_bytes(plain)
    assert online_step(remembering, X, T, 0.1).weights.memory == remembering.memory


def test_a_clipped_step_is_as_long_as_the_limit() -> None:
    step = online_step(WEIGHTS, X, T, 0.1, gradient_norm_limit=0.01)
    moved = {name: (step.weights.params[name] - PARAMS[name]).astype(np.float64) for name in PARAMS}
    assert global_norm(moved) == pytest.approx(0.1 * 0.01, rel=1e-3)  # type: ignore[arg-type]
    assert step.gradient_norm > 0.01
    assert step.learning_rate == pytest.approx(0.1 * 0.01 / step.gradient_norm)


def test_a_step_that_would_not_be_finite_is_refused() -> None:
    huge = {name: np.full_like(array, 1e30) for name, array in PARAMS.items()}
    assert not answers_stay_finite(huge)
    with pytest.raises(UnsafeStepError):
        online_step(Weights(huge), X, T, 1.0)


def test_answers_stay_finite_says_no_to_anything_that_is_not_a_number() -> None:
    assert answers_stay_finite(PARAMS)
    for bad in (np.nan, np.inf, -np.inf):
        for name, array in PARAMS.items():
            broken = array.copy()
            broken.flat[-1] = bad
            assert not answers_stay_finite({**PARAMS, name: broken})


def test_the_norm_of_a_gradient_that_overflows_float32_is_still_right() -> None:
    assert global_norm({"W1": np.full(4, 1e25, np.float32)}) == pytest.approx(2e25)
