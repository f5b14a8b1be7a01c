"""Errors as answers: RFC 9457 problem documents."""

import logging
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.http import HTTP_STATUS_CODES

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
from service.mistakes import MOST_ERRORS, shortened

MEDIA_TYPE = "application/problem+json"
MOST_ANSWER_BYTES = 15_000
LONGEST_DETAIL = 2000
LONGEST_MESSAGE = 500
RETRY_AFTER_SECONDS = "1"
MIN_VERSION_HEADER = "X-Min-Model-Version"

TITLES = HTTP_STATUS_CODES | {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""RFC 9110's names, where werkzeug has older ones."""

logger = logging.getLogger(__name__)

Location = tuple[str | int, ...]


class Kind(StrEnum):
    """What programs must tell apart where the status does not: the last part of a problem's `type`."""

    LEARNING_PAUSED = "learning-paused"
    KEY_REUSED = "key-reused"
    PREDICTION_GONE = "prediction-gone"
    WEIGHTS_CHANGED = "weights-changed"
    UNKNOWN_VERSION = "unknown-version"
    UNKNOWN_PREDICTION = "unknown-prediction"
    VERSION_NOT_YET = "version-not-yet"
    STORE_AWAY = "store-away"
    UNSAFE_STEP = "unsafe-step"
    NO_DIGIT = "no-digit"
    SEVERAL_DIGITS = "several-digits"

    @property
    def uri(self) -> str:
        """A name and no address: the same on every host and under every prefix, with nothing to fetch."""
        return f"urn:twolayernet:problem:{self}"


class Problem(Exception):  # noqa: N818  the RFC's own word
    """An answer that says what is wrong. errors: (where, what was expected), where being a path into the request."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[tuple[Location, str]] = (),
        headers: Mapping[str, str] | None = None,
        kind: Kind | None = None,
        *,
        most_errors: int = MOST_ERRORS,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors[:most_errors]
        self.headers = headers or {}
        self.kind = kind

    def response(self) -> Response:
        errors = [
            {
                "loc": [shortened(part) if isinstance(part, str) else part for part in loc],
                "msg": shortened(msg, LONGEST_MESSAGE),
            }
            for loc, msg in self.errors
        ]
        while len(body := self._document(errors)) > MOST_ANSWER_BYTES and errors:
            del errors[len(errors) // 2 :]
        return Response(body, self.status, dict(self.headers), mimetype=MEDIA_TYPE)

    def _document(self, errors: Sequence[Mapping[str, object]]) -> bytes:
        return orjson.dumps(
            {
                "type": self.kind.uri if self.kind else "about:blank",
                "title": TITLES.get(self.status, "Error"),
                "status": self.status,
                "detail": shortened(self.detail, LONGEST_DETAIL),
                "errors": errors,
            }
        )


class BadInput(Problem):
    """422 for one mistake at one place of the request."""

    def __init__(self, location: Location, message: str, kind: Kind | None = None) -> None:
        where = dotted(location)
        super().__init__(422, f"{where}: {message}" if where else message, [(location, message)], kind=kind)


def dotted(location: Location) -> str:
    return ".".join(shortened(str(part)) for part in location)


def predictions_gone(error: PredictionsGoneError) -> Problem:
    """409 that names the predictions that can't be learnt from, as many of them as an answer has room for."""
    errors: list[tuple[Location, str]] = [(("prediction_ids", at), why) for at, why in error.wrong.items()]
    return Problem(409, str(error), errors, kind=Kind.PREDICTION_GONE, most_errors=100)


ERRORS: dict[type[Exception], Callable[[Any], Problem]] = {
    UnknownVersionError: lambda error: about(404, Kind.UNKNOWN_VERSION, error, "model_version"),
    NotYetError: lambda error: about(503, Kind.VERSION_NOT_YET, error, MIN_VERSION_HEADER),
    UnsafeStepError: lambda error: BadInput((), str(error), Kind.UNSAFE_STEP),
    KeyReusedError: lambda error: about(409, Kind.KEY_REUSED, error, "Idempotency-Key"),
    LearningPausedError: lambda error: Problem(409, str(error), [((), error.reason)], kind=Kind.LEARNING_PAUSED),
    PredictionsGoneError: predictions_gone,
    UnknownPredictionError: lambda error: about(404, Kind.UNKNOWN_PREDICTION, error),
    WeightsChangedError: lambda error: about(412, Kind.WEIGHTS_CHANGED, error, "If-Match"),
    StoreError: lambda error: about(503, Kind.STORE_AWAY, error),
}


def about(status: int, kind: Kind, error: Exception, *location: str) -> Problem:
    """location: the part of the request that the error is about, if it is about one."""
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status == 503 else {}
    return Problem(status, str(error), [(location, str(error))] if location else (), headers, kind)


def path_of(rule: str) -> str:
    """Flask's rule as OpenAPI writes it, {name} for what varies."""
    return rule.replace("<", "{").replace(">", "}")


def no_such_path(app: Flask) -> str:
    """What is asked for instead: all paths that there are."""
    root = shortened(request.root_path)
    paths = ", ".join(sorted({f"{root}{path_of(rule.rule)}" for rule in app.url_map.iter_rules()}))
    return f"there is nothing at {shortened(request.root_path + request.path)}. The paths are {paths}"


def register(app: Flask) -> None:
    """Answer every error, the framework's included, with a problem document."""

    @app.errorhandler(Problem)
    def problem(error: Problem) -> Response:
        return error.response()

    for kind_of_error, as_problem in ERRORS.items():
        app.register_error_handler(kind_of_error, answer_with(as_problem))

    @app.errorhandler(HTTPException)
    def http_exception(error: HTTPException) -> Response:
        status = error.code or 500
        if status < 400:
            return Response(error.get_body(), status, error.get_headers())
        if isinstance(error, NotFound):
            error.description = no_such_path(app)
        headers = {
            name: value for name, value in error.get_headers() if name.lower() not in ("content-type", "content-length")
        }
        return Problem(status, error.description or TITLES.get(status, "Error"), headers=headers).response()

    @app.errorhandler(Exception)
    def unexpected(error: Exception) -> Response:
        logger.exception("unexpected error")
        return Problem(500, "internal error; see the service's log").response()


def answer_with(as_problem: Callable[[Any], Problem]) -> Callable[[Exception], Response]:
    def answer(error: Exception) -> Response:
        if isinstance(error, StoreError):
            logger.error("%s", error)
        return as_problem(error).response()

    return answer
