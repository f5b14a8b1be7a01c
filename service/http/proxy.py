"""Behind a proxy: whose headers about the client are trusted, and the path under which the service is mounted."""

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.wrappers import Request

from service.http.model_path import mount
from service.http.problems import Problem
from service.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def wrapped(wsgi: "WSGIApplication", settings: Settings) -> "WSGIApplication":
    """Mount the application under its prefix, and trust X-Forwarded-For and -Proto of as many proxies as the settings
    say. -Host and -Prefix have a setting of their own. By default, none is trusted."""
    if settings.prefix:
        elsewhere = Problem(404, f"nothing is served here: the service is at {settings.prefix}/").response()
        wsgi = DispatcherMiddleware(elsewhere, {settings.prefix: wsgi})
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        named = count if settings.trusted_forwarded_host else 0
        wsgi = ProxyFix(wsgi, x_for=count, x_proto=count, x_host=named, x_prefix=named)
    return wsgi


def redirect_within(request: Request, prefix: str) -> str:
    """Where //predict or a prefix without its slash is redirected: to this service, whatever the headers are."""
    query = f"?{request.query_string.decode('latin-1')}" if request.query_string else ""
    return prefix + mount(request.environ) + quote(re.sub("/+", "/", request.path)) + query
