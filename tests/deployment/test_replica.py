"""The profile `replica` of docker-compose.yml: what it takes to lose the volume with the store."""

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import as_json
from tests.deployment.test_compose import DIGITS, LESSON, Stack, docker
from tests.processes.server import GUARD_SECONDS

pytestmark = pytest.mark.docker


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path, COMPOSE_PROFILES="replica", TWOLAYERNET_VERIFY_SECONDS="1000000")
    yield made
    made.remove()


def verify(stack: Stack, replica: bool = True) -> str:
    """What is printed of the replica, or of the store that is served."""
    command = ("run", "--rm", "-T", "--no-deps", "--entrypoint", "twolayernet", "verify", "verify")
    more = ("--replica", "file:///replica") if replica else ()
    return str(stack.compose(*command, *more).stdout.decode())


def newest_of(printed: str) -> int:
    match = re.search(r"the newest version is (\d+),", printed)
    assert match is not None, printed
    return int(match[1])


def wait_for_replica(stack: Stack, version: int) -> None:
    give_up = time.monotonic() + GUARD_SECONDS
    while newest_of(verify(stack)) != version:
        assert time.monotonic() < give_up, stack.compose("logs", "replica").stdout.decode()


def lose_the_volume(stack: Stack) -> None:
    """While it is in use; nothing that uses it can do anything about it."""
    docker("exec", stack.container(), "sh", "-c", "rm -rf /data/* /data/.[!.]*", check=False)
    names = [name for service in ("replica", "serve", "verify") for name in stack.containers(service)]
    docker("kill", "--signal", "KILL", *names, check=False)
    stack.compose("rm", "--force", "--stop", "train", "restore", "replica", "serve", "verify", "nginx")
    docker("volume", "rm", f"{stack.project}_data")


def test_a_lost_volume_comes_back_from_the_replica_again_and_again(stack: Stack) -> None:
    """With a network of another size than a new training would give."""
    stack.compose(
        "run", "--rm", "-T", "train", "--hidden", "30", "--epochs", "1", "--quiet", "--out", "/data/weights.npz"
    )
    stack.up()
    newest = 1
    for _ in range(2):
        for _ in range(20):
            newest += 1
            assert stack.post("/train-step", LESSON)["model_version"] == newest
        answer = stack.post("/predict", as_json(DIGITS.images[:3]))
        wait_for_replica(stack, newest)
        lose_the_volume(stack)
        stack.up()
        assert stack.post("/predict", as_json(DIGITS.images[:3])) == answer
        assert "twolayernet_verified_copy_age_seconds" in requests.get(f"{stack.url}/metrics", timeout=20).text
        assert b"/data/twolayernet.db already exists" in stack.compose("logs", "train").stdout
        modes = stack.compose("exec", "-T", "serve", "sh", "-c", "stat -c %a /data/twolayernet.db*").stdout.split()
        assert set(modes) == {b"600"}


def test_what_is_lost_under_load_is_the_end_and_nothing_else(stack: Stack) -> None:
    stack.up()
    acknowledged: list[int] = []

    def learn() -> None:
        with requests.Session() as session:
            while (answer := session.post(f"{stack.url}/train-step", json=LESSON, timeout=20)).status_code == 200:
                acknowledged.append(answer.json()["model_version"])

    clients = [threading.Thread(target=learn) for _ in range(3)]
    for client in clients:
        client.start()
    while (in_replica := newest_of(verify(stack))) < 100:
        time.sleep(0.1)
    lose_the_volume(stack)
    for client in clients:
        client.join()
    stack.up()
    newest = stack.newest()
    assert in_replica <= newest <= max(acknowledged)
    assert newest_of(verify(stack)) == newest
    assert newest_of(verify(stack, replica=False)) == newest
    assert stack.post("/train-step", LESSON)["model_version"] == newest + 1


def test_a_store_that_is_gone_while_its_log_is_there_is_not_replaced(stack: Stack) -> None:
    stack.up()
    stack.post("/train-step", LESSON)
    wait_for_replica(stack, 2)
    names = [name for service in ("serve", "replica") for name in stack.containers(service)]
    docker("kill", "--signal", "KILL", *names)
    script = "rm /data/twolayernet.db && test -s /data/twolayernet.db-wal"
    stack.compose("run", "--rm", "-T", "--no-deps", "--entrypoint", "sh", "serve", "-c", script)
    stack.compose("up", "--detach", "--no-build", "restore")
    refused = stack.compose("run", "--rm", "-T", "serve", check=False)
    assert refused.returncode == 4
    assert b"put back the file that belongs to it" in refused.stderr + refused.stdout
