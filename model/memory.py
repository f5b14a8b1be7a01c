"""What a network that learns online rehearses, so that it does not forget: a bounded set of labelled images.

Every step learns a few remembered examples beside the posted ones (rehearsal: Robins 1995; Chaudhry et al. 2019, "On
Tiny Episodic Memories in Continual Learning"). A memory has two parts. The *sample* is a bounded number of examples, of
every class alike, and changes slowly: what the network was trained on gives way to one in twenty posted examples, so
that neither a burst nor wrong labels wash it out. The *recent* ones are the last that were posted. How much of the
sample has been posted, rather than trained on, says how much recent ones count: a network that came without a sample of
its training has nothing to keep but what is posted, and follows a change fast (`python -m bench.online`).

What is drawn and what makes room follows from the number of the version alone, so that whoever takes the same steps
again comes to the same memory and the same weights.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.types import IntArray

MOST_REHEARSED = 32
"""Remembered examples that may be asked for beside each posted one."""

MOST_DRAWN = 256
"""Remembered examples in one step, or as many as MOST_BYTES has room for, unless more than that were posted: then as
many as were posted."""

MOST_RECENT = 100

RECENT_SHARE = 0.5
"""Of what is drawn, from the recent examples, once all of the sample has been posted."""

ENTRY_OF_A_POSTED_EXAMPLE = 0.05, 1.0
"""How likely a posted example is to take a place in a full sample: while all of that was trained on, and once all of it
has been posted."""

MOST_REMEMBERED = 10_000
"""Examples that a sample may be asked to hold."""

MOST_BYTES = 16 * 2**20
"""Of a sample's images, however many of them are asked for."""

X, T, POSTED, RECENT_X, RECENT_T = "memory.x", "memory.t", "memory.posted", "memory.recent.x", "memory.recent.t"
"""The arrays in a weights file."""


class MemoryFileError(ValueError):
    """The arrays are no memory; the message names the array, what it is and what it should be."""


class Kept(NamedTuple):
    """An image of the sample: its pixels, bytes 0…255, and whether it was posted rather than trained on."""

    pixels: bytes
    posted: bool


class Recent(NamedTuple):
    pixels: bytes
    label: int


@dataclass(frozen=True)
class Memory:
    """Never changed, only replaced. classes: the sample, by class number; recent: the oldest first; posted: how many of
    the sample have been posted."""

    classes: tuple[tuple[Kept, ...], ...] = ()
    recent: tuple[Recent, ...] = ()
    posted: int = 0

    def __len__(self) -> int:
        """How many examples the sample has."""
        return sum(map(len, self.classes))

    @property
    def posted_share(self) -> float:
        """Of the sample, 0…1."""
        return self.posted / max(1, len(self))

    def size_of_draw(self, count: int, rehearse: int) -> int:
        """How many are drawn beside `count` posted examples, `rehearse` being asked for each of them."""
        if not any(self.classes):
            return 0
        features = len(next(rows[0].pixels for rows in self.classes if rows))
        return min(rehearse * count, max(count, most_examples(MOST_DRAWN, features)))

    def draw(self, count: int, version: int) -> tuple[NDArray[np.uint8], IntArray]:
        """Examples to rehearse in the step to `version`, (count, features) and (count,). Of the sample, every class is
        as likely as any other. The same one may be drawn twice."""
        present = [label for label, rows in enumerate(self.classes) if rows]
        recent_share = RECENT_SHARE * self.posted_share**2 if self.recent else 0.0
        pixels: list[bytes] = []
        labels: list[int] = []
        for whence, which_class, which in random_numbers("draw", version, count, 3):
            if fraction(whence) < recent_share:
                example = self.recent[which % len(self.recent)]
                pixels.append(example.pixels)
                labels.append(example.label)
            else:
                label = present[which_class % len(present)]
                rows = self.classes[label]
                pixels.append(rows[which % len(rows)].pixels)
                labels.append(label)
        return np.frombuffer(b"".join(pixels), np.uint8).reshape(count, -1 if count else 0), np.array(labels, np.intp)

    def after(self, pixels: NDArray[np.uint8], labels: IntArray, size: int, version: int) -> "Memory":
        """The memory once the examples of the step to `version` have been put into it, one after the other.

        size: how many the sample may have; where it has more, the largest classes give up as many. It takes all until
        then; later a class that has less than its share takes a place from the largest class, and in any other class
        the new one may take the place of a random one.
        """
        classes: list[Sequence[Kept]] = list(self.classes)
        classes += [()] * (int(labels.max(initial=-1)) + 1 - len(classes))
        total, posted = len(self), self.posted
        first, last = ENTRY_OF_A_POSTED_EXAMPLE
        entry = first + (last - first) * self.posted_share
        counts = np.array([len(rows) for rows in classes])  # counted once: there may be a thousand classes

        def give_up(which: int) -> Kept:
            """One of the largest class."""
            largest = int(counts.argmax())
            counts[largest] -= 1
            return changeable(classes, largest).pop(which % (int(counts[largest]) + 1))

        for (which,) in random_numbers("shrink", version, max(0, total - size), 1):
            posted -= give_up(which).posted
            total -= 1
        examples = [Recent(row.tobytes(), label) for row, label in zip(pixels, labels.tolist(), strict=True)]
        for (row, label), (whether, which) in zip(
            examples, random_numbers("put", version, len(examples), 2), strict=True
        ):
            rows, new = classes[label], Kept(row, True)
            if total < size:
                changeable(classes, label).append(new)
                counts[label] += 1
                total, posted = total + 1, posted + 1
            elif len(rows) < size // (int(np.count_nonzero(counts)) + (not rows)):
                posted += not give_up(which).posted
                changeable(classes, label).append(new)
                counts[label] += 1
            elif rows and fraction(whether) < entry:
                at = which % len(rows)
                posted += not rows[at].posted
                changeable(classes, label)[at] = new
        recent = (*self.recent, *examples)[-most_recent(pixels.shape[1]) :]
        return Memory(tuple(map(tuple, classes)), recent, posted)


