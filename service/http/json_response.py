"""Answers as JSON and as files."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Response
from pydantic import BaseModel
from werkzeug.datastructures import Headers

from service.http.request_log import MODEL_VERSION

NPZ = "application/x-npz"


class JsonAnswer(Response):
    """A whole answer with complete headers, which werkzeug need not compute."""

    model_version: int | str | None = None
    """For the request log."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type="application/json")

    def get_wsgi_headers(self, environ: Any) -> Headers:
        return self.headers

    def get_app_iter(self, environ: Any) -> Iterable[bytes]:
        environ[MODEL_VERSION] = self.model_version
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self.get_data()]


def json_answer(schema: type[BaseModel], **fields: Any) -> Response:
    """The fields, which the schema describes but does not check: they were computed here."""
    assert fields.keys() <= schema.model_fields.keys()
    answer = JsonAnswer(orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
    answer.model_version = fields.get("model_version")
    return answer


def fields_of(schema: type[BaseModel], source: object) -> dict[str, Any]:
    """The attributes that the schema names. One that is None is left out if the schema does not require it."""
    values = {name: getattr(source, name) for name in schema.model_fields}
    return {name: it for name, it in values.items() if it is not None or schema.model_fields[name].is_required()}


def named(labels: Iterable[int], label_names: Sequence[str] | None) -> dict[str, list[str]]:
    """The field `label_names`, where the model's classes have names."""
    return {} if label_names is None else {"label_names": [label_names[label] for label in labels]}


def npz_answer(data: bytes, name: str, **headers: str) -> Response:
    """An .npz file to download."""
    disposition = f'attachment; filename="{name}"'
    return Response(data, mimetype=NPZ, headers={"Content-Disposition": disposition, **headers})


def time_text(seconds: float) -> str:
    """Seconds since the epoch in ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
