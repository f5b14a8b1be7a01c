"""The log's database on a PostgreSQL server, which any number of hosts share.

A writer holds the row of the table `store` until its commit, so that there is one writer at a time anywhere. A predict
does not ask the database: a thread follows the log (`following.py`). What a transaction writes is sent together with
its commit, and what it is sure to read together with its lock, so that a step takes two round trips while it holds the
lock. Every wait for the network has an end: a connection whose server is silent for too long is closed, and what was to
be committed on it is looked up on another one.

All results come in the binary format, so that no setting of the server changes a value that has a digest.
"""

import logging
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import lru_cache
from typing import Any, TypeVar

import orjson
import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects.postgresql.psycopg import dialect as psycopg_dialect

from service.errors import StartupError, StoreAwayError, StoreBusyError, StoreCorruptError, StoreError
from service.store.database import Database, Parameters, Session, compiled
from service.store.following import CHANNEL, USERS_LOCK, Follower, first_line
from service.store.schema import SCHEMA_VERSION, metadata, versions_table
from service.store.turn import ThreadQueue

CONNECT_SECONDS = 2
ANSWER_SECONDS = 4.0
"""The longest that a server may be silent: to this connection, and to the one that follows the log."""

FOLLOWER_SECONDS = 2.0
OPENING_SECONDS = 60.0
LOCK_SECONDS = 3
"""The longest that a step waits for those of other workers."""

IDLE_SECONDS = 20
"""A worker that is cut off while it has the lock loses it after that."""

SETTLE_SECONDS = 5.0
"""How long the outcome of a commit is looked up whose answer was lost."""

POOL_WAIT_SECONDS = 2
FEW = 2
"""Versions. More than that are fetched in pieces."""

PIECE_BYTES = 4 * 2**20
SIZES_AT_ONCE = 1000

