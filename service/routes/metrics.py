"""GET /metrics."""

from collections.abc import Callable, Iterator

from flask import Blueprint, Response
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.errors import StoreError
from service.http.endpoint import Endpoint
from service.http.request import request
from service.live.drift_alarm import Watch
from service.live.service import Service
from service.metrics import counters

WINDOW = 1000
"""One of GET /learning's windows, in labelled examples."""


def blueprint(service: Service, in_trouble: Callable[[], list[str]]) -> Blueprint:
    """in_trouble: the names of models that can't be opened."""
    routes = Blueprint("monitoring", __name__)

    @routes.get("/metrics")
    @Endpoint(
        "Prometheus metrics of all workers together",
        media_types=("text/plain", "application/openmetrics-text"),
        access="service",
    )
    def prometheus() -> Response:
        body, media_type = counters.exposition(request.headers.get("Accept", ""), Gauges(service, in_trouble))
        return Response(body, content_type=media_type)

    return routes


class Gauges(Collector):
    """What the log says now: the same on every worker, except for how stale this one is."""

    def __init__(self, service: Service, in_trouble: Callable[[], list[str]]) -> None:
        self._service, self._in_trouble = service, in_trouble

    def collect(self) -> Iterator[Metric]:
        staleness = self._service.log.database.staleness() or 0.0
        yield GaugeMetricFamily(
            "twolayernet_model_staleness_seconds", "How long this worker has not known the newest version.", staleness
        )
        yield GaugeMetricFamily(
            "twolayernet_models_in_trouble", "Models that this worker could not open.", len(self._in_trouble())
        )
        try:
            known = self._service.replica.known().version
            newest = self._service.replica.newest()
            standing = self._service.history.standing(newest.weights.output_size)
            copy_age = self._service.history.seconds_without_copy()
        except StoreError:
            yield GaugeMetricFamily("twolayernet_store_up", "Whether the log can be read.", 0)
            return
        yield GaugeMetricFamily("twolayernet_store_up", "Whether the log can be read.", 1)
        yield GaugeMetricFamily("twolayernet_model_version", "The newest version.", newest.version)
        lag, learns = max(0, standing.head - known), standing.paused is None
        yield GaugeMetricFamily("twolayernet_replica_lag_versions", "Versions this worker had not applied yet.", lag)
        yield GaugeMetricFamily("twolayernet_learning", "1 while it learns, 0 while learning is paused.", int(learns))
        if copy_age is not None:
            yield GaugeMetricFamily(
                "twolayernet_verified_copy_age_seconds", "Age of the newest verified backup or replica.", copy_age
            )
        changed = Watch.of(standing.row.watch).changed_at is not None
        yield GaugeMetricFamily("twolayernet_accuracy_changed", "1 while a change is reported.", int(changed))
        served = next(window for window in standing.windows if window.examples == WINDOW)
        for kind, window in (("test_then_train", served), ("chosen", standing.chosen), ("pinned", standing.pinned)):
            count, hits, loss = window.total
            for name, total in (("accuracy_ratio", hits), ("loss_nats", loss)) if count else ():
                yield GaugeMetricFamily(
                    f"twolayernet_{kind}_{name}",
                    f"Mean over the last {WINDOW} labelled examples of this kind, each taken before its train-step.",
                    total / count,
                )
        confidence = GaugeMetricFamily("twolayernet_confidence_ratio", "Mean highest probability.", labels=["window"])
        refused = GaugeMetricFamily(
            "twolayernet_refused_ratio", "Share of pictures without a digit.", labels=["window"]
        )
        for name, block in zip(("first", "last"), standing.answers.windows, strict=True):
            if block.images:
                confidence.add_metric([name], block.confidence / block.images)
            if block.pictures:
                refused.add_metric([name], block.refused / block.pictures)
        yield from (confidence, refused)
