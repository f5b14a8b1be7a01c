"""A store on PostgreSQL: what is refused, what is copied, and what happens when the database or the network fails."""

import io
import re
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from service.app import EXTENSION, create_app
from service.cli import main
from service.errors import StartupError, StoreAwayError, StoreError
from service.settings import Settings
from service.store.log import AFTER_ALL
from tests.conftest import Client, as_json, random_batch
from tests.postgres import Postgres
from tests.processes.network import Network, Pooler
from tests.processes.server import GUARD_SECONDS
from tests.service.test_bad_input import is_problem

pytestmark = pytest.mark.postgres

X, T = random_batch(2)
STEP = as_json(X, T)

Start = Callable[..., Client]


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.new_database()


@pytest.fixture
def network(postgres: Postgres) -> Iterator[Network]:
    network = Network(postgres.port)
    yield network
    network.close()


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    """Services in this process, which follow the store before they are given."""
    started: list[Client] = []

    def begin(url: str, **more: Any) -> Client:
        announce = more.pop("announce", False)
        client = Client(create_app(settings.model_copy(update={"store": url, **more}), announce=announce))
        client.post("/predict", json=as_json(X))
        started.append(client)
        return client

    yield begin
    for client in started:
        client.close()


def through(network: Network, postgres: Postgres, url: str) -> str:
    return postgres.url(url.rpartition("/")[2], network.port)


def step(client: Client, **headers: str) -> Any:
    return client.post("/train-step", json=STEP, headers=headers)


def version(client: Client) -> int:
    return int(client.post("/predict", json=as_json(X)).json["model_version"])


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + GUARD_SECONDS
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


def test_what_one_service_learns_others_see(start: Start, url: str) -> None:
    first, second = start(url), start(url)
    for number in range(2, 12):
        assert step(first if number % 2 else second).json["model_version"] == number
        assert version(first if number % 2 else second) == number
        wait_for(lambda number=number: version(first) == version(second) == number)  # type: ignore[misc]


def test_a_version_that_is_wanted_is_there_at_once(start: Start, url: str) -> None:
    first, second = start(url), start(url)
    for number in range(2, 12):
        step(first)
        headers = {"X-Min-Model-Version": str(number)}
        assert second.post("/predict", json=as_json(X), headers=headers).json["model_version"] == number
    is_problem(second.post("/predict", json=as_json(X), headers={"X-Min-Model-Version": "12"}), 503)


def test_a_worker_has_no_more_connections_than_the_setting_says(start: Start, url: str, postgres: Postgres) -> None:
    client = start(url, store_connections=3)
    for _ in range(3):
        step(client)
        client.get("/examples?rehearsed=true")
    name = url.rpartition("/")[2]
    ((count,),) = postgres.run(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'")
    assert 1 < count <= 3


def test_requests_that_read_for_long_keep_no_worker_from_what_others_learn(start: Start, url: str) -> None:
    first, second = start(url), start(url)
    wait_for(lambda: version(second) == 1)
    log = second.app.extensions[EXTENSION].log
    with log.reading(), log.reading():  # all the connections that requests have
        for number in range(2, 6):
            step(first)
            wait_for(lambda number=number: version(second) == number)  # type: ignore[misc]
            headers = {"X-Min-Model-Version": str(number)}
            assert second.post("/predict", json=as_json(X), headers=headers).status_code == 200
        is_problem(second.post("/predict", json=as_json(X), headers={"X-Min-Model-Version": "9"}), 503)


def test_a_database_that_lost_versions_is_followed_to_what_it_has(start: Start, url: str, postgres: Postgres) -> None:
    """As one that was brought back from a copy, or a standby that was a little behind and took over."""
    first, second = start(url), start(url)
    for _ in range(6):
        step(first)
    wait_for(lambda: version(second) == 7)
    for table in ("versions", "progress"):
        postgres.run(f"DELETE FROM {table} WHERE model_version > 3", url.rpartition("/")[2])
    assert first.post("/train-step", json=as_json(*random_batch(3, 8))).json["model_version"] == 4
    assert version(first) == 4  # at once for the one that writes
    wait_for(lambda: version(second) == 4)
    for _ in range(3):
        first.post("/train-step", json=as_json(*random_batch(3, 9)))
    wait_for(lambda: version(second) == 7)  # a number that it had known before
    wait_for(lambda: second.get("/weights").data == start(url).get("/weights").data)


def test_the_same_number_for_another_version_is_noticed(start: Start, url: str, postgres: Postgres) -> None:
    client, other = start(url), start(url)
    step(client)
    wait_for(lambda: version(other) == 2)
    other.close()
    for table in ("versions", "progress"):
        postgres.run(f"DELETE FROM {table} WHERE model_version > 1", url.rpartition("/")[2])
    third = start(url)
    third.post("/train-step", json=as_json(*random_batch(3, 8)))
    wait_for(lambda: client.get("/weights").data == third.get("/weights").data)


def test_whatever_isolation_the_database_prefers_steps_are_serial(start: Start, url: str, postgres: Postgres) -> None:
    name = url.rpartition("/")[2]
    postgres.run(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    clients = [start(url) for _ in range(3)]
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda at: step(clients[at % 3]), range(45)))
    assert sorted(answer.json.get("model_version", 0) for answer in answers) == list(range(2, 47))


