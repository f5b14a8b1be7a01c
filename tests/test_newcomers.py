"""Mistakes that are easily made: each gets one line that says what is wrong and what would be right."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr
from werkzeug.serving import make_server

from model.weights_file import Weights
from service.app import create_app
from service.cli import main
from service.cli.service_client import ask, key_of_the_environment
from service.errors import ServiceError, StartupError
from service.server import healthcheck
from service.server.address import for_whom
from service.settings import Settings, load_settings
from tests.conftest import Client

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder and an environment of the test's own: `serve` writes its options into the environment."""
    monkeypatch.chdir(tmp_path)
    with patch.dict(os.environ):
        yield


def twolayernet(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def one_line(result: Result, exit_code: int) -> str:
    assert result.exit_code == exit_code, result.output
    [line] = result.stderr.splitlines()
    return line


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def test_serving_twice_says_that_the_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = one_line(twolayernet("serve", "--port", str(port)), 4)
    assert f"can't listen on 127.0.0.1:{port}: Address already in use (something listens there already" in line
    assert "--port" in line
    assert "Errno" not in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "99999"], "--port is '99999': expected 65535 or less"),
        (["--keep-versions", "0"], "--keep-versions is '0': expected 1 or more"),
        (["--learning-rate", "nan"], "--learning-rate is 'nan': expected"),
        (["--store", ""], "--store is empty"),
    ],
)
def test_a_bad_option_is_named_as_it_was_given(arguments: list[str], message: str) -> None:
    assert message in one_line(twolayernet("serve", *arguments), 2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TWOLAYERNET_PORT", "eighty", "TWOLAYERNET_PORT is 'eighty': expected a whole number"),
        ("TWOLAYERNET_SERVER", "uwsgi", "TWOLAYERNET_SERVER is 'uwsgi': expected 'gunicorn' or 'granian'"),
        ("TWOLAYERNET_GRADIENT_NORM_LIMIT", "0", "TWOLAYERNET_GRADIENT_NORM_LIMIT is '0': expected more than 0"),
    ],
)
def test_a_bad_variable_is_named_with_what_it_holds(name: str, value: str, message: str) -> None:
    os.environ[name] = value
    assert message in one_line(twolayernet("serve"), 2)


@pytest.mark.parametrize("name", ["keep_versions", "gradient_norm_limit"])
def test_none_is_no_limit(name: str) -> None:
    os.environ[f"TWOLAYERNET_{name.upper()}"] = "none"
    assert getattr(load_settings(), name) is None
    with socket.create_server(("127.0.0.1", 0)) as taken:  # so that it ends where the options have been read
        port = str(taken.getsockname()[1])
        assert "can't listen" in one_line(
            twolayernet("serve", f"--{name.replace('_', '-')}", "none", "--port", port), 4
        )


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/var/lib/store.db", "'/var/lib/store.db'"),
        ("postgresql//me:secret@db/x", "'postgresql://***@db/x'"),
        ("me:secret@db", "'me://***@db'"),
        ("x?password=secret", "'x'"),
    ],
)
def test_a_store_that_is_no_url_is_named_and_shown_without_its_password(url: str, shown: str) -> None:
    line = one_line(twolayernet("backup", "--store", url, "copy.db"), 2)
    assert f"the store (--store, TWOLAYERNET_STORE) is {shown}: expected a database URL, such as sqlite:///" in line
    assert "secret" not in line


@pytest.mark.parametrize("address", ["127.0.0.1:8702", "localhost:8702"])
def test_an_address_without_http_is_said(address: str, weights: Weights) -> None:
    for command in (["publish", "weights.npz", "--url", address], ["train", "--examples", address]):
        line = one_line(twolayernet(*command), 2)
        assert f"does not begin with http:// or https://: did you mean http://{address}" in line


def test_a_refused_connection_is_said_in_the_system_s_words() -> None:
    with pytest.raises(ServiceError, match=r"does not answer: Connection refused: is the service running there\?"):
        ask("GET", f"http://127.0.0.1:{free_port()}/weights")


def test_a_key_may_end_with_the_newline_of_its_file(settings: Settings) -> None:
    os.environ["TWOLAYERNET_API_KEY"] = "of-a-secret\n"
    assert load_settings().keys("api_key") == ["of-a-secret"]
    with pytest.raises(ServiceError, match="Connection refused"):  # and no header that can't be sent
        ask("GET", f"http://127.0.0.1:{free_port()}/weights")
    closed = Client(create_app(settings.model_copy(update={"api_key": load_settings().api_key})))
    assert closed.get("/weights", headers={"Authorization": "Bearer of-a-secret"}).status_code == 200


