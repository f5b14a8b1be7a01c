"""The write lock: one writer at a time among all threads and processes of a host.

Processes queue on a lock file. The kernel grants its lock roughly in order, and takes it back from a process that dies.
Within a process, threads queue behind one of them. A wait for a file's lock can't have a time limit, so a thread of its
own waits, and goes on waiting when the request gives up. While something holds the store for long, it blocks one thread
of each process; other requests are refused at once, so that there is always a thread left to predict.
"""

import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from model.atomic_file import PRIVATE
from service.errors import StoreBusyError, StoreError

WAIT_SECONDS = 5.0  # at most, of a request
PATIENCE_SECONDS = 1.0  # a request does not queue behind one that has taken longer than this
BUSY = "something else has the store's write lock: try again"


_after_fork: dict[weakref.ReferenceType[Callable[[], None]], None] = {}
os.register_at_fork(after_in_child=lambda: call_all(_after_fork))


def after_fork_in_child(method: Callable[[], None]) -> None:
    """Call a bound method in each forked process, as long as its object lives; in the order in which they came here.
    Python never forgets what `os.register_at_fork` was given: stores are opened and closed as long as a worker lives.
    """
    _after_fork[weakref.WeakMethod(method, lambda reference: _after_fork.pop(reference, None))] = None


def call_all(methods: Iterable[weakref.ReferenceType[Callable[[], None]]]) -> None:
    for reference in list(methods):
        if (method := reference()) is not None:
            method()


class ThreadLock:
    """One thread of a process at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._since: float | None = None  # when the thread that has the lock got it

    @contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """Raises StoreBusyError after this many seconds, and at once where another thread already takes long."""
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


Waits = SimpleQueue["tuple[int, Future[None]] | None"]
"""Open lock files, and what tells that each is locked; None at the end."""


class WriteLock:
    """Safe to use from any number of threads, and after a fork."""

    def __init__(self, path: Path) -> None:
        """path: of the lock file, created when it is first needed."""
        self._path = path
        self._reset()
        after_fork_in_child(self._reset)

    def _reset(self) -> None:
        """A forked process has no waiting threads, whatever its parent was doing."""
        self._threads = ThreadLock()
        self._waits: Waits | None = None
        self._abandoned: Future[None] | None = None  # the wait of a request that gave up

    def close(self) -> None:
        """End the thread that waits, after the last request for the lock."""
        if self._waits is not None:
            self._waits.put(None)
            self._waits = None

    @contextmanager
    def held(self) -> Iterator[int]:
        """Yields the open lock file. Raises StoreBusyError, and StoreError where there can be no lock file."""
        deadline = time.monotonic() + WAIT_SECONDS
        with self._threads.held(WAIT_SECONDS):
            lock = self._locked_file(deadline)
            try:
                yield lock
            finally:
                os.close(lock)

    def _locked_file(self, deadline: float) -> int:
        """Opened each time, because a fork would share the lock of a file that is open."""
        if self._abandoned is not None and not self._abandoned.done():
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
            threading.Thread(target=lock_files, args=(self._waits,), name="write-lock", daemon=True).start()
        locked: Future[None] = Future()
        self._waits.put((lock, locked))
        try:
            locked.result(timeout=max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            locked.add_done_callback(lambda _: os.close(lock))
            self._abandoned = locked
            raise StoreBusyError(BUSY) from None


def lock_files(waits: Waits) -> None:
    """The thread that waits, until the lock is closed."""
    while (wait := waits.get()) is not None:
        lock, locked = wait
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            locked.set_exception(error)
        else:
            locked.set_result(None)
