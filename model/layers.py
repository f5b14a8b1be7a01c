"""The layers: `forward` computes, `backward` takes the gradient of the loss with respect to what `forward` gave
and returns it with respect to what `forward` took.

A layer remembers its last `forward` for the `backward` that follows, so a layer belongs to one computation:
`TwoLayerNet` makes them anew each time. No method changes its arguments.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.functions import class_numbers, sigmoid
from model.types import FloatArray, IntArray


class Relu:
    """y = max(x, 0). The gradient at exactly 0 is taken to be 0."""

    def __init__(self) -> None:
        self.active: NDArray[np.bool_] | None = None

    def forward(self, x: FloatArray) -> FloatArray:
        self.active = x > 0
        return np.maximum(x, 0)

    def backward(self, dout: FloatArray) -> FloatArray:
        """dy/dx is 1 where x > 0, else 0."""
        assert self.active is not None, "backward before forward"
        return dout * self.active


class Sigmoid:
    """y = 1 / (1 + exp(-x))."""

    def __init__(self) -> None:
        self.out: FloatArray | None = None

    def forward(self, x: FloatArray) -> FloatArray:
        self.out = sigmoid(x)
        return self.out

    def backward(self, dout: FloatArray) -> FloatArray:
        """dy/dx = y (1 - y)."""
        assert self.out is not None, "backward before forward"
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
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout: FloatArray) -> FloatArray:
        """dx = dout Wᵀ; dW = xᵀ dout and db = the sum of dout over the batch are left in `dW` and `db`."""
        self.backward_parameters(dout)
        return dout @ self.W.T

    def backward_parameters(self, dout: FloatArray) -> None:
        """`backward` without dx: all that a network's first layer needs, whose x are the images."""
        assert self.x is not None, "backward before forward"
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
        self.t = class_numbers(t)
        logits = np.ascontiguousarray(x.T)  # (k, n): sums and maxima over the classes then run along the batch
        shifted = logits - logits.max(axis=0)
        exponential = np.exp(shifted)
        total = exponential.sum(axis=0)
        self.y = (exponential / total).T
        self.loss = float((np.log(total) - shifted[self.t, np.arange(len(x))]).sum()) / len(x)
        return self.loss

    def backward(self, dout: float = 1.0) -> FloatArray:
        """dx = dout (y - t) / n, with t as one-hot rows."""
        assert self.y is not None, "backward before forward"
        assert self.t is not None
        dx = self.y.copy()
        dx[np.arange(len(dx)), self.t] -= 1
        dx *= dout / len(dx)
        return dx
