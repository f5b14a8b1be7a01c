"""GET /metrics."""

from collections.abc import Iterator

from flask import Blueprint, Response
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service import metrics
from service.errors import StoreError
from service.http.incoming import request
from service.http.queries import read_query
from service.live.service import Service
from service.schemas import Request

WINDOW_STEPS = 1000


def blueprint(service: Service) -> Blueprint:
    routes = Blueprint("monitoring", __name__)

    @routes.get("/metrics")
    def prometheus() -> Response:
        """Of all workers together. Where the store can't be read, without what stands there."""
        read_query(request, Request)
        body, media_type = metrics.exposition(request.headers.get("Accept", ""), AtThisMoment(service))
        return Response(body, content_type=media_type)

    return routes


class AtThisMoment(Collector):
    """What the log says when it is asked, the same from every worker, but for how far this one is behind."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        try:
            known = self._service.replica.known_version()
            newest = self._service.replica.newest().version
            with self._service.log.reading() as reader:
                steps = [step for step in reader.versions(WINDOW_STEPS, None) if step.kind == "train-step"]
        except StoreError:
            yield GaugeMetricFamily("twolayernet_store_up", "Whether the log can be read.", 0)
            return
        yield GaugeMetricFamily("twolayernet_store_up", "Whether the log can be read.", 1)
        yield GaugeMetricFamily("twolayernet_model_version", "The newest version.", newest)
        yield GaugeMetricFamily(
            "twolayernet_replica_lag_versions", "How many versions this worker had not seen yet.", newest - known
        )
        count = sum(step.count or 0 for step in steps)
        if count:
            for name, text in (("accuracy", "accuracy_ratio"), ("loss", "loss_nats")):
                mean = sum((step.count or 0) * (getattr(step, name) or 0.0) for step in steps) / count
                yield GaugeMetricFamily(
                    f"twolayernet_test_then_train_{text}",
                    f"Mean {name} of labelled examples before they were learnt, in the newest {WINDOW_STEPS} versions.",
                    mean,
                )
