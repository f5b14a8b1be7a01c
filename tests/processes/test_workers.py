"""What crosses processes: several gunicorn workers behind one port."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.app import create_app
from service.errors import StartupError
from tests.conftest import as_json, random_batch, untrained
from tests.processes.conftest import MakeServer
from tests.processes.server import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers, for the tests that do nothing to them that does not pass."""
    folder = tmp_path_factory.mktemp("workers")
    untrained(folder)
    server = Server(folder, workers=2).start()
    yield server
    server.kill()


@pytest.mark.parametrize("steps", [8, pytest.param(50, marks=pytest.mark.long)])
def test_a_step_on_one_worker_is_seen_by_every_other(server: Server, steps: int) -> None:
    """Each request comes on a connection of its own, so they spread over the workers."""
    x, t = random_batch(4)
    assert len(server.workers()) == 2
    for _ in range(steps):
        version = server.post("/train-step", as_json(x, t)).json()["model_version"]
        answers = [server.predict(x) for _ in range(6)]
        assert {answer["model_version"] for answer in answers} == {version}
        assert len({str(answer["probabilities"]) for answer in answers}) == 1


def test_what_one_worker_learnt_another_answers_with(server: Server) -> None:
    """One worker is stopped while the other one learns, then the other way round."""
    x, t = random_batch(1)
    first, second = server.workers()
    begun = version = server.predict(x)["model_version"]
    for learns, answers in ((first, second), (second, first)) * 3:
        suspend(answers)
        version = server.post("/train-step", as_json(x, t)).json()["model_version"]
        suspend(learns)
        os.kill(answers, signal.SIGCONT)
        assert server.predict(x)["model_version"] == version
        os.kill(learns, signal.SIGCONT)
    assert version == begun + 6


def suspend(pid: int) -> None:
    """Stop a process, and wait until none of its threads can accept a connection any more."""
    os.kill(pid, signal.SIGSTOP)
    while any(task.read_text().rsplit(")")[-1].split()[0] != "T" for task in Path(f"/proc/{pid}/task").glob("*/stat")):
        time.sleep(0.001)


@pytest.mark.long
def test_a_restart_goes_on_from_the_newest_version(make_server: MakeServer) -> None:
    server = make_server().start()
    x, t = random_batch(4)
    for _ in range(5):
        server.post("/train-step", as_json(x, t))
    before = server.predict(x)
    assert server.stop() == 0
    assert make_server().start().predict(x) == before


def test_a_bare_gunicorn_serves_too(make_server: MakeServer) -> None:
    server = make_server()
    server.start([sys.executable, "-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{server.port}", "service.wsgi:app"])
    assert server.predict(random_batch(1)[0])["model_version"] == 1


@pytest.mark.long
@pytest.mark.parametrize("bare", [False, True], ids=["twolayernet serve", "gunicorn"])
def test_no_weights_and_no_store_is_one_clear_line(make_server: MakeServer, bare: bool) -> None:
    server = make_server(TWOLAYERNET_WEIGHTS="nowhere.npz")
    gunicorn = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{server.port}", "service.wsgi:app"]
    server.launch(gunicorn if bare else None)
    assert server.ended() == 4
    assert "nowhere.npz does not exist" in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("WORKERS", "0"),
        ("STORE", "twolayernet.db"),
        ("STORE", "sqlite://"),
        ("LEARNING_RATE", "-1"),
        ("API_KEY_PREDICT", "k"),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"TWOLAYERNET_{name}", value)
    with pytest.raises(StartupError) as error:
        create_app()
    [line] = str(error.value).splitlines()
    assert ("store" if name == "STORE" else f"TWOLAYERNET_{name}") in line


@pytest.mark.long
def test_train_then_serve_what_was_trained(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    trained = subprocess.run(
        [sys.executable, "-m", "service.cli", "train", "--epochs", "2", "--out", str(tmp_path / "weights.npz")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "test accuracy" in trained.stdout
    server.start()
    assert server.predict(random_batch(1)[0])["model_version"] == 1
