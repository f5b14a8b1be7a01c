"""What it takes to unlearn one train-step of many, and how long others wait meanwhile.

`python -m bench.unlearning_time [STEPS ...]`, 100, 1,000 and 10,000 unless said: a service of two workers has learnt so
many digits, one at a time, with the default settings. The first step is unlearned, then the one in the middle. One
client goes on teaching meanwhile, and one predicting; their longest waits are compared with those before.
"""

import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from bench.load import connect, exchange, free_port, request_bytes, running
from bench.serving import json_bytes
from model import TwoLayerNet, weights_file
from model.datasets import Dataset, packaged_digits
from model.replay_memory import sample
from model.weights_file import Weights
from service.live.learner import Learner
from service.live.replica import Replica
from service.settings import Settings
from service.startup import open_log
from service.store.records import Examples

DEFAULTS = Settings()
SECONDS_BEFORE = 5


def main() -> None:
    digits = packaged_digits()
    print(
        "| steps | unlearned | s | longest train-step before, ms | meanwhile | longest predict before, ms | meanwhile |"
    )
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: |")
    for steps in [int(count) for count in sys.argv[1:]] or [100, 1000, 10_000]:
        with tempfile.TemporaryDirectory() as name:
            fill(Path(name), digits, steps)
            measure(Path(name), digits, steps)


def fill(folder: Path, digits: Dataset, steps: int) -> None:
    """A store whose network has learnt `steps` digits, and has a memory of others."""
    network = TwoLayerNet(784, 50, 10, "he", seed=0, dtype=np.float32)
    images, labels = digits.test.images, digits.test.labels.astype(np.intp)
    memory = sample(digits.train.images, digits.train.labels.astype(np.intp), DEFAULTS.memory_size, 0)
    weights_file.save(folder / "weights.npz", Weights(network.params, image_shape=(28, 28), memory=memory))
    log = open_log(Settings(weights=folder / "weights.npz", store=f"sqlite:///{folder}/twolayernet.db"))
    learner = Learner(log, Replica(log), DEFAULTS.gradient_norm_limit, DEFAULTS.memory_size)
    for number in range(steps):
        at = [number % len(labels)]
        learner.train_step(Examples(images[at], labels[at]), DEFAULTS.learning_rate, DEFAULTS.rehearse)
    log.close()


def measure(folder: Path, digits: Dataset, steps: int) -> None:
    port = free_port()
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port), "--workers", "2"]
    lesson = request_bytes("/train-step", json_bytes(1, True), "application/json")
    question = request_bytes("/predict", json_bytes(1, False), "application/json")
    with running(command, folder, port), connect(port) as connection:
        for title, version in (("the first", 2), ("the middle one", 2 + steps // 2)):
            stop = threading.Event()
            waits: dict[bytes, list[tuple[float, float]]] = {lesson: [], question: []}
            others = [threading.Thread(target=repeat, args=(port, request, waits[request], stop)) for request in waits]
            for thread in others:
                thread.start()
            time.sleep(SECONDS_BEFORE)
            began = time.perf_counter()
            body = json.dumps({"model_versions": [version]}).encode()
            answer = exchange(connection, request_bytes("/unlearn", body, "application/json"))
            ended = time.perf_counter()
            assert b" 200 " in answer[:20], answer
            stop.set()
            for thread in others:
                thread.join()
            longest = [
                max(taken for start, taken in waits[request] if (start + taken < began) == before) * 1e3
                for request in waits
                for before in (True, False)
            ]
            print(f"| {steps:,} | {title} | {ended - began:.1f} | {' | '.join(f'{wait:.0f}' for wait in longest)} |")


def repeat(port: int, request: bytes, waits: list[tuple[float, float]], stop: threading.Event) -> None:
    with connect(port) as connection:
        while not stop.is_set():
            start = time.perf_counter()
            assert b" 200 " in exchange(connection, request)[:20]
            waits.append((start, time.perf_counter() - start))
            stop.wait(0.02)


if __name__ == "__main__":
    main()
