import errno
import io
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

import pytest
from click.testing import CliRunner

from model import weights_file
from model.atomic_file import replacing
from service.app import create_app
from service.cli.store import backup, store
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


@pytest.mark.long
def test_what_a_killed_backup_has_left_is_removed_by_the_next_one(settings: Settings, tmp_path: Path) -> None:
    Client(create_app(settings)).close()
    command = [sys.executable, "-m", "service.cli", "backup", "--store", settings.store, str(tmp_path / "backup.db")]
    os.mkfifo(tmp_path / "pipe")
    before = set(tmp_path.iterdir())
    killed = subprocess.Popen([*command[:-1], str(tmp_path / "pipe")])
    with open(tmp_path / "pipe", "rb") as pipe:
        assert pipe.read(1)  # it is in the middle of it
        left = set(tmp_path.iterdir()) - before
        assert left
        subprocess.run(command, check=True)  # leaves alone what another one is using
        assert set(tmp_path.iterdir()) - before == left | {tmp_path / "backup.db"}
        killed.kill()
    killed.wait()
    subprocess.run(command, check=True)
    assert set(tmp_path.iterdir()) - before == {tmp_path / "backup.db"}


def test_backups_at_once_into_one_file_leave_one_of_them(settings: Settings, tmp_path: Path) -> None:
    """Of processes with the same number, too, as the first of each container is 1."""
    contents = [bytes([number]) * 100_000 for number in range(4)]

    def write(content: bytes) -> None:
        for _ in range(20):
            with replacing(tmp_path / "backup.db") as file:
                file.write(content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "backup.db").read_bytes() in contents


@pytest.mark.parametrize("name", ["store.db", "store.db-wal", "store.db-shm", "store.db-lock", "store.db-open", "link"])
def test_a_backup_does_not_replace_a_part_of_the_store(client: Client, settings: Settings, name: str) -> None:
    learn(client, 1)
    file = settings.weights.with_name(name)
    if name == "link":
        file.symlink_to("store.db-wal")
    result = CliRunner().invoke(backup, ["--store", settings.store, str(file)])
    assert result.exit_code == 2
    assert f"{file} is the store itself or part of it" in result.stderr
    learn(client, 1)


def test_a_backup_does_not_fill_the_disk_of_the_store(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Client(create_app(settings)).close()
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    result = CliRunner().invoke(backup, ["--store", settings.store, str(tmp_path / "backup.db")])
    assert result.exit_code == 2
    assert f"{tmp_path}: {(tmp_path / 'store.db').stat().st_size} bytes are needed and 1000 are free" in result.stderr
    assert set(tmp_path.iterdir()) == before


def test_a_store_that_another_program_has_open_is_not_replaced(settings: Settings, tmp_path: Path) -> None:
    """Litestream would go on with the file that is gone, and mix both in its replica."""
    client = Client(create_app(settings))
    copy = copied(settings)
    learn(client, 3)
    client.close()
    with behind_the_back(tmp_path / "store.db") as other:
        assert other.execute("SELECT count(*) FROM versions").fetchone() == (4,)
        with pytest.raises(StartupError, match="another process has the store"):
            restore(settings.store, io.BytesIO(copy), newest_version)
        learn(again := Client(create_app(settings)), 1)
        again.close()
        assert other.execute("SELECT count(*) FROM versions").fetchone() == (5,)
    assert restore(settings.store, io.BytesIO(copy), newest_version) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_store_that_root_restores_still_belongs_to_its_owner(settings: Settings, tmp_path: Path) -> None:
    Client(create_app(settings)).close()
    copy = copied(settings)
    os.chown(tmp_path / "store.db", 10001, 10002)
    restore(settings.store, io.BytesIO(copy), newest_version)
    status = (tmp_path / "store.db").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (10001, 10002, 0o600)


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


def test_the_status_of_a_store_in_a_file_has_no_line_of_hosts(settings: Settings) -> None:
    Client(create_app(settings)).close()
    result = CliRunner().invoke(store, ["status", settings.store])
    assert (result.exit_code, "newest version: 1," in result.output, "hosts" in result.output) == (0, True, False)


def test_there_has_to_be_a_store_to_copy(settings: Settings) -> None:
    with pytest.raises(StartupError, match="there is no store"):
        copied(settings)
