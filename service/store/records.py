"""What the log records, and its bytes: a version, the examples of a step, and what leads from a version to the next.

Each record carries a digest of all that it says and of the digest of the record before: a bit that has changed is
found, and so is a history that is not the one that went before.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from model.online import Rehearsal
from model.types import IntArray
from service.errors import StoreCorruptError

Kind = Literal["load", "train-step", "rollback"]

Event = Literal["pause", "resume", "alarm"]
"""A version with the weights of the one before it, a rollback to that, whose point is something else; an alarm may have
gone back further."""

NOTHING_BEFORE = bytes(32)
"""The digest before the first record."""


@dataclass(frozen=True)
class Version:
    """What is recorded of a version; the fields of a train-step are None for the other kinds.

    created_at: seconds since the epoch; count, loss, accuracy: of the posted examples, before the step; learning_rate:
    what the gradient was multiplied with, after clipping; rehearsed: how many remembered examples took part;
    memory_size: how many the memory might hold, None where it took no part; clip_norm: the limit, where it cut in;
    source_version: what a rollback went back to; event: what else it is than a change of the weights, and the reason;
    paused: why nothing is learnt as from this version, None where something is; request_digest: of the request that had
    the idempotency_key.
    """

    model_version: int
    kind: Kind
    created_at: float
    count: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    clip_norm: float | None = None
    rehearsed: int | None = None
    memory_size: int | None = None
    source_version: int | None = None
    event: Event | None = None
    reason: str | None = None
    paused: str | None = None
    idempotency_key: str | None = None
    request_digest: bytes | None = None


@dataclass(frozen=True)
class Examples:
    """Labelled images: pixels, (n, features), uint8 0…255 or float32 0…1; labels, (n,) class numbers."""

    pixels: NDArray[Any]
    labels: IntArray


@dataclass(frozen=True)
class StoredExamples:
    """Examples as bytes: pixels in rows, little-endian; labels a byte each, or four where a class is above 255."""

    pixel_type: str
    labels: bytes
    pixels: bytes

    @classmethod
    def of(cls, examples: Examples) -> "StoredExamples":
        pixels, labels = examples.pixels, examples.labels
        pixel_type = "|u1" if pixels.dtype == np.uint8 else "<f4"
        return cls(
            pixel_type,
            labels.astype("<u1" if labels.max(initial=0) < 256 else "<u4").tobytes(),
            pixels.astype(pixel_type, copy=False).tobytes(),
        )

    def examples(self, count: int) -> Examples:
        """What a step is computed from, the first time and every other time: nothing but these bytes matters, not how
        an array was laid out when it came."""
        labels = np.frombuffer(self.labels, "<u1" if len(self.labels) == count else "<u4")
        return Examples(np.frombuffer(self.pixels, self.pixel_type).reshape(count, -1), labels.astype(np.intp))

    def digest(self) -> bytes:
        parts = (self.pixel_type.encode(), len(self.labels).to_bytes(8, "big"), self.labels, self.pixels)
        return hashlib.sha256(b"".join(parts)).digest()


@dataclass(frozen=True)
class Link:
    """How a record hangs in the chain.

    unsnapped_bytes: of the pixels since the newest snapshot, this record's included; content_digest: of the examples;
    snapshot_digest: of the snapshot that was taken with it; previous: the digest of the record before; digest: of all
    of this record.
    """

    unsnapped_bytes: int
    content_digest: bytes | None
    snapshot_digest: bytes | None
    previous: bytes
    digest: bytes

    @classmethod
    def of(
        cls,
        version: Version,
        unsnapped_bytes: int,
        content_digest: bytes | None,
        snapshot_digest: bytes | None,
        previous: bytes,
    ) -> "Link":
        fields = vars(version) | {
            "unsnapped_bytes": unsnapped_bytes,
            "content_digest": content_digest,
            "snapshot_digest": snapshot_digest,
            "previous": previous,
        }
        said = orjson.dumps(  # what is None is left out: a column that comes later changes no digest of before
            {name: plain(value) for name, value in fields.items() if value is not None}, option=orjson.OPT_SORT_KEYS
        )
        return cls(unsnapped_bytes, content_digest, snapshot_digest, previous, hashlib.sha256(said).digest())


def plain(value: Any) -> Any:
    """As a digest takes it, which has to be the same before and after a database: SQLite has no -0.0."""
    if isinstance(value, float):
        return value + 0.0
    return value.hex() if isinstance(value, bytes) else value


@dataclass(frozen=True)
class Record:
    """A version and how it hangs in the chain, read back and found to be what was written."""

    version: Version
    link: Link

    @classmethod
    def of_row(cls, row: tuple[Any, ...]) -> "Record":
        """From the values of RECORD_FIELDS. Raises StoreCorruptError."""
        count = len(Version.__dataclass_fields__)
        version, link = Version(*row[:count]), Link(*row[count:])
        try:
            expected = Link.of(version, *row[count:-1])
        except TypeError:
            expected = None
        if expected != link:
            raise StoreCorruptError(f"version {version.model_version} is corrupt: its digest does not fit")
        return cls(version, link)


RECORD_FIELDS = (*Version.__dataclass_fields__, *Link.__dataclass_fields__)


@dataclass(frozen=True)
class Step:
    """What is needed to take a train-step again."""

    model_version: int
    learning_rate: float
    rehearsal: Rehearsal
    examples: Examples

    @classmethod
    def of(cls, record: Record, stored: StoredExamples) -> "Step":
        """Raises StoreCorruptError for examples that are not those of the record."""
        version = record.version
        if not stored_is(stored, record):
            raise StoreCorruptError(
                f"version {version.model_version} is corrupt: its examples are not what was written"
            )
        assert version.learning_rate is not None
        assert version.count is not None
        rehearsal = Rehearsal(version.model_version, version.rehearsed or 0, version.memory_size or 0)
        return cls(version.model_version, version.learning_rate, rehearsal, stored.examples(version.count))


def stored_is(stored: StoredExamples, record: Record) -> bool:
    """Whether the examples in a row are those that its record speaks of."""
    try:
        return stored.digest() == record.link.content_digest
    except (AttributeError, TypeError):  # the row holds something else in their place
        return False


@dataclass(frozen=True)
class Entry:
    """What leads to a version from the one before it: a snapshot of the weights (a weights file), a step, or both."""

    record: Record
    snapshot: bytes | None
    step: Step | None


def snapshot_digest(snapshot: bytes) -> bytes:
    return hashlib.sha256(snapshot).digest()
