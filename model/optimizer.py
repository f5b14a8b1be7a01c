"""What turns gradients into new parameters: `update(params, gradient)` changes the arrays of `params` in place."""

import numpy as np

from model.types import Parameters


class SGD:
    """Gradient descent: w ← w - learning_rate × gradient."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    def update(self, params: Parameters, gradient: Parameters) -> None:
        for name, each in gradient.items():
            params[name] -= self.learning_rate * each


class Momentum:
    """Gradient descent with momentum: v ← momentum × v - learning_rate × gradient; w ← w + v (Polyak 1964)."""

    def __init__(self, learning_rate: float, momentum: float = 0.9) -> None:
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.velocity: Parameters = {}

    def update(self, params: Parameters, gradient: Parameters) -> None:
        for name, each in gradient.items():
            velocity = self.velocity.setdefault(name, np.zeros_like(each))
            velocity *= self.momentum
            velocity -= self.learning_rate * each
            params[name] += velocity
