"""GET and PUT /learning: how well the network is doing, and whether it learns."""

from typing import Any

from flask import Blueprint, Response

from service.http.endpoint import Endpoint
from service.http.json_response import json_answer, named
from service.live.drift_alarm import Watch
from service.live.history import Block, Window
from service.live.service import Service
from service.schemas.answers import LearningAnswer
from service.schemas.requests import LearningRequest

DEFAULT_REASON = "somebody asked for it by PUT /learning"


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("progress", __name__)

    @routes.get("/learning")
    @Endpoint("How well the network does, and whether it learns", LearningAnswer, errors=(503,))
    def get_learning() -> Response:
        return answer()

    @routes.put("/learning")
    @Endpoint("Pause or resume learning", LearningAnswer, examples={"go on": {"state": "learning"}}, errors=(503,))
    def put_learning(body: LearningRequest) -> Response:
        """Answers as GET does after the change."""
        if body.state == "paused":
            service.learner.pause(body.reason or DEFAULT_REASON)
        else:
            service.learner.resume()
        return answer()

    def answer() -> Response:
        weights = service.replica.newest().weights
        classes = weights.output_size
        standing = service.history.standing(classes)
        row, alarm = standing.row, service.learner.alarm
        watch = Watch.of(row.watch)
        first, last = standing.answers.windows
        return json_answer(
            LearningAnswer,
            state="learning" if standing.paused is None else "paused",
            reason=standing.paused,
            windows=[window_fields(window) for window in standing.windows],
            best_window_accuracy=row.best_accuracy,
            chosen=window_fields(standing.chosen) | {"pinned": window_fields(standing.pinned)},
            unlabelled={
                "since_version": standing.answers.since,
                "first": answer_fields(first),
                "last": answer_fields(last),
            },
            alarm={
                "act": alarm.act,
                "false_every": alarm.false_every,
                "usual_accuracy": None if watch.usual is None else 1 - watch.usual,
                "evidence": watch.evidence / alarm.threshold,
                "changed": None
                if watch.changed_at is None
                else {"model_version": watch.changed_version, "examples": row.examples - watch.changed_at},
            },
            remembered=len(weights.memory),
            **named(range(classes), weights.label_names),
        )

    return routes


def window_fields(window: Window) -> dict[str, Any]:
    return {
        "examples": window.examples,
        **figures(*window.total),
        "by_class": [{"label": label, **figures(*sums)} for label, sums in enumerate(window.by_class.tolist())],
    }


def answer_fields(block: Block) -> dict[str, Any]:
    return {
        "count": block.images,
        "confidence": block.confidence / block.images if block.images else None,
        "pictures": block.pictures,
        "refused": block.refused / block.pictures if block.pictures else None,
    }


def figures(count: int, hits: int, loss: float) -> dict[str, Any]:
    if not count:
        return {"count": 0, "accuracy": None, "loss": None}
    return {"count": count, "accuracy": hits / count, "loss": max(0.0, loss / count)}
