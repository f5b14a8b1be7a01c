"""Data sets: images and their classes, divided into a training and a test set."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.types import FloatArray, IntArray

MOST_BYTES = 1 << 31
"""Limit for the unpacked pixels of one file: three times EMNIST, and what a small machine has."""

MOST_CLASSES = 256


class DatasetError(Exception):
    """The data can't be read or used; the message is one line with the file and the reason."""


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
    """Training images, and test images that are not used in training.

    label_names: of the classes, in the order of their numbers, if they have names.
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
        """A digest that differs for other data of the same name and size."""
        digest = hashlib.sha256(f"{self.train.images.shape} {self.label_names}".encode())
        for array in (self.train.images, self.train.labels):
            digest.update(array.tobytes())
        return digest.hexdigest()[:16]


def pixels_to_input(pixels: NDArray[Any]) -> FloatArray:
    """Inputs of the network, float32 0…1, from bytes 0…255 or from floats 0…1."""
    if pixels.dtype == np.uint8:
        pixels = np.divide(pixels, np.float32(255), dtype=np.float32)
    x: FloatArray = pixels.astype(np.float32, copy=False)
    return x


def input_to_pixels(x: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes 0…255 from pixels 0…1, exact for pixels that were bytes; bytes are returned unchanged."""
    if x.dtype == np.uint8:
        return x
    pixels: NDArray[np.uint8] = np.round(np.clip(x, 0, 1) * np.float32(255)).astype(np.uint8)
    return pixels


def shape_of(features: int) -> tuple[int, int]:
    """Rows and columns of flat images: a square if possible, else one row."""
    side = math.isqrt(features)
    return (side, side) if side * side == features else (1, features)
