import errno
import io
import os
import shutil
import stat
import threading
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner

from model import weights as weights_file
from service.app import create_app
from service.cli.storing import backup
from service.errors import StartupError, StoreError
from service.live.replica import newest_version
from service.settings import Settings
from service.store.backup import back_up, restore
from tests.conftest import Client, as_json, behind_the_back, random_batch

X, T = random_batch(3)


def learn(client: Client, steps: int) -> None:
    for seed in range(steps):
        assert client.post("/train-step", json=as_json(*random_batch(2, seed))).status_code == 200


def copied(settings: Settings) -> bytes:
    stream = io.BytesIO()
    back_up(settings.store, stream)
    return stream.getvalue()


def test_a_backup_taken_while_others_learn_is_a_whole_store(settings: Settings) -> None:
    client = Client(create_app(settings))
    teacher = threading.Thread(target=learn, args=(client, 60))
    teacher.start()
    copies = [copied(settings) for _ in range(5)]
    teacher.join()
    newest = []
    for i, copy in enumerate(copies):
        (path := settings.weights.with_name(f"copy-{i}.db")).write_bytes(copy)
        with behind_the_back(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        served = Client(create_app(settings.model_copy(update={"store": f"sqlite:///{path}"})))
        newest.append(served.post("/predict", json=as_json(X)).json["model_version"])
        assert len(served.get("/versions?limit=1000").json["versions"]) == newest[-1]
    assert newest == sorted(newest)


def test_a_restored_store_is_the_one_that_was_copied(settings: Settings) -> None:
    client = Client(create_app(settings))
    learn(client, 5)
    answer = client.post("/predict", json=as_json(X)).json
    copy = copied(settings)
    learn(client, 3)
    with pytest.raises(StartupError, match="a service uses the store"):
        restore(settings.store, io.BytesIO(copy), newest_version)
    assert client.post("/predict", json=as_json(X)).json["model_version"] == 9
    client.close()
    assert restore(settings.store, io.BytesIO(copy), newest_version) == 6
    again = Client(create_app(settings))
    assert again.post("/predict", json=as_json(X)).json == answer
    learn(again, 1)
    elsewhere = settings.model_copy(update={"store": f"{settings.store}.new"})
    assert restore(elsewhere.store, io.BytesIO(copy), newest_version) == 6
    assert Client(create_app(elsewhere)).post("/predict", json=as_json(X)).json == answer


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "another database"])
def test_a_copy_that_can_t_be_used_changes_nothing(settings: Settings, damage: str) -> None:
    client = Client(create_app(settings))
    learn(client, 30)
    copy = copied(settings)
    if damage == "another database":
        with behind_the_back(settings.weights.with_name("other.db")) as other:
            other.execute("CREATE TABLE accounts (name TEXT)")
        copy = settings.weights.with_name("other.db").read_bytes()
    bad = {"empty": b"", "text": b"x" * 5000, "cut": copy[: len(copy) // 2], "another database": copy}[damage]
    client.close()
    with pytest.raises((StartupError, StoreError), match="the backup can't be used"):
        restore(settings.store, io.BytesIO(bad), newest_version)
    assert Client(create_app(settings)).post("/predict", json=as_json(X)).json["model_version"] == 31


def test_a_backup_that_fails_leaves_the_one_before(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Client(create_app(settings)).close()
    (file := tmp_path / "backup.db").write_bytes(b"the one before")
    before = set(tmp_path.iterdir())

    def on_a_full_disk(source: IO[bytes], target: IO[bytes], _: int) -> None:
        target.write(source.read(1000))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(shutil, "copyfileobj", on_a_full_disk)
        result = CliRunner().invoke(backup, ["--store", settings.store, str(file)])
    assert result.exit_code == 2
    assert f"{file}: No space left on device" in result.stderr
    assert file.read_bytes() == b"the one before"
    assert set(tmp_path.iterdir()) == before
    assert CliRunner().invoke(backup, ["--store", settings.store, str(file)]).exit_code == 0
    assert restore(f"{settings.store}.new", io.BytesIO(file.read_bytes()), newest_version) == 1


def test_a_backup_goes_into_a_pipe_and_through_a_link(settings: Settings, tmp_path: Path) -> None:
    Client(create_app(settings)).close()
    (tmp_path / "link").symlink_to("backup.db")
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    for name in ("link", "pipe"):
        result = CliRunner().invoke(backup, ["--store", settings.store, str(tmp_path / name)])
        assert result.exit_code == 0, result.output
    reader.join()
    assert (tmp_path / "link").is_symlink()
    for copy in (*read, (tmp_path / "backup.db").read_bytes()):
        assert copy.startswith(b"SQLite format 3")


def test_the_store_the_weights_and_their_copies_are_their_owner_s_alone(settings: Settings, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        client = Client(create_app(settings))
        learn(client, 1)
        arguments = ["--store", settings.store, str(tmp_path / "backup.db")]
        assert CliRunner().invoke(backup, arguments).exit_code == 0
        restore(f"{settings.store}.restored", io.BytesIO((tmp_path / "backup.db").read_bytes()), newest_version)
        weights_file.save(tmp_path / "weights.npz", weights_file.load(tmp_path / "weights.npz"))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert {"store.db", "store.db-wal", "store.db-shm", "store.db-lock", "backup.db", "weights.npz"} <= set(modes)
    assert set(modes.values()) == {0o600}


def test_there_has_to_be_a_store_to_copy(settings: Settings) -> None:
    with pytest.raises(StartupError, match="there is no store"):
        copied(settings)
