"""Services that share a store on PostgreSQL: steps and predicts a second, and how soon a step is seen elsewhere.

`python -m bench.cluster [SECONDS]`, the seconds for each figure. One, two and four services of two workers each on one
PostgreSQL server, all on this machine, beside one service on SQLite; four connections to each service, one image in
each request. Wants the dependency group `postgres`.
"""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.load import connect, exchange, free_port, request_bytes, running
from bench.serving import json_bytes, network_file
from tests.postgres import Postgres

CONNECTIONS = 4
STEPS_WATCHED = 200
PREDICT = request_bytes("/predict", json_bytes(1, False), "application/json")
STEP = request_bytes("/train-step", json_bytes(1, True), "application/json")


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    postgres = Postgres()
    try:
        print("| store | services | steps/s | predicts/s | a step alone, p50 ms | seen elsewhere, p50 ms | p99 ms |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        with tempfile.TemporaryDirectory() as name:
            network_file(Path(name))
            report("SQLite", f"sqlite:///{name}/store.db", 1, Path(name), seconds)
            for count in (1, 2, 4):
                report("PostgreSQL", postgres.new_database(), count, Path(name), seconds)
    finally:
        postgres.remove()


def report(store: str, url: str, count: int, folder: Path, seconds: float) -> None:
    with services(url, count, folder) as ports:
        rate(ports, PREDICT, 1)
        steps, predicts = rate(ports, STEP, seconds), rate(ports, PREDICT, seconds)
        took, delays = watched(ports)
    seen = f"{percentile(delays, 50):.1f} | {percentile(delays, 99):.1f}" if delays else " | "
    print(f"| {store} | {count} | {steps:.0f} | {predicts:.0f} | {percentile(took, 50):.1f} | {seen} |", flush=True)


@contextmanager
def services(url: str, count: int, folder: Path) -> Iterator[list[int]]:
    """The ports of so many services on one store."""
    with ExitStack() as stack:
        ports = [free_port() for _ in range(count)]
        for port in ports:
            command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port), "--store", url]
            stack.enter_context(running(command, folder, port))
        yield ports


def rate(ports: Sequence[int], request: bytes, seconds: float) -> float:
    """Answers a second, from all services together."""
    counts: list[int] = []
    until = time.perf_counter() + seconds

    def client(port: int) -> None:
        answered = 0
        with connect(port) as connection:
            while time.perf_counter() < until:
                if b" 200 " in exchange(connection, request)[:20]:
                    answered += 1
        counts.append(answered)

    threads = [threading.Thread(target=client, args=(port,)) for port in ports for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def watched(ports: Sequence[int]) -> tuple[list[float], list[float]]:
    """In milliseconds: what steps took, one after the other, and how long after each answer the next service was first
    asked without having it; nothing where there is one service."""
    took: list[float] = []
    delays: list[float] = []
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(port)) for port in ports]
        for number in range(STEPS_WATCHED):
            began = time.perf_counter()
            version = version_of(exchange(connections[number % len(ports)], STEP))
            answered = time.perf_counter()
            took.append((answered - began) * 1e3)
            other = connections[(number + 1) % len(ports)]
            seen = answered
            while len(ports) > 1 and version_of(exchange(other, PREDICT)) < version:
                seen = time.perf_counter()
            delays += [(seen - answered) * 1e3] if len(ports) > 1 else []
    return took, delays


def version_of(answer: bytes) -> int:
    return int(json.loads(answer.partition(b"\r\n\r\n")[2])["model_version"])


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


if __name__ == "__main__":
    main()
