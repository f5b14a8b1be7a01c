"""The log's database on a PostgreSQL server, which any number of hosts share.

Who writes holds the row of the table `store` until the commit, so that there is one writer at a time anywhere. Who
predicts does not ask: a thread follows the log (`following.py`). Nothing waits for the network without an end: a server
can be stalled as well as gone, so that a connection that does not answer in time is closed, and what was to be
committed on it is looked for on another one.
"""

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa

from service.errors import StartupError, StoreBusyError, StoreCorruptError, StoreError
from service.store.following import CHANNEL, Follower, first_line
from service.store.schema import store_table, versions_table
from service.store.turn import ThreadQueue

CONNECT_SECONDS = 2
ANSWER_SECONDS = 4.0
"""The longest that a statement's answer is waited for."""

FOLLOWER_SECONDS = 1.0
OPENING_SECONDS = 60.0
LOCK_SECONDS = 3
"""The longest that a step waits for those of other workers."""

IDLE_SECONDS = 20
"""A worker that is cut off while it has the lock loses it after that."""

SETTLE_SECONDS = 5.0
"""How long it is looked for what became of a commit whose answer was lost."""

POOL_WAIT_SECONDS = 2
FEW = 8
"""Versions. More than so many are fetched piece by piece."""

OPENING_LOCK = 0x74776F6C61796572
SETTINGS = {
    "lock_timeout": f"{LOCK_SECONDS}s",
    "statement_timeout": f"{OPENING_SECONDS:.0f}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
}
CONNECTION_OPTIONS = {
    "application_name": "twolayernet",
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": int(ANSWER_SECONDS * 1000),
}

LOCK = sa.select(store_table.c.store_id, sa.func.current_setting("synchronous_commit")).with_for_update()
HEAD = sa.select(sa.func.max(versions_table.c.model_version))
DIGEST = sa.select(versions_table.c.digest).where(versions_table.c.model_version == sa.bindparam("version"))
OLDEST = sa.select(sa.func.min(versions_table.c.model_version))
NOTIFY = sa.select(sa.func.pg_notify(CHANNEL, ""))
HAS_STORE = sa.text("SELECT to_regclass('store') IS NOT NULL")
TABLES = sa.text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
STATE = (
    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', "
    "current_setting('synchronous_commit') = 'off', current_setting('fsync') = 'off', current_schema() IS NULL"
)

NOT_DURABLE = "is off: a step that was acknowledged could be lost"
UNREACHABLE = "the database can't be reached: try again"
UNKNOWN = "the connection was lost during the commit, and whether the change was made is not known"
KEY_TELLS = ": repeat it with its Idempotency-Key"
NOT_MADE = "the connection was lost before the commit: nothing has changed, try again"

BUSY_STATES = {"55P03", "57014", "40P01", "53300"}
CORRUPT_STATES = {"XX001", "XX002"}