NOTHING = Memory()


def sample(pixels: NDArray[np.uint8], labels: IntArray, size: int, seed: int) -> Memory:
    """A memory of `size` training images at the most, of every class alike. pixels: (n, features) 0…255."""
    size = most_examples(size, pixels.shape[1])
    order = np.random.default_rng(seed).permutation(len(labels))
    classes: list[tuple[Kept, ...]] = []
    present = np.unique(labels)
    for label in range(int(labels.max(initial=-1)) + 1):
        chosen = np.sort(order[labels[order] == label][: size // len(present)])
        classes.append(tuple(Kept(pixels[at].tobytes(), False) for at in chosen))
    return Memory(tuple(classes)) if any(classes) else NOTHING


def most_examples(size: int, features: int) -> int:
    """How many of the `size` that are asked for fit into MOST_BYTES."""
    return min(size, MOST_BYTES // features)


def changeable(classes: list[Sequence[Kept]], label: int) -> list[Kept]:
    """The images of a class, from now on as a list, which the next one of a large batch need not copy."""
    rows = classes[label]
    if not isinstance(rows, list):
        classes[label] = rows = list(rows)
    return rows


def most_recent(features: int) -> int:
    """How many recent examples are kept: MOST_RECENT, if they fit into MOST_BYTES."""
    return max(1, most_examples(MOST_RECENT, features))


def random_numbers(purpose: str, version: int, rows: int, columns: int) -> list[list[int]]:
    """Uniform 64-bit numbers that are the same with every release of numpy and on every machine."""
    stream = hashlib.shake_256(f"{purpose} {version}".encode()).digest(8 * rows * columns)
    numbers: list[list[int]] = np.frombuffer(stream, "<u8").reshape(rows, columns).tolist()
    return numbers


def fraction(number: int) -> float:
    """Of the 64-bit numbers: 0…1."""
    return number / 2.0**64


def memory_arrays(memory: Memory, features: int) -> dict[str, NDArray[Any]]:
    """What a weights file holds of a memory: nothing, where there is nothing to remember."""
    if not len(memory):
        return {}
    kept = [(kept, label) for label, rows in enumerate(memory.classes) for kept in rows]
    arrays: dict[str, NDArray[Any]] = {
        X: rows_of([example.pixels for example, _ in kept], features),
        T: np.array([label for _, label in kept], np.uint32),
    }
    if memory.posted or memory.recent:
        arrays[POSTED] = np.array([example.posted for example, _ in kept])
    if memory.recent:
        arrays[RECENT_X] = rows_of([example.pixels for example in memory.recent], features)
        arrays[RECENT_T] = np.array([example.label for example in memory.recent], np.uint32)
    return arrays


def rows_of(pixels: list[bytes], features: int) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(pixels), np.uint8).reshape(-1, features)


def read_memory(arrays: dict[str, NDArray[Any]], features: int, classes: int) -> Memory:
    """What `memory_arrays` wrote, or anybody else: the posted flags and the recent ones may be left out.

    Within a class the images keep their order. Raises MemoryFileError.
    """
    if X not in arrays and T not in arrays:
        return NOTHING
    pixels, labels = checked_examples(arrays, X, T, features, classes)
    posted = arrays.get(POSTED, np.zeros(len(labels), np.bool_))
    if posted.dtype != np.bool_ or posted.shape != labels.shape:
        raise MemoryFileError(f"{POSTED} is {posted.dtype} {posted.shape}: bool {labels.shape} is needed")
    most = most_examples(MOST_REMEMBERED, features)
    if len(labels) > most:
        raise MemoryFileError(f"{X} holds {len(labels)} images of {features} pixels: {most} at the most are remembered")
    sampled: list[list[Kept]] = [[] for _ in range(classes)]
    for row, label, flag in zip(pixels, labels.tolist(), posted.tolist(), strict=True):
        sampled[label].append(Kept(row.tobytes(), flag))
    recent: tuple[Recent, ...] = ()
    if RECENT_X in arrays or RECENT_T in arrays:
        recent_pixels, recent_labels = checked_examples(arrays, RECENT_X, RECENT_T, features, classes)
        most = most_recent(features)
        last = zip(recent_pixels[-most:], recent_labels[-most:].tolist(), strict=True)
        recent = tuple(Recent(row.tobytes(), label) for row, label in last)
    return Memory(tuple(map(tuple, sampled)), recent, int(posted.sum())) if len(labels) else NOTHING


def checked_examples(
    arrays: dict[str, NDArray[Any]], x: str, t: str, features: int, classes: int
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    for name in (x, t):
        if name not in arrays:
            raise MemoryFileError(f"the array {name} is missing: a memory has {x} and {t}")
    pixels, labels = arrays[x], arrays[t]
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != features:
        raise MemoryFileError(
            f"{x} is {pixels.dtype} {pixels.shape}: uint8 (n, {features}), images as W1 takes them, is needed"
        )
    if labels.dtype.kind not in "iu" or labels.shape != pixels.shape[:1]:
        raise MemoryFileError(
            f"{t} is {labels.dtype} {labels.shape}: whole numbers of shape ({len(pixels)},), as {x} has, are needed"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        wrong = labels.max() if labels.min() >= 0 else labels.min()
        raise MemoryFileError(f"{t} holds the class {wrong}: the network has the classes 0 to {classes - 1}")
    return pixels, labels
