"""A worker's copy of the model: a version and its weights, replayed from the log.

A `Model` is never changed, only replaced by one assignment. A request that has one computes with exactly that version,
and no reader needs a lock.
"""

import os
import threading
import time
from dataclasses import dataclass
from functools import lru_cache, partial

from model import weights_file
from model.online_step import replay_step
from model.two_layer_net import TwoLayerNet
from model.weights_file import Weights, WeightsError
from service.errors import NotYetError, StoreBusyError, StoreCorruptError, StoreError
from service.store.log import Reader, StepLog
from service.store.records import Entry, Step

OLD_MODELS_KEPT = 4
FAR_BEHIND = 32  # versions; from here on it pays to look for a snapshot first
REBUILD_WAIT_SECONDS = 1.0  # of a request for an old version: one is rebuilt at a time, to bound the memory used
NEWS_WAIT_SECONDS = 0.25  # of a request for a version that this worker does not know yet
NEWS_POLL_SECONDS = 0.005
TAIL_WAIT_SECONDS = 0.2  # of the follower, behind a request that reads the log


@dataclass(frozen=True)
class Model:
    """One version of the model. digest: of its record in the log, and so of the whole history before it."""

    version: int
    weights: Weights
    digest: bytes

    @property
    def network(self) -> TwoLayerNet:
        return self.weights.network()


class Replica:
    """This process's copy of the newest version, and of a few older ones that were requested."""

    def __init__(self, log: StepLog, max_staleness: float | None = None) -> None:
        """max_staleness: in seconds; a copy that may be older is not served."""
        self._log = log
        self._database = log.database
        self._max_staleness = max_staleness
        self._caught_up_by = 0  # the process that last read the log: a forked process has its parent's old copy
        self._newest: Model | None = None
        self._catching_up = threading.Lock()
        self._replacing = threading.Lock()
        self._waiting = threading.Lock()
        self._old = lru_cache(maxsize=OLD_MODELS_KEPT)(partial(rebuilt, log, threading.Lock()))
        self._database.tail(self._tailed)

    def known(self) -> Model:
        """The newest version that this copy has, without reading the log, which would start a thread: for use before a
        server forks, after the first `catch_up`."""
        assert self._newest is not None
        return self._newest

    def newest(self) -> Model:
        """On SQLite the newest version of the log at this moment, or a newer one. On PostgreSQL the newest one that
        this process has learnt of. The newest known one where the store can no longer be read. Raises StoreError."""
        model = self._newest
        is_forked = self._caught_up_by != os.getpid()
        try:
            if model is None or not self._database.is_newest(model.version) or is_forked:
                model = self.catch_up()
        except StoreError as error:
            if is_forked or isinstance(error, StoreCorruptError) or not self._database.serves_without_store():
                raise
        if self._max_staleness is not None and (self._database.staleness() or 0.0) > self._max_staleness:
            raise StoreError(f"the newest version has been unknown for {self._max_staleness:g} s: try again")
        assert model is not None
        return model

    def catch_up(self) -> Model:
        """Read what is new in the log. Raises StoreError."""
        with self._catching_up:
            return self._caught_up()

    def _caught_up(self) -> Model:
        before = self._newest  # read first: the log is no older, unless it has lost something
        with self._log.reading() as reader:
            self._log.check_identity(reader)
            model = self._replace(before, replayed_to_newest(reader, before))
        self._caught_up_by = os.getpid()
        return model

    def _tailed(self) -> tuple[int, bytes]:
        """For the follower, which does not wait for long: it tails other models as well. Raises StoreError."""
        if not self._catching_up.acquire(timeout=TAIL_WAIT_SECONDS):
            raise StoreBusyError("a request is reading the log")
        try:
            model = self._caught_up()
        finally:
            self._catching_up.release()
        return model.version, model.digest

    def _replace(self, before: Model | None, model: Model) -> Model:
        """The newer of this copy's and the given model. An older model is used, too, if nothing has come in since
        `before`: then the log has lost versions."""
        with self._replacing:
            if self._newest is before or self._newest is None or self._newest.version < model.version:
                self._newest = model
            return self._newest

    def at_least(self, version: int) -> Model:
        """The newest version, if it is this one or a newer one. Where the log was not read for it, one request at a
        time waits for the follower, and others read the log. Raises NotYetError, StoreError."""
        model = self.newest()
        if model.version < version and self._database.serves_without_store():
            if self._waiting.acquire(blocking=False):
                try:
                    model = self._wait_for(version)
                finally:
                    self._waiting.release()
            else:
                model = self.catch_up()
        if model.version < version:
            raise NotYetError(version, model.version)
        return model

    def _wait_for(self, version: int) -> Model:
        until = time.monotonic() + NEWS_WAIT_SECONDS
        while (model := self.newest()).version < version and time.monotonic() < until:
            time.sleep(NEWS_POLL_SECONDS)
        return model

    def at_head(self, writer: Reader) -> Model:
        """The newest version, for the writer. No other process can have a newer one; if this copy has one, the log has
        lost it, and this copy drops it."""
        before = self._newest
        model = replayed_to_newest(writer, before)
        if before is not None and model is not before and model.version <= before.version:
            self._replace(before, model)
        return model

    def advance(self, model: Model) -> None:
        """Use a version that has just been committed."""
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