logger = logging.getLogger(__name__)
Given = TypeVar("Given")


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection whose answers are waited for for `answer_seconds` each; then it is closed."""

    answer_seconds = ANSWER_SECONDS

    def wait(self, gen: Generator[Any, Any, Given], *args: Any, **options: Any) -> Given:
        try:
            return super().wait(self._in_time(gen), *args, **options)
        except NoAnswerError:
            self.close()
            raise

    def _in_time(self, gen: Generator[Any, Any, Given]) -> Generator[Any, Any, Given]:
        """What psycopg would wait for; it is told about ten times a second that nothing has come yet."""
        until = time.monotonic() + self.answer_seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > until:
                    raise NoAnswerError(f"no answer within {self.answer_seconds:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            given: Given = end.value
            return given


class PostgresSession:
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.newest: tuple[int, bytes] | None = None
        """What was appended: its number and its digest."""

        self.mark: tuple[Any, dict[str, Any], Any] | None = None
        """A statement, its parameters, and what it gives once this transaction was committed."""

    def execute(self, statement: Any, **parameters: Any) -> sa.CursorResult[Any]:
        return self._connection.execute(statement, parameters)

    def stream(self, statement: Any, **parameters: Any) -> sa.CursorResult[Any]:
        if parameters.get("until", FEW + 1) - parameters.get("after", 0) <= FEW:
            return self.execute(statement, **parameters)
        options = {"stream_results": True, "max_row_buffer": 100}
        return self._connection.execute(statement, parameters, execution_options=options)

    def execute_many(self, statement: Any, rows: Sequence[dict[str, Any]]) -> None:
        self._connection.execute(statement, rows)

    def scalar(self, statement: Any, **parameters: Any) -> Any:
        return self.execute(statement, **parameters).scalar()

    def table_names(self) -> set[str]:
        return set(self.execute(TABLES).scalars())

    def create_table(self, table: sa.Table) -> None:
        table.create(self._connection)

    def run(self, text: str) -> sa.CursorResult[Any]:
        return self._connection.exec_driver_sql(text)

    def appended(self, model_version: int, digest: bytes) -> None:
        self.newest = model_version, digest
        self.made_if(DIGEST, digest, version=model_version)
        self.execute(NOTIFY)

    def made_if(self, statement: Any, gives: Any, **parameters: Any) -> None:
        self.mark = statement, parameters, gives


class PostgresDatabase:
    """A database that a URL names. A process has at most `connections` connections to it: two are the follower's, so
    that requests, however many read at once, do not keep it from what others wrote."""

    replaced = "the store was replaced by another one while it was served: nothing more is learnt until a restart"

    def __init__(self, url: sa.URL, connections: int) -> None:
        """Nothing is opened yet. Raises StartupError for a URL that can't be used."""
        if url.drivername != "postgresql+psycopg":
            raise StartupError(
                f"the store's URL begins with {url.drivername}: sqlite:///path/to/file.db or "
                "postgresql+psycopg://user@host/database is meant"
            )
        self.name = url.render_as_string(hide_password=True).partition("?")[0]
        self._engine, self._followers = self._pool(url, connections - 2), self._pool(url, 1)
        self._arguments, options = self._engine.dialect.create_connect_args(url)
        self._options: dict[str, Any] = CONNECTION_OPTIONS | dict(options)
        self._views, self._followers_views = (
            pool.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            for pool in (self._engine, self._followers)
        )
        self._store_id: str | None = None
        self._catch_up: Callable[[], tuple[int, bytes]] | None = None
        self._begin()
        begin = weakref.WeakMethod(self._begin_in_a_worker)
        os.register_at_fork(after_in_child=lambda: (method := begin()) and method())

    def _pool(self, url: sa.URL, size: int) -> sa.Engine:
        """Whatever the database's own default is: who writes has to see what was committed while it waited."""
        engine = sa.create_engine(
            url,
            isolation_level="READ COMMITTED",
            pool_size=size,
            max_overflow=0,
            pool_timeout=POOL_WAIT_SECONDS,
            pool_pre_ping=True,
            pool_use_lifo=True,
            use_native_hstore=False,
        )
        sa.event.listen(engine, "do_connect", lambda *_: self._connected(autocommit=False))
        return engine

    def _begin(self) -> None:
        self._writers = ThreadQueue()
        self._starting = threading.Lock()
        self._follower: Follower | None = None
        self._opener: int | None = None
        """The thread that is alone with the store during a start."""

    def _begin_in_a_worker(self) -> None:
        """Nothing of the parent's is used, nor closed: it is the parent's."""
        for pool in (self._engine, self._followers):
            pool.dispose(close=False)
        self._begin()

    def _connected(self, autocommit: bool = True, answer_seconds: float = ANSWER_SECONDS) -> BoundedConnection:
        """Raises psycopg.Error."""
        connection = BoundedConnection.connect(*self._arguments, autocommit=True, **self._options)
        try:
            connection.answer_seconds = answer_seconds
            calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in SETTINGS.items())
            connection.execute(f"SELECT {calls}")
            connection.autocommit = autocommit
        except BaseException:
            connection.close()
            raise
        return connection

    def release(self) -> None:
        """Close the connections that are not in use: before a fork. The next call opens another."""
        for pool in (self._engine, self._followers):
            pool.dispose()

    def close(self) -> None:
        if self._follower is not None:
            self._follower.stop()
            self._follower = None
        self.release()

    def exists(self) -> bool:
        return True

    def check_whole(self, up_to_bytes: float = 0) -> None:
        """PostgreSQL looks after its own files."""

    @contextmanager
    def opening(self) -> Iterator[bool]:
        """Around what a start does: alone with those that start on the same store at the same moment.

        Raises StartupError for a server that could lose what was acknowledged, or that takes nothing; StoreError.
        """
        try:
            connection = self._connected(answer_seconds=OPENING_SECONDS)
        except psycopg.Error as error:
            raise StoreError(f"the database can't be reached: {first_line(error)}") from error
        with closing(connection), store_errors():
            check_state(connection)
            connection.execute(f"SELECT set_config('lock_timeout', '{OPENING_SECONDS:.0f}s', false)")
            connection.execute(f"SELECT pg_advisory_lock({OPENING_LOCK})")
            self._opener = threading.get_ident()
            try:
                yield True
            finally:
                self._opener = None

    def served_as(self, store_id: str) -> None:
        self._store_id = store_id

    def follow(self, catch_up: Callable[[], tuple[int, bytes]]) -> None:
        self._catch_up = catch_up

    def is_newest(self, model_version: int) -> bool:
        """As far as this process has heard: whatever the follower hears of it takes over at once. The first time in a
        process it is False: then the database is asked."""
        if self._follower is not None:
            return True
        with self._starting:
            if self._follower is None and self._catch_up is not None and self._store_id is not None:
                connect = lambda: self._connected(answer_seconds=FOLLOWER_SECONDS)  # noqa: E731
                self._follower = Follower(connect, self._store_id, self._catch_up)
                self._follower.start()
        return False

    def goes_on_alone(self) -> bool:
        return True

    def staleness(self) -> float | None:
        return None if self._follower is None else self._follower.staleness()

    def is_replaced(self) -> bool:
        return self._follower is not None and self._follower.replaced

    def head(self) -> int:
        with self.reading() as session:
            return session.scalar(HEAD) or 0

    def _refuse_while_cut_off(self) -> None:
        if self._follower is not None and self._follower.is_cut_off():
            raise StoreError(UNREACHABLE)

    @contextmanager
    def _transaction(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        """Rolled back unless it was committed in it."""
        self._refuse_while_cut_off()
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.answer_seconds = OPENING_SECONDS if self._is_opener() else ANSWER_SECONDS
            yield connection

    def _is_opener(self) -> bool:
        return self._opener == threading.get_ident()

    @contextmanager
    def reading(self) -> Iterator[PostgresSession]:
        """One consistent view. Raises StoreError."""
        is_follower = self._follower is not None and self._follower.is_asking()
        with store_errors(), self._transaction(self._followers_views if is_follower else self._views) as connection:
            yield PostgresSession(connection)

    @contextmanager
    def writing(self) -> Iterator[PostgresSession]:
        """The one writer of this moment; what was written is durable when the block has ended, or not there at all.

        Raises StoreError: StoreBusyError when it can't be had in time. A commit whose answer was lost is settled before
        this ends; where that can't be done in time the StoreError says so.
        """
        in_turn = nullcontext() if self._is_opener() else self._writers.front(LOCK_SECONDS)
        with in_turn, store_errors():
            with self._transaction(self._engine) as connection:
                if not self._is_opener() or connection.scalar(HAS_STORE):
                    self._lock(connection)
                session = PostgresSession(connection)
                yield session
                if self._follower is not None:
                    driver: Any = connection.connection.driver_connection
                    self._follower.own_connection = driver.info.backend_pid
                lost = committed(connection)
            if lost is not None:
                self._settle(session, lost)
            if session.newest is not None and self._follower is not None:
                self._follower.known = session.newest

    @staticmethod
    def _lock(connection: sa.Connection) -> None:
        row = connection.execute(LOCK).fetchone()
        if row is not None and row[1] == "off":
            raise StoreError(f"synchronous_commit {NOT_DURABLE}")

    def _settle(self, session: PostgresSession, lost: sa.exc.DBAPIError) -> None:
        """What became of a commit. Raises StoreError unless it was made, or had nothing in it that matters.

        Who gets the lock knows that the transaction that had it has ended, one way or the other.
        """
        logger.warning("a connection was lost during a commit: %s", first_line(lost.orig))
        if session.mark is None:
            return
        statement, parameters, made = session.mark
        until = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                with self._engine.connect() as connection:
                    self._lock(connection)
                    found = connection.scalar(statement, parameters)
                    oldest = connection.scalar(OLDEST) or 0
                break
            except (sa.exc.DBAPIError, sa.exc.TimeoutError):
                if time.monotonic() > until:
                    raise StoreError(UNKNOWN + KEY_TELLS * (session.newest is not None)) from None
                time.sleep(0.1)
        if found == made:
            return
        if session.newest is not None and session.newest[0] < oldest:  # too long ago to tell
            raise StoreError(UNKNOWN + KEY_TELLS)
        raise StoreError(NOT_MADE)


def committed(connection: sa.Connection) -> sa.exc.DBAPIError | None:
    """Commit; the error of a connection that was lost meanwhile. Raises DBAPIError for a commit that was refused."""
    try:
        connection.commit()
    except sa.exc.DBAPIError as error:
        if not error.connection_invalidated:
            raise
        return error
    return None


def check_state(connection: psycopg.Connection[Any]) -> None:
    """Raises StartupError."""
    row = connection.execute(STATE).fetchone()
    read_only, not_durable, no_fsync, no_schema = row or (False,) * 4
    if read_only:
        raise StartupError("the store's database is read-only, as a standby is: name the primary server")
    if not_durable:
        raise StartupError(f"the store's database can't be used: synchronous_commit {NOT_DURABLE}")
    if no_fsync:
        raise StartupError(f"the store's database can't be used: fsync {NOT_DURABLE}")
    if no_schema:
        raise StartupError("the store's database has no schema that this user may use: see its search_path")


@contextmanager
def store_errors() -> Iterator[None]:
    try:
        yield
    except sa.exc.TimeoutError as error:
        raise StoreBusyError("all of this worker's connections to the database are in use: try again") from error
    except sa.exc.DBAPIError as error:
        raise store_error(error.orig) from error
    except psycopg.Error as error:
        raise store_error(error) from error


def store_error(error: BaseException | None) -> StoreError:
    """What the database said, as one of ours. Where the server is, is for the service's log and not for a client."""
    state = getattr(error, "sqlstate", None)
    if state in BUSY_STATES:
        return StoreBusyError(f"the database can't be used now: {first_line(error)}")
    if state in CORRUPT_STATES:
        return StoreCorruptError(f"the database is corrupt: {first_line(error)}")
    if isinstance(error, psycopg.OperationalError):
        logger.warning("%s", first_line(error))
        return StoreError(UNREACHABLE)
    return StoreError(f"the database can't be used now: {first_line(error)}")
