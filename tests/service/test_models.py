"""Many models in one service: each has a store, a history and a key of its own."""

import errno
import fcntl
import json
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from openapi_spec_validator import validate
from prometheus_client.core import CounterMetricFamily
from pydantic import SecretStr

from model import weights_file
from service.app import MODELS, create_app
from service.cli import main
from service.errors import StartupError
from service.http.problems import is_about_models
from service.http.request_log import LOG_THREAD
from service.live import models as live_models
from service.live.models import Models
from service.metrics import counters
from service.settings import Settings
from service.store import model_folder, write_lock
from service.store.log import StepLog
from service.store.model_folder import ModelFolder
from service.store.sqlite import FileAtRest
from tests.conftest import FEATURES, Client, as_json, random_batch, untrained_weights
from tests.service.test_access import RULES
from tests.service.test_bad_input import is_problem
from tests.service.test_pages import BROWSER

X, T = random_batch(2)
STEP = {"json": as_json(X, T)}
SERVICE = {"Authorization": "Bearer the service's"}
OTHERS = ("bob", "default")
OF_THE_SERVICE = ("/models", "/v2/models")
"""Paths that no model has."""


@pytest.fixture
def settings(tmp_path: Path, settings: Settings) -> Settings:
    return settings.model_copy(update={"models": tmp_path / "models", "api_key": SecretStr("the service's")})


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    client = Client(create_app(settings))
    yield client
    client.close()


def made(client: Client, name: str, **body: Any) -> dict[str, str]:
    """Make a model; the header with its key."""
    answer = client.put(f"/models/{name}", headers=SERVICE, **(body or {"json": {"copy_of": "default"}}))
    assert answer.status_code == 200, answer.text
    assert answer.json["name"] == name
    return {"Authorization": f"Bearer {answer.json['key']}"}


def version_of(client: Client, name: str) -> int:
    return int(client.get(f"/models/{name}/readyz").json["model_version"])


def models_of(client: Client) -> Models:
    models: Models = client.app.extensions[MODELS]
    return models


def folder_of(client: Client) -> ModelFolder:
    folder = models_of(client).stores
    assert isinstance(folder, ModelFolder)
    return folder


def store_of(client: Client, name: str) -> Path:
    return folder_of(client).path / folder_of(client).store_of(name)


