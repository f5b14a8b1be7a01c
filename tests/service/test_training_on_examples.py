"""`train --examples` and `publish --on-recent`: which of a service's examples they use."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from werkzeug.serving import make_server

from model import weights_file
from model.weights_file import Weights
from service.cli import main
from service.cli.service_client import fetch_examples, fetch_learnt, read_examples
from tests.conftest import Client, digits, random_batch

X, T = random_batch(6)


@pytest.fixture
def url(client: Client) -> Iterator[str]:
    """The address of the service that `client` asks."""
    server = make_server("127.0.0.1", 0, client.app)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def teach(client: Client, x: np.ndarray, t: Any) -> int:
    stream = io.BytesIO()
    np.savez(stream, x=x, t=t)
    answer = client.post("/train-step?rehearse=0", data=stream.getvalue(), content_type="application/x-npz")
    assert answer.status_code == 200, answer.data
    return int(answer.json["model_version"])


def three_thousand_wrong_lessons(client: Client) -> int:
    """After ten right ones, and rolled back. The version before them."""
    images, labels = digits().train.images, digits().train.labels
    good = teach(client, images[::400], labels[::400])
    for at in range(3):
        lesson = slice(1000 * at + 1, 1000 * at + 1001)
        teach(client, images[lesson], (labels[lesson] + 1) % 10)
    client.post("/rollback", json={"model_version": good})
    return good


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_three_thousand_wrong_lessons_that_were_rolled_back_are_not_trained_on(
    client: Client, url: str, tmp_path: Path
) -> None:
    three_thousand_wrong_lessons(client)
    said: list[str] = []
    used = fetch_examples(url, said.append)
    assert (used.images == digits().train.images[::400]).all()
    assert (used.labels == digits().train.labels[::400]).all()
    assert "3000 of 3010 examples are no longer in force: they are left out" in said[0]
    assert len(fetch_examples(url, said.append, every=True)) == 3010
    assert len(said) == 1

    options = ("--epochs", "1", "--drawn", "0", "--distort", "0", "--quiet")
    for more, count in (((), 10), (("--all-examples",), 3010)):
        trained = run("train", "--examples", url, *more, *options, "--out", tmp_path / "new.npz")
        assert trained.exit_code == 0, trained.output
        assert weights_file.load(tmp_path / "new.npz").training["dataset"] == f"digits and {count} examples"
        assert ("3000 of 3010 examples are no longer in force" in trained.stderr) == (not more)


def test_publish_measures_on_the_newest_that_are_in_force(client: Client, url: str, trained: Weights) -> None:
    three_thousand_wrong_lessons(client)
    new = Path(client.app.extensions["twolayernet"].settings.weights).with_name("new.npz")
    weights_file.save(new, trained)
    seen, newest = fetch_learnt(url, 1000, print)
    assert len(seen) == 3003  # seven of the ten came again with a wrong label
    assert newest is not None
    assert len(newest) == 10
    _, newest = fetch_learnt(url, 1000, print, every=True)
    assert newest is not None
    assert len(newest) == 1000
    kept = run("publish", new, "--url", url, "--on-recent", "1000", "--all-examples")
    assert (kept.exit_code, "on 1000 newest examples" in kept.stderr) == (1, True), kept.output
    published = run("publish", new, "--url", url, "--on-recent", "1000")
    assert published.exit_code == 0, published.output
    assert "has 10 labelled examples, not 1000" in published.stderr
    assert "on 10 newest examples" in published.stdout


def test_a_service_whose_examples_are_all_out_of_force_says_so(client: Client, url: str) -> None:
    teach(client, X, T)
    client.post("/rollback", json={"model_version": 1})
    refused = run("train", "--examples", url, "--data", "none")
    assert refused.exit_code == 2
    assert "has no examples in force" in refused.stderr
    assert fetch_learnt(url, 10, print)[1] is None


def test_of_a_file_with_rehearsed_examples_the_posted_ones_are_used(client: Client, tmp_path: Path) -> None:
    for _ in range(2):
        client.post("/train-step", json={"images": X.tolist(), "labels": T.tolist(), "pixel_max": 255, "rehearse": 4})
    (tmp_path / "examples.npz").write_bytes(client.get("/examples?rehearsed=true").data)
    said: list[str] = []
    used = read_examples(str(tmp_path / "examples.npz"), said.append)
    assert (used.images == np.tile(X, (2, 1))).all()
    assert (used.labels == np.tile(T, 2)).all()
    rehearsed = np.load(tmp_path / "examples.npz")["rehearsed"].sum()
    assert rehearsed > 0
    assert said == [f"{tmp_path}/examples.npz: {rehearsed} rehearsed examples are left out, 12 were posted"]


def test_what_was_unlearned_is_left_out_and_what_was_relabelled_has_its_new_labels(client: Client, url: str) -> None:
    first, second = teach(client, X[:3], T[:3]), teach(client, X[3:], T[3:])
    new = ((T[3:] + 1) % 10).tolist()
    assert client.post("/relabel", json={"model_version": second, "labels": new}).status_code == 200
    assert client.post("/unlearn", json={"model_versions": [first]}).status_code == 200
    used = fetch_examples(url, print)
    assert (used.images == X[3:]).all()
    assert used.labels.tolist() == new
    assert (fetch_examples(url, print, every=True).labels == T).all()


def test_the_labels_that_count_are_used_unless_all_examples_are(tmp_path: Path) -> None:
    path, numbers = str(tmp_path / "examples.npz"), np.arange(2, 8)
    in_force, changed = np.array([True, False, True, True, False, True]), (T + 1) % 10
    np.savez(path, x=X, t=T, model_version=numbers, in_force=in_force, t_in_force=changed)
    used = read_examples(path, print)
    assert (used.images == X[in_force]).all()
    assert (used.labels == changed[in_force]).all()
    assert (read_examples(path, print, every=True).labels == T).all()
