"""How a request that is about to wait says so, without knowing who answers it."""

import threading
from collections.abc import Callable

_of_this_thread = threading.local()


def call_before_waiting(callback: Callable[[], None]) -> None:
    """What this thread is to do whenever it is about to wait."""
    _of_this_thread.callback = callback


def about_to_wait() -> None:
    callback = getattr(_of_this_thread, "callback", None)
    if callback is not None:
        callback()
