"""The whole service on one page."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from service.http import access, connection, observing, origins, problems, proxy, tracing
from service.http.incoming import IncomingRequest
from service.live.alarm import Alarm
from service.live.history import History
from service.live.learner import Learner
from service.live.replica import Replica
from service.live.service import Service
from service.live.waiting import Waiting
from service.routes import (
    documentation,
    health,
    inference,
    learning,
    monitoring,
    playground,
    prediction,
    predictions,
    progress,
    versions,
    weights,
)
from service.settings import Settings, load_settings
from service.startup import open_log
from service.store.predictions import DAY_SECONDS, Limits

EXTENSION = "twolayernet"
"""Where the application keeps its `Service`, for whoever has to close it."""


class Application(Flask):
    request_class = IncomingRequest

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """As it is: no view here is a coroutine, and Flask would look anew at each request."""
        return func


def create_app(settings: Settings | None = None, say: bool = False) -> Flask:
    """The WSGI application, with the settings of the environment unless some are given.

    say: what is served, in a line on standard error.

    Raises StartupError and StoreError, whose messages are one line each.
    """
    settings = settings or load_settings()
    log = open_log(settings, say)
    replica = Replica(log, settings.max_staleness)
    replica.catch_up()
    limits = Limits(settings.remember_days * DAY_SECONDS, settings.remember_bytes)
    alarm = Alarm(settings.alarm, settings.alarm_points, settings.alarm_examples)
    learner = Learner(log, replica, settings.gradient_norm_limit, settings.memory_size, alarm=alarm, limits=limits)
    service = Service(settings, log, replica, learner, Waiting(log, limits), History(log))

    app = Application(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config["MAX_UNPACKED_BYTES"] = settings.max_unpacked_bytes
    app.config["MAX_IMAGES"] = settings.max_images
    problems.register(app)
    tracing.register(app)
    origins.register(app, settings)
    access.register(app, settings)
    proxy.register(app, settings)
    for around in (proxy, observing, connection):  # a request passes the last of them first
        app.wsgi_app = around.wrapped(app.wsgi_app, settings)  # type: ignore[method-assign]
    for routes in (
        prediction,
        predictions,
        learning,
        progress,
        versions,
        weights,
        health,
        inference,
        monitoring,
        documentation,
        playground,
    ):
        app.register_blueprint(routes.blueprint(service))
    inference.errors_in_the_protocol_s_form(app)
    app.extensions[EXTENSION] = service
    log.release()  # a server may fork now
    return app
