"""The command `train`."""

import importlib.util
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from model import checkpoint, weights_file
from model.datasets import Dataset, DatasetError, Split
from model.datasets.dataset import shape_of
from model.datasets.splits import digests, with_test_set, without
from model.optimizer import OPTIMIZERS
from model.replay_memory import MOST_REMEMBERED
from model.training import (
    DRAWN,
    EPOCHS,
    EPOCHS_OF_FEW,
    FEW,
    MOST_DRAWN,
    Epoch,
    Trainer,
    TrainingError,
    TrainingOptions,
)
from model.weights_file import Weights
from service.cli.console import fail, loaded_weights, reported_errors
from service.cli.evaluate import ALL_EXAMPLES, activation_option, print_test, warn
from service.cli.picture_folder import DATA_HELP, load_data
from service.errors import DIVERGED, INTERRUPTED

Command = TypeVar("Command", bound=Callable[..., Any])
Say = Callable[[str], None]

DEFAULTS = TrainingOptions()
SECONDS_BETWEEN_LINES = 1
FEWEST_EXAMPLES = 10
"""Without a dataset."""

TRAINING_OPTIONS = [
    click.option("--hidden", type=click.IntRange(1, 100_000), default=DEFAULTS.hidden, help="Hidden units."),
    click.option(
        "--epochs",
        type=click.IntRange(1),
        help=f"[default: {EPOCHS}, and {EPOCHS_OF_FEW} for fewer than {FEW:,} images of digits]",
    ),
    click.option("--batch-size", type=click.IntRange(1), default=DEFAULTS.batch_size),
    click.option("--optimizer", type=click.Choice(list(OPTIMIZERS)), default=DEFAULTS.optimizer),
    click.option(
        "--learning-rate",
        type=click.FloatRange(0, min_open=True),
        help="[default: "
        + ", ".join(f"{name} {optimizer.default_learning_rate:g}" for name, optimizer in OPTIMIZERS.items())
        + "]",
    ),
    click.option("--momentum", type=click.FloatRange(0, 1, max_open=True), default=DEFAULTS.momentum),
    click.option(
        "--schedule",
        type=click.Choice(["cosine", "constant"]),
        default=DEFAULTS.schedule,
        help="cosine: the rate falls to 0 along half a cosine.",
    ),
    click.option("--weight-decay", type=click.FloatRange(0, 1), default=DEFAULTS.weight_decay),
    click.option(
        "--patience",
        type=click.IntRange(1),
        help="Stop after this many epochs without a better validation accuracy, and keep the best.",
    ),
    click.option(
        "--shift",
        type=click.IntRange(0, 8),
        default=DEFAULTS.shift,
        help="Move images by up to this many pixels in each direction.",
    ),
    click.option(
        "--rotate",
        type=click.FloatRange(0, 45),
        default=DEFAULTS.rotate,
        help="Turn images by up to this many degrees in each direction.",
    ),
    click.option(
        "--distort",
        type=click.FloatRange(0, 3),
        help="How much images are distorted, in each epoch in another way: bent elastically, turned, sheared, scaled, "
        "and with other strokes. 0: not at all. [default: 1 for images of digits, 0 for others]",
    ),
    click.option(
        "--drawn",
        type=click.IntRange(0, MOST_DRAWN),
        help="How many digits drawn by code are trained on as well, where the images are of the ten digits. 0: none. "
        f"[default: {DRAWN} for images of digits, 0 for others]",
    ),
    activation_option,
    click.option(
        "--memory",
        type=click.IntRange(0, MOST_REMEMBERED),
        default=DEFAULTS.memory,
        help="Training images that the weights file keeps, for the live model to rehearse; 0: none.",
    ),
    click.option("--seed", type=click.IntRange(0), default=DEFAULTS.seed),
]
"""One for each field of TrainingOptions."""


def training_options(command: Command) -> Command:
    return reduce(lambda wrapped, option: option(wrapped), reversed(TRAINING_OPTIONS), command)