OPENING_LOCK = 0x74776F6C
SCHEMA_OID = "quote_ident(current_schema())::regnamespace::oid"
SETTINGS = {
    "lock_timeout": f"{LOCK_SECONDS}s",
    "statement_timeout": f"{OPENING_SECONDS:.0f}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
    "extra_float_digits": "3",
    "bytea_output": "hex",
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
"""Whatever the database's own default is: a writer has to see what was committed while it waited."""

NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
LOCK = (  # the time is taken once the row is had
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

NOT_DURABLE = "is off: a step that was acknowledged could be lost"
UNREACHABLE = "the database can't be reached: try again"
UNKNOWN = "the connection was lost during the commit, and whether the change was made is not known"
KEY_TELLS = ": repeat it with its Idempotency-Key"
NOT_MADE = "the connection was lost before the commit: nothing has changed, try again"
NO_CONNECTION_LEFT = "the database has no connection left: try again"
BUSY = {
    "55P03": "other workers hold the store: try again",
    "57014": "the database took too long: try again",
    "40P01": "the database found a deadlock: try again",
    "53300": NO_CONNECTION_LEFT,
}
FULL = {"53100": "the database's disk is full", "53200": "the database has no memory left"}
CORRUPT_STATES = {"XX001", "XX002"}

logger = logging.getLogger(__name__)
Given = TypeVar("Given")
Asked = tuple[str, Parameters]


class NoAnswerError(psycopg.OperationalError):
    """The server did not answer in time."""


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that is closed when its server has been silent for `answer_seconds`.

    heard: when the server last answered this process on any connection. A server that answers another connection
    meanwhile is at work, not away; how long it may work, it is told itself (statement_timeout).
    """

    answer_seconds = ANSWER_SECONDS
    heard: Callable[[], float] = staticmethod(lambda: 0.0)

    def wait(self, gen: Generator[Any, Any, Given], *args: Any, **options: Any) -> Given:
        try:
            return super().wait(self._in_time(gen), *args, **options)
        except NoAnswerError:
            self.close()
            raise

    def _in_time(self, gen: Generator[Any, Any, Given]) -> Generator[Any, Any, Given]:
        """What psycopg would wait for; about ten times a second it learns that nothing has come yet."""
        last = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    last = time.monotonic()
                elif time.monotonic() - max(last, self.heard()) > self.answer_seconds:
                    raise NoAnswerError(f"no answer within {self.answer_seconds:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            given: Given = end.value
            return given

    def exchange(self, asked: Sequence[Asked]) -> list[psycopg.Cursor[Any]]:
        """Run statements in one round trip. Raises psycopg.Error."""
        cursors = []
        with self.pipeline():
            for text, parameters in asked:
                cursor = self.cursor(binary=True)
                cursor.execute(text, parameters or None, prepare=False if text in ("COMMIT", "END") else None)
                cursors.append(cursor)
        return cursors


class PostgresSession(Session):
    """A transaction, which begins with its first round trip. Statements that give no rows wait for the next one that
    does, or for the commit."""

    dialect = DIALECT

    def __init__(self, connection: BoundedConnection, connect: Callable[[], BoundedConnection] | None, begin: str):
        """connect: makes another connection in place of one that was idle and turns out to be gone."""
        self.connection = connection
        self._connect = connect
        self._queue: list[Asked] = [(begin, {})]
        self._ahead: dict[tuple[str, tuple[Any, ...]], psycopg.Cursor[Any]] = {}
        self._lock_at: int | None = None
        """Where the lock is in the queue."""
        self._may_migrate = False
        self._now: float | None = None
        self.newest: tuple[int, bytes] | None = None
        """What was appended: its number and its digest."""

        self.mark: tuple[Any, Parameters, Any] | None = None
        """A statement, its parameters, and what it gives once this transaction was committed."""

    def lock(self, may_migrate: bool = False) -> None:
        self._lock_at, self._may_migrate = len(self._queue), may_migrate
        self._queue.append((LOCK, {}))

    def ahead(self, *asked: tuple[Any, Parameters]) -> None:
        compiled = [compiled_with(statement, parameters) for statement, parameters in asked]
        for (text, parameters), cursor in zip(compiled, self._exchange(compiled), strict=True):
            self._ahead[text, tuple(parameters.items())] = cursor

    def execute(self, statement: Any, **parameters: Any) -> Any:
        text, values = compiled_with(statement, parameters)
        if not statement.is_select:
            self._queue.append((text, values))
            return ()
        read = self._ahead.pop((text, tuple(values.items())), None)
        return read if read is not None else self._exchange([(text, values)])[0]

    def stream(self, statement: Any, **parameters: Any) -> Any:
        if parameters.get("until", FEW + 1) - parameters.get("after", 0) <= FEW:
            return self.execute(statement, **parameters)
        return self._in_pieces(statement, parameters)

    def _in_pieces(self, statement: Any, parameters: Parameters) -> Iterator[Any]:
        """A cursor for the rows, and one for their sizes, which says how many rows to fetch at once."""
        name = f"rows_{id(statement)}_{time.monotonic_ns()}"
        for cursor, select in ((name, statement), (f"{name}_sizes", sizes_of(statement))):
            text, values = compiled_with(select, parameters)
            self._queue.append((f"DECLARE {cursor} NO SCROLL CURSOR FOR {text}", values))
        is_over = False
        while not is_over:
            sizes = [row[0] for row in self.run(f"FETCH {SIZES_AT_ONCE} FROM {name}_sizes")]
            is_over = len(sizes) < SIZES_AT_ONCE
            for count in pieces(sizes):
                yield from self.run(f"FETCH {count} FROM {name}")

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

    def appended(self, model_version: int, digest: bytes) -> None:
        self.newest = model_version, digest
        self.made_if(DIGEST, digest, version=model_version)
        self._queue.append((NOTIFY, {}))

    def made_if(self, statement: Any, gives: Any, **parameters: Any) -> None:
        self.mark = statement, parameters, gives

    def commit(self) -> psycopg.Error | None:
        """The error of a connection that was lost meanwhile. Raises psycopg.Error for a commit that was refused."""
        try:
            self._exchange([("COMMIT", {})], is_last=True)
        except psycopg.Error as error:
            if not is_lost(self.connection, error):
                raise
            return error
        return None

    def end(self) -> None:
        """Of a transaction that has read. Not with a rollback, which would make psycopg forget its statements."""
        if not self._queue:
            self._exchange([("END", {})], is_last=True)

    def _exchange(self, asked: Sequence[Asked], is_last: bool = False) -> list[psycopg.Cursor[Any]]:
        """What waits and these in one round trip, and what these gave. Raises psycopg.Error, StoreError."""
        sent = [*self._queue, *asked]
        try:
            cursors = self.connection.exchange(sent)
        except psycopg.OperationalError as error:
            if self._connect is None or is_last or not is_lost(self.connection, error):
                raise
            if isinstance(error, NoAnswerError):
                raise
            self.connection.close()
            before, self.connection = self.connection, self._connect()
            self.connection.answer_seconds, self.connection.heard = before.answer_seconds, before.heard
            cursors = self.connection.exchange(sent)
        self._connect = None
        self._queue.clear()
        if (at := self._lock_at) is not None:
            self._lock_at = None
            if (row := cursors[at].fetchone()) is not None:
                check_lock(row, self._may_migrate)
                self._now = row[2]
        return cursors[len(cursors) - len(asked) :]


class Pool:
    """Connections, `size` at most. The one that was used last is used next."""

    def __init__(self, connect: Callable[[], BoundedConnection], size: int) -> None:
        self._connect = connect
        self._slots = threading.Semaphore(size)
        self._idle: list[BoundedConnection] = []

    @contextmanager
    def session(self, begin: str) -> Iterator[PostgresSession]:
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
                self._give_back(session.connection)
        finally:
            self._slots.release()

    def _give_back(self, connection: BoundedConnection) -> None:
        try:
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.execute("ROLLBACK")
            self._idle.append(connection)
        except psycopg.Error:
            connection.close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()


class PostgresDatabase(Database):
    """A database that a URL names. A process has at most `connections` connections to it: two are the follower's, so
    that requests, however many read at once, do not keep it from what others wrote."""

    replaced = "the store was replaced by another one while it was served: nothing more is learnt until a restart"

    def __init__(self, url: sa.URL, connections: int) -> None:
        """Nothing is opened yet. Raises StartupError for a URL that can't be used."""
        if url.drivername != "postgresql+psycopg":
            raise StartupError(
                f"the store's URL begins with {url.drivername}: expected sqlite:///path/to/file.db or "
                "postgresql+psycopg://user@host/database"
            )
        self.name = url.render_as_string(hide_password=True).partition("?")[0]
        self._arguments, options = DIALECT.create_connect_args(url)  # type: ignore[no-untyped-call]
        name = f"twolayernet {socket.gethostname()}"[:63]
        self._options: dict[str, Any] = CONNECTION_OPTIONS | {"application_name": name} | dict(options)
        self._sizes = connections - 2, 1
        self._store_id: str | None = None
        self._catch_up: Callable[[], tuple[int, bytes]] | None = None
        self._begin()
        begin = weakref.WeakMethod(self._begin)
        os.register_at_fork(after_in_child=lambda: (method := begin()) and method())

    def _begin(self) -> None:
        """In a process. Nothing of the parent's is used, and psycopg closes nothing of it."""
        self._pool, self._followers_pool = (Pool(self._connected, size) for size in self._sizes)
        self._writers = ThreadQueue()
        self._starting = threading.Lock()
        self._follower: Follower | None = None
        self._opener: int | None = None
        """The thread that is alone with the store during a start."""

    def _connected(self, answer_seconds: float = ANSWER_SECONDS) -> BoundedConnection:
        """Raises psycopg.Error."""
        connection = BoundedConnection.connect(*self._arguments, autocommit=True, **self._options)
        try:
            connection.answer_seconds = answer_seconds
            calls = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in SETTINGS.items())
            connection.execute(f"SELECT {calls}")
        except BaseException:
            connection.close()
            raise
        return connection

    def release(self) -> None:
        for pool in (self._pool, self._followers_pool):
            pool.close()

    def close(self) -> None:
        if self._follower is not None:
            self._follower.stop()
            self._follower = None
        self.release()

    @contextmanager
    def opening(self) -> Iterator[bool]:
        """By a lock that ends with its transaction, and so with a start that is cut off. Raises StoreAwayError, too."""
        try:
            connection = self._connected(answer_seconds=OPENING_SECONDS)
        except psycopg.Error as error:
            kind = StoreAwayError if is_away(error) else StoreError
            raise kind(f"the database can't be reached: {first_line(error)}") from error
        with closing(connection):
            with store_errors():
                check_state(connection)
                self._check_no_pooler(connection)
                connection.execute(f"BEGIN; SET LOCAL lock_timeout = '{OPENING_SECONDS:.0f}s'")
                connection.execute(f"SELECT pg_advisory_xact_lock({OPENING_LOCK}, {SCHEMA_OID}::int)")
            self._opener = threading.get_ident()
            try:
                yield True
            finally:
                self._opener = None
                with suppress(psycopg.Error):
                    connection.execute("COMMIT")

    def _check_no_pooler(self, connection: BoundedConnection) -> None:
        """Raises StartupError for a pooler that gives each transaction another connection to the server."""
        number = "SELECT pg_backend_pid()"
        first = connection.execute(number).fetchone()
        if first == (connection.info.backend_pid,):
            return
        with closing(self._connected()) as other:
            other.execute("BEGIN")
            if other.execute(number).fetchone() == first or connection.execute(number).fetchone() != first:
                raise StartupError(
                    "the store's URL names a pooler in transaction mode, such as pgbouncer's: name the PostgreSQL "
                    "server itself, or a pooler in session mode"
                )

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

    def recorded(self) -> dict[str, Any]:
        with self.reading() as session:
            (comment,) = session.run(RECORDED).fetchone()
        try:
            found = orjson.loads(comment or "{}")
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}

    def record(self, settings: dict[str, Any]) -> None:
        text = sql.Literal(orjson.dumps(settings).decode()).as_string(None)
        passed = psycopg.errors.InsufficientPrivilege, psycopg.errors.LockNotAvailable
        with self._session(WRITE) as session, suppress(*passed):
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
    def _session(self, begin: str) -> Iterator[PostgresSession]:
        if (follower := self._follower) is not None and follower.is_cut_off():
            raise StoreError(UNREACHABLE)
        pool = self._followers_pool if follower is not None and follower.is_asking() else self._pool
        with store_errors(), pool.session(begin) as session:
            connection, is_command = session.connection, self._catch_up is None
            connection.answer_seconds = OPENING_SECONDS if is_command or self._is_opener() else ANSWER_SECONDS
            if follower is not None:
                connection.heard = follower.heard
            yield session

    def _is_opener(self) -> bool:
        return self._opener == threading.get_ident()

    @contextmanager
    def reading(self) -> Iterator[PostgresSession]:
        with self._session(READ) as session:
            yield session
            session.end()

    @contextmanager
    def writing(self) -> Iterator[PostgresSession]:
        """A commit whose answer was lost is settled before this ends; where that can't be done in time the StoreError
        says so."""
        is_opener = self._is_opener()
        with nullcontext() if is_opener else self._writers.front(LOCK_SECONDS):
            with self._session(WRITE) as session:
                if not is_opener or session.scalar(HAS_STORE):
                    session.lock(is_opener)
                yield session
                if self._follower is not None:
                    self._follower.own_connection = session.connection.info.backend_pid
                lost = session.commit()
            if lost is not None:
                self._settle(session, lost)
            if session.newest is not None and self._follower is not None:
                self._follower.known = session.newest

    def _settle(self, session: PostgresSession, lost: psycopg.Error) -> None:
        """What became of a commit. Raises StoreError unless it was made, or had nothing in it that matters.

        Once the lock is had, the transaction that had it has ended, one way or the other.
        """
        logger.warning("a connection was lost during a commit: %s", first_line(lost))
        if session.mark is None:
            return
        statement, parameters, made = session.mark
        until = time.monotonic() + SETTLE_SECONDS
        while True:
            try:
                with self._session(WRITE) as later:
                    later.lock()
                    found = later.scalar(statement, **parameters)
                    oldest = later.scalar(OLDEST) or 0
                break
            except StoreError:
                if time.monotonic() > until:
                    raise StoreError(UNKNOWN + KEY_TELLS * (session.newest is not None)) from None
                time.sleep(0.1)
        if found == made:
            return
        if session.newest is not None and session.newest[0] < oldest:  # too long ago to tell
            raise StoreError(UNKNOWN + KEY_TELLS)
        raise StoreError(NOT_MADE)


