"""Optimisers: `update(params, gradient)` changes the arrays of `params` in place.

The `state` of an optimiser holds arrays of the shapes of the parameters, named by kind and parameter. To add an
optimiser, add a class here.
"""

import numpy as np

from model.types import FloatArray, Parameters

TINY = 1e-7
"""Avoids a division by zero."""


class SGD:
    """Gradient descent: w ← w - learning_rate × gradient."""

    default_learning_rate = 0.2
    """Each optimiser's default suits batches of 100."""

    def __init__(self, learning_rate: float | None = None) -> None:
        self.learning_rate = self.default_learning_rate if learning_rate is None else learning_rate
        self.iterations = 0
        self.state: dict[str, FloatArray] = {}
        self._scratch: dict[str, FloatArray] = {}

    def update(self, params: Parameters, gradient: Parameters) -> None:
        self.iterations += 1
        for name, array in gradient.items():
            params[name] -= np.multiply(array, self.learning_rate, out=self._scratch_for(name, array))

    def _scratch_for(self, name: str, like: FloatArray) -> FloatArray:
        """An array for intermediate results, reused because allocating one costs more than the computation."""
        if name not in self._scratch:
            self._scratch[name] = np.empty_like(like)
        return self._scratch[name]

    def _remembered(self, kind: str, name: str, like: FloatArray) -> FloatArray:
        key = f"{kind}.{name}"
        if key not in self.state:
            self.state[key] = np.zeros_like(like)
        return self.state[key]


class Momentum(SGD):
    """Gradient descent with momentum: v ← momentum × v - learning_rate × gradient; w ← w + v (Polyak 1964)."""

    default_learning_rate = 0.1

    def __init__(self, learning_rate: float | None = None, momentum: float = 0.9) -> None:
        super().__init__(learning_rate)
        self.momentum = momentum

    def update(self, params: Parameters, gradient: Parameters) -> None:
        self.iterations += 1
        for name, array in gradient.items():
            velocity = self._remembered("velocity", name, array)
            velocity *= self.momentum
            velocity -= np.multiply(array, self.learning_rate, out=self._scratch_for(name, array))
            params[name] += velocity


class AdaGrad(SGD):
    """h ← h + gradient²; w ← w - learning_rate × gradient / √h, elementwise (Duchi, Hazan and Singer 2011)."""

    default_learning_rate = 0.02

    def update(self, params: Parameters, gradient: Parameters) -> None:
        self.iterations += 1
        for name, array in gradient.items():
            scratch = self._scratch_for(name, array)
            squares = self._remembered("squares", name, array)
            squares += np.square(array, out=scratch)
            np.sqrt(squares, out=scratch)
            scratch += TINY
            np.divide(array, scratch, out=scratch)
            scratch *= self.learning_rate
            params[name] -= scratch


class Adam(SGD):
    """m and v: bias-corrected moving means of the gradient and of its square; w ← w - rate × m / √v
    (Kingma and Ba 2015)."""

    default_learning_rate = 0.001

    def __init__(self, learning_rate: float | None = None, beta1: float = 0.9, beta2: float = 0.999) -> None:
        super().__init__(learning_rate)
        self.beta1 = beta1
        self.beta2 = beta2

    def update(self, params: Parameters, gradient: Parameters) -> None:
        self.iterations += 1
        unbiased = (1 - self.beta2**self.iterations) ** 0.5 / (1 - self.beta1**self.iterations)
        for name, array in gradient.items():
            scratch = self._scratch_for(name, array)
            mean = self._remembered("mean", name, array)
            mean *= self.beta1
            mean += np.multiply(array, 1 - self.beta1, out=scratch)
            squares = self._remembered("squares", name, array)
            squares *= self.beta2
            squares += np.multiply(np.square(array, out=scratch), 1 - self.beta2, out=scratch)
            np.sqrt(squares, out=scratch)
            scratch += TINY
            np.divide(mean, scratch, out=scratch)
            scratch *= self.learning_rate * unbiased
            params[name] -= scratch


_kinds: list[type[SGD]] = [SGD, *SGD.__subclasses__()]
OPTIMIZERS = {kind.__name__.lower(): kind for kind in _kinds}
