"""The folder with the store is lost, and comes back from Litestream's replica."""

import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.conftest import as_json, random_batch
from tests.processes import stranger
from tests.processes.clients import Clients, mark_of
from tests.processes.conftest import MakeServer
from tests.processes.litestream import CONFIGURATION, PROGRAM, Litestream
from tests.processes.server import GUARD_SECONDS, Server

pytestmark = [pytest.mark.long, pytest.mark.skipif(PROGRAM is None, reason="needs requirements/replica.txt")]


@pytest.fixture
def store(tmp_path: Path) -> str:
    (tmp_path / "data").mkdir()
    return f"sqlite:///{tmp_path}/data/store.db"


def newest_of(server: Server) -> int:
    return int(server.get("/versions?limit=1").json()["versions"][0]["model_version"])


def test_a_lost_disk_costs_the_last_steps_and_no_other_again_and_again(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(workers=2)
    litestream = Litestream(server, tmp_path / "replica")
    litestream.start()
    server.start()
    kept, total = 1, 100_000
    try:
        for round_ in range(2):
            clients = Clients(server, trouble=True)
            clients.train(4, total, first_mark=round_ * total, largest=4)
            clients.wait_for_steps(100)
            server.wait_for(lambda: litestream.newest() > kept)  # noqa: B023  called at once
            litestream.lose_the_disk()
            seen = clients.stop()
            assert not seen.wrong

            litestream.store.parent.mkdir()
            litestream.restore()
            litestream.start()
            server.start()
            newest = newest_of(server)
            assert kept < newest <= seen.newest
            examples = stranger.all_examples(server)
            for mark, answer in seen.acknowledged.items():
                if answer["model_version"] <= newest:
                    assert mark_of(examples[answer["model_version"]][0]) == mark
            kept = newest
        assert [number for number, _ in stranger.recomputed(server)] == list(range(1, newest + 1))
        server.wait_for(lambda: litestream.newest() == newest)
    finally:
        litestream.kill()


def test_the_stores_of_models_are_streamed_and_get_their_names_back(make_server: MakeServer, tmp_path: Path) -> None:
    models, replica = tmp_path / "data" / "models", tmp_path / "replica-of-models"
    server = make_server(workers=2, TWOLAYERNET_MODELS=str(models))
    server.start()
    litestream = Litestream(
        server,
        tmp_path / "replica",
        configuration=CONFIGURATION.with_name("litestream-models.yml"),
        TWOLAYERNET_MODELS=str(models),
        LITESTREAM_MODELS_REPLICA_URL=f"file://{replica}",
    )
    litestream.start()
    made = requests.put(f"{server.url}/models/alice", json={"copy_of": "default"}, timeout=GUARD_SECONDS)
    assert made.status_code == 200
    for version in range(2, 12):
        answer = server.post("/models/alice/train-step", as_json(*random_batch(2, version)))
        assert answer.json()["model_version"] == version
    server.wait_for(lambda: any(replica.glob("alice.*")))
    litestream.stop()
    litestream.lose_the_disk()

    models.mkdir(parents=True)
    litestream.restore()
    [copy] = replica.iterdir()
    litestream.restore(models / copy.name, f"file://{copy}")
    command = [sys.executable, "-m", "service.cli", "models", "--models", str(models), "restore", copy.name, "alice"]
    subprocess.run(command, check=True, env=server.environment)
    server.start()
    assert server.get("/models/alice/readyz").json()["model_version"] == 11