@pytest.mark.parametrize("setting", ["synchronous_commit = off", "default_transaction_read_only = on"])
def test_a_server_that_would_lose_or_refuse_steps_is_refused(
    settings: Settings, url: str, postgres: Postgres, setting: str
) -> None:
    postgres.run(f"ALTER DATABASE {url.rpartition('/')[2]} SET {setting}")
    with pytest.raises(StartupError, match=r"synchronous_commit is off|read-only"):
        create_app(settings.model_copy(update={"store": url}))


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_can_t_hold_every_text_is_refused(
    settings: Settings, postgres: Postgres, encoding: str
) -> None:
    url = postgres.new_database(f"ENCODING '{encoding}' TEMPLATE template0")
    with pytest.raises(StartupError, match=f"encoding {encoding}: create one with the encoding UTF8"):
        create_app(settings.model_copy(update={"store": url}))


def test_no_setting_of_the_server_changes_a_value_that_has_a_digest(start: Start, url: str, postgres: Postgres) -> None:
    name = url.rpartition("/")[2]
    for setting in (
        "extra_float_digits = -10",
        "bytea_output = escape",
        "DateStyle = German",
        "client_encoding = LATIN1",
    ):
        postgres.run(f"ALTER DATABASE {name} SET {setting}")
    client, other = start(url), start(url)
    reason = {"state": "paused", "reason": "日本語"}
    assert (step(client).status_code, client.put("/learning", json=reason).status_code) == (200, 200)
    assert other.get("/learning").json["reason"] == "日本語"
    assert client.put("/learning", json={"state": "learning"}).status_code == 200
    assert other.post("/predict", json=as_json(X), headers={"X-Min-Model-Version": "4"}).status_code == 200
    assert start(url).get("/examples").status_code == 200


def test_a_pooler_that_keeps_no_session_is_refused(settings: Settings, url: str, postgres: Postgres) -> None:
    pooler = Pooler(postgres.port)
    try:
        with pytest.raises(StartupError, match="a pooler in transaction mode"):
            create_app(settings.model_copy(update={"store": f"{through(pooler, postgres, url)}?sslmode=disable"}))
    finally:
        pooler.close()


def test_an_older_release_writes_nothing_into_a_store_that_a_newer_one_has_migrated(
    start: Start, settings: Settings, url: str, postgres: Postgres
) -> None:
    client = start(url)
    postgres.run("UPDATE store SET schema_version = schema_version + 1", url.rpartition("/")[2])
    assert "a newer release has migrated the store" in is_problem(step(client), 503)["detail"]
    assert version(client) == 1
    with pytest.raises(StoreError, match="newer release"):
        client.app.extensions[EXTENSION].learner.pause("why")


