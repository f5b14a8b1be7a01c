"""The log's database on a PostgreSQL server, which any number of hosts share.

A writer holds the row of the table `store` until its commit, so there is one writer at a time on all hosts. A predict
does not ask the database: a thread tails the log (`follower.py`). What a transaction writes is sent with its commit,
and its first queries are sent with its lock, so a step takes two round trips while it holds the lock. Every wait for
the network is bounded: a connection whose server is silent for too long is closed. What was to be committed on it is
then looked up on another connection.

The stores of all models share a process's connections. Each transaction says in which schema its store is.

All results come in the binary format, so that no setting of the server changes a value that has a digest.
"""

import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import partial
from typing import Any, TypeVar

import orjson
import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect

from service.errors import StartupError, StoreAwayError, StoreBusyError, StoreCorruptError, StoreError
from service.store.database import Database, Parameters, Query, Session, compiled
from service.store.follower import CHANNEL, USERS_LOCK, Follower, StoreTail, first_line
from service.store.schema import SCHEMA_VERSION, metadata, versions_table
from service.store.write_lock import ThreadLock, after_fork_in_child

CONNECT_SECONDS = 2
ANSWER_SECONDS = 4.0  # the longest that a server may be silent, to this connection and to the follower's
FOLLOWER_ANSWER_SECONDS = 2.0
OPENING_SECONDS = 60.0
LOCK_SECONDS = 3  # the longest that a step waits for the steps of other workers
FOLLOWER_LOCK_SECONDS = 0.2  # a table that something has locked does not delay what is learnt of other stores
IDLE_SECONDS = 20  # a worker that is cut off while it holds the lock loses it after this time
SETTLE_SECONDS = 5.0  # how long the outcome of a commit is looked up whose answer was lost
POOL_WAIT_SECONDS = 2
ROWS_AT_ONCE = 4  # of the log; each may have the images of a whole request

OPENING_LOCK = 0x74776F6C
SCHEMA_OID = "quote_ident(current_schema())::regnamespace::oid"
SETTINGS = {
    "statement_timeout": f"{OPENING_SECONDS:.0f}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
}
CONNECTION_OPTIONS = {
    "client_encoding": "utf8",
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": int(ANSWER_SECONDS * 1000),
}

DIALECT = psycopg_dialect()  # type: ignore[no-untyped-call]
READ = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
"""Whatever the database's default is: a writer has to see what was committed while it waited for the lock."""
IN_SCHEMA = "SELECT set_config('search_path', %(schema)s, true)"  # until the end of the transaction

NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
LOCK = (  # the time is read after the row is locked
    "WITH locked AS MATERIALIZED (SELECT schema_version FROM store FOR UPDATE) SELECT schema_version, "
    "current_setting('synchronous_commit'), extract(epoch FROM clock_timestamp())::float8 FROM locked"
)
NOTIFY = f"SELECT pg_notify('{CHANNEL}' || {SCHEMA_OID}, '')"
HEAD = sa.select(sa.func.max(versions_table.c.model_version))
DIGEST = sa.select(versions_table.c.digest).where(versions_table.c.model_version == sa.bindparam("version"))
OLDEST = sa.select(sa.func.min(versions_table.c.model_version))
HAS_STORE = sa.select(sa.func.to_regclass("store").is_not(None))
TABLES = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()"
STATE = (
    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', "
    "current_setting('synchronous_commit') = 'off', current_setting('fsync') = 'off', current_schema()::text, "
    "current_setting('server_encoding'), "
    "(SELECT nspname::text FROM pg_class JOIN pg_namespace AS schemas ON schemas.oid = relnamespace "
    "WHERE pg_class.oid = to_regclass('store'))"
)
RECORDED = "SELECT obj_description('store'::regclass, 'pg_class')"
VERSION_AND_SIZE = (
    "SELECT current_setting('server_version'), (SELECT sum(pg_total_relation_size(name::regclass))::int8 "
    "FROM unnest(%(names)s::text[]) AS name)"
)
USERS = (
    "SELECT application_name, count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' "
    f"AND classid = {USERS_LOCK} AND objid = {SCHEMA_OID} AND mode = 'ShareLock' "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) GROUP BY 1 ORDER BY 1"
)

