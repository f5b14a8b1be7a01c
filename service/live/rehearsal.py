"""What the train-steps of the log rehearsed: worked out anew, since it follows from the versions before them."""

from collections.abc import Iterator

from model.memory import Memory
from model.online import memory_after
from service.live.replica import stored_weights
from service.store.log import AFTER_ALL, Reader
from service.store.records import Examples, Step


def rehearsed_steps(reader: Reader, after: int) -> Iterator[tuple[Step, Examples]]:
    """The train-steps of versions above `after`, oldest first, each with the remembered examples that took part in it.
    Raises StoreCorruptError."""
    snapshot = reader.latest_snapshot(after=0, until=max(after, reader.oldest()))
    if snapshot is None:
        return
    memory = memory_of(snapshot.record.version.model_version, snapshot.snapshot)
    for entry in reader.entries(after=snapshot.record.version.model_version, until=AFTER_ALL):
        number = entry.record.version.model_version
        if entry.step is not None:
            if number > after:
                yield entry.step, remembered(memory, entry.step)
            examples = entry.step.examples
            memory = memory_after(memory, examples.pixels, examples.labels, entry.step.rehearsal)
        elif entry.snapshot is not None:
            memory = memory_of(number, entry.snapshot)


def remembered(memory: Memory, step: Step) -> Examples:
    """What the step drew from the memory of the version before it."""
    pixels, labels = memory.draw(step.rehearsal.count, step.rehearsal.version)
    return Examples(pixels.reshape(len(pixels), step.examples.pixels.shape[1]), labels)


def memory_of(version: int, snapshot: bytes | None) -> Memory:
    return Memory() if snapshot is None else stored_weights(version, snapshot).memory
