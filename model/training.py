"""The training job: mini-batch gradient descent over shuffled epochs."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model.datasets import Dataset, Split, pixels_to_input
from model.optimizer import SGD, Momentum
from model.two_layer_net import Activation, TwoLayerNet
from model.types import FloatArray, IntArray
from model.weights import Weights

VALIDATION_SHARE = 0.1


@dataclass(frozen=True)
class TrainingOptions:
    """How to train. momentum 0 is plain SGD; weight_decay: the factor of the L2 penalty's gradient, on W1 and W2;
    shift: images are moved by up to so many pixels each way, every batch by another amount."""

    hidden: int = 50
    epochs: int = 20
    batch_size: int = 100
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-5
    shift: int = 1
    activation: Activation = "relu"
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """What an epoch brought: the mean loss of its batches, as they were met, and the accuracy on validation images."""

    number: int
    loss: float
    validation_accuracy: float


class Trainer:
    """Trains a network on a dataset's training images, a tenth of which are kept out for validation."""

    def __init__(self, dataset: Dataset, options: TrainingOptions) -> None:
        self.options = options
        self.dataset = dataset
        self.random = np.random.default_rng(options.seed)
        kept_out, used = validation_split(dataset.train, self.random)
        self.validation_x, self.validation_t = as_input(kept_out)
        self.x, self.t = as_input(used)
        self.network = TwoLayerNet(
            self.x.shape[1],
            options.hidden,
            dataset.classes,
            "he" if options.activation == "relu" else "xavier",
            activation=options.activation,
            seed=options.seed,
            dtype=np.float32,
        )
        self.optimizer = Momentum(0, options.momentum) if options.momentum else SGD(0)
        self.history: list[Epoch] = []

    def epochs(self) -> Iterator[Epoch]:
        """Train, an epoch for each item that is taken. The network may be used as it is at any moment."""
        batches = math.ceil(len(self.x) / self.options.batch_size)
        for number in range(1, self.options.epochs + 1):
            order = self.random.permutation(len(self.x))
            total = 0.0
            for i in range(batches):
                done = (number - 1 + i / batches) / self.options.epochs
                self.optimizer.learning_rate = cosine(self.options.learning_rate, done)
                total += self._step(order[i * self.options.batch_size : (i + 1) * self.options.batch_size])
            accuracy = self.network.accuracy(self.validation_x, self.validation_t)
            self.history.append(Epoch(number, total / len(order), accuracy))
            yield self.history[-1]

    def _step(self, batch: IntArray) -> float:
        """One update; the batch's loss before it, summed over its images."""
        x = shifted(self.x[batch], self.dataset.image_shape, self.options.shift, self.random)
        result = self.network.backpropagate(x, self.t[batch])
        for name in ("W1", "W2"):
            result.gradient[name] += self.options.weight_decay * self.network.params[name]
        self.optimizer.update(self.network.params, result.gradient)
        return result.loss * len(batch)

    def weights(self) -> Weights:
        """The network as it is now, with how it came about."""
        training: dict[str, Any] = {
            "dataset": self.dataset.name,
            **asdict(self.options),
            "epochs_done": len(self.history),
            "validation_accuracy": self.history[-1].validation_accuracy if self.history else None,
        }
        return Weights(self.network.params, self.options.activation, self.dataset.image_shape, training)


def as_input(split: Split) -> tuple[FloatArray, IntArray]:
    return pixels_to_input(split.images), split.labels.astype(np.intp)


def validation_split(train: Split, random: np.random.Generator) -> tuple[Split, Split]:
    """A random tenth of the images, and the others."""
    order = random.permutation(len(train))
    held = round(len(train) * VALIDATION_SHARE)
    return train.take(order[:held]), train.take(order[held:])


def cosine(start: float, done: float) -> float:
    """A rate that falls from `start` to 0 along half a cosine, `done` being 0…1 (Loshchilov and Hutter 2017)."""
    return start * (1 + math.cos(math.pi * done)) / 2


def shifted(x: FloatArray, shape: tuple[int, int], most: int, random: np.random.Generator) -> FloatArray:
    """The images moved by up to `most` pixels each way, all by the same amount; what comes in at an edge is 0."""
    if most == 0:
        return x
    down, right = (int(each) for each in random.integers(-most, most + 1, 2))
    if down == right == 0:
        return x
    rows, columns = shape
    images = x.reshape(len(x), rows, columns)
    moved = np.zeros_like(images)
    target = (slice(max(down, 0), rows + min(down, 0)), slice(max(right, 0), columns + min(right, 0)))
    source = (slice(max(-down, 0), rows + min(-down, 0)), slice(max(-right, 0), columns + min(-right, 0)))
    moved[:, *target] = images[:, *source]
    return moved.reshape(x.shape)