NOT_DURABLE = "is off: acknowledged steps could be lost"
UNREACHABLE = "the database can't be reached: try again"
UNKNOWN = "the connection was lost during the commit, and it is unknown whether the change was applied"
KEY_TELLS = ": repeat the request with its Idempotency-Key"
NOT_APPLIED = "the connection was lost before the commit: nothing has changed, try again"
NO_CONNECTION_LEFT = "the database has no connection left: try again"
BUSY = {
    "55P03": "other workers hold the store's lock: try again",
    "57014": "the database took too long: try again",
    "40P01": "the database detected a deadlock: try again",
    "53300": NO_CONNECTION_LEFT,
}
FULL = {"53100": "the database's disk is full", "53200": "the database has no memory left"}
CORRUPT_STATES = {"XX001", "XX002"}

logger = logging.getLogger(__name__)
cursor_numbers = itertools.count()
Result = TypeVar("Result")
Statement = tuple[str, Parameters]
Cursor = psycopg.Cursor[Any]


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when its server has been silent for `answer_seconds`.

    heard: when the server last answered this process on any connection. A server that answers another connection is
    busy, not away; `statement_timeout` bounds how long it may be busy.
    """

    answer_seconds = ANSWER_SECONDS
    heard: Callable[[], float] = staticmethod(lambda: 0.0)

    def wait(self, gen: Generator[Any, Any, Result], *args: Any, **options: Any) -> Result:
        try:
            return super().wait(self._bounded(gen), *args, **options)
        except NoAnswerError:
            self.close()
            raise

    def _bounded(self, gen: Generator[Any, Any, Result]) -> Generator[Any, Any, Result]:
        """psycopg resumes it about ten times a second, with nothing while no answer has come."""
        last = time.monotonic()
        try:
            awaited = next(gen)
            while True:
                ready = yield awaited
                if ready:
                    last = time.monotonic()
                elif time.monotonic() - max(last, self.heard()) > self.answer_seconds:
                    raise NoAnswerError(f"no answer within {self.answer_seconds:g} s")
                awaited = gen.send(ready)
        except StopIteration as end:
            result: Result = end.value
            return result

    def exchange(self, statements: Sequence[Statement]) -> list[Cursor]:
        """Run statements in one round trip. Raises psycopg.Error."""
        cursors = []
        with self.pipeline():
            for text, parameters in statements:
                cursor = self.cursor(binary=True)
                cursor.execute(text, parameters or None, prepare=False if text in ("COMMIT", "END") else None)
                cursors.append(cursor)
        return cursors


class PostgresSession(Session):
    """A transaction. Statements that return no rows are queued, BEGIN among them. They are sent with the next one that
    returns rows, or with the commit."""

    dialect = DIALECT

    def __init__(
        self,
        connection: BoundedConnection,
        connect: Callable[[], BoundedConnection] | None,
        begin: Sequence[Statement],
    ) -> None:
        """connect: makes a connection in place of one that was idle and turns out to be lost."""
        self.connection = connection
        self._connect = connect
        self._queue: list[Statement] = [*begin]
        self._prefetched: dict[tuple[str, tuple[Any, ...]], Cursor] = {}
        self._lock_at: int | None = None  # the position of the lock in the queue
        self._may_migrate = False
        self._now: float | None = None
        self.appended: tuple[int, bytes] | None = None  # the version that was appended, and its digest
        self.confirmation: tuple[Query, Any] | None = None  # a query, and its result once this was committed

    def lock(self, may_migrate: bool = False) -> None:
        self._lock_at, self._may_migrate = len(self._queue), may_migrate
        self._queue.append((LOCK, {}))

    def prefetch(self, *queries: Query) -> None:
        statements = [bound(statement, parameters) for statement, parameters in queries]
        for (text, parameters), cursor in zip(statements, self._exchange(statements), strict=True):
            self._prefetched[text, tuple(parameters.items())] = cursor

    def execute(self, statement: Any, **parameters: Any) -> Any:
        text, values = bound(statement, parameters)
        if not statement.is_select:
            self._queue.append((text, values))
            return ()
        prefetched = self._prefetched.pop((text, tuple(values.items())), None)
        return prefetched if prefetched is not None else self._exchange([(text, values)])[0]

    def stream(self, statement: Any, **parameters: Any) -> Any:
        if parameters.get("until", ROWS_AT_ONCE + 1) - parameters.get("after", 0) <= ROWS_AT_ONCE:
            return self.execute(statement, **parameters)
        if self._queue:  # with the transaction's begin, or what the rows depend on
            self._exchange([])
        cursor = self.connection.cursor(f"rows_{next(cursor_numbers)}", binary=True)
        cursor.itersize = ROWS_AT_ONCE
        return cursor.execute(*bound(statement, parameters))

    def execute_many(self, statement: Any, rows: Sequence[Parameters]) -> None:
        super().execute_many(statement, rows)
        if len(rows) > 1:
            self._exchange([])

    def run(self, text: str, **parameters: Any) -> Any:
        return self._exchange([(text, parameters)])[0]

    def now(self) -> float:
        if self._now is None:
            self._now = self.run(NOW).fetchone()[0]
        return self._now

    def table_names(self) -> set[str]:
        return {row[0] for row in self.run(TABLES)}

    def notify(self, model_version: int, digest: bytes) -> None:
        self.appended = model_version, digest
        self.confirm_by(DIGEST, digest, version=model_version)
        self._queue.append((NOTIFY, {}))

    def confirm_by(self, statement: Any, result: Any, **parameters: Any) -> None:
        self.confirmation = (statement, parameters), result

    def commit(self) -> psycopg.Error | None:
        """Returns the error of a connection that was lost meanwhile. Raises psycopg.Error for a refused commit."""
        try:
            self._exchange([("COMMIT", {})], is_last=True)
        except psycopg.Error as error:
            if not is_lost(self.connection, error):
                raise
            return error
        return None

    def end(self) -> None:
        """After a transaction that only read. A rollback would make psycopg discard its prepared statements."""
        if not self._queue:
            self._exchange([("END", {})], is_last=True)

    def _exchange(self, statements: Sequence[Statement], is_last: bool = False) -> list[Cursor]:
        """Send the queue and these in one round trip; the cursors of these. Raises psycopg.Error, StoreError."""
        sent = [*self._queue, *statements]
        try:
            cursors = self.connection.exchange(sent)
        except psycopg.OperationalError as error:
            is_silent = isinstance(error, NoAnswerError)
            if self._connect is None or is_last or is_silent or not is_lost(self.connection, error):
                raise
            self.connection.close()
            lost, self.connection = self.connection, self._connect()
            self.connection.answer_seconds, self.connection.heard = lost.answer_seconds, lost.heard
            cursors = self.connection.exchange(sent)
        self._connect = None
        self._queue.clear()
        if (at := self._lock_at) is not None:
            self._lock_at = None
            if (row := cursors[at].fetchone()) is not None:
                check_lock(row, self._may_migrate)
                self._now = row[2]
        return cursors[len(sent) - len(statements) :]


class Pool:
    """At most `size` connections. The most recently used one is used next."""

    def __init__(self, connect: Callable[[], BoundedConnection], size: int) -> None:
        self._connect = connect
        self._slots = threading.Semaphore(size)
        self._idle: list[BoundedConnection] = []

    @contextmanager
    def session(self, begin: Sequence[Statement]) -> Iterator[PostgresSession]:
        """Rolled back unless it was committed. Raises psycopg.Error, StoreBusyError."""
        if not self._slots.acquire(timeout=POOL_WAIT_SECONDS):
            raise StoreBusyError("all of this worker's connections to the database are in use: try again")
        try:
            try:
                session = PostgresSession(self._idle.pop(), self._connect, begin)
            except IndexError:
                session = PostgresSession(self._connect(), None, begin)
            try:
                yield session
            finally:
                self._return(session.connection)
        finally:
            self._slots.release()

    def _return(self, connection: BoundedConnection) -> None:
        try:
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
            self._idle.append(connection)
        except psycopg.Error:
            connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class Connections:
    """Those of this process to the database that a URL names, at most `size`, which all its stores share. Two of them
    are the follower's, so that long reads of requests do not delay it."""

    def __init__(self, url: sa.URL, size: int) -> None:
        """Nothing is opened yet. Raises StartupError."""
        if url.drivername != "postgresql+psycopg":
            raise StartupError(
                f"the store's URL begins with {url.drivername}: expected sqlite:///path/to/file.db or "
                "postgresql+psycopg://user@host/database"
            )
        self.name = url.render_as_string(hide_password=True).partition("?")[0]
        self.serves = False  # as opposed to a command, which waits longer
        self._arguments, options = DIALECT.create_connect_args(url)  # type: ignore[no-untyped-call]
        name = f"twolayernet {socket.gethostname()}"[:63]
        self._options: dict[str, Any] = CONNECTION_OPTIONS | {"application_name": name} | dict(options)
        self._size = size
        self._begin()
        after_fork_in_child(self._begin)

    def _begin(self) -> None:
        """In a new process, which uses nothing of its parent's. psycopg does not close the parent's connections."""
        self._pool = Pool(self.connect, self._size - 2)
        self._follower_pool = Pool(partial(self.connect, lock_seconds=FOLLOWER_LOCK_SECONDS), 1)
        self.follower = self._new_follower()

    def _new_follower(self) -> Follower:
        """Its thread is not started yet."""
        return Follower(partial(self.connect, FOLLOWER_ANSWER_SECONDS, FOLLOWER_LOCK_SECONDS))

    def connect(self, answer_seconds: float = ANSWER_SECONDS, lock_seconds: float = LOCK_SECONDS) -> BoundedConnection:
        """Raises psycopg.Error."""
        connection = BoundedConnection.connect(*self._arguments, autocommit=True, **self._options)
        try:
            connection.answer_seconds = answer_seconds
            settings = SETTINGS | {"lock_timeout": f"{lock_seconds * 1000:.0f}ms"}
            calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in settings.items())
            connection.execute(f"SELECT {calls}")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def session(self, begin: Sequence[Statement], is_start: bool = False) -> Iterator[PostgresSession]:
        """Rolled back unless it was committed. is_start: of a start, which waits longer. Raises StoreError."""
        if self.follower.is_cut_off():
            raise StoreError(UNREACHABLE)
        pool = self._follower_pool if self.follower.is_current_thread() else self._pool
        with store_errors(), pool.session(begin) as session:
            connection = session.connection
            connection.answer_seconds = OPENING_SECONDS if is_start or not self.serves else ANSWER_SECONDS
            connection.heard = self.follower.heard
            yield session

    def release(self) -> None:
        self._pool.close()
        self._follower_pool.close()

    def close(self) -> None:
        self.follower.stop()
        self.follower = self._new_follower()
        self.release()


