"""The command `new`: an untrained network, to be taught while it is served."""

import re
from pathlib import Path
from typing import Any

import click

from model import weights_file
from model.growth import MOST_CLASSES
from model.untrained import MOST_HIDDEN, untrained
from service.cli.console import fail, reported_errors
from service.cli.evaluate import activation_option


def shape_in(text: str) -> tuple[int, int]:
    """Raises click.BadParameter."""
    match = re.fullmatch(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", text)
    if match is None:
        raise click.BadParameter("expected rows and columns, such as 28x28")
    return int(match[1]), int(match[2])


@click.command()
@click.option(
    "--input",
    "shape",
    default="28x28",
    metavar="ROWSxCOLUMNS",
    callback=lambda _context, _option, text: shape_in(text),
    help="The shape of an image.",
)
@click.option("--hidden", type=click.IntRange(1, MOST_HIDDEN), default=50, help="Hidden units.")
@click.option("--classes", type=click.IntRange(1, MOST_CLASSES), help="How many classes, if they are numbers.")
@click.option("--label-names", metavar="NAME,NAME,…", help="The names of the classes, if they have names.")
@activation_option
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default="new.npz", help="The weights file.")
def new(
    shape: tuple[int, int],
    hidden: int,
    classes: int | None,
    label_names: str | None,
    *,
    activation: Any,
    seed: int,
    out: Path,
) -> None:
    """Write an untrained network, which knows nothing until somebody teaches it: serve it and send it train-steps.

    More classes can be added while it is served, with POST /classes.
    """
    if (classes is None) == (label_names is None):
        fail("expected either --classes with a number, or --label-names with the names of the classes")
    if out.exists():
        fail(f"{out} exists: name another file with --out")
    with reported_errors():
        named = [name.strip() for name in (label_names or "").split(",")]
        weights = untrained(shape, hidden, classes or named, activation, seed)
        weights_file.save(out, weights)
        sizes = f"{weights.input_size}-{weights.hidden_size}-{weights.output_size}"
        click.echo(f"an untrained {sizes} network: {out}")
