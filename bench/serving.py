"""What a predict and a durable train-step cost, beside an endpoint that does nothing on the same server, in one run.

CPU microseconds of the server's whole process tree for each request, one worker, gunicorn with its settings here and
Granian, as ratios to an empty endpoint that reads the same body; then memory (PSS), start-up, and the largest batch
that is answered. `python -m bench.serving [SECONDS]`, the seconds for each line.
"""

import importlib.metadata
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from bench.load import (
    Measured,
    connect,
    exchange,
    free_port,
    measure,
    memory_mib,
    request_bytes,
    running,
    tree,
)
from model import TwoLayerNet
from model import weights as weights_file
from model.memory import sample
from model.weights import Weights
from service.server.run import run_granian, run_gunicorn
from service.settings import Settings, load_settings

NPY = "application/x-npy"
PACKAGES = ("gunicorn", "granian", "flask", "numpy")


def json_bytes(count: int, labelled: bool, features: int = 784) -> bytes:
    random = np.random.default_rng(count)
    body: dict[str, object] = {"images": np.round(random.random((count, features)), 3).tolist()}
    if labelled:
        body["labels"] = random.integers(0, 10, count).tolist()
    return json.dumps(body).encode()


def npy_bytes(count: int) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.random.default_rng(count).integers(0, 256, (count, 784), dtype=np.uint8))
    return stream.getvalue()


CASES: list[tuple[str, str, bytes, str, int]] = [
    ("predict, 1 image, JSON", "/predict", json_bytes(1, False), "application/json", 8),
    ("predict, 100 images, JSON", "/predict", json_bytes(100, False), "application/json", 4),
    ("predict, 100 images, .npy of bytes", "/predict", npy_bytes(100), NPY, 4),
    ("train-step, 1 image, JSON", "/train-step", json_bytes(1, True), "application/json", 8),
    ("train-step, 1 image, JSON, rehearse 0", "/train-step?rehearse=0", json_bytes(1, True), "application/json", 8),
    ("train-step, 100 images, JSON", "/train-step", json_bytes(100, True), "application/json", 4),
]


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network_file(folder)
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
        print(f"Python {sys.version.split()[0]}, {versions}")
        for server in ("gunicorn", "granian"):
            _compare(server, folder, seconds)
        print()
        _limits(folder)


def network_file(folder: Path) -> None:
    """An untrained network that remembers 1,000 images, as weights.npz."""
    network = TwoLayerNet(784, 50, 10, "he", seed=0, dtype=np.float32)
    images = np.random.default_rng(0).integers(0, 256, (1000, 784), dtype=np.uint8)
    memory = sample(images, np.arange(1000) % 10, 1000, seed=0)
    weights_file.save(folder / "weights.npz", Weights(network.params, image_shape=(28, 28), memory=memory))


def _compare(server: str, folder: Path, seconds: float) -> None:
    """A table of what each request costs on a server, ours beside the empty endpoint."""
    with serving(folder, server, "bench.noop:app") as (pid, port):
        empty = _all_cases(pid, port, lambda _: "/noop", seconds)
    with serving(folder, server) as (pid, port):
        served = _all_cases(pid, port, str, seconds)
    print(f"\n| request, {server} | CPU µs | empty endpoint | ratio | to a predict | p50 ms | p99 ms | requests/s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for (label, *_), nothing, mine in zip(CASES, empty, served, strict=True):
        print(
            f"| {label} | {mine.cpu_us:.0f} | {nothing.cpu_us:.0f} | {mine.cpu_us / nothing.cpu_us:.2f} "
            f"| {mine.cpu_us / served[0].cpu_us:.2f} | {mine.p50_ms:.2f} | {mine.p99_ms:.2f} "
            f"| {mine.per_second:.0f} |",
            flush=True,
        )


@contextmanager
def serving(
    folder: Path, server: str = "gunicorn", app: str = "service.wsgi:app", **environment: str
) -> Iterator[tuple[int, int]]:
    """One worker with our settings, for our application or another one: its process and port."""
    port = free_port()
    settings = {"TWOLAYERNET_WORKERS": "1", "TWOLAYERNET_PORT": str(port), "TWOLAYERNET_SERVER": server, **environment}
    command = [sys.executable, "-c", f"from bench.serving import start; start({app!r})"]
    with running(command, folder, port, **settings) as process:
        yield process.pid, port


def start(app: str) -> None:
    """Run in a process of its own."""
    settings = load_settings()
    if settings.server == "granian":
        run_granian(settings, app)
    else:
        run_gunicorn(app)


def _all_cases(pid: int, port: int, path_of: Callable[[str], str], seconds: float) -> list[Measured]:
    return [
        measure(pid, port, request_bytes(path_of(path), body, content_type), seconds, connections)
        for _, path, body, content_type, connections in CASES
    ]


def _limits(folder: Path) -> None:
    """Memory of a worker, time from start to ready, and the largest batches that are answered."""
    requests = [request_bytes(path, body, content_type) for _, path, body, content_type, _ in CASES]
    started = time.perf_counter()
    with serving(folder) as (pid, port), connect(port) as connection:
        print(f"start to ready: {time.perf_counter() - started:.2f} s")
        for count in (100, 10_000):
            for i in range(count):
                exchange(connection, requests[i % len(requests)])
            print(f"memory of a worker after {count:,} requests: {memory_mib(tree(pid)[-1]):.0f} MiB")
        most = Settings().max_body_bytes
        for kind, content_type, body_of in (("JSON", "application/json", json_batch), ("bytes", NPY, npy_bytes)):
            count = (most - 200) // (len(body_of(101)) - len(body_of(100)))
            body = body_of(count)
            began = time.perf_counter()
            answer = exchange(connection, request_bytes("/predict", body, content_type))
            assert b" 200 " in answer[:20], answer[:200]
            print(f"largest batch as {kind}: {count:,} images, {time.perf_counter() - began:.2f} s")
        print(f"memory of a worker after that: {memory_mib(tree(pid)[-1]):.0f} MiB")


def json_batch(count: int) -> bytes:
    """Images of bytes, as short as JSON can say them without white space."""
    image = np.random.default_rng(0).integers(0, 256, 784).tolist()
    return json.dumps({"images": [image] * count, "pixel_max": 255}, separators=(",", ":")).encode()


if __name__ == "__main__":
    main()
