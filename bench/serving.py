"""What a predict and a durable train-step cost, beside an endpoint that does nothing, in one run.

CPU microseconds of the server's whole process tree for each request, one worker, as ratios to the empty endpoint on
gunicorn's threaded worker that reads the same body; then memory, start-up, and the largest batch that is answered.
`python -m bench.serving [SECONDS]`, the seconds for each line.
"""

import importlib.metadata
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.load import (
    Measured,
    connect,
    exchange,
    free_port,
    gunicorn,
    measure,
    memory_mib,
    request_bytes,
    running,
    tree,
)
from model import TwoLayerNet
from model import weights as weights_file
from model.weights import Weights
from service.settings import Settings

NPY = "application/x-npy"


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
    ("train-step, 100 images, JSON", "/train-step", json_bytes(100, True), "application/json", 4),
]


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = TwoLayerNet(784, 50, 10, "he", seed=0, dtype=np.float32)
        weights_file.save(folder / "weights.npz", Weights(network.params, image_shape=(28, 28)))
        port = free_port()
        noop = gunicorn("bench.noop:app", port, "-k", "gthread", "--threads", "1")
        ours = gunicorn("service.wsgi:app", port, "-c", "python:service.server.gunicorn_settings")
        with running(noop, folder, port) as process:
            empty = _all_cases(process.pid, port, lambda _: "/noop", seconds)
        with running(ours, folder, port, TWOLAYERNET_WORKERS="1") as process:
            served = _all_cases(process.pid, port, str, seconds)
        versions = ", ".join(f"{each} {importlib.metadata.version(each)}" for each in ("gunicorn", "flask", "numpy"))
        print(f"Python {sys.version.split()[0]}, {versions}\n")
        print("| request | CPU µs | empty endpoint | ratio | to a predict | p50 ms | p99 ms | requests/s |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for (label, *_), nothing, mine in zip(CASES, empty, served, strict=True):
            print(
                f"| {label} | {mine.cpu_us:.0f} | {nothing.cpu_us:.0f} | {mine.cpu_us / nothing.cpu_us:.2f} "
                f"| {mine.cpu_us / served[0].cpu_us:.2f} | {mine.p50_ms:.2f} | {mine.p99_ms:.2f} "
                f"| {mine.per_second:.0f} |"
            )
        print()
        _limits(ours, folder, port)


def _all_cases(pid: int, port: int, path_of: Callable[[str], str], seconds: float) -> list[Measured]:
    return [
        measure(pid, port, request_bytes(path_of(path), body, content_type), seconds, connections)
        for _, path, body, content_type, connections in CASES
    ]


def _limits(command: list[str], folder: Path, port: int) -> None:
    """Memory of a worker, time from start to ready, and the largest batches that are answered."""
    requests = [request_bytes(path, body, content_type) for _, path, body, content_type, _ in CASES]
    started = time.perf_counter()
    with running(command, folder, port, TWOLAYERNET_WORKERS="1") as process, connect(port) as connection:
        print(f"start to ready: {time.perf_counter() - started:.2f} s")
        for count in (100, 10_000):
            for i in range(count):
                exchange(connection, requests[i % len(requests)])
            print(f"memory of a worker after {count:,} requests: {memory_mib(tree(process.pid)[-1]):.0f} MiB")
        most = Settings().max_body_bytes
        for kind, content_type, body_of in (("JSON", "application/json", json_batch), ("bytes", NPY, npy_bytes)):
            count = (most - 200) // (len(body_of(101)) - len(body_of(100)))
            body = body_of(count)
            began = time.perf_counter()
            answer = exchange(connection, request_bytes("/predict", body, content_type))
            assert b" 200 " in answer[:20], answer[:200]
            print(f"largest batch as {kind}: {count:,} images, {time.perf_counter() - began:.2f} s")
        print(f"memory of a worker after that: {memory_mib(tree(process.pid)[-1]):.0f} MiB")


def json_batch(count: int) -> bytes:
    """Images of bytes, as short as JSON can say them without white space."""
    image = np.random.default_rng(0).integers(0, 256, 784).tolist()
    return json.dumps({"images": [image] * count, "pixel_max": 255}, separators=(",", ":")).encode()


if __name__ == "__main__":
    main()
