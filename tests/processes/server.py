"""A real service for tests: gunicorn with worker processes, on a free port, that can be killed and started again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from tests.conftest import as_json
from tests.postgres import free_port

GUARD_SECONDS = 120
"""When a test gives up on a process that neither answers nor ends. No machine is so slow; a test that needs less says
nothing by it."""


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
        """Start and wait until it is ready, or has ended, which fails.

        A server may listen before its workers have imported the application: then a request waits as long as that
        takes, and is reset should they never come.
        """
        process = self.launch(command)
        self.wait_for(self.is_ready)
        assert process.poll() is None, self.log
        return self

    def is_ready(self) -> bool:
        return self.answers() and len(self.workers()) == self.worker_processes

    def answers(self) -> bool:
        try:
            return self.get("/readyz").status_code == 200
        except requests.ConnectionError:
            return False

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until the condition holds; fails when the process has ended before."""
        assert self.process is not None
        give_up = time.monotonic() + GUARD_SECONDS
        while not condition():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < give_up, self.log
            time.sleep(0.02)

    def ended(self) -> int:
        """The exit code of one that ends by itself."""
        assert self.process is not None
        return self.process.wait(GUARD_SECONDS)

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
        return self.ended()

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=GUARD_SECONDS, **options)

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        return requests.post(self.url + path, json=body, timeout=GUARD_SECONDS, **options)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=GUARD_SECONDS, **options)

    def predict(self, x: Any) -> dict[str, Any]:
        answer = self.post("/predict", as_json(x))
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result
