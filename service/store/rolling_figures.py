"""The rolling metrics: accuracy and loss over the last labelled examples, a row for each train-step.

Three kinds of examples are counted apart. `served`: those that somebody posted or labelled without being asked for
them, with the answer of the version that was served at that moment. `chosen`: those that the service listed as the most
uncertain ones, which is a biased sample. `pinned`: answers of a version that the client named.

A row has the sums over all examples up to its step: how many there were, how many were recognised, and their loss. It
also has the outcome of each of its own examples. So the metrics of the last N examples are a difference of two sums,
over exactly N examples wherever a step began, and take two queries however long the log is. About every hundredth
example, a row has the sums of each class as well. Rows that no window reaches any more are deleted.

Each step has a row of the kind `served`, if without examples. It also has the state of the drift alarm.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from model.types import FloatArray, IntArray
from service.errors import StoreCorruptError
from service.store.database import Query, Session
from service.store.records import Version, digest_of
from service.store.schema import progress_table

WINDOWS = (100, 1000, 10_000)
LARGEST_LOSS = 100.0  # of one example; a single loss of 1e30 would make all others vanish from the sum
BY_CLASS_EVERY = 100  # examples
BEST_OF = 1000  # examples, of the best accuracy

OUTCOME = np.dtype([("label", "<u4"), ("loss", "<f4"), ("hit", "u1")])
SUMS = np.dtype([("count", "<i8"), ("hits", "<i8"), ("loss", "<f8")])
Sums = NDArray[Any]
"""(k,), of SUMS."""

Kind = Literal["served", "chosen", "pinned"]

columns = progress_table.c
KIND: sa.BindParameter[str] = sa.bindparam("kind", type_=sa.String)
EXAMPLES: sa.BindParameter[int] = sa.bindparam("examples", type_=sa.BigInteger)
OFFSET: sa.BindParameter[int] = sa.bindparam("offset", type_=sa.BigInteger)
AFTER: sa.BindParameter[int] = sa.bindparam("after", type_=sa.BigInteger)
OF_KIND = sa.select(*columns).where(columns.kind == KIND)
# In the order of the index: by the version alone, SQLite would sort all rows of the kind.
SELECT_NEWEST = OF_KIND.order_by(columns.examples.desc(), columns.model_version.desc()).limit(1)
NEWEST_EXAMPLES = sa.select(sa.func.max(columns.examples)).where(columns.kind == KIND).scalar_subquery()
SELECT_AT_OFFSET = (  # the first row that reaches the newest row's number of examples plus an offset
    OF_KIND.where(columns.examples >= NEWEST_EXAMPLES + OFFSET)
    .order_by(columns.examples, columns.model_version)
    .limit(1)
)
SELECT_BY_CLASS = (
    OF_KIND.where(columns.examples <= EXAMPLES, columns.by_class.is_not(None))
    .order_by(columns.examples.desc())
    .limit(1)
)
REACHING = progress_table.alias()
SELECT_AFTER = (  # up to the first row that reaches a number of examples
    OF_KIND.where(
        columns.examples > AFTER,
        columns.examples
        <= sa.select(sa.func.min(REACHING.c.examples))
        .where(REACHING.c.kind == KIND, REACHING.c.examples >= EXAMPLES)
        .scalar_subquery(),
    ).order_by(columns.examples, columns.model_version)
)
INSERT = sa.insert(progress_table)
DELETE_BEFORE = sa.delete(progress_table).where(columns.kind == KIND, columns.examples < EXAMPLES)
DELETE_EMPTY = sa.delete(progress_table).where(
    columns.kind == KIND, columns.examples == EXAMPLES, columns.outcomes == sa.literal(b"", sa.LargeBinary)
)


@dataclass(frozen=True)
class Outcomes:
    """How a step's labelled examples were answered before the step: (n,) each; losses in nats."""

    labels: IntArray
    losses: FloatArray
    hits: NDArray[np.bool_]

    @classmethod
    def of(cls, probabilities: FloatArray, labels: IntArray) -> "Outcomes":
        """probabilities: (n, k), as they were answered."""
        of_true_class = probabilities[np.arange(len(labels)), labels]
        losses = 0 - np.log(np.maximum(of_true_class, np.finfo(of_true_class.dtype).tiny))  # never -0.0
        return cls(labels, losses, probabilities.argmax(axis=1) == labels)

    def where(self, chosen: NDArray[np.bool_]) -> "Outcomes":
        return Outcomes(self.labels[chosen], self.losses[chosen], self.hits[chosen])

    @property
    def loss(self) -> float:
        """The mean."""
        return float(self.losses.mean(dtype=np.float64))

    @property
    def accuracy(self) -> float:
        return float(self.hits.mean())

    def to_array(self) -> NDArray[Any]:
        """(n,), of OUTCOME."""
        array = np.empty(len(self.labels), OUTCOME)
        array["label"], array["hit"] = self.labels, self.hits
        array["loss"] = np.minimum(self.losses, LARGEST_LOSS)
        return array