def test_schemas_of_one_database_share_neither_lock_nor_channel(start: Start, url: str, postgres: Postgres) -> None:
    name = url.rpartition("/")[2]
    for schema in ("a", '"B c"'):
        postgres.run(f"CREATE SCHEMA {schema}", name)
    first = start(f"{url}?options=-csearch_path%3Da")
    with first.app.extensions[EXTENSION].log.database.opening():
        second = start(f"{url}?options=-csearch_path%3D%22B%5C%20c%22")
    assert step(second).json["model_version"] == 2
    assert version(first) == 1
    channels = {row[0] for row in postgres.run("SELECT query FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")}
    assert not channels & {"LISTEN twolayernet"}


def test_a_start_that_is_cut_off_keeps_the_next_one_waiting_no_longer_than_its_transaction(
    start: Start, url: str, postgres: Postgres
) -> None:
    client = start(url)
    with client.app.extensions[EXTENSION].log.database.opening():
        held = postgres.run(
            "SELECT state FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' "
            "AND mode = 'ExclusiveLock'"
        )
    assert held == [("idle in transaction",)]  # ended by idle_in_transaction_session_timeout
    assert postgres.run("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'") == []


def test_a_store_elsewhere_on_the_search_path_is_not_passed_over(
    start: Start, settings: Settings, url: str, postgres: Postgres
) -> None:
    client = start(url)
    postgres.run("CREATE SCHEMA twolayernet", url.rpartition("/")[2])
    with pytest.raises(StartupError, match=r"the schema twolayernet, .* has no store, but the schema public has one"):
        create_app(settings.model_copy(update={"store": url}))
    assert step(client).json["model_version"] == 2
    assert version(start(f"{url}?options=-csearch_path%3Dpublic")) == 2


def test_a_host_whose_clock_is_ahead_takes_nothing_from_the_others(
    start: Start, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, ahead = start(url), start(url)
    ids = client.post("/predict?remember=true", json=as_json(X)).json["prediction_ids"]
    now = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + 8 * 86_400)
        assert step(ahead).status_code == 200
    assert [one["prediction_id"] for one in client.get("/predictions").json["predictions"]] == ids[::-1]
    newest = client.app.extensions[EXTENSION].replica.newest().version
    with client.app.extensions[EXTENSION].log.reading() as reader:
        assert abs(reader.version(newest).version.created_at - now()) < 3600


def test_settings_that_differ_between_hosts_are_reported_at_the_start(
    start: Start, settings: Settings, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    start(url)
    capsys.readouterr()
    start(url, announce=True)
    assert "WARNING" not in capsys.readouterr().err
    start(url, announce=True, remember_days=0.5, alarm_false_every=5000)
    said = capsys.readouterr().err
    assert "WARNING: TWOLAYERNET_REMEMBER_DAYS is 0.5, and was 7.0" in said
    assert "WARNING: TWOLAYERNET_ALARM_FALSE_EVERY is 5000, and was 1000000" in said
    start(url, announce=True, remember_days=0.5, alarm_false_every=5000)
    assert "WARNING" not in capsys.readouterr().err


def test_a_keyed_step_takes_four_round_trips_and_two_of_them_while_it_has_the_lock(
    start: Start, network: Network, url: str, postgres: Postgres
) -> None:
    client = start(through(network, postgres, url))
    for _ in range(8):  # until the statements are prepared
        step(client, **{"Idempotency-Key": f"before {_}"})
    network.trips = 0
    step(client)
    plain, network.trips = network.trips, 0
    step(client, **{"Idempotency-Key": "counted"})
    assert (plain, network.trips) == (2, 4)


def test_a_long_history_is_never_in_memory_as_a_whole(start: Start, url: str) -> None:
    client = start(url, rehearse=0, max_body_bytes=2**25)
    stream = io.BytesIO()
    np.savez(stream, x=np.zeros((5000, 784), np.uint8), t=np.zeros(5000, np.int64))
    for _ in range(20):
        assert client.post("/train-step", data=stream.getvalue(), content_type="application/x-npz").status_code == 200
    with client.app.extensions[EXTENSION].log.reading() as reader:
        tracemalloc.start()
        counts = [len(taken.examples.labels) for taken in reader.steps(0, AFTER_ALL)]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (counts, peak < 12 * 5000 * 784) == ([5000] * 20, True)


def test_a_server_that_works_for_long_is_waited_for_and_one_that_is_silent_is_not(
    start: Start, network: Network, url: str, postgres: Postgres
) -> None:
    client = start(through(network, postgres, url))
    with client.app.extensions[EXTENSION].log.reading() as reader:
        assert reader.session.run("SELECT 1 FROM pg_sleep(5)").fetchone() == (1,)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("53100", "disk is full"),
        ("53300", "no connection left"),
        ("57014", "took too long"),
        ("55P03", "other workers"),
    ],
)
def test_the_client_is_told_what_is_the_matter_with_the_database(
    start: Start, url: str, postgres: Postgres, state: str, message: str
) -> None:
    client = start(url)
    name = url.rpartition("/")[2]
    postgres.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN RAISE EXCEPTION 'somewhere' USING ERRCODE = '{state}'; END$$",
        name,
    )
    postgres.run("CREATE TRIGGER refuse BEFORE INSERT ON versions EXECUTE FUNCTION refuse()", name)
    detail = is_problem(step(client), 503)["detail"]
    assert (message in detail, "somewhere" in detail) == (True, False)
    assert version(client) == 1


