"""Opening the store at the start: made from the weights file when it is new, checked when it is not."""

import time

from model import weights as weights_file
from model.weights import Weights, WeightsError
from service.errors import EmptyStoreError, StartupError
from service.live.learner import append, check_answers_stay_finite
from service.live.replica import Model, follow
from service.settings import Settings
from service.store.log import StepLog
from service.store.records import Version


def open_log(settings: Settings) -> StepLog:
    """The log, ready to be used, with one version at least. Raises StartupError and StoreError."""
    log = StepLog(settings.store, settings.snapshot_every, settings.keep_versions)
    weights = read_weights(settings)
    try:
        log.prepare(None if weights is None else shape_of(weights))
        if log.head() == 0:
            begin(log, weights)
        elif weights is not None:
            check_shape(log, weights, settings)
    except EmptyStoreError:
        raise StartupError(
            f"the store {log.path} is empty and there are no weights to begin with: {settings.weights} does not exist "
            "(twolayernet train makes it)"
        ) from None
    return log


def read_weights(settings: Settings) -> Weights | None:
    """The weights file; None where there is none. Raises StartupError for one that can't be used."""
    try:
        weights = weights_file.load(settings.weights)
        check_answers_stay_finite(weights)
    except FileNotFoundError:
        return None
    except (OSError, WeightsError) as error:
        raise StartupError(f"the weights file can't be used: {error}") from error
    return weights


def begin(log: StepLog, weights: Weights | None) -> None:
    """Write version 1, unless another process has just done it."""
    with log.writing() as writer:
        if writer.newest() == 0:
            if weights is None:
                raise EmptyStoreError
            append(writer, Version(1, "load", time.time()), Model(1, weights))


def check_shape(log: StepLog, weights: Weights, settings: Settings) -> None:
    """A weights file for a network of another shape means that the store or the file is not the one that was meant."""
    with log.reading() as reader:
        accepted = {reader.network_shape(), shape_of(follow(reader, None).weights)}
    if shape_of(weights) not in accepted:
        raise StartupError(
            f"the store {log.path} is for a {' or '.join(sorted(accepted))} network, but {settings.weights} holds a "
            f"{shape_of(weights)} one: name another store or other weights"
        )


def shape_of(weights: Weights) -> str:
    return f"{weights.input_size}-{weights.hidden_size}-{weights.output_size}"
