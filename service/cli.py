"""The command `twolayernet`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

import service  # noqa: F401  sets BLAS to one thread before anything imports numpy
from model.datasets import load_dataset
from model.gradient import relative_errors
from model.two_layer_net import TwoLayerNet
from service.console import fail, loaded_weights, reported_errors
from service.errors import StartupError
from service.settings import PREFIX, load_settings
from service.training_cli import activation_option, data_option, print_test, publish, train

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group(context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]})
@click.version_option(package_name="twolayernet-service", message="%(version)s")
def main() -> None:
    """A neural network that keeps learning while it is served."""


main.add_command(train)
main.add_command(publish)


@main.command()
@click.option("--weights", "path", type=click.Path(path_type=Path), required=True, help="The weights file.")
@data_option
def evaluate(path: Path, data: str) -> None:
    """Print accuracy and loss of a weights file on the held-out images."""
    with reported_errors():
        print_test(loaded_weights(path), load_dataset(data))


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


@main.command()
@click.argument("file", type=click.File("wb"))
def backup(file: BinaryIO) -> None:
    """Write a copy of the store to FILE, - for standard output, while the service goes on."""
    from service.backup import back_up

    with reported_errors():
        back_up(load_settings().store, file)


@main.command()
@click.argument("file", type=click.File("rb"))
def restore(file: BinaryIO) -> None:
    """Replace the store by the copy in FILE, - for standard input. The service has to be stopped."""
    from service import backup

    with reported_errors():
        click.echo(f"restored: the newest version is {backup.restore(load_settings().store, file)}")


if __name__ == "__main__":
    main()
