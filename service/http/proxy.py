"""Behind a proxy: whose word about the client is taken, and the path under which the service is reached."""

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from flask import Flask, Response, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from service.http.problems import Problem
from service.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def register(app: Flask, settings: Settings) -> None:
    @app.after_request
    def redirect_within(answer: Response) -> Response:
        """To a path of this service, whatever the headers say: the router redirects //predict and a bare prefix."""
        if "Location" in answer.headers:
            query = f"?{request.query_string.decode('latin-1')}" if request.query_string else ""
            answer.headers["Location"] = settings.prefix + quote(re.sub("/+", "/", request.path)) + query
        return answer


def wrapped(wsgi: "WSGIApplication", settings: Settings) -> "WSGIApplication":
    """Mount the application under its prefix, and take X-Forwarded-For and -Proto from as many proxies as are trusted;
    -Host and -Prefix, too, where a setting of their own says so. By default none of them is."""
    if settings.prefix:
        elsewhere = Problem(404, f"nothing is served here: the service is at {settings.prefix}/").response()
        wsgi = DispatcherMiddleware(elsewhere, {settings.prefix: wsgi})
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        named = count if settings.trusted_forwarded_host else 0
        wsgi = ProxyFix(wsgi, x_for=count, x_proto=count, x_host=named, x_prefix=named)
    return wsgi