# Whose key opens what


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, str]]]:
    """A service whose predict has a key, too, with the models alice and bob, and alice's key."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "weights.npz").write_bytes(untrained_weights()[1])
    keys: dict[str, Any] = {"api_key": SecretStr("the service's"), "api_key_predict": SecretStr("to predict")}
    store = f"sqlite:///{folder}/store.db"
    client = Client(create_app(Settings(weights=folder / "weights.npz", store=store, models=folder / "models", **keys)))
    key = made(client, "alice")
    made(client, "bob")
    yield client, key
    client.close()


BODIES: dict[str, Any] = {
    "POST /predict": {"json": as_json(X)},
    "POST /accuracy": STEP,
    "POST /train-step": STEP,
    "POST /rollback": {"json": {"model_version": 1}},
    "POST /unlearn": {"json": {"source": "nobody"}},
    "POST /relabel": {"json": {"model_version": 1, "labels": [1]}},
    "POST /classes": {"json": {}},
    "PUT /weights": {"data": untrained_weights()[1]},
    "PUT /learning": {"json": {"state": "paused"}},
}


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_key_of_a_model_opens_nothing_of_another(two: tuple[Client, dict[str, str]], rule: str) -> None:
    client, key = two
    path = re.sub(r"<(\w+)>", lambda match: {"name": "bob", "prediction_id": "x"}.get(match[1], "1"), rule)
    method, path = path.split(" ") if " " in path else ("GET", path)
    before = [version_of(client, name) for name in OTHERS]
    for prefix in ("", *(f"/models/{name}" for name in OTHERS)):
        answer = client.open(method, prefix + path, headers=key, **BODIES.get(rule, {}))
        assert (answer.status_code == 401) == (RULES[rule] != "open" and answer.status_code != 404), prefix + path
        if answer.status_code == 404 and RULES[rule] != "open":
            assert path in OF_THE_SERVICE or path.startswith("/models/"), "a model has no models"
    assert [version_of(client, name) for name in OTHERS] == before
    assert client.get("/learning", headers=SERVICE).json["state"] == "learning"


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_key_of_a_model_opens_all_of_its_own(two: tuple[Client, dict[str, str]], rule: str) -> None:
    client, key = two
    path = re.sub(r"<(\w+)>", "1", rule)
    method, path = path.split(" ") if " " in path else ("GET", path)
    if path in OF_THE_SERVICE or path.startswith("/models/"):
        return
    answer = client.open(method, f"/models/alice{path}", headers=key)
    assert (answer.status_code == 401) == (path == "/metrics"), "what all models have in common is the service's"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}):
        refused = client.open(method, f"/models/alice{path}", headers=headers).status_code == 401
        assert refused == (RULES[rule] != "open" and not (path.endswith("network.json") and not headers))


def test_a_key_is_answered_once_and_only_its_digest_is_kept(client: Client, settings: Settings) -> None:
    key = made(client, "alice")["Authorization"].removeprefix("Bearer ")
    assert (
        client.post("/models/alice/train-step", **STEP, headers={"Authorization": f"Bearer {key}"}).status_code == 200
    )
    client.close()
    assert settings.models is not None
    for file in [*settings.models.iterdir(), settings.models.parent / "store.db"]:
        assert key.encode() not in file.read_bytes(), file


def test_a_key_is_renewed(client: Client, settings: Settings) -> None:
    old, other_worker = made(client, "alice"), Client(create_app(settings))
    assert other_worker.get("/models/alice/versions", headers=old).status_code == 200
    is_problem(client.post("/models/alice/key", headers=old), 401)
    new = {"Authorization": f"Bearer {client.post('/models/alice/key', headers=SERVICE).json['key']}"}
    for worker in (client, other_worker):
        is_problem(worker.get("/models/alice/versions", headers=old), 401)
        assert worker.get("/models/alice/versions", headers=new).status_code == 200
    is_problem(client.post("/models/default/key", headers=SERVICE), 409)
    is_problem(client.post("/models/nobody/key", headers=SERVICE), 404)
    other_worker.close()


def test_remembering_costs_the_key_of_the_model_and_the_page_knows_it(client: Client) -> None:
    alice, bob = made(client, "alice"), made(client, "bob")
    asked = {"json": as_json(X)}
    assert client.post("/models/alice/predict?remember=true", **asked, headers=alice).status_code == 200
    for headers in ({}, bob):
        is_problem(client.post("/models/alice/predict?remember=true", **asked, headers=headers), 401)
    assert client.get("/models/alice/playground/network.json", headers=alice).json["may"]["teach"]
    assert not client.get("/models/alice/playground/network.json").json["may"]["teach"]
    is_problem(client.get("/models/alice/playground/network.json", headers=bob), 401)


def test_a_service_without_a_key_is_open_and_so_are_its_models(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"api_key": None})))
    assert client.put("/models/alice", json={"copy_of": "default"}).status_code == 200
    assert client.post("/models/alice/train-step", **STEP).status_code == 200
    client.close()


# Making and setting aside


def test_a_model_is_made_from_a_weights_file(client: Client) -> None:
    weights, data = untrained_weights()
    key = made(client, "alice", data=data)
    served = weights_file.from_bytes(client.get("/models/alice/weights", headers=key).data)
    assert all(np.array_equal(served.params[name], array) for name, array in weights.params.items())
    assert version_of(client, "alice") == 1


def test_a_copy_has_the_weights_and_the_memory_and_a_history_of_its_own(client: Client) -> None:
    for _ in range(3):
        client.post("/train-step", **STEP, headers=SERVICE)
    client.post("/classes", json={}, headers=SERVICE)
    key, early = made(client, "alice"), made(client, "bob", json={"copy_of": "default", "model_version": 2})
    for name, version, its_key in (("alice", 5, key), ("bob", 2, early)):
        copied, source = (
            client.get("/weights", query_string={"model_version": version}, headers=SERVICE).data,
            client.get(f"/models/{name}/weights", headers=its_key).data,
        )
        assert copied == source
    assert len(weights_file.from_bytes(source).memory) == 2
    assert [one["kind"] for one in client.get("/models/alice/versions", headers=key).json["versions"]] == ["load"]
    client.post("/models/alice/train-step", **STEP, headers=key)
    assert (version_of(client, "alice"), version_of(client, "bob"), version_of(client, "default")) == (2, 1, 5)
    again = made(client, "carol", json={"copy_of": "alice"})
    assert client.get("/models/carol/weights", headers=again).data == (
        client.get("/models/alice/weights", headers=key).data
    )


def test_an_untrained_model_has_the_shape_and_the_names_that_are_asked_for(client: Client) -> None:
    new = {"image_shape": [4, 3], "hidden": 7, "label_names": ["cat", "dog"]}
    key = made(client, "pets", json={"new": new})
    step = {"images": [[0] * 12, [1] * 12], "labels": [0, 1]}
    assert client.post("/models/pets/train-step", json=step, headers=key).json["model_version"] == 2
    assert client.post("/models/pets/predict", json={"image": [1] * 12}).json["label_names"][0] in ("cat", "dog")
    assert client.post("/predict", json={"image": [1] * FEATURES}).status_code == 200
    listed = {one["name"]: one for one in client.get("/models", headers=SERVICE).json["models"]}
    assert (listed["pets"]["classes"], listed["default"]["classes"]) == (2, 10)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "no body"),
        ({"data": b"no file"}, 422, "npz"),
        ({"json": {}}, 422, "copy_of"),
        ({"json": {"copy_of": "nobody"}}, 404, "nobody"),
        ({"json": {"copy_of": "default", "model_version": 9}}, 404, "9"),
        ({"json": {"copy_of": "../store.db"}}, 422, "copy_of"),
        ({"json": {"copy_of": "default", "new": {"image_shape": [2, 2], "classes": 2}}}, 422, "either"),
        ({"json": {"new": {"image_shape": [2, 2]}}}, 422, "label_names"),
        ({"json": {"new": {"image_shape": [2, 2], "classes": 2}, "model_version": 1}}, 422, "model_version"),
        ({"json": {"new": {"image_shape": [2, 2, 2], "classes": 2}}}, 422, "image_shape"),
        ({"json": {"new": {"image_shape": [9999, 9999], "hidden": 100_000, "classes": 2}}}, 422, "bytes of weights"),
        ({"json": {"new": {"image_shape": [2, 2], "label_names": ["a", "a"]}}}, 422, "a"),
        ({"json": {"copy_of": "default"}, "query_string": {"activation": "relu"}}, 422, "activation"),
        ({"data": {"file": b"x"}, "content_type": "multipart/form-data"}, 415, "multipart/form-data"),
    ],
)
def test_a_bad_request_makes_no_model(client: Client, body: dict[str, Any], status: int, said: str) -> None:
    assert said in is_problem(client.put("/models/alice", headers=SERVICE, **body), status)["detail"]
    assert [one["name"] for one in client.get("/models", headers=SERVICE).json["models"]] == ["default"]
    assert list(folder_of(client).path.iterdir()) == []


@pytest.mark.parametrize("name", ["A", "-a", "a_b", "a.b", "é", "a" * 64, "..", "%2e%2e", "a%00b", "alice.1234abcd.db"])
def test_a_name_is_small_letters_digits_and_hyphens(client: Client, name: str) -> None:
    assert client.put(f"/models/{name}", json={"copy_of": "default"}, headers=SERVICE).status_code in (404, 422)
    is_problem(client.post(f"/models/{name}/predict", json=as_json(X)), 404)
    is_problem(client.delete(f"/models/{name}", headers=SERVICE), 404)
    assert list(folder_of(client).path.iterdir()) == []


def test_a_name_that_is_taken_is_409_and_changes_nothing(client: Client) -> None:
    key = made(client, "alice")
    client.post("/models/alice/train-step", **STEP, headers=key)
    for name in ("alice", "default"):
        kind = is_problem(client.put(f"/models/{name}", json={"copy_of": "default"}, headers=SERVICE), 409)["type"]
        assert kind == "urn:twolayernet:problem:model-exists"
    assert client.get("/models/alice/versions", headers=key).json["versions"][0]["model_version"] == 2
    assert len([file for file in folder_of(client).path.iterdir() if file.suffix == ".db"]) == 1


def test_of_those_who_make_a_model_at_once_one_does(client: Client) -> None:
    statuses: list[int] = []

    def make() -> None:
        other = client.app.test_client()
        statuses.append(other.put("/models/alice", json={"copy_of": "default"}, headers=SERVICE).status_code)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 409, 409, 409]
    assert len([file for file in folder_of(client).path.iterdir() if file.suffix == ".db"]) == 1


def test_what_one_worker_makes_and_sets_aside_others_know_at_the_next_request(
    client: Client, settings: Settings
) -> None:
    other = Client(create_app(settings))
    asked = {"json": as_json(X)}
    is_problem(other.post("/models/alice/predict", **asked), 404)
    old = made(client, "alice")
    assert other.post("/models/alice/train-step", **STEP, headers=old).status_code == 200
    assert client.post("/models/alice/predict", **asked).json["model_version"] == 2
    store = client.delete("/models/alice", headers=SERVICE).json["store"]
    for worker in (other, client):
        kind = is_problem(worker.post("/models/alice/predict", **asked), 404)["type"]
        assert kind == "urn:twolayernet:problem:unknown-model"
    new = made(client, "alice")
    for worker in (other, client):
        assert worker.post("/models/alice/predict", **asked).json["model_version"] == 1
        is_problem(worker.get("/models/alice/versions", headers=old), 401)
        assert worker.get("/models/alice/versions", headers=new).status_code == 200
    assert models_of(client).stores.set_aside_stores() == [store]
    client.delete("/models/alice", headers=SERVICE)
    models_of(client).stores.name(store, "alice")
    assert other.get("/models/alice/versions", headers=old).json["versions"][0]["model_version"] == 2
    other.close()


def test_the_default_model_has_a_name_and_is_not_set_aside(client: Client) -> None:
    client.post("/models/default/train-step", **STEP, headers=SERVICE)
    assert client.post("/predict", json=as_json(X)).json["model_version"] == 2
    is_problem(client.delete("/models/default", headers=SERVICE), 409)
    is_problem(client.delete("/models/nobody", headers=SERVICE), 404)


def test_models_are_listed_in_pages(client: Client) -> None:
    for name in ("carl", "alice", "eve"):
        made(client, name)
    first = client.get("/models?limit=2", headers=SERVICE).json
    assert ([one["name"] for one in first["models"]], first["next_after"]) == (["alice", "carl"], "carl")
    rest = client.get("/models?limit=2&after=carl", headers=SERVICE).json
    assert ([one["name"] for one in rest["models"]], rest["next_after"]) == (["default", "eve"], None)
    assert len(models_of(client)._open) == 0, "a list opens none"


def test_an_idempotency_key_is_the_model_s_own(client: Client) -> None:
    for name in ("alice", "bob"):
        headers = {**made(client, name), "Idempotency-Key": "once"}
        for _ in range(2):
            assert client.post(f"/models/{name}/train-step", **STEP, headers=headers).json["model_version"] == 2


def command(client: Client, *arguments: str) -> str:
    """`twolayernet models …`, which ends with 0; what it prints."""
    folder = str(folder_of(client).path)
    result = CliRunner().invoke(main, ["models", "--models", folder, *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_an_operator_lists_restores_and_removes(client: Client) -> None:
    key = made(client, "alice")
    client.post("/models/alice/train-step", **STEP, headers=key)
    store = client.delete("/models/alice", headers=SERVICE).json["store"]
    made(client, "alice")
    listed = command(client).splitlines()
    assert [line.partition(",")[0] for line in listed] == ["alice: version 1", "set aside: version 2"]
    assert listed[1].endswith(store)
    taken = CliRunner().invoke(main, ["models", "--models", str(folder_of(client).path), "restore", store])
    assert (taken.exit_code, taken.output.count("\n")) == (2, 1)
    command(client, "restore", store, "alice-before")
    assert client.get("/models/alice-before/versions", headers=key).json["versions"][0]["model_version"] == 2
    in_use = CliRunner().invoke(main, ["models", "--models", str(folder_of(client).path), "remove", store])
    assert (in_use.exit_code, in_use.output.count("\n")) == (2, 1)
    client.delete("/models/alice-before", headers=SERVICE)
    command(client, "remove", store)
    client.close()
    assert not list(folder_of(client).path.glob(f"{store}*"))


def test_a_model_is_backed_up_and_verified_by_its_name(client: Client, tmp_path: Path) -> None:
    key = made(client, "alice")
    client.post("/models/alice/train-step", **STEP, headers=key)
    url = f"sqlite:///{folder_of(client).path}/alice"
    for arguments in (
        ["backup", "--store", url, str(tmp_path / "b.db")],
        ["verify", "--store", url, f"{tmp_path}/b.db"],
    ):
        assert CliRunner().invoke(main, arguments).exit_code == 0


def test_all_models_are_backed_up_and_verified(client: Client, tmp_path: Path) -> None:
    for name in ("alice", "bob"):
        key = made(client, name)
    client.post("/models/bob/train-step", **STEP, headers=key)
    assert command(client, "backup", str(tmp_path / "backups")).splitlines()[0].startswith("alice: ")
    with closing(StepLog(FileAtRest(tmp_path / "backups" / "bob.db"))) as log, log.reading() as reader:
        assert reader.check() == 2
        assert reader.key_digest()
    assert command(client, "verify").splitlines() == ["alice: verified, version 1", "bob: verified, version 2"]
    client.close()
    store_of(client, "alice").write_bytes(b"no database" * 100)
    folder = str(folder_of(client).path)
    for arguments in (["verify"], ["backup", str(tmp_path / "again")]):
        result = CliRunner().invoke(main, ["models", "--models", folder, *arguments])
        assert (result.exit_code, "1 of 2 models" in result.output) == (2, True)
    assert [path.name for path in (tmp_path / "again").iterdir()] == ["bob.db"]


# Without the setting


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/models"),
        ("put", "/models/alice"),
        ("delete", "/models/alice"),
        ("post", "/models/alice/key"),
        ("post", "/models/alice/predict"),
        ("get", "/models/default/versions"),
        ("get", "/models/alice/"),
    ],
)
def test_without_the_setting_what_is_missing_is_said(settings: Settings, method: str, path: str) -> None:
    client = Client(create_app(settings.model_copy(update={"models": None})))
    options = {"json": {"copy_of": "default"}} if method == "put" else {}
    problem = is_problem(client.open(method, path, headers=SERVICE, **options), 404)
    assert problem["type"] == "urn:twolayernet:problem:no-models"
    assert "TWOLAYERNET_MODELS" in problem["detail"]
    client.close()


def test_a_folder_that_can_t_be_used_is_one_line(settings: Settings) -> None:
    for folder in (settings.weights, settings.weights.parent / "no" / "folder"):
        with pytest.raises(StartupError, match=r"TWOLAYERNET_MODELS: the folder .* can't be used"):
            create_app(settings.model_copy(update={"models": folder}))


# Bounds, and models in trouble


def test_a_worker_has_as_many_models_open_as_the_setting_says(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"models_open": 3})))
    names = [f"pupil-{number}" for number in range(8)]
    keys = {name: made(client, name) for name in names}
    threads, hooks = threading.active_count(), len(write_lock._after_fork)
    for turn in range(3):
        for name in names:
            step = client.post(f"/models/{name}/train-step", **STEP, headers=keys[name])
            assert step.json["model_version"] == turn + 2
            assert len(models_of(client)._open) <= 3
    assert threading.active_count() <= threads + 1  # that of the request log
    assert len(write_lock._after_fork) <= hooks + 2 * 3 + 2
    client.close()


def test_a_model_whose_store_has_its_limit_predicts_and_harms_no_other(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"models_bytes": 2**20})))
    keys = {name: made(client, name) for name in ("alice", "bob")}
    answers: list[Any] = []
    while not answers or answers[-1].status_code == 200:
        answers.append(client.post("/models/alice/train-step", json=as_json(*random_batch(50)), headers=keys["alice"]))
    problem = is_problem(answers[-1], 503)
    assert problem["detail"] == (
        "nothing can be written: the store has its limit of 1,048,576 bytes, or the disk is full"
    )
    newest = client.get("/models/alice/readyz").json["model_version"]
    assert newest == len(answers)
    assert client.post("/models/alice/predict", json=as_json(X), headers=keys["alice"]).json["model_version"] == newest
    assert client.post("/models/bob/train-step", **STEP, headers=keys["bob"]).status_code == 200
    client.close()


def test_a_model_in_use_is_not_closed_and_one_unused_for_long_is(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(create_app(settings.model_copy(update={"models_open": 1})))
    for name in ("alice", "bob"):
        made(client, name)
    models = models_of(client)
    with models.borrowed("alice") as alice:
        with models.borrowed("bob"):
            pass
        assert alice.replica.newest().version == 1
        assert "alice" in models._open
        models.set_aside("alice")
        assert alice.replica.newest().version == 1
    monkeypatch.setattr(live_models, "IDLE_SECONDS", -1.0)
    with models.borrowed("bob"):
        assert list(models._open) == ["bob"]
    client.close()


@pytest.mark.parametrize("damage", ["corrupt", "missing", "empty", "no link"])
def test_a_broken_model_harms_no_other(client: Client, damage: str) -> None:
    for name in ("alice", "bob"):
        made(client, name)
    folder = folder_of(client)
    store = store_of(client, "alice")
    if damage == "corrupt":
        store.write_bytes(store.read_bytes()[:5000] + b"\xff" * 20_000)
    elif damage == "empty":
        store.write_bytes(b"")
    else:
        store.unlink()
    if damage == "no link":
        (folder.path / "alice").unlink()
        (folder.path / "alice").mkdir()
    for _ in range(2):
        problem = is_problem(client.post("/models/alice/predict", json=as_json(X)), 503)
        assert "alice" in problem["detail"]
        assert client.post("/models/bob/predict", json=as_json(X)).status_code == 200
        assert client.post("/predict", json=as_json(X)).status_code == 200
    listed = {one["name"]: one for one in client.get("/models", headers=SERVICE).json["models"]}
    assert listed["bob"]["model_version"] == 1
    assert "alice" not in listed or listed["alice"]["error"]
    assert damage != "missing" or not store.exists()


def test_where_no_store_can_be_written_no_model_is_made(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    made(client, "alice")
    folder = folder_of(client).path
    before = sorted(folder.glob("*.db"))
    with monkeypatch.context() as patched:
        patched.setattr(model_folder, "sync_folder", full)
        is_problem(client.put("/models/bob", json={"copy_of": "alice"}, headers=SERVICE), 503)
    assert sorted(folder.glob("*.db")) == before
    assert client.get("/v2/models", headers=SERVICE).json == {"models": ["alice", "default"]}
    client.close()
    shutil.rmtree(folder)
    is_problem(client.put("/models/bob", json={"copy_of": "default"}, headers=SERVICE), 503)
    is_problem(client.get("/models", headers=SERVICE), 503)
    is_problem(client.post("/models/alice/predict", json=as_json(X)), 404)
    assert client.post("/predict", json=as_json(X)).status_code == 200


def test_a_store_from_elsewhere_gets_a_name_by_a_link(client: Client, tmp_path: Path) -> None:
    made(client, "alice")
    folder = folder_of(client)
    client.close()
    store_of(client, "alice").rename(tmp_path / "elsewhere.db")
    (folder.path / "bob").symlink_to(tmp_path / "elsewhere.db")
    assert client.post("/models/bob/predict", json=as_json(X)).json["model_version"] == 1
    assert command(client).count("version 1") == 1


def test_a_locked_model_harms_no_other(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_lock, "WAIT_SECONDS", 0.01)
    keys = {name: made(client, name) for name in ("alice", "bob")}
    store = store_of(client, "alice")
    assert client.post("/models/alice/predict", json=as_json(X)).status_code == 200
    with open(f"{store}-lock", "rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        is_problem(client.post("/models/alice/train-step", **STEP, headers=keys["alice"]), 503)
        assert client.post("/models/alice/predict", json=as_json(X)).json["model_version"] == 1
        assert client.post("/models/bob/train-step", **STEP, headers=keys["bob"]).status_code == 200
        assert client.post("/train-step", **STEP, headers=SERVICE).status_code == 200
        fcntl.flock(lock, fcntl.LOCK_UN)


# One document, one page


def test_the_document_has_the_name_as_a_variable(client: Client) -> None:
    made(client, "pets", json={"new": {"image_shape": [4, 3], "classes": 2}})
    document = client.get("/openapi.json").json
    validate(document)
    assert [server["url"] for server in document["servers"]] == ["/", "/models/{name}"]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            is_of_all = path in OF_THE_SERVICE or path.startswith("/models/")
            assert is_of_all == (operation.get("servers") == [{"url": "/"}])
    own = client.get("/models/pets/openapi.json").json
    validate(own)
    assert own["servers"] == [{"url": "/models/pets"}]
    assert own["components"]["schemas"]["FlatImage"]["maxItems"] == 12
    assert "784" not in str(own), "the examples are for another network"
    assert own["paths"].keys() == {
        path for path in document["paths"] if path not in OF_THE_SERVICE and not path.startswith("/models/")
    }


def test_the_page_of_a_model_finds_all_its_files(client: Client) -> None:
    made(client, "alice")
    todo, seen = ["/models/alice/", "/models/alice/docs"], set()
    while todo:
        path = todo.pop()
        answer = client.get(path)
        assert answer.status_code == 200, path
        seen.add(path)
        if answer.mimetype in ("text/html", "text/javascript") and "swagger-ui" not in path:
            found = re.findall(
                r"""(?:src|href|from|import)[ =(]*["'](?!data:|https?:|#)([^"']+\.\w+)["']""", answer.text
            )
            base = path.rpartition("/")[0]
            todo += {f"{base}/{name.removeprefix('./')}" for name in found} - seen
    assert len(seen) > 20
    assert all(path.startswith("/models/alice/") for path in seen)


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, text/html", "text/plain"])
def test_a_browser_gets_the_wall_without_a_key_and_a_program_the_list_with_one(
    client: Client, accept: str | None
) -> None:
    page = client.get("/models", headers=BROWSER)
    assert (page.status_code, page.mimetype, page.headers["Vary"]) == (200, "text/html", "Accept")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    asked = {} if accept is None else {"Accept": accept}
    is_problem(client.get("/models", headers=asked), 401)
    listed = client.get("/models", headers=asked | SERVICE)
    assert [one["name"] for one in listed.json["models"]] == ["default"]
    assert listed.headers["Vary"] == "Accept"
    assert "Content-Security-Policy" not in listed.headers


def test_no_other_path_of_the_models_is_open_to_browsers(client: Client) -> None:
    made(client, "alice")
    for method, path in (
        ("GET", "/models/alice"),
        ("PUT", "/models/bob"),
        ("DELETE", "/models/alice"),
        ("POST", "/models/alice/key"),
        ("GET", "/models/alice/learning"),
        ("GET", "/v2/models"),
    ):
        assert client.open(method, path, headers=BROWSER).status_code == 401, (method, path)
    is_problem(client.post("/models", headers=BROWSER), 405)
    is_problem(client.get("/models?limit=none", headers=BROWSER), 422)


def test_under_a_prefix_and_with_doubled_slashes(settings: Settings) -> None:
    client = Client(create_app(settings.model_copy(update={"prefix": "/nets"})))
    answer = client.put("/nets/models/alice", json={"copy_of": "default"}, headers=SERVICE)
    key = {"Authorization": f"Bearer {answer.json['key']}"}
    assert client.post("/nets/models/alice/train-step", **STEP, headers=key).status_code == 200
    assert client.get("/nets/models/alice/openapi.json").json["servers"] == [{"url": "/nets/models/alice"}]
    doubled = client.get("/nets/models/alice/examples//2/0/image", headers=key)
    assert doubled.headers["Location"].endswith("/nets/models/alice/examples/2/0/image")
    assert client.get("/nets/models/alice/versions", headers=key).json["versions"][0]["model_version"] == 2
    is_problem(client.get("/models/alice/versions", headers=key), 404)
    client.close()


def test_a_model_has_no_models(client: Client) -> None:
    key = made(client, "alice")
    for path in ("/models/alice/models", "/models/alice/models/bob", "/models/alice/models/bob/predict"):
        is_problem(client.get(path, headers=SERVICE), 404)
        is_problem(client.get(path, headers=key), 404)
    about = [rule for rule in client.app.url_map.iter_rules() if is_about_models(rule)]
    assert {rule.rule for rule in about} == {"/models", "/models/<name>", "/models/<name>/key", "/v2/models"}


# Watching


def test_clients_of_the_inference_protocol_know_each_model_by_its_name(client: Client) -> None:
    key = made(client, "alice")
    assert client.get("/v2/models", headers=SERVICE).json == {"models": ["alice", "default"]}
    is_problem_of_v2 = client.get("/v2/models", headers=key)
    assert (is_problem_of_v2.status_code, is_problem_of_v2.json.keys()) == (401, {"error"})
    client.post("/models/alice/train-step", **STEP, headers=key)
    tensor = {"inputs": [{"name": "x", "shape": [1, FEATURES], "datatype": "UINT8", "data": [0] * FEATURES}]}
    answered = client.post("/v2/models/alice/infer", json=tensor).json
    assert (answered["model_name"], answered["model_version"]) == ("alice", "2")
    assert client.get("/v2/models/alice").json["name"] == "alice"
    assert client.get("/v2/models/alice/versions/1", headers=key).json["versions"] == ["1"]
    assert client.get("/v2/models/default/ready").json == {"name": "default", "ready": True}
    assert client.get("/models/alice/v2/models/twolayernet").json["name"] == "twolayernet"
    assert client.post("/v2/models/twolayernet/infer", json=tensor).json["model_version"] == "1"
    bob = made(client, "bob")
    assert client.get("/v2/models/alice/versions/1", headers=bob).status_code == 401
    unknown = client.get("/v2/models/nobody/ready")
    assert unknown.status_code == 404
    assert "nobody" in unknown.json["error"]
    assert client.get("/models/alice/v2/models", headers=SERVICE).status_code == 404


def test_readiness_and_metrics_say_which_model_is_in_trouble(client: Client) -> None:
    made(client, "alice")
    assert "models_in_trouble" not in client.get("/readyz").json
    store_of(client, "alice").unlink()
    is_problem(client.get("/models/alice/readyz"), 503)
    assert client.get("/readyz").json["models_in_trouble"] == ["alice"]
    assert "twolayernet_models_in_trouble 1.0" in client.get("/metrics", headers=SERVICE).text


def test_requests_are_counted_by_model(client: Client) -> None:
    made(client, "counted-here")
    for _ in range(3):
        assert client.post("/models/counted-here/predict", json=as_json(X)).status_code == 200
    client.get("/models/never-made/readyz")
    metrics = client.get("/metrics", headers=SERVICE).text
    assert "never-made" not in metrics
    assert 'twolayernet_model_requests_total{model="(others)",status="4xx"}' in metrics
    # A hundred others of this process may have had more.
    assert re.search(r'model="counted-here",status="2xx"} 3.0', metrics) or metrics.count('status="2xx"} ') >= 100


def test_the_busiest_models_are_counted_by_name_and_the_others_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MOST_MODELS_SHOWN", 2)
    family = CounterMetricFamily("requests", "of models", labels=["model", "status"])
    for name, ok, refused in (("a", 5, 1), ("b", 1, 1), ("c", 4, 4), (counters.OTHERS, 1, 0)):
        family.add_metric([name, "2xx"], ok)
        family.add_metric([name, "4xx"], refused)
    found = {tuple(sample.labels.values()): sample.value for sample in counters.busiest(family).samples}
    others = {(counters.OTHERS, "2xx"): 2, (counters.OTHERS, "4xx"): 1}
    assert found == {("a", "2xx"): 5, ("a", "4xx"): 1, ("c", "2xx"): 4, ("c", "4xx"): 4, **others}


def test_a_name_beyond_those_that_are_counted_is_one_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "_counted", set())
    monkeypatch.setattr(counters, "MOST_MODELS_COUNTED", 2)
    for name in ("one", "two", "three"):
        counters.count_request_of(name, "200")
    assert counters._counted == {"one", "two"}


def test_a_line_of_the_log_names_the_model(client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    made(client, "logged-here")
    client.post("/models/logged-here/predict", json=as_json(X))
    client.close()
    for thread in threading.enumerate():
        if thread.name == LOG_THREAD:
            thread.join()
    (line,) = (json.loads(line) for line in capfd.readouterr().out.splitlines() if "logged-here/predict" in line)
    assert (line["model"], line["path"], line["model_version"]) == ("logged-here", "/models/logged-here/predict", 1)
