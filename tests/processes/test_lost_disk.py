"""The folder with the store is lost, and comes back from Litestream's replica."""

from pathlib import Path

import pytest

from tests.processes import stranger
from tests.processes.clients import Clients, mark_of
from tests.processes.conftest import MakeServer
from tests.processes.litestream import PROGRAM, Litestream
from tests.processes.server import Server

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