def test_connections_that_are_used_up_are_told_from_a_server_that_is_away(
    start: Start, url: str, postgres: Postgres
) -> None:
    client, name = start(url), url.rpartition("/")[2]
    postgres.run("CREATE ROLE guest LOGIN CONNECTION LIMIT 0")
    postgres.run("GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC", name)
    guest = url.replace("twolayernet@", "guest@")
    with pytest.raises(StoreAwayError, match="too many connections"):
        create_app(client.app.extensions[EXTENSION].settings.model_copy(update={"store": guest}))
    postgres.run("ALTER ROLE guest CONNECTION LIMIT -1")
    postgres.run("GRANT ALL ON ALL TABLES IN SCHEMA public TO guest", name)
    late = start(guest)
    postgres.run("ALTER ROLE guest CONNECTION LIMIT 0")
    postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'guest'")
    assert "no connection left" in is_problem(step(late), 503)["detail"]
    late.close()
    postgres.run("DROP OWNED BY guest", name)
    postgres.run("DROP ROLE guest")


@pytest.mark.parametrize("user", ["u:p@ss:w0rd@127.0.0.1:21102", "u:s3cr@127.0.0.1:port", "u:pa/ss@wo/rd@127.0.0.1"])
def test_of_a_password_nothing_is_shown(settings: Settings, user: str) -> None:
    with pytest.raises(StartupError) as error:
        create_app(settings.model_copy(update={"store": f"postgresql+psycopg://{user}/db"}))
    assert "%40" in str(error.value)
    assert not any(part in str(error.value) for part in ("ss:", "w0rd", "s3cr", "ss@", "wo/"))


def test_staleness_is_in_every_answer_of_the_model_and_may_have_a_limit(start: Start, postgres: Postgres) -> None:
    url = postgres.new_database()
    client, strict = start(url), start(url, max_staleness=1.5)
    infer = {"inputs": [{"name": "images", "datatype": "FP32", "shape": [1, 784], "data": [0.0] * 784}]}
    postgres.stop()
    try:
        wait_for(lambda: strict.get("/readyz").status_code == 503)
        assert "newest version" in is_problem(strict.post("/predict", json=as_json(X)), 503)["detail"]
        for answer in (
            client.post("/predict", json=as_json(X)),
            client.post("/v2/models/twolayernet/infer", json=infer),
            client.get("/weights"),
        ):
            assert (answer.status_code, float(answer.headers["X-Model-Staleness"]) > 1) == (200, True)
        metric = re.search(rb"^twolayernet_model_staleness_seconds (.*)$", client.get("/metrics").data, re.MULTILINE)
        assert metric is not None
        assert float(metric[1]) > 1
    finally:
        postgres.start()
    wait_for(lambda: strict.post("/predict", json=as_json(X)).status_code == 200)


