"""What the log asks of a database."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import sqlalchemy as sa
from sqlalchemy.sql.ddl import CreateIndex, CreateTable

Parameters = dict[str, Any]


class Rows(Protocol):
    """The rows that a statement returns."""

    def fetchone(self) -> Any: ...

    def close(self) -> None: ...

    def __iter__(self) -> Iterator[Any]: ...


class Session(ABC):
    """A connection within one transaction.

    Statements are written with SQLAlchemy, compiled once, and run by the driver itself: each takes part in a predict
    or a step, and SQLAlchemy's own execute costs ten times what SQLite does.
    """

    dialect: ClassVar[sa.Dialect]

    @abstractmethod
    def execute(self, statement: Any, **parameters: Any) -> Any:
        """statement: one that is kept, so that it is compiled only once."""

    @abstractmethod
    def stream(self, statement: Any, **parameters: Any) -> Any:
        """As `execute`, for rows that may be too many, or too large, to be held at once."""

    @abstractmethod
    def run(self, text: str) -> Any:
        """A statement in the database's own words."""

    @abstractmethod
    def now(self) -> float:
        """Seconds since the epoch, by the clock that all hosts share."""

    @abstractmethod
    def table_names(self) -> set[str]: ...

    def execute_many(self, statement: Any, rows: Sequence[Parameters]) -> None:
        for row in rows:
            self.execute(statement, **row)

    def scalar(self, statement: Any, **parameters: Any) -> Any:
        """The first column of the first row, None where there is no row."""
        row = self.execute(statement, **parameters).fetchone()
        return None if row is None else row[0]

    def create_table(self, table: sa.Table) -> None:
        self.run(str(CreateTable(table).compile(dialect=self.dialect)))
        for index in table.indexes:
            self.run(str(CreateIndex(index).compile(dialect=self.dialect)))

    # The rest is for a database across a network.

    def ahead(self, *asked: tuple[Any, Parameters]) -> None:  # noqa: B027
        """Run these, which `execute` is sure to be asked, in one round trip with the lock."""

    def appended(self, model_version: int, digest: bytes) -> None:  # noqa: B027
        """Notify others of this version, which was written."""

    def made_if(self, statement: Any, gives: Any, **parameters: Any) -> None:  # noqa: B027
        """How to tell afterwards whether this transaction was committed: by what a statement returns then."""


@lru_cache(None)
def compiled(statement: sa.ClauseElement, dialect: sa.Dialect) -> tuple[str, Parameters]:
    """A statement as text, and its constants."""
    result = statement.compile(dialect=dialect)
    return str(result), {name: value for name, value in result.params.items() if value is not None}


class Database(ABC):
    """Where the log is. Safe to use from any number of threads and processes, and after a fork."""

    name: str
    """What it is called in messages."""
    replaced: str
    """The message when it is another store than the one that was opened."""

    @abstractmethod
    def head(self) -> int:
        """The newest version, 0 when there is none. Raises StoreError."""

    @abstractmethod
    def is_newest(self, model_version: int) -> bool:
        """Whether there is none newer, as far as a predict has to know. Raises StoreError."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Session]:
        """One consistent view. Raises StoreError."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Session]:
        """The one writer of this moment; what was written is durable when the block has ended, or not there at all.

        Raises StoreError: StoreBusyError when it can't be had in time.
        """

    @abstractmethod
    def opening(self) -> AbstractContextManager[bool]:
        """Around what a start does: alone with those that start on the same store at the same moment. Gives whether
        the database may be checked meanwhile. Raises StartupError, StoreError."""

    @abstractmethod
    def goes_on_alone(self) -> bool:
        """Whether predicts go on from the newest version that is known, though the store can't be asked."""

    @abstractmethod
    def is_replaced(self) -> bool: ...

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """engine, bytes. Raises StoreError."""

    @abstractmethod
    def release(self) -> None:
        """Close the connections that are not in use: before a fork. The next call opens another."""

    @abstractmethod
    def close(self) -> None: ...

    def exists(self) -> bool:
        """Whether there is a database that may hold a store."""
        return True

    def check_whole(self, up_to_bytes: float = 0) -> None:  # noqa: B027
        """Raises StoreCorruptError for a damaged database. up_to_bytes: a larger one is not checked."""

    # The rest is for a database that hosts share.

    def served_as(self, store_id: str) -> None:  # noqa: B027
        """From here on it is this store and no other."""

    def follow(self, catch_up: Callable[[], tuple[int, bytes]]) -> None:  # noqa: B027
        """catch_up: takes over what is new in the log and returns the newest version, and its digest; raises
        StoreError."""

    def staleness(self) -> float | None:
        """For how many seconds it has not been known whether there is a newer version; None where it is known."""
        return None

    def recorded(self) -> dict[str, Any]:
        """The settings that the last service to start had. Raises StoreError."""
        return {}

    def record(self, settings: dict[str, Any]) -> None:  # noqa: B027
        """Keep settings in the store, if this user may. Raises StoreError."""

    def users(self) -> list[str]:
        """The hosts that use the store now, each with the number of its workers. Raises StoreError."""
        return []
