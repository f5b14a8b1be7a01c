"""Steps that an older release took with AdaGrad, which the live model does not use any more: taken again once, when the
store is migrated, so that their weights are kept as snapshots."""

from dataclasses import replace
from typing import Any

import numpy as np

from model import weights as weights_file
from model.datasets import pixels_to_input
from model.npy import read_npz
from model.online import replay_step, updated_params
from model.types import PARAMETER_NAMES, Parameters
from model.weights import Weights
from service.store.records import StoredExamples

TINY = 1e-7
"""Keeps a division by the square root of a sum of squares from one by zero."""


class OldModel:
    """The weights of each version of an old store, one after the other, and AdaGrad's sums of squared gradients."""

    def __init__(self) -> None:
        self._weights: Weights | None = None
        self._squares: Parameters | None = None

    def after_snapshot(self, data: bytes) -> None:
        self._weights = weights_file.from_bytes(data)
        arrays = read_npz(data, weights_file.MOST_BYTES)
        squares = {name: arrays.get(f"adagrad.{name}") for name in PARAMETER_NAMES}
        self._squares = squares if squares["W1"] is not None else None  # type: ignore[assignment]

    def after_step(self, row: dict[str, Any]) -> bytes:
        """row: of a train-step. What it leads to, as a snapshot."""
        assert self._weights is not None
        examples = StoredExamples(row["pixel_type"], row["labels"], row["pixels"]).examples(row["count"])
        if row["optimizer"] == "adagrad":
            before = self._weights.params
            gradient = self._weights.network().gradient(pixels_to_input(examples.pixels), examples.labels)
            sums: Parameters = {
                name: np.square(gradient[name]) + (0 if self._squares is None else self._squares[name])
                for name in PARAMETER_NAMES
            }
            self._squares = sums
            scaled: Parameters = {name: gradient[name] / (np.sqrt(sums[name]) + TINY) for name in PARAMETER_NAMES}
            params = updated_params(before, scaled, row["learning_rate"])
            self._weights = replace(self._weights, params=params, training={})
        else:
            self._squares = None
            self._weights = replay_step(self._weights, examples.pixels, examples.labels, row["learning_rate"])
        return weights_file.to_bytes(self._weights)
