"""Which examples the train-steps of the log rehearsed: this follows from the versions before them."""

from collections.abc import Iterator

from model.weights_file import Weights
from service.live.replica import applied
from service.store.log import AFTER_ALL, Reader
from service.store.records import Examples, Step


def rehearsed_steps(reader: Reader, after: int) -> Iterator[tuple[Step, Examples]]:
    """The train-steps of versions above `after`, oldest first, each with the examples that it rehearsed.

    Raises StoreCorruptError.
    """
    snapshot = reader.latest_snapshot(after=0, until=max(after, reader.oldest()))
    if snapshot is None:
        return
    model = applied(None, snapshot)
    for entry in reader.entries(after=model.version, until=AFTER_ALL):
        if entry.step is not None and entry.step.model_version > after:
            yield entry.step, drawn(model.weights, entry.step)
        model = applied(model, entry)


def drawn(weights: Weights, step: Step) -> Examples:
    """What the step drew from the memory of the version before it, which has these weights."""
    pixels, labels = weights.memory.draw(step.rehearsal.count, step.rehearsal.version, weights.image_shape)
    return Examples(pixels.reshape(len(pixels), step.examples.pixels.shape[1]), labels)
