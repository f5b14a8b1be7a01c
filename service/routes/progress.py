"""GET and PUT /learning: how well the network is doing, and whether it learns."""

from typing import Any

from flask import Blueprint, Response

from service.http.answers import json_answer, named
from service.live.service import Service
from service.routes.endpoint import Endpoint
from service.schemas import LearningAnswer, LearningRequest

PAUSED_BY_HAND = "somebody asked for it by PUT /learning"


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("progress", __name__)

    @routes.get("/learning")
    @Endpoint("How well the network does, and whether it learns", LearningAnswer, errors=(503,))
    def get_learning() -> Response:
        return answer()

    @routes.put("/learning")
    @Endpoint("Pause learning, or go on", LearningAnswer, examples={"go on": {"state": "learning"}}, errors=(503,))
    def put_learning(body: LearningRequest) -> Response:
        """The same as GET answers, from then on."""
        if body.state == "paused":
            service.learner.pause(body.reason or PAUSED_BY_HAND)
        else:
            service.learner.resume()
        return answer()

    def answer() -> Response:
        weights, settings = service.replica.newest().weights, service.settings
        classes = weights.output_size
        standing = service.history.standing(classes)
        reason, row = standing.paused, standing.row
        same = row.alarm_examples == settings.alarm_examples  # else it begins with the next step
        best = row.best_accuracy if same else None
        return json_answer(
            LearningAnswer,
            state="learning" if reason is None else "paused",
            reason=reason,
            windows=[
                {
                    "examples": window.examples,
                    **figures(*window.total),
                    "by_class": [
                        {"label": label, **figures(*sums)} for label, sums in enumerate(window.by_class.tolist())
                    ],
                }
                for window in standing.windows
            ],
            best_window_accuracy=best,
            alarm={
                "act": settings.alarm,
                "points": settings.alarm_points,
                "examples": settings.alarm_examples,
                "accuracy": row.accuracy if same else None,
                "best_accuracy": best,
                "best_version": row.best_version if same else None,
            },
            **named(range(classes), weights.label_names),
        )

    return routes


def figures(count: int, hits: int, loss: float) -> dict[str, Any]:
    if not count:
        return {"count": 0, "accuracy": None, "loss": None}
    return {"count": count, "accuracy": hits / count, "loss": max(0.0, loss / count)}
