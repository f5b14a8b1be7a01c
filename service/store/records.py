"""What the log records, and its bytes: a version, the examples of a step, and what leads from a version to the next."""

import zlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from model.online import OnlineOptimizer
from model.types import IntArray
from service.errors import StoreCorruptError

Kind = Literal["load", "train-step", "rollback"]


@dataclass(frozen=True)
class Version:
    """What is recorded of a version; the fields of a train-step are None for the other kinds.

    created_at: seconds since the epoch; loss, accuracy: of the batch before the step; learning_rate: what the
    gradient was multiplied with, after clipping; clip_norm: the limit, where it cut in; source_version: what a
    rollback went back to.
    """

    model_version: int
    kind: Kind
    created_at: float
    count: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    learning_rate: float | None = None
    optimizer: OnlineOptimizer | None = None
    gradient_norm: float | None = None
    clip_norm: float | None = None
    source_version: int | None = None
    idempotency_key: str | None = None
    request_digest: bytes | None = None


@dataclass(frozen=True)
class Examples:
    """Labelled images as they came: pixels, (n, features), uint8 0…255 or float32 0…1; labels, (n,) class numbers."""

    pixels: NDArray[Any]
    labels: IntArray


@dataclass(frozen=True)
class Step:
    """What is needed to take a train-step again."""

    model_version: int
    learning_rate: float
    optimizer: OnlineOptimizer
    examples: Examples


@dataclass(frozen=True)
class Entry:
    """What leads to a version from the one before it: a snapshot of the weights (a weights file), or a step."""

    model_version: int
    snapshot: bytes | None
    step: Step | None


def stored_pixels(pixels: NDArray[Any]) -> bytes:
    return pixels.tobytes()


def stored_labels(labels: IntArray) -> bytes:
    """A byte each, or four where there are classes above 255."""
    return labels.astype("<u1" if labels.max(initial=0) < 256 else "<u4").tobytes()


def checksum(pixels: bytes, labels: bytes, learning_rate: float | None, optimizer: str | None) -> int:
    return zlib.crc32(f"{learning_rate!r} {optimizer}".encode(), zlib.crc32(labels, zlib.crc32(pixels)))


def stored_step(  # noqa: PLR0917  a row, spread out
    model_version: int,
    rate: float,
    optimizer: OnlineOptimizer,
    count: int,
    written: int,
    pixel_type: str,
    labels: bytes,
    pixels: bytes,
) -> Step:
    """The step in a row of STEP_COLUMNS. Raises StoreCorruptError when it is not what was written."""
    if checksum(pixels, labels, rate, optimizer) != written:
        raise StoreCorruptError(f"version {model_version} is corrupt: its checksum does not fit")
    numbers = np.frombuffer(labels, "<u1" if len(labels) == count else "<u4")
    images = np.frombuffer(pixels, pixel_type).reshape(count, -1)
    return Step(model_version, rate, optimizer, Examples(images, numbers.astype(np.intp)))
