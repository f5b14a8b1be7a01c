"""What the log asks of a database, and which one a URL names."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import sqlalchemy as sa

from service.errors import StartupError
from service.store.sqlite import SqliteDatabase, database_path, parsed_url


class Rows(Protocol):
    """The rows that a statement gives."""

    def fetchone(self) -> Any: ...

    def close(self) -> None: ...

    def __iter__(self) -> Iterator[Any]: ...


class Session(Protocol):
    """A connection within one transaction."""

    def execute(self, statement: Any, **parameters: Any) -> Rows: ...

    def stream(self, statement: Any, **parameters: Any) -> Rows:
        """As `execute`, for rows that may be too many, or too large, to be held at once."""

    def execute_many(self, statement: Any, rows: Sequence[dict[str, Any]]) -> None: ...

    def scalar(self, statement: Any, **parameters: Any) -> Any:
        """The first column of the first row, None where there is no row."""

    def table_names(self) -> set[str]: ...

    def create_table(self, table: sa.Table) -> None: ...

    def run(self, text: str) -> Any:
        """A statement in the database's own words: for migrations."""

    def ahead(self, *asked: tuple[Any, dict[str, Any]]) -> None:
        """Statements, each with its parameters, that `execute` is sure to be asked: where the database is a server,
        they run in one round trip, with the lock."""

    def now(self) -> float:
        """Seconds since the epoch, by the clock that all hosts share."""

    def appended(self, model_version: int, digest: bytes) -> None:
        """That this version was written, for whom it may concern."""

    def made_if(self, statement: Any, gives: Any, **parameters: Any) -> None:
        """How to tell afterwards whether this transaction was committed: by what a statement gives then."""


class Database(Protocol):
    """Where the log is. Safe to use from any number of threads and processes, and after a fork."""

    name: str
    """What it is called in messages."""
    replaced: str
    """What is said when it is another store than the one that was opened."""

    def exists(self) -> bool:
        """Whether there is a database that may hold a store."""

    def head(self) -> int:
        """The newest version, 0 when there is none. Raises StoreError."""

    def is_newest(self, model_version: int) -> bool:
        """Whether there is none newer, as far as a predict has to know. Raises StoreError."""

    def reading(self) -> AbstractContextManager[Session]: ...

    def writing(self) -> AbstractContextManager[Session]: ...

    def opening(self) -> AbstractContextManager[bool]: ...

    def served_as(self, store_id: str) -> None:
        """From here on it is this store and no other."""

    def follow(self, catch_up: Callable[[], tuple[int, bytes]]) -> None:
        """catch_up: takes over what is new in the log and gives the newest version, and its digest; raises
        StoreError."""

    def goes_on_alone(self) -> bool:
        """Whether predicts go on from the newest version that is known, though the store can't be asked."""

    def staleness(self) -> float | None:
        """For how many seconds nobody could tell whether there is a newer version; None where that is not so."""

    def is_replaced(self) -> bool: ...

    def recorded(self) -> dict[str, Any]:
        """The settings that the last service to start had; {} where all are on one host. Raises StoreError."""

    def record(self, settings: dict[str, Any]) -> None: ...

    def status(self) -> dict[str, Any]:
        """engine, bytes. Raises StoreError."""

    def users(self) -> list[str]:
        """The hosts that use the store now. Raises StoreError."""

    def check_whole(self, up_to_bytes: float = ...) -> None: ...

    def release(self) -> None: ...

    def close(self) -> None: ...


def database_at(url: str, connections: int) -> Database:
    """connections: the most of this process, where the database is a server. Raises StartupError."""
    if parsed_url(url).get_backend_name() == "sqlite":
        return SqliteDatabase(database_path(url))
    try:
        from service.store.postgres import PostgresDatabase
    except ImportError:
        raise StartupError(
            "a store on PostgreSQL needs the extra postgres: install twolayernet-service[postgres]"
        ) from None
    return PostgresDatabase(parsed_url(url), connections)
