"""Servers to measure and a load for them: CPU time of a server's whole process tree for each request, on loopback."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """cpu_us, switches: CPU microseconds and context switches of the server for each request; p50_ms, p99_ms: as the
    client saw them; others: the share of the machine that neither the server nor the client used."""

    requests: int
    cpu_us: float
    switches: float
    per_second: float
    p50_ms: float
    p99_ms: float
    others: float


@contextmanager
def running(command: list[str], folder: Path, port: int, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server, once it answers /readyz, until the block ends."""
    with open(folder / "server.log", "ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), **environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        for _ in range(200):
            try:
                if b" 200 " in exchange(connect(port), b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")[:20]:
                    break
            except OSError:
                time.sleep(0.05)
            if process.poll() is not None:
                sys.exit((folder / "server.log").read_text())
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def gunicorn(app: str, port: int, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "gunicorn", "--no-control-socket", "-b", f"127.0.0.1:{port}", "--keep-alive", "30"),
        *(*more, app),
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def request_bytes(path: str, body: bytes, content_type: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def exchange(connection: socket.socket, request: bytes) -> bytes:
    """One request and its whole answer."""
    connection.sendall(request)
    received = connection.recv(65536)
    while b"\r\n\r\n" not in received:
        received += _more(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += _more(connection)
    return head + b"\r\n\r\n" + body


def _more(connection: socket.socket) -> bytes:
    piece = connection.recv(65536)
    if not piece:
        raise ConnectionError("the server closed the connection")
    return piece


def measure(
    pid: int, port: int, request: bytes, seconds: float, connections: int, *, warm_up: float | None = None
) -> Measured:
    """The same request again and again on so many connections kept alive, each waiting for its answer."""
    latencies: list[float] = []
    failures: list[bytes] = []

    def client(until: float) -> None:
        with connect(port) as connection:
            while (start := time.perf_counter()) < until:
                answer = exchange(connection, request)
                latencies.append(time.perf_counter() - start)
                if b" 200 " not in answer[:20]:
                    failures.append(answer)
                    return

    def all_clients(duration: float) -> None:
        until = time.perf_counter() + duration
        threads = [threading.Thread(target=client, args=(until,)) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    all_clients(min(1, seconds / 2) if warm_up is None else warm_up)
    latencies.clear()
    before, switched_before, used_before = cpu_seconds(pid), switches(pid), used_seconds()
    client_before = time.process_time()
    all_clients(seconds)
    spent = cpu_seconds(pid) - before
    others = used_seconds() - used_before - spent - (time.process_time() - client_before)
    switched = sum(count - switched_before.get(task, 0) for task, count in switches(pid).items())
    if failures:
        sys.exit(f"not answered with 200: {failures[0].decode(errors='replace')}")
    ordered = sorted(latencies)
    count = len(ordered)
    return Measured(
        count,
        spent / count * 1e6,
        switched / count,
        count / seconds,
        ordered[count // 2] * 1e3,
        ordered[min(count - 1, count * 99 // 100)] * 1e3,
        min(1.0, max(0.0, others) / seconds / (os.cpu_count() or 1)),
    )


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    except OSError:
        pass
    return found


def cpu_seconds(pid: int) -> float:
    total = 0
    for process in tree(pid):
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def switches(pid: int) -> dict[str, int]:
    """How often each thread of a process and its descendants gave the processor up, or had it taken away."""
    found = {}
    for process in tree(pid):
        for task in Path(f"/proc/{process}/task").iterdir():
            with suppress(OSError):  # it has ended
                lines = (task / "status").read_text().splitlines()
                found[task.name] = sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return found


def used_seconds() -> float:
    """What all processors have been busy for, time that the host of a virtual machine took included."""
    user, nice, system, _idle, _wait, *more = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(more)) / TICKS


def memory_mib(pid: int) -> float:
    """What one process adds to the memory in use: its own pages, and its share of those that others map too (PSS)."""
    fields = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return int(fields[fields.index("Pss:") + 1]) / 1024
