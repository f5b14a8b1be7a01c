"""Remembered predictions: kept as they are answered, shown to whoever labels, learnt from once their labels come."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.datasets import pixels_to_input
from model.types import FloatArray, IntArray
from service.store.log import StepLog
from service.store.predictions import Limits, Prediction, Predictions, bytes_beside, position
from service.store.progress import Outcomes
from service.store.records import Examples

Order = Literal["newest", "uncertain"]

__all__ = ["Waiting", "position"]


class Waiting:
    """Those that wait for a label. Safe to use from any number of threads."""

    def __init__(self, log: StepLog, limits: Limits) -> None:
        self._log = log
        self._limits = limits

    def keep(self, pixels: NDArray[Any], probabilities: FloatArray, model_version: int) -> list[str]:
        """Their ids; when this returns they are durable. pixels: (n, features); probabilities: (n, k). Raises
        StoreError."""
        with self._log.writing() as writer:
            return Predictions(writer.session).keep(pixels, probabilities, model_version, writer.now(), self._limits)

    def bytes_of(self, pixels: NDArray[Any], classes: int) -> int:
        """What they take when they are kept."""
        return pixels.nbytes + len(pixels) * bytes_beside(classes)

    def page(self, order: Order, limit: int, before: tuple[int, float] | None) -> tuple[list[Prediction], str | None]:
        """At most `limit` of them, and what the next page is before, for `position`; None on the last."""
        with self._log.reading() as reader:
            predictions = Predictions(reader.session)
            listed = predictions.uncertain if order == "uncertain" else predictions.newest
            found = listed(limit + 1, before, reader.now())
        return found[:limit], found[limit - 1].cursor if len(found) > limit else None

    def one(self, prediction_id: str) -> Prediction:
        """Raises UnknownPredictionError."""
        with self._log.reading() as reader:
            return Predictions(reader.session).one(prediction_id, reader.now())

    def delete(self, prediction_id: str) -> None:
        """Raises UnknownPredictionError."""
        with self._log.writing() as writer:
            now = writer.now()
            predictions = Predictions(writer.session)
            predictions.delete(prediction_id, now)
            predictions.make_room(now, self._limits)


def examples_of(predictions: Sequence[Prediction], labels: IntArray) -> Examples:
    """As bytes, or as float32 where one of them is."""
    pixels = [prediction.pixels for prediction in predictions]
    if len({array.dtype for array in pixels}) > 1:
        pixels = [pixels_to_input(array) for array in pixels]
    return Examples(np.stack(pixels), labels)


def outcomes_of(predictions: Sequence[Prediction], labels: IntArray) -> Outcomes:
    """Of what was answered then."""
    return Outcomes.of(np.stack([prediction.probabilities for prediction in predictions]), labels)
