"""/models/{name}/…: the name is taken off the path, so that the same routes answer for every model."""

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flask import Flask

from service.http.endpoint import endpoint_at
from service.http.problems import MIN_VERSION_HEADER
from service.http.request import this_request
from service.http.request_log import MODEL
from service.schemas.fields import Certainty

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ROOT = "/models"
PATH = re.compile(r"(/models/([^/]+))(/.*)", re.DOTALL)
OF_THE_SERVICE = re.compile(r"/key|/models(/.*)?|/v2/models", re.DOTALL)
"""What comes after a name and is no path of that model."""


INFERENCE = "/v2/models/"
INFERENCE_PATH = re.compile(r"/v2/models/([^/]+)(/.*)?", re.DOTALL)


def wrapped(wsgi: "WSGIApplication", done: Callable[[], None], inference_name: str | None) -> "WSGIApplication":
    """done: called after each request that names a model; inference_name: under /v2, that of each model to itself.
    None: under /v2, there is no other name."""

    def with_model(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if ROOT not in path:
            return wsgi(environ, start_response)
        if path.startswith(ROOT) and (match := PATH.fullmatch(path)) and not OF_THE_SERVICE.fullmatch(match[3]):
            environ[MODEL] = match[2]
            environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + match[1]
            environ["PATH_INFO"] = match[3]
        elif inference_name is not None and path.startswith(INFERENCE) and (match := INFERENCE_PATH.fullmatch(path)):
            name, rest = match.groups("")
            if name != inference_name:
                environ[MODEL] = name
                environ["PATH_INFO"] = f"{INFERENCE}{inference_name}{rest}"
        if MODEL not in environ:
            return wsgi(environ, start_response)
        try:
            return wsgi(environ, start_response)
        finally:
            done()

    return with_model


def register(app: Flask, find: Callable[[str, Certainty], object]) -> None:
    """Before a view answers for a model, find it: for a predict that asks for no version, the one that this process
    knows by the name. What changes a model has to know for certain which one that is."""

    @app.before_request
    def find_model() -> None:
        request = this_request()
        if (name := request.environ.get(MODEL)) is not None:
            access = "closed" if request.endpoint is None else endpoint_at(app, request.endpoint).access
            if access == "closed" or "remember" in request.args:
                find(name, "certain")
            elif access == "predict" and MIN_VERSION_HEADER not in request.headers:
                find(name, "known")
            else:
                find(name, "if reachable")


def inference_name(environ: "WSGIEnvironment", own: str) -> str:
    """What a client under /v2 calls the model. own: its name to itself."""
    is_mounted = MODEL in environ and environ.get("SCRIPT_NAME", "").endswith(mount(environ))
    return own if is_mounted else str(environ.get(MODEL, own))


def mount(environ: "WSGIEnvironment") -> str:
    """The part of the path that names a model; "" without one."""
    return f"{ROOT}/{environ[MODEL]}" if MODEL in environ else ""
