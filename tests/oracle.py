"""The network written a second time, straight from its formulas, one image and one number at a time, in float64.

Nothing here uses the project's own code: what agrees with it has been computed twice.
"""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def activation_and_derivative(name: str, value: float) -> tuple[float, float]:
    if name == "relu":
        return (value, 1.0) if value > 0 else (0.0, 0.0)
    out = 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
    return out, out * (1 - out)


def loss_and_gradient(
    params: dict[str, Array], x: Array, labels: list[int], activation: str = "relu"
) -> tuple[float, dict[str, Array]]:
    """Mean cross-entropy of the batch, and its derivative by every parameter, by the chain rule written out."""
    w1, b1, w2, b2 = (np.asarray(params[name], np.float64) for name in ("W1", "b1", "W2", "b2"))
    gradient = {name: np.zeros(np.shape(params[name])) for name in ("W1", "b1", "W2", "b2")}
    total = 0.0
    for image, label in zip(x, labels, strict=True):
        hidden = [activation_and_derivative(activation, float(image @ w1[:, j] + b1[j])) for j in range(len(b1))]
        z = np.array([value for value, _ in hidden])
        logits = [float(z @ w2[:, c] + b2[c]) for c in range(len(b2))]
        highest = max(logits)
        log_sum = highest + math.log(sum(math.exp(logit - highest) for logit in logits))
        total += log_sum - logits[label]
        error = np.array([math.exp(logit - log_sum) - (c == label) for c, logit in enumerate(logits)])
        for j in range(len(b1)):
            gradient["W2"][j] += z[j] * error
            back = float(w2[j] @ error) * hidden[j][1]
            gradient["W1"][:, j] += image * back
            gradient["b1"][j] += back
        gradient["b2"] += error
    return total / len(x), {name: array / len(x) for name, array in gradient.items()}


def probabilities(params: dict[str, Array], x: Array) -> Array:
    """Softmax of the logits of a ReLU network, (n, k)."""
    w1, b1, w2, b2 = (np.asarray(params[name], np.float64) for name in ("W1", "b1", "W2", "b2"))
    logits = np.maximum(x @ w1 + b1, 0) @ w2 + b2
    exponential = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Array = exponential / exponential.sum(axis=1, keepdims=True)
    return result
