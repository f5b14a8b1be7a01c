"""What operators do to a store, on purpose and by mistake, while it is served and while it is not."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from click.testing import CliRunner

from model import TwoLayerNet, weights_file
from model.weights_file import Weights
from service.app import create_app
from service.cli import main
from service.errors import StartupError, StoreError
from service.settings import Settings, load_settings
from tests.conftest import as_json, behind_the_back, random_batch
from tests.processes import stranger
from tests.processes.conftest import MakeServer
from tests.processes.server import Server

X, T = random_batch(2)


def learn(server: Server, steps: int = 1, **options: Any) -> list[requests.Response]:
    return [server.post("/train-step", as_json(*random_batch(2, seed)), **options) for seed in range(steps)]


def twolayernet(server: Server, *arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "service.cli", *arguments]
    return subprocess.run(
        command, env=server.environment, cwd=server.folder, capture_output=True, check=False, timeout=60, **options
    )


def refused(server: Server) -> str:
    """The one line with which it does not start."""
    before = len(server.log)
    assert server.launch().wait(timeout=120) == 4
    said = server.log[before:]
    assert "Traceback" not in said
    [line] = [line for line in said.splitlines() if line.startswith("twolayernet: ")]
    return line


def nothing_more_is_acknowledged(server: Server, version: int) -> None:
    for _ in range(6):  # whichever worker it reaches
        answer = server.post("/train-step", as_json(X, T))
        assert answer.status_code == 503
        assert "was removed or replaced while it was served" in answer.json()["detail"]
        assert server.predict(X)["model_version"] == version


def test_a_store_that_is_removed_while_it_is_served(make_server: MakeServer) -> None:
    server = make_server(workers=2).start()
    learn(server, 3)
    for path in server.folder.glob("store.db*"):
        path.unlink()
    nothing_more_is_acknowledged(server, 4)
    assert not (server.folder / "store.db").exists()


@pytest.mark.long
def test_a_store_that_is_replaced_by_another_one_while_it_is_served(make_server: MakeServer) -> None:
    server = make_server(workers=2).start()
    learn(server, 3)
    (server.folder / "copy.db").write_bytes(twolayernet(server, "backup", "-").stdout)
    learn(server, 2)
    (server.folder / "copy.db").replace(server.folder / "store.db")
    nothing_more_is_acknowledged(server, 6)


@pytest.mark.long
def test_a_store_that_is_copied_over_while_it_is_served(make_server: MakeServer, tmp_path_factory: Any) -> None:
    """By another store, so that the file stays the same one."""
    another = Server(tmp_path_factory.mktemp("another"), 1)
    shutil.copy(make_server().folder / "weights.npz", another.folder)
    another.start()
    another.stop()
    server = make_server(workers=1).start()
    learn(server, 3)
    shutil.copyfile(another.folder / "store.db", server.folder / "store.db")
    nothing_more_is_acknowledged(server, 4)


@pytest.mark.long
def test_a_write_ahead_log_left_beside_another_file_is_noticed(make_server: MakeServer) -> None:
    server = make_server(workers=1).start()
    learn(server, 3)
    backup = twolayernet(server, "backup", "-").stdout
    learn(server, 3)
    server.kill()
    assert (server.folder / "store.db-wal").stat().st_size > 0
    (server.folder / "store.db").write_bytes(backup)
    assert "store.db-wal is the write-ahead log of the previous one" in refused(server)
    for name in ("store.db-wal", "store.db-shm"):
        (server.folder / name).unlink(missing_ok=True)
    server.start()
    assert server.predict(X)["model_version"] == 4
    server.kill()
    server.start()
    assert server.predict(X)["model_version"] == 4


@pytest.mark.long
def test_a_copy_from_before_a_restart_beside_a_newer_log_is_noticed_too(make_server: MakeServer) -> None:
    """A file that was copied by hand while nothing was served, so that it looks like the store itself."""
    server = make_server(workers=1).start()
    learn(server, 2)
    server.stop()
    shutil.copy(server.folder / "store.db", server.folder / "by-hand.db")
    server.start()
    learn(server, 2)
    server.kill()
    shutil.copy(server.folder / "by-hand.db", server.folder / "store.db")
    assert "was replaced by another file" in refused(server)


@pytest.mark.long
def test_a_number_that_somebody_s_reading_keeps_out_of_the_file_makes_no_healthy_store_refused(
    make_server: MakeServer,
) -> None:
    server = make_server(workers=1).start()
    learn(server)
    server.stop()
    with behind_the_back(server.folder / "store.db") as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM versions").fetchone()
        server.start()
        reader.execute("COMMIT")
    for seed in range(70):
        server.post("/train-step", as_json(*random_batch(100, seed)))
    other = make_server(workers=1).start()
    assert other.predict(X)["model_version"] == 72
    other.stop()
    server.kill()
    server.start()
    assert server.predict(X)["model_version"] == 72


@pytest.mark.long
def test_a_lock_file_left_beside_no_store_does_not_matter(make_server: MakeServer) -> None:
    server = make_server(workers=1).start()
    server.stop()
    for name in ("store.db", "store.db-wal", "store.db-shm"):
        (server.folder / name).unlink(missing_ok=True)
    server.start()
    learn(server, 2)
    server.kill()
    server.start()
    assert server.predict(X)["model_version"] == 3


@pytest.mark.long
@pytest.mark.parametrize("renames", [0, 1])
def test_a_restore_that_is_killed_between_its_renames_loses_nothing(make_server: MakeServer, renames: int) -> None:
    """Either the store before is served, with all that was acknowledged, or the restored one."""
    server = make_server(workers=1).start()
    learn(server, 2)
    backup = twolayernet(server, "backup", "-").stdout
    learn(server, 8)
    server.kill()
    program = (
        "import os, signal, sys; from pathlib import Path; from service.cli import main; done = Path.replace; n = [0]\n"
        "def replace(self, target):\n"
        f"    if n[0] == {renames}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    n[0] += 1; return done(self, target)\n"
        f"Path.replace = replace; unlink = Path.unlink\n"
        f"Path.unlink = lambda self, **o: os.kill(os.getpid(), signal.SIGKILL) if n[0] else unlink(self, **o)\n"
        "main(['restore', '-'])"
    )
    command = [sys.executable, "-c", program]
    killed = subprocess.run(command, env=server.environment, cwd=server.folder, input=backup, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    server.start()
    assert server.predict(X)["model_version"] == (11 if renames == 0 else 3)
    learn(server)
    server.kill()
    server.start()
    server.stop()
    result = twolayernet(server, "restore", "-", input=backup)
    assert result.returncode == 0, result.stderr
    assert not list(server.folder.glob("store.db-before*"))


@pytest.mark.long
def test_a_backup_beside_another_file_s_log_is_refused(make_server: MakeServer) -> None:
    server = make_server(workers=1).start()
    learn(server, 2)
    server.stop()
    old = (server.folder / "store.db").read_bytes()
    server.start()
    learn(server, 2)
    server.kill()
    (server.folder / "store.db").write_bytes(old)
    log = (server.folder / "store.db-wal").read_bytes()
    result = twolayernet(server, "backup", "-")
    assert result.returncode == 2
    assert b"was replaced by another file" in result.stderr
    assert not result.stdout
    assert (server.folder / "store.db-wal").read_bytes() == log


@pytest.mark.long
def test_a_store_that_is_gone_but_for_its_log_is_not_begun_anew(make_server: MakeServer) -> None:
    server = make_server(workers=1).start()
    learn(server, 2)
    server.kill()
    (server.folder / "store.db").unlink()
    assert "is gone, but its write-ahead log" in refused(server)


@pytest.mark.long
def test_restore_refuses_while_anybody_serves_and_works_when_nobody_does(make_server: MakeServer) -> None:
    server = make_server(workers=2).start()
    learn(server, 3)
    answer = server.predict(X)
    backup = twolayernet(server, "backup", "-").stdout
    learn(server, 2)
    result = twolayernet(server, "restore", "-", input=backup)
    assert result.returncode == 2
    assert b"a service uses the store" in result.stderr
    assert server.predict(X)["model_version"] == 6
    server.kill()
    result = twolayernet(server, "restore", "--store", server.environment["TWOLAYERNET_STORE"], "-", input=backup)
    assert result.stdout == b"restored: the newest version is 4\n", result.stderr
    server.start()
    assert server.predict(X) == answer
    learn(server, 1)
    assert [version["model_version"] for version in stranger.listed_versions(server)] == [1, 2, 3, 4, 5]


def restored(server: Server, copy: bytes) -> str:
    """What the restore of a copy says that can't be used; in this process, for speed."""
    result = CliRunner().invoke(main, ["restore", "--store", server.environment["TWOLAYERNET_STORE"], "-"], input=copy)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


