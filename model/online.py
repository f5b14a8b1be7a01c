"""One gradient step on a live model, as a pure function: the same input gives the same result, to the bit."""

import math
from dataclasses import dataclass

import numpy as np

from model.two_layer_net import Activation, TwoLayerNet, accuracy_of
from model.types import PARAMETER_NAMES, FloatArray, IntArray, Parameters

LARGEST_LOGIT = 1e37
"""Well below the largest float32, 3.4e38."""


class UnsafeStepError(ValueError):
    """The step would leave parameters that are not finite, or so large that some image's logits would not be."""


@dataclass(frozen=True)
class OnlineStep:
    """New parameters; loss and accuracy of the batch before the step; the rate that multiplied the gradient."""

    params: Parameters
    loss: float
    accuracy: float
    gradient_norm: float
    learning_rate: float


def online_step(
    params: Parameters,
    activation: Activation,
    x: FloatArray,
    t: IntArray,
    learning_rate: float,
    *,
    gradient_norm_limit: float | None = None,
) -> OnlineStep:
    """One step of gradient descent on the batch x: (n, input), t: (n,); `params` is left as it is.

    With a limit, a gradient whose norm (over all parameters together) is above it is scaled down to it (clipping by
    global norm, Pascanu et al. 2013), which is the same as a smaller learning rate: that rate is what is returned.

    Raises UnsafeStepError.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        result = TwoLayerNet.from_params(params, activation).backpropagate(x, t)
        norm = global_norm(result.gradient)
        if gradient_norm_limit is not None and norm > gradient_norm_limit:
            learning_rate *= gradient_norm_limit / norm
        updated = updated_params(params, result.gradient, learning_rate)
    if not (math.isfinite(norm) and math.isfinite(result.loss) and answers_stay_finite(updated)):
        raise UnsafeStepError("the step would leave weights that are not finite, or too large to compute with")
    return OnlineStep(updated, result.loss, accuracy_of(result.logits, t), norm, learning_rate)


def replay_step(params: Parameters, activation: Activation, x: FloatArray, t: IntArray, rate: float) -> Parameters:
    """The parameters that `online_step` gave, from what it took and the learning rate that it returned."""
    gradient = TwoLayerNet.from_params(params, activation).gradient(x, t)
    return updated_params(params, gradient, rate)


def updated_params(params: Parameters, gradient: Parameters, learning_rate: float) -> Parameters:
    """One step of gradient descent, into new arrays."""
    return {name: params[name] - learning_rate * gradient[name] for name in PARAMETER_NAMES}


def global_norm(gradient: Parameters) -> float:
    """The Euclidean norm of all gradients taken as one vector."""
    squares = sum(float(np.vdot(each, each)) for each in gradient.values())
    if not math.isfinite(squares):  # float32 overflows from a norm of 1.8e19
        squares = sum(float(np.square(each, dtype=np.float64).sum()) for each in gradient.values())
    return math.sqrt(squares) if squares >= 0 else math.nan


def answers_stay_finite(params: Parameters) -> bool:
    """Whether every image of pixels 0…1 gets finite logits, by a bound from the largest weights; not if any is NaN."""

    def largest(name: str) -> float:
        return float(max(params[name].max(), -params[name].min()))

    inputs, hidden = params["W1"].shape
    unit = inputs * largest("W1") + largest("b1")
    return bool(unit < LARGEST_LOGIT and hidden * unit * largest("W2") + largest("b2") < LARGEST_LOGIT)