@click.command()
@click.option(
    "--data",
    default="digits",
    help=f"{DATA_HELP} none: the examples alone.",
)
@click.option(
    "--examples",
    metavar="URL-OR-FILE",
    help="Train also on the examples of a running service: its address, or a file that its /examples returned.",
)
@click.option("--all-examples", is_flag=True, help=ALL_EXAMPLES)
@click.option(
    "--weights",
    "start",
    type=click.Path(path_type=Path),
    help="Continue from these weights, with their hidden units and activation; other values are refused. "
    "--activation is for a file that does not record its own.",
)
@training_options
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("weights.npz"))
@click.option("--report", type=click.Path(file_okay=False, path_type=Path), help="Write pictures and figures here.")
@click.option("--resume", is_flag=True, help="Continue the same job after an interruption.")
@click.option("--if-missing", is_flag=True, help="Do nothing if the weights file, or the store, already exists.")
@click.option(
    "--force", is_flag=True, help="Write the weights even if the training diverged, unless they are not finite."
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def train(
    *,
    data: str,
    examples: str | None,
    all_examples: bool,
    start: Path | None,
    out: Path,
    report: Path | None,
    resume: bool,
    if_missing: bool,
    force: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a network and write its weights. Ctrl-C stops early and writes them as they are; --resume continues.

    Exit codes: 0 when training is complete, 1 when it diverged (weights are written only with --force), 2 for invalid
    options or data, 130 when it was interrupted.
    """
    say: Say = (lambda _: None) if quiet else click.echo
    if if_missing:
        from service.store.verification import has_versions

        store = os.environ.get("TWOLAYERNET_STORE", "sqlite:///twolayernet.db")
        if out.exists() or has_versions(store):
            say(f"{out if out.exists() else store} already exists")
            return
    check_writable(out, report)
    with reported_errors():
        beginning = None if start is None else loaded_weights(start, given("activation"))
        dataset = training_data(data, examples, all_examples, beginning, say)
        trainer = Trainer(dataset, going_on(options, beginning), beginning)
        weights_file.to_bytes(trainer.weights())  # fails now, not after the training, if they can't be written
        finished = run(trainer, checkpoint_of(out), resume, say, quiet)
        check_learnt(trainer, out, force)
        weights = trainer.weights()
        weights_file.save(out, weights)
        if finished:
            checkpoint_of(out).unlink(missing_ok=True)
        if not quiet:
            print_test(weights, dataset)
        say(f"weights: {out}")
        if report is not None:
            from model.report import write_report

            say("report: " + ", ".join(str(path) for path in write_report(report, weights, trainer)))
    if not finished:
        sys.exit(INTERRUPTED)


def check_writable(out: Path, report: Path | None) -> None:
    """End the command if it could not write its files."""
    if not out.parent.is_dir():
        fail(f"{out} can't be written: its folder does not exist")
    if report is not None and importlib.util.find_spec("matplotlib") is None:
        fail("--report needs the package matplotlib: install twolayernet-service[report]")
    for path, folder in ((out, out.parent), *(() if report is None else ((report, report),))):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            fail(f"{path} can't be written: {error.strerror}")


def given(option: str) -> Any:
    """The option's value on the command line, None where the default applies."""
    context = click.get_current_context()
    stated = context.get_parameter_source(option) is ParameterSource.COMMANDLINE
    return context.params[option] if stated else None


def checkpoint_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.checkpoint")


def run(trainer: Trainer, saved: Path, resume: bool, say: Say, quiet: bool) -> bool:
    """Train and save a checkpoint after each epoch. resume: from the last checkpoint. Returns False if interrupted.

    Raises TrainingError where there is nothing to resume, OSError.
    """
    if resume:
        if not saved.exists():
            raise TrainingError(f"there is nothing to resume: {saved} does not exist")
        checkpoint.restore(saved, trainer)
        say(f"continuing after epoch {len(trainer.history)}")
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
    material = f", with {trainer.drawn:,} digits drawn by code" if trainer.drawn else ""
    say(f"trained {len(trainer.history)} of {trainer.last_epoch} epochs in {seconds:.1f} s{material}")
    return finished


def going_on(options: dict[str, Any], beginning: Weights | None) -> TrainingOptions:
    """The options, with hidden units and activation of the weights to continue from where they are not given."""
    if beginning is not None:
        for name, found in (("hidden", beginning.hidden_size), ("activation", beginning.activation)):
            if given(name) is None:
                options = {**options, name: found}
    return TrainingOptions(**options)


def check_learnt(trainer: Trainer, out: Path, force: bool) -> None:
    """End the command if the training diverged, and leave an existing file unchanged."""
    divergence = trainer.divergence()
    if divergence is None:
        if trainer.history and not math.isfinite(trainer.history[-1].loss):
            warn(f"the training diverged in epoch {len(trainer.history)}: the best epoch before it is kept")
        return
    checkpoint_of(out).unlink(missing_ok=True)
    message = f"the training diverged: {divergence}; a smaller --learning-rate may help"
    if not (force and trainer.is_finite()):
        fail(f"{message}. {out} is {'left as it was' if out.exists() else 'not written'}", DIVERGED)
    warn(f"twolayernet: {message}")


def training_data(data: str, examples: str | None, every: bool, beginning: Weights | None, say: Say) -> Dataset:
    """The dataset of that name with the examples added to its training images, or the examples alone. every: also the
    examples that are no longer in force.

    Examples that are test images of the dataset are left out. Raises DatasetError, ServiceError.
    """
    if examples is None:
        if data == "none":
            raise DatasetError("there is nothing to train on: --data none requires --examples")
        return load_data(data, beginning)
    from service.cli.service_client import fetch_examples, read_examples

    added = (fetch_examples if "://" in examples else read_examples)(examples, warn, every)
    if data == "none":
        return alone(added)
    dataset = load_data(data, beginning)
    pixels, expected = added.images.shape[1], dataset.train.images.shape[1]
    if pixels != expected:
        raise DatasetError(f"the examples have {pixels} pixels, the images of {dataset.name} {expected}")
    if dataset.label_names is not None and added.labels.max() >= dataset.classes:
        raise DatasetError(f"the examples have a class {added.labels.max()}, {dataset.name} has {dataset.classes}")
    new = without(added, set(digests(dataset.test.images)))
    if len(new) < len(added):
        warn(f"{len(added) - len(new)} of {len(added)} examples are test images of {dataset.name}: they are left out")
    return replace(dataset, name=f"{dataset.name} and {len(new)} examples", train=dataset.train + new)


def alone(examples: Split) -> Dataset:
    """The examples as a dataset, with a part of each class held out."""
    if len(examples) < FEWEST_EXAMPLES:
        raise DatasetError(
            f"{len(examples)} examples are too few to train on alone: at least {FEWEST_EXAMPLES} are needed"
        )
    return with_test_set(f"{len(examples)} examples", examples, shape_of(examples.images.shape[1]))


@contextmanager
def progress(trainer: Trainer, quiet: bool) -> Iterator[Callable[[Epoch], None]]:
    """Shows each epoch's result: a bar on a terminal, at most one line a second in a file, nothing if quiet."""
    if quiet:
        yield lambda _: None
    elif sys.stderr.isatty():
        with click.progressbar(
            length=trainer.last_epoch,
            label=trainer.dataset.name,
            show_pos=True,
            item_show_func=figures,
            file=sys.stderr,
        ) as bar:
            bar.update(len(trainer.history))
            yield lambda epoch: bar.update(1, epoch)
    else:
        started = shown = time.perf_counter()

        def line(epoch: Epoch) -> None:
            nonlocal shown
            if epoch.number < trainer.last_epoch and time.perf_counter() - shown < SECONDS_BETWEEN_LINES:
                return
            shown = time.perf_counter()
            seconds = time.perf_counter() - started
            click.echo(f"epoch {epoch.number}/{trainer.last_epoch}: {figures(epoch)}, {seconds:.1f} s", err=True)

        yield line


def figures(epoch: Epoch | None) -> str:
    return "" if epoch is None else f"loss {epoch.loss:.4f}, validation {epoch.validation_accuracy:.2%}"
