"""What the log requires of a database."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.sql.ddl import CreateIndex, CreateTable

Parameters = dict[str, Any]
Query = tuple[Any, Parameters]
"""A statement and its parameters."""


class Session(ABC):
    """A connection within one transaction.

    Statements are written with SQLAlchemy, compiled once, and executed by the driver itself: SQLAlchemy's own execute
    takes ten times as long as SQLite does, and each predict and step executes some.
    """

    dialect: ClassVar[sa.Dialect]

    @abstractmethod
    def execute(self, statement: Any, **parameters: Any) -> Any:
        """statement: one that lives as long as the process, so that it is compiled only once."""

    @abstractmethod
    def stream(self, statement: Any, **parameters: Any) -> Any:
        """As `execute`, for rows that together may not fit into memory."""

    @abstractmethod
    def run(self, text: str) -> Any:
        """A statement in the database's own dialect."""

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

    # What follows matters only across a network.

    def prefetch(self, *queries: Query) -> None:  # noqa: B027
        """Run queries that `execute` will certainly run next, in one round trip with the lock."""

    def notify(self, model_version: int, digest: bytes) -> None:  # noqa: B027
        """Tell other processes of the version that this transaction appended."""

    def confirm_by(self, statement: Any, result: Any, **parameters: Any) -> None:  # noqa: B027
        """If the commit's outcome gets lost, the transaction was committed if the statement returns this result."""


@lru_cache(None)
def compiled(statement: sa.ClauseElement, dialect: sa.Dialect) -> tuple[str, Parameters]:
    """A statement as text, and its constants."""
    result = statement.compile(dialect=dialect)
    return str(result), {name: value for name, value in result.params.items() if value is not None}


class Database(ABC):
    """Where the log is stored. Safe to use from any number of threads and processes, and after a fork."""

    name: str
    """For messages."""
    replaced: str
    """The message when another store has taken the place of the one that was opened."""

    @abstractmethod
    def head(self) -> int:
        """The newest version, 0 when there is none. Raises StoreError."""

    @abstractmethod
    def is_newest(self, model_version: int) -> bool:
        """Whether a predict may use this version without reading the log. Raises StoreError."""

    @abstractmethod
    def reading(self) -> AbstractContextManager[Session]:
        """One consistent view. Raises StoreError."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Session]:
        """The only writer. When the block has ended, everything that was written is durable; after an error, nothing
        was written.

        Raises StoreError: StoreBusyError when the lock can't be had in time.
        """

    @abstractmethod
    def opening(self) -> AbstractContextManager[bool]:
        """Around a start: no other start on the same store runs meanwhile. Yields whether the database may be checked
        at once. Raises StartupError, StoreError."""

    @abstractmethod
    def serves_without_store(self) -> bool:
        """Whether predicts go on with the newest known version while the store can't be read."""

    @abstractmethod
    def is_replaced(self) -> bool: ...

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """engine, bytes. Raises StoreError."""

    @abstractmethod
    def release(self) -> None:
        """Close idle connections, before a fork. The next call opens another."""

    @abstractmethod
    def close(self) -> None: ...

    def exists(self) -> bool:
        """Whether there is a database that may contain a store."""
        return True

    def check_whole(self, up_to_bytes: float = 0) -> None:  # noqa: B027
        """Raises StoreCorruptError for a damaged database. up_to_bytes: a larger one is not checked."""

    # What follows matters only for a database that hosts share.

    def serve_only(self, store_id: str) -> None:  # noqa: B027
        """From now on, refuse every other store."""

    def tail(self, catch_up: Callable[[], tuple[int, bytes]]) -> None:  # noqa: B027
        """Call `catch_up` when the log has something new. It replays that and returns the newest version and its
        digest. It raises StoreError."""

    def staleness(self) -> float | None:
        """For how many seconds it has been unknown whether there is a newer version; None while it is known."""
        return None

    def recorded_settings(self) -> dict[str, Any]:
        """The settings of the last service that started. Raises StoreError."""
        return {}

    def record_settings(self, settings: dict[str, Any]) -> None:  # noqa: B027
        """Keep settings in the store, if this user may. Raises StoreError."""

    def users(self) -> list[str] | None:
        """The hosts that use the store now, each with its number of workers; None where that can't be known. Raises
        StoreError."""
        return None