def damaged(backup: bytes, folder: Path, statement: str) -> bytes:
    path = folder / "damaged.db"
    path.write_bytes(backup)
    with behind_the_back(path) as connection:
        connection.execute(statement)
    return path.read_bytes()


BAD_BACKUPS = {
    "DELETE FROM versions": "the log has no version",
    "DELETE FROM versions WHERE model_version = 3": "version 3 is missing",
    "DELETE FROM versions WHERE model_version = 1": "no weights to begin with",
    "UPDATE versions SET loss = loss + 1e-9 WHERE model_version = 3": "version 3 is corrupt",
    "UPDATE versions SET pixels = zeroblob(length(pixels)) WHERE model_version = 2": "version 2 is corrupt",
    "UPDATE snapshots SET weights = CAST(weights || x'00' AS BLOB)": "the snapshot of version 1 is corrupt",
    "UPDATE snapshots SET weights = CAST(weights AS TEXT)": "the database is corrupt",
    "UPDATE store SET schema_version = 99": "newer release",
    "DELETE FROM store": "no schema version",
    "DROP TABLE versions": "no such table",
}


@pytest.mark.long
def test_restore_checks_all_of_a_copy_before_it_changes_anything(make_server: MakeServer) -> None:
    server = make_server(workers=1).start()
    learn(server, 4)
    backup = twolayernet(server, "backup", "-").stdout
    server.stop()
    bad = {damaged(backup, server.folder, statement): said for statement, said in BAD_BACKUPS.items()}
    with sqlite3.connect(server.folder / "empty.db") as empty:
        empty.execute("PRAGMA user_version = 7")
    empty.close()
    bad |= {
        b"": "it is empty",
        b"x" * 5000: "not an SQLite database",
        backup[:16] + bytes(300 * 2**20): "corrupt",
        backup[: len(backup) // 2]: "corrupt",
        (server.folder / "empty.db").read_bytes(): "a database without tables",
    }
    for copy, said in bad.items():
        answer = restored(server, copy)
        assert said in answer
        assert "the backup can't be used" in answer
    (server.folder / "damaged.db").unlink(missing_ok=True)
    assert not list(server.folder.glob(".store.db.*")), "something was left behind"
    server.start()
    assert server.predict(X)["model_version"] == 5


@pytest.mark.long
def test_restore_onto_a_damaged_store_and_from_a_copy_with_another_page_size(make_server: MakeServer) -> None:
    server = make_server(workers=1).start()
    learn(server, 4)
    answer = server.predict(X)
    backup = twolayernet(server, "backup", "-").stdout
    server.stop()
    with open(server.folder / "store.db", "r+b") as store:
        store.write(b"\xff" * 4096)
    other = server.folder / "other.db"
    other.write_bytes(backup)
    with behind_the_back(other) as connection:
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("VACUUM")
    assert "corrupt" in refused(server)
    result = twolayernet(server, "restore", str(other))
    assert result.returncode == 0, result.stderr
    server.start()
    assert server.predict(X) == answer


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_backup_and_restore_that_are_ended_by_a_signal_leave_nothing(make_server: MakeServer, number: int) -> None:
    server = make_server(workers=1).start()
    learn(server, 2)
    backup = twolayernet(server, "backup", "-").stdout
    server.stop()
    before = sorted(server.folder.iterdir())
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "restore", "-"],
        env=server.environment, cwd=server.folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(backup[:5000])
    process.stdin.flush()
    deadline = time.monotonic() + 20
    while not list(server.folder.glob(".store.db.*/copy.db")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode != 0
    assert sorted(server.folder.iterdir()) == before
    server.start()
    assert server.predict(X)["model_version"] == 3


@pytest.mark.long
def test_few_versions_kept_are_enough_for_every_worker(make_server: MakeServer) -> None:
    server = make_server(workers=2, TWOLAYERNET_KEEP_VERSIONS="1").start()
    stop = threading.Event()
    wrong: list[str] = []

    def predict() -> None:
        while not stop.is_set():
            answer = server.post("/predict", as_json(X))
            if answer.status_code != 200:
                wrong.append(answer.text)

    clients = [threading.Thread(target=predict) for _ in range(3)]
    for client in clients:
        client.start()
    wrong += [answer.text for answer in learn(server, 130) if answer.status_code != 200]
    stop.set()
    for client in clients:
        client.join()
    assert not wrong, wrong[:2]
    kept = [version["model_version"] for version in stranger.listed_versions(server)]
    assert kept[0] > 50
    assert kept[-1] == 131
    for _ in range(6):  # whichever worker it reaches, whether or not it had seen that version
        assert server.post("/predict?model_version=40", as_json(X)).status_code == 404
    assert server.get("/examples").headers["X-Oldest-Model-Version"] == str(kept[0])


@pytest.mark.long
def test_a_version_that_was_cached_and_then_folded_is_gone(make_server: MakeServer) -> None:
    server = make_server(workers=1, TWOLAYERNET_KEEP_VERSIONS="10", TWOLAYERNET_SNAPSHOT_EVERY="100000").start()
    learn(server, 5)
    assert server.post("/predict?model_version=3", as_json(X)).status_code == 200
    learn(server, 120)
    assert server.post("/predict?model_version=3", as_json(X)).status_code == 404


def suspended_in_its_turn(server: Server) -> int:
    """A worker that was stopped, as by Ctrl-Z, while it had the turn to write."""
    lock = server.folder / "store.db-lock"
    while True:
        pid = server.workers()[0]
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.01)
        inode = lock.stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if (
                "->" not in fields
                and fields[1] == "FLOCK"
                and fields[4] == str(pid)
                and fields[5].endswith(f":{inode}")
            ):
                return pid
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.003)


