"""The label queue: predictions are kept as they are answered, listed for labelling, and learnt with their labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.datasets import pixels_to_input
from model.types import FloatArray, IntArray
from service.store.log import StepLog
from service.store.predictions import Limits, Order, Position, Prediction, Predictions, bytes_without_pixels, position
from service.store.records import Examples
from service.store.rolling_figures import Kind, Outcomes

__all__ = ["LabelQueue", "Order", "position"]


class LabelQueue:
    """The predictions without a label. Safe to use from any number of threads. Every method raises StoreError."""

    def __init__(self, log: StepLog, limits: Limits) -> None:
        self._log = log
        self._limits = limits

    def keep(
        self, pixels: NDArray[Any], probabilities: FloatArray, model_version: int, *, pinned: bool = False
    ) -> list[str]:
        """Their ids; they are durable when this returns. pixels: (n, features); probabilities: (n, k); pinned: whether
        the client named a version that is not the newest."""
        with self._log.writing() as writer:
            return Predictions(writer.session).keep(
                pixels, probabilities, model_version, writer.now(), self._limits, pinned=pinned
            )

    def bytes_of(self, pixels: NDArray[Any], classes: int) -> int:
        """How many bytes of the limit they take."""
        return pixels.nbytes + len(pixels) * bytes_without_pixels(classes)

    def page(self, order: Order, limit: int, before: Position | None) -> tuple[list[Prediction], str | None]:
        """At most `limit` of them, and the cursor of the next page, None on the last one. Those that are listed as the
        most uncertain are marked so: their labels say little about the images that were not chosen. They are returned
        only once that is written, which waits for the write lock. Where all are marked already, nothing is written."""
        with self._log.reading() as reader:
            page = Predictions(reader.session).page(order, limit + 1, before, reader.now())
        if order == "uncertain" and (new := [one for one in page[:limit] if one.chosen is None]):
            with self._log.writing() as writer:
                Predictions(writer.session).mark_chosen(new)
        return page[:limit], page[limit - 1].cursor(order) if len(page) > limit else None

    def one(self, prediction_id: str) -> Prediction:
        """Raises UnknownPredictionError."""
        with self._log.reading() as reader:
            return Predictions(reader.session).one(prediction_id, reader.now())

    def delete(self, prediction_id: str) -> None:
        """Raises UnknownPredictionError."""
        with self._log.writing() as writer:
            predictions = Predictions(writer.session)
            predictions.delete(prediction_id, writer.now())
            predictions.delete_expired(writer.now(), self._limits)


def examples_of(predictions: Sequence[Prediction], labels: IntArray) -> Examples:
    """Pixels as bytes, or as float32 where one of the predictions has these."""
    pixels = [prediction.pixels for prediction in predictions]
    if len({array.dtype for array in pixels}) > 1:
        pixels = [pixels_to_input(array) for array in pixels]
    return Examples(np.stack(pixels), labels)


def outcomes_of(predictions: Sequence[Prediction], labels: IntArray) -> Outcomes:
    """Of what was answered at the time. A class that came later had the probability 0."""
    classes = max(int(labels.max()) + 1, *(len(prediction.probabilities) for prediction in predictions))
    probabilities = np.zeros((len(predictions), classes), np.float32)
    for row, prediction in zip(probabilities, predictions, strict=True):
        row[: len(prediction.probabilities)] = prediction.probabilities
    return Outcomes.of(probabilities, labels)


def by_kind(predictions: Sequence[Prediction], then: Outcomes, now: Outcomes) -> dict[Kind, Outcomes]:
    """What counts as which kind of example. then: of what was answered at the time, which counts for the versions that
    clients named; now: of what the newest version answers, before it learns from these."""
    pinned = np.array([one.pinned is not None for one in predictions])
    chosen = np.array([one.chosen is not None for one in predictions]) & ~pinned
    return {"served": now.where(~pinned & ~chosen), "chosen": now.where(chosen), "pinned": then.where(pinned)}
