"""Counters for Prometheus: of this process or, if several share a folder, of all of them.

If `PROMETHEUS_MULTIPROC_DIR` is set before this is imported, each process counts in files of its own in that folder,
and the worker that is asked adds them up: prometheus_client's multiprocess mode. The files of dead workers remain until
the service stops, so that no sum falls. Each restarted worker leaves some 40 kB, and 0.4 ms for /metrics to read.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.metrics.multiprocess import FOLDER

disable_created_metrics()
_registry = CollectorRegistry()

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LABELS = ["method", "endpoint", "status"]
DURATIONS = Histogram(
    "twolayernet_http_request_duration_seconds",
    "From the request's arrival in a worker's thread to its answer.",
    LABELS,
    buckets=SECONDS,
    registry=_registry,
)
BATCHES = Histogram(
    "twolayernet_batch_images",
    "Images in a request with more than one.",
    ["endpoint"],
    buckets=(2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000),
    registry=_registry,
)
"""A request with one image is not observed: that would cost a twentieth of its time."""

VERSIONS = Counter("twolayernet_versions", "New versions.", ["kind"], registry=_registry)
EXAMPLES = Counter("twolayernet_examples", "Labelled examples that were learnt from.", registry=_registry)
REHEARSED = Counter(
    "twolayernet_rehearsed_examples", "Examples of the replay memory in train-steps.", registry=_registry
)
LOG_WAIT = Histogram(
    "twolayernet_log_wait_seconds", "Time spent waiting for the write lock.", buckets=SECONDS, registry=_registry
)
FAILED_KEYS = Counter(
    "twolayernet_failed_authentications", "Requests without the required key.", ["reason"], registry=_registry
)

MODEL_REQUESTS = Counter(
    "twolayernet_model_requests", "Answered requests under /models/{name}.", ["model", "status"], registry=_registry
)
OTHERS = "(others)"
MOST_MODELS_SHOWN = 100
MOST_MODELS_COUNTED = 1000
"""By their names, in a process. Counters are never taken back."""

_counted: set[str] = set()


model_requests = lru_cache(maxsize=1000)(MODEL_REQUESTS.labels)


def count_request_of(model: str, status: str) -> None:
    """Only for names that models have: a name that no model has is 404."""
    if model not in _counted:
        if status == "404" or len(_counted) >= MOST_MODELS_COUNTED:
            model = OTHERS
        else:
            _counted.add(model)
    model_requests(model, f"{status[0]}xx").inc()


def busiest(metric: Metric) -> Metric:
    """The models with the most requests by name, the others together."""
    requests: dict[str, float] = defaultdict(float)
    for sample in metric.samples:
        requests[sample.labels["model"]] += sample.value
    shown = set(sorted(requests, key=lambda name: -requests[name])[:MOST_MODELS_SHOWN])
    found = CounterMetricFamily(metric.name, metric.documentation, labels=["model", "status"])
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for sample in metric.samples:
        name = sample.labels["model"]
        sums[name if name in shown else OTHERS, sample.labels["status"]] += sample.value
    for labels, value in sums.items():
        found.add_metric(labels, value)
    return found


def exposition(accept: str, gauges: Collector) -> tuple[bytes, str]:
    """The text for Prometheus, and its media type. accept: the request's header; gauges: what is measured now."""
    try:
        encode, media_type = choose_encoder(accept)
    except (TypeError, ValueError):  # an invalid version in the header
        encode, media_type = choose_encoder("")
    registry = CollectorRegistry()
    registry.register(gauges)
    registry.register(WithRequests(MultiProcessCollector(None) if FOLDER in os.environ else _registry))
    return encode(registry), media_type


class WithRequests(Collector):
    """All that was counted, and the number of requests: it is the count of their durations. Of models, the busiest."""

    def __init__(self, source: Collector) -> None:
        self._source = source

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("twolayernet_http_requests", "Answered requests.", labels=LABELS)
        for metric in self._source.collect():
            yield busiest(metric) if metric.name == "twolayernet_model_requests" else metric
            for sample in metric.samples:
                if sample.name == "twolayernet_http_request_duration_seconds_count":
                    requests.add_metric([sample.labels[name] for name in LABELS], sample.value)
        yield requests
