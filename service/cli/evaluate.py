"""The commands `evaluate` and `gradcheck`: how good a network is, and whether its gradient is right."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from model.datasets import Dataset
from model.functions import confusion_matrix
from model.gradient import relative_errors
from model.training import TrainingError, TrainingOptions, as_input, check_fits, listed
from model.two_layer_net import ACTIVATIONS, TwoLayerNet
from model.weights_file import Weights
from service.cli.console import loaded_weights, reported_errors
from service.cli.picture_folder import DATA_HELP, load_data
from service.errors import WORSE

warn = partial(click.echo, err=True)

ALL_EXAMPLES = (
    "Use all examples as they were posted, also those that were unlearnt, relabelled, rolled back or loaded over."
)

data_option = click.option("--data", default="digits", help=DATA_HELP)
activation_option = click.option(
    "--activation", type=click.Choice(list(ACTIVATIONS)), default=TrainingOptions().activation
)
file_activation_option = click.option(
    "--activation",
    type=click.Choice(list(ACTIVATIONS)),
    help="Activation to assume for a weights file that does not record one. [default: relu]",
)


@click.command()
@click.option("--weights", "path", type=click.Path(path_type=Path), required=True, help="The weights file.")
@file_activation_option
@data_option
def evaluate(path: Path, activation: Any, data: str) -> None:
    """Print accuracy and loss of a weights file on the held-out images."""
    with reported_errors():
        weights = loaded_weights(path, activation)
        print_test(weights, data_for(weights, data))


@click.command()
@activation_option
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--tolerance", type=click.FloatRange(0), default=1e-7, help="Largest relative error.")
def gradcheck(activation: Any, seed: int, tolerance: float) -> None:
    """Compare backpropagation with finite differences, in float64, for class numbers and for one-hot labels."""
    import numpy as np

    random = np.random.default_rng(seed)
    network = TwoLayerNet(20, 10, 5, "xavier", activation=activation, seed=seed)
    x, t = random.random((8, 20)), random.integers(0, 5, 8)
    expected = network.numerical_gradient(x, t)
    worst = 0.0
    for kind, labels in (("class numbers", t), ("one-hot", np.eye(5)[t])):
        for name, error in relative_errors(network.gradient(x, labels), expected).items():
            click.echo(f"{activation}, {kind}, {name}: {error:.1e}")
            worst = max(worst, error)
    if not worst <= tolerance:
        warn(f"the largest relative error {worst:.1e} is above the tolerance {tolerance:.1e}")
        sys.exit(WORSE)


def data_for(weights: Weights, data: str) -> Dataset:
    """The data to measure a network on. Raises DatasetError, and TrainingError for classes of other names."""
    dataset = load_data(data, weights)
    check_fits(weights, dataset)
    numbers = tuple(map(str, range(weights.output_size)))
    names, of_data = weights.label_names or numbers, dataset.label_names or numbers[: dataset.classes]
    if of_data != names[: len(of_data)]:
        if dataset.label_names is not None:
            raise TrainingError(f"the classes of the weights are numbers, those of {dataset.name} {listed(of_data)}")
        warn(f"the classes of {dataset.name} are numbers: they are taken as {listed(names)}, in this order")
    return dataset


def print_test(weights: Weights, dataset: Dataset) -> None:
    """Accuracy and loss on the held-out images, and for classes with names how many of each are right.

    Raises TrainingError for images of another size than the network's.
    """
    check_fits(weights, dataset)
    x, t = as_input(dataset.test)
    network = weights.network()
    click.echo(f"test accuracy {network.accuracy(x, t):.2%}, loss {network.loss(x, t):.4f} on {len(t)} images")
    if weights.label_names is not None:
        matrix = confusion_matrix(network.predict(x).argmax(axis=1), t, weights.output_size)
        for name, row, right in zip(weights.label_names, matrix.sum(axis=1), matrix.diagonal(), strict=True):
            click.echo(f"  {name}: {right} of {row}")