@pytest.mark.long
def test_a_store_that_is_held_for_ever_keeps_one_thread_waiting_and_no_more(make_server: MakeServer) -> None:
    """Another service on the same store is stopped while it has the turn: steps are told to come again, within a
    bounded time, and predict and health checks go on at once."""
    holder = make_server(workers=1).start()
    server = make_server(workers=1)
    server.start()
    stop = threading.Event()

    def teach() -> None:
        while not stop.is_set():
            try:
                requests.post(f"{holder.url}/train-step", json=as_json(*random_batch(200)), timeout=1)
            except requests.RequestException:
                return

    teachers = [threading.Thread(target=teach) for _ in range(3)]
    for teacher in teachers:
        teacher.start()
    pid = suspended_in_its_turn(holder)
    stop.set()
    try:
        with ThreadPoolExecutor(8) as pool:
            steps = [pool.submit(status_of_a_step, server) for _ in range(8)]
            for _ in range(3):
                assert server.post("/predict", as_json(X)).status_code == 200
                assert server.get("/healthz").status_code == 200
            assert not all(step.done() for step in steps), "predict waited for them"
            assert {step.result() for step in steps} == {503}
    finally:
        os.kill(pid, signal.SIGCONT)
    for teacher in teachers:
        teacher.join()
    server.wait_for(lambda: status_of_a_step(server) == 200)


