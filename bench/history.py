"""What a long history costs: the time to ready, a predict, and GET /learning, with few versions and with many.

`python -m bench.history [VERSIONS ...]`, 1, 100,000 and 1,000,000 unless said. The steps are of one image of 784 bytes
up to 100,000 versions, and of 16 bytes above, so that the store fits.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.load import connect, exchange, free_port, measure, memory_mib, request_bytes, running, tree
from bench.serving import json_bytes
from model import TwoLayerNet
from model import weights as weights_file
from model.weights import Weights
from service.settings import Settings
from service.startup import open_log
from service.store.progress import Outcomes, Progress
from service.store.records import Examples, StoredExamples, Version

LEARNING_RATE = 0.001
SNAPSHOT_EVERY = Settings().snapshot_every


def main() -> None:
    print("| versions | image bytes | store MiB | start to ready s | predict CPU µs | /learning ms | worker MiB |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for versions in [int(count) for count in sys.argv[1:]] or [1, 100_000, 1_000_000]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            features = 784 if versions <= 100_000 else 16
            network = TwoLayerNet(features, 50, 10, "he", seed=0, dtype=np.float32)
            weights_file.save(folder / "weights.npz", Weights(network.params))
            fill(folder, features, versions)
            port = free_port()
            started = time.perf_counter()
            command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port), "--workers", "1"]
            with running(command, folder, port) as process:
                ready = time.perf_counter() - started
                request = request_bytes("/predict", json_bytes(1, False, features), "application/json")
                cost = measure(process.pid, port, request, 3, 4).cpu_us
                learning = time_of(port, b"GET /learning HTTP/1.1\r\nHost: localhost\r\n\r\n")
                size = (folder / "twolayernet.db").stat().st_size / 2**20
                memory = memory_mib(tree(process.pid)[-1])
            print(
                f"| {versions:,} | {features} | {size:.0f} | {ready:.2f} | {cost:.0f} | {learning:.1f} | {memory:.0f} |"
            )


def time_of(port: int, request: bytes) -> float:
    """The median of a few, in milliseconds."""
    taken = []
    with connect(port) as connection:
        for _ in range(50):
            start = time.perf_counter()
            assert b" 200 " in exchange(connection, request)[:20]
            taken.append(time.perf_counter() - start)
    return sorted(taken)[25] * 1e3


def fill(folder: Path, features: int, versions: int) -> None:
    """A log of so many versions; the last interval of steps has no snapshot."""
    log = open_log(Settings(weights=folder / "weights.npz", store=f"sqlite:///{folder}/twolayernet.db"))
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (256, 1, features), dtype=np.uint8)
    steps = [StoredExamples.of(Examples(image, np.array([i % 10]))) for i, image in enumerate(images)]
    snapshot = (folder / "weights.npz").read_bytes()
    last = (versions - SNAPSHOT_EVERY) // SNAPSHOT_EVERY * SNAPSHOT_EVERY + 1
    outcomes = [Outcomes(np.array([label]), np.array([2.3]), np.array([label < 9])) for label in range(10)]
    with log.writing() as writer:
        row = Progress(writer.session).newest()
        for number in range(2, versions + 1):
            version = Version(number, "train-step", 1e9, 1, 2.3, 0.1, LEARNING_RATE, 1.0)
            snapped = number == last or (number < last and number % (10 * SNAPSHOT_EVERY) == 0)
            writer.append(version, steps[number % 256], snapshot if snapped else None)
            row = Progress(writer.session).advance(row, number, outcomes[number % 10], 1000)
    log.close()


if __name__ == "__main__":
    main()
