"""The replay memory: a bounded set of labelled images that a network learning online rehearses, so as not to forget.

Every step learns a few remembered examples along with the posted ones (rehearsal: Robins 1995; Chaudhry et al. 2019,
"On Tiny Episodic Memories in Continual Learning"). A memory has two parts. The *sample* holds a bounded number of
examples, of every class alike. It changes slowly: one in twenty posted examples replaces one that the network was
trained on, so that a burst does not displace it. The *recent* examples are the last posted ones. Their weight grows
with the share of the sample that was posted: a network without a sample of its training data has nothing else to keep,
and adapts to a change quickly (`python -m bench.online`).

Neither takes an example whose label the network finds improbable. It is learnt once, when it is posted, and not
rehearsed: so wrong labels do not fill the memory, while a lasting change is learnt until its examples are probable.

Half of what is drawn from the sample is moved by a pixel: so a network that sees few images over and over learns what
they have in common (data augmentation; Bang et al. 2021, "Rainbow Memory"). The recent examples are as they were
posted. To move more is better for classes that come one after the other, but worse where the pixels are permuted.

What is drawn depends on the number of the version only, and what is replaced on that and on what the network finds
improbable. The same steps always give the same memory and the same weights.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.types import IntArray

MOST_REHEARSED = 32
"""Limit for the remembered examples per posted one."""

MOST_DRAWN = 256
"""Limit for the remembered examples in one step, if MOST_BYTES has room for them. A step of more posted examples draws
as many as were posted."""

MOST_RECENT = 100

RECENT_SHARE = 0.5
"""Share of the drawn examples of a class that are recent ones, if it has any, once the whole sample was posted."""

ENTRY_OF_A_POSTED_EXAMPLE = 0.05, 1.0
"""Probability that a posted example enters a full sample: while all of the sample is training data, and once all of it
was posted."""

FIRST_OF_A_CLASS = 10
"""So many examples of a class enter however improbable they are: the network does not know the class yet."""

MOVED_SHARE, MOST_SHIFT = 0.5, 1
"""Share of the images drawn from the sample that are moved, and by how many pixels, down or up and to the right or
left."""

LEAST_SIDE = 16
"""Images of fewer rows or columns are not moved: a pixel is much of them."""

MOST_REMEMBERED = 10_000
"""Limit for the configured size of a sample."""

MOST_BYTES = 16 * 2**20
"""Limit for the images of a sample, whatever its configured size."""


class Kept(NamedTuple):
    """An image of the sample: its pixels, bytes 0…255, and whether it was posted or is training data."""

    pixels: bytes
    posted: bool


class Recent(NamedTuple):
    pixels: bytes
    label: int


@dataclass(frozen=True)
class Memory:
    """Immutable. classes: the sample, by class number; recent: oldest first; posted: the posted ones of the sample."""

    classes: tuple[tuple[Kept, ...], ...] = ()
    recent: tuple[Recent, ...] = ()
    posted: int = 0

    def __len__(self) -> int:
        """The size of the sample."""
        return sum(map(len, self.classes))

    @property
    def posted_share(self) -> float:
        """The share of the sample that was posted, 0…1."""
        return self.posted / max(1, len(self))

    def size_of_draw(self, count: int, rehearse: int) -> int:
        """How many examples are drawn for `count` posted ones when `rehearse` are requested for each of these."""
        if not any(self.classes):
            return 0
        features = len(next(rows[0].pixels for rows in self.classes if rows))
        return min(rehearse * count, max(count, most_examples(MOST_DRAWN, features)))

    def draw(
        self, count: int, version: int, image_shape: tuple[int, int] | None = None
    ) -> tuple[NDArray[np.uint8], IntArray]:
        """Examples to rehearse in the step to `version`, (count, features) and (count,). An example may be drawn twice.
        image_shape: rows and columns; None: the images are not moved.

        The classes of the sample take turns: a random one begins, and each is drawn as often as any other, or once more
        (systematic sampling). So no class pulls at the network by chance.
        """
        present = [label for label, rows in enumerate(self.classes) if rows]
        recent_share = RECENT_SHARE * self.posted_share**2
        recent: dict[int, list[bytes]] = {}
        pixels: list[bytes] = []
        labels: list[int] = []
        are_recent: list[bool] = []
        ((start,),) = random_numbers("class", version, 1, 1)
        for turn, (source, which) in enumerate(random_numbers("draw", version, count, 2)):
            label = present[(start + turn * len(present)) // count % len(present)]
            labels.append(label)
            is_recent = fraction(source) < recent_share
            if is_recent and not recent:
                for example in self.recent:
                    recent.setdefault(example.label, []).append(example.pixels)
            are_recent.append(is_recent and label in recent)
            if are_recent[-1]:
                pixels.append(recent[label][which % len(recent[label])])
            else:
                rows = self.classes[label]
                pixels.append(rows[which % len(rows)].pixels)
        drawn = np.frombuffer(b"".join(pixels), np.uint8).reshape(count, -1 if count else 0)
        if count and image_shape is not None and min(image_shape) >= LEAST_SIDE:
            drawn = moved(drawn, are_recent, image_shape, version)
        return drawn, np.array(labels, np.intp)

    def after(
        self, pixels: NDArray[np.uint8], labels: IntArray, probable: NDArray[np.bool_], size: int, version: int
    ) -> "Memory":
        """The memory after the examples of the step to `version` were added, one after the other.

        probable: (n,), by the network before the step; the others are left out, but for the first of a class. size:
        limit of the sample; the largest classes give up what exceeds it. Below the limit every example is added. At the
        limit, an example of a class with less than its share replaces one of the largest class; any other may replace a
        random one of its own class.
        """
        classes: list[Sequence[Kept]] = list(self.classes)
        classes += [()] * (int(labels.max(initial=-1)) + 1 - len(classes))
        total, posted = len(self), self.posted
        first, last = ENTRY_OF_A_POSTED_EXAMPLE
        entry = first + (last - first) * self.posted_share
        counts = np.array([len(rows) for rows in classes])  # updated below: a batch may have a thousand classes

        def give_up(which: int) -> Kept:
            """Remove one example of the largest class."""
            largest = int(counts.argmax())
            counts[largest] -= 1
            return changeable(classes, largest).pop(which % (int(counts[largest]) + 1))

        for (which,) in random_numbers("shrink", version, max(0, total - size), 1):
            posted -= give_up(which).posted
            total -= 1
        added: list[Recent] = []
        for at, (entry_number, which) in enumerate(random_numbers("put", version, len(labels), 2)):
            label = int(labels[at])
            rows = classes[label]
            if not probable[at] and len(rows) >= FIRST_OF_A_CLASS:
                continue
            row = pixels[at].tobytes()
            added.append(Recent(row, label))
            new = Kept(row, True)
            if total < size:
                changeable(classes, label).append(new)
                counts[label] += 1
                total, posted = total + 1, posted + 1
            elif len(rows) < size // (int(np.count_nonzero(counts)) + (not rows)):
                posted += not give_up(which).posted
                changeable(classes, label).append(new)
                counts[label] += 1
            elif rows and fraction(entry_number) < entry:
                replaced = which % len(rows)
                posted += not rows[replaced].posted
                changeable(classes, label)[replaced] = new
        recent = (*self.recent, *added)[-most_recent(pixels.shape[1]) :]
        return Memory(tuple(map(tuple, classes)), recent, posted)


NOTHING = Memory()


def sample(pixels: NDArray[np.uint8], labels: NDArray[Any], size: int, seed: int) -> Memory:
    """A memory of at most `size` training images, of every class alike. pixels: (n, features) 0…255."""
    size, labels = most_examples(size, pixels.shape[1]), labels.astype(np.intp)
    order = np.random.default_rng(seed).permutation(len(labels))
    classes: list[tuple[Kept, ...]] = []
    present = np.unique(labels)
    for label in range(int(labels.max(initial=-1)) + 1):
        chosen = np.sort(order[labels[order] == label][: size // len(present)])
        classes.append(tuple(Kept(pixels[at].tobytes(), False) for at in chosen))
    return Memory(tuple(classes)) if any(classes) else NOTHING


def most_examples(size: int, features: int) -> int:
    """The `size`, or how many images fit into MOST_BYTES."""
    return min(size, MOST_BYTES // features)


def moved(
    pixels: NDArray[np.uint8], are_recent: list[bool], image_shape: tuple[int, int], version: int
) -> NDArray[np.uint8]:
    """MOVED_SHARE of the images that are not recent are moved, by up to MOST_SHIFT pixels; what enters at an edge is 0.
    pixels: (n, rows × columns); are_recent: (n,)."""
    (rows, columns), places = image_shape, 2 * MOST_SHIFT + 1
    number, down, right = random_array("shift", version, len(pixels), 3).T
    chosen = np.flatnonzero((number / 2.0**64 < MOVED_SHARE) & ~np.array(are_recent))
    result = pixels.reshape(-1, rows, columns).copy()
    padded = np.zeros((len(chosen), rows + 2 * MOST_SHIFT, columns + 2 * MOST_SHIFT), np.uint8)
    padded[:, MOST_SHIFT:-MOST_SHIFT, MOST_SHIFT:-MOST_SHIFT] = result[chosen]
    image, row, pixel = padded.strides  # a view: of each padded image, a window at each place
    windows = np.ndarray(
        (len(chosen), places, places, rows, columns), np.uint8, padded, 0, (image, row, pixel, row, pixel)
    )
    result[chosen] = windows[np.arange(len(chosen)), down[chosen] % places, right[chosen] % places]
    return result.reshape(pixels.shape)


def changeable(classes: list[Sequence[Kept]], label: int) -> list[Kept]:
    """The images of a class as a list, which is made once for all examples of a batch."""
    rows = classes[label]
    if not isinstance(rows, list):
        classes[label] = rows = list(rows)
    return rows


def most_recent(features: int) -> int:
    """MOST_RECENT, or how many images fit into MOST_BYTES."""
    return max(1, most_examples(MOST_RECENT, features))


def random_numbers(purpose: str, version: int, rows: int, columns: int) -> list[list[int]]:
    """As `random_array`, for use one by one."""
    numbers: list[list[int]] = random_array(purpose, version, rows, columns).tolist()
    return numbers


def random_array(purpose: str, version: int, rows: int, columns: int) -> NDArray[np.uint64]:
    """Uniform 64-bit numbers, the same with every release of numpy and on every machine."""
    stream = hashlib.shake_256(f"{purpose} {version}".encode()).digest(8 * rows * columns)
    return np.frombuffer(stream, "<u8").reshape(rows, columns)


def fraction(number: int) -> float:
    """A 64-bit number as a fraction, 0…1."""
    return number / 2.0**64
