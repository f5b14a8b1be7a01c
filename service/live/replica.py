"""What a worker knows of the model: a version and its weights, which follow the log.

A `Model` is never changed, only replaced by one assignment: whoever holds one computes with exactly that version, and
no reader needs a lock.
"""

import os
import threading
import time
from dataclasses import dataclass
from functools import lru_cache

from model import weights as weights_file
from model.online import replay_step
from model.two_layer_net import TwoLayerNet
from model.weights import Weights, WeightsError
from service.errors import NotYetError, StoreBusyError, StoreCorruptError, StoreError
from service.store.log import Reader, StepLog
from service.store.records import Entry, Step

OLD_MODELS_KEPT = 4
FAR_BEHIND = 32
"""Versions. From here on it pays to look for a snapshot first."""

REBUILD_WAIT_SECONDS = 1.0
"""How long a request for an old version waits while another one is rebuilt: one at a time, for their memory's sake."""


LATER_WAIT_SECONDS = 0.25
"""How long a request waits for a version that this worker has not heard of yet."""

LATER_LOOK_SECONDS = 0.005


@dataclass(frozen=True)
class Model:
    """One version of the model. digest: of its record in the log, and with it of all that led there."""

    version: int
    weights: Weights
    digest: bytes

    @property
    def network(self) -> TwoLayerNet:
        return self.weights.network()


class Replica:
    """This process's copy of the newest version, and a few older ones that were asked for."""

    def __init__(self, log: StepLog, max_staleness: float | None = None) -> None:
        """max_staleness: in seconds; a copy that may be older is not served."""
        self._log = log
        self._max_staleness = max_staleness
        self._asked_by = 0
        """The process that asked the log: what a fork inherits may be as old as its parent."""
        self._newest: Model | None = None
        self._catching_up = threading.Lock()
        self._replacing = threading.Lock()
        self._rebuilding = threading.Lock()
        self._waiting = threading.Lock()
        self._old = lru_cache(maxsize=OLD_MODELS_KEPT)(self._rebuild)
        log.follow(self._followed)

    def known(self) -> Model:
        """The newest that this copy has seen, without a look at the log, which would start a thread: for what is done
        before a server forks. After the first `catch_up`."""
        assert self._newest is not None
        return self._newest

    def newest(self) -> Model:
        """On SQLite the newest version of the log at this moment, or a newer one; on PostgreSQL the newest that this
        process has heard of. The newest that is known where the store can't be asked any more. Raises StoreError."""
        model = self._newest
        try:
            if model is None or not self._log.is_newest(model.version) or self._asked_by != os.getpid():
                model = self.catch_up()
        except StoreError as error:
            if self._asked_by != os.getpid() or isinstance(error, StoreCorruptError) or not self._log.goes_on_alone():
                raise
        if self._max_staleness is not None and (self._log.staleness() or 0.0) > self._max_staleness:
            raise StoreError(f"it is not known for {self._max_staleness:g} s what the newest version is: try again")
        assert model is not None
        return model

    def catch_up(self) -> Model:
        """Ask the log. Raises StoreError."""
        with self._catching_up:
            before = self._newest  # looked at first: what the log says then is no older, unless it has lost something
            with self._log.reading() as reader:
                self._log.check_identity(reader)
                model = self._taken_over(before, follow(reader, before))
            self._asked_by = os.getpid()
            return model

    def _followed(self) -> tuple[int, bytes]:
        model = self.catch_up()
        return model.version, model.digest

    def _taken_over(self, before: Model | None, model: Model) -> Model:
        """The newest of both; the model, though it is older, where nothing has come in since `before`."""
        with self._replacing:  # a step of this process may have got there first
            if self._newest is before or self._newest is None or self._newest.version < model.version:
                self._newest = model
            return self._newest

    def at_least(self, version: int) -> Model:
        """The newest version, when it is this one or a newer one. Where the log was asked already, there is nothing to
        wait for; else one request at a time waits for the news, and others ask. Raises NotYetError, StoreError."""
        model = self.newest()
        if model.version < version and self._log.goes_on_alone():
            if self._waiting.acquire(blocking=False):
                try:
                    model = self._waited_for(version)
                finally:
                    self._waiting.release()
            else:
                model = self.catch_up()
        if model.version < version:
            raise NotYetError(version, model.version)
        return model

    def _waited_for(self, version: int) -> Model:
        until = time.monotonic() + LATER_WAIT_SECONDS
        while (model := self.newest()).version < version and time.monotonic() < until:
            time.sleep(LATER_LOOK_SECONDS)
        return model

    def at_head(self, writer: Reader) -> Model:
        """The newest version, for the one writer of this moment. Nobody can know a newer one; if this copy does, the
        log has lost that, and so does the copy."""
        before = self._newest
        model = follow(writer, before)
        if before is not None and model is not before and model.version <= before.version:
            self._taken_over(before, model)
        return model

    def advance(self, model: Model) -> None:
        """Take over a version that has just been committed."""
        with self._replacing:
            if self._newest is None or self._newest.version < model.version:
                self._newest = model

    def at(self, version: int) -> Model:
        """Any version that is kept. Raises UnknownVersionError, StoreError."""
        newest = self.newest()
        if newest.version == version:
            return newest
        with self._log.reading() as reader:
            digest = reader.version(version).link.digest
        return self._old(version, digest)

    def _rebuild(self, version: int, _digest: bytes) -> Model:
        if not self._rebuilding.acquire(timeout=REBUILD_WAIT_SECONDS):
            raise StoreBusyError("other old versions are being rebuilt: try again")
        try:
            with self._log.reading() as reader:
                return rebuild(reader, version)
        finally:
            self._rebuilding.release()


