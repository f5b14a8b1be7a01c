"""What is trained on and measured on: images and their classes, divided for good."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.types import FloatArray, IntArray

MOST_BYTES = 1 << 31
"""What the pixels of one file may take, unpacked: three times EMNIST, and what a small machine can spare."""

MOST_CLASSES = 256


class DatasetError(Exception):
    """The data can't be had or can't be used; the message is one line that says which file and why."""


@dataclass(frozen=True)
class Split:
    """Images as bytes, (n, features), 0…255, and their class numbers, (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: IntArray | NDArray[np.bool_]) -> "Split":
        return Split(self.images[indices], self.labels[indices])

    def __add__(self, other: "Split") -> "Split":
        return Split(np.concatenate([self.images, other.images]), np.concatenate([self.labels, other.labels]))


@dataclass(frozen=True)
class Dataset:
    """Images to train on and images held out for the final test, which training never sees.

    label_names: of the classes, in the order of their numbers, where they have names.
    """

    name: str
    train: Split
    test: Split
    image_shape: tuple[int, int]
    label_names: tuple[str, ...] | None = None

    @property
    def classes(self) -> int:
        if self.label_names is not None:
            return len(self.label_names)
        return int(max(self.train.labels.max(), self.test.labels.max())) + 1

    @cached_property
    def digest(self) -> str:
        """Tells data from other data of the same name and size."""
        found = hashlib.sha256(f"{self.train.images.shape} {self.label_names}".encode())
        for array in (self.train.images, self.train.labels):
            found.update(array.tobytes())
        return found.hexdigest()[:16]


def pixels_to_input(pixels: NDArray[Any]) -> FloatArray:
    """What the network takes, float32 0…1, from bytes 0…255; floats are taken to be 0…1 already."""
    if pixels.dtype == np.uint8:
        pixels = np.divide(pixels, np.float32(255), dtype=np.float32)
    x: FloatArray = pixels.astype(np.float32, copy=False)
    return x


def input_to_pixels(x: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes 0…255 from pixels 0…1, exact for those that were bytes; bytes as they are."""
    if x.dtype == np.uint8:
        return x
    pixels: NDArray[np.uint8] = np.round(np.clip(x, 0, 1) * np.float32(255)).astype(np.uint8)
    return pixels


def shape_of(features: int) -> tuple[int, int]:
    """Rows and columns of images that come as flat pixels: a square, or a row if that can't be."""
    side = math.isqrt(features)
    return (side, side) if side * side == features else (1, features)