def status_of_a_step(server: Server) -> int:
    answer = server.post("/train-step", as_json(X, T))
    if answer.status_code == 503:
        assert answer.headers["Retry-After"]
    return answer.status_code


@pytest.mark.long
@pytest.mark.parametrize(("rounds", "services"), [(3, 3)])
def test_services_that_start_at_the_same_instant_on_an_empty_store(
    make_server: MakeServer, rounds: int, services: int
) -> None:
    for round_ in range(rounds):
        store = f"sqlite:///together-{round_}.db"
        servers = [make_server(workers=1, TWOLAYERNET_STORE=store) for _ in range(services)]
        for server in servers:
            server.launch()
        for server in servers:
            wait_until_ready(server)
        assert {server.predict(X)["model_version"] for server in servers} == {1}
        for server in servers:
            server.stop()


def wait_until_ready(server: Server) -> None:
    server.wait_for(server.answers)


@pytest.mark.long
def test_a_store_by_another_name_is_the_same_store(make_server: MakeServer) -> None:
    server = make_server(workers=1).start()
    (server.folder / "alias").mkdir()
    (server.folder / "alias" / "link.db").symlink_to(server.folder / "store.db")
    other = make_server(workers=1, TWOLAYERNET_STORE=f"sqlite:///{server.folder}/alias/link.db").start()
    for i in range(10):
        assert (server, other)[i % 2].post("/train-step", as_json(X, T)).json()["model_version"] == i + 2
    assert [path.name for path in (server.folder / "alias").iterdir()] == ["link.db"]


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")
def test_a_read_only_mount_of_a_store_that_somebody_else_writes_is_followed(
    make_server: MakeServer, tmp_path_factory: Any
) -> None:
    writer = make_server(workers=1).start()
    learn(writer, 3)
    view = tmp_path_factory.mktemp("view")
    mounted = subprocess.run(["mount", "--bind", writer.folder, view], check=False, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not mount: {mounted.stderr}")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", view], check=True)
        reader = make_server(workers=1, TWOLAYERNET_STORE=f"sqlite:///{view}/store.db").start()
        for version in range(5, 12):
            assert learn(writer)[0].json()["model_version"] == version
            assert reader.predict(X)["model_version"] == version
        assert reader.post("/train-step", as_json(X, T)).status_code == 503
        reader.stop()
        writer.stop()  # the last one takes the write-ahead log away: the file stays as it is, for now
        reader.start()
        assert reader.predict(X)["model_version"] == 11
        writer.start()
        learn(writer, 2)
        assert reader.predict(X)["model_version"] == 13
        reader.stop()
    finally:
        subprocess.run(["umount", "-l", view], check=True)