def follow(reader: Reader, model: Model | None) -> Model:
    """The newest version, from a model that may be behind it; anew from the log where it does not lead there."""
    newest = reader.newest()
    if newest is None:
        raise StoreCorruptError("the log holds no weights to begin with")
    until = newest.version.model_version
    if model is not None and model.version == until and model.digest == newest.link.digest:
        return model
    if model is not None and model.version >= until:
        model = None
    return replayed(reader, model, until)


def newest_version(log: StepLog) -> int:
    """The newest version of a log, when its weights could be come to. Raises StoreError."""
    with log.reading() as reader:
        return follow(reader, None).version


def rebuild(reader: Reader, version: int) -> Model:
    """Any version that is kept. Raises UnknownVersionError."""
    reader.version(version)
    return replayed(reader, None, version)


def replayed(reader: Reader, model: Model | None, until: int) -> Model:
    """From a model that may be behind, by a snapshot where there is one and else step by step.

    Where what lies between has been folded into a snapshot, or does not follow from the model, it begins anew.
    """
    if model is not None and until - model.version < FAR_BEHIND:
        found = stepped(reader, model, until)
        if found is not None:
            return found
        model = None
    snapshot = reader.latest_snapshot(after=0 if model is None else model.version, until=until)
    if snapshot is not None:
        model = applied(None, snapshot)
    if model is None:
        raise StoreCorruptError("the log holds no weights to begin with")
    found = stepped(reader, model, until)
    if found is None and snapshot is None:
        return replayed(reader, None, until)
    if found is None:
        raise StoreCorruptError(f"the versions that lead from {model.version} to {until} are not all in the log")
    return found


def stepped(reader: Reader, model: Model, until: int) -> Model | None:
    """Entry by entry; None where the next one is not there, or does not follow from the model."""
    for entry in reader.entries(after=model.version, until=until):
        if entry.record.version.model_version != model.version + 1 or entry.record.link.previous != model.digest:
            return None
        model = applied(model, entry)
    return model if model.version == until else None


def applied(model: Model | None, entry: Entry) -> Model:
    """The model that an entry leads to. model: the one before it, not needed where there is a snapshot."""
    number, digest = entry.record.version.model_version, entry.record.link.digest
    if entry.snapshot is not None:
        return Model(number, stored_weights(number, entry.snapshot), digest)
    if entry.step is None or model is None:
        raise StoreCorruptError(f"version {number} has no weights in the log")
    return Model(number, learnt(model.weights, entry.step), digest)


def learnt(weights: Weights, step: Step) -> Weights:
    """The weights after a step that was taken before."""
    examples = step.examples
    return replay_step(weights, examples.pixels, examples.labels, step.learning_rate, step.rehearsal)


def stored_weights(version: int, data: bytes) -> Weights:
    """The weights in a snapshot. Raises StoreCorruptError."""
    try:
        return weights_file.from_bytes(data)
    except WeightsError as error:
        raise StoreCorruptError(f"the snapshot of version {version} is corrupt: {error}") from error
