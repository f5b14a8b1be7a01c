"""The whole service on one page."""

from collections.abc import Callable
from typing import Any, NoReturn, cast

from flask import Flask, Request
from werkzeug.routing import RequestRedirect

from service.http import authentication, connection, model_path, origins, problems, proxy, request_log, tracing
from service.http.request import IncomingRequest
from service.live.models import Models, ServiceOfRequest
from service.live.service import Service
from service.routes import (
    classes,
    health,
    labels,
    learning,
    metrics,
    open_inference,
    pages,
    predict,
    predictions,
    train_step,
    unlearning,
    versions,
    weights,
)
from service.routes import models as model_routes
from service.settings import Settings, load_settings
from service.startup import open_log

EXTENSION = "twolayernet"
"""The application's `Service`, that of the default model, is in `app.extensions` under this name."""

MODELS = "twolayernet.models"
"""And its `Models` under this one."""

ROUTES = (
    predict, predictions, train_step, unlearning, labels, learning, versions, weights, classes, open_inference, pages,
)  # fmt: skip


class Application(Flask):
    request_class = IncomingRequest

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """No view is a coroutine: Flask need not check that for each request."""
        return func

    def raise_routing_exception(self, request: Request) -> NoReturn:
        if isinstance(request.routing_exception, RequestRedirect):
            request.routing_exception.new_url = proxy.redirect_within(request, self.config["PREFIX"])
        super().raise_routing_exception(request)


def create_app(settings: Settings | None = None, announce: bool = False) -> Flask:
    """The WSGI application. Default: with the settings of the environment.

    announce: print what is served, on standard error.

    Raises StartupError and StoreError, whose messages are one line each.
    """
    settings = settings or load_settings()
    log = open_log(settings, announce)
    models = Models(Service.of(log, settings))
    service = cast(Service, ServiceOfRequest(models.default))  # routes read, call one method of it, and answer

    app = Application(__name__, static_folder=None)
    app.extensions[EXTENSION] = models.default
    app.extensions[MODELS] = models
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config["MAX_UNPACKED_BYTES"] = settings.max_unpacked_bytes
    app.config["MAX_IMAGES"] = settings.max_images
    app.config["PREFIX"] = settings.prefix
    problems.register(app, own_form=open_inference.error_answer)
    tracing.register(app)
    origins.register(app, settings)
    authentication.register(app, settings, models.is_key_of)
    model_path.register(app, models.find)
    for room in ROUTES:
        app.register_blueprint(room.blueprint(service))
    for watched in (health, metrics):
        app.register_blueprint(watched.blueprint(service, models.in_trouble))
    app.register_blueprint(model_routes.blueprint(models))

    pipeline = model_path.wrapped(app.wsgi_app, models.done, open_inference.MODEL if settings.models else None)
    pipeline = proxy.wrapped(pipeline, settings)
    pipeline = request_log.wrapped(pipeline, settings)
    pipeline = connection.wrapped(pipeline)  # a request enters here
    app.wsgi_app = pipeline  # type: ignore[method-assign, assignment]

    log.database.release()  # a server may fork now
    return app
