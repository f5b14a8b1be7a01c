"""The whole service on one page."""

from dataclasses import dataclass

from flask import Flask

from service import access, problems, proxy
from service.incoming import IncomingRequest
from service.learner import Learner
from service.replica import Replica
from service.routes import health, learning, prediction, versions, weights
from service.settings import Settings, load_settings
from service.startup import open_log
from service.step_log import StepLog


@dataclass(frozen=True)
class Service:
    """What the routes work with."""

    settings: Settings
    log: StepLog
    replica: Replica
    learner: Learner


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application, with the settings of the environment unless some are given.

    Raises StartupError and StoreError, whose messages are one line each.
    """
    settings = settings or load_settings()
    log = open_log(settings)
    replica = Replica(log)
    replica.newest()
    learner = Learner(log, replica, settings.gradient_norm_limit, settings.optimizer)
    service = Service(settings, log, replica, learner)

    app = Flask(__name__, static_folder=None)
    app.request_class = IncomingRequest
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    problems.register(app)
    access.register(app, settings)
    proxy.register(app, settings)
    for routes in (prediction, learning, versions, weights, health):
        app.register_blueprint(routes.blueprint(service))
    log.release()  # gunicorn may fork now
    return app
