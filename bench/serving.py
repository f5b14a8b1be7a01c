"""What a request costs, beside an endpoint that does nothing on the same server and beside FastAPI, in one run.

CPU microseconds and context switches of the server's whole process tree for each request, one worker, gunicorn with its
settings here and Granian, as ratios to an empty endpoint that reads the same body, and to the same network served by
FastAPI on uvicorn, where that is installed here or in `.venv-peers`. All servers are started first and loaded in turns.
Then memory (PSS), start-up, and the largest batch that is answered. `python -m bench.serving [SECONDS]`, the seconds
for each server and request.
"""

import importlib.metadata
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median

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
from model import TwoLayerNet, weights_file
from model.replay_memory import sample
from model.weights_file import Weights
from service.http.parsing import MOST_OF_JSON
from service.server.run import run_granian, run_gunicorn
from service.settings import Settings, load_settings

NPY = "application/x-npy"
PACKAGES = ("gunicorn", "granian", "flask", "numpy")
SERVERS = ("gunicorn", "granian")
OURS, EMPTY, FASTAPI = "service.wsgi:app", "bench.noop:app", "bench.fastapi_app:app"
TURNS = 4
WARM_UP_SECONDS = 0.5
MOST_OF_OTHERS = 0.1
PEERS = Path(__file__).parent.parent / ".venv-peers/bin/python"
"""`python -m venv .venv-peers && .venv-peers/bin/pip install fastapi 'uvicorn[standard]' numpy`"""


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
        print(f"Python {sys.version.split()[0]}, {versions}, load average {os.getloadavg()[0]:.1f}")
        found = _in_turns(folder, seconds)
        for server in SERVERS:
            _print_table(server, found)
        _say_how_busy([one for ones in found.values() for one in ones])
        print()
        _limits(folder)


def network_file(folder: Path) -> None:
    """An untrained network that remembers 1,000 images, as weights.npz."""
    network = TwoLayerNet(784, 50, 10, "he", seed=0, dtype=np.float32)
    images = np.random.default_rng(0).integers(0, 256, (1000, 784), dtype=np.uint8)
    memory = sample(images, np.arange(1000) % 10, 1000, seed=0)
    weights_file.save(folder / "weights.npz", Weights(network.params, image_shape=(28, 28), memory=memory))


Found = dict[tuple[str, str], list[Measured]]
"""By server and request."""


def _in_turns(folder: Path, seconds: float) -> Found:
    """Every request on every server, again and again, so that what else the machine does is the same for all."""
    found: Found = defaultdict(list)
    with ExitStack() as running_servers:
        ports = {
            (server, app): running_servers.enter_context(serving(_folder(folder, server, app), server, app))
            for server in SERVERS
            for app in (OURS, EMPTY)
        }
        if (python := python_with_fastapi()) is not None:
            ports["uvicorn", FASTAPI] = running_servers.enter_context(serving_fastapi(folder, python))
        for label, path, body, content_type, connections in CASES:
            for turn in range(TURNS):
                for (server, app), (pid, port) in ports.items():
                    if (app == FASTAPI and content_type == NPY) or (app == FASTAPI and path != "/predict"):
                        continue
                    request = request_bytes("/noop" if app == EMPTY else path, body, content_type)
                    warm_up = WARM_UP_SECONDS if turn == 0 else 0.1
                    one = measure(pid, port, request, seconds / TURNS, connections, warm_up=warm_up)
                    found[f"{server} {app}", label].append(one)
    return found


def _folder(folder: Path, server: str, app: str) -> Path:
    """Of its own, for a store of its own."""
    (own := folder / f"{server}-{app.partition(':')[0]}").mkdir()
    shutil.copy(folder / "weights.npz", own)
    return own


def _print_table(server: str, found: Found) -> None:
    print(f"\n| request, {server} | CPU µs | × empty | × FastAPI | switches | of empty | p50 ms | p99 ms | each s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for label, *_ in CASES:
        mine, empty = found[f"{server} {OURS}", label], found[f"{server} {EMPTY}", label]
        peer = found.get((f"uvicorn {FASTAPI}", label))
        cpu = middle(mine, "cpu_us")
        print(
            f"| {label} | {cpu:.0f} | {cpu / middle(empty, 'cpu_us'):.2f} "
            f"| {'' if peer is None else format(cpu / middle(peer, 'cpu_us'), '.2f')} "
            f"| {middle(mine, 'switches'):.1f} | {middle(empty, 'switches'):.1f} | {middle(mine, 'p50_ms'):.2f} "
            f"| {middle(mine, 'p99_ms'):.2f} | {middle(mine, 'per_second'):.0f} |"
        )


def middle(measured: Sequence[Measured], field: str) -> float:
    return float(median(getattr(one, field) for one in measured))


def _say_how_busy(measured: Sequence[Measured]) -> None:
    others = middle(measured, "others")
    print(f"\nothers used {others:.0%} of the machine meanwhile; load average {os.getloadavg()[0]:.1f}")
    if others > MOST_OF_OTHERS:
        print(
            "DO NOT BELIEVE THIS: where a processor is not free when a thread wants it, there are fewer context "
            "switches and other ratios. Measure again when the machine is quiet."
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


@contextmanager
def serving_fastapi(folder: Path, python: str) -> Iterator[tuple[int, int]]:
    """The same network: its process and port."""
    port = free_port()
    command = [python, "-m", "uvicorn", FASTAPI, "--port", str(port), "--no-access-log", "--log-level", "warning"]
    with running(command, folder, port, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1") as process:
        yield process.pid, port


def python_with_fastapi() -> str | None:
    if PEERS.with_name("uvicorn").exists():
        return str(PEERS)
    return sys.executable if find_spec("fastapi") and find_spec("uvicorn") else None


def start(app: str) -> None:
    """Run in a process of its own."""
    settings = load_settings()
    if settings.server == "granian":
        run_granian(settings, app)
    else:
        run_gunicorn(app)


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
        values = MOST_OF_JSON[b","][0] // 784
        for kind, content_type, body_of, at_most in (
            ("JSON", "application/json", json_batch, values),
            ("bytes", NPY, npy_bytes, most),
        ):
            count = min(at_most, (most - 200) // (len(body_of(101)) - len(body_of(100))))
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
