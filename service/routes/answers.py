"""Answers about versions."""

from typing import Any

from flask import Response

from service.http.answers import json_answer, time_text
from service.schemas import TrainStepAnswer, VersionAnswer
from service.store.records import Version


def train_step_answer(version: Version) -> Response:
    fields = {name: getattr(version, name) for name in TrainStepAnswer.model_fields}
    fields["rehearsed"] = version.rehearsed or 0
    if version.clip_norm is None:
        del fields["clip_norm"]
    return json_answer(TrainStepAnswer, **fields)


def version_answer(version: Version) -> Response:
    return json_answer(VersionAnswer, **version_fields(version))


def version_fields(version: Version) -> dict[str, Any]:
    """What `VersionAnswer` describes."""
    fields = {name: getattr(version, name) for name in VersionAnswer.model_fields}
    for name in ("event", "reason"):
        if fields[name] is None:
            del fields[name]
    return {**fields, "created_at": time_text(version.created_at)}
