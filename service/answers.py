"""Answers as JSON."""

import hashlib
from datetime import UTC, datetime

import orjson
from flask import Response
from pydantic import BaseModel

from service.schemas import TrainStepAnswer, VersionAnswer
from service.step_log import Version


def json_answer(answer: BaseModel, status: int = 200) -> Response:
    """The fields of the answer, without those that were not set."""
    content = {name: value for name, value in answer if name in answer.model_fields_set}
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY, default=vars)
    return Response(body, status, mimetype="application/json")


def train_step_answer(version: Version) -> TrainStepAnswer:
    record = vars(version)
    fields = ("model_version", "loss", "accuracy", "gradient_norm", "learning_rate", "count")
    clipped = {} if version.clip_norm is None else {"clip_norm": version.clip_norm}
    return TrainStepAnswer(**{name: record[name] for name in fields}, **clipped)


def version_answer(version: Version) -> VersionAnswer:
    record = {name: value for name, value in vars(version).items() if name in VersionAnswer.model_fields}
    created_at = datetime.fromtimestamp(version.created_at, UTC).isoformat(timespec="microseconds")
    return VersionAnswer(**{**record, "created_at": created_at.replace("+00:00", "Z")})


def digest(*parts: bytes) -> bytes:
    """To tell whether a request is the same as an earlier one."""
    hash_ = hashlib.sha256()
    for part in parts:
        hash_.update(len(part).to_bytes(8, "big"))
        hash_.update(part)
    return hash_.digest()
