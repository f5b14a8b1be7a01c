"""Errors as answers: RFC 9457 problem documents."""

import logging
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import orjson
from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.routing import Rule

from service.errors import (
    FoldedAwayError,
    KeyReusedError,
    LearningPausedError,
    ModelExistsError,
    NewClassError,
    NoModelsError,
    NotInForceError,
    NotYetError,
    PredictionsGoneError,
    StoreError,
    UnknownClassError,
    UnknownModelError,
    UnknownPredictionError,
    UnknownVersionError,
    UnsafeStepError,
    WeightsChangedError,
)
from service.http.request_log import MODEL, REQUEST_ID
from service.validation import MOST_ERRORS, shortened

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
    """What programs must tell apart and the status does not: the last part of a problem's `type`."""

    LEARNING_PAUSED = "learning-paused"
    KEY_REUSED = "key-reused"
    PREDICTION_GONE = "prediction-gone"
    WEIGHTS_CHANGED = "weights-changed"
    FOLDED_AWAY = "folded-away"
    UNKNOWN_VERSION = "unknown-version"
    UNKNOWN_PREDICTION = "unknown-prediction"
    UNKNOWN_MODEL = "unknown-model"
    MODEL_EXISTS = "model-exists"
    NO_MODELS = "no-models"
    VERSION_NOT_YET = "version-not-yet"
    STORE_AWAY = "store-away"
    UNSAFE_STEP = "unsafe-step"
    NO_DIGIT = "no-digit"
    SEVERAL_DIGITS = "several-digits"

    @property
    def uri(self) -> str:
        """A name, not an address: the same on every host and under every prefix."""
        return f"urn:twolayernet:problem:{self}"


class Problem(Exception):  # noqa: N818  the RFC's own word
    """An error as an answer. errors: (where, what was expected), where being a path into the request."""

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
        self.detail = shortened(detail, LONGEST_DETAIL)
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
        document = {
            "type": self.kind.uri if self.kind else "about:blank",
            "title": TITLES.get(self.status, "Error"),
            "status": self.status,
            "detail": self.detail,
            "errors": errors,
        }
        while len(body := orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)) > MOST_ANSWER_BYTES and errors:
            del errors[len(errors) // 2 :]
        return Response(body, self.status, dict(self.headers), mimetype=MEDIA_TYPE)


class BadInput(Problem):
    """422 for one mistake in one place of the request."""

    def __init__(self, location: Location, message: str, kind: Kind | None = None) -> None:
        where = dotted(location)
        super().__init__(422, f"{where}: {message}" if where else message, [(location, message)], kind=kind)


def dotted(location: Location) -> str:
    return ".".join(shortened(str(part)) for part in location)


def about(status: int, kind: Kind, error: Exception, *location: str) -> Problem:
    """location: the part of the request that the error is about, if it is about one."""
    headers = {"Retry-After": RETRY_AFTER_SECONDS} if status == 503 else {}
    return Problem(status, str(error), [(location, str(error))] if location else (), headers, kind)


def predictions_gone(error: PredictionsGoneError) -> Problem:
    """Names as many of the predictions as an answer has room for."""
    errors: list[tuple[Location, str]] = [(("prediction_ids", at), why) for at, why in error.wrong.items()]
    return Problem(409, str(error), errors, kind=Kind.PREDICTION_GONE, most_errors=100)


def store_failed(error: StoreError) -> Problem:
    logger.error("%s", error)
    return about(503, Kind.STORE_AWAY, error)


def of_the_framework(error: HTTPException) -> Problem:
    status = error.code or 500
    detail = error.description or TITLES.get(status, "Error")
    if isinstance(error, NotFound):
        detail = no_such_path()
    elif isinstance(error, MethodNotAllowed):
        detail = (
            f"{shortened(request.method)} is not accepted here: expected {', '.join(sorted(error.valid_methods or ()))}"
        )
    of_the_body = ("content-type", "content-length")
    headers = {name: value for name, value in error.get_headers() if name.lower() not in of_the_body}
    return Problem(status, detail, headers=headers)


def unexpected(_error: Exception) -> Problem:
    request_id = request.environ.get(REQUEST_ID)
    logger.exception("unexpected error in request %s", request_id)
    return Problem(500, f"internal error; see the service's log (request ID {request_id})")


PROBLEMS: dict[type[Exception], Callable[[Any], Problem]] = {
    Problem: lambda error: error,
    UnknownVersionError: lambda error: about(404, Kind.UNKNOWN_VERSION, error, "model_version"),
    NoModelsError: lambda error: about(404, Kind.NO_MODELS, error),
    UnknownModelError: lambda error: about(404, Kind.UNKNOWN_MODEL, error, "name"),
    ModelExistsError: lambda error: about(409, Kind.MODEL_EXISTS, error, "name"),
    UnknownClassError: lambda error: BadInput(("labels",), str(error)),
    NewClassError: lambda error: BadInput(("label_name",), str(error)),
    NotInForceError: lambda error: Problem(422, str(error), list(error.wrong.items())),
    FoldedAwayError: lambda error: about(409, Kind.FOLDED_AWAY, error),
    NotYetError: lambda error: about(503, Kind.VERSION_NOT_YET, error, MIN_VERSION_HEADER),
    UnsafeStepError: lambda error: BadInput((), str(error), Kind.UNSAFE_STEP),
    KeyReusedError: lambda error: about(409, Kind.KEY_REUSED, error, "Idempotency-Key"),
    LearningPausedError: lambda error: Problem(409, str(error), [((), error.reason)], kind=Kind.LEARNING_PAUSED),
    PredictionsGoneError: predictions_gone,
    UnknownPredictionError: lambda error: about(404, Kind.UNKNOWN_PREDICTION, error, "prediction_id"),
    WeightsChangedError: lambda error: about(412, Kind.WEIGHTS_CHANGED, error, "If-Match"),
    StoreError: store_failed,
    HTTPException: of_the_framework,
    Exception: unexpected,
}


def register(app: Flask, own_form: Callable[[Problem], Response | None]) -> None:
    """Answer every error with a problem document. own_form: the answer for a path whose errors have another form."""

    def answering(as_problem: Callable[[Any], Problem]) -> Callable[[Exception], Response]:
        def answer(error: Exception) -> Response:
            problem = as_problem(error)
            return own_form(problem) or problem.response()

        return answer

    for kind_of_error, as_problem in PROBLEMS.items():
        app.register_error_handler(kind_of_error, answering(as_problem))


def path_of(rule: str) -> str:
    """Flask's rule as OpenAPI writes it, with {name} for a variable part."""
    return rule.replace("<", "{").replace(">", "}")


def rules_of(app: Flask, of_a_model: bool) -> list[Rule]:
    """All of them, or those that each model has."""
    return [rule for rule in app.url_map.iter_rules() if not (of_a_model and is_about_models(rule))]


def is_about_models(rule: Rule) -> bool:
    return str(rule.endpoint).startswith("models.")


def no_such_path() -> str:
    root = shortened(request.root_path)
    rules = rules_of(current_app, of_a_model=MODEL in request.environ)
    paths = ", ".join(sorted({f"{root}{path_of(rule.rule)}" for rule in rules}))
    return f"nothing at {shortened(request.root_path + request.path)}. The paths are {paths}"
