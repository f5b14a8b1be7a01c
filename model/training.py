"""The training job: mini-batch gradient descent over shuffled epochs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from model.augmentation import Distortions, shifted
from model.datasets.dataset import Dataset, Split, pixels_to_input
from model.datasets.splits import validation_split
from model.drawn_digits import SIDE, drawn_digits
from model.optimizer import OPTIMIZERS, SGD, Momentum
from model.replay_memory import sample
from model.two_layer_net import Activation, Backpropagation, TwoLayerNet
from model.types import FloatArray, IntArray, Parameters
from model.weights_file import Weights

STEPS_TO_LEARN_SOMETHING = 100
"""A loss that is no lower than that of guessing after this many steps means that the training has diverged."""

MOST_NAMES_SHOWN = 12

DIGIT_NAMES = tuple("0123456789")

EPOCHS, EPOCHS_OF_FEW, FEW = 40, 80, 20_000
"""The default, and that for images of digits where they are few."""

DRAWN, MOST_DRAWN = 10_000, 100_000
"""Digits drawn by code: the default, and the most that are accepted, which take 80 MB."""

DRAWN_SHARE = 1.2
"""The most drawn digits in an epoch, as a share of the real images. Each epoch has other ones."""

DIGITS_COMPARED, LEAST_RECOGNISED = 300, 0.35
"""How many drawn digits are compared with the images, and the share of them that must be recognised. It is 0.6 for
MNIST, and below 0.2 for clothes, digits in another order, and transposed ones."""

DISTORTIONS_PER_BATCH, MOST_DISTORTED_PIXELS = 2, 256 * SIDE * SIDE
"""How many distortions an epoch has: at most 256 of MNIST's images, which take 10 MB."""

Schedule = Literal["cosine", "constant"]


class TrainingError(ValueError):
    """The data, the options and the weights do not fit together; the message is one line."""


@dataclass(frozen=True)
class TrainingOptions:
    """How to train.

    learning_rate: None for the optimiser's own; schedule: cosine lets it fall to 0 along half a cosine;
    weight_decay: the share by which W1 and W2 shrink in a step, times the rate (Loshchilov and Hutter 2019);
    patience: stop after this many epochs without a better validation accuracy, and keep the best epoch's weights;
    shift: most pixels by which images are moved; rotate: most degrees by which they are turned; distort: strength of
    `Distortions`; drawn: how many digits drawn by code are added to the images; memory: how many training images the
    weights file keeps for the live model to rehearse. None for epochs, distort or drawn: what suits the data.
    """

    hidden: int = 50
    epochs: int | None = None
    batch_size: int = 100
    optimizer: str = "momentum"
    learning_rate: float | None = None
    momentum: float = 0.9
    schedule: Schedule = "cosine"
    weight_decay: float = 1e-3
    patience: int | None = None
    shift: int = 1
    rotate: float = 0.0
    distort: float | None = None
    drawn: int | None = None
    activation: Activation = "relu"
    seed: int = 0
    memory: int = 1000


@dataclass(frozen=True)
class Epoch:
    """The result of an epoch: the mean loss of its batches, and the accuracy on validation images after it."""

    number: int
    loss: float
    validation_accuracy: float


