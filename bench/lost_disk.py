"""What is lost with a disk that holds the store, and how long it takes until the replica of it is served.

    python -m pip install --require-hashes -r requirements/replica.txt; python -m bench.lost_disk [ROUNDS [URL]]

In each round, 4 clients post steps to 2 workers as fast as they are answered, and Litestream streams the store. At a
random moment the store's folder is deleted, and everything is killed. Then the replica is restored and served.

URL: of the replica, such as an empty s3://bucket/path?endpoint=http://127.0.0.1:5000 of `moto_server` (PyPI's
moto[server]). Default: a folder.
"""

import random
import sys
import tempfile
import threading
import time
from pathlib import Path

import requests

from tests.conftest import as_json, random_batch, untrained
from tests.processes.litestream import Litestream
from tests.processes.server import Server

CLIENTS = 4
SECONDS = 1.0, 12.0
BODY = as_json(*random_batch(1))


def steps_until_the_disk_is_lost(litestream: Litestream) -> list[tuple[int, float]]:
    """The version of each acknowledged step, and when it was acknowledged."""
    acknowledged: list[tuple[int, float]] = []
    ended = threading.Event()

    def post() -> None:
        with requests.Session() as session:
            while not ended.is_set():
                try:
                    answer = session.post(f"{litestream.server.url}/train-step", json=BODY, timeout=30)
                except requests.RequestException:
                    return
                if answer.status_code != 200:
                    return
                acknowledged.append((answer.json()["model_version"], time.monotonic()))

    clients = [threading.Thread(target=post) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(random.uniform(*SECONDS))
    litestream.lose_the_disk()
    ended.set()
    for client in clients:
        client.join()
    return acknowledged


def main(rounds: int = 20, url: str = "") -> None:
    with tempfile.TemporaryDirectory(prefix="lost-disk-") as folder:
        (data := Path(folder) / "data").mkdir()
        (log := Path(folder) / "log").mkdir()
        untrained(log)
        server = Server(log, 2, TWOLAYERNET_STORE=f"sqlite:///{data}/store.db", TWOLAYERNET_ACCESS_LOG="off")
        litestream = Litestream(server, Path(folder) / "replica", url)
        litestream.start()
        server.start()
        print("round  steps/s  steps lost  seconds lost  seconds until served  newest version")
        for number in range(1, rounds + 1):
            begun = time.monotonic()
            steps = steps_until_the_disk_is_lost(litestream)
            died = max(moment for _, moment in steps)
            data.mkdir()
            restarted = time.monotonic()
            litestream.restore()
            litestream.start()
            server.start()
            served = time.monotonic() - restarted
            newest = server.get("/versions?limit=1").json()["versions"][0]["model_version"]
            lost = [moment for version, moment in steps if version > newest]
            window = died - min(lost, default=died)
            rate = len(steps) / (died - begun)
            print(f"{number:5} {rate:8.0f} {len(lost):11} {window:13.2f} {served:21.1f} {newest:15}", flush=True)
            verified = litestream.verify()
            assert verified.returncode == 0, verified.stderr
        server.stop()
        litestream.kill()


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 20, *sys.argv[2:])
