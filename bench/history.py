"""What a long history costs: the time to ready, a predict, and GET /learning, with few versions and with many.

`python -m bench.history [VERSIONS ...]`, 1, 100,000 and 1,000,000 unless said. The steps are of one image of 784 bytes
up to 100,000 versions, and of 16 bytes above, so that the store fits.

`python -m bench.history events`: the size of a store of 10,000 versions, one in ten a pause, a resume or a rollback.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.load import connect, exchange, free_port, measure, memory_mib, request_bytes, running, tree
from bench.serving import json_bytes
from model import TwoLayerNet, weights_file
from model.replay_memory import Kept, Memory
from model.weights_file import Weights
from service.live.learner import Learner
from service.live.replica import Replica
from service.settings import Settings
from service.startup import open_log
from service.store.records import Examples, StoredExamples, Version
from service.store.rolling_figures import Outcomes, RollingFigures

LEARNING_RATE = 0.001
SNAPSHOT_EVERY = Settings().snapshot_every
VERSIONS_WITH_EVENTS = 10_000


def main() -> None:
    if sys.argv[1:] == ["events"]:
        events()
        return
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
    """A log of `versions` versions; the last interval of steps has no snapshot."""
    log = open_log(Settings(weights=folder / "weights.npz", store=f"sqlite:///{folder}/twolayernet.db"))
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (256, 1, features), dtype=np.uint8)
    steps = [StoredExamples.of(Examples(image, np.array([i % 10]))) for i, image in enumerate(images)]
    snapshot = (folder / "weights.npz").read_bytes()
    last = (versions - SNAPSHOT_EVERY) // SNAPSHOT_EVERY * SNAPSHOT_EVERY + 1
    outcomes = [Outcomes(np.array([label]), np.array([2.3]), np.array([label < 9])) for label in range(10)]
    with log.writing() as writer:
        figures = RollingFigures(writer.session)
        row = figures.newest()
        for number in range(2, versions + 1):
            version = Version(number, "train-step", 1e9, 1, 2.3, 0.1, LEARNING_RATE, 1.0)
            snapped = number == last or (number < last and number % (10 * SNAPSHOT_EVERY) == 0)
            writer.append(version, steps[number % 256], snapshot if snapped else None)
            row = figures.after(row, number, outcomes[number % 10])
            figures.append(row)
    log.close()


def events() -> None:
    print(f"| of {VERSIONS_WITH_EVENTS:,} versions, the others train-steps | store, bytes | start to ready s |")
    print("| --- | ---: | ---: |")
    with tempfile.TemporaryDirectory() as name:
        weights = Path(name) / "weights.npz"
        pixels = np.random.default_rng(0).integers(0, 256, (1000, 784), dtype=np.uint8)
        kept = [Kept(image.tobytes(), False) for image in pixels]
        memory = Memory(tuple(tuple(kept[label::10]) for label in range(10)))
        params = TwoLayerNet(784, 50, 10, "he", seed=0, dtype=np.float32).params
        weights_file.save(weights, Weights(params, memory=memory))
        for kind in (
            "none",
            "500 pauses, 500 resumes",
            "1,000 rollbacks to version 1",
            "1,000 rollbacks to any version",
        ):
            with tempfile.TemporaryDirectory(dir=name) as folder:
                store = Path(folder) / "twolayernet.db"
                learn(Settings(weights=weights, store=f"sqlite:///{store}"), kind)
                size = store.stat().st_size
                print(f"| {kind} | {size:,} | {time_to_ready(weights, Path(folder)):.2f} |", flush=True)


def learn(settings: Settings, kind: str) -> None:
    log = open_log(settings)
    learner = Learner(log, Replica(log))
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (256, 1, 784), dtype=np.uint8)
    paused = False
    for number in range(2, VERSIONS_WITH_EVENTS + 1):
        if "rollbacks" in kind and number % 10 == 0:
            learner.rollback(1 if "version 1" in kind else int(random.integers(1, number)))
        elif "pauses" in kind and number % 20 in (10, 11):
            paused = not paused
            learner.pause("a bench") if paused else learner.resume()
        else:
            learner.train_step(Examples(images[number % 256], np.array([number % 10])), LEARNING_RATE)
    log.close()


def time_to_ready(weights: Path, folder: Path) -> float:
    """The median of five, in seconds."""
    (folder / "weights.npz").write_bytes(weights.read_bytes())
    taken = []
    for _ in range(5):
        port, started = free_port(), time.perf_counter()
        command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port), "--workers", "1"]
        with running(command, folder, port):
            taken.append(time.perf_counter() - started)
    return sorted(taken)[2]


if __name__ == "__main__":
    main()
