"""Opening the store at the start: it is created from the weights file when it is new, and checked when it is not."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from model import weights_file
from model.replay_memory import NOTHING, Memory
from model.weights_file import Weights, WeightsError
from service.errors import EmptyStoreError, StartupError, StoreAwayError, StoreError
from service.http import tracing
from service.live import first_version
from service.live.first_version import digest_of, shape_of
from service.live.learner import check_answers_stay_finite
from service.live.replica import replayed_to_newest
from service.settings import Settings, unknown_variables, variable
from service.store.database import Database
from service.store.log import StepLog, StoreIdentity
from service.store.url import model_stores

SHARED = (
    "remember_days", "remember_bytes", "keep_versions", "snapshot_every", "alarm", "alarm_false_every", "memory_size",
    "gradient_norm_limit",
)  # fmt: skip
"""Settings that must be equal on all hosts: each host applies its own values to what all of them stored."""

RETRY_SECONDS = 0.5
ANNOUNCED = "_TWOLAYERNET_ANNOUNCED"
"""In the environment of a server's workers, whose parent has already announced what is served."""


def open_log(settings: Settings, announce: bool = False, memory: Memory = NOTHING) -> StepLog:
    """The log, ready to be used, with at least one version. announce: also print what is served, on standard error.
    memory: for a new store whose weights file has none.

    Waits for a database that can't be reached, as long as the settings allow. Raises StartupError and StoreError.
    """
    until = time.monotonic() + settings.store_wait
    reported = ""
    while True:
        try:
            return opened_log(settings, announce, memory)
        except StoreAwayError as error:
            if time.monotonic() > until:
                raise
            if str(error) != reported:
                reported = str(error)
                print_lines(f"waiting: {error}")
            time.sleep(RETRY_SECONDS)


def prepare_models(database: Database, settings: Settings) -> None:
    """Where the stores of the models are, if the settings say so. Raises StartupError, StoreError."""
    if settings.models is not None:
        try:
            model_stores(database, settings.models).prepare()
        except (StartupError, StoreError) as error:
            raise type(error)(f"{variable('models')}: {error}") from error


def opened_log(settings: Settings, announce: bool, memory: Memory) -> StepLog:
    """Raises StartupError, StoreError."""
    log = StepLog.at(settings.store, settings.snapshot_every, settings.keep_versions, settings.store_connections)
    name = log.database.name
    weights = read_weights(settings)
    try:
        if weights is None and not log.database.exists():
            raise EmptyStoreError
        with log.database.opening() as alone:
            if alone:
                log.database.check_whole()
            origin = (None, None) if weights is None else (shape_of(weights), digest_of(weights))
            identity = log.prepare(*origin)
            prepare_models(log.database, settings)
            differing = list(differing_settings(log, settings))
            is_new = log.database.head() == 0
            if is_new:
                served = begin(log, weights, memory)
            elif alone:
                served = newest_weights(log, identity, weights, settings)
        if not alone:  # the services that use the store need the write lock meanwhile
            log.database.check_whole()
            served = newest_weights(log, identity, weights, settings)
        if announce:
            print_lines(*announcement(log, identity, is_new, weights, settings), *differing)
            if not len(served.memory):
                print_lines("the network has no memory: there is nothing to rehearse from yet, so it forgets more")
    except EmptyStoreError:
        raise StartupError(
            f"the store {name} is empty and there are no weights to begin with: {settings.weights} does not exist "
            "(twolayernet train creates it)"
        ) from None
    except StoreError as error:
        raise type(error)(f"the store {name}: {error}") from error
    return log


def read_weights(settings: Settings) -> Weights | None:
    """The weights file; None where there is none. Raises StartupError for one that can't be used."""
    try:
        weights = weights_file.load(settings.weights, settings.activation)
        check_answers_stay_finite(weights)
    except FileNotFoundError:
        return None
    except (OSError, WeightsError) as error:
        raise StartupError(f"the weights file can't be used: {error}") from error
    return weights


def begin(log: StepLog, weights: Weights | None, memory: Memory) -> Weights:
    """Write version 1."""
    with log.writing() as writer:
        if weights is None:
            raise EmptyStoreError
        return first_version.begin(writer, weights if len(weights.memory) else replace(weights, memory=memory))


def newest_weights(log: StepLog, identity: StoreIdentity, weights: Weights | None, settings: Settings) -> Weights:
    """Raises StartupError for a weights file of another network shape: the store or the file is the wrong one."""
    with log.reading() as reader:
        newest = replayed_to_newest(reader, None).weights
    accepted = {identity.network_shape, shape_of(newest)}
    if weights is not None and shape_of(weights) not in accepted:
        raise StartupError(
            f"the store {log.database.name} is for a {' or '.join(sorted(accepted))} network, but {settings.weights} "
            f"has a {shape_of(weights)} one: name another store or other weights"
        )
    return newest


def differing_settings(log: StepLog, settings: Settings) -> Iterator[str]:
    """A line for each shared setting whose value differs from the one at the last start on this store. Records the
    values of this start."""
    here = settings.model_dump(mode="json", include=set(SHARED))
    before = log.database.recorded_settings()
    if here != before:
        log.database.record_settings(here)
    for name in SHARED:
        if name in before and before[name] != here[name]:
            yield (
                f"WARNING: {variable(name)} is {here[name]}, and was {before[name]} when a service last started on "
                "this store: set it to the same value on all hosts"
            )


def announcement(
    log: StepLog, identity: StoreIdentity, is_new: bool, weights: Weights | None, settings: Settings
) -> Iterator[str]:
    """Which store is served, and what was passed but is not used."""
    name, created = log.database.name, datetime.fromtimestamp(identity.created_at, UTC)
    with log.reading() as reader:
        count, head = reader.count(), reader.head()
    if is_new:
        yield f"a new store {name} was begun with {settings.weights}"
    else:
        versions = f"{count} version{'s' * (count > 1)}"
        yield f"serving version {head} of the store {name}, created {created:%Y-%m-%d %H:%M:%S UTC}, with {versions}"
        if weights is not None and identity.weights_digest not in (None, digest_of(weights)):
            yield f"this store did not begin with {settings.weights}, which is NOT served: use `twolayernet publish`"
    for unknown, close in unknown_variables():
        yield f"{unknown} is not a setting{f': did you mean {close}?' if close else ''}"
    if (untraced := tracing.why_not()) is not None:
        yield untraced


def print_lines(*lines: str) -> None:
    for line in lines:
        print(f"twolayernet: {line}", file=sys.stderr, flush=True)
