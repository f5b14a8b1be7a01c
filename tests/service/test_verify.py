"""`twolayernet verify`: a copy is what a restore would bring back, and /metrics has its age."""

import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.app import create_app
from service.cli import main
from service.settings import Settings
from tests.conftest import Client, as_json, behind_the_back, random_batch
from tests.service.test_metrics import value

AGE = "verified_copy_age_seconds"


def learn(client: Client, steps: int) -> None:
    for seed in range(steps):
        assert client.post("/train-step", json=as_json(*random_batch(2, seed))).status_code == 200


def verify(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["verify", "--store", settings.store, *arguments])


def backup(settings: Settings, file: Path) -> str:
    assert CliRunner().invoke(main, ["backup", "--store", settings.store, str(file)]).exit_code == 0
    return str(file)


def age(client: Client) -> float | None:
    metrics = client.get("/metrics").text
    return value(metrics, AGE) if AGE in metrics else None


@pytest.fixture
def client(settings: Settings) -> Client:
    return Client(create_app(settings))


def test_a_backup_is_verified_and_metrics_have_its_age(client: Client, settings: Settings, tmp_path: Path) -> None:
    learn(client, 3)
    file = backup(settings, tmp_path / "backup.db")
    before = Path(file).read_bytes()
    assert age(client) is None
    result = verify(settings, file)
    assert result.exit_code == 0, result.output
    assert "verified: the newest version is 4, of 20" in result.output
    assert (first := age(client)) is not None
    assert Path(file).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith("backup")} == {"backup.db"}

    # What the copy lacks makes it old, from the moment at which that was acknowledged.
    learn(client, 1)
    with behind_the_back(tmp_path / "store.db") as store:
        [[created]] = store.execute("SELECT created_at FROM versions WHERE model_version = 5")
        store.execute("UPDATE store SET copied_until = NULL")
        store.commit()
    assert verify(settings, file).exit_code == 0
    with behind_the_back(tmp_path / "store.db") as store:
        assert store.execute("SELECT copied_until FROM store").fetchone() == (created,)
    newer = backup(settings, tmp_path / "newer.db")
    assert verify(settings, newer).exit_code == 0
    with behind_the_back(tmp_path / "store.db") as store:
        [[until]] = store.execute("SELECT copied_until FROM store")
    assert until > created
    assert verify(settings, file).exit_code == 0  # an older one does not make the newest one older
    with behind_the_back(tmp_path / "store.db") as store:
        assert store.execute("SELECT copied_until FROM store").fetchone() == (until,)
    assert first >= 0


def test_the_store_itself_can_be_verified_which_is_no_copy(client: Client, settings: Settings, tmp_path: Path) -> None:
    learn(client, 2)
    client.close()
    for copy in ((), (str(tmp_path / "store.db"),), (settings.store,)):
        result = verify(settings, *copy)
        assert (result.exit_code, "the newest version is 3" in result.output) == (0, True), result.output
        assert "recorded" not in result.output


@pytest.mark.parametrize("column", ["loss", "learning_rate", "created_at", "previous", "pixels"])
def test_a_copy_that_is_not_as_written_is_refused(
    client: Client, settings: Settings, tmp_path: Path, column: str
) -> None:
    learn(client, 3)
    file = backup(settings, tmp_path / "backup.db")
    changed = "zeroblob(length(pixels))" if column == "pixels" else "x'00'" if column == "previous" else "0.125"
    with behind_the_back(Path(file)) as copy:
        copy.execute(f"UPDATE versions SET {column} = {changed} WHERE model_version = 3")
        copy.commit()
    result = verify(settings, file)
    assert result.exit_code == 2
    assert f"{file} can't be used: version 3 is corrupt" in result.stderr
    assert age(client) is None


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "another database", "a store with its log", "missing"])
def test_what_is_no_backup_is_refused_in_one_line(
    client: Client, settings: Settings, tmp_path: Path, damage: str
) -> None:
    learn(client, 30)
    file = Path(backup(settings, tmp_path / "backup.db"))
    match damage:
        case "empty":
            file.write_bytes(b"")
        case "text":
            file.write_bytes(b"x" * 5000)
        case "cut":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        case "another database":
            file.unlink()
            with behind_the_back(file) as other:
                other.execute("CREATE TABLE accounts (name TEXT)")
        case "a store with its log":
            file = tmp_path / "store.db"
        case "missing":
            file.unlink()
    result = verify(settings, str(file))
    assert result.exit_code == 2, result.output
    [line] = result.stderr.splitlines()
    assert line.startswith("twolayernet: ")
    assert str(file) in line
    assert age(client) is None