@pytest.mark.long
def test_the_start_says_what_it_serves(make_server: MakeServer) -> None:
    server = make_server(workers=2).start()
    assert f"a new store {server.folder}/store.db was begun with" in server.log
    learn(server, 3)
    server.stop()
    server.environment |= {"TWOLAYERNET_WORKER": "3", "TWOLAYERNET_MNIST_MIRROR": "x"}
    server.start()
    assert f"serving version 4 of the store {server.folder}/store.db, created 20" in server.log
    assert ", with 4 versions" in server.log
    assert "TWOLAYERNET_WORKER is not a setting: did you mean TWOLAYERNET_WORKERS?" in server.log
    assert "MIRROR" not in server.log
    assert "NOT served" not in server.log
    assert server.log.count("serving version") == 1
    server.stop()
    others = TwoLayerNet(784, 50, 10, "he", seed=2, dtype=np.float32)
    weights_file.save(server.folder / "weights.npz", Weights(others.params))
    server.start()
    assert "weights.npz, which is NOT served: use `twolayernet publish`" in server.log


@pytest.mark.parametrize("name", ["TWOLAYERNET_API_KEY", "TWOLAYERNET_API_KEY_PREDICT"])
def test_an_empty_key_is_a_mistake_and_no_open_service(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    with pytest.raises(StartupError, match=f"{name} is empty"):
        load_settings()


def test_an_option_in_the_store_s_url_is_refused(settings: Settings) -> None:
    with pytest.raises((StartupError, StoreError), match="has the option 'mode': SQLite URLs have no options"):
        create_app(settings.model_copy(update={"store": "sqlite:///store.db?mode=ro"}))