class PostgresDatabase(Database):
    """A store: the default's, or the one of a model under /models."""

    replaced = "the store was replaced by another one while it was served: nothing more is learnt until a restart"

    def __init__(self, connections: Connections, schema: str | None = None) -> None:
        """schema: the model's; None: the first one of the search_path, and closing it closes the connections."""
        self.connections = connections
        self.name = connections.name if schema is None else f"{connections.name}, schema {schema}"
        self._schema = None if schema is None else quoted(schema)
        self._store_id: str | None = None
        self._catch_up: Callable[[], tuple[int, bytes]] | None = None
        self._begin()
        after_fork_in_child(self._begin)

    def _begin(self) -> None:
        """In a new process."""
        self._writers = ThreadLock()
        self._starting = threading.Lock()
        self._tail: StoreTail | None = None
        self._opener: int | None = None  # the thread that is inside `opening`

    def release(self) -> None:
        if self._schema is None:
            self.connections.release()

    def close(self) -> None:
        if self._tail is not None:
            self.connections.follower.drop(self._tail)
            self._tail = None
        if self._schema is None:
            self.connections.close()

    @contextmanager
    def opening(self) -> Iterator[bool]:
        """Holds a lock that ends with its transaction, and so with a start that is cut off. A model's store needs none:
        who makes it alone knows its schema, and who migrates it has the writer's lock. Raises StoreAwayError."""
        if self._schema is not None:
            with self._as_opener():
                yield True
            return
        try:
            connection = self.connections.connect(answer_seconds=OPENING_SECONDS)
        except psycopg.Error as error:
            kind = StoreAwayError if is_away(error) else StoreError
            raise kind(f"the database can't be reached: {first_line(error)}") from error
        with closing(connection):
            with store_errors():
                check_state(connection)
                self._check_no_pooler(connection)
                connection.execute(f"BEGIN; SET LOCAL lock_timeout = '{OPENING_SECONDS:.0f}s'")
                connection.execute(f"SELECT pg_advisory_xact_lock({OPENING_LOCK}, {SCHEMA_OID}::int)")
            try:
                with self._as_opener():
                    yield True
            finally:
                with suppress(psycopg.Error):
                    connection.execute("COMMIT")

    @contextmanager
    def _as_opener(self) -> Iterator[None]:
        self._opener = threading.get_ident()
        try:
            yield
        finally:
            self._opener = None

    def _check_no_pooler(self, connection: BoundedConnection) -> None:
        """Raises StartupError for a pooler that gives each transaction another connection to the server."""
        number = "SELECT pg_backend_pid()"
        first = connection.execute(number).fetchone()
        if first == (connection.info.backend_pid,):
            return
        with closing(self.connections.connect()) as other:
            other.execute("BEGIN")
            if other.execute(number).fetchone() == first or connection.execute(number).fetchone() != first:
                raise StartupError(
                    "the store's URL names a pooler in transaction mode, such as pgbouncer's: name the PostgreSQL "
                    "server itself, or a pooler in session mode"
                )

    def serve_only(self, store_id: str) -> None:
        self._store_id = store_id

    def tail(self, catch_up: Callable[[], tuple[int, bytes]]) -> None:
        self._catch_up = catch_up
        self.connections.serves = True

    def is_newest(self, model_version: int) -> bool:
        """As far as this process knows: the follower replays new versions as soon as it learns of them. In a new
        process it is False once, so that the log is read."""
        if self._tail is not None:
            return True
        with self._starting:
            if self._tail is None and self._catch_up is not None and self._store_id is not None:
                self._tail = StoreTail(self._schema, self._store_id, self._catch_up)
                self.connections.follower.add(self._tail)
        return False

    def serves_without_store(self) -> bool:
        return True

    def staleness(self) -> float | None:
        return None if self._tail is None else self._tail.staleness()

    def is_replaced(self) -> bool:
        return self._tail is not None and self._tail.replaced

    def head(self) -> int:
        with self.reading() as session:
            return session.scalar(HEAD) or 0

    def recorded_settings(self) -> dict[str, Any]:
        with self.reading() as session:
            (comment,) = session.run(RECORDED).fetchone()
        try:
            settings = orjson.loads(comment or "{}")
        except orjson.JSONDecodeError:
            return {}
        return settings if isinstance(settings, dict) else {}

    def record_settings(self, settings: dict[str, Any]) -> None:
        text = sql.Literal(orjson.dumps(settings).decode()).as_string(None)
        ignored = psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable
        with self.session(WRITE) as session, suppress(*ignored):
            session.run(f"COMMENT ON TABLE store IS {text}")
            session.commit()

    def status(self) -> dict[str, Any]:
        with self.reading() as session:
            names = {"names": [table.name for table in metadata.sorted_tables]}
            version, size = session.run(VERSION_AND_SIZE, **names).fetchone()
        return {"engine": f"PostgreSQL {version}", "bytes": size}

    def users(self) -> list[str]:
        with self.reading() as session:
            return [f"{name.removeprefix('twolayernet ')} ({count})" for name, count in session.run(USERS)]

    @contextmanager
    def session(self, begin: str) -> Iterator[PostgresSession]:
        """Rolled back unless it was committed. Raises StoreError."""
        statements: list[Statement] = [(begin, {})]
        if self._schema is not None:
            statements.append((IN_SCHEMA, {"schema": self._schema}))
        with self.connections.session(statements, self._is_opener()) as session:
            yield session

    def _is_opener(self) -> bool:
        return self._opener == threading.get_ident()

    @contextmanager
    def reading(self) -> Iterator[PostgresSession]:
        with self.session(READ) as session:
            yield session
            session.end()

    @contextmanager
    def writing(self) -> Iterator[PostgresSession]:
        """If the answer to a commit is lost, its outcome is looked up before this ends. Where that can't be done in
        time, the StoreError says so."""
        is_opener = self._is_opener()
        with nullcontext() if is_opener else self._writers.held(LOCK_SECONDS):
            with self.session(WRITE) as session:
                if not is_opener or session.scalar(HAS_STORE):
                    session.lock(is_opener)
                yield session
                if self._tail is not None:
                    self._tail.own_connection = session.connection.info.backend_pid
                lost = session.commit()
            if lost is not None:
                self._settle(session, lost)
            if session.appended is not None and self._tail is not None:
                self._tail.known = session.appended

    def _settle(self, session: PostgresSession, lost: psycopg.Error) -> None:
        """Look up the outcome of a commit. Raises StoreError unless it was applied, or contained nothing that matters.

        Once this transaction has the lock, the one that had it before has ended.
        """
        logger.warning("a connection was lost during a commit: %s", first_line(lost))
        if session.confirmation is None:
            return
        (statement, parameters), expected = session.confirmation
        until = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                with self.session(WRITE) as later:
                    later.lock()
                    result = later.scalar(statement, **parameters)
                    oldest = later.scalar(OLDEST) or 0
                break
            except StoreError:
                if time.monotonic() > until:
                    raise StoreError(UNKNOWN + KEY_TELLS * (session.appended is not None)) from None
                time.sleep(0.1)
        if result == expected:
            return
        if session.appended is not None and session.appended[0] < oldest:  # deleted since, if it was applied
            raise StoreError(UNKNOWN + KEY_TELLS)
        raise StoreError(NOT_APPLIED)


