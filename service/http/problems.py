"""Errors as answers: RFC 9457 problem documents."""

import logging
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from http import HTTPStatus

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from service.errors import (
    KeyReusedError,
    LearningPausedError,
    NotYetError,
    PredictionsGoneError,
    StoreError,
    UnknownPredictionError,
    UnknownVersionError,
    UnsafeStepError,
    WeightsChangedError,
)
from service.mistakes import shortened
from service.schemas import MOST_AT_ONCE

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS = 20
RETRY_AFTER_SECONDS = "1"
MIN_VERSION_HEADER = "X-Min-Model-Version"

logger = logging.getLogger(__name__)

Location = tuple[str | int, ...]


class Problem(Exception):  # noqa: N818  the RFC's own word
    """An answer that says what is wrong. errors: (where, what was expected), where being a path into the request."""

    most_errors = MOST_ERRORS

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[tuple[Location, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}

    def response(self) -> Response:
        body = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "errors": [{"loc": list(loc), "msg": msg} for loc, msg in self.errors[: self.most_errors]],
        }
        return Response(orjson.dumps(body), self.status, dict(self.headers), mimetype=MEDIA_TYPE)


class PredictionsGone(Problem):
    """409 that names each prediction that can't be learnt from."""

    most_errors = MOST_AT_ONCE

    def __init__(self, error: PredictionsGoneError) -> None:
        super().__init__(409, str(error), [(("prediction_ids", at), why) for at, why in error.wrong.items()])


class BadInput(Problem):
    """422 for one mistake at one place of the request."""

    def __init__(self, location: Location, message: str) -> None:
        where = ".".join(str(part) for part in location)
        super().__init__(422, f"{where}: {message}" if where else message, [(location, message)])


def no_such_path(app: Flask) -> str:
    """What is asked for instead: the path that is likely to be meant, and all there are."""
    rules = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule) for rule in app.url_map.iter_rules()}
    asked = request.path.lower().replace("_", "-").rstrip("/")
    meant = "".join(f" is {request.root_path}{rule} meant?" for rule in get_close_matches(asked, rules, 1, 0.75))
    paths = ", ".join(f"{request.root_path}{rule}" for rule in sorted(rules))
    return f"there is nothing at {shortened(request.root_path + request.path)}:{meant} The paths are {paths}"


def no_such_method(error: MethodNotAllowed) -> str:
    taken = sorted(set(error.valid_methods or ()) - {"HEAD", "OPTIONS"})
    return f"{request.root_path}{request.path} takes {' and '.join(taken)}, not {shortened(request.method)}"


def register(app: Flask) -> None:
    """Answer every error, the framework's included, with a problem document."""

    @app.errorhandler(Problem)
    def problem(error: Problem) -> Response:
        return error.response()

    @app.errorhandler(UnknownVersionError)
    def unknown_version(error: UnknownVersionError) -> Response:
        return Problem(404, str(error), [(("model_version",), str(error))]).response()

    @app.errorhandler(NotYetError)
    def not_yet(error: NotYetError) -> Response:
        return Problem(
            503, str(error), [((MIN_VERSION_HEADER,), str(error))], {"Retry-After": RETRY_AFTER_SECONDS}
        ).response()

    @app.errorhandler(UnsafeStepError)
    def unsafe_step(error: UnsafeStepError) -> Response:
        return BadInput((), str(error)).response()

    @app.errorhandler(KeyReusedError)
    def key_reused(error: KeyReusedError) -> Response:
        return Problem(409, str(error), [(("Idempotency-Key",), str(error))]).response()

    @app.errorhandler(LearningPausedError)
    def learning_paused(error: LearningPausedError) -> Response:
        return Problem(409, str(error)).response()

    @app.errorhandler(PredictionsGoneError)
    def predictions_gone(error: PredictionsGoneError) -> Response:
        return PredictionsGone(error).response()

    @app.errorhandler(UnknownPredictionError)
    def unknown_prediction(error: UnknownPredictionError) -> Response:
        return Problem(404, str(error)).response()

    @app.errorhandler(WeightsChangedError)
    def weights_changed(error: WeightsChangedError) -> Response:
        return Problem(412, str(error), [(("If-Match",), str(error))]).response()

    @app.errorhandler(StoreError)
    def store_error(error: StoreError) -> Response:
        logger.error("%s", error)
        return Problem(503, str(error), headers={"Retry-After": RETRY_AFTER_SECONDS}).response()

    @app.errorhandler(HTTPException)
    def http_exception(error: HTTPException) -> Response:
        status = error.code or 500
        if status < 400:
            return Response(error.get_body(), status, error.get_headers())
        if isinstance(error, NotFound):
            error.description = no_such_path(app)
        elif isinstance(error, MethodNotAllowed):
            error.description = no_such_method(error)
        headers = {
            name: value for name, value in error.get_headers() if name.lower() not in ("content-type", "content-length")
        }
        return Problem(status, error.description or HTTPStatus(status).phrase, headers=headers).response()

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        logger.exception("unexpected error")
        return Problem(500, "an error that was not foreseen: the service's log says more").response()
