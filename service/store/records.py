"""What the log records, and its bytes: a version, the examples of a step, and the chain of digests.

Each record carries a digest of its own fields and of the previous record's digest. So a changed bit is detected, and so
is a history that was replaced by another one.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from model.online_step import Rehearsal
from model.types import IntArray
from service.errors import StoreCorruptError

Kind = Literal["load", "train-step", "rollback", "unlearn", "relabel", "grow"]

Event = Literal["pause", "resume", "alarm"]
"""Why a version repeats the weights of the one before it, as a rollback to that one; an alarm may go back further."""

NO_DIGEST = bytes(32)
"""The `previous` of the first record."""


def digest_of(fields: dict[str, Any]) -> bytes:
    """A field that is None is left out, so that a column that is added later changes no earlier digest.

    Raises TypeError for a value that no record has.
    """
    plain = {name: plain_value(value) for name, value in fields.items() if value is not None}
    return hashlib.sha256(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)).digest()


def plain_value(value: Any) -> Any:
    """The same before and after a database: SQLite has no -0.0."""
    if isinstance(value, float):
        return value + 0.0
    return value.hex() if isinstance(value, bytes) else value


def bytes_digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


@dataclass(frozen=True)
class Version:
    """What is recorded of a version; the fields of a train-step are None for the other kinds.

    created_at: seconds since the epoch; count, loss, accuracy: of the posted examples, before the step; learning_rate:
    the factor of the gradient, after clipping; rehearsed: how many examples were rehearsed; memory_size: the limit of
    the replay memory, None where it took no part; clip_norm: the limit, where it clipped the gradient; source: who or
    what taught a train-step; source_version: of a rollback, or the train-step of a relabel; paused: why learning is
    paused as from this version, None where it is not; unlearned_steps, new_labels: the train-steps that an unlearn took
    out, the labels of a relabel, as `numbers_text` writes them; `count` is then the number of their examples;
    label_name, classes: of a grow, the name of the class that it added, if classes have names, and their number;
    request_digest: of the request that had the idempotency_key.
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
    source: str | None = None
    source_version: int | None = None
    unlearned_steps: str | None = None
    new_labels: str | None = None
    label_name: str | None = None
    classes: int | None = None
    event: Event | None = None
    reason: str | None = None
    paused: str | None = None
    idempotency_key: str | None = None
    request_digest: bytes | None = None

    @property
    def repeats_the_one_before(self) -> bool:
        """Whether its weights are those of the version before it."""
        return self.kind == "rollback" and self.source_version == self.model_version - 1

    @property
    def unlearned(self) -> list[int] | None:
        """Of an unlearn: the train-steps that it took out."""
        return numbers_of(self.unlearned_steps)

    @property
    def examples(self) -> int:
        """Of the train-steps that it changed, or of the one that it is."""
        return self.count or 0

    @property
    def labels(self) -> list[int] | None:
        """Of a relabel."""
        return numbers_of(self.new_labels)

    @property
    def numbers_listed(self) -> int:
        """How many there are in `unlearned` and `labels`."""
        return sum(text.count(",") + 1 for text in (self.unlearned_steps, self.new_labels) if text is not None)


def numbers_text(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))


def numbers_of(text: str | None) -> list[int] | None:
    return None if text is None else [int(number) for number in text.split(",")]


@dataclass(frozen=True)
class Examples:
    """Labelled images: pixels, (n, features), uint8 0…255 or float32 0…1; labels, (n,) class numbers."""

    pixels: NDArray[Any]
    labels: IntArray


