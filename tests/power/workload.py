"""What is recorded: a service under load, started and stopped, with backups, restores and training jobs beside it."""

import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import requests

from model import TwoLayerNet, weights_file
from model.weights_file import Weights
from tests.power.disk import Disk, Snapshot, snapshot_of
from tests.power.recording import Event, Recorder
from tests.processes.server import GUARD_SECONDS, Server

SIDE, CLASSES = 8, 4
FEATURES = SIDE * SIDE
SERVED, RESTORED, BACKUP, TRAINED = "served/store.db", "restored/store.db", "backup/store.db", "trained/weights.npz"
SNAPSHOT_EVERY, KEEP_VERSIONS = 20, 60
SETTINGS = {
    "TWOLAYERNET_SNAPSHOT_EVERY": str(SNAPSHOT_EVERY),
    "TWOLAYERNET_KEEP_VERSIONS": str(KEEP_VERSIONS),
    "TWOLAYERNET_ALARM_FALSE_EVERY": "1000",
    "TWOLAYERNET_MEMORY_SIZE": "20",
    "TWOLAYERNET_REHEARSE": "2",
    "TWOLAYERNET_ACCESS_LOG": "off",
}


@dataclass(frozen=True)
class Request:
    """store: whose service it was sent to; key: its Idempotency-Key, "" without."""

    store: str
    method: str
    path: str
    body: bytes
    key: str

    @property
    def headers(self) -> dict[str, str]:
        content = "application/octet-stream" if self.path == "/weights" else "application/json"
        return {"Content-Type": content, **({"Idempotency-Key": self.key} if self.key else {})}


@dataclass
class Recording:
    """before: the folder before the first event; events: in their order; requests, answers: by X-Request-ID; of the
    answers, those with a status of 2xx."""

    before: Snapshot
    events: list[Event] = field(default_factory=list)
    requests: dict[str, Request] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)


def network(seed: int) -> Weights:
    return Weights(
        TwoLayerNet(FEATURES, 6, CLASSES, "he", seed=seed, dtype=np.float32).params, image_shape=(SIDE, SIDE)
    )


