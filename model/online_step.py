"""One gradient step on a live model, as a pure function: the same input gives the same result, bit for bit."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.datasets import input_to_pixels, pixels_to_input
from model.functions import cross_entropy_error, softmax
from model.replay_memory import most_examples
from model.two_layer_net import accuracy_of
from model.types import PARAMETER_NAMES, FloatArray, IntArray, Parameters
from model.weights_file import Weights

LARGEST_LOGIT = 1e37
"""Well below the largest float32, 3.4e38."""


class UnsafeStepError(ValueError):
    """The step would leave parameters, or logits of some image, that are not finite."""


@dataclass(frozen=True)
class Rehearsal:
    """How a step uses the memory.

    version: the version that the step makes, which determines what is drawn; count: how many examples are drawn;
    memory_size: limit of the memory to which the posted examples are added, or 0 to leave the memory unchanged.
    """

    version: int = 0
    count: int = 0
    memory_size: int = 0


NO_REHEARSAL = Rehearsal()
"""The plain step of gradient descent."""


@dataclass(frozen=True)
class OnlineStep:
    """New weights; probabilities (n, k), loss and accuracy of the posted examples before the step; the learning rate
    that was applied."""

    weights: Weights
    probabilities: FloatArray
    loss: float
    accuracy: float
    gradient_norm: float
    learning_rate: float


def planned(weights: Weights, version: int, count: int, rehearse: int, memory_size: int) -> Rehearsal:
    """The rehearsal of a step of `count` examples to a version, with `rehearse` requested for each of them."""
    if rehearse == 0:
        return NO_REHEARSAL
    size = most_examples(memory_size, weights.input_size)
    return Rehearsal(version, weights.memory.size_of_draw(count, rehearse), size)


def online_step(
    weights: Weights,
    pixels: NDArray[Any],
    t: IntArray,
    learning_rate: float,
    *,
    rehearsal: Rehearsal = NO_REHEARSAL,
    gradient_norm_limit: float | None = None,
) -> OnlineStep:
    """One step of gradient descent on the mean loss over the posted and the drawn examples.

    pixels: (n, input), bytes 0…255 or float32 0…1; t: (n,). `weights` are not changed.

    A gradient whose norm, over all parameters together, is above the limit is scaled down to it (clipping by global
    norm, Pascanu et al. 2013). This equals a smaller learning rate, which is the one returned.

    Raises UnsafeStepError.
    """
    x, labels = batch(weights, pixels, t, rehearsal)
    with np.errstate(over="ignore", invalid="ignore"):
        result = weights.network().backpropagate(x, labels)
        norm = global_norm(result.gradient)
        if gradient_norm_limit is not None and norm > gradient_norm_limit:
            learning_rate *= gradient_norm_limit / norm
        updated = updated_params(weights.params, result.gradient, learning_rate)
        posted = result.logits[: len(t)]
        probabilities = softmax(posted)
        loss = result.loss if len(x) == len(t) else cross_entropy_error(probabilities, t)
    if not (math.isfinite(norm) and math.isfinite(result.loss) and answers_stay_finite(updated)):
        raise UnsafeStepError("the step would leave weights that are not finite, or too large to compute with")
    stepped = after(weights, updated, pixels, t, rehearsal, probable=are_probable(probabilities, t))
    return OnlineStep(stepped, probabilities, loss, accuracy_of(posted, t), norm, learning_rate)


def replay_step(
    weights: Weights,
    pixels: NDArray[Any],
    t: IntArray,
    learning_rate: float,
    rehearsal: Rehearsal = NO_REHEARSAL,
) -> Weights:
    """The weights that `online_step` returned, from its arguments and the learning rate that it returned."""
    result = weights.network().backpropagate(*batch(weights, pixels, t, rehearsal))
    updated = updated_params(weights.params, result.gradient, learning_rate)
    probable = are_probable(softmax(result.logits[: len(t)]), t)
    return after(weights, updated, pixels, t, rehearsal, probable=probable)


def batch(weights: Weights, pixels: NDArray[Any], t: IntArray, rehearsal: Rehearsal) -> tuple[FloatArray, IntArray]:
    """The posted examples, then the drawn ones."""
    x = pixels_to_input(pixels)
    if not rehearsal.count or not any(weights.memory.classes):  # empty where the steps that filled it were unlearned
        return x, t
    remembered, labels = weights.memory.draw(rehearsal.count, rehearsal.version, weights.image_shape)
    return np.concatenate([x, pixels_to_input(remembered)]), np.concatenate([t, labels])


def are_probable(probabilities: FloatArray, t: IntArray) -> NDArray[np.bool_]:
    """Whether each label is at least as probable as by chance. probabilities: (n, k)."""
    improbable: NDArray[np.bool_] = probabilities[np.arange(len(t)), t] * probabilities.shape[1] < 1
    return ~improbable


def after(
    weights: Weights,
    params: Parameters,
    pixels: NDArray[Any],
    t: IntArray,
    rehearsal: Rehearsal,
    *,
    probable: NDArray[np.bool_],
) -> Weights:
    """The weights after a step. `training` no longer describes them, so it is dropped."""
    memory = weights.memory
    if rehearsal.memory_size:
        memory = memory.after(input_to_pixels(pixels), t, probable, rehearsal.memory_size, rehearsal.version)
    return replace(weights, params=params, memory=memory, training={})


def updated_params(params: Parameters, gradient: Parameters, learning_rate: float) -> Parameters:
    """w - rate × gradient, into new arrays."""
    updated = {name: learning_rate * gradient[name] for name in PARAMETER_NAMES}
    for name, array in updated.items():
        np.subtract(params[name], array, out=array)
    return updated


def global_norm(gradient: Parameters) -> float:
    """The Euclidean norm of all gradients as one vector."""
    squares = sum(float(np.vdot(array, array)) for array in gradient.values())
    if not math.isfinite(squares):  # float32 overflows from a norm of 1.8e19
        squares = sum(float(np.square(array, dtype=np.float64).sum()) for array in gradient.values())
    return math.sqrt(squares) if squares >= 0 else math.nan


def answers_stay_finite(params: Parameters) -> bool:
    """Whether the logits of every image of pixels 0…1 are finite, by a bound from the largest weights."""

    def largest(name: str) -> float:
        return float(max(params[name].max(), -params[name].min()))

    inputs, hidden = params["W1"].shape
    unit = inputs * largest("W1") + largest("b1")
    return bool(unit < LARGEST_LOGIT and hidden * unit * largest("W2") + largest("b2") < LARGEST_LOGIT)
