"""Clients that train and clients that predict, at once, and what they saw."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import requests

from service.store.write_lock import BUSY
from tests.conftest import FEATURES, as_json
from tests.processes.server import GUARD_SECONDS, Server

LOOKED_AT = np.random.default_rng(99).integers(0, 256, (2, FEATURES), dtype=np.uint8)
"""The images that are predicted all the while."""


@dataclass
class Seen:
    """acknowledged: the answers to steps by the step's mark; unanswered: marks of steps whose fate is not known."""

    acknowledged: dict[int, dict[str, Any]] = field(default_factory=dict)
    unanswered: set[int] = field(default_factory=set)
    predictions: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    newest: int = 0


def marked_batch(mark: int, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch of random size whose first image says in its first four pixels which step it belongs to."""
    source = np.random.default_rng(mark)
    count = int(source.integers(1, largest + 1))
    x = source.integers(0, 256, (count, FEATURES), dtype=np.uint8)
    x[0, :4] = list(mark.to_bytes(4, "big"))
    return x, source.integers(0, 10, count)


def mark_of(x: np.ndarray) -> int:
    return int.from_bytes(np.round(x[0, :4] * 255).astype(np.uint8).tobytes(), "big")


class Clients:
    """Threads that fire at a server until they are told to stop or their steps are used up."""

    def __init__(self, server: Server, seen: Seen | None = None, trouble: bool = False) -> None:
        """trouble: that steps are refused with 503 is to be expected, not only for the write lock on a busy machine.
        On PostgreSQL predicts say which version they want at least."""
        self.server = server
        self.trouble = trouble
        self.says_minimum = server.environment["TWOLAYERNET_STORE"].startswith("postgresql")
        self.seen = seen or Seen()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._trainers: list[threading.Thread] = []
        self._others: list[threading.Thread] = []

    def train(self, clients: int, steps: int, first_mark: int = 0, largest: int = 32) -> None:
        """`steps` in all, divided among the clients."""
        for client in range(clients):
            marks = range(first_mark + client, first_mark + steps, clients)
            self._start(self._trainers, partial(self._train, marks=marks, largest=largest))

    def predict(self, clients: int) -> None:
        for _ in range(clients):
            self._start(self._others, self._predict)

    def _start(self, group: list[threading.Thread], work: Callable[[requests.Session], None]) -> None:
        def run() -> None:
            with requests.Session() as session:
                try:
                    work(session)
                except Exception as error:
                    self.seen.wrong.append(repr(error))

        thread = threading.Thread(target=run)
        group.append(thread)
        thread.start()

    def _train(self, session: requests.Session, marks: range, largest: int) -> None:
        for mark in marks:
            if self._stop.is_set():
                return
            source: dict[str, Any] = {"source": "tablet"} if mark % 5 == 0 else {}
            body = as_json(*marked_batch(mark, largest), learning_rate=random.choice([0.01, 0.02]), **source)
            try:
                answer = session.post(f"{self.server.url}/train-step", json=body, timeout=GUARD_SECONDS)
            except requests.RequestException:
                self.seen.unanswered.add(mark)
                time.sleep(0.01)
                continue
            if answer.status_code == 503 and (self.trouble or BUSY in answer.text):
                self.seen.unanswered.add(mark)
                time.sleep(0.02)
                continue
            if answer.status_code != 200:
                self.seen.wrong.append(answer.text)
                continue
            with self._lock:
                self.seen.acknowledged[mark] = answer.json()
                self.seen.newest = max(self.seen.newest, answer.json()["model_version"])

    def _predict(self, session: requests.Session) -> None:
        last = 0
        body = as_json(LOOKED_AT)
        while not self._stop.is_set():
            at_least = 0 if self.trouble else self.seen.newest
            headers = {"X-Min-Model-Version": str(max(at_least, last, 1))} if self.says_minimum else {}
            try:
                answer = session.post(f"{self.server.url}/predict", json=body, headers=headers, timeout=GUARD_SECONDS)
            except requests.RequestException:
                time.sleep(0.01)
                continue
            if answer.status_code != 200:
                self.seen.wrong.append(answer.text)
                continue
            version = answer.json()["model_version"]
            if version < at_least:
                self.seen.wrong.append(f"a predict after version {at_least} was answered from {version}")
            if version < last:
                self.seen.wrong.append(f"a client saw version {last} and then {version}")
            last = version
            self.seen.predictions.append((at_least, answer.json()))

    def wait_for_steps(self, count: int) -> None:
        """Until so many more are acknowledged, or the server has ended."""
        process, goal = self.server.process, len(self.seen.acknowledged) + count
        assert process is not None
        self.server.wait_for(lambda: len(self.seen.acknowledged) >= goal or process.poll() is not None)

    def finish(self) -> Seen:
        """Wait for the steps, then stop the predicting."""
        for thread in self._trainers:
            thread.join()
        return self.stop()

    def stop(self) -> Seen:
        self._stop.set()
        for thread in self._trainers + self._others:
            thread.join()
        return self.seen
