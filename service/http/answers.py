"""Answers as JSON."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Response
from pydantic import BaseModel
from werkzeug.datastructures import Headers

from service.http.observing import MODEL_VERSION
from service.schemas import TrainStepAnswer, VersionAnswer, VersionsAnswer
from service.store.records import Version

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


def train_step_answer(version: Version) -> Response:
    fields = {name: getattr(version, name) for name in TrainStepAnswer.model_fields}
    fields["rehearsed"] = version.rehearsed or 0
    if version.clip_norm is None:
        del fields["clip_norm"]
    return json_answer(TrainStepAnswer, **fields)


def versions_answer(page: Sequence[Version], next_before: int | None) -> Response:
    return json_answer(VersionsAnswer, versions=[version_fields(version) for version in page], next_before=next_before)


def version_answer(version: Version) -> Response:
    return json_answer(VersionAnswer, **version_fields(version))


def npz_answer(data: bytes, name: str, **headers: str) -> Response:
    """An .npz file to keep."""
    disposition = f'attachment; filename="{name}"'
    return Response(data, mimetype=NPZ, headers={"Content-Disposition": disposition, **headers})


def version_fields(version: Version) -> dict[str, Any]:
    """What `VersionAnswer` describes."""
    fields = {name: getattr(version, name) for name in VersionAnswer.model_fields}
    for name in ("event", "reason"):
        if fields[name] is None:
            del fields[name]
    return {**fields, "created_at": time_text(version.created_at)}


def time_text(seconds: float) -> str:
    """ISO 8601, UTC, of seconds since the epoch."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
