"""The command `train`."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np

from model import checkpoint
from model import weights as weights_file
from model.datasets import Dataset, DatasetError, Split, load_dataset
from model.optimizer import OPTIMIZERS
from model.training import LEARNING_RATES, Epoch, Trainer, TrainingError, TrainingOptions
from service.cli.console import fail, loaded_weights, reported_errors
from service.cli.evaluating import activation_option, print_test
from service.exit_codes import INTERRUPTED

Command = TypeVar("Command", bound=Callable[..., Any])
Say = Callable[[str], None]

DEFAULTS = TrainingOptions()
SECONDS_BETWEEN_LINES = 1
HELD_OUT = 5
"""Where there are examples alone, every fifth is held out for the final test."""

TRAINING_OPTIONS = [
    click.option(
        "--hidden", type=click.IntRange(1, 100_000), default=DEFAULTS.hidden, show_default=True, help="Hidden units."
    ),
    click.option("--epochs", type=click.IntRange(1), default=DEFAULTS.epochs, show_default=True),
    click.option("--batch-size", type=click.IntRange(1), default=DEFAULTS.batch_size, show_default=True),
    click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default=DEFAULTS.optimizer, show_default=True),
    click.option(
        "--learning-rate",
        type=click.FloatRange(0, min_open=True),
        help=f"Unless given, {', '.join(f'{name} {rate:g}' for name, rate in LEARNING_RATES.items())}.",
    ),
    click.option(
        "--momentum", type=click.FloatRange(0, 1, max_open=True), default=DEFAULTS.momentum, show_default=True
    ),
    click.option(
        "--schedule",
        type=click.Choice(["cosine", "constant"]),
        default=DEFAULTS.schedule,
        show_default=True,
        help="cosine: the rate falls to 0 along half a cosine.",
    ),
    click.option("--weight-decay", type=click.FloatRange(0, 1), default=DEFAULTS.weight_decay, show_default=True),
    click.option(
        "--patience",
        type=click.IntRange(1),
        help="Stop after so many epochs without a better validation accuracy, and keep the best.",
    ),
    click.option(
        "--shift",
        type=click.IntRange(0, 8),
        default=DEFAULTS.shift,
        show_default=True,
        help="Move images by up to so many pixels each way.",
    ),
    click.option(
        "--rotate",
        type=click.FloatRange(0, 45),
        default=DEFAULTS.rotate,
        show_default=True,
        help="Turn images by up to so many degrees each way.",
    ),
    activation_option,
    click.option("--seed", type=click.IntRange(0), default=DEFAULTS.seed, show_default=True),
]
"""One for each field of TrainingOptions."""


def training_options(command: Command) -> Command:
    return reduce(lambda wrapped, option: option(wrapped), reversed(TRAINING_OPTIONS), command)


@click.command()
@click.option(
    "--data",
    default="digits",
    show_default=True,
    help="digits, mnist, a folder with IDX files, gzipped or not; none: the examples alone.",
)
@click.option(
    "--examples",
    metavar="URL-OR-FILE",
    help="Train on what a running service has learnt from, too: its address, or a file that its /examples gave.",
)
@click.option(
    "--weights",
    "start",
    type=click.Path(path_type=Path),
    help="Go on from these weights, with their hidden units and activation.",
)
@training_options
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("weights.npz"), show_default=True)
@click.option("--report", type=click.Path(file_okay=False, path_type=Path), help="Write pictures and figures here.")
@click.option("--resume", is_flag=True, help="Go on where the same job was interrupted.")
@click.option("--if-missing", is_flag=True, help="Do nothing if the weights file is there already.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def train(
    *,
    data: str,
    examples: str | None,
    start: Path | None,
    out: Path,
    report: Path | None,
    resume: bool,
    if_missing: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a network and write its weights. Ctrl-C ends early and keeps what there is; --resume goes on.

    Exit codes: 0 when it is done, 2 for a mistake, 130 when it was interrupted.
    """
    say: Say = (lambda _: None) if quiet else click.echo
    if if_missing and out.exists():
        say(f"{out} is there already")
        return
    if not out.parent.is_dir():
        fail(f"{out} can't be written: its folder does not exist")
    with reported_errors():
        dataset = training_data(data, examples)
        trainer = Trainer(dataset, TrainingOptions(**options), None if start is None else loaded_weights(start))
        finished = run(trainer, checkpoint_of(out), resume, say, quiet)
        weights = trainer.weights()
        weights_file.save(out, weights)
        if finished:
            checkpoint_of(out).unlink(missing_ok=True)
        if not quiet:
            print_test(weights, dataset)
        say(f"weights: {out}")
        if report is not None:
            from model.report import write_report

            say("report: " + ", ".join(str(path) for path in write_report(report, weights, dataset, trainer.history)))
    if not finished:
        sys.exit(INTERRUPTED)


