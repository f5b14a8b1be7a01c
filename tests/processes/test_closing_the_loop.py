"""From a running service's examples to better weights, and back into the service."""

import io
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import requests

from model import TwoLayerNet, weights_file
from model.datasets import packaged_digits
from model.weights_file import Weights
from tests.conftest import as_json
from tests.processes.conftest import MakeServer
from tests.processes.server import Server
from tests.test_cli import twolayernet


@pytest.fixture
def taught(make_server: MakeServer) -> Server:
    """An untrained service that is taught 600 digits, in lessons of 20, and 20 that are for the test."""
    server = make_server(TWOLAYERNET_API_KEY="secret").start()
    digits = packaged_digits()
    lessons = [digits.train.take(np.arange(i, min(i + 134, 4000))[:20]) for i in range(0, 4000, 134)]
    for batch in [*lessons, digits.test.take(np.arange(20))]:
        lesson = as_json(batch.images, batch.labels)
        answer = server.post("/train-step", lesson, headers={"Authorization": "Bearer secret"})
        assert answer.status_code == 200
    return server


@pytest.mark.long
def test_round_the_loop(taught: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = twolayernet("train", "--examples", taught.url, "--data", "none", cwd=tmp_path)
    assert refused.returncode == 2
    assert "answered 401" in refused.stderr
    monkeypatch.setenv("TWOLAYERNET_API_KEY", "secret")

    alone = twolayernet("train", "--examples", taught.url, "--data", "none", "--out", tmp_path / "alone.npz")
    assert alone.returncode == 0, alone.stderr
    published = twolayernet("publish", tmp_path / "alone.npz", "--url", taught.url)
    assert published.returncode == 0, published.stderr
    assert "published as version 33" in published.stdout
    assert "has learnt 20 of the 1000 held-out images: they are left out" in published.stderr
    assert "on 980 held-out images" in published.stdout
    better = served_accuracy(taught)
    assert better > 0.8

    worse = twolayernet("train", "--epochs", "1", "--drawn", "0", "--hidden", "2", "--out", tmp_path / "worse.npz")
    assert worse.returncode == 0
    kept = twolayernet("publish", tmp_path / "worse.npz", "--url", taught.url)
    assert kept.returncode == 1
    other = TwoLayerNet(784, 5, 30, "he", seed=1, dtype=np.float32)
    weights_file.save(tmp_path / "other.npz", Weights(other.params))
    unlike = twolayernet("publish", tmp_path / "other.npz", "--url", taught.url)
    assert (unlike.returncode, "the output size is 30" in unlike.stderr) == (2, True)
    assert "not published" in kept.stderr
    assert served_accuracy(taught) == better

    with open(tmp_path / "examples.npz", "wb") as file:
        file.write(taught.get("/examples", headers={"Authorization": "Bearer secret"}).content)
    mix = (
        "train", "--examples", tmp_path / "examples.npz", "--weights", tmp_path / "alone.npz", "--epochs", "10",
        "--drawn", "500",
    )  # fmt: skip
    loaded_over = twolayernet(*mix, "--out", tmp_path / "mixed.npz")
    assert loaded_over.returncode == 2
    assert "has no examples in force (see --all-examples)" in loaded_over.stderr
    mixed = twolayernet(*mix, "--all-examples", "--out", tmp_path / "mixed.npz")
    assert mixed.returncode == 0, mixed.stderr
    assert "20 of 620 examples are test images of digits: they are left out" in mixed.stderr
    assert weights_file.load(tmp_path / "mixed.npz").training["dataset"] == "digits and 600 examples"
    assert twolayernet("publish", tmp_path / "mixed.npz", "--url", taught.url).returncode == 0
    assert served_accuracy(taught) > better


@pytest.mark.long
def test_what_users_labelled_last_decides_too(
    make_server: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The users say that sevens are ones, and the served network has learnt that; the new one knows digits better."""
    monkeypatch.setenv("TWOLAYERNET_API_KEY", "secret")
    server = make_server(workers=1, TWOLAYERNET_API_KEY="secret").start()
    assert twolayernet("train", "--epochs", "5", "--drawn", "500", "--out", tmp_path / "new.npz").returncode == 0
    publish = ("publish", tmp_path / "new.npz", "--url", server.url)
    first = twolayernet(*publish, "--on-recent", "1000")
    assert first.returncode == 0, first.stderr
    assert "has 0 labelled examples, not 1000" in first.stderr

    digits = packaged_digits().train
    sevens = digits.images[digits.labels == 7][:100]
    lesson = as_json(sevens, np.ones(len(sevens), int), learning_rate=0.1, rehearse=0)
    for _ in range(3):
        server.post("/train-step", lesson, headers={"Authorization": "Bearer secret"}).raise_for_status()
    spoilt = served_accuracy(server)
    kept = twolayernet(*publish, "--on-recent", "200")
    assert kept.returncode == 1, kept.stdout
    figures = r"not published: \S+ 9.+%, version 5 .+% on 1000 held-out images; \S+ .+%, .+% on 200 newest examples"
    assert re.search(figures, kept.stderr), kept.stderr
    assert served_accuracy(server) == spoilt
    few = twolayernet(*publish, "--on-recent", "1000")
    assert few.returncode == 1
    assert "has 300 labelled examples, not 1000" in few.stderr
    assert twolayernet(*publish).returncode == 0
    assert served_accuracy(server) > spoilt


def served_accuracy(server: Server) -> float:
    test = packaged_digits().test
    stream = io.BytesIO()
    np.savez(stream, x=test.images, t=test.labels)
    headers = {"Content-Type": "application/x-npz"}
    answer = requests.post(f"{server.url}/accuracy", data=stream.getvalue(), headers=headers, timeout=20)
    return float(answer.json()["accuracy"])


@pytest.mark.long
def test_a_service_can_be_published_to_while_it_learns(
    taught: Server, trained_by_default: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWOLAYERNET_API_KEY", "secret")
    digits = packaged_digits().train
    stop = threading.Event()

    def teach() -> None:
        while not stop.wait(0.05):
            taught.post(
                "/train-step",
                as_json(digits.images[:1], digits.labels[:1]),
                headers={"Authorization": "Bearer secret"},
            )

    teacher = threading.Thread(target=teach)
    teacher.start()
    try:
        published = twolayernet("publish", trained_by_default / "weights.npz", "--url", taught.url)
    finally:
        stop.set()
        teacher.join()
    assert "published as version" in published.stdout, published.stderr
