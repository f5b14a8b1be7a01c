"""Answers as JSON."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Response
from pydantic import BaseModel
from werkzeug.datastructures import Headers

from service.http.observing import MODEL_VERSION

NPZ = "application/x-npz"


class JsonAnswer(Response):
    """A whole answer whose headers are complete: werkzeug need not work them out, and a server gets one piece."""

    model_version: int | str | None = None
    """For the log of requests."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type="application/json")

    def get_wsgi_headers(self, environ: Any) -> Headers:
        return self.headers

    def get_app_iter(self, environ: Any) -> Iterable[bytes]:
        environ[MODEL_VERSION] = self.model_version
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self.get_data()]


def json_answer(schema: type[BaseModel], **fields: Any) -> Response:
    """The fields, as the schema describes them. Arrays are written as they are: pydantic need not go through numbers
    that were computed here."""
    assert fields.keys() <= schema.model_fields.keys()
    answer = JsonAnswer(orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY))
    answer.model_version = fields.get("model_version")
    return answer


def named(labels: Iterable[int], label_names: Sequence[str] | None) -> dict[str, list[str]]:
    """The field with the labels' names, of an answer about a model whose classes have some."""
    return {} if label_names is None else {"label_names": [label_names[label] for label in labels]}


def npz_answer(data: bytes, name: str, **headers: str) -> Response:
    """An .npz file to keep."""
    disposition = f'attachment; filename="{name}"'
    return Response(data, mimetype=NPZ, headers={"Content-Disposition": disposition, **headers})


def time_text(seconds: float) -> str:
    """ISO 8601, UTC, of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
