"""The command `publish`: a weights file into a running service, unless it is worse there."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from model.datasets import Dataset, DatasetError
from model.datasets.splits import without
from model.paired_test import is_worse
from model.training import as_input
from model.weights_file import Weights
from service.cli.console import loaded_weights, reported_errors
from service.cli.evaluate import ALL_EXAMPLES, data_for, data_option, file_activation_option, warn
from service.errors import WORSE

MOST_RECENT = 100_000
MOST_TRIES = 100
"""How often the comparison is repeated because the service has learnt in the meantime."""


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
    help="Measure both on the N newest labelled examples in force of the service, too.",
)
@click.option("--all-examples", is_flag=True, help=ALL_EXAMPLES)
def publish(*, file: Path, url: str, activation: Any, data: str, recent: int, all_examples: bool) -> None:
    """Put a weights file into a running service, unless it is worse there than the served network.

    Both are measured on those held-out images of --data that the service has not learnt and, with --on-recent, on the
    examples that were labelled last. It is worse if it has fewer of them right by more than chance, at a level of 5 %.
    The key of a closed service is read from TWOLAYERNET_API_KEY.

    Exit codes: 0 when it is served, 1 when it is worse on either, 2 for a mistake.
    """
    from service.cli.service_client import ServedElseError, fetch_learnt, fetch_weights, put_weights
    from service.live.learner import check_sizes, described

    with reported_errors():
        weights = loaded_weights(file, activation)
        first = fetch_weights(url).weights
        check_sizes(weights, first)
        dataset = data_for(described(weights, first), data)
        learnt, newest = fetch_learnt(url, recent, warn, all_examples)
        on = {"held-out images": not_learnt(dataset, learnt)}
        if (count := 0 if newest is None else len(newest)) < recent:
            warn(f"{url} has {count} labelled examples, not {recent}: the comparison on them is less certain")
        if newest is not None:
            on["newest examples"] = replace(dataset, test=newest)
        for tries_left in range(MOST_TRIES, 0, -1):
            served = fetch_weights(url)
            figures, worse = compared(file, weights, served, on)
            if worse:
                warn(f"not published: {figures}")
                sys.exit(WORSE)
            try:
                version = put_weights(url, weights, served)
            except ServedElseError:  # the service has learnt since: the new version may be better
                if tries_left == 1:
                    raise
                continue
            click.echo(f"published as version {version}: {figures}")
            return


def compared(file: Path, weights: Weights, served: Any, on: dict[str, Dataset]) -> tuple[str, bool]:
    """The accuracies of both on each held-out set, as text, and whether the file's is worse on any."""
    figures, worse = [], False
    for name, dataset in on.items():
        x, t = as_input(dataset.test)
        mine, theirs = (each.network().predict(x).argmax(axis=1) for each in (weights, served.weights))
        worse = worse or is_worse(mine, theirs, t)
        accuracy, served_accuracy = (float((labels == t).mean()) for labels in (mine, theirs))
        figures.append(f"{file} {accuracy:.2%}, version {served.version} {served_accuracy:.2%} on {len(t)} {name}")
    return "; ".join(figures), worse


def not_learnt(dataset: Dataset, learnt: set[bytes]) -> Dataset:
    """The dataset without the held-out images that were learnt. Raises DatasetError where none is left."""
    test = without(dataset.test, learnt)
    count = len(dataset.test)
    if len(test) == 0:
        raise DatasetError(f"the service has learnt all {count} held-out images of {dataset.name}: use other --data")
    if len(test) < count:
        warn(f"the service has learnt {count - len(test)} of the {count} held-out images: they are left out")
    return replace(dataset, test=test)
