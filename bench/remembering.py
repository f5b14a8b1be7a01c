"""What remembering predictions costs: train-steps a second and their latency, without and with predicts beside them.

`python -m bench.remembering [SECONDS]`: gunicorn with two workers, steps of one image on four connections as fast as
they go, and beside them, at a fixed rate where it can be had, predicts that are or are not remembered.
"""

import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from bench.load import Measured, connect, exchange, free_port, measure, request_bytes, running
from bench.serving import json_bytes
from model import TwoLayerNet, weights_file
from model.weights_file import Weights

RATE, CONNECTIONS = 500, 4
"""Predicts a second, and how many connections they come on."""


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 8
    print("| beside the steps | predicts/s | their p99 ms | steps/s | p50 ms | p99 ms | to none |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    alone: float | None = None
    for title, path, rate, images in (
        ("nothing", None, 0, 1),
        (f"{RATE} predicts/s of 1 image", "/predict", RATE, 1),
        (f"{RATE} predicts/s of 1 image, remembered", "/predict?remember=true", RATE, 1),
        (f"{RATE // 50} predicts/s of 50 images", "/predict", RATE // 50, 50),
        (f"{RATE // 50} predicts/s of 50 images, remembered", "/predict?remember=true", RATE // 50, 50),
    ):
        steps, answered = run(path, rate, images, seconds)
        alone = alone or steps.per_second
        reached, p99 = len(answered) / (seconds + 1), 0.0
        if answered:
            p99 = sorted(answered)[len(answered) * 99 // 100] * 1e3
        print(
            f"| {title} | {reached:.0f} | {p99:.1f} | {steps.per_second:.0f} | {steps.p50_ms:.1f} | {steps.p99_ms:.1f} "
            f"| {steps.per_second / alone:.2f} |",
            flush=True,
        )


def run(path: str | None, rate: int, images: int, seconds: float) -> tuple[Measured, list[float]]:
    """The steps, and how long each predict beside them took, in seconds."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        network = TwoLayerNet(784, 50, 10, "he", seed=0, dtype=np.float32)
        weights_file.save(folder / "weights.npz", Weights(network.params))
        command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port), "--workers", "2"]
        with running(command, folder, port, TWOLAYERNET_THREADS="4") as process:
            stop = threading.Event()
            answered: list[float] = []
            beside = {"images": images, "stop": stop, "answered": answered}
            predicts = [
                threading.Thread(target=predict, args=(port, path, rate / CONNECTIONS), kwargs=beside)
                for _ in range(CONNECTIONS if path else 0)
            ]
            for thread in predicts:
                thread.start()
            step = request_bytes("/train-step", json_bytes(1, True), "application/json")
            steps = measure(process.pid, port, step, seconds, 4)
            stop.set()
            for thread in predicts:
                thread.join()
    return steps, answered


def predict(port: int, path: str, rate: float, *, images: int, stop: threading.Event, answered: list[float]) -> None:
    request = request_bytes(path, json_bytes(images, False), "application/json")
    with connect(port) as connection:
        due = time.perf_counter()
        while not stop.is_set():
            start = time.perf_counter()
            answer = exchange(connection, request)
            assert b" 200 " in answer[:20], answer
            answered.append(time.perf_counter() - start)
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))


if __name__ == "__main__":
    main()