def compiled_with(statement: Any, parameters: Parameters) -> Asked:
    text, constants = compiled(statement, DIALECT)
    return text, constants | parameters


@lru_cache(None)
def sizes_of(statement: Any) -> Any:
    """A statement that gives the bytes of each row of another one."""
    rows = statement.subquery()
    blobs = [column for column in rows.c if isinstance(column.type, sa.LargeBinary)]
    return sa.select(sum((sa.func.coalesce(sa.func.octet_length(blob), 0) for blob in blobs), sa.literal_column("0")))


def pieces(sizes: Sequence[int]) -> Iterator[int]:
    """How many rows to fetch at once: of bounded size, but for a row that is larger."""
    count = total = 0
    for size in sizes:
        if count and total + size > PIECE_BYTES:
            yield count
            count = total = 0
        count, total = count + 1, total + size
    if count:
        yield count


def check_lock(row: tuple[int, str, float], may_migrate: bool) -> None:
    """Raises StoreError for a store that this process must not write to."""
    if row[1] == "off":
        raise StoreError(f"synchronous_commit {NOT_DURABLE}")
    if row[0] > SCHEMA_VERSION and not may_migrate:
        raise StoreError(
            f"a newer release has taken over the store: its schema is {row[0]}, this release knows up to "
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
        raise StartupError("the store's database has no schema that this user may use: see its search_path")
    if store_schema not in (None, schema):
        raise StartupError(
            f"the schema {schema}, which comes first on this user's search_path, has no store, but the schema "
            f"{store_schema} has one: name the schema that you mean, with ?options=-csearch_path%3D{store_schema} "
            "at the end of the URL"
        )


def is_lost(connection: BoundedConnection, error: psycopg.Error) -> bool:
    """Whether a connection has ended, so that what became of the last statement is not known."""
    return connection.closed or (error.sqlstate or "").startswith("57P")


def is_away(error: psycopg.Error) -> bool:
    """Whether a connection could not be made for a reason that passes. libpq gives no SQLSTATE for it."""
    text = str(error)
    if "FATAL" not in text:
        return isinstance(error, psycopg.OperationalError) and "invalid" not in text
    return any(words in text for words in ("starting up", "shutting down", "recovery", "too many", "slots"))


@contextmanager
def store_errors() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise store_error(error) from error


def store_error(error: psycopg.Error) -> StoreError:
    """What the database reported, as one of ours. Where the server is, is for the service's log and not for a
    client."""
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
