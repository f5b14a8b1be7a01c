"""The commands `evaluate`, `publish` and `gradcheck`: how good a network is, and whether its gradient is right."""

import sys
from pathlib import Path
from typing import Any

import click

from model.datasets import Dataset, load_dataset
from model.gradient import relative_errors
from model.training import TrainingOptions, as_input, check_fits
from model.two_layer_net import TwoLayerNet
from model.weights import Weights
from service.cli.console import loaded_weights, reported_errors
from service.exit_codes import WORSE

data_option = click.option(
    "--data", default="digits", show_default=True, help="digits, mnist, or a folder with IDX files, gzipped or not."
)
activation_option = click.option(
    "--activation", type=click.Choice(["relu", "sigmoid"]), default=TrainingOptions().activation, show_default=True
)


@click.command()
@click.option("--weights", "path", type=click.Path(path_type=Path), required=True, help="The weights file.")
@data_option
def evaluate(path: Path, data: str) -> None:
    """Print accuracy and loss of a weights file on the held-out images."""
    with reported_errors():
        print_test(loaded_weights(path), load_dataset(data))


@click.command()
@activation_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--tolerance", type=click.FloatRange(0), default=1e-7, show_default=True, help="Largest relative error.")
def gradcheck(activation: Any, seed: int, tolerance: float) -> None:
    """Hold backpropagation against finite differences, in float64, for class numbers and for one-hot labels."""
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
        click.echo(f"the largest relative error {worst:.1e} is above the tolerance {tolerance:.1e}", err=True)
        sys.exit(WORSE)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--url", required=True, help="The address of the running service.")
@data_option
def publish(file: Path, url: str, data: str) -> None:
    """Put a weights file into a running service, unless it is worse there than what is served.

    Both are measured on the held-out images of --data. The key of a closed service is taken from TWOLAYERNET_API_KEY.
    Exit codes: 0 when it is served, 1 when it is worse, 2 for a mistake.
    """
    from service.cli.client import fetch_weights, put_weights

    with reported_errors():
        weights = loaded_weights(file)
        dataset = load_dataset(data)
        served = fetch_weights(url)
        accuracy, served_accuracy = (accuracy_of(candidate, dataset) for candidate in (weights, served.weights))
        figures = f"{file} {accuracy:.2%}, version {served.version} {served_accuracy:.2%} on {len(dataset.test)} images"
        if accuracy < served_accuracy:
            click.echo(f"not published: {figures}", err=True)
            sys.exit(WORSE)
        click.echo(f"published as version {put_weights(url, weights, served)}: {figures}")


def accuracy_of(weights: Weights, dataset: Dataset) -> float:
    """On the held-out images. Raises TrainingError where weights and images do not fit together."""
    check_fits(weights, dataset)
    return weights.network().accuracy(*as_input(dataset.test))


def print_test(weights: Weights, dataset: Dataset) -> None:
    """Accuracy and loss on the held-out images. Raises TrainingError as `accuracy_of` does."""
    x, t = as_input(dataset.test)
    accuracy, loss = accuracy_of(weights, dataset), weights.network().loss(x, t)
    click.echo(f"test accuracy {accuracy:.2%}, loss {loss:.4f} on {len(t)} images")
