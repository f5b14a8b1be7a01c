"""Who may do what: bearer keys, where the settings have some."""

import hmac
from collections.abc import Sequence

from flask import Flask, request

from service import metrics
from service.http.guessing import Guessing
from service.http.operation import operation_at
from service.http.problems import Problem
from service.settings import Settings


def register(app: Flask, settings: Settings) -> None:
    """Ask for the key before any other look at the request. An endpoint is closed unless it says
    that it is open."""
    full = [key.encode() for key in settings.keys("api_key")]
    predict = [key.encode() for key in settings.keys("api_key_predict")]
    if not full and not predict:
        return
    guessing = Guessing(may_wait=settings.threads // 2)

    @app.before_request
    def check_key() -> None:
        endpoint = request.endpoint
        if endpoint is None or request.method == "OPTIONS":  # a browser's preflight has no key
            return
        access = operation_at(app, endpoint).access
        if access == "open":
            return
        accepted = (predict and predict + full) if access == "predict" else full
        if not accepted:
            return
        authorization = request.headers.get("Authorization")
        if is_one_of(bearer_key(authorization or ""), accepted):
            return
        address = request.remote_addr or ""
        if authorization is not None and (seconds := guessing.seconds_to_wait(address)):
            metrics.FAILED_KEYS.labels("too soon").inc()
            raise Problem(
                429,
                "one wrong key after the other comes from this address: wait a moment before you try the next",
                headers={"Retry-After": str(int(seconds) + 1)},
            )
        metrics.FAILED_KEYS.labels("none" if authorization is None else "wrong").inc()
        if authorization is not None:
            guessing.failed(address)
        raise Problem(
            401,
            "this wants the header Authorization: Bearer and the key that the service was started with",
            headers={"WWW-Authenticate": "Bearer"},
        )


def is_one_of(given: bytes, accepted: Sequence[bytes]) -> bool:
    return sum(hmac.compare_digest(given, key) for key in accepted) > 0  # all of them, whatever the first one says


def bearer_key(authorization: str) -> bytes:
    scheme, _, key = authorization.partition(" ")
    return key.strip(" \t").encode("latin-1", "replace") if scheme.lower() == "bearer" else b""
