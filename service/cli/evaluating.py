"""The commands `evaluate`, `publish` and `gradcheck`: how good a network is, and whether its gradient is right."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from model.datasets import Dataset, DatasetError
from model.datasets.splitting import without
from model.functions import confusion_matrix
from model.gradient import relative_errors
from model.training import TrainingOptions, as_input, check_fits
from model.two_layer_net import ACTIVATIONS, TwoLayerNet
from model.weights import Weights
from service.cli.console import loaded_weights, reported_errors
from service.cli.data import DATA_HELP, load_data
from service.errors import WORSE

MOST_RECENT = 100_000
MOST_TRIES = 20
"""To put weights in the place of those that they were compared with, while the service learns."""

warn = partial(click.echo, err=True)

data_option = click.option("--data", default="digits", help=DATA_HELP)
activation_option = click.option(
    "--activation", type=click.Choice(list(ACTIVATIONS)), default=TrainingOptions().activation
)
file_activation_option = click.option(
    "--activation",
    type=click.Choice(list(ACTIVATIONS)),
    help="Of a weights file that does not say its own; unless given, relu.",
)


@click.command()
@click.option("--weights", "path", type=click.Path(path_type=Path), required=True, help="The weights file.")
@file_activation_option
@data_option
def evaluate(path: Path, activation: Any, data: str) -> None:
    """Print accuracy and loss of a weights file on the held-out images."""
    with reported_errors():
        weights = loaded_weights(path, activation)
        print_test(weights, load_data(data, weights))


@click.command()
@activation_option
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--tolerance", type=click.FloatRange(0), default=1e-7, help="Largest relative error.")
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
@file_activation_option
@data_option
@click.option(
    "--on-recent",
    "recent",
    type=click.IntRange(0, MOST_RECENT),
    default=0,
    metavar="N",
    help="Measure both on the N newest labelled examples of the service, too.",
)
def publish(file: Path, url: str, activation: Any, data: str, recent: int) -> None:
    """Put a weights file into a running service, unless it is worse there than what is served.

    Both are measured on those held-out images of --data that the service has not learnt, and with --on-recent on what
    its users labelled last. The key of a closed service is taken from TWOLAYERNET_API_KEY.

    Exit codes: 0 when it is served, 1 when it is worse on either, 2 for a mistake.
    """
    from service.cli.client import ServedElseError, fetch_learnt, fetch_weights, put_weights
    from service.live.learner import check_sizes

    with reported_errors():
        weights = loaded_weights(file, activation)
        dataset = load_data(data, weights)
        served = fetch_weights(url)
        check_sizes(weights, served.weights)
        learnt, newest = fetch_learnt(url, recent, warn)
        on = {"held-out images": not_learnt(dataset, learnt)}
        count = 0 if newest is None else len(newest)
        if count < recent:
            warn(few_examples(url, count, recent))
        if newest is not None:
            on["newest examples"] = replace(dataset, test=newest)
        for tries_left in range(MOST_TRIES, 0, -1):
            served = fetch_weights(url)
            figures, worse = compared(file, weights, served, on)
            if worse:
                click.echo(f"not published: {figures}", err=True)
                sys.exit(WORSE)
            try:
                version = put_weights(url, weights, served)
            except ServedElseError:  # it has learnt meanwhile: what is served now may be better
                if tries_left == 1:
                    raise
                continue
            click.echo(f"published as version {version}: {figures}")
            return


def compared(file: Path, weights: Weights, served: Any, on: dict[str, Dataset]) -> tuple[str, bool]:
    """How both do on each of several held-out sets, in words, and whether the file's are worse on one."""
    figures, worse = [], False
    for name, dataset in on.items():
        accuracy, served_accuracy = (accuracy_of(candidate, dataset) for candidate in (weights, served.weights))
        worse = worse or accuracy < served_accuracy
        figures.append(
            f"{file} {accuracy:.2%}, version {served.version} {served_accuracy:.2%} on {len(dataset.test)} {name}"
        )
    return "; ".join(figures), worse


def few_examples(url: str, count: int, wanted: int) -> str:
    if count == 0:
        return f"{url} has no labelled examples yet: only the held-out images tell which network is better"
    return f"{url} has {count} labelled example{'s' * (count > 1)}, not {wanted}: so few tell less"


def not_learnt(dataset: Dataset, learnt: set[bytes]) -> Dataset:
    """The held-out images without those that were learnt. Raises DatasetError where none is left."""
    test = without(dataset.test, learnt)
    count = len(dataset.test)
    if len(test) == 0:
        raise DatasetError(f"the service has learnt all {count} held-out images of {dataset.name}: name other --data")
    if len(test) < count:
        warn(f"the service has learnt {count - len(test)} of the {count} held-out images: they are left out")
    return replace(dataset, test=test)


def accuracy_of(weights: Weights, dataset: Dataset) -> float:
    """On the held-out images. Raises TrainingError where weights and images do not fit together."""
    check_fits(weights, dataset)
    return weights.network().accuracy(*as_input(dataset.test))


def print_test(weights: Weights, dataset: Dataset) -> None:
    """Accuracy and loss on the held-out images, and how many of each class are right where classes have names.

    Raises TrainingError as `accuracy_of` does.
    """
    x, t = as_input(dataset.test)
    accuracy, loss = accuracy_of(weights, dataset), weights.network().loss(x, t)
    click.echo(f"test accuracy {accuracy:.2%}, loss {loss:.4f} on {len(t)} images")
    if weights.label_names is not None:
        matrix = confusion_matrix(weights.network().predict(x).argmax(axis=1), t, weights.output_size)
        for name, row, right in zip(weights.label_names, matrix.sum(axis=1), matrix.diagonal(), strict=True):
            click.echo(f"  {name}: {right} of {row}")