def test_a_start_waits_for_its_database(settings: Settings, postgres: Postgres) -> None:
    url = postgres.new_database()
    postgres.stop()
    with pytest.raises(StoreAwayError):
        create_app(settings.model_copy(update={"store": url}))
    with ThreadPoolExecutor(1) as threads:
        started = threads.submit(create_app, settings.model_copy(update={"store": url, "store_wait": 60.0}))
        postgres.start()
        client = Client(started.result(60))
    assert version(client) == 1
    client.close()


def test_store_status_shows_what_there_is_and_which_hosts_use_it(start: Start, settings: Settings, url: str) -> None:
    client = start(url)
    wait_for(lambda: "(1)" in CliRunner().invoke(main, ["store", "status", url]).output)
    shown = CliRunner().invoke(main, ["store", "status", url])
    for line in ("engine: PostgreSQL", "schema: 1", "newest version: 1,", "remember_days=7.0", socket.gethostname()):
        assert line in shown.output
    client.close()
    assert "hosts (workers): none\n" in CliRunner().invoke(main, ["store", "status", url]).output
    start(settings.store).close()
    assert "engine: SQLite" in CliRunner().invoke(main, ["store", "status", settings.store]).output
    assert CliRunner().invoke(main, ["store", "status", f"{settings.store}x"]).exit_code == 2


def test_a_server_that_is_not_there_and_a_database_of_others_are_said(
    settings: Settings, url: str, postgres: Postgres
) -> None:
    with pytest.raises(StoreError, match=r"can.t be reached"):
        create_app(settings.model_copy(update={"store": "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"}))
    with pytest.raises(StartupError, match=r"postgresql\+psycopg://"):
        create_app(settings.model_copy(update={"store": "postgresql://nobody@127.0.0.1/none"}))
    postgres.run("CREATE TABLE others (id int)", url.rpartition("/")[2])
    with pytest.raises(StartupError, match="the database is not a store"):
        create_app(settings.model_copy(update={"store": url}))


def test_connections_that_are_terminated_are_made_anew(start: Start, url: str, postgres: Postgres) -> None:
    client, other = start(url), start(url)
    step(client)
    for number in range(3, 6):
        assert postgres.terminate_connections(url) >= 2
        assert step(client).json["model_version"] == number
        wait_for(lambda number=number: version(other) == number)  # type: ignore[misc]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_predict_goes_on_without_the_database_and_steps_when_it_is_back(
    start: Start, how: str, postgres: Postgres
) -> None:
    url = postgres.new_database()
    client = start(url)
    step(client)
    getattr(postgres, how)()
    try:
        is_problem(step(client), 503)
        assert version(client) == 2
        wait_for(lambda: "X-Model-Staleness" in client.post("/predict", json=as_json(X)).headers)
        ready = client.get("/readyz")
        assert (ready.status_code, ready.json["model_version"], ready.json["staleness"] > 0.9) == (200, 2, True)
        is_problem(client.post("/predict", json=as_json(X), headers={"X-Min-Model-Version": "3"}), 503)
    finally:
        postgres.start()
    wait_for(lambda: step(client).status_code == 200)
    assert client.get("/versions").json["versions"][0]["model_version"] == version(client) == 3
    wait_for(lambda: "X-Model-Staleness" not in client.post("/predict", json=as_json(X)).headers)
    assert "staleness" not in client.get("/readyz").json


def test_a_network_that_stalls_holds_up_no_predict_and_is_found_out(
    start: Start, network: Network, url: str, postgres: Postgres
) -> None:
    client, other = start(through(network, postgres, url)), start(url)
    step(client)
    network.stalled = True
    is_problem(step(client), 503)
    is_problem(step(client), 503)
    answer = client.post("/predict", json=as_json(X))
    assert (answer.json["model_version"], float(answer.headers["X-Model-Staleness"]) > 1) == (2, True)
    wait_for(lambda: step(other).status_code == 200)  # who was cut off does not keep the others waiting
    network.stalled = False
    wait_for(lambda: version(client) == version(other))
    wait_for(lambda: step(client).status_code == 200)


def test_a_commit_whose_answer_was_lost_is_found(start: Start, network: Network, url: str, postgres: Postgres) -> None:
    client = start(through(network, postgres, url))
    network.after, network.cut_at = True, b"COMMIT\0"
    assert step(client).json["model_version"] == 2
    assert [version["model_version"] for version in client.get("/versions").json["versions"]] == [2, 1]


