"""Serving with the HTTP server that the settings name, until it is told to stop."""

import errno
import os
import socket
import sys
from importlib.util import find_spec

from service.errors import StartupError
from service.server.address import say_where, url_host
from service.settings import Settings
from service.startup import SAID, open_log

HEAD_SECONDS = 30
GRACEFUL_SECONDS = 15
"""Longer than any request takes. Now and then a worker of Granian has answered all and does not end by itself."""


APPLICATION = "service.wsgi:app"


def run(settings: Settings) -> None:
    """Raises StartupError and StoreError."""
    check_address(settings)
    if settings.server == "granian":
        if find_spec("granian") is None:
            raise StartupError("--server granian needs the extra granian: install twolayernet-service[granian]")
        open_log(settings, say=True).release()  # each worker loads the application: say here, once, what is wrong
        os.environ[SAID] = "1"
        say_where(settings, settings.port)
        run_granian(settings)
    else:
        run_gunicorn()


def check_address(settings: Settings) -> None:
    """Before anything is begun: a server would say it at length, and late. Raises StartupError."""
    try:
        socket.create_server((settings.host, settings.port), family=family_of(settings.host)).close()
    except OSError as error:
        address = f"{url_host(settings.host)}:{settings.port}"
        hint = "something listens there already, perhaps this service: " * (error.errno == errno.EADDRINUSE)
        raise StartupError(
            f"can't listen on {address}: {reason(error)} ({hint}--host and --port name another address)"
        ) from None


def reason(error: OSError) -> str:
    """Without what Python adds: the address is said anyway."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def run_gunicorn(app: str = APPLICATION) -> None:
    """gunicorn loads the application in its master, which says what is wrong and ends with exit code 4."""
    from gunicorn.app.wsgiapp import run as run_wsgiapp

    sys.argv = ["gunicorn", "-c", "python:service.server.gunicorn_settings", app]
    run_wsgiapp()


def run_granian(settings: Settings, app: str = APPLICATION) -> None:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.log import LogLevels

    Granian(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.WSGI,
        workers=settings.workers,
        blocking_threads=settings.threads,
        http=HTTPModes.http1,
        websockets=False,
        http1_settings=HTTP1Settings(header_read_timeout=HEAD_SECONDS * 1000),
        respawn_failed_workers=True,
        workers_kill_timeout=GRACEFUL_SECONDS,
        log_level=LogLevels.warning,
    ).serve()
