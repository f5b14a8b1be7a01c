"""Opening the store at the start: made from the weights file when it is new, checked when it is not."""

import hashlib
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from model import weights as weights_file
from model.types import PARAMETER_NAMES
from model.weights import Weights, WeightsError
from service.errors import EmptyStoreError, StartupError, StoreAwayError, StoreError
from service.http import tracing
from service.live.learner import append, check_answers_stay_finite
from service.live.replica import follow
from service.settings import Settings, unknown_variables, variable
from service.store.log import StepLog, StoreIdentity
from service.store.records import Version

SHARED = (
    "remember_days", "remember_bytes", "keep_versions", "snapshot_every", "alarm", "alarm_points", "alarm_examples",
    "memory_size", "gradient_norm_limit",
)  # fmt: skip
"""Settings that have to be equal on all hosts: one host's value acts on what all of them stored."""

WAIT_STEP_SECONDS = 0.5
SAID = "_TWOLAYERNET_SAID"
"""In the environment of a server's workers, whose parent has said already what is served."""


def open_log(settings: Settings, say: bool = False) -> StepLog:
    """The log, ready to be used, with one version at least; say: also what is served, in a line on standard error.

    A database that can't be reached is waited for, as long as the settings say. Raises StartupError and StoreError.
    """
    until = time.monotonic() + settings.store_wait
    reported = ""
    while True:
        try:
            return opened_log(settings, say)
        except StoreAwayError as error:
            if time.monotonic() > until:
                raise
            if str(error) != reported:
                reported = str(error)
                print(f"twolayernet: waiting: {error}", file=sys.stderr, flush=True)
            time.sleep(WAIT_STEP_SECONDS)


def opened_log(settings: Settings, say: bool) -> StepLog:
    """Raises StartupError, StoreError."""
    log = StepLog.at(settings.store, settings.snapshot_every, settings.keep_versions, settings.store_connections)
    weights = read_weights(settings)
    try:
        if weights is None and not log.exists():
            raise EmptyStoreError
        with log.opening() as alone:
            if alone:
                log.check_whole()
            identity = log.prepare(
                None if weights is None else shape_of(weights), None if weights is None else digest_of(weights)
            )
            differing = list(differing_settings(log, settings))
            begun = log.head() == 0
            if begun:
                begin(log, weights)
            elif alone:
                check_shape(log, identity, weights, settings)
        if not alone:  # whoever serves it would have to wait for its turn to write meanwhile
            log.check_whole()
            check_shape(log, identity, weights, settings)
        if say:
            announce(log, identity, begun, weights, settings)
        for line in differing * say:
            print(f"twolayernet: {line}", file=sys.stderr, flush=True)
    except EmptyStoreError:
        raise StartupError(
            f"the store {log.name} is empty and there are no weights to begin with: {settings.weights} does not exist "
            "(twolayernet train makes it)"
        ) from None
    except StoreError as error:
        raise type(error)(f"the store {log.name}: {error}") from error
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


def begin(log: StepLog, weights: Weights | None) -> None:
    """Write version 1."""
    with log.writing() as writer:
        if weights is None:
            raise EmptyStoreError
        append(writer, Version(1, "load", writer.now()), weights)


def check_shape(log: StepLog, identity: StoreIdentity, weights: Weights | None, settings: Settings) -> None:
    """A weights file for a network of another shape means that the store or the file is not the one that was meant."""
    if weights is None:
        return
    with log.reading() as reader:
        accepted = {identity.network_shape, shape_of(follow(reader, None).weights)}
    if shape_of(weights) not in accepted:
        raise StartupError(
            f"the store {log.name} is for a {' or '.join(sorted(accepted))} network, but {settings.weights} holds a "
            f"{shape_of(weights)} one: name another store or other weights"
        )


def differing_settings(log: StepLog, settings: Settings) -> Iterator[str]:
    """A line for each setting that has to be equal on all hosts and is not what the last start on this store had. From
    here on it is this start's that are recorded."""
    here = settings.model_dump(mode="json", include=set(SHARED))
    before = log.recorded()
    if here != before:
        log.record(here)
    for name in SHARED:
        if name in before and before[name] != here[name]:
            yield (
                f"WARNING: {variable(name)} is {here[name]}, and was {before[name]} when a service last started on "
                "this store: set it to the same value on all hosts"
            )


def announce(log: StepLog, identity: StoreIdentity, begun: bool, weights: Weights | None, settings: Settings) -> None:
    """Say which store is served, and what was passed but is not used."""
    made = datetime.fromtimestamp(identity.created_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    with log.reading() as reader:
        count, head = reader.count(), reader.head()
    if begun:
        lines = [f"a new store {log.name} was begun with {settings.weights}"]
    else:
        lines = [
            f"serving version {head} of the store {log.name}, made {made}, with {count} version{'s' * (count > 1)}"
        ]
        if weights is not None and identity.weights_digest not in (None, digest_of(weights)):
            lines.append(
                f"{settings.weights} is not what this store began with and is NOT served: "
                "`twolayernet publish` puts it in"
            )
    for name, meant in unknown_variables():
        lines.append(f"{name} is not a setting{f': is {meant} meant?' if meant else ''}")
    if (untraced := tracing.why_not()) is not None:
        lines.append(untraced)
    for line in lines:
        print(f"twolayernet: {line}", file=sys.stderr, flush=True)


def digest_of(weights: Weights) -> bytes:
    """Of the parameters alone."""
    return hashlib.sha256(b"".join(weights.params[name].tobytes() for name in PARAMETER_NAMES)).digest()


def shape_of(weights: Weights) -> str:
    return f"{weights.input_size}-{weights.hidden_size}-{weights.output_size}"