@dataclass(frozen=True)
class Row:
    """The sums up to a step.

    examples, hits, loss: of all steps up to this one; counted_from: how many of the first examples came before the
    model was last loaded or rolled back, or learning paused or resumed; accuracy: over the last BEST_OF examples since
    then, None until there are as many; best_accuracy: the highest so far; watch: the state of the drift alarm.
    """

    model_version: int = 0
    kind: Kind = "served"
    examples: int = 0
    hits: int = 0
    loss: float = 0.0
    counted_from: int = 0
    accuracy: float | None = None
    best_accuracy: float | None = None
    watch: str | None = None
    outcomes: bytes = b""
    by_class: bytes | None = None

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> "Row":
        """Raises StoreCorruptError for a row that is not as it was written."""
        made = cls(*row[:-1])
        try:
            whole = row[-1] == digest_of(vars(made))
        except TypeError:
            whole = False
        if not whole:
            raise StoreCorruptError("the rolling metrics are corrupt: a digest does not match")
        return made

    def last_outcomes(self, count: int | None = None) -> NDArray[Any]:
        """Of this step's last examples; None: of all."""
        outcomes = np.frombuffer(self.outcomes, OUTCOME)
        return outcomes if count is None else outcomes[len(outcomes) - count :]


NOTHING = Row()


@dataclass(frozen=True)
class Window:
    """The sums of each class, (k,), over at most the last `examples` labelled examples."""

    examples: int
    by_class: Sums

    @property
    def total(self) -> tuple[int, int, float]:
        """The number of examples, how many of them were recognised, and their loss."""
        sums = self.by_class
        return int(sums["count"].sum()), int(sums["hits"].sum()), float(sums["loss"].sum())


