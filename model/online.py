"""One gradient step on a live model, as a pure function: the same input gives the same result, to the bit."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from model.optimizer import TINY
from model.two_layer_net import Activation, TwoLayerNet, accuracy_of
from model.types import PARAMETER_NAMES, FloatArray, IntArray, Parameters

LARGEST_LOGIT = 1e37
"""Well below the largest float32, 3.4e38."""

LARGEST_SQUARED_NORM = 1e18
"""Of a gradient that AdaGrad takes: its square has to fit into float32, many times."""

OnlineOptimizer = Literal["sgd", "adagrad"]


class UnsafeStepError(ValueError):
    """The step would leave parameters that are not finite, or so large that some image's logits would not be."""


@dataclass(frozen=True)
class OnlineStep:
    """New parameters; loss and accuracy of the batch before the step; the rate that multiplied the gradient.

    squares: what AdaGrad remembers, the sums of all squared gradients; None after a plain step.
    """

    params: Parameters
    squares: Parameters | None
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
    optimizer: OnlineOptimizer = "sgd",
    squares: Parameters | None = None,
) -> OnlineStep:
    """One step of gradient descent on the batch x: (n, input), t: (n,); `params` and `squares` are left as they are.

    optimizer: the plain step, w - rate × gradient, or AdaGrad's, which goes on from `squares`, or from none.

    With a limit, a gradient whose norm (over all parameters together) is above it is scaled down to it (clipping by
    global norm, Pascanu et al. 2013), which is the same as a smaller learning rate: that rate is what is returned.

    Raises UnsafeStepError.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        result = TwoLayerNet.from_params(params, activation).backpropagate(x, t)
        norm = global_norm(result.gradient)
        if gradient_norm_limit is not None and norm > gradient_norm_limit:
            learning_rate *= gradient_norm_limit / norm
        updated, remembered = updated_params(params, result.gradient, learning_rate, optimizer, squares)
    too_large = remembered is not None and not all(np.isfinite(array).all() for array in remembered.values())
    if optimizer == "adagrad" and (too_large or not norm < LARGEST_SQUARED_NORM):
        raise UnsafeStepError("the gradient is too large for AdaGrad to remember its square")
    if not (math.isfinite(norm) and math.isfinite(result.loss) and answers_stay_finite(updated)):
        raise UnsafeStepError("the step would leave weights that are not finite, or too large to compute with")
    return OnlineStep(updated, remembered, result.loss, accuracy_of(result.logits, t), norm, learning_rate)


def replay_step(
    params: Parameters,
    activation: Activation,
    x: FloatArray,
    t: IntArray,
    learning_rate: float,
    *,
    optimizer: OnlineOptimizer = "sgd",
    squares: Parameters | None = None,
) -> tuple[Parameters, Parameters | None]:
    """The parameters and squares that `online_step` gave, from what it took and the learning rate that it returned."""
    gradient = TwoLayerNet.from_params(params, activation).gradient(x, t)
    return updated_params(params, gradient, learning_rate, optimizer, squares)


def updated_params(
    params: Parameters,
    gradient: Parameters,
    learning_rate: float,
    optimizer: OnlineOptimizer = "sgd",
    squares: Parameters | None = None,
) -> tuple[Parameters, Parameters | None]:
    """One step, into new arrays: the parameters, and AdaGrad's sums of squares."""
    if optimizer == "sgd":
        return {name: params[name] - learning_rate * gradient[name] for name in PARAMETER_NAMES}, None
    sums: Parameters = {name: np.square(gradient[name]) for name in PARAMETER_NAMES}
    if squares is not None:
        for name in PARAMETER_NAMES:
            sums[name] += squares[name]
    stepped: Parameters = {
        name: params[name] - learning_rate * (gradient[name] / (np.sqrt(sums[name]) + TINY)) for name in PARAMETER_NAMES
    }
    return stepped, sums


def global_norm(gradient: Parameters) -> float:
    """The Euclidean norm of all gradients taken as one vector."""
    squares = sum(float(np.vdot(array, array)) for array in gradient.values())
    if not math.isfinite(squares):  # float32 overflows from a norm of 1.8e19
        squares = sum(float(np.square(array, dtype=np.float64).sum()) for array in gradient.values())
    return math.sqrt(squares) if squares >= 0 else math.nan


def answers_stay_finite(params: Parameters) -> bool:
    """Whether every image of pixels 0…1 gets finite logits, by a bound from the largest weights; not if any is NaN."""

    def largest(name: str) -> float:
        return float(max(params[name].max(), -params[name].min()))

    inputs, hidden = params["W1"].shape
    unit = inputs * largest("W1") + largest("b1")
    return bool(unit < LARGEST_LOGIT and hidden * unit * largest("W2") + largest("b2") < LARGEST_LOGIT)
