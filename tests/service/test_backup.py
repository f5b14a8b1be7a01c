import io
import threading

import pytest

from service.app import create_app
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


def test_there_has_to_be_a_store_to_copy(settings: Settings) -> None:
    with pytest.raises(StartupError, match="there is no store"):
        copied(settings)
