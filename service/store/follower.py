"""The thread that learns of what other processes wrote to PostgreSQL: it listens, and polls as well.

A process has one, with one connection, for all its models. What it tails is independent: trouble with one store, such
as a table that is missing or locked, is reported for this store alone.
"""

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg

from service.errors import StoreError

CHANNEL = "twolayernet_"  # followed by a schema's number: each store has its own channel
USERS_LOCK = 0x74776F6D  # with the schema's number, the advisory lock that every process shares that tails a store
POLL_SECONDS = 0.1  # the cost of a lost notification
MODEL_POLL_SECONDS = 2.0  # the same for a model under /models: a service may have many
RETRY_SECONDS = 0.5  # of what is in trouble
STALE_SECONDS = 1.0  # a shorter staleness is not reported

NOTHING = (0, b"")

logger = logging.getLogger(__name__)

Ask = Callable[..., list[Any]]
"""Runs a statement with its parameters, and returns its rows. Raises psycopg.Error."""


class Tail(ABC):
    """Something that a follower keeps up to date. what: for messages; own_connection: the server's number of the
    connection whose notifications bring no news."""

    own_connection = 0

    def __init__(self, what: str, poll_seconds: float) -> None:
        self.poll_seconds = poll_seconds
        self._what = what
        self._trouble = ""

    @abstractmethod
    def begin(self, ask: Ask) -> str:
        """The channel to listen to. Raises psycopg.Error, StoreError."""

    @abstractmethod
    def poll(self, ask: Ask) -> str:
        """The channel, which is another one once its schema was made anew. Raises psycopg.Error, StoreError."""

    def next_poll(self) -> float:
        seconds = min(self.poll_seconds, RETRY_SECONDS) if self._trouble else self.poll_seconds
        return time.monotonic() + seconds

    def no_news(self, since: float) -> None:  # noqa: B027
        """The database has answered since this time, and has notified of nothing."""

    def report(self, trouble: str) -> None:
        """Log a change. trouble: why it can't be tailed; empty: it can."""
        if trouble and not self._trouble:
            logger.warning("%s can't be tailed%s: %s", self._what, self.goes_on(), trouble)
        elif self._trouble and not trouble:
            logger.warning("%s is tailed again%s", self._what, self.comes_back())
        self._trouble = trouble

    def goes_on(self) -> str:
        return ""

    def comes_back(self) -> str:
        return ""


class StoreTail(Tail):
    """Of a store. known: the newest version that this process has replayed or written, and its digest."""

    def __init__(self, schema: str | None, store_id: str, catch_up: Callable[[], tuple[int, bytes]]) -> None:
        """schema: quoted; None: the first one of the search_path."""
        if schema is None:
            super().__init__("the store", POLL_SECONDS)
        else:
            super().__init__(f"the store {schema}", MODEL_POLL_SECONDS)
        self.known = NOTHING
        self.replaced = False
        self._schema = schema
        name = "quote_ident(current_schema())" if schema is None else "%(schema)s::text"
        self._number = f"{name}::regnamespace::oid"
        self._store_id = store_id
        self._catch_up = catch_up
        self._current = time.monotonic()  # when `known` was last the newest version

    def staleness(self) -> float | None:
        """In seconds; None where it is too short to matter."""
        seconds = time.monotonic() - self._current
        return seconds if seconds > STALE_SECONDS else None

    def begin(self, ask: Ask) -> str:
        [(channel, _)] = ask(
            f"SELECT '{CHANNEL}' || schema, pg_advisory_lock_shared({USERS_LOCK}, schema::int) "
            f"FROM (SELECT {self._number} AS schema) AS one",
            schema=self._schema,
        )
        if channel is None:
            raise StoreError("there is no schema that this user may use")
        return str(channel)

    def poll(self, ask: Ask) -> str:
        """The newest version may be older than the known one, or another one of the same number: a database that was
        restored, or a standby that took over, can have lost acknowledged versions."""
        began, before = time.monotonic(), self.known
        schema = "" if self._schema is None else f"{self._schema}."
        [(channel, store_id, head, digest)] = ask(
            f"SELECT '{CHANNEL}' || {self._number}, (SELECT store_id FROM {schema}store), model_version, digest "
            "FROM (SELECT 1) AS always LEFT JOIN "
            f"(SELECT model_version, digest FROM {schema}versions ORDER BY model_version DESC LIMIT 1) AS head ON true",
            schema=self._schema,
        )
        self.replaced = store_id != self._store_id
        if self.replaced:
            self.report("it is another store than the one that was opened")
            return str(channel)
        if (head or 0, digest or b"") != self.known:
            self.known = newest = self._catch_up()
            if newest[0] < before[0] or (newest[0] == before[0] and newest[1] != before[1]):
                logger.error("the database has lost versions: %d was known, now the newest is %d", before[0], newest[0])
        self._current = began
        self.report("")
        return str(channel)

    def no_news(self, since: float) -> None:
        if not self._trouble:
            self._current = since

    def goes_on(self) -> str:
        return f", predict goes on from version {self.known[0]}" * (self.known != NOTHING)

    def comes_back(self) -> str:
        return f", at version {self.known[0]}"


