"""The layers: `forward` computes, `backward` takes the gradient of the loss with respect to what `forward` gave
and returns it with respect to what `forward` took.

A layer remembers its last `forward` for the `backward` that follows, so a layer belongs to one computation:
`TwoLayerNet` makes them anew each time. No method changes its arguments. What is no array gets a TypeError, what does
not fit a ValueError, a `backward` before any `forward` a RuntimeError.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.functions import check_array, class_numbers, sigmoid
from model.types import FloatArray, IntArray

NO_FORWARD = (
    "backward before forward: a layer goes back from its own last forward "
    "(a network's predict, loss and gradient have layers of their own)"
)


class Relu:
    """y = max(x, 0). The gradient at exactly 0 is taken to be 0. mask: where x <= 0."""

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
        """dx = dout Wᵀ; dW = xᵀ dout and db = the sum of dout over the batch are left in `dW` and `db`."""
        self.backward_parameters(dout)
        return dout @ self.W.T

    def backward_parameters(self, dout: FloatArray) -> None:
        """`backward` without dx: all that a network's first layer needs, whose x are the images."""
        check_array(dout, "dout")
        if self.x is None:
            raise RuntimeError(NO_FORWARD)
        # Of one image, the matrix product is an outer product, and four times as quick when it is said so.
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

        The loss of one image is log(sum(exp(x))) - x[t], taken from the logits: the way by the probabilities loses
        everything once one of them rounds to zero.
        """
        check_array(x)
        if x.ndim != 2 or x.size == 0:
            raise ValueError(f"x has shape {x.shape}: expected (n, k), n rows of k logits (of one image x[np.newaxis])")
        self.t = class_numbers(t, *x.shape)
        logits = np.ascontiguousarray(x.T)  # (k, n): sums and maxima over the classes then run along the batch
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
