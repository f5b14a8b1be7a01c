"""Gradients by finite differences, to check backpropagation."""

from collections.abc import Callable

import numpy as np

from model.functions import check_array
from model.types import FloatArray, Parameters

STEP = 1e-5
"""Half the width of a difference. The error of a central difference is of the order of step² + eps / step, least
near the cube root of eps: 6e-6 in float64."""


def numerical_gradient(f: Callable[[FloatArray], float], x: FloatArray, step: float = STEP) -> FloatArray:
    """The gradient of f at x by central differences, (f(x + h) - f(x - h)) / 2h for each element.

    x: any shape, float64. Its elements are changed in place, one at a time, and restored, so that f may also read them
    from elsewhere, such as the `params` of a network.

    Raises TypeError for any other dtype: in float32 the difference is rounding noise.
    """
    check_array(x)
    if x.dtype != np.float64:
        raise TypeError(
            f"numerical_gradient needs float64, not {x.dtype}: with less precision the difference is rounding noise"
        )
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        kept = x[index]
        try:
            x[index] = kept + step
            above = f(x)
            x[index] = kept - step
            below = f(x)
        finally:
            x[index] = kept
        gradient[index] = (above - below) / (2 * step)
    return gradient


def relative_error(a: FloatArray, b: FloatArray) -> float:
    """The largest difference between a and b, relative to their largest magnitude; 0 if both are zero."""
    scale = max(np.abs(a).max(initial=0), np.abs(b).max(initial=0))
    return float(np.abs(a - b).max(initial=0) / scale) if scale > 0 else 0.0


def relative_errors(gradient: Parameters, expected: Parameters) -> dict[str, float]:
    """`relative_error` for each parameter."""
    return {name: relative_error(gradient[name], expected[name]) for name in expected}
