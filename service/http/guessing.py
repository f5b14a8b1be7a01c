"""Whoever tries keys is slowed down: an address that gave a wrong one is not listened to for a moment.

The moment doubles with each wrong key, up to a bound, and the answer is held back for as long, so that a client that
asks again at once gets the same answer as before. Only so many threads wait that others go on; to what comes while no
thread is free to wait, or beside it, the answer is 429. Each worker keeps its own account.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass

FIRST_SECONDS, MOST_SECONDS = 0.005, 0.25
FORGOTTEN_SECONDS = 60.0
MOST_ADDRESSES = 10_000


@dataclass(frozen=True)
class Failures:
    """Of an address: how many one after the other, and until when it is not listened to."""

    count: int
    until: float


class Guessing:
    def __init__(self, may_wait: int) -> None:
        """may_wait: how many threads may hold an answer back."""
        self._free = threading.Semaphore(may_wait)
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, Failures] = OrderedDict()

    def seconds_to_wait(self, address: str) -> float:
        """Until a key from there is looked at; 0: it is now."""
        failures = self._failures.get(address)
        return 0.0 if failures is None else max(0.0, failures.until - time.monotonic())

    def failed(self, address: str) -> None:
        """There was a wrong key; returns when the answer may go."""
        now = time.monotonic()
        with self._lock:
            before = self._failures.pop(address, Failures(0, now))
            count = 0 if now - before.until > FORGOTTEN_SECONDS else before.count
            seconds = min(MOST_SECONDS, FIRST_SECONDS * 2 ** min(count, 20))
            self._failures[address] = Failures(count + 1, now + seconds)
            if len(self._failures) > MOST_ADDRESSES:
                self._failures.popitem(last=False)
        if self._free.acquire(blocking=False):
            try:
                time.sleep(seconds)
            finally:
                self._free.release()
