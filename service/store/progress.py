"""How well the network has been doing: sums over the labelled examples of all train-steps, a row for each step.

A row holds how many examples there have been up to its step, how many were recognised, and their loss; and of its own
examples each one's label, loss and whether it was recognised. So the figures of the last N examples are the difference
of two sums, exactly N examples wherever a step began, and cost two look-ups however long the log is. Sums by class
stand in one row of about a hundred examples. Rows that no window reaches any more are removed.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
import sqlalchemy as sa
from numpy.typing import NDArray

from model.types import FloatArray, IntArray
from service.errors import StoreCorruptError
from service.store.database import Session
from service.store.records import Version, plain
from service.store.schema import progress_table

WINDOWS = (100, 1000, 10_000)
LARGEST_LOSS = 100.0
"""What the loss of one example counts at the most: a single 1e30 would leave nothing of all that is added to it."""

BY_CLASS_EVERY = 100
"""Examples between two rows that have the sums by class."""

OUTCOME = np.dtype([("label", "<u4"), ("loss", "<f4"), ("hit", "u1")])
SUMS = np.dtype([("count", "<i8"), ("hits", "<i8"), ("loss", "<f8")])
Sums = NDArray[Any]
"""(k,), of SUMS."""

columns = progress_table.c
EXAMPLES: sa.BindParameter[int] = sa.bindparam("examples", type_=sa.BigInteger)
BEYOND: sa.BindParameter[int] = sa.bindparam("beyond", type_=sa.BigInteger)
AFTER: sa.BindParameter[int] = sa.bindparam("after", type_=sa.BigInteger)
SELECT_NEWEST = sa.select(*columns).order_by(columns.model_version.desc()).limit(1)
EXAMPLES_SO_FAR = sa.select(columns.examples).order_by(columns.model_version.desc()).limit(1).scalar_subquery()
SELECT_REACHING = (  # what is so many examples beyond the newest row, or before it
    sa.select(*columns).where(columns.examples >= EXAMPLES_SO_FAR + BEYOND).order_by(columns.examples).limit(1)
)
SELECT_WITH_CLASSES = (
    sa.select(*columns)
    .where(columns.examples <= EXAMPLES, columns.by_class.is_not(None))
    .order_by(columns.examples.desc())
    .limit(1)
)
REACHING = progress_table.alias()
SELECT_AFTER = (  # up to the row that reaches so many examples
    sa.select(*columns)
    .where(
        columns.examples > AFTER,
        columns.examples
        <= sa.select(sa.func.min(REACHING.c.examples)).where(REACHING.c.examples >= EXAMPLES).scalar_subquery(),
    )
    .order_by(columns.examples)
)
INSERT = sa.insert(progress_table)
DELETE_BEFORE = sa.delete(progress_table).where(columns.examples < EXAMPLES)


@dataclass(frozen=True)
class Outcomes:
    """What came of a step's labelled examples, before it: (n,) each; losses in nats."""

    labels: IntArray
    losses: FloatArray
    hits: NDArray[np.bool_]

    @classmethod
    def of(cls, probabilities: FloatArray, labels: IntArray) -> "Outcomes":
        """probabilities: (n, k), as they were answered."""
        of_true_class = probabilities[np.arange(len(labels)), labels]
        losses = 0 - np.log(np.maximum(of_true_class, np.finfo(of_true_class.dtype).tiny))  # never -0.0
        return cls(labels, losses, probabilities.argmax(axis=1) == labels)

    @property
    def loss(self) -> float:
        """The mean."""
        return float(self.losses.mean(dtype=np.float64))

    @property
    def accuracy(self) -> float:
        return float(self.hits.mean())

    def to_bytes(self) -> bytes:
        array = np.empty(len(self.labels), OUTCOME)
        array["label"], array["hit"] = self.labels, self.hits
        array["loss"] = np.minimum(self.losses, LARGEST_LOSS)
        return array.tobytes()


@dataclass(frozen=True)
class Row:
    """The sums up to a step, and what the alarm goes by.

    examples, hits, loss: of all steps until this one; alarm_examples: over how many the running accuracy is taken;
    counted_from: of how many examples before it takes no notice; accuracy: the running one, None until there are
    enough; best_accuracy, best_version: the highest that it was, and where.
    """

    model_version: int
    examples: int
    hits: int
    loss: float
    alarm_examples: int
    counted_from: int
    accuracy: float | None
    best_accuracy: float | None
    best_version: int | None
    outcomes: bytes
    by_class: bytes | None

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> "Row":
        """Raises StoreCorruptError for what is not as it was written."""
        made = cls(*row[:-1])
        try:
            whole = made.digest() == row[-1]
        except TypeError:
            whole = False
        if not whole:
            raise StoreCorruptError("the running figures are corrupt: a digest does not fit")
        return made

    def digest(self) -> bytes:
        said = {name: plain(value) for name, value in vars(self).items()}
        return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).digest()

    def last_outcomes(self, count: int) -> NDArray[Any]:
        """Of this step's examples, those posted last."""
        found = np.frombuffer(self.outcomes, OUTCOME)
        return found[len(found) - count :]


NOTHING = Row(0, 0, 0, 0.0, 0, 0, None, None, None, b"", None)


