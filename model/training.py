"""The training job: mini-batch gradient descent over shuffled epochs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from model.augmentation import rotated, shifted
from model.datasets.dataset import Dataset, Split, pixels_to_input
from model.datasets.splitting import validation_split
from model.memory import sample
from model.optimizer import OPTIMIZERS, SGD, Momentum
from model.two_layer_net import Activation, Backpropagation, TwoLayerNet
from model.types import FloatArray, IntArray, Parameters
from model.weights import Weights

STEPS_TO_LEARN_SOMETHING = 100
"""After so many, a loss that is no lower than that of guessing tells of a training that came to nothing."""

MOST_NAMES_SHOWN = 12

Schedule = Literal["cosine", "constant"]


class TrainingError(ValueError):
    """What was asked for does not fit together; the message is one line."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    learning_rate: None for the optimiser's own; schedule: cosine falls from it to 0 along half a cosine;
    weight_decay: the share by which W1 and W2 shrink in a step, times the rate (Loshchilov and Hutter 2019);
    patience: stop after so many epochs without a better validation accuracy, and keep the best epoch's weights;
    shift, rotate: images are moved by up to so many pixels and turned by up to so many degrees, in every batch by
    another amount; memory: how many training images the weights file keeps, for the live model to rehearse.
    """

    hidden: int = 50
    epochs: int = 40
    batch_size: int = 100
    optimizer: str = "momentum"
    learning_rate: float | None = None
    momentum: float = 0.9
    schedule: Schedule = "cosine"
    weight_decay: float = 1e-3
    patience: int | None = None
    shift: int = 1
    rotate: float = 0.0
    activation: Activation = "relu"
    seed: int = 0
    memory: int = 1000


@dataclass(frozen=True)
class Epoch:
    """What an epoch brought: the mean loss of its batches, as they were met, and the accuracy on validation images."""

    number: int
    loss: float
    validation_accuracy: float


class Trainer:
    """Trains a network on a dataset's training images, a tenth of which are kept out for validation.

    start: weights to go on from. Raises TrainingError where they do not fit the data or the options.
    """

    def __init__(self, dataset: Dataset, options: TrainingOptions, start: Weights | None = None) -> None:
        self.options = options
        self.dataset = dataset
        self.random = np.random.default_rng(options.seed)
        kept_out, used = validation_split(dataset.train)
        self.validation_x, self.validation_t = as_input(kept_out)
        if options.patience is not None and len(kept_out) == 0:
            raise TrainingError(
                f"{len(dataset.train)} images are too few to keep some out for validation, as patience needs"
            )
        self.images = used.images
        self.t = used.labels.astype(np.intp)
        self.network = self._network(start)
        self.label_names = dataset.label_names or (None if start is None else start.label_names)
        self.optimizer = make_optimizer(options)
        self.initial_rate = self.optimizer.learning_rate
        self.history: list[Epoch] = []
        self.best: tuple[int, Parameters] | None = None
        """The epoch with the best validation accuracy and its parameters, where the options ask for patience."""

    def _network(self, start: Weights | None) -> TwoLayerNet:
        features, classes = self.images.shape[1], self.dataset.classes
        if start is None:
            return TwoLayerNet(
                features,
                self.options.hidden,
                classes,
                "he" if self.options.activation == "relu" else "xavier",
                activation=self.options.activation,
                seed=self.options.seed,
                dtype=np.float32,
            )
        check_fits(start, self.dataset)
        for name, found in (("hidden", start.hidden_size), ("activation", start.activation)):
            asked = getattr(self.options, name)
            if asked != found:
                raise TrainingError(f"the weights to go on from have {name} {found}: it can't be {asked}")
        if self.dataset.label_names is not None and classes != start.output_size:
            raise TrainingError(
                f"the weights tell {start.output_size} classes apart, {self.dataset.name} has {classes}"
            )
        return TwoLayerNet.from_params({name: array.copy() for name, array in start.params.items()}, start.activation)

    def epochs(self) -> Iterator[Epoch]:
        """Train, an epoch for each item that is taken, until the last or one whose loss is not finite.

        The network may be used as it is at any moment.
        """
        batches = math.ceil(len(self.t) / self.options.batch_size)
        for number in range(len(self.history) + 1, self.options.epochs + 1):
            order = self.random.permutation(len(self.t))
            total = 0.0
            for i in range(batches):
                batch = order[i * self.options.batch_size : (i + 1) * self.options.batch_size]
                self.optimizer.learning_rate = self._rate((number - 1 + i / batches) / self.options.epochs)
                total += self.step(batch).loss * len(batch)
            self.history.append(Epoch(number, total / len(order), self._validation_accuracy()))
            self._remember_best()
            yield self.history[-1]
            if self._out_of_patience() or not math.isfinite(self.history[-1].loss):
                return

    def _validation_accuracy(self) -> float:
        """NaN where there are too few images to keep any out."""
        if len(self.validation_t) == 0:
            return math.nan
        return self.network.accuracy(self.validation_x, self.validation_t)

    def is_finite(self) -> bool:
        """Whether the weights that would be kept are."""
        params = self.network.params if self.best is None else self.best[1]
        return all(bool(np.isfinite(array).all()) for array in params.values())

    def divergence(self) -> str | None:
        """What is wrong with the weights that would be kept, if the training came to nothing."""
        kept = len(self.history) if self.best is None else self.best[0]
        if not self.is_finite():
            return f"the weights of epoch {kept} are not finite"
        if kept == 0:
            return None
        loss, guessing = self.history[kept - 1].loss, entropy(self.t)
        steps = kept * math.ceil(len(self.t) / self.options.batch_size)
        if not math.isfinite(loss) or (steps >= STEPS_TO_LEARN_SOMETHING and loss >= guessing > 0):
            return f"the loss of epoch {kept} is {loss:.4g}, that of guessing {guessing:.4g}"
        return None

    def step(self, batch: IntArray) -> Backpropagation:
        """One update from the images of these numbers; what the network made of them before it."""
        with np.errstate(over="ignore", invalid="ignore"):  # a training that diverges is told by its loss
            result = self.network.backpropagate(self._inputs(batch), self.t[batch])
            params = self.network.params
            if self.options.weight_decay:
                for name in ("W1", "W2"):
                    params[name] *= 1 - self.optimizer.learning_rate * self.options.weight_decay
            self.optimizer.update(params, result.gradient)
        return result

    def _inputs(self, batch: IntArray) -> FloatArray:
        """The images as the network takes them."""
        shape = self.dataset.image_shape
        images = shifted(self.images[batch], shape, self.options.shift, self.random)
        return rotated(images * np.float32(1 / 255), shape, self.options.rotate, self.random)

    def _rate(self, done: float) -> float:
        """done: the share of the training, 0…1. cosine: Loshchilov and Hutter 2017."""
        if self.options.schedule == "constant":
            return self.initial_rate
        return self.initial_rate * (1 + math.cos(math.pi * done)) / 2

    def _remember_best(self) -> None:
        if self.options.patience is None:
            return
        latest = self.history[-1]
        if all(latest.validation_accuracy > epoch.validation_accuracy for epoch in self.history[:-1]):
            self.best = (latest.number, {name: array.copy() for name, array in self.network.params.items()})

    def _out_of_patience(self) -> bool:
        patience = self.options.patience
        return patience is not None and self.best is not None and len(self.history) - self.best[0] >= patience

    def weights(self) -> Weights:
        """The network as it is now, or as it was at its best where there is patience, with how it came about."""
        epochs = self.history if self.best is None else self.history[: self.best[0]]
        kept = epochs[-1] if epochs else None
        training: dict[str, Any] = {
            "dataset": self.dataset.name,
            **asdict(self.options),
            "learning_rate": self.initial_rate,
            "epochs_done": len(self.history),
            "best_epoch": None if self.best is None else self.best[0],
            "validation_accuracy": kept.validation_accuracy
            if kept and math.isfinite(kept.validation_accuracy)
            else None,
        }
        params = self.network.params if self.best is None else self.best[1]
        return Weights(
            params,
            self.network.activation,
            self.dataset.image_shape,
            training,
            sample(self.images, self.t, self.options.memory, self.options.seed),
            self.label_names,
        )


def make_optimizer(options: TrainingOptions) -> SGD:
    if options.optimizer == "momentum":
        return Momentum(options.learning_rate, options.momentum)
    return OPTIMIZERS[options.optimizer](options.learning_rate)


def check_fits(weights: Weights, dataset: Dataset) -> None:
    """Raises TrainingError unless the network takes these images and tells all of their classes apart, by the same
    names if both have any."""
    features = dataset.test.images.shape[1]
    if features != weights.input_size:
        raise TrainingError(
            f"the weights are for images of {weights.input_size} pixels, those of {dataset.name} have {features}"
        )
    if dataset.classes > weights.output_size:
        raise TrainingError(
            f"the weights tell {weights.output_size} classes apart, {dataset.name} has {dataset.classes}"
        )
    if None not in (weights.label_names, dataset.label_names) and weights.label_names != dataset.label_names:
        raise TrainingError(
            f"the classes of the weights are {listed(weights.label_names)}, those of {dataset.name} "
            f"{listed(dataset.label_names)}"
        )


def listed(names: Sequence[str] | None) -> str:
    """For a message: the names, or the first of many."""
    names = names or ()
    return ", ".join(map(repr, names[:MOST_NAMES_SHOWN])) + ("…" if len(names) > MOST_NAMES_SHOWN else "")


def as_input(split: Split) -> tuple[FloatArray, IntArray]:
    return pixels_to_input(split.images), split.labels.astype(np.intp)


def entropy(t: IntArray) -> float:
    """The loss of one who knows how frequent each class is, and nothing of the image. t: class numbers, (n,)."""
    shares = np.bincount(t) / len(t)
    return float(-(shares * np.log(shares, where=shares > 0, out=np.zeros_like(shares))).sum())
