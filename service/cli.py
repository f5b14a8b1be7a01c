"""The command `twolayernet`."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

import service  # noqa: F401  sets BLAS to one thread before anything imports numpy
from model import weights as weights_file
from model.datasets import Dataset, DatasetError, load_dataset
from model.gradient import relative_errors
from model.training import Trainer, TrainingOptions, as_input
from model.two_layer_net import TwoLayerNet
from model.weights import Weights, WeightsError
from service.errors import StartupError
from service.settings import PREFIX, load_settings

USAGE_ERROR = 2
INTERRUPTED = 130

DEFAULTS = TrainingOptions()

Command = TypeVar("Command", bound=Callable[..., Any])

data_option = click.option(
    "--data", default="digits", show_default=True, help="digits, mnist, or a folder with IDX files, gzipped or not."
)
activation_option = click.option(
    "--activation", type=click.Choice(["relu", "sigmoid"]), default=DEFAULTS.activation, show_default=True
)


def fail(message: object) -> NoReturn:
    """One line on standard error, exit code 2."""
    click.echo(f"twolayernet: {message}", err=True)
    sys.exit(USAGE_ERROR)


@click.group(context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]})
@click.version_option(package_name="twolayernet-service", message="%(version)s")
def main() -> None:
    """A neural network that keeps learning while it is served."""


@main.command()
@data_option
@click.option(
    "--hidden", type=click.IntRange(1, 100_000), default=DEFAULTS.hidden, show_default=True, help="Hidden units."
)
@click.option("--epochs", type=click.IntRange(1), default=DEFAULTS.epochs, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=DEFAULTS.batch_size, show_default=True)
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    default=DEFAULTS.learning_rate,
    show_default=True,
    help="At the start; it falls to 0 along half a cosine.",
)
@click.option(
    "--momentum",
    type=click.FloatRange(0, 1, max_open=True),
    default=DEFAULTS.momentum,
    show_default=True,
    help="0: plain gradient descent.",
)
@click.option("--weight-decay", type=click.FloatRange(0), default=DEFAULTS.weight_decay, show_default=True)
@click.option(
    "--shift",
    type=click.IntRange(0, 8),
    default=DEFAULTS.shift,
    show_default=True,
    help="Move images by up to so many pixels each way.",
)
@activation_option
@click.option("--seed", type=click.IntRange(0), default=DEFAULTS.seed, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("weights.npz"), show_default=True)
def train(data: str, out: Path, **options: Any) -> None:
    """Train a network and write its weights. Ctrl-C ends early and keeps what there is."""
    from tqdm import tqdm

    if not out.parent.is_dir():
        fail(f"{out} can't be written: its folder does not exist")
    dataset = dataset_of(data)
    trainer = Trainer(dataset, TrainingOptions(**options))
    started = time.perf_counter()
    interrupted = False
    with tqdm(total=trainer.options.epochs, unit="epoch", desc=dataset.name) as bar:
        try:
            for epoch in trainer.epochs():
                bar.set_postfix(loss=f"{epoch.loss:.4f}", validation=f"{epoch.validation_accuracy:.2%}", refresh=False)
                bar.update()
        except KeyboardInterrupt:
            interrupted = True
    seconds = time.perf_counter() - started
    weights = trainer.weights()
    try:
        weights_file.save(out, weights)
    except OSError as error:
        fail(f"{out} can't be written: {error.strerror}")
    click.echo(f"trained {len(trainer.history)} of {trainer.options.epochs} epochs in {seconds:.1f} s")
    report_test(weights, dataset)
    click.echo(f"weights: {out}")
    if interrupted:
        sys.exit(INTERRUPTED)


@main.command()
@click.option("--weights", "path", type=click.Path(path_type=Path), required=True, help="The weights file.")
@data_option
def evaluate(path: Path, data: str) -> None:
    """Print accuracy and loss of a weights file on the held-out images."""
    try:
        weights = weights_file.load(path)
    except OSError as error:
        fail(f"{path} can't be read: {error.strerror}")
    except WeightsError as error:
        fail(error)
    dataset = dataset_of(data)
    features = dataset.test.images.shape[1]
    if features != weights.input_size:
        fail(f"{path} is for images of {weights.input_size} pixels, those of {dataset.name} have {features}")
    if dataset.classes > weights.output_size:
        fail(f"{path} tells {weights.output_size} classes apart, {dataset.name} has {dataset.classes}")
    report_test(weights, dataset)


def report_test(weights: Weights, dataset: Dataset) -> None:
    x, t = as_input(dataset.test)
    network = weights.network()
    click.echo(f"test accuracy {network.accuracy(x, t):.2%}, loss {network.loss(x, t):.4f} on {len(t)} images")


def dataset_of(source: str) -> Dataset:
    try:
        return load_dataset(source)
    except DatasetError as error:
        fail(error)


@main.command()
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
        sys.exit(1)


def from_environment(name: str, help_text: str) -> Callable[[Command], Command]:
    """An option of `serve` that is the same as a setting's environment variable."""
    return click.option(f"--{name}", f"setting_{name}", help=f"{help_text} [{PREFIX}{name.upper()}]")


@main.command()
@from_environment("host", "Address to listen on; 127.0.0.1 unless set.")
@from_environment("port", "Port; 8000 unless set.")
@from_environment("workers", "Worker processes; 2 unless set.")
@from_environment("weights", "The starting point of an empty store; weights.npz unless set.")
@from_environment("store", "Database URL of the log; sqlite:///twolayernet.db unless set.")
def serve(**options: str | None) -> None:
    """Serve the model with gunicorn."""
    from gunicorn.app.wsgiapp import run

    for name, value in options.items():
        if value is not None:
            os.environ[PREFIX + name.removeprefix("setting_").upper()] = value
    try:
        load_settings()
    except StartupError as error:
        fail(error)
    sys.argv = ["gunicorn", "-c", "python:service.gunicorn_conf", "service.wsgi:app"]
    run()


if __name__ == "__main__":
    main()