def test_a_lost_commit_of_a_remembered_prediction_is_settled_too(
    start: Start, network: Network, url: str, postgres: Postgres
) -> None:
    client = start(through(network, postgres, url))

    def remember() -> Any:
        return client.post("/predict?remember=true", json=as_json(X[:1]))

    network.after, network.cut_at = True, b"COMMIT\0"
    (id_,) = remember().json["prediction_ids"]
    assert [one["prediction_id"] for one in client.get("/predictions").json["predictions"]] == [id_]
    network.after, network.cut_at = True, b"COMMIT\0"
    assert client.delete(f"/predictions/{id_}").status_code == 204
    assert client.get("/predictions").json["predictions"] == []
    network.after, network.cut_at = False, b"COMMIT\0"
    assert "nothing has changed" in is_problem(remember(), 503)["detail"]
    assert client.get("/predictions").json["predictions"] == []


def test_a_commit_that_did_not_arrive_is_said_to_have_changed_nothing(
    start: Start, network: Network, url: str, postgres: Postgres
) -> None:
    client = start(through(network, postgres, url))
    network.cut_at = b"COMMIT\0"
    assert "nothing has changed" in is_problem(step(client), 503)["detail"]
    assert step(client).json["model_version"] == 2


@pytest.mark.parametrize("arrives", [True, False])
def test_where_it_can_t_be_known_the_key_tells(
    start: Start, network: Network, url: str, postgres: Postgres, arrives: bool
) -> None:
    client = start(through(network, postgres, url))
    network.after, network.cut_at = arrives, b"COMMIT\0"
    network.for_good = True
    assert "Idempotency-Key" in is_problem(step(client, **{"Idempotency-Key": "k"}), 503)["detail"]
    network.refused = False
    wait_for(lambda: step(client, **{"Idempotency-Key": "k"}).status_code == 200)
    assert [version["model_version"] for version in client.get("/versions").json["versions"]] == [2, 1]


def test_a_store_is_copied_there_and_back_with_its_history(
    start: Start, settings: Settings, url: str, tmp_path: Path
) -> None:
    client = start(settings.store, snapshot_every=3)
    for seed in range(8):
        client.post("/train-step", json=as_json(*random_batch(3, seed)), headers={"Idempotency-Key": str(seed)})
    client.post("/rollback", json={"model_version": 4})
    client.post("/unlearn", json={"model_versions": [3]})
    client.put("/learning", json={"state": "paused"})
    client.put("/learning", json={"state": "learning"})
    client.close()
    back = f"sqlite:///{tmp_path}/back.db"
    for source, target in ((settings.store, url), (url, back)):
        done = CliRunner().invoke(main, ["store", "copy", source, target])
        assert (done.exit_code, done.output) == (0, "copied: the newest version is 13\n")
        again = CliRunner().invoke(main, ["store", "copy", source, target])
        assert again.exit_code == 2
        assert "is not empty" in again.output
        copy = start(target)
        assert copy.get("/versions").json == client.get("/versions").json
        for number in range(1, 14):
            path = f"/weights?model_version={number}"
            assert copy.get(path).data == client.get(path).data
        assert copy.get("/examples?rehearsed=true").data == client.get("/examples?rehearsed=true").data
        assert copy.post("/train-step", json=as_json(*random_batch(3, 5)), headers={"Idempotency-Key": "5"}).json == (
            client.post("/train-step", json=as_json(*random_batch(3, 5)), headers={"Idempotency-Key": "5"}).json
        )
        in_use = CliRunner().invoke(main, ["store", "copy", target, f"sqlite:///{tmp_path}/none.db"])
        assert (in_use.exit_code, "a service uses the store" in in_use.output) == (2, True)
        copy.close()


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_backup_and_restore_say_what_to_use_instead(url: str, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    done = CliRunner().invoke(main, [command, "--store", url, str(tmp_path / "file")])
    assert done.exit_code == 2
    assert "pg_dump" in done.output
