"""How a service that is told to stop takes leave of those who are connecting just then.

A connection that the kernel has accepted and no worker has yet is reset when the listening socket is closed; by then
its request may have been sent, and a proxy in front must not send a POST twice. So the socket refuses new connections
first, while the workers still take those that wait: a proxy that is refused tries the next address.
"""

import contextlib
import signal
import socket
import sys
import time
from collections.abc import Iterable
from types import FrameType

SECONDS = 0.3
"""For the workers to take what waits: they need milliseconds."""


def refuse_new_connections(listener: socket.socket) -> None:
    """Of other machines and containers: from now on the socket is one of the loopback device only, which Linux lets any
    user say once. What waits to be taken still waits, unlike after `shutdown` or `close`."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")


def take_leave_at_sigterm(listeners: Iterable[socket.socket]) -> None:
    """Do that before what is done now at SIGTERM in this process."""
    stop = signal.getsignal(signal.SIGTERM)
    if sys.platform != "linux" or not callable(stop):
        return

    def leave(number: int, frame: FrameType | None) -> None:
        for listener in listeners:
            with contextlib.suppress(OSError):  # a Unix socket, or a kernel before 5.7
                refuse_new_connections(listener)
        time.sleep(SECONDS)
        stop(number, frame)

    signal.signal(signal.SIGTERM, leave)
