"""Serving with the HTTP server of the settings, until it is stopped."""

import errno
import os
import socket
import sys
from importlib.util import find_spec

from service.errors import StartupError
from service.server.address import say_where, url_host
from service.settings import Settings
from service.startup import ANNOUNCED, open_log

APPLICATION = "service.wsgi:app"
HEAD_SECONDS = 30
GRACEFUL_SECONDS = 15
"""Longer than any request takes. Now and then, a worker of Granian has answered all requests and does not end."""


def run(settings: Settings) -> None:
    """Raises StartupError and StoreError."""
    check_address(settings)
    if settings.server == "gunicorn":
        run_gunicorn()
        return
    if find_spec("granian") is None:
        raise StartupError("--server granian requires the extra granian: install twolayernet-service[granian]")
    open_log(settings, announce=True).database.release()  # each worker opens it again: report errors once, here
    os.environ[ANNOUNCED] = "1"
    say_where(settings, settings.port)
    run_granian(settings)


def check_address(settings: Settings) -> None:
    """First of all: a server reports it late and at length. Raises StartupError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        socket.create_server((settings.host, settings.port), family=family).close()
    except OSError as error:
        address = f"{url_host(settings.host)}:{settings.port}"
        reason = (error.strerror or str(error)).partition(" (while")[0]  # Python adds the address
        hint = "something listens there already, perhaps this service: " * (error.errno == errno.EADDRINUSE)
        raise StartupError(
            f"can't listen on {address}: {reason} ({hint}choose another address with --host and --port)"
        ) from None


def run_gunicorn(app: str = APPLICATION) -> None:
    """gunicorn loads the application in its master, which reports errors and ends with exit code 4."""
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
