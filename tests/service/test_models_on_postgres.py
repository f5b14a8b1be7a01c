"""Many models on PostgreSQL: a schema for each, and the same connections and the same follower for all."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from model import weights_file
from service.app import create_app
from service.cli import main
from service.errors import StartupError, StoreBusyError, StoreError
from service.live import models as live_models
from service.settings import Settings
from service.store.follower import CHANNEL, Ask, Following, Tail
from service.store.model_schemas import ModelSchemas
from tests.conftest import Client, as_json, random_batch, untrained_weights
from tests.postgres import USER, Postgres
from tests.processes.server import GUARD_SECONDS
from tests.service.test_bad_input import is_problem
from tests.service.test_models import SERVICE, STEP, made, models_of, version_of
from tests.service.test_postgres import wait_for

pytestmark = pytest.mark.postgres

X, T = random_batch(2)
ASKED = {"json": as_json(X)}

Start = Callable[..., Client]


@pytest.fixture
def store(postgres: Postgres) -> str:
    return postgres.new_database()


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"models": Path("models"), "api_key": SecretStr("the service's")})


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    started: list[Client] = []

    def begin(**more: Any) -> Client:
        started.append(Client(create_app(settings.model_copy(update=more))))
        return started[-1]

    yield begin
    for client in started:
        client.close()


@pytest.fixture
def client(start: Start) -> Client:
    return start()


@pytest.fixture
def run(postgres: Postgres, store: str) -> Callable[[str], list[tuple[Any, ...]]]:
    """Runs a statement in the store's database."""
    return lambda statement: postgres.run(statement, store.rpartition("/")[2])


Run = Callable[[str], list[tuple[Any, ...]]]


def schemas_of(client: Client) -> ModelSchemas:
    schemas = models_of(client).stores
    assert isinstance(schemas, ModelSchemas)
    return schemas


def schema_of(client: Client, name: str) -> str:
    return schemas_of(client).store_of(name)


def step(client: Client, name: str) -> Any:
    return client.post(f"/models/{name}/train-step", **STEP, headers=SERVICE)


def predict(client: Client, name: str) -> Any:
    return client.post(f"/models/{name}/predict", **ASKED)


def test_a_model_is_a_schema_with_a_history_and_a_key_of_its_own(client: Client, run: Run) -> None:
    client.post("/train-step", **STEP, headers=SERVICE)
    alice, bob = made(client, "alice"), made(client, "bob", data=untrained_weights()[1])
    pets = made(client, "pets", json={"new": {"image_shape": [4, 3], "label_names": ["cat", "dog"]}})
    copied = client.get("/models/alice/weights", headers=alice).data
    assert copied == client.get("/weights", headers=SERVICE).data
    assert len(weights_file.from_bytes(copied).memory) == 2
    assert client.post("/models/alice/train-step", **STEP, headers=alice).json["model_version"] == 2
    for key in (bob, pets, {}):
        is_problem(client.post("/models/alice/train-step", **STEP, headers=key), 401)
    assert [version_of(client, name) for name in ("alice", "bob", "pets", "default")] == [2, 1, 1, 2]
    listed = {one["name"]: one for one in client.get("/models", headers=SERVICE).json["models"]}
    assert {name: one["classes"] for name, one in listed.items()} == {"alice": 10, "bob": 10, "default": 10, "pets": 2}
    assert all(one["bytes"] for one in listed.values())
    schemas = {name for (name,) in run("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'models_%'")}
    assert schemas == {schema_of(client, name) for name in ("alice", "bob", "pets")}


def test_a_name_that_is_taken_is_409_and_leaves_no_schema(client: Client, run: Run) -> None:
    made(client, "alice")
    for name in ("alice", "default"):
        is_problem(client.put(f"/models/{name}", json={"copy_of": "default"}, headers=SERVICE), 409)
    statuses: list[int] = []

    def make() -> None:
        other = client.app.test_client()
        statuses.append(other.put("/models/bob", json={"copy_of": "default"}, headers=SERVICE).status_code)

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 409, 409]
    assert run("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'models_%'") == [(2,)]
    assert schemas_of(client).set_aside_stores() == []


def test_what_one_service_makes_and_sets_aside_others_know(client: Client, start: Start) -> None:
    other = start()
    is_problem(predict(other, "alice"), 404)
    old = made(client, "alice")
    assert other.post("/models/alice/train-step", **STEP, headers=old).json["model_version"] == 2
    wait_for(lambda: predict(client, "alice").json["model_version"] == 2)
    store = client.delete("/models/alice", headers=SERVICE).json["store"]
    is_problem(step(other, "alice"), 404)
    wait_for(lambda: predict(other, "alice").status_code == 404)
    new = made(client, "alice")
    is_problem(other.get("/models/alice/versions", headers=old), 401)
    assert other.get("/models/alice/versions", headers=new).json["versions"][0]["model_version"] == 1
    assert predict(other, "alice").json["model_version"] == 1
    assert schemas_of(client).set_aside_stores() == [store]