class Follower:
    """Safe to use from any number of threads. Its thread starts with the first tail."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        """connect: makes a connection in autocommit mode, whose waits are bounded."""
        self._connect = connect
        self._lock = threading.Lock()
        self._tails: tuple[Tail, ...] = ()
        self._answered = time.monotonic()  # when the database last answered
        self._is_away = False
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, tail: Tail) -> None:
        """It is polled within POLL_SECONDS."""
        with self._lock:
            self._tails = (*self._tails, tail)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
                self._thread.start()

    def drop(self, tail: Tail) -> None:
        with self._lock:
            self._tails = tuple(other for other in self._tails if other is not tail)

    def is_current_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Its connections are closed when this returns, unless the network is stalled."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(STALE_SECONDS)

    def heard(self) -> float:
        """When the database last answered, by the monotonic clock."""
        return self._answered

    def is_cut_off(self) -> bool:
        """Whether the database has not answered for a while, so that a request need not wait to discover it."""
        return self._is_away and time.monotonic() - self._answered > STALE_SECONDS

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with closing(self._connect()) as connection:
                    following = Following(connection, self._note_answer)
                    while not self._stopped.is_set():
                        following.attend(self._tails)
            except (psycopg.Error, StoreError) as error:
                self._lost(first_line(error) or type(error).__name__)
            except Exception:  # of any kind: without this thread, no step of another process is ever seen
                logger.exception("tailing the database failed and will be tried again")
                self._lost("an internal error")
            self._stopped.wait(POLL_SECONDS)

    def _note_answer(self) -> None:
        self._answered, self._is_away = time.monotonic(), False

    def _lost(self, trouble: str) -> None:
        self._is_away = True
        for tail in self._tails:
            tail.report(trouble)


class Following:
    """What a follower does on one connection. note_answer: called whenever the database has answered."""

    def __init__(self, connection: psycopg.Connection[Any], note_answer: Callable[[], None]) -> None:
        self._connection = connection
        self._note_answer = note_answer
        self._channels: dict[Tail, str] = {}
        self._due: dict[Tail, float] = {}

    def attend(self, tails: tuple[Tail, ...]) -> None:
        """Poll those that are due, and wait for news of others. Raises psycopg.Error when the connection is lost."""
        for tail in self._due.keys() - set(tails):
            self._end(tail)
        began = time.monotonic()
        due = [tail for tail in tails if self._due.get(tail, 0.0) <= began]
        for tail in due:
            self._poll(tail)
            self._due[tail] = tail.next_poll()
        self._hear(0.0)  # however long that took
        if due:
            for tail in self._channels.keys() - set(due):
                if self._due[tail] > began:
                    tail.no_news(began)
        self._wait(min(self._due.values(), default=time.monotonic() + POLL_SECONDS))

    def _poll(self, tail: Tail) -> None:
        try:
            if tail not in self._channels:
                self._begin(tail)
            if tail.poll(self._ask) != self._channels[tail]:
                self._leave(tail)
                self._begin(tail)
                tail.poll(self._ask)
        except psycopg.Error as error:
            if self._connection.closed:
                raise
            self._note_answer()
            tail.report(first_line(error) or type(error).__name__)
        except StoreError as error:
            tail.report(first_line(error))
        except Exception:
            logger.exception("tailing a store failed and will be tried again")
            tail.report("an internal error")

    def _begin(self, tail: Tail) -> None:
        channel = tail.begin(self._ask)
        self._ask(f"LISTEN {channel}")
        self._channels[tail] = channel

    def _end(self, tail: Tail) -> None:
        del self._due[tail]
        if tail in self._channels:
            self._leave(tail)

    def _leave(self, tail: Tail) -> None:
        channel = self._channels.pop(tail)
        if channel not in self._channels.values():
            self._ask(f"UNLISTEN {channel}")
        self._ask(f"SELECT pg_advisory_unlock_shared({USERS_LOCK}, {channel.removeprefix(CHANNEL)}::oid::int)")

    def _ask(self, text: str, **parameters: Any) -> list[Any]:
        cursor = self._connection.execute(text, parameters or None, binary=True)
        self._note_answer()
        return cursor.fetchall() if cursor.description else []

    def _wait(self, until: float) -> None:
        """Until then, or until there is news."""
        until = min(until, time.monotonic() + POLL_SECONDS)
        while (left := until - time.monotonic()) > 0 and not self._hear(left):
            pass

    def _hear(self, seconds: float) -> bool:
        """Whether there is news within this time: what another process has written to is due."""
        is_news = False
        for notification in self._connection.notifies(timeout=seconds, stop_after=1):
            for tail, channel in self._channels.items():
                if channel == notification.channel and notification.pid != tail.own_connection:
                    self._due[tail], is_news = 0.0, True
        return is_news


def first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]
