"""Whose turn it is to write: one writer at a time, on all threads and in all processes of a host.

Processes queue on a lock file, which the kernel grants about in order and takes back from a process that dies; within
a process its threads queue behind one of them. Nobody waits for ever: a lock can't be waited for with a limit, so that
a thread of its own waits, and is left waiting where a request has to give up. And whoever holds the store for long,
inside or outside of this process, keeps one thread of it waiting and no more: the others are told at once, so that
there is always one to predict.
"""

import fcntl
import os
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from model.whole_file import PRIVATE
from service.errors import StoreBusyError, StoreError

WAIT_SECONDS = 5.0
"""The longest that a request waits for its turn."""

PATIENCE_SECONDS = 1.0
"""When somebody has been at it for so long, who comes is not kept waiting."""

BUSY = "the store is held by something else: try again"


class ThreadQueue:
    """Threads of one process, one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None
        """When the thread that is at the front got there."""

    @contextmanager
    def front(self, seconds: float) -> Iterator[None]:
        """Raises StoreBusyError for a thread that had to wait for so long, and at once where somebody is slow."""
        deadline, wait = time.monotonic() + seconds, 0.0
        while not self._lock.acquire(timeout=wait):
            since, now = self._since, time.monotonic()
            if now >= deadline or (since is not None and now - since > PATIENCE_SECONDS):
                raise StoreBusyError(BUSY)
            wait = PATIENCE_SECONDS / 4
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._since = None
            self._lock.release()


class WriteTurn:
    """Safe to use from any number of threads, and after a fork."""

    def __init__(self, path: Path) -> None:
        """path: of the lock file, made when it is first needed."""
        self._path = path
        self._reset()
        reset = weakref.WeakMethod(self._reset)
        os.register_at_fork(after_in_child=lambda: (method := reset()) and method())

    def _reset(self) -> None:
        """Nobody waits in a new process, whatever was going on in its parent."""
        self._queue = ThreadQueue()
        self._waits: SimpleQueue[tuple[int, Future[None]]] | None = None
        self._left_waiting: Future[None] | None = None

    @contextmanager
    def taken(self) -> Iterator[int]:
        """The turn, and the open lock file. Raises StoreBusyError, and StoreError where there can be no lock file."""
        deadline = time.monotonic() + WAIT_SECONDS
        with self._queue.front(WAIT_SECONDS):
            lock = self._locked(deadline)
            try:
                yield lock
            finally:
                os.close(lock)

    def _locked(self, deadline: float) -> int:
        """Opened anew each time: a lock is held by an open file, which a fork would share."""
        if self._left_waiting is not None and not self._left_waiting.done():
            raise StoreBusyError(BUSY)
        try:
            lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        except OSError as error:
            raise StoreError(f"the store's lock file can't be opened: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._wait(lock, deadline)
        return lock

    def _wait(self, lock: int, deadline: float) -> None:
        if self._waits is None:
            self._waits = SimpleQueue()
            threading.Thread(target=wait_for_locks, args=(self._waits,), name="write-turn", daemon=True).start()
        waiting: Future[None] = Future()
        self._waits.put((lock, waiting))
        try:
            waiting.result(timeout=max(0.0, deadline - time.monotonic()))
        except NotInTime:
            waiting.add_done_callback(lambda _: os.close(lock))
            self._left_waiting = waiting
            raise StoreBusyError(BUSY) from None


def wait_for_locks(waits: "SimpleQueue[tuple[int, Future[None]]]") -> None:
    """What the waiting thread does, for as long as the process lives."""
    while True:
        lock, waiting = waits.get()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            waiting.set_exception(error)
        else:
            waiting.set_result(None)
