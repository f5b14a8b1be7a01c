"""Authentication: which requests require a bearer key, where the settings have one."""

import hmac
from collections.abc import Sequence

from flask import Flask, current_app, request

from service import metrics
from service.http.operation import operation_at
from service.http.problems import Problem
from service.settings import Settings

KEYS = "twolayernet.keys"


def register(app: Flask, settings: Settings) -> None:
    """Check the key before anything else of the request. An endpoint is closed unless it declares that it is open."""
    full = [key.encode() for key in settings.keys("api_key")]
    predict = [key.encode() for key in settings.keys("api_key_predict")]
    if not full:
        return
    app.extensions[KEYS] = predict + full

    @app.before_request
    def check_key() -> None:
        endpoint = request.endpoint
        if endpoint is None or request.method == "OPTIONS":  # a browser's preflight has no key
            return
        access = operation_at(app, endpoint).access
        if access == "closed":
            check(full, "authentication required")
        elif access == "predict" and predict:
            check(predict + full, "authentication required")


def require_key(what: str) -> None:
    """For a request to an open endpoint that writes or costs more than others: it requires a key once there is one.
    Raises Problem, 401."""
    if (accepted := current_app.extensions.get(KEYS)) is not None:
        check(accepted, f"{what} requires a key")


def check(accepted: Sequence[bytes], why: str) -> None:
    authorization = request.headers.get("Authorization")
    if is_one_of(bearer_key(authorization or ""), accepted):
        return
    metrics.FAILED_KEYS.labels("none" if authorization is None else "wrong").inc()
    raise Problem(401, f"{why}: send 'Authorization: Bearer <key>'", headers={"WWW-Authenticate": "Bearer"})


def is_one_of(given: bytes, accepted: Sequence[bytes]) -> bool:
    return sum(hmac.compare_digest(given, key) for key in accepted) > 0  # compares with all, whichever matches


def bearer_key(authorization: str) -> bytes:
    scheme, _, key = authorization.partition(" ")
    return key.strip(" \t").encode("latin-1", "replace") if scheme.lower() == "bearer" else b""
