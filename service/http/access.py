"""Who may do what: bearer keys, where the settings have some."""

import hmac

from flask import Flask, request

from service.http.problems import Problem
from service.settings import Settings

OPEN = {
    "health.healthz",
    "health.readyz",
    "documentation.openapi",
    "documentation.docs",
    "documentation.file",
    "playground.page",
    "playground.file",
}
PREDICT = {"prediction.predict", "prediction.accuracy"}


def register(app: Flask, settings: Settings) -> None:
    """Ask for the key before any other look at the request. An endpoint is closed unless it is named as open."""
    if settings.api_key is None and settings.api_key_predict is None:
        return
    full = None if settings.api_key is None else settings.api_key.get_secret_value().encode()
    predict = None if settings.api_key_predict is None else settings.api_key_predict.get_secret_value().encode()

    @app.before_request
    def check_key() -> None:
        endpoint = request.endpoint
        if endpoint is None or endpoint in OPEN:
            return
        if endpoint in PREDICT:
            accepted = [] if predict is None else [key for key in (predict, full) if key is not None]
        else:
            accepted = [] if full is None else [full]
        if not accepted:
            return
        given = bearer_key(request.headers.get("Authorization", ""))
        matches = [hmac.compare_digest(given, key) for key in accepted]  # all of them, whatever the first one says
        if not any(matches):
            raise Problem(
                401,
                "this wants the header Authorization: Bearer and the key that the service was started with",
                headers={"WWW-Authenticate": "Bearer"},
            )


def bearer_key(authorization: str) -> bytes:
    scheme, _, key = authorization.partition(" ")
    return key.strip().encode("latin-1", "replace") if scheme.lower() == "bearer" else b""
