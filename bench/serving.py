"""What a predict and a durable train-step cost, beside an endpoint that does nothing, in one run.

CPU microseconds of the server's whole process tree for each request, one worker, as ratios to the empty endpoint that
reads the same body. `python -m bench.serving [SECONDS]`, the seconds for each line.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.load import Measured, free_port, gunicorn, measure, request_bytes, running
from model import TwoLayerNet
from model import weights as weights_file
from model.weights import Weights


def json_bytes(count: int, labelled: bool, features: int = 784) -> bytes:
    random = np.random.default_rng(count)
    body: dict[str, object] = {"images": np.round(random.random((count, features)), 3).tolist()}
    if labelled:
        body["labels"] = random.integers(0, 10, count).tolist()
    return json.dumps(body).encode()


CASES: list[tuple[str, str, bytes, str, int]] = [
    ("predict, 1 image, JSON", "/predict", json_bytes(1, False), "application/json", 8),
    ("predict, 100 images, JSON", "/predict", json_bytes(100, False), "application/json", 4),
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
        empty = _all_cases(gunicorn("bench.noop:app", port), folder, port, lambda _: "/noop", seconds)
        ours = _all_cases(
            gunicorn("service.wsgi:app", port, "-c", "python:service.gunicorn_conf"), folder, port, str, seconds
        )
    print("| request | CPU µs | empty endpoint | ratio | p50 ms | p99 ms | requests/s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for (label, *_), nothing, mine in zip(CASES, empty, ours, strict=True):
        print(
            f"| {label} | {mine.cpu_us:.0f} | {nothing.cpu_us:.0f} | {mine.cpu_us / nothing.cpu_us:.2f} "
            f"| {mine.p50_ms:.2f} | {mine.p99_ms:.2f} | {mine.per_second:.0f} |"
        )


def _all_cases(
    command: list[str], folder: Path, port: int, path_of: Callable[[str], str], seconds: float
) -> list[Measured]:
    with running(command, folder, port, TWOLAYERNET_WORKERS="1", TWOLAYERNET_THREADS="1") as process:
        return [
            measure(process, port, request_bytes(path_of(path), body, content_type), seconds, connections)
            for _, path, body, content_type, connections in CASES
        ]


if __name__ == "__main__":
    main()
