"""What a worker knows of the model: a version and its weights, which follow the log.

A `Model` is never changed, only replaced by one assignment: whoever holds one computes with exactly that version, and
no reader needs a lock.
"""

import threading
from dataclasses import dataclass, replace
from functools import lru_cache

from model import weights as weights_file
from model.datasets import pixels_to_input
from model.online import replay_step
from model.two_layer_net import TwoLayerNet
from model.weights import Weights, WeightsError
from service.errors import StoreCorruptError
from service.store.log import Reader, StepLog
from service.store.records import Step

OLD_MODELS_KEPT = 4
FAR_BEHIND = 32
"""Versions. From here on it pays to look for a snapshot first."""


@dataclass(frozen=True)
class Model:
    """One version of the model."""

    version: int
    weights: Weights

    @property
    def network(self) -> TwoLayerNet:
        return self.weights.network()


class Replica:
    """This process's copy of the newest version, and a few older ones that were asked for."""

    def __init__(self, log: StepLog) -> None:
        self._log = log
        self._newest: Model | None = None
        self._catching_up = threading.Lock()
        self._old = lru_cache(maxsize=OLD_MODELS_KEPT)(self._rebuild)

    def newest(self) -> Model:
        """The newest version of the log at this moment, or a newer one. Raises StoreError."""
        head = self._log.head()
        model = self._newest
        if model is not None and model.version >= head:
            return model
        with self._catching_up:
            model = self._newest
            if model is None or model.version < head:
                with self._log.reading() as reader:
                    model = follow(reader, model)
                self._newest = model
        return model

    def follow(self, reader: Reader) -> Model:
        """The newest version that a transaction sees, from this copy; the copy is left as it is."""
        return follow(reader, self._newest)

    def advance(self, model: Model) -> None:
        """Take over a version that has just been committed."""
        with self._catching_up:
            if self._newest is None or self._newest.version < model.version:
                self._newest = model

    def at(self, version: int) -> Model:
        """Any version that is kept. Raises UnknownVersionError, StoreError."""
        newest = self.newest()
        if newest.version == version:
            return newest
        return self._old(version)

    def _rebuild(self, version: int) -> Model:
        with self._log.reading() as reader:
            return rebuild(reader, version)


def follow(reader: Reader, model: Model | None) -> Model:
    """The newest version, from a model that may be behind it."""
    return replayed(reader, model, reader.newest())


def rebuild(reader: Reader, version: int) -> Model:
    """Any version that is kept. Raises UnknownVersionError."""
    reader.version(version)
    return replayed(reader, None, version)


def replayed(reader: Reader, model: Model | None, until: int) -> Model:
    """From a model that may be behind, by a snapshot where there is one and else step by step."""
    if model is not None and model.version >= until:
        return model
    if model is None or until - model.version >= FAR_BEHIND:
        snapshot = reader.latest_snapshot(after=0 if model is None else model.version, until=until)
        if snapshot is not None:
            model = Model(snapshot[0], stored_weights(*snapshot))
    if model is None:
        raise StoreCorruptError("the log holds no weights to begin with")
    version, weights = model.version, model.weights
    for entry in reader.entries(after=version, until=until):
        if entry.model_version != version + 1:
            break
        version = entry.model_version
        if entry.snapshot is not None:
            weights = stored_weights(version, entry.snapshot)
        elif entry.step is not None:
            weights = learnt(weights, entry.step)
        else:
            raise StoreCorruptError(f"version {version} has no weights in the log")
    if version != until:
        raise StoreCorruptError(f"version {version + 1} is missing from the log")
    return Model(version, weights)


def learnt(weights: Weights, step: Step) -> Weights:
    """The weights after a step that was taken before."""
    params, squares = replay_step(
        weights.params,
        weights.activation,
        pixels_to_input(step.examples.pixels),
        step.examples.labels,
        step.learning_rate,
        optimizer=step.optimizer,
        squares=weights.squares,
    )
    return replace(weights, params=params, squares=squares)


def stored_weights(version: int, data: bytes) -> Weights:
    """The weights in a snapshot; the .npz format has a checksum of its own. Raises StoreCorruptError."""
    try:
        return weights_file.from_bytes(data)
    except WeightsError as error:
        raise StoreCorruptError(f"the snapshot of version {version} is corrupt: {error}") from error
