"""How a process learns of versions that others wrote to PostgreSQL: a thread that listens, and looks anyway."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg

from service.errors import StoreError

CHANNEL = "twolayernet_"
"""And the number of the schema: each store has its own."""

USERS_LOCK = 0x74776F6D
"""Of advisory locks: a process that follows a store shares the one with this number and its schema's."""

POLL_SECONDS = 0.1
"""What a lost notification costs."""

STALE_SECONDS = 1.0
"""Until then nothing is said of it, nor done about it."""

BEGIN = (
    f"SELECT '{CHANNEL}' || schema, pg_advisory_lock_shared({USERS_LOCK}, schema::int) "
    "FROM (SELECT quote_ident(current_schema())::regnamespace::oid AS schema) AS one"
)
LOOK = (
    "SELECT (SELECT store_id FROM store), model_version, digest FROM (SELECT 1) AS one LEFT JOIN "
    "(SELECT model_version, digest FROM versions ORDER BY model_version DESC LIMIT 1) AS newest ON true"
)
NOTHING = (0, b"")

logger = logging.getLogger(__name__)


class Follower:
    """known: the newest version that this process has caught up with, or has written, and its digest."""

    def __init__(
        self, connect: Callable[[], psycopg.Connection[Any]], store_id: str, catch_up: Callable[[], tuple[int, bytes]]
    ) -> None:
        """connect: a connection in autocommit mode, whose answers are waited for for a bounded time."""
        self.known = NOTHING
        self.replaced = False
        self.own_connection = 0
        """The number that the server has for the connection that this process writes on."""
        self._connect = connect
        self._store_id = store_id
        self._catch_up = catch_up
        self._current = self._answered = time.monotonic()
        """When the database last said that there is nothing newer than what is known; when it last said anything."""
        self._trouble = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_asking(self) -> bool:
        """Whether it is this thread."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Its connections are closed when this returns, unless the network is stalled."""
        self._stopped.set()
        self._thread.join(STALE_SECONDS)

    def staleness(self) -> float | None:
        """In seconds; None where it is nothing to speak of."""
        seconds = time.monotonic() - self._current
        return seconds if seconds > STALE_SECONDS else None

    def heard(self) -> float:
        """When the database last answered, by the monotonic clock."""
        return self._answered

    def is_cut_off(self) -> bool:
        """Whether the database has not answered for a while: nobody else need wait for it to find that out."""
        return bool(self._trouble) and time.monotonic() - self._answered > STALE_SECONDS

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with closing(self._connect()) as connection:
                    (channel, _) = connection.execute(BEGIN).fetchone() or ("", None)
                    connection.execute(f"LISTEN {channel}")
                    while not self._stopped.is_set():
                        self._look(connection)
                        self._wait_for_others(connection)
            except (psycopg.Error, StoreError) as error:
                self._say(first_line(error) or type(error).__name__)
            except Exception:  # whatever it was: without this thread no other host's steps are ever seen
                logger.exception("the store is followed no more, for a moment")
                self._say("an error of this service's own")
            self._stopped.wait(POLL_SECONDS)

    def _wait_for_others(self, connection: psycopg.Connection[Any]) -> None:
        """Until there may be something new; what this process wrote it knows."""
        until = time.monotonic() + POLL_SECONDS
        while (left := until - time.monotonic()) > 0:
            for notification in connection.notifies(timeout=left, stop_after=1):
                if notification.pid != self.own_connection:
                    return

    def _look(self, connection: psycopg.Connection[Any]) -> None:
        """What is there may be older than what was known, or another version of the same number: a database that was
        brought back from a copy, or a standby that took over, can have lost what was acknowledged."""
        began, before = time.monotonic(), self.known
        row = connection.execute(LOOK, binary=True).fetchone()
        self._answered = time.monotonic()
        store_id, head, digest = (None, None, None) if row is None else row
        self.replaced = store_id != self._store_id
        if self.replaced:
            self._say("it is another store than the one that was opened")
            return
        if (head or 0, digest or b"") != self.known:
            self.known = found = self._catch_up()
            if found[0] < before[0] or (found[0] == before[0] and found[1] != before[1]):
                logger.error(
                    "the database has lost versions: after %d had been known, its newest is %d", before[0], found[0]
                )
        self._current = began
        self._say("")

    def _say(self, trouble: str) -> None:
        if trouble and not self._trouble:
            goes_on = f", predict goes on from version {self.known[0]}" * (self.known != NOTHING)
            logger.warning("the store can't be followed%s: %s", goes_on, trouble)
        elif self._trouble and not trouble:
            logger.warning("the store is followed again, at version %d", self.known[0])
        self._trouble = trouble


def first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]
