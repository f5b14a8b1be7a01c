"""Authentication: which requests require a bearer key, where the settings have one."""

import hmac
from collections.abc import Callable, Sequence

from flask import Flask, current_app, request

from service.http.endpoint import asks_for_page, endpoint_at
from service.http.problems import Problem
from service.http.request_log import MODEL
from service.metrics import counters
from service.settings import Settings

KEYS = "twolayernet.keys"
RIGHTS = "twolayernet.rights"
KEY_OF_MODEL = "twolayernet.key_of_model"


IsKeyOf = Callable[[str, bytes], bool]
"""Whether a key is the one of a model, which is named."""


def register(app: Flask, settings: Settings, is_key_of: IsKeyOf) -> None:
    """Check the key first. An endpoint is closed unless it declares that it is open."""
    full = [key.encode() for key in settings.keys("api_key")]
    predict = [key.encode() for key in settings.keys("api_key_predict")]
    if not full:
        return
    app.extensions[KEYS] = predict + full
    app.extensions[RIGHTS] = bool(predict), full
    app.extensions[KEY_OF_MODEL] = is_key_of
    accepted = {"closed": full, "predict": predict + full if predict else None, "open": None, "service": full}

    @app.before_request
    def check_key() -> None:
        name = request.endpoint
        if name is None or request.method == "OPTIONS":  # a browser's preflight has no key
            return
        endpoint = endpoint_at(app, name)
        if endpoint.has_page and asks_for_page():  # it asks for the key itself
            return
        if (keys := accepted[endpoint.access]) is not None:
            check(keys, "authentication required", of_model=endpoint.access != "service")


def require_key(what: str) -> None:
    """For requests to an open endpoint that write or cost more than others. Raises Problem, 401."""
    if (accepted := current_app.extensions.get(KEYS)) is not None:
        check(accepted, f"{what} requires a key")


def rights() -> tuple[bool, bool]:
    """Whether this request may predict, and whether it may do everything. Raises Problem, 401, for a wrong key."""
    if (accepted := current_app.extensions.get(KEYS)) is None:
        return True, True
    predict_is_closed, full = current_app.extensions[RIGHTS]
    if "Authorization" not in request.headers:
        return not predict_is_closed, False
    check(accepted, "this key is not accepted")
    given = bearer_key(request.headers["Authorization"])
    return True, is_one_of(given, full) or is_key_of_the_model(given)


def check(accepted: Sequence[bytes], why: str, of_model: bool = True) -> None:
    """of_model: whether the key of the request's model is accepted as well."""
    authorization = request.headers.get("Authorization")
    given = bearer_key(authorization or "")
    if is_one_of(given, accepted) or (of_model and given and is_key_of_the_model(given)):
        return
    counters.FAILED_KEYS.labels("none" if authorization is None else "wrong").inc()
    raise Problem(401, f"{why}: send 'Authorization: Bearer <key>'", headers={"WWW-Authenticate": "Bearer"})


def is_one_of(given: bytes, accepted: Sequence[bytes]) -> bool:
    return sum(hmac.compare_digest(given, key) for key in accepted) > 0  # compares with all, whichever matches


def is_key_of_the_model(given: bytes) -> bool:
    name = request.environ.get(MODEL)
    return name is not None and bool(current_app.extensions[KEY_OF_MODEL](name, given))


def bearer_key(authorization: str) -> bytes:
    scheme, _, key = authorization.partition(" ")
    return key.strip(" \t").encode("latin-1", "replace") if scheme.lower() == "bearer" else b""
