"""Behind a proxy: whose word about the client is taken, and the path under which the service is reached."""

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from service.http.problems import Problem
from service.settings import Settings


def register(app: Flask, settings: Settings) -> None:
    """Mount the application under its prefix, and take X-Forwarded-For, -Proto, -Host and -Prefix from as many proxies
    as are trusted: from none, unless the settings say so."""
    if settings.prefix:
        elsewhere = Problem(404, f"nothing is served here: the service is at {settings.prefix}/").response()
        app.wsgi_app = DispatcherMiddleware(elsewhere, {settings.prefix: app.wsgi_app})  # type: ignore[method-assign]
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=count, x_proto=count, x_host=count, x_prefix=count
        )