def test_a_key_from_a_file_of_windows_is_sent_without_its_marks() -> None:
    os.environ["TWOLAYERNET_API_KEY"] = "\ufeffof-a-secret\r"
    assert key_of_the_environment() == "of-a-secret"
    Path("key").write_text("\ufeffanother\r\n", "utf-8")
    del os.environ["TWOLAYERNET_API_KEY"]
    os.environ["TWOLAYERNET_API_KEY_FILE"] = "key\r"
    assert key_of_the_environment() == "another"


def test_an_empty_file_is_no_key() -> None:
    Path("key").write_text("\n")
    assert "--api-key is empty" in one_line(twolayernet("serve", "--api-key", "key"), 2)


def test_a_backup_says_what_it_wrote_and_a_missing_folder_is_said(settings: Settings) -> None:
    Client(create_app(settings)).close()
    assert "nowhere/copy.db: No such file" in one_line(
        twolayernet("backup", "--store", settings.store, "nowhere/copy.db"), 2
    )
    said = twolayernet("backup", "--store", settings.store, "copy.db")
    assert said.exit_code == 0, said.output
    assert said.output == (
        f"backup: {Path('copy.db').stat().st_size} bytes, of the store {settings.store[10:]}, in copy.db\n"
    )


def test_a_reader_that_goes_away_is_no_error(settings: Settings) -> None:
    Client(create_app(settings)).close()
    command = [sys.executable, "-m", "service.cli", "backup", "--store", settings.store, "-"]
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_it_is_said_whether_a_key_is_wanted(settings: Settings) -> None:
    key = SecretStr("k")
    assert for_whom(settings).startswith("open")
    assert for_whom(settings.model_copy(update={"api_key": key})).startswith("with a key")
    assert for_whom(settings.model_copy(update={"api_key": key, "api_key_predict": key})).startswith("with keys")


def test_a_key_to_predict_alone_is_a_mistake_without_the_key_in_it() -> None:
    os.environ["TWOLAYERNET_API_KEY_PREDICT"] = "secret"
    with pytest.raises(StartupError, match="anyone could train") as error:
        load_settings()
    assert "secret" not in str(error.value)


@contextmanager
def served(settings: Settings, host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """The service in this process, behind the server of `flask run`."""
    server = make_server(host, 0, create_app(settings), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield host, server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("content_type", "length", "status"),
    [("text/plain", 100, 415), ("text/plain", 300_000, 415), ("application/json", 100, 422)],
)
def test_flask_run_ends_an_early_error_by_itself(
    settings: Settings, content_type: str, length: int, status: int
) -> None:
    """`read` returns when the server closes the connection; a server that waits for the client never does."""
    with served(settings) as address, socket.create_connection(address, timeout=20) as client:
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {length}"
        client.sendall(head.encode() + b"\r\n\r\n" + b" " * length)
        with client.makefile("rb") as answer:
            assert answer.read().startswith(f"HTTP/1.1 {status} ".encode())


def test_the_health_check_asks_where_the_service_listens(settings: Settings) -> None:
    with served(settings, "127.0.0.2") as (host, port):
        os.environ.update(TWOLAYERNET_HOST=host, TWOLAYERNET_PORT=f"{port}\r")
        assert healthcheck.main() == 0
        os.environ["TWOLAYERNET_HOST"] = "127.0.0.3"
        assert healthcheck.main() == 1


def test_an_ipv6_address_may_be_in_brackets() -> None:
    os.environ["TWOLAYERNET_HOST"] = "[::1]"
    assert load_settings().host == "::1"


def make(*arguments: str, **environment: str) -> str:
    """As a person would call it: without what a `make test VENV=…` that runs this test passes on."""
    command = ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), *arguments]
    inherited = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKEOVERRIDES")}
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=20, env={**inherited, **environment}
    ).stdout


def test_make_alone_lists_every_word() -> None:
    said = make()
    assert said == make("help")
    for word in ("serve", "test", "lint", "fix", "bench", "clean", "forget"):
        assert f"make {word} " in said


def test_make_serve_takes_a_port() -> None:
    dry = ["-n", "-o", ".venv/run", "-o", "weights.npz", "serve"]
    Path("weights.npz").touch()
    assert make(*dry, PORT="8001").endswith("twolayernet serve --port 8001\n")
    assert make(*dry).rstrip().endswith("twolayernet serve")


def test_make_clean_leaves_what_was_learnt_and_make_forget_says_what_it_deletes() -> None:
    learnt = ["weights.npz", "twolayernet.db", "twolayernet.db-wal"]
    for name in [*learnt, "other.db"]:
        Path(name).touch()
    Path("__pycache__").mkdir()
    make("clean")
    assert sorted(path.name for path in Path().iterdir()) == sorted([*learnt, "other.db"])
    said = make("forget")
    assert [path.name for path in Path().iterdir()] == ["other.db"]
    for name in learnt:
        assert name in said
