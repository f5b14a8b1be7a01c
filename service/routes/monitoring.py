"""GET /metrics."""

from collections.abc import Iterator

from flask import Blueprint, Response
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service import metrics
from service.errors import StoreError
from service.http.incoming import request
from service.live.service import Service
from service.routes.endpoint import Endpoint

WINDOW = 1000
"""Labelled examples; one of those that GET /learning has."""


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("monitoring", __name__)

    @routes.get("/metrics")
    @Endpoint(
        "What Prometheus reads, of all workers together",
        media_types=("text/plain", "application/openmetrics-text"),
    )
    def prometheus() -> Response:
        body, media_type = metrics.exposition(request.headers.get("Accept", ""), AtThisMoment(service))
        return Response(body, content_type=media_type)

    return routes


class AtThisMoment(Collector):
    """What the log says when it is asked, the same from every worker, but for how far this one is behind."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        staleness = self._service.log.staleness() or 0.0
        yield GaugeMetricFamily(
            "twolayernet_model_staleness_seconds", "How long this worker has not known the newest version.", staleness
        )
        try:
            known = self._service.replica.known().version
            newest = self._service.replica.newest()
            standing = self._service.history.standing(newest.weights.output_size)
        except StoreError:
            yield GaugeMetricFamily("twolayernet_store_up", "Whether the log can be read.", 0)
            return
        yield GaugeMetricFamily("twolayernet_store_up", "Whether the log can be read.", 1)
        yield GaugeMetricFamily("twolayernet_model_version", "The newest version.", newest.version)
        lag, learns = max(0, standing.head - known), standing.paused is None
        yield GaugeMetricFamily("twolayernet_replica_lag_versions", "Versions that this worker had not seen yet.", lag)
        yield GaugeMetricFamily("twolayernet_learning", "1 while it learns, 0 while that is paused.", int(learns))
        count, hits, loss = next(window.total for window in standing.windows if window.examples == WINDOW)
        if count:
            for name, total in (("accuracy_ratio", hits), ("loss_nats", loss)):
                yield GaugeMetricFamily(
                    f"twolayernet_test_then_train_{name}",
                    f"Mean over the last {WINDOW} labelled examples, before they were learnt: as GET /learning has it.",
                    total / count,
                )