class Trainer:
    """Trains a network on a dataset's training images, a tenth of which are kept out for validation.

    start: weights to continue from. Raises TrainingError where they do not fit the data or the options.
    """

    def __init__(self, dataset: Dataset, options: TrainingOptions, start: Weights | None = None) -> None:
        self.options = options
        self.dataset = dataset
        self.random = np.random.default_rng(options.seed)
        kept_out, used = validation_split(dataset.train)
        self.validation_x, self.validation_t = as_input(kept_out)
        if options.patience is not None and len(kept_out) == 0:
            raise TrainingError(
                f"{len(dataset.train)} images are too few to keep some out for validation, which patience needs"
            )
        self.network = self._network(start)
        self.label_names = dataset.label_names or (None if start is None else start.label_names)
        self.real = len(used)
        """How many of `images` are the dataset's; the others are digits drawn by code."""
        digits = self.label_names in (None, DIGIT_NAMES) and shows_digits(used, dataset.image_shape)
        self.last_epoch = options.epochs or (EPOCHS_OF_FEW if digits and len(used) < FEW else EPOCHS)
        self.distort = float(digits) if options.distort is None else options.distort
        self.drawn = self._drawn(digits)
        material = used + drawn_digits(self.drawn, np.random.default_rng(options.seed)) if self.drawn else used
        self.images = material.images
        self.t = material.labels.astype(np.intp)
        self.distortions: Distortions | None = None
        """Those of the current epoch."""
        self.optimizer = make_optimizer(options)
        self.initial_rate = self.optimizer.learning_rate
        self.history: list[Epoch] = []
        self.best: tuple[int, Parameters] | None = None
        """The epoch with the best validation accuracy and its parameters, where the options ask for patience."""

    def _drawn(self, digits: bool) -> int:
        """How many digits are drawn. digits: whether the images are of the ten digits."""
        drawn = self.options.drawn
        if drawn and not digits:
            raise TrainingError(f"{self.dataset.name} does not show the ten digits: digits drawn by code do not fit it")
        return (DRAWN if drawn is None else drawn) if digits else 0

    def _network(self, start: Weights | None) -> TwoLayerNet:
        features, classes = self.dataset.train.images.shape[1], self.dataset.classes
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
                raise TrainingError(f"the weights to continue from have {name} {found}: it can't be {asked}")
        if self.dataset.label_names is not None and classes != start.output_size:
            raise TrainingError(f"the weights have {start.output_size} classes, {self.dataset.name} has {classes}")
        return TwoLayerNet.from_params({name: array.copy() for name, array in start.params.items()}, start.activation)

    def epochs(self) -> Iterator[Epoch]:
        """Train one epoch for each item, until the last one or one whose loss is not finite.

        The network can be used between any two of them.
        """
        batches = self._batches()
        for number in range(len(self.history) + 1, self.last_epoch + 1):
            order = self._order()
            self.distortions = self.some_distortions(self.random)
            total = 0.0
            for i in range(batches):
                batch = order[i * self.options.batch_size : (i + 1) * self.options.batch_size]
                self.optimizer.learning_rate = self._rate((number - 1 + i / batches) / self.last_epoch)
                total += self.step(batch).loss * len(batch)
            self.history.append(Epoch(number, total / len(order), self._validation_accuracy()))
            self._remember_best()
            yield self.history[-1]
            if self._out_of_patience() or not math.isfinite(self.history[-1].loss):
                return

    def _batches(self) -> int:
        """How many an epoch has."""
        return math.ceil((self.real + self._drawn_per_epoch()) / self.options.batch_size)

    def _drawn_per_epoch(self) -> int:
        return min(self.drawn, round(DRAWN_SHARE * self.real))

    def _order(self) -> IntArray:
        """The numbers of an epoch's images: all of the real ones, and as many drawn ones as an epoch has."""
        order = self.random.permutation(len(self.t))
        drawn = np.flatnonzero(order >= self.real)
        return np.delete(order, drawn[self._drawn_per_epoch() :])

    def some_distortions(self, random: np.random.Generator) -> Distortions | None:
        """As many as an epoch has, if images are distorted at all."""
        options = self.options
        if self.distort == options.rotate == 0:
            return None
        bound = max(1, MOST_DISTORTED_PIXELS // self.images.shape[1])
        count = min(bound, DISTORTIONS_PER_BATCH * self._batches())
        return Distortions(
            count, self.dataset.image_shape, random, self.distort, shift=options.shift, rotate=options.rotate
        )

    def _validation_accuracy(self) -> float:
        """NaN where no images are kept out."""
        if len(self.validation_t) == 0:
            return math.nan
        return self.network.accuracy(self.validation_x, self.validation_t)

    def is_finite(self) -> bool:
        """Whether all of the weights that `weights` returns are finite."""
        params = self.network.params if self.best is None else self.best[1]
        return all(bool(np.isfinite(array).all()) for array in params.values())

    def divergence(self) -> str | None:
        """What is wrong with the weights that `weights` returns, if the training has diverged."""
        kept = len(self.history) if self.best is None else self.best[0]
        if not self.is_finite():
            return f"the weights of epoch {kept} are not finite"
        if kept == 0:
            return None
        loss, guessing = self.history[kept - 1].loss, entropy(self.t)
        steps = kept * self._batches()
        if not math.isfinite(loss) or (steps >= STEPS_TO_LEARN_SOMETHING and loss >= guessing > 0):
            return f"the loss of epoch {kept} is {loss:.4g}, that of guessing {guessing:.4g}"
        return None

    def step(self, batch: IntArray) -> Backpropagation:
        """One update from the images with these numbers. Returns what was computed before the update."""
        with np.errstate(over="ignore", invalid="ignore"):  # the loss shows that a training diverges
            result = self.network.backpropagate(self._inputs(batch), self.t[batch])
            params = self.network.params
            if self.options.weight_decay:
                for name in ("W1", "W2"):
                    params[name] *= 1 - self.optimizer.learning_rate * self.options.weight_decay
            self.optimizer.update(params, result.gradient)
        return result

    def _inputs(self, batch: IntArray) -> FloatArray:
        """The images of these numbers as the network gets them, shifted or distorted."""
        images = self.images[batch]
        if self.distortions is None:
            return pixels_to_input(shifted(images, self.dataset.image_shape, self.options.shift, self.random))
        return self.distortions(images, self.random)

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
        """The network as it is now, or after its best epoch where the options ask for patience."""
        epochs = self.history if self.best is None else self.history[: self.best[0]]
        kept = epochs[-1] if epochs else None
        training: dict[str, Any] = {
            "dataset": self.dataset.name,
            **asdict(self.options),
            "epochs": self.last_epoch,
            "distort": self.distort,
            "drawn": self.drawn,
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
            sample(self.images[: self.real], self.t[: self.real], self.options.memory, self.options.seed),
            self.label_names,
        )


def make_optimizer(options: TrainingOptions) -> SGD:
    if options.optimizer == "momentum":
        return Momentum(options.learning_rate, options.momentum)
    return OPTIMIZERS[options.optimizer](options.learning_rate)


def check_fits(weights: Weights, dataset: Dataset) -> None:
    """Raises TrainingError unless the network accepts images of this size and has all of their classes, with the same
    names if both have any."""
    features = dataset.test.images.shape[1]
    if features != weights.input_size:
        raise TrainingError(
            f"the weights are for images of {weights.input_size} pixels, those of {dataset.name} have {features}"
        )
    if dataset.classes > weights.output_size:
        raise TrainingError(f"the weights have {weights.output_size} classes, {dataset.name} has {dataset.classes}")
    if None not in (weights.label_names, dataset.label_names) and weights.label_names != dataset.label_names:
        raise TrainingError(
            f"the classes of the weights are {listed(weights.label_names)}, those of {dataset.name} "
            f"{listed(dataset.label_names)}"
        )


def listed(names: Sequence[str] | None) -> str:
    """The names for a message, or the first of many."""
    names = names or ()
    return ", ".join(map(repr, names[:MOST_NAMES_SHOWN])) + ("…" if len(names) > MOST_NAMES_SHOWN else "")


def as_input(split: Split) -> tuple[FloatArray, IntArray]:
    return pixels_to_input(split.images), split.labels.astype(np.intp)


def entropy(t: IntArray) -> float:
    """The loss of guessing by the frequencies of the classes, without looking at the image. t: class numbers, (n,)."""
    shares = np.bincount(t) / len(t)
    return float(-(shares * np.log(shares, where=shares > 0, out=np.zeros_like(shares))).sum())


def shows_digits(split: Split, shape: tuple[int, int]) -> bool:
    """Whether the images are of the ten digits in MNIST's form, and the classes in the order of the digits.

    If so, most drawn digits are nearest to the mean image of their own class. For ten classes of letters or clothes it
    is about one in ten.
    """
    present = np.unique(split.labels)
    if shape != (SIDE, SIDE) or present.tolist() != list(range(len(DIGIT_NAMES))):
        return False
    means = np.stack([split.images[split.labels == label].mean(axis=0) for label in present])
    means -= means.mean(axis=1, keepdims=True)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)
    drawn = drawn_digits(DIGITS_COMPARED, np.random.default_rng(0))
    recognised = (drawn.images @ means.T).argmax(axis=1) == drawn.labels
    return float(recognised.mean()) > LEAST_RECOGNISED