def rebuilt(log: StepLog, rebuilding: threading.Lock, version: int, _digest: bytes) -> Model:
    """An old version, for one request at a time. Raises UnknownVersionError, StoreError."""
    if not rebuilding.acquire(timeout=REBUILD_WAIT_SECONDS):
        raise StoreBusyError("other old versions are being rebuilt: try again")
    try:
        with log.reading() as reader:
            return rebuild(reader, version)
    finally:
        rebuilding.release()


def replayed_to_newest(reader: Reader, model: Model | None) -> Model:
    """The newest version, replayed from a model that may be older, or from a snapshot where the log does not continue
    from that model."""
    newest = reader.newest()
    if newest is None:
        raise StoreCorruptError("the log has no weights to begin with")
    until = newest.version.model_version
    if model is not None and model.version == until and model.digest == newest.link.digest:
        return model
    if model is not None and model.version >= until:
        model = None
    return replayed(reader, model, until)


def newest_version(log: StepLog) -> int:
    """The newest version of a log, once its weights were reconstructed. Raises StoreError."""
    with log.reading() as reader:
        return replayed_to_newest(reader, None).version


def rebuild(reader: Reader, version: int) -> Model:
    """Any version that is kept. Raises UnknownVersionError."""
    reader.version(version)
    return replayed(reader, None, version)


def replayed(reader: Reader, model: Model | None, until: int) -> Model:
    """Version `until`, from an older model, or from a snapshot where the log does not continue from that model."""
    if model is not None:
        is_far = until - model.version >= FAR_BEHIND
        newer = reader.latest_snapshot(after=model.version, until=until) if is_far else None
        result = stepped(reader, model if newer is None else applied(None, newer), until)
        if result is not None:
            return result
    snapshot = reader.latest_snapshot(after=0, until=until)
    if snapshot is None:
        raise StoreCorruptError("the log has no weights to begin with")
    model = applied(None, snapshot)
    result = stepped(reader, model, until)
    if result is None:
        raise StoreCorruptError(f"the log does not have all versions between {model.version} and {until}")
    return result


def stepped(reader: Reader, model: Model, until: int) -> Model | None:
    """Entry by entry; None where the next one is missing, or does not continue from the model."""
    for entry in reader.entries(after=model.version, until=until):
        if entry.record.version.model_version != model.version + 1 or entry.record.link.previous != model.digest:
            return None
        model = applied(model, entry)
    return model if model.version == until else None


def applied(model: Model | None, entry: Entry) -> Model:
    """The model after an entry. model: the one before it, not needed where there is a snapshot."""
    number, digest = entry.record.version.model_version, entry.record.link.digest
    if entry.snapshot is not None:
        return Model(number, stored_weights(entry), digest)
    if model is not None and entry.record.version.repeats_the_one_before:
        return Model(number, model.weights, digest)
    if entry.step is None or model is None:
        raise StoreCorruptError(f"version {number} has no weights in the log")
    return Model(number, replayed_step(model.weights, entry.step), digest)


def replayed_step(weights: Weights, step: Step) -> Weights:
    """The weights after a step of the log."""
    examples = step.examples
    return replay_step(weights, examples.pixels, examples.labels, step.learning_rate, step.rehearsal)


def stored_weights(entry: Entry) -> Weights:
    """The weights in an entry's snapshot. Raises StoreCorruptError."""
    assert entry.snapshot is not None
    try:
        return weights_file.from_bytes(entry.snapshot)
    except WeightsError as error:
        number = entry.record.version.model_version
        raise StoreCorruptError(f"the snapshot of version {number} is corrupt: {error}") from error
