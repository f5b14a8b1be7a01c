"""What many models cost: `python -m bench.models [MODELS] [IN_USE] [SECONDS] [postgresql]`, with two workers of two
threads.

Time from start to ready, memory of a worker for each model that it has open, how long a predict takes compared with one
of the default model, and train-steps a second over ten models compared with one. On PostgreSQL, which needs the
dependency group `postgres`, also the connections, and the time of the processors when nothing is asked.
"""

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import requests

from bench.load import connect, exchange, memory_mib, request_bytes, tree
from bench.serving import json_bytes, network_file, serving

WORKERS = 2
TURNS = 4


def main() -> None:
    count, in_use = (int(text) for text in (sys.argv[1:3] if len(sys.argv) > 2 else ("100", "100")))
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 5.0
    store = database() if len(sys.argv) > 4 else nullcontext()
    with tempfile.TemporaryDirectory(prefix="models-") as name, store as postgres:
        folder = Path(name)
        network_file(folder)
        settings = {"TWOLAYERNET_MODELS": "models", "TWOLAYERNET_WORKERS": str(WORKERS)}
        if postgres is not None:
            settings["TWOLAYERNET_STORE"] = postgres.url("postgres")
        with serving(folder, **settings) as (_, port):
            began = time.monotonic()
            for number in range(count):
                path = f"http://127.0.0.1:{port}/models/pupil-{number}"
                requests.put(path, json={"copy_of": "default"}, timeout=60).raise_for_status()
            print(f"{count} models made, {(time.monotonic() - began) / count * 1000:.0f} ms each", flush=True)
        began = time.monotonic()
        with serving(folder, **settings) as (pid, port):
            print(f"from start to ready: {time.monotonic() - began:.1f} s")
            report_memory(pid, port, in_use, postgres)
            if postgres is not None:
                report_idle(pid, postgres, seconds)
            report_predicts(port, in_use, seconds)
            report_steps(port, seconds)


@contextmanager
def database() -> Iterator[Any]:
    from tests.postgres import Postgres

    postgres = Postgres()
    try:
        yield postgres
    finally:
        postgres.remove()


def report_memory(pid: int, port: int, in_use: int, postgres: Any) -> None:
    workers = tree(pid)[1:]
    for _ in range(200):  # so that both workers have what a first request needs
        once(port, "/predict", json_bytes(1, False))
    before = sum(map(memory_mib, workers))
    while min(opened := tailed(postgres) if postgres else [open_models(worker) for worker in workers]) < in_use:
        for number in range(in_use):
            once(port, f"/models/pupil-{number}/predict", json_bytes(1, False))
    for number in range(in_use):
        once(port, f"/models/pupil-{number}/train-step", json_bytes(1, True))
    for _ in range(3 * WORKERS):
        for number in range(in_use):
            once(port, f"/models/pupil-{number}/predict", json_bytes(1, False))
    each = (sum(map(memory_mib, workers)) - before) / sum(opened)
    print(f"{in_use} models in use: {each:.2f} MiB (PSS) for each model and worker", flush=True)


def open_models(worker: int) -> int:
    files = set()
    for file in Path(f"/proc/{worker}/fd").iterdir():
        try:
            files.add(str(file.readlink()))
        except OSError:
            continue
    return len([file for file in files if "/models/" in file and file.endswith(".db")])


def tailed(postgres: Any) -> list[int]:
    """Of each worker, how many models it tails."""
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' GROUP BY pid"
    return [count - 1 for (count,) in postgres.run(locks)] or [0]


def report_idle(pid: int, postgres: Any, seconds: float) -> None:
    [(connections,)] = postgres.run("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'twolayernet%'")
    server = int((postgres.folder / "postmaster.pid").read_text().split()[0])
    before = [processor_seconds(root) for root in (pid, server)]
    time.sleep(seconds)
    after = [processor_seconds(root) for root in (pid, server)]
    service, database = (
        sum(now[pid] - then[pid] for pid in now.keys() & then) / seconds * 100
        for then, now in zip(before, after, strict=True)
    )
    print(f"{connections} connections; idle: {service:.1f} % of a processor, the database {database:.1f} %", flush=True)


def processor_seconds(root: int) -> dict[int, float]:
    """Of each process below it, and of itself."""
    seconds = {}
    for pid in tree(root):
        with suppress(FileNotFoundError):  # it has ended
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            seconds[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def once(port: int, path: str, body: bytes) -> None:
    with connect(port) as connection:
        answer = exchange(connection, request_bytes(path, body, "application/json"))
    assert b" 200 " in answer[:20], answer[:300]


def report_predicts(port: int, in_use: int, seconds: float) -> None:
    """In turns on the same connections."""
    body, until = json_bytes(1, False), time.monotonic() + 2 * seconds
    connections = [connect(port) for _ in range(4 * WORKERS)]
    took: dict[str, list[float]] = {"default": [], "named": []}
    number = 0
    while time.monotonic() < until:
        for kind, times in took.items():
            for connection in connections:
                number += 1
                path = "/predict" if kind == "default" else f"/models/pupil-{number % in_use}/predict"
                began = time.perf_counter()
                exchange(connection, request_bytes(path, body, "application/json"))
                times.append(time.perf_counter() - began)
    middle = {kind: statistics.median(times) * 1000 for kind, times in took.items()}
    print(
        f"p50 of a predict: {middle['named']:.2f} ms of one of {in_use} models, {middle['default']:.2f} of the default "
        f"one, ratio {middle['named'] / middle['default']:.2f}",
        flush=True,
    )


def report_steps(port: int, seconds: float) -> None:
    """Ten clients that teach ten models or one, in turns."""
    rates: dict[int, list[float]] = {1: [], 10: []}
    for _ in range(TURNS):
        for models, found in rates.items():
            found.append(steps_per_second(port, models, seconds))
    one, ten = (statistics.median(found) for found in rates.values())
    print(f"train-steps a second: {ten:.0f} over ten models, {one:.0f} of one, ratio {ten / one:.2f}")


def steps_per_second(port: int, models: int, seconds: float) -> float:
    body, until, done = json_bytes(1, True), time.monotonic() + seconds, [0] * 10

    def teach(client: int) -> None:
        request = request_bytes(f"/models/pupil-{client % models}/train-step", body, "application/json")
        with connect(port) as connection:
            while time.monotonic() < until:
                assert b" 200 " in exchange(connection, request)[:20]
                done[client] += 1

    threads = [threading.Thread(target=teach, args=(client,)) for client in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / seconds


if __name__ == "__main__":
    main()