@dataclass(frozen=True)
class StoredExamples:
    """Examples as bytes: pixels in rows, little-endian; labels of one byte each, or four where a class is over 255."""

    pixel_type: str
    labels: bytes
    pixels: bytes

    @classmethod
    def of(cls, examples: Examples) -> "StoredExamples":
        pixel_type = pixel_type_of(examples.pixels)
        labels = examples.labels.astype("<u1" if examples.labels.max(initial=0) < 256 else "<u4")
        return cls(pixel_type, labels.tobytes(), examples.pixels.astype(pixel_type, copy=False).tobytes())

    def examples(self, count: int) -> Examples:
        """What a step is computed from, the first time and in each replay. Only these bytes matter, not the layout of
        the array that was posted."""
        labels = np.frombuffer(self.labels, "<u1" if len(self.labels) == count else "<u4")
        return Examples(np.frombuffer(self.pixels, self.pixel_type).reshape(count, -1), labels.astype(np.intp))

    def digest(self) -> bytes:
        return bytes_digest(self.pixel_type.encode(), len(self.labels).to_bytes(8, "big"), self.labels, self.pixels)


def pixel_type_of(pixels: NDArray[Any]) -> str:
    return "|u1" if pixels.dtype == np.uint8 else "<f4"


@dataclass(frozen=True)
class Link:
    """A record's place in the chain.

    unsnapped_bytes: of pixels since the newest snapshot, with this record's; content_digest: of the examples;
    snapshot_digest: of its snapshot, which other records may have as well; previous: the previous record's digest;
    digest: of all of this record.
    """

    unsnapped_bytes: int
    content_digest: bytes | None
    snapshot_digest: bytes | None
    previous: bytes
    digest: bytes = b""

    def sealed(self, version: Version) -> "Link":
        """With the digest of that version's record. Raises TypeError."""
        fields = vars(version) | vars(self)
        del fields["digest"]
        return replace(self, digest=digest_of(fields))


@dataclass(frozen=True)
class Record:
    """A version and its place in the chain, as it was written."""

    version: Version
    link: Link

    @classmethod
    def of_row(cls, row: tuple[Any, ...]) -> "Record":
        """From the values of RECORD_FIELDS. Raises StoreCorruptError."""
        count = len(Version.__dataclass_fields__)
        version, link = Version(*row[:count]), Link(*row[count:])
        try:
            whole = link == link.sealed(version)
        except TypeError:
            whole = False
        if not whole:
            raise StoreCorruptError(f"version {version.model_version} is corrupt: its digest does not match")
        return cls(version, link)


RECORD_FIELDS = (*Version.__dataclass_fields__, *Link.__dataclass_fields__)


@dataclass(frozen=True)
class Step:
    """What it takes to replay a train-step; source: who or what taught it."""

    model_version: int
    learning_rate: float
    rehearsal: Rehearsal
    examples: Examples
    source: str | None = None

    @classmethod
    def of(cls, record: Record, stored: StoredExamples) -> "Step":
        """Raises StoreCorruptError for other examples than the record's."""
        version = record.version
        try:
            whole = stored.digest() == record.link.content_digest
        except (AttributeError, TypeError):  # the row has values of other types
            whole = False
        if not whole:
            raise StoreCorruptError(f"version {version.model_version} is corrupt: its examples are not as written")
        assert version.learning_rate is not None
        assert version.count is not None
        rehearsal = Rehearsal(version.model_version, version.rehearsed or 0, version.memory_size or 0)
        return cls(
            version.model_version, version.learning_rate, rehearsal, stored.examples(version.count), version.source
        )


@dataclass(frozen=True)
class Entry:
    """What leads from the previous version to this one: a snapshot of the weights (a weights file), a step, both, or
    nothing where it repeats the previous one."""

    record: Record
    snapshot: bytes | None
    step: Step | None

    @classmethod
    def of(cls, record: Record, snapshot: bytes | None, stored: StoredExamples | None) -> "Entry":
        """stored: ignored unless the version is a train-step. Raises StoreCorruptError."""
        taken = bytes_digest(snapshot) if isinstance(snapshot, bytes) else None
        if taken != record.link.snapshot_digest:
            number = record.version.model_version
            raise StoreCorruptError(f"the snapshot of version {number} is corrupt: its digest does not match")
        is_step = stored is not None and record.version.kind == "train-step"
        return cls(record, snapshot, Step.of(record, stored) if is_step and stored is not None else None)