def quoted(name: str) -> str:
    """A name within a statement."""
    return sql.Identifier(name).as_string(None)


def bound(statement: Any, parameters: Parameters) -> Statement:
    text, constants = compiled(statement, DIALECT)
    return text, constants | parameters


def check_lock(row: tuple[int, str, float], may_migrate: bool) -> None:
    """Raises StoreError for a store that this process must not write to."""
    if row[1] == "off":
        raise StoreError(f"synchronous_commit {NOT_DURABLE}")
    if row[0] > SCHEMA_VERSION and not may_migrate:
        raise StoreError(
            f"a newer release has migrated the store: its schema is {row[0]}, this release knows up to "
            f"{SCHEMA_VERSION}. Upgrade this host"
        )


def check_state(connection: psycopg.Connection[Any]) -> None:
    """Raises StartupError."""
    row = connection.execute(STATE).fetchone()
    assert row is not None
    read_only, not_durable, no_fsync, schema, encoding, store_schema = row
    if encoding != "UTF8":
        raise StartupError(f"the store's database has the encoding {encoding}: create one with the encoding UTF8")
    if read_only:
        raise StartupError("the store's database is read-only, as a standby is: name the primary server")
    if not_durable:
        raise StartupError(f"the store's database can't be used: synchronous_commit {NOT_DURABLE}")
    if no_fsync:
        raise StartupError(f"the store's database can't be used: fsync {NOT_DURABLE}")
    if schema is None:
        raise StartupError("the store's database has no schema that this user may use: check its search_path")
    if store_schema not in (None, schema):
        raise StartupError(
            f"the schema {schema}, which is first on this user's search_path, has no store, but the schema "
            f"{store_schema} has one: name the schema that you mean, with ?options=-csearch_path%3D{store_schema} "
            "at the end of the URL"
        )