@dataclass(frozen=True)
class Window:
    """Of the last labelled examples, as many as `examples` at the most: (k,) sums by class."""

    examples: int
    by_class: Sums

    @property
    def total(self) -> tuple[int, int, float]:
        """How many there are, how many of them were recognised, and their loss."""
        sums = self.by_class
        return int(sums["count"].sum()), int(sums["hits"].sum()), float(sums["loss"].sum())


class Progress:
    """What can be asked and said of it within one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def newest(self) -> Row:
        """Raises StoreCorruptError."""
        row = self._session.execute(SELECT_NEWEST).fetchone()
        return NOTHING if row is None else Row.of_row(row)

    def advance(self, before: Row, model_version: int, outcomes: Outcomes, alarm_examples: int) -> Row:
        """Add what came of a step. before: what `begun_anew` made of the newest row."""
        examples = before.examples + len(outcomes.labels)
        data = outcomes.to_bytes()
        array = np.frombuffer(data, OUTCOME)
        row = replace(
            before,
            model_version=model_version,
            examples=examples,
            hits=before.hits + int(array["hit"].sum()),
            loss=before.loss + float(array["loss"].sum(dtype=np.float64)),
            outcomes=data,
            by_class=None,
        )
        if row.alarm_examples != alarm_examples:
            row = replace(row, alarm_examples=alarm_examples, best_accuracy=None, best_version=None)
        if examples - row.counted_from >= alarm_examples:
            hits = self._hits_until(examples - alarm_examples, len(outcomes.labels) - alarm_examples, row)
            accuracy = (row.hits - hits) / alarm_examples
            row = replace(row, accuracy=accuracy)
            if row.best_accuracy is None or accuracy > row.best_accuracy:
                row = replace(row, best_accuracy=accuracy, best_version=model_version)
        else:
            row = replace(row, accuracy=None)
        with_classes = before.examples // BY_CLASS_EVERY != examples // BY_CLASS_EVERY
        if with_classes:
            sums = added(self.by_class(before.examples), array)
            row = replace(row, by_class=sums.tobytes())
        self._session.execute(INSERT, **vars(row), digest=row.digest())
        if with_classes:
            self._forget_before(examples - max(WINDOWS))
        return row

    def _hits_until(self, examples: int, beyond: int, newest: Row) -> int:
        """Among the first so many examples ever, `beyond` after those of the newest row that is written. newest: not
        written yet."""
        found = self._session.execute(SELECT_REACHING, beyond=beyond).fetchone()
        row = newest if found is None else Row.of_row(found)
        return row.hits - int(row.last_outcomes(row.examples - examples)["hit"].sum())

    def by_class(self, examples: int) -> Sums:
        """The sums over the first so many examples ever, for each class that there was."""
        found = self._session.execute(SELECT_WITH_CLASSES, examples=examples).fetchone()
        start = NOTHING if found is None else Row.of_row(found)
        sums = np.frombuffer(start.by_class or b"", SUMS)
        arrays = []
        at = start.examples
        for row in map(Row.of_row, self._session.execute(SELECT_AFTER, after=at, examples=examples)):
            array = np.frombuffer(row.outcomes, OUTCOME)[: examples - at]
            arrays.append(array)
            at = row.examples
        return added(sums, np.concatenate(arrays)) if arrays else sums

    def windows(self, newest: Row, classes: int) -> list[Window]:
        """One for each of WINDOWS. classes: how many there are."""
        until = padded(self.by_class(newest.examples), classes)
        found = []
        for size in WINDOWS:
            since = padded(self.by_class(max(0, newest.examples - size)), classes)
            difference = np.empty(len(until), SUMS)
            for name in SUMS.names or ():
                difference[name] = until[name] - since[name][: len(until)]
            found.append(Window(size, difference))
        return found

    def _forget_before(self, examples: int) -> None:
        """What no window that ends from here on begins with."""
        found = self._session.execute(SELECT_WITH_CLASSES, examples=examples).fetchone()
        if found is not None:
            self._session.execute(DELETE_BEFORE, examples=Row.of_row(found).examples)


def asked_by_a_step(count: int, alarm_examples: int) -> tuple[tuple[Any, dict[str, Any]], ...]:
    """What `newest` and `advance` ask for a step of `count` examples."""
    return (SELECT_NEWEST, {}), (SELECT_REACHING, {"beyond": count - alarm_examples})


def begun_anew(row: Row, since: Iterable[Version]) -> Row:
    """What the alarm goes by after the versions that followed a row: whoever loads, rolls back, pauses or goes on has
    looked at it, so that it begins anew; after its own act it keeps its best, and counts afresh."""
    for version in since:
        row = replace(row, counted_from=row.examples, accuracy=None)
        if version.event != "alarm":
            row = replace(row, best_accuracy=None, best_version=None)
    return row


def added(sums: Sums, outcomes: NDArray[Any]) -> Sums:
    labels = outcomes["label"].astype(np.intp)
    total = padded(sums, int(labels.max(initial=-1)) + 1)
    np.add.at(total["count"], labels, 1)
    np.add.at(total["hits"], labels, outcomes["hit"])
    np.add.at(total["loss"], labels, outcomes["loss"])
    return total


def padded(sums: Sums, classes: int) -> Sums:
    """A copy for so many classes, or more."""
    total = np.zeros(max(len(sums), classes), SUMS)
    total[: len(sums)] = sums
    return total
