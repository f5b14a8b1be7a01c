"""Which images are held out. An image's own digest decides, so that no other image can move it across."""

import hashlib
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from model.datasets.dataset import Dataset, DatasetError, Split

TEST_SHARE = 0.2
"""Of each class, where the data has no test set of its own."""

VALIDATION_SHARE = 0.1
"""Of the training images."""


def digests(images: NDArray[np.uint8]) -> list[bytes]:
    """The SHA-256 of each image's pixels. images: (n, features)."""
    return [hashlib.sha256(image).digest() for image in np.ascontiguousarray(images)]


def draws(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Four numbers 0…1 for each image, (n, 4), as if drawn at random, and always the same for the same pixels."""
    return np.frombuffer(b"".join(digests(images)), ">u8").reshape(-1, 4) / 2.0**64


def validation_split(train: Split) -> tuple[Split, Split]:
    """About a tenth of the images, and the others, which are never none."""
    held = draws(train.images)[:, 1] < VALIDATION_SHARE
    if held.all():
        held[:] = False
    return train.take(held), train.take(~held)


def with_test_set(
    name: str, every: Split, image_shape: tuple[int, int], label_names: tuple[str, ...] | None = None
) -> Dataset:
    """About a fifth of each class is held out. Raises DatasetError where there are too few images for that."""
    held = held_out(every)
    if held.all() or not held.any():
        raise DatasetError(
            f"{name}: {len(every)} images are too few to hold some out: at least 2 different ones of a class are needed"
        )
    return Dataset(name, every.take(~held), every.take(held), image_shape, label_names)


def held_out(every: Split) -> NDArray[np.bool_]:
    """Which images are for the test. Where the draw would leave a class without one on either side, the image that
    came nearest to it goes there; equal images are always on the same side."""
    drawn = draws(every.images)[:, 0]
    held: NDArray[np.bool_] = drawn < TEST_SHARE
    for label in np.unique(every.labels):
        rows = every.labels == label
        least, most = drawn[rows].min(), drawn[rows].max()
        if least == most:
            continue
        if not held[rows].any():
            held |= drawn == least
        elif held[rows].all():
            held &= drawn != most
    return held


def without(split: Split, known: Collection[bytes]) -> Split:
    """The images that are not among those of these digests."""
    return split.take(np.array([digest not in known for digest in digests(split.images)], bool))
