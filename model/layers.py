"""The layers. `backward` turns the gradient of the loss with respect to the output of `forward` into the gradient with
respect to its input.

A layer keeps the input of its last `forward` for the next `backward`, so it belongs to one computation: `TwoLayerNet`
makes new layers each time. No method changes its arguments. They raise TypeError for an argument that is not an array,
ValueError for a wrong shape, and RuntimeError for `backward` before `forward`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.functions import check_array, class_numbers, sigmoid
from model.types import FloatArray, IntArray

NO_FORWARD = (
    "backward before forward: call forward of this layer first "
    "(predict, loss and gradient of a network use layers of their own)"
)


class Relu:
    """y = max(x, 0). The gradient at exactly 0 is defined as 0. mask: where x <= 0."""

    def __init__(self) -> None:
        self.mask: NDArray[np.bool_] | None = None

    def forward(self, x: FloatArray) -> FloatArray:
        check_array(x)
        self.mask = x <= 0
        return np.maximum(x, 0)

    def backward(self, dout: FloatArray) -> FloatArray:
        """dy/dx is 1 where x > 0, else 0."""
        check_array(dout, "dout")
        if self.mask is None:
            raise RuntimeError(NO_FORWARD)
        return dout * ~self.mask


class Sigmoid:
    """y = 1 / (1 + exp(-x))."""

    def __init__(self) -> None:
        self.out: FloatArray | None = None

    def forward(self, x: FloatArray) -> FloatArray:
        self.out = sigmoid(x)
        return self.out

    def backward(self, dout: FloatArray) -> FloatArray:
        """dy/dx = y (1 - y)."""
        check_array(dout, "dout")
        if self.out is None:
            raise RuntimeError(NO_FORWARD)
        return dout * (1 - self.out) * self.out


class Affine:
    """y = x W + b, for x: (n, inputs), W: (inputs, outputs), b: (outputs,)."""

    def __init__(self, W: FloatArray, b: FloatArray) -> None:
        self.W = W
        self.b = b
        self.x: FloatArray | None = None
        self.dW: FloatArray
        self.db: FloatArray

    def forward(self, x: FloatArray) -> FloatArray:
        check_array(x)
        W = self.W
        if x.ndim not in (1, 2) or x.shape[-1] != len(W):
            raise ValueError(f"x has shape {x.shape}: expected (n, {len(W)}), n rows of {len(W)} numbers")
        self.x = x
        return x @ W + self.b

    def backward(self, dout: FloatArray) -> FloatArray:
        """dx = dout Wᵀ; dW = xᵀ dout and db = the sum of dout over the batch are stored in `dW` and `db`."""
        self.backward_parameters(dout)
        return dout @ self.W.T

    def backward_parameters(self, dout: FloatArray) -> None:
        """`backward` without dx, which the first layer of a network does not need."""
        check_array(dout, "dout")
        if self.x is None:
            raise RuntimeError(NO_FORWARD)
        # For one image the matrix product is an outer product, which is four times as fast.
        self.dW = self.x.T @ dout if len(self.x) > 1 else self.x.T * dout
        self.db = dout.sum(axis=0)


class SoftmaxWithLoss:
    """Softmax, then the cross-entropy error with the labels, as one layer: together their gradient is y - t."""

    def __init__(self) -> None:
        self.y: FloatArray | None = None
        self.t: IntArray | None = None
        self.loss: float | None = None

    def forward(self, x: FloatArray, t: ArrayLike) -> float:
        """The mean loss of a batch. x: logits (n, k); t: class numbers (n,) or one-hot (n, k).

        The loss of one image is log(sum(exp(x))) - x[t], computed from the logits: a probability may round to zero,
        and its logarithm would be infinite.
        """
        check_array(x)
        if x.ndim != 2 or x.size == 0:
            raise ValueError(f"x has shape {x.shape}: expected (n, k), n rows of k logits (of one image x[np.newaxis])")
        self.t = class_numbers(t, *x.shape)
        logits = np.ascontiguousarray(x.T)  # (k, n): sums and maxima over the classes are faster this way
        shifted = logits - logits.max(axis=0)
        exponential = np.exp(shifted)
        total = exponential.sum(axis=0)
        self.y = (exponential / total).T
        self.loss = float((np.log(total) - shifted[self.t, np.arange(len(x))]).sum()) / len(x)
        return self.loss

    def backward(self, dout: float = 1.0) -> FloatArray:
        """dx = dout (y - t) / n, with t as one-hot rows."""
        if self.y is None or self.t is None:
            raise RuntimeError(NO_FORWARD)
        dx = self.y.copy()
        dx[np.arange(len(dx)), self.t] -= 1
        dx *= dout / len(dx)
        return dx
