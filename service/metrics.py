"""Counters for Prometheus: of this process alone or, where several share a folder, of all of them.

With `PROMETHEUS_MULTIPROC_DIR` set before this is imported, each process counts in files of its own in that folder, and
the worker that is asked adds them up: prometheus_client's multiprocess mode. Its files of dead processes stay, so that
no sum falls.
"""

import os
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.counting import FOLDER

disable_created_metrics()
_registry = CollectorRegistry()

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
REQUESTS = "twolayernet_http_requests", "Requests that were answered."
"""As many as there are durations: counted once, since it is done in every request."""

DURATIONS = Histogram(
    "twolayernet_http_request_duration_seconds",
    "From the request's arrival in a thread of a worker to its answer.",
    ["method", "endpoint", "status"],
    buckets=SECONDS,
    registry=_registry,
)
BATCHES = Histogram(
    "twolayernet_batch_images",
    "Images in a request that brought more than one.",
    ["endpoint"],
    buckets=(2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000),
    registry=_registry,
)
"""Of one image there is nothing more to say than that there was a request, and saying it costs a twentieth of it."""

VERSIONS = Counter("twolayernet_versions", "Versions that were made.", ["kind"], registry=_registry)
EXAMPLES = Counter("twolayernet_examples", "Labelled examples that were learnt from.", registry=_registry)
REHEARSED = Counter(
    "twolayernet_rehearsed_examples", "Remembered examples that took part in train-steps.", registry=_registry
)
LOG_WAIT = Histogram(
    "twolayernet_log_wait_seconds", "Waiting for the turn to write to the log.", buckets=SECONDS, registry=_registry
)
FAILED_KEYS = Counter(
    "twolayernet_failed_authentications", "Requests without the key that was asked for.", ["reason"], registry=_registry
)


def exposition(accept: str, now: Collector) -> tuple[bytes, str]:
    """What Prometheus reads, and its media type. accept: the request's header; now: what is looked up just then."""
    try:
        encode, media_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no version
        encode, media_type = choose_encoder("")
    registry = CollectorRegistry()
    registry.register(now)
    registry.register(Counted(MultiProcessCollector(None) if FOLDER in os.environ else _registry))
    return encode(registry), media_type


class Counted(Collector):
    """What was counted, and the number of requests, which follows from their durations."""

    def __init__(self, source: Collector) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(*REQUESTS, labels=["method", "endpoint", "status"])
        for metric in self._source.collect():
            yield metric
            for sample in metric.samples:
                if sample.name == "twolayernet_http_request_duration_seconds_count":
                    labels = [sample.labels[name] for name in ("method", "endpoint", "status")]
                    requests.add_metric(labels, sample.value)
        yield requests
