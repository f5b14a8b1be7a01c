"""Whoever tries keys is slowed down: the answer to a wrong one is held back for a moment.

The moment doubles with each wrong key from an address, up to a bound. Only so many threads wait that others go on; to
wrong keys that come while no thread is free to wait, or beside one that waits, the answer is 429. A right one is always
let in: whoever shares an address with one that tries keys is not locked out. Each worker keeps its own account.
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
        """Until a wrong key from there is answered as the first one was; 0: it is now."""
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
