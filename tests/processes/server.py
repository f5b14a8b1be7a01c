"""A real service for tests: gunicorn with worker processes, on a free port, that can be killed and started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

from tests.conftest import as_json
from tests.postgres import free_port

READY_SECONDS = 20


class Server:
    """`twolayernet serve` in a folder that holds weights.npz; workers: 0 for a server that is one process."""

    def __init__(self, folder: Path, workers: int = 2, **environment: str) -> None:
        self.folder = folder
        self.worker_processes = workers
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "TWOLAYERNET_PORT": str(self.port),
            "TWOLAYERNET_WORKERS": str(workers or 1),
            "TWOLAYERNET_STORE": f"sqlite:///{folder}/store.db",
            "TWOLAYERNET_WEIGHTS": str(folder / "weights.npz"),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        path = self.folder / "server.log"
        return path.read_text() if path.exists() else ""

    def launch(self, command: list[str] | None = None) -> subprocess.Popen[bytes]:
        """Start, in a process group of its own, without waiting for anything."""
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                command or [sys.executable, "-m", "service.cli", "serve"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self.process

    def start(self, command: list[str] | None = None) -> "Server":
        """Start and wait until it is ready."""
        process = self.launch(command)
        give_up = time.monotonic() + READY_SECONDS
        while time.monotonic() < give_up:
            assert process.poll() is None, self.log
            try:
                ready = requests.get(f"{self.url}/readyz", timeout=5).status_code == 200
                if ready and len(self.workers()) == self.worker_processes:
                    return self
            except requests.ConnectionError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"not ready in {READY_SECONDS} s: {self.log}")

    def workers(self) -> list[int]:
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def kill(self) -> None:
        """kill -9 of every process at once, the master first so that it starts no other worker."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM to the master, as an operator or a container engine does it; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=40)

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **options)

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        return requests.post(self.url + path, json=body, timeout=60, **options)

    def predict(self, x: Any) -> dict[str, Any]:
        answer = self.post("/predict", as_json(x))
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result
