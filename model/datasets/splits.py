"""Splits of a data set. The digest of an image decides, so that no other image can move it to the other side."""

import hashlib
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from model.datasets.dataset import Dataset, DatasetError, Split

TEST_SHARE = 0.2
"""Share of each class, if the data has no test set."""

VALIDATION_SHARE = 0.1
"""Share of the training images."""


def digests(images: NDArray[np.uint8]) -> list[bytes]:
    """The SHA-256 of each image's pixels. images: (n, features)."""
    return [hashlib.sha256(image).digest() for image in np.ascontiguousarray(images)]


def draws(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Four uniform numbers 0…1 for each image, (n, 4), which depend on its pixels only."""
    return np.frombuffer(b"".join(digests(images)), ">u8").reshape(-1, 4) / 2.0**64


def validation_split(train: Split) -> tuple[Split, Split]:
    """About a tenth of the images, and the others, of which there is at least one."""
    held = draws(train.images)[:, 1] < VALIDATION_SHARE
    if held.all():
        held[:] = False
    return train.take(held), train.take(~held)


def with_test_set(
    name: str, every: Split, image_shape: tuple[int, int], label_names: tuple[str, ...] | None = None
) -> Dataset:
    """About a fifth of each class is held out. Raises DatasetError for too few images."""
    held = held_out(every)
    if held.all() or not held.any():
        raise DatasetError(
            f"{name}: {len(every)} images are too few to hold some out: at least 2 different ones of a class are needed"
        )
    return Dataset(name, every.take(~held), every.take(held), image_shape, label_names)


def held_out(every: Split) -> NDArray[np.bool_]:
    """Which images are for the test. If a class has none on one side, the image whose number is nearest to the limit
    goes there. Equal images are always on the same side."""
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
    """The images whose digests are not known."""
    return split.take(np.array([digest not in known for digest in digests(split.images)], bool))