def test_the_copy_of_another_store_is_not_recorded(client: Client, settings: Settings, tmp_path: Path) -> None:
    learn(client, 2)
    file = backup(settings, tmp_path / "backup.db")
    another = settings.model_copy(update={"store": f"sqlite:///{tmp_path}/another.db"})
    other = Client(create_app(another))
    for steps in (0, 2):  # fewer versions, and as many
        learn(other, steps)
        result = verify(another, file)
        assert result.exit_code == 2
        assert "does not have the copy's version 3" in result.stderr
        assert age(other) is None


def test_a_copy_is_verified_where_there_is_no_store(client: Client, settings: Settings, tmp_path: Path) -> None:
    learn(client, 1)
    file = backup(settings, tmp_path / "backup.db")
    nowhere = settings.model_copy(update={"store": f"sqlite:///{tmp_path}/nowhere.db"})
    result = verify(nowhere, file)
    assert (result.exit_code, "recorded" in result.output) == (0, False)
    assert not (tmp_path / "nowhere.db").exists()


def litestream(folder: Path, script: str) -> None:
    """A stand-in for the program, whose arguments are `restore -o FILE URL`."""
    (program := folder / "litestream").write_text(f"#!{sys.executable}\nimport shutil, sys\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_a_replica_is_restored_into_a_temporary_folder(
    client: Client, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(client, 2)
    file = backup(settings, tmp_path / "backup.db")
    monkeypatch.setenv("PATH", str(tmp_path))
    result = verify(settings, "--replica", "file:///replica")
    assert (result.exit_code, "litestream: No such file" in result.stderr) == (2, True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    litestream(tmp_path, f"assert sys.argv[4] == 'file:///replica'; shutil.copy({file!r}, sys.argv[3])")
    before = set(tmp_path.iterdir())
    result = verify(settings, "--replica", "file:///replica")
    assert (result.exit_code, "the newest version is 3" in result.output) == (0, True), result.output
    assert age(client) is not None
    assert set(tmp_path.iterdir()) == before
    litestream(tmp_path, "sys.exit('no matching backup files available')")
    result = verify(settings, "--replica", "s3://bucket/path")
    assert result.exit_code == 2
    assert "the replica s3://bucket/path can't be restored: no matching backup files available" in result.stderr


def test_a_database_that_litestream_has_only_opened_is_an_empty_store(settings: Settings, tmp_path: Path) -> None:
    with behind_the_back(tmp_path / "store.db") as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)")
        store.execute("CREATE TABLE _litestream_lock (id INTEGER)")
        store.commit()
    learn(Client(create_app(settings)), 1)


def test_a_job_that_trains_if_weights_are_missing_leaves_a_restored_store_alone(
    client: Client, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = backup(settings, tmp_path / "restored.db")
    out = tmp_path / "new" / "weights.npz"
    monkeypatch.setenv("TWOLAYERNET_STORE", f"sqlite:///{file}")
    result = CliRunner().invoke(main, ["train", "--if-missing", "--out", str(out)])
    assert (result.exit_code, result.output) == (0, f"sqlite:///{file} already exists\n")
    for store in (
        "sqlite:////nowhere/store.db",
        "postgresql+psycopg://nowhere/store",
        f"sqlite:///{tmp_path}/empty.db",
    ):
        (tmp_path / "empty.db").touch()
        monkeypatch.setenv("TWOLAYERNET_STORE", store)
        result = CliRunner().invoke(main, ["train", "--if-missing", "--out", str(out)])
        assert (result.exit_code, "already exists" in result.output) == (2, False)  # its folder does not exist
