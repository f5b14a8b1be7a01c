"""Types of the arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
"""float32 in training and in the service, float64 in checks of gradients."""

IntArray = NDArray[np.integer[Any]]

Parameters = dict[str, FloatArray]
"""W1 (input × hidden), b1 (hidden), W2 (hidden × output), b2 (output): the weights, or their gradients."""

PARAMETER_NAMES = ("W1", "b1", "W2", "b2")