def test_a_predict_follows_a_name_to_another_store(client: Client, start: Start) -> None:
    other = start()
    made(client, "alice")
    step(client, "alice")
    assert predict(other, "alice").json["model_version"] == 2
    client.delete("/models/alice", headers=SERVICE)
    made(client, "alice")
    wait_for(lambda: predict(other, "alice").json["model_version"] == 1)


def test_no_step_is_written_to_a_model_that_was_set_aside(
    client: Client, start: Start, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a worker can't ask which store has the name, what it knew of it before is not enough."""
    other = start()
    made(client, "alice")
    step(other, "alice")
    schemas, read = schemas_of(other), ModelSchemas._read

    def busy(of: ModelSchemas, text: str, **parameters: str) -> list[str]:
        if of is not schemas:
            return read(of, text, **parameters)
        if client.delete("/models/alice", headers=SERVICE).status_code == 200:
            made(client, "alice")
        raise StoreBusyError("all connections are in use")

    monkeypatch.setattr(ModelSchemas, "_read", busy)
    is_problem(step(other, "alice"), 503)
    monkeypatch.undo()
    [set_aside] = schemas.set_aside_stores()
    for schema, newest in ((set_aside, 2), (schema_of(client, "alice"), 1)):
        assert run(f"SELECT max(model_version) FROM {schema}.versions") == [(newest,)]


def test_a_prediction_is_kept_by_the_model_that_has_the_name_now(client: Client, start: Start) -> None:
    other = start()
    made(client, "alice")
    predict(other, "alice")
    schemas = schemas_of(other)
    schemas._connections.follower.drop(schemas._known)  # the news does not come
    client.delete("/models/alice", headers=SERVICE)
    key = made(client, "alice")
    kept = other.post("/models/alice/predict?remember=true", **ASKED, headers=key)
    assert kept.status_code == 200
    lesson = {"prediction_ids": kept.json["prediction_ids"], "labels": [0] * len(X)}
    assert client.post("/models/alice/train-step", json=lesson, headers=key).status_code == 200


def test_all_models_share_the_connections_of_a_process(client: Client, start: Start, run: Run) -> None:
    other = start()
    names = [f"pupil-{number}" for number in range(8)]
    for name in names:
        made(client, name)
    for number in (2, 3):
        for name in names:
            assert step(client, name).json["model_version"] == number
            wait_for(lambda name=name, number=number: predict(other, name).json["model_version"] == number)  # type: ignore[misc]
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    assert run(count)[0][0] <= 2 * 4
    assert sum(thread.name == "follower" for thread in threading.enumerate()) == 2


def test_a_closed_model_is_not_tailed(client: Client, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    tailed = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    for name in ("alice", "bob"):
        made(client, name)
        predict(client, name)
        predict(client, name)
    wait_for(lambda: run(tailed) == [(3,)])  # the default as well
    monkeypatch.setattr(live_models, "IDLE_SECONDS", -1.0)
    predict(client, "bob")
    wait_for(lambda: run(tailed) == [(2,)])
    assert step(client, "alice").json["model_version"] == 2


@pytest.mark.parametrize("is_default", [True, False])
def test_a_schema_that_was_made_anew_is_listened_to_again(client: Client, run: Run, is_default: bool) -> None:
    """As pg_restore does it. Its number is another one then, by which processes are notified and are seen to use it."""
    name = "default" if is_default else "alice"
    made(client, "alice")
    for _ in range(2):
        predict(client, name)
    schema = "public" if is_default else schema_of(client, name)
    with models_of(client).borrowed(name) as service:
        database = service.log.database
        wait_for(lambda: database.users() != [])
        run("CREATE SCHEMA restored")
        for (table,) in run(f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'"):
            run(f"CREATE TABLE restored.{table} (LIKE {schema}.{table} INCLUDING ALL)")
            run(f"INSERT INTO restored.{table} SELECT * FROM {schema}.{table}")
        run(f"BEGIN; DROP SCHEMA {schema} CASCADE; ALTER SCHEMA restored RENAME TO {schema}; COMMIT")
        wait_for(lambda: database.users() != [])
    assert step(client, name).json["model_version"] == 2


class Noted(Tail):
    """A tail that is polled every `poll_seconds`, and notes what becomes of it."""

    def __init__(self, poll_seconds: float) -> None:
        super().__init__("a test's", poll_seconds)
        self.polls = 0

    def begin(self, ask: Ask) -> str:
        return f"{CHANNEL}1"

    def poll(self, ask: Ask) -> str:
        self.polls += 1
        return f"{CHANNEL}1"


def test_a_notification_is_heard_though_others_are_always_due(postgres: Postgres, store: str) -> None:
    """As where a round of polls takes longer than the time between two."""
    quiet, busy = Noted(10 * GUARD_SECONDS), Noted(0.0)
    with psycopg.connect(postgres.url("postgres").replace("+psycopg", ""), autocommit=True) as connection:
        following = Following(connection, lambda: None)
        following.attend((quiet, busy))
        assert quiet.polls == 1
        postgres.run(f"NOTIFY {CHANNEL}1")

        def is_polled_again() -> bool:
            following.attend((quiet, busy))
            return quiet.polls == 2

        wait_for(is_polled_again)


@pytest.mark.parametrize("damage", ["DROP TABLE {0}.versions", "DROP SCHEMA {0} CASCADE", "DELETE FROM {0}.versions"])
@pytest.mark.parametrize("is_open", [True, False])
def test_a_broken_model_harms_no_other(client: Client, start: Start, run: Run, damage: str, is_open: bool) -> None:
    other = start()
    for name in ("alice", "bob"):
        made(client, name)
        if is_open:
            predict(other, name)
            predict(other, name)
    run(damage.format(schema_of(client, "alice")))
    is_problem(step(other, "alice"), 503)
    for number in (2, 3, 4):
        assert step(client, "bob").json["model_version"] == number
        wait_for(lambda number=number: predict(other, "bob").json["model_version"] == number)  # type: ignore[misc]
        assert "X-Model-Staleness" not in predict(other, "bob").headers
        assert client.post("/predict", **ASKED).status_code == 200
    listed = {one["name"]: one for one in other.get("/models", headers=SERVICE).json["models"]}
    assert listed["bob"]["model_version"] == 4
    if damage != "DELETE FROM {0}.versions":
        assert listed["alice"]["error"]


def test_a_locked_model_harms_no_other(client: Client, start: Start, postgres: Postgres, store: str) -> None:
    other = start()
    for name in ("alice", "bob"):
        made(client, name)
        for one in (client, other, other):
            predict(one, name)
    schema, database = schema_of(client, "alice"), store.rpartition("/")[2]
    with psycopg.connect(host="127.0.0.1", port=postgres.port, user=USER, dbname=database) as holder:
        holder.execute(f"LOCK TABLE {schema}.store, {schema}.versions")
        for number in (2, 3, 4):
            assert step(client, "bob").json["model_version"] == number
            wait_for(lambda number=number: predict(other, "bob").json["model_version"] == number)  # type: ignore[misc]
        is_problem(step(client, "alice"), 503)
        assert predict(client, "alice").json["model_version"] == 1
    assert step(client, "alice").json["model_version"] == 2


def test_a_request_that_reads_a_long_history_keeps_no_worker_from_what_others_learn(
    client: Client, start: Start
) -> None:
    other = start()
    for name in ("alice", "bob"):
        made(client, name)
        predict(other, name)
    with models_of(other).borrowed("alice") as service, service.replica._catching_up:
        assert step(client, "alice").json["model_version"] == 2
        for number in (2, 3, 4):
            assert step(client, "bob").json["model_version"] == number
            wait_for(lambda number=number: predict(other, "bob").json["model_version"] == number)  # type: ignore[misc]
    wait_for(lambda: predict(other, "alice").json["model_version"] == 2)


def test_predict_goes_on_without_the_database_for_every_model(start: Start, postgres: Postgres) -> None:
    client = start()
    names = ("alice", "bob")
    for name in names:
        made(client, name)
        step(client, name)
        assert predict(client, name).json["model_version"] == 2
    postgres.stop()
    try:
        for name in names:
            is_problem(step(client, name), 503)
            assert predict(client, name).json["model_version"] == 2
            wait_for(lambda name=name: "X-Model-Staleness" in predict(client, name).headers)  # type: ignore[misc]
            wanted = client.post(f"/models/{name}/predict", **ASKED, headers={"X-Min-Model-Version": "2"})
            assert wanted.json["model_version"] == 2
            assert client.get(f"/models/{name}/playground/network.json").json["model_version"] == 2
        is_problem(predict(client, "carl"), 503)
    finally:
        postgres.start()
    for name in names:
        wait_for(lambda name=name: step(client, name).status_code == 200)  # type: ignore[misc]
        wait_for(lambda name=name: "X-Model-Staleness" not in predict(client, name).headers)  # type: ignore[misc]
    is_problem(predict(client, "carl"), 404)


def test_a_renewed_key_opens_at_once_and_the_old_one_nothing(client: Client, start: Start) -> None:
    old, other = made(client, "alice"), start()
    assert other.get("/models/alice/versions", headers=old).status_code == 200
    new = {"Authorization": f"Bearer {client.post('/models/alice/key', headers=SERVICE).json['key']}"}
    for one in (client, other):
        is_problem(one.get("/models/alice/versions", headers=old), 401)
        assert one.get("/models/alice/versions", headers=new).status_code == 200


def command(settings: Settings, *arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, ["models", "--models", "models", "--store", settings.store, *arguments])
    assert result.exit_code == exit_code, result.output
    return result.output


def test_an_operator_lists_verifies_restores_and_removes(client: Client, settings: Settings, run: Run) -> None:
    key = made(client, "alice")
    step(client, "alice")
    assert command(settings, "verify") == "alice: verified, version 2\n"
    assert "pg_dump" in command(settings, "backup", "folder", exit_code=2)
    store = client.delete("/models/alice", headers=SERVICE).json["store"]
    made(client, "alice")
    listed = command(settings).splitlines()
    assert [line.partition(",")[0] for line in listed] == ["alice: version 1", "set aside: version 2"]
    assert listed[1].endswith(store)
    assert "already" in command(settings, "restore", store, exit_code=2)
    command(settings, "restore", store, "alice-before")
    with pytest.raises(StoreError, match="not set aside any more"):
        schemas_of(client).name(store, "alice-twice")
    assert client.get("/models/alice-before/versions", headers=key).json["versions"][0]["model_version"] == 2
    assert "was set aside" in command(settings, "remove", store, exit_code=2)
    client.delete("/models/alice-before", headers=SERVICE)
    command(settings, "restore", store, "alice-again")
    client.delete("/models/alice-again", headers=SERVICE)
    command(settings, "remove", store)
    assert run(f"SELECT to_regnamespace('{store}')") == [(None,)]
    assert command(settings).splitlines() == listed[:1]
    nowhere = CliRunner().invoke(main, ["models", "--models", "elsewhere", "--store", settings.store])
    assert (nowhere.exit_code, nowhere.output.count("\n")) == (2, 1)


def test_a_schema_that_can_t_be_used_is_one_line_at_the_start(
    settings: Settings, postgres: Postgres, store: str, run: Run
) -> None:
    for name in ("Models", "a" * 52, "1", "a b", "models/here"):
        with pytest.raises(StartupError, match=r"TWOLAYERNET_MODELS: .* can't be the name of a schema"):
            create_app(settings.model_copy(update={"models": Path(name)}))
    run("DROP ROLE IF EXISTS teacher")
    run("CREATE ROLE teacher LOGIN")
    run("GRANT ALL ON ALL TABLES IN SCHEMA public TO teacher")
    with pytest.raises(StoreError, match=r"TWOLAYERNET_MODELS: .*permission denied"):
        create_app(settings.model_copy(update={"store": store.replace(USER, "teacher", 1)}))


def test_all_models_are_copied_there_and_back(settings: Settings, store: str, tmp_path: Path) -> None:
    source = settings.model_copy(update={"store": f"sqlite:///{tmp_path}/source.db", "models": tmp_path / "models"})
    client = Client(create_app(source))
    keys = {name: made(client, name) for name in ("alice", "bob")}
    for _ in range(3):
        step(client, "alice")
    client.close()
    for models, url, into in (
        (source, store, "models"),
        (settings, f"sqlite:///{tmp_path}/back.db", str(tmp_path / "back")),
    ):
        arguments = ["models", "--models", str(models.models), "--store", models.store, "copy", url, into]
        copied = CliRunner().invoke(main, arguments)
        assert (copied.exit_code, copied.output) == (0, "alice: copied, version 4\nbob: copied, version 1\n")
        again = CliRunner().invoke(main, arguments)
        assert (again.exit_code, "2 of 2 models" in again.output) == (2, True)
        copy = Client(create_app(settings.model_copy(update={"store": url, "models": Path(into)})))
        for name, key in keys.items():
            for path in ("versions", "weights", "examples"):
                there, here = (one.get(f"/models/{name}/{path}", headers=key) for one in (copy, client))
                assert (there.status_code, there.data) == (200, here.data)
        assert models_of(copy).stores.set_aside_stores() == [], "nothing is left over"
        copy.close()
    client.close()