def is_lost(connection: BoundedConnection, error: psycopg.Error) -> bool:
    """Whether a connection has ended, so that the outcome of its last statement is unknown."""
    return connection.closed or (error.sqlstate or "").startswith("57P")


def is_away(error: psycopg.Error) -> bool:
    """Whether no connection could be made for a reason that will pass. libpq gives no SQLSTATE for it."""
    text = str(error)
    if "FATAL" not in text:
        return isinstance(error, psycopg.OperationalError) and "invalid" not in text
    return any(words in text for words in ("starting up", "shutting down", "recovery", "too many", "slots"))


@contextmanager
def store_errors() -> Iterator[None]:
    """Raise psycopg's errors as the service's. A client must not learn the server's address: the log has it."""
    try:
        yield
    except psycopg.Error as error:
        raise store_error(error) from error


def store_error(error: psycopg.Error) -> StoreError:
    state, text = error.sqlstate or "", str(error)
    if state in CORRUPT_STATES:
        return StoreCorruptError(f"the database is corrupt: {first_line(error)}")
    logger.warning("%s", first_line(error))
    if state in BUSY or ("FATAL" in text and any(words in text for words in ("too many", "slots"))):
        return StoreBusyError(BUSY.get(state, NO_CONNECTION_LEFT))
    if isinstance(error, NoAnswerError):
        return StoreError("the database does not answer: try again")
    if isinstance(error, psycopg.OperationalError) and (not state or state.startswith(("57P", "08"))):
        return StoreError(UNREACHABLE)
    return StoreError(FULL.get(state, f"the database can't be used now: {first_line(error)}"))
