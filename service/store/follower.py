"""The thread that learns of versions that other processes wrote to PostgreSQL: it listens, and polls as well."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg

from service.errors import StoreError

CHANNEL = "twolayernet_"  # followed by the schema's number: each store has its own channel
USERS_LOCK = 0x74776F6D  # with the schema's number, the advisory lock that every process shares that tails a store
POLL_SECONDS = 0.1  # the cost of a lost notification
STALE_SECONDS = 1.0  # a shorter staleness is not reported

BEGIN = (
    f"SELECT '{CHANNEL}' || schema, pg_advisory_lock_shared({USERS_LOCK}, schema::int) "
    "FROM (SELECT quote_ident(current_schema())::regnamespace::oid AS schema) AS one"
)
POLL = (
    "SELECT (SELECT store_id FROM store), model_version, digest FROM (SELECT 1) AS one LEFT JOIN "
    "(SELECT model_version, digest FROM versions ORDER BY model_version DESC LIMIT 1) AS newest ON true"
)
NOTHING = (0, b"")

logger = logging.getLogger(__name__)


class Follower:
    """known: the newest version that this process has replayed or written, and its digest; own_connection: the server's
    number of the connection that this process last wrote on."""

    def __init__(
        self, connect: Callable[[], psycopg.Connection[Any]], store_id: str, catch_up: Callable[[], tuple[int, bytes]]
    ) -> None:
        """connect: makes a connection in autocommit mode, whose waits are bounded."""
        self.known = NOTHING
        self.replaced = False
        self.own_connection = 0
        self._connect = connect
        self._store_id = store_id
        self._catch_up = catch_up
        now = time.monotonic()
        self._current = now  # when `known` was last the newest version
        self._answered = now  # when the database last answered
        self._trouble = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_current_thread(self) -> bool:
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Its connections are closed when this returns, unless the network is stalled."""
        self._stopped.set()
        self._thread.join(STALE_SECONDS)

    def staleness(self) -> float | None:
        """In seconds; None where it is too short to matter."""
        seconds = time.monotonic() - self._current
        return seconds if seconds > STALE_SECONDS else None

    def heard(self) -> float:
        """When the database last answered, by the monotonic clock."""
        return self._answered

    def is_cut_off(self) -> bool:
        """Whether the database has not answered for a while, so that a request need not wait to discover it."""
        return bool(self._trouble) and time.monotonic() - self._answered > STALE_SECONDS

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with closing(self._connect()) as connection:
                    (channel, _) = connection.execute(BEGIN).fetchone() or ("", None)
                    connection.execute(f"LISTEN {channel}")
                    while not self._stopped.is_set():
                        self._poll(connection)
                        self._wait_for_others(connection)
            except (psycopg.Error, StoreError) as error:
                self._report(first_line(error) or type(error).__name__)
            except Exception:  # of any kind: without this thread, no step of another process is ever seen
                logger.exception("tailing the store failed and will be tried again")
                self._report("an internal error")
            self._stopped.wait(POLL_SECONDS)

    def _wait_for_others(self, connection: psycopg.Connection[Any]) -> None:
        """Until another process may have written something."""
        until = time.monotonic() + POLL_SECONDS
        while (left := until - time.monotonic()) > 0:
            for notification in connection.notifies(timeout=left, stop_after=1):
                if notification.pid != self.own_connection:
                    return

    def _poll(self, connection: psycopg.Connection[Any]) -> None:
        """The newest version may be older than the known one, or another one of the same number: a database that was
        restored, or a standby that took over, can have lost acknowledged versions."""
        began, before = time.monotonic(), self.known
        store_id, head, digest = connection.execute(POLL, binary=True).fetchone() or (None, None, None)
        self._answered = time.monotonic()
        self.replaced = store_id != self._store_id
        if self.replaced:
            self._report("it is another store than the one that was opened")
            return
        if (head or 0, digest or b"") != self.known:
            self.known = newest = self._catch_up()
            if newest[0] < before[0] or (newest[0] == before[0] and newest[1] != before[1]):
                logger.error("the database has lost versions: %d was known, now the newest is %d", before[0], newest[0])
        self._current = began
        self._report("")

    def _report(self, trouble: str) -> None:
        if trouble and not self._trouble:
            goes_on = f", predict goes on from version {self.known[0]}" * (self.known != NOTHING)
            logger.warning("the store can't be tailed%s: %s", goes_on, trouble)
        elif self._trouble and not trouble:
            logger.warning("the store is tailed again, at version %d", self.known[0])
        self._trouble = trouble


def first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]
