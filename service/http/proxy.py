"""Behind a proxy: whose word about the client is taken, and the path under which the service is reached."""

from typing import TYPE_CHECKING

from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from service.http.problems import Problem
from service.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def wrapped(wsgi: "WSGIApplication", settings: Settings) -> "WSGIApplication":
    """Mount the application under its prefix, and take X-Forwarded-For, -Proto, -Host and -Prefix from as many proxies
    as are trusted: from none, unless the settings say so."""
    if settings.prefix:
        elsewhere = Problem(404, f"nothing is served here: the service is at {settings.prefix}/").response()
        wsgi = DispatcherMiddleware(elsewhere, {settings.prefix: wsgi})
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        wsgi = ProxyFix(wsgi, x_for=count, x_proto=count, x_host=count, x_prefix=count)
    return wsgi