def checkpoint_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.checkpoint")


def run(trainer: Trainer, saved: Path, resume: bool, say: Say, quiet: bool) -> bool:
    """Train, from the checkpoint if asked to, with a checkpoint after each epoch; False when it was interrupted.

    Raises TrainingError where there is nothing to resume, OSError.
    """
    if resume:
        if not saved.exists():
            raise TrainingError(f"there is nothing to resume: {saved} does not exist")
        checkpoint.restore(saved, trainer)
        say(f"going on after epoch {len(trainer.history)}")
    started, finished = time.perf_counter(), False
    try:
        with progress(trainer, quiet) as show:
            for epoch in trainer.epochs():
                show(epoch)
                checkpoint.save(saved, trainer)
        finished = True
    except KeyboardInterrupt:
        pass
    seconds = time.perf_counter() - started
    say(f"trained {len(trainer.history)} of {trainer.options.epochs} epochs in {seconds:.1f} s")
    return finished


def training_data(data: str, examples: str | None) -> Dataset:
    """The dataset of that name, with the examples added to its training images, or the examples alone.

    Raises DatasetError, OSError, ServiceError.
    """
    if examples is None:
        if data == "none":
            raise DatasetError("there is nothing to train on: --data none wants --examples")
        return load_dataset(data)
    from service.cli.client import fetch_examples, read_examples

    added = (
        fetch_examples(examples, lambda line: click.echo(line, err=True))
        if "://" in examples
        else read_examples(examples)
    )
    if data == "none":
        return alone(added)
    dataset = load_dataset(data)
    pixels, expected = added.images.shape[1], dataset.train.images.shape[1]
    if pixels != expected:
        raise DatasetError(f"the examples have {pixels} pixels, the images of {dataset.name} {expected}")
    both = Split(
        np.concatenate([dataset.train.images, added.images]), np.concatenate([dataset.train.labels, added.labels])
    )
    return Dataset(f"{dataset.name} and {len(added)} examples", both, dataset.test, dataset.image_shape)


def alone(examples: Split) -> Dataset:
    """Examples as a dataset of their own. Their shape is taken to be a square, or a row if that can't be."""
    if len(examples) < 2 * HELD_OUT:
        raise DatasetError(
            f"{len(examples)} examples are too few to train on alone: at least {2 * HELD_OUT} are needed"
        )
    held_out = np.arange(len(examples)) % HELD_OUT == HELD_OUT - 1
    pixels = examples.images.shape[1]
    side = round(pixels**0.5)
    shape = (side, side) if side * side == pixels else (1, pixels)
    return Dataset(f"{len(examples)} examples", examples.take(~held_out), examples.take(held_out), shape)


@contextmanager
def progress(trainer: Trainer, quiet: bool) -> Iterator[Callable[[Epoch], None]]:
    """Shows epochs as they end: a bar on a terminal, a line a second at the most in a file, nothing if quiet."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(
            total=trainer.options.epochs, initial=len(trainer.history), unit="epoch", desc=trainer.dataset.name
        ) as bar:

            def advance(epoch: Epoch) -> None:
                bar.set_postfix(loss=f"{epoch.loss:.4f}", validation=f"{epoch.validation_accuracy:.2%}", refresh=False)
                bar.update()

            yield advance
    else:
        started = shown = time.perf_counter()

        def line(epoch: Epoch) -> None:
            nonlocal shown
            if epoch.number < trainer.options.epochs and time.perf_counter() - shown < SECONDS_BETWEEN_LINES:
                return
            shown = time.perf_counter()
            click.echo(
                f"epoch {epoch.number}/{trainer.options.epochs}: loss {epoch.loss:.4f}, "
                f"validation {epoch.validation_accuracy:.2%}, {time.perf_counter() - started:.1f} s",
                err=True,
            )

        yield line