def lesson(chance: random.Random, mislabelled: bool) -> dict[str, Any]:
    """Images with one bright quarter, whose number is the label."""
    source = np.random.default_rng(chance.randrange(2**32))
    count = chance.choice((1, 2, 8, 20))
    labels = source.integers(0, CLASSES, count)
    images = source.integers(0, 100, (count, 4, FEATURES // 4), dtype=np.uint8)
    images[np.arange(count), labels] += 150
    labels = (labels + mislabelled) % CLASSES
    return {
        "images": images.reshape(count, -1).tolist(),
        "pixel_max": 255,
        "labels": labels.tolist(),
        "learning_rate": 0.3,
    }


class Client:
    """A thread's requests to a service, each with a number of its own."""

    numbers = itertools.count(1)

    def __init__(self, recording: Recording, server: Server, store: str) -> None:
        self._recording, self._server, self._store = recording, server, store
        self._session = requests.Session()

    def send(self, method: str, path: str, body: Any = b"", key: str = "") -> Any:
        """body: bytes, or what is sent as JSON. Returns the answer's JSON; None where the request was refused."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.repeat(Request(self._store, method, path, data, key))

    def repeat(self, request: Request) -> Any:
        number = f"request-{next(self.numbers)}"
        self._recording.requests[number] = self.last = request
        answer = self._session.request(
            request.method,
            self._server.url + request.path,
            data=request.body,
            headers={"X-Request-ID": number, **request.headers},
            timeout=GUARD_SECONDS,
        )
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        if answer.status_code >= 300:
            return None
        self._recording.answers[number] = answer.json() if answer.content else {}
        return self._recording.answers[number]

    def work(self, seed: int, steps: int) -> None:
        """Some of everything that a client may do."""
        chance = random.Random(seed)
        keyed: list[Request] = []
        unlabelled: list[str] = []
        newest = 1
        for number in range(steps):
            mislabelled = number > steps // 2 and chance.random() < 0.8
            key = chance.choice(("", f"key-{seed}-{number}"))
            what = chance.choices(
                ("step", "repeat", "rollback", "load", "predict", "label", "delete", "pause"),
                (50, 6, 3, 2, 15, 15, 3, 4),
            )[0]
            answer = None
            if what == "step":
                answer = self.send("POST", "/train-step", lesson(chance, mislabelled), key=key)
                if key:
                    keyed.append(self.last)
            elif what == "repeat" and keyed:
                self.repeat(chance.choice(keyed))
            elif what == "rollback":
                self.send("POST", "/rollback", {"model_version": max(1, newest - chance.randrange(20))}, key=key)
            elif what == "load":
                self.send("PUT", "/weights", weights_file.to_bytes(network(number)), key)
            elif what == "predict":
                images = lesson(chance, False)
                answer = self.send(
                    "POST", "/predict?remember=true", {"images": images["images"], "pixel_max": images["pixel_max"]}
                )
                unlabelled += [] if answer is None else answer["prediction_ids"]
            elif what == "label" and unlabelled:
                ids, unlabelled = unlabelled[:3], unlabelled[3:]
                self.send(
                    "POST",
                    "/train-step",
                    {"prediction_ids": ids, "labels": [chance.randrange(CLASSES) for _ in ids]},
                    key=key,
                )
            elif what == "delete" and unlabelled:
                self.send("DELETE", f"/predictions/{unlabelled.pop()}")
            elif what == "pause":
                self.send("PUT", "/learning", {"state": "paused", "reason": "a test"})
                self.send("PUT", "/learning", {"state": "learning"})
                self.send("GET", "/versions?limit=3")
            if answer is not None:
                newest = answer["model_version"]
            elif what == "step":  # an alarm has paused it
                self.send("PUT", "/learning", {"state": "learning"})

    def teach_nonsense(self) -> None:
        """After what is right, which is an alarm."""
        chance = random.Random(0)
        self.send("PUT", "/learning", {"state": "learning"})
        for number in range(45):
            self.send("POST", "/train-step", lesson(chance, mislabelled=number >= 30))


def at_once(*jobs: Callable[[], None]) -> None:
    """Raises the first error of one of them."""
    errors: list[Exception] = []

    def run(job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


class Workload:
    def __init__(self, folder: Path, workplace: Path, steps: int) -> None:
        """folder: a new one, whose files are recorded; steps: requests of each client."""
        self.folder, self.workplace, self.steps = folder, workplace, steps
        for store in (SERVED, RESTORED, BACKUP, TRAINED):
            (folder / store).parent.mkdir(parents=True)
        (folder / f"{SERVED}-lock").write_text("1234567")  # the number of a store that was removed
        for store in (SERVED, RESTORED):
            weights_file.save((folder / store).with_name("weights.npz"), network(1))
        source = np.random.default_rng(1)
        x, t = source.integers(0, 256, (200, SIDE, SIDE), dtype=np.uint8), source.integers(0, CLASSES, 200)
        np.savez(workplace / "data.npz", x=x, t=t)
        self.recorder = Recorder(folder, workplace)
        self.recording = Recording(snapshot_of(folder))

    def run(self) -> Recording:
        """Each command's mark follows when it has ended."""
        at_once(self.serve_and_restore, self.train_and_resume)
        self.recording.events = self.recorder.events()
        self.check_complete()
        return self.recording

    def serve_and_restore(self) -> None:
        self.serve(SERVED, self.load_and_back_up, alarm="rollback")
        self.restore()
        self.serve(RESTORED, self.load, kill=True)
        self.serve(SERVED, self.load_and_back_up, alarm="pause")
        self.restore()
        self.serve(RESTORED, self.load, kill=True)
        self.recorder.mark("remove")
        environment = {**os.environ, **self.recorder.environment}
        subprocess.run(["rm", self.folder / RESTORED], env=environment, check=True)  # its write-ahead log stays
        self.restore()
        self.serve(RESTORED, self.load)

    def train_and_resume(self) -> None:
        self.train("--epochs", "3", mark="train")
        self.train("--epochs", "100000", interrupt=True)
        self.train("--epochs", "100000", "--resume", interrupt=True, mark="train")

    def check_complete(self) -> None:
        """The files are those that the events lead to."""
        disk = Disk(self.recording.before)
        for event in self.recording.events:
            disk.play(event)
        files = {path: content for path, (_, content) in snapshot_of(self.folder).items() if content is not None}
        assert disk.written() == files, "the recorder has missed something"

    def restore(self) -> None:
        self.command("restore", "--store", self.url(RESTORED), str(self.folder / BACKUP), mark="restore")

    def url(self, store: str) -> str:
        return f"sqlite:///{self.folder / store}"

    def serve(self, store: str, work: Callable[[Server, str], None], alarm: str = "off", kill: bool = False) -> None:
        path = self.folder / store
        server = Server(
            self.workplace,
            2,
            **SETTINGS,
            **self.recorder.environment,
            TWOLAYERNET_STORE=self.url(store),
            TWOLAYERNET_WEIGHTS=str(path.with_name("weights.npz")),
            TWOLAYERNET_ALARM=alarm,
        )
        try:
            server.start()
            work(server, store)
        except BaseException:
            server.kill()
            raise
        if kill:
            server.kill()
        else:
            assert server.stop() == 0, server.log

    def load(self, server: Server, store: str) -> None:
        Client(self.recording, server, store).work(seed=next(Client.numbers), steps=self.steps // 3)

    def load_and_back_up(self, server: Server, store: str) -> None:
        def client() -> None:
            Client(self.recording, server, store).work(seed=next(Client.numbers), steps=self.steps)

        def back_up() -> None:
            self.command("backup", "--store", self.url(store), str(self.folder / BACKUP), mark="backup")

        at_once(client, client, client, back_up)
        Client(self.recording, server, store).teach_nonsense()

    def train(self, *options: str, interrupt: bool = False, mark: str = "") -> None:
        out, few = self.folder / TRAINED, ["--hidden", "4", "--drawn", "0", "--distort", "0", "--shift", "0"]
        arguments = ["train", "--data", str(self.workplace / "data.npz"), "--out", str(out), "--quiet", *few, *options]
        self.command(*arguments, mark=mark, interrupt=out.with_name(f"{out.name}.checkpoint") if interrupt else None)

    def command(self, *arguments: str, mark: str = "", interrupt: Path | None = None) -> None:
        """interrupt: by Ctrl-C, a while after this file was written."""
        process = subprocess.Popen(
            [sys.executable, "-m", "service.cli", *arguments],
            env={**Server(self.workplace).environment, **self.recorder.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if interrupt is not None:
            before = interrupt.stat().st_mtime_ns if interrupt.exists() else 0
            saved = 0
            while saved < 5:
                time.sleep(0.005)
                assert process.poll() is None, process.communicate()[0]
                if interrupt.exists() and interrupt.stat().st_mtime_ns != before:
                    before, saved = interrupt.stat().st_mtime_ns, saved + 1
            process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=GUARD_SECONDS)
        assert process.returncode == (0 if interrupt is None else 130), output
        if mark:
            self.recorder.mark(mark)


def recorded(workplace: Path, steps: int = 60) -> Recording:
    """steps: requests of each client."""
    (folder := workplace / "recorded").mkdir()
    try:
        return Workload(folder, workplace, steps).run()
    finally:
        shutil.rmtree(folder)