class RollingFigures:
    """The rolling metrics of a kind of examples within one transaction."""

    def __init__(self, session: Session, kind: Kind = "served") -> None:
        self._session = session
        self._kind = kind

    def newest(self) -> Row:
        """Raises StoreCorruptError."""
        return self._row(SELECT_NEWEST) or Row(kind=self._kind)

    def _row(self, statement: Any, **parameters: Any) -> Row | None:
        row = self._session.execute(statement, kind=self._kind, **parameters).fetchone()
        return None if row is None else Row.of_row(row)

    def after(self, before: Row, model_version: int, outcomes: Outcomes) -> Row:
        """The row of a step, to be appended. before: the newest row, as `restarted` returns it."""
        array = outcomes.to_array()
        examples = before.examples + len(array)
        row = replace(
            before,
            model_version=model_version,
            examples=examples,
            hits=before.hits + int(array["hit"].sum()),
            loss=before.loss + float(array["loss"].sum(dtype=np.float64)),
            outcomes=array.tobytes(),
            by_class=None,
        )
        if len(array) and examples - row.counted_from >= BEST_OF:
            hits = self._hits_until(examples - BEST_OF, len(array) - BEST_OF, row)
            accuracy = (row.hits - hits) / BEST_OF
            row = replace(row, accuracy=accuracy, best_accuracy=max(accuracy, row.best_accuracy or 0.0))
        return row

    def append(self, row: Row) -> None:
        before = row.examples - len(row.last_outcomes())
        if not row.outcomes:  # of several empty rows in succession, the newest is enough
            self._session.execute(DELETE_EMPTY, kind=self._kind, examples=before)
        with_classes = before // BY_CLASS_EVERY != row.examples // BY_CLASS_EVERY
        if with_classes:
            row = replace(row, by_class=added(self.by_class(before), row.last_outcomes()).tobytes())
        self._session.execute(INSERT, **vars(row), digest=digest_of(vars(row)))
        oldest = self._row(SELECT_BY_CLASS, examples=row.examples - max(WINDOWS)) if with_classes else None
        if oldest is not None:
            self._session.execute(DELETE_BEFORE, kind=self._kind, examples=oldest.examples)

    def _hits_until(self, examples: int, offset: int, newest: Row) -> int:
        """Among the first `examples` of all. offset: from the newest row in the database; newest: not written yet."""
        row = self._row(SELECT_AT_OFFSET, offset=offset) or newest
        return row.hits - int(row.last_outcomes(row.examples - examples)["hit"].sum())

    def last(self, newest: Row, count: int) -> list[Row]:
        """The rows of the last `count` examples, oldest first. newest: perhaps not written yet."""
        after, before = newest.examples - count, newest.examples - len(newest.last_outcomes())
        rows = self._session.execute(SELECT_AFTER, kind=self._kind, after=after, examples=before)
        earlier = [row for row in map(Row.of_row, rows) if row.model_version != newest.model_version]
        return [*earlier, newest]

    def by_class(self, examples: int) -> Sums:
        """The sums over the first `examples` of all, for each class that occurred."""
        start = self._row(SELECT_BY_CLASS, examples=examples) or NOTHING
        sums, at = np.frombuffer(start.by_class or b"", SUMS), start.examples
        arrays = [np.empty(0, OUTCOME)]
        rows = self._session.execute(SELECT_AFTER, kind=self._kind, after=at, examples=examples)
        for row in map(Row.of_row, rows):
            arrays.append(np.frombuffer(row.outcomes, OUTCOME)[: examples - at])
            at = row.examples
        return added(sums, np.concatenate(arrays))

    def windows(self, newest: Row, classes: int) -> list[Window]:
        """One for each of WINDOWS. classes: of the served version. A class that a rollback took back is there as long
        as the window has an example of it."""
        until = padded(self.by_class(newest.examples), classes)
        windows = []
        for size in WINDOWS:
            since = padded(self.by_class(max(0, newest.examples - size)), len(until))
            difference = np.empty(len(until), SUMS)
            for name in SUMS.names or ():
                difference[name] = until[name] - since[name]
            occurring = int(np.flatnonzero(difference["count"]).max(initial=-1)) + 1
            windows.append(Window(size, difference[: max(classes, occurring)]))
        return windows


def queries_of_a_step(count: int) -> tuple[Query, ...]:
    """The queries of `newest` and `after` for a step of `count` examples."""
    kind = {"kind": "served"}
    return (SELECT_NEWEST, kind), (SELECT_AT_OFFSET, kind | {"offset": count - BEST_OF})


def restarted(row: Row, since: Iterable[Version]) -> Row:
    """After the versions that followed a row. A client that loads, rolls back, pauses or resumes has looked at the
    model, so the best accuracy begins anew; it is kept after an act of the alarm."""
    for version in since:
        row = replace(row, counted_from=row.examples, accuracy=None)
        if version.event != "alarm":
            row = replace(row, best_accuracy=None)
    return row


def added(sums: Sums, outcomes: NDArray[Any]) -> Sums:
    labels = outcomes["label"].astype(np.intp)
    total = padded(sums, int(labels.max(initial=-1)) + 1)
    np.add.at(total["count"], labels, 1)
    np.add.at(total["hits"], labels, outcomes["hit"])
    np.add.at(total["loss"], labels, outcomes["loss"])
    return total


def padded(sums: Sums, classes: int) -> Sums:
    """A copy for at least this many classes."""
    total = np.zeros(max(len(sums), classes), SUMS)
    total[: len(sums)] = sums
    return total
