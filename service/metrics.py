"""What is counted, for Prometheus: in this process alone, or where several share a folder, in all of them.

With `PROMETHEUS_MULTIPROC_DIR` set before this is imported, each process counts in files of its own there, and whoever
is asked adds them up (prometheus-client's multiprocess mode). The counts of processes that are gone are kept, in one
file for all of them.
"""

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
OF_THE_DEAD = 0
"""The process number under which the counts of those stand that are gone."""

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
    registry = CollectorRegistry()
    try:
        encode, media_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no version
        encode, media_type = choose_encoder("")
    registry.register(Looked(list(now.collect())))  # before others are kept waiting for the files
    folder = os.environ.get(FOLDER)
    if folder is None:
        registry.register(Counted(_registry))
        return encode(registry), media_type
    with alone(Path(folder)):
        fold_the_dead(Path(folder))
        registry.register(Counted(MultiProcessCollector(None, folder)))
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


class Looked(Collector):
    """What was collected before."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


@contextmanager
def alone(folder: Path, wait: bool = True) -> Iterator[None]:
    """One process at a time: a file that is being folded would count twice, or not at all. Raises BlockingIOError."""
    with open(folder / "lock", "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield


def worker_begins() -> None:
    """Where nobody asks, the files of workers that are replaced again and again would fill the folder. Not for the
    process that starts them: what is mapped into memory on a disk that is full ends whoever writes to it."""
    if (folder := os.environ.get(FOLDER)) is not None:
        with suppress(OSError), alone(Path(folder), wait=False):
            fold_the_dead(Path(folder))


def fold_the_dead(folder: Path) -> None:
    """Add the counts of processes that are gone to the one file for them, and remove theirs."""
    for path in folder.glob("*_*.db"):
        kind, _, number = path.stem.rpartition("_")
        if not number.isdecimal() or int(number) == OF_THE_DEAD or is_alive(int(number)):
            continue
        try:
            counted = list(MmapedDict.read_all_values_from_file(str(path)))
        except (struct.error, ValueError, IndexError, RuntimeError):  # it died before it had written anything, or half
            counted = []
        total = MmapedDict(str(folder / f"{kind}_{OF_THE_DEAD}.db"))
        for key, value, _, _ in counted:
            total.write_value(key, total.read_value(key)[0] + value, 0.0)
        path.unlink()
        total.close()


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
