"""The images and the stack on a real Docker engine. Needs one, and the images twolayernet and twolayernet-train."""

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from model.datasets import packaged_digits
from service.store.write_lock import BUSY
from tests.conftest import as_json
from tests.postgres import free_port

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
MOST_MEGABYTES_ON_THE_BASE = 310
DIGITS = packaged_digits().test
LESSON = as_json(DIGITS.images[::50], DIGITS.labels[::50])
KEY = "a-key-of-the-tests"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
REQUESTS = int(os.environ.get("TEST_REQUESTS", "2000"))
"""That have to be answered while the service is reloaded or restarted."""


def docker(*arguments: str, data: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    result = subprocess.run(["docker", *arguments], input=data, capture_output=True, check=False, timeout=300)
    if check:
        assert result.returncode == 0, (arguments, result.stderr.decode())
    return result


def inspect(container: str, part: str) -> Any:
    return json.loads(docker("inspect", container).stdout)[0][part]


def wait_until_healthy(container: str) -> None:
    deadline = time.monotonic() + 180
    while inspect(container, "State")["Health"]["Status"] != "healthy":
        assert time.monotonic() < deadline, docker("logs", container).stderr.decode()
        time.sleep(0.2)


class Stack:
    """`docker compose` in a folder of its own, with a project name and a port of its own.

    added: files of deploy/compose that are added to docker-compose.yml.
    """

    def __init__(self, folder: Path, *added: str, **environment: str) -> None:
        self.folder = folder
        self.files = ["docker-compose.yml", *(f"deploy/compose/{name}.yml" for name in added)]
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = {"TWOLAYERNET_PUBLISH": f"127.0.0.1:{self.port}", **environment}
        self.env_file = folder / "stack.env"
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self.project = f"twolayernet-test-{os.getpid()}-{self.port}"

    def compose(self, *arguments: str, data: bytes | None = None, check: bool = True) -> Any:
        files = [option for name in self.files for option in ("-f", str(ROOT / name))]
        options = ("-p", self.project, *files, "--env-file", str(self.env_file))
        return docker("compose", *options, *arguments, data=data, check=check)

    def set(self, **environment: str) -> None:
        with self.env_file.open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in environment.items())

    def secret(self, name: str, text: str) -> str:
        """A file with it, as the documentation has it: in a folder that only its owner can enter."""
        (self.folder / "secrets").mkdir(mode=0o700, exist_ok=True)
        file = self.folder / "secrets" / name
        file.write_text(text)
        file.chmod(0o644)
        return str(file)

    @contextmanager
    def nginx(self, *added: str, **environment: str) -> Iterator[None]:
        """nginx alone started anew, with more settings, and as it was afterwards."""
        files, text = self.files, self.env_file.read_text()
        self.set(**environment)
        self.files = [*files, *(f"deploy/compose/{name}.yml" for name in added)]
        start = ("up", "--detach", "--no-deps", "--wait", "--wait-timeout", "60", "nginx")
        try:
            self.compose(*start)
            yield
        finally:
            self.files = files
            self.env_file.write_text(text)
            self.compose(*start)

    def remove(self) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--timeout", "20", check=False)

    def up(self, *more: str) -> None:
        self.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "180", *more, "nginx")

    def containers(self, service: str = "serve") -> list[str]:
        return str(self.compose("ps", "--all", "--quiet", service).stdout.decode()).split()

    def container(self, service: str = "serve") -> str:
        [only] = self.containers(service)
        return only

    def state(self) -> Any:
        return inspect(self.container(), "State")

    def post(self, path: str, body: Any, **options: Any) -> Any:
        answer = requests.post(self.url + path, json=body, timeout=20, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def newest(self, **options: Any) -> int:
        newest = requests.get(f"{self.url}/versions?limit=1", timeout=20, **options).json()["versions"][0]
        return int(newest["model_version"])


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack for tests that leave it as it was, but for more versions."""
    made = Stack(tmp_path_factory.mktemp("standing"))
    made.up()
    yield made
    made.remove()


def test_up_learn_kill_up_and_nothing_is_lost(stack: Stack) -> None:
    stack.up()
    assert stack.post("/accuracy", LESSON)["accuracy"] > 0.9
    for version in (2, 3):
        assert stack.post("/train-step", LESSON)["model_version"] == version
    answer = stack.post("/predict", as_json(DIGITS.images[:3]))

    docker("kill", "--signal", "KILL", stack.container())
    stack.up()
    assert stack.post("/predict", as_json(DIGITS.images[:3])) == answer

    assert stack.post("/rollback", {"model_version": 1})["model_version"] == 4
    stack.compose("down", "--timeout", "20")
    stack.up()
    assert stack.newest() == 4
    logs = stack.compose("logs", "train").stdout.decode()
    assert "/data/weights.npz already exists" in logs


def test_a_worker_that_is_killed_inside_the_container_is_replaced(stack: Stack) -> None:
    stack.up()
    docker("exec", stack.container(), "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)")
    assert stack.post("/train-step", LESSON)["model_version"] == 2
    assert stack.state()["Running"]


def test_stop_is_clean_before_docker_kills(stack: Stack) -> None:
    stack.up()
    container = stack.container()
    docker("stop", "--time", "30", container)
    assert inspect(container, "State")["ExitCode"] == 0


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """A closed stack on either store."""
    made = Stack(tmp_path, POSTGRES_PASSWORD="p@ss/w:rd", TWOLAYERNET_TRUSTED_HOSTS="127.0.0.1")
    if request.param == "postgres":
        made.files.append("deploy/compose/postgres.yml")
    made.set(TWOLAYERNET_API_KEY_FILE=made.secret("api-key", f"{KEY}\n"))
    yield made
    made.remove()


def test_every_documented_command_works_on_either_store(either: Stack) -> None:
    on_postgres = len(either.files) > 1
    either.up()
    assert either.post("/train-step", LESSON, headers=AUTHORIZED)["model_version"] == 2
    # Another worker answers, and on PostgreSQL it may not have heard of the step yet.
    answer = either.post("/predict", as_json(DIGITS.images[:3]), headers=AUTHORIZED | {"X-Min-Model-Version": "2"})

    either.compose("kill", "-s", "HUP", "serve")
    if on_postgres:
        dump = ("pg_dump", "--username", "twolayernet", "--format", "custom", "twolayernet")
        copy = either.compose("exec", "-T", "postgres", *dump).stdout
        refused = either.compose("exec", "-T", "serve", "twolayernet", "backup", "-", check=False)
        assert refused.returncode == 2
        assert b"pg_dump" in refused.stderr
    else:
        copy = either.compose("exec", "-T", "serve", "twolayernet", "backup", "-").stdout

    retrained = ("--examples", "http://serve:8000", "--hidden", "200", "--distort", "1.5", "--out", "/data/new.npz")
    either.compose("run", "--rm", "-T", "train", *retrained)
    publish = ("publish", "/data/new.npz", "--url", "http://serve:8000")
    published = either.compose("run", "--rm", "-T", "--entrypoint", "twolayernet", "train", *publish)
    assert b"published as version 3" in published.stdout
    assert either.newest(headers=AUTHORIZED) == 3

    either.up("--scale", "serve=2")
    assert len(either.containers()) == 2
    assert either.post("/train-step", LESSON, headers=AUTHORIZED)["model_version"] == 4
    assert b"4" in either.compose("logs", "serve").stdout
    either.compose("down", "--timeout", "20")
    either.up()
    assert either.newest(headers=AUTHORIZED) == 4

    either.compose("stop", "serve")
    if on_postgres:
        load = ("pg_restore", "--username", "twolayernet", "--dbname", "twolayernet", "--clean", "--if-exists")
        either.compose("exec", "-T", "postgres", *load, data=copy)
    else:
        restore = ("run", "--rm", "--no-deps", "-T", "serve", "restore", "-")
        assert either.compose(*restore, data=b"x" * 9000, check=False).returncode == 2
        assert b"the newest version is 2" in either.compose(*restore, data=copy).stdout
    either.up()
    assert either.post("/predict", as_json(DIGITS.images[:3])) == answer


def test_a_store_with_history_moves_to_postgresql_and_is_what_answers(stack: Stack) -> None:
    stack.up()
    for _ in range(3):
        stack.post("/train-step", LESSON)
    answer = stack.post("/predict", as_json(DIGITS.images[:3]))
    stack.compose("stop", "serve")
    stack.files.append("deploy/compose/postgres.yml")
    refused = stack.compose("up", "--detach", "nginx", check=False)
    assert refused.returncode != 0
    assert b"POSTGRES_PASSWORD is missing a value: set it in .env" in refused.stderr
    stack.set(POSTGRES_PASSWORD="another")
    urls = ("sqlite:////data/twolayernet.db", "postgresql+psycopg://twolayernet@postgres/twolayernet")
    copied = stack.compose("run", "--rm", "-T", "serve", "store", "copy", *urls)
    assert b"the newest version is 4" in copied.stdout
    stack.up("--scale", "serve=2")
    assert stack.post("/predict", as_json(DIGITS.images[:3])) == answer
    assert stack.post("/train-step", LESSON)["model_version"] == 5
    assert all(b"/data/twolayernet.db" not in docker("logs", name).stderr for name in stack.containers())


def test_the_image_runs_read_only_without_capabilities_or_network_under_any_user(tmp_path: Path, stack: Stack) -> None:
    """The one that trained: its files are its own."""
    stack.compose(
        "run", "--rm", "-T", "--user", "12345", "train", "--epochs", "1", "--quiet", "--out", "/data/weights.npz"
    )
    name = f"{stack.project}-hardened"
    docker(
        "run", "--detach", "--name", name, "--read-only", "--cap-drop", "ALL", "--user", "12345", "--network", "none",
        "--volume", f"{stack.project}_data:/data", "twolayernet",
    )  # fmt: skip
    try:
        wait_until_healthy(name)
        ready = docker("exec", name, "python", "-m", "service.server.healthcheck").stdout
        assert json.loads(ready)["model_version"] == 1
        assert docker("exec", name, "id", "-u").stdout.strip() == b"12345"
    finally:
        docker("rm", "--force", name)


def test_the_image_holds_what_serving_needs_and_no_more() -> None:
    sizes = [
        int(docker("image", "inspect", "--format", "{{.Size}}", name).stdout)
        for name in ("twolayernet", "python:3.13-slim")
    ]
    assert (sizes[0] - sizes[1]) / 1e6 <= MOST_MEGABYTES_ON_THE_BASE
    config = json.loads(docker("image", "inspect", "twolayernet").stdout)[0]["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["twolayernet"]
    assert config["Labels"]["org.opencontainers.image.title"] == "twolayernet"
    for module in ("matplotlib", "pip", "requests", "pytest", "mlxtend"):
        found = docker(
            "run", "--rm", "--entrypoint", "/opt/venv/bin/python", "twolayernet", "-c", f"import {module}", check=False
        )
        assert found.returncode == 1, module


def test_a_key_in_a_file_closes_the_stack_under_its_prefix_and_is_shown_nowhere(tmp_path: Path) -> None:
    closed = Stack(tmp_path, TWOLAYERNET_PREFIX="/models/digits")
    closed.set(TWOLAYERNET_API_KEY_FILE=closed.secret("api-key", KEY))
    closed.set(TWOLAYERNET_API_KEY_PREDICT_FILE=closed.secret("api-key-predict", "another-key"))
    try:
        closed.up()
        url = f"{closed.url}/models/digits/train-step"
        assert requests.post(url, json=LESSON, timeout=20).status_code == 401
        assert requests.post(url, json=LESSON, headers=AUTHORIZED, timeout=20).json()["model_version"] == 2
        many = as_json(DIGITS.images, DIGITS.labels)
        assert requests.post(f"{closed.url}/models/digits/accuracy", json=many, timeout=20).status_code == 401
        headers = {"Authorization": "Bearer another-key"}
        assert closed.post("/models/digits/accuracy", many, headers=headers)["count"] == 1000
        assert is_problem(requests.get(f"{closed.url}/readyz", timeout=5))["status"] == 404
        containers = [name for service in ("train", "serve", "nginx") for name in closed.containers(service)]
        shown = closed.compose("logs").stdout + docker("inspect", *containers).stdout
        assert KEY.encode() not in shown
        assert b"another-key" not in shown
    finally:
        closed.remove()


def test_a_key_that_was_forgotten_is_refused(stack: Stack) -> None:
    stack.set(TWOLAYERNET_API_KEY_FILE="")
    refused = stack.compose("run", "--rm", "--no-deps", "-T", "serve", check=False)
    assert refused.returncode == 2
    assert "--api-key is empty" in (refused.stdout + refused.stderr).decode()


def test_only_nginx_is_published_and_only_on_this_machine(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.env_file.write_text("")
    services = json.loads(stack.compose("config", "--format", "json").stdout)["services"]
    assert {name for name, service in services.items() if "ports" in service} == {"nginx"}
    [port] = services["nginx"]["ports"]
    assert (port["host_ip"], port["published"]) == ("127.0.0.1", "8000")


def test_nginx_runs_as_no_root_without_capabilities_and_read_only(standing: Stack) -> None:
    assert inspect(standing.container("serve"), "NetworkSettings")["Ports"] == {"8000/tcp": None}
    nginx = standing.container("nginx")
    assert inspect(nginx, "NetworkSettings")["Ports"] == {
        "80/tcp": None, "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(standing.port)}]
    }  # fmt: skip
    assert docker("exec", nginx, "id", "-u").stdout.strip() == b"101"
    status = docker("exec", nginx, "cat", "/proc/1/status").stdout.decode()
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert docker("exec", nginx, "touch", "/etc/nginx/more", check=False).returncode != 0
    environment = docker("exec", standing.container(), "env").stdout.decode()
    assert "API_KEY" not in environment  # absent, not empty
    mounted = {mount["Source"] for mount in inspect(standing.container(), "Mounts") if mount["Type"] == "bind"}
    assert mounted == {"/dev/null"}


def is_problem(answer: requests.Response) -> dict[str, Any]:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    problem: dict[str, Any] = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "errors"}
    assert problem["status"] == answer.status_code
    return problem


def test_the_errors_of_nginx_are_problem_documents(tmp_path: Path) -> None:
    stack = Stack(tmp_path, TWOLAYERNET_MAX_BODY_BYTES="50000")
    try:
        stack.up()
        url = f"{stack.url}/predict"
        for body in (b"x" * 50001, iter([b"x" * 30000] * 2)):
            large = is_problem(requests.post(url, data=body, timeout=20))
            assert (large["status"], large["title"]) == (413, "Content Too Large")
            assert "50000" in large["detail"]
        most = requests.post(url, data=b" " * 50000, headers={"Content-Type": "application/json"}, timeout=20)
        assert is_problem(most)["status"] == 422
        assert is_problem(requests.get(url, headers={"Host": "not a host"}, timeout=20))["status"] == 400
        # From nginx or from the service, but never gunicorn's own page.
        for length in range(4000, 9000, 500):
            assert is_problem(requests.get(f"{url}?{'x' * length}", timeout=20))["status"] in (405, 414)
            assert is_problem(requests.get(url, headers={"X-Long": "x" * length}, timeout=20))["status"] in (405, 431)
        for count in range(50, 4000, 650):
            headers = {f"X-{number}": "x" for number in range(count)}
            assert is_problem(requests.get(url, headers=headers, timeout=20))["status"] in (405, 431)
        stack.compose("stop", "serve")
        away = requests.post(url, json={}, timeout=20)
        assert is_problem(away)["status"] in (502, 504)
        assert int(away.headers["Retry-After"]) > 0
        stack.up()
        assert is_problem(requests.post(url, json={}, timeout=20))["status"] == 422
    finally:
        stack.remove()


def test_requests_are_limited_by_address_and_by_key(standing: Stack) -> None:
    with standing.nginx(TWOLAYERNET_RATE="1r/m", TWOLAYERNET_RATE_BURST="6"):
        key = {"Authorization": "Bearer a-key"}
        answers = [requests.get(f"{standing.url}/readyz", headers=key, timeout=20) for _ in range(9)]
        assert [answer.status_code for answer in answers] == [200] * 7 + [429] * 2
        assert is_problem(answers[-1])["status"] == 429
        assert int(answers[-1].headers["Retry-After"]) > 0
        assert answers[-1].headers["X-Content-Type-Options"] == "nosniff"
        for number in range(9):  # an invented key counts for the address, too
            invented = {"Authorization": f"Bearer invented-{number}"}
            assert requests.get(f"{standing.url}/readyz", headers=invented, timeout=20).status_code == 429
        assert ask_from_elsewhere(standing, 10, **key) == [429], "a key has its limit wherever it comes from"
        assert ask_from_elsewhere(standing, 10) == [200], "others are not affected"


def test_a_client_that_stops_sending_is_sent_away(standing: Stack) -> None:
    with standing.nginx(TWOLAYERNET_CLIENT_SECONDS="1"):
        for part in (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", b"POST /predict HTTP/1.1\r\n"):
            with socket.create_connection(("127.0.0.1", standing.port), timeout=20) as slow:
                slow.sendall(part)
                answer = b""
                with suppress(ConnectionResetError):
                    answer = slow.recv(65536)
                assert answer == b"" or b" 408 " in answer[:20]


ASKER = """
import json, sys, urllib.error, urllib.request
size, *headers = json.loads(sys.argv[1])
body = json.dumps({"image": [0] * 784}).encode().ljust(size)
request = urllib.request.Request("http://nginx:8080/predict", body, dict(headers, **{"Content-Type": "application/json"}))
try:
    print(urllib.request.urlopen(request, timeout=30).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def ask_from_elsewhere(stack: Stack, *sizes: int, **headers: str) -> list[int]:
    """The statuses of predicts with bodies of these sizes, from an address of their own."""
    asked = ("run", "--rm", "--network", f"{stack.project}_default", "python:3.13-slim", "python3", "-c", ASKER)
    return [int(docker(*asked, json.dumps([size, *headers.items()])).stdout) for size in sizes]


def test_a_client_with_many_large_bodies_fills_nothing_and_others_notice_nothing(standing: Stack) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    unfinished = [16 << 20] * 50 + [90_000] * 60
    clients = [socket.create_connection(("127.0.0.1", standing.port), timeout=20) for _ in unfinished]
    try:
        for size, client in zip(unfinished, clients, strict=True):
            with suppress(ConnectionError):  # refused before it was sent
                client.sendall(head % size)
                client.sendall(b" " * (size - 70_000))
        refused = requests.post(f"{standing.url}/predict", data=b" " * 200_000, timeout=20)
        assert is_problem(refused)["status"] == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert ask_from_elsewhere(standing, 100, 200_000, 5_000_000) == [200, 200, 200]
    finally:
        for client in clients:
            client.close()
    assert b"No space left" not in standing.compose("logs", "nginx").stdout


def test_64_clients_at_once_get_no_error(standing: Stack) -> None:
    body = as_json(DIGITS.images[:1])
    with Load(standing.url, clients=64, step=False) as load:
        load.wait_for(REQUESTS)
    assert load.failed == []
    assert standing.post("/predict", body)


def test_tls_is_an_added_file(standing: Stack) -> None:
    key, certificate = standing.secret("privkey.pem", ""), standing.secret("fullchain.pem", "")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    Path(key).chmod(0o644)
    port = free_port()
    settings = {"TWOLAYERNET_CERTIFICATE": certificate, "TWOLAYERNET_CERTIFICATE_KEY": key}
    with standing.nginx("tls", TWOLAYERNET_PUBLISH_TLS=f"127.0.0.1:{port}", **settings):
        answer = requests.get(f"https://localhost:{port}/readyz", verify=certificate, timeout=20)
        assert answer.json()["status"] == "ready"
        missing = requests.get(f"https://localhost:{port}/-nginx/once", verify=certificate, timeout=20)
        assert is_problem(missing)["status"] == 404
        for each in (answer, missing):
            assert each.headers["Strict-Transport-Security"].startswith("max-age=")
        plain = requests.get(f"{standing.url}/readyz?x=1", allow_redirects=False, timeout=20)
        assert (plain.status_code, plain.headers["Location"]) == (308, "https://127.0.0.1/readyz?x=1")
        assert "Strict-Transport-Security" not in plain.headers


SWALLOWER = """
import socket
with socket.create_server(("", 8000)) as server:
    print("listening", flush=True)
    while True:
        connection, _ = server.accept()
        print(connection.recv(65536).decode().split(" HTTP")[0], flush=True)
        connection.close()
"""


def test_what_may_change_the_model_twice_is_never_sent_twice(stack: Stack) -> None:
    """Two services that take each request and close the connection without an answer."""
    stack.compose("up", "--detach", "--no-build", "--no-deps", "--wait", "nginx")
    names = [f"{stack.project}-swallower-{number}" for number in range(2)]
    try:
        for name in names:
            docker(
                "run", "--detach", "--name", name, "--network", f"{stack.project}_default",
                "--network-alias", "serve", "python:3.13-slim", "python3", "-c", SWALLOWER,
            )  # fmt: skip
        for name in names:
            while b"listening" not in docker("logs", name).stdout:
                time.sleep(0.1)
        key = {"Idempotency-Key": "a key"}
        once: list[tuple[str, dict[str, str]]] = [
            ("POST /train-step", {}), ("POST /rollback", {}), ("PUT /weights", {}), ("PUT /learning", key),
            ("POST /unlearn", key),
        ]  # fmt: skip
        again: list[tuple[str, dict[str, str]]] = [
            ("GET /versions", {}), ("POST /predict", {}), ("POST /m/accuracy?several=true", {}),
            ("POST /train-step?x=1", key), ("PUT /weights?activation=relu", key),
        ]  # fmt: skip
        for request, headers in (*once, *again):
            method, path = request.split()
            answer = requests.request(method, stack.url + path, data=b"abc", headers=headers, timeout=20)
            assert is_problem(answer)["status"] == 502
        sent = "".join(docker("logs", name).stdout.decode() for name in names).splitlines()
        counts = {request: sent.count(request) for request, _ in (*once, *again)}
        assert counts == {request: 1 for request, _ in once} | {request: 2 for request, _ in again}
    finally:
        docker("rm", "--force", *names, check=False)


class SlowClients:
    """Clients that send their head, send their body or read their answer a byte a second, in equal parts."""

    def __init__(self, port: int, count: int) -> None:
        head = b"POST /predict HTTP/1.1\r\nHost: slow\r\nContent-Type: application/json\r\n"
        begins = cycle([head, head + b"Content-Length: 3000\r\n\r\n", b"GET /weights HTTP/1.1\r\nHost: slow\r\n\r\n"])
        self.sockets = []
        for _ in range(count):
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            slow.connect(("127.0.0.1", port))
            slow.sendall(next(begins))
            self.sockets.append(slow)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stopped.wait(1):
            for number, slow in enumerate(self.sockets):
                if number % 3 == 2:
                    assert slow.recv(1)
                else:
                    slow.sendall(b"x")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        for slow in self.sockets:
            slow.close()


def test_slow_clients_hold_nobody_up(standing: Stack) -> None:
    """Four of them would take every thread of the service, for longer than a predict here waits for its answer."""
    body = as_json(DIGITS.images[:1])
    with SlowClients(standing.port, 64):
        for _ in range(50):
            standing.post("/predict", body)


class Load:
    """Threads that predict and, unless told otherwise, take train-steps by turns, until they are told to stop. They
    repeat a step that had to wait too long for the write lock, as on a machine that is busy with other tests."""

    def __init__(self, url: str, clients: int = 8, step: bool = True) -> None:
        self.url = url
        self.answered = 0
        self.acknowledged_steps = 0
        self.failed: list[str] = []
        self.step = step
        self._counted = threading.Condition()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def _run(self) -> None:
        step = [("/train-step", as_json(DIGITS.images[:1], DIGITS.labels[:1]))] if self.step else []
        bodies = cycle([("/predict", as_json(DIGITS.images[:1])), *step])
        with requests.Session() as session:
            while not self._stopped.is_set():
                path, body = next(bodies)
                try:
                    headers = {"Idempotency-Key": str(uuid4())} if path == "/train-step" else {}
                    answer = session.post(self.url + path, json=body, headers=headers, timeout=60)
                    while answer.status_code == 503 and BUSY in answer.text and not self._stopped.wait(0.1):
                        answer = session.post(self.url + path, json=body, headers=headers, timeout=60)
                    if BUSY in answer.text:
                        return  # told to stop
                    failure = "" if answer.status_code == 200 else f"{path}: {answer.text}"
                except requests.RequestException as error:
                    failure = f"{path}: {error!r}"
                with self._counted:
                    if failure:
                        self.failed.append(failure)
                    else:
                        self.answered += 1
                        self.acknowledged_steps += path == "/train-step"
                    self._counted.notify_all()

    def wait_for(self, answered: int) -> None:
        """Until so many more are answered, or one has failed."""
        with self._counted:
            reached = self.answered + answered
            assert self._counted.wait_for(lambda: self.answered >= reached or self.failed, timeout=120)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()


def test_no_request_is_lost_while_the_service_reloads(standing: Stack) -> None:
    before = standing.newest()
    with Load(standing.url) as load:
        while load.answered < REQUESTS and not load.failed:
            standing.compose("kill", "--signal", "HUP", "serve")
            load.wait_for(200)
    assert load.failed == []
    assert standing.newest() == before + load.acknowledged_steps


def test_no_request_is_lost_while_one_container_after_the_other_restarts(stack: Stack) -> None:
    stack.up("--scale", "serve=2")
    restarted = 0
    with Load(stack.url) as load:
        while (load.answered < REQUESTS or restarted < 2) and not load.failed:
            for container in stack.containers():
                docker("restart", "--time", "30", container)
                wait_until_healthy(container)
                time.sleep(2)  # so that nginx has asked for the addresses again
                restarted += 1
    assert load.failed == []
    assert stack.newest() == 1 + load.acknowledged_steps


PROMETHEUS = """FROM python:3.13-slim
RUN apt-get update -q && apt-get install -y -q --no-install-recommends prometheus
"""
"""Debian's, where the image of Prometheus can't be had."""


def test_prometheus_asks_each_container_of_a_closed_service_under_a_prefix(tmp_path: Path) -> None:
    docker(
        "build", "--quiet", "--network", "host", "--tag", "twolayernet-test-prometheus", "-", data=PROMETHEUS.encode()
    )
    port = free_port()
    stack = Stack(
        tmp_path, TWOLAYERNET_PREFIX="/models/digits",
        PROMETHEUS_IMAGE="twolayernet-test-prometheus", TWOLAYERNET_PROMETHEUS=f"127.0.0.1:{port}",
    )  # fmt: skip
    stack.set(TWOLAYERNET_API_KEY_FILE=stack.secret("api-key", f"{KEY}\n"))
    monitoring = ("--profile", "monitoring")
    try:
        stack.compose(*monitoring, "up", "--detach", "--no-build", "--scale", "serve=2", "serve", "prometheus")
        answers: list[str] = []
        deadline = time.monotonic() + 90
        while answers != ["1", "1"]:
            assert time.monotonic() < deadline, stack.compose(*monitoring, "logs", "prometheus").stdout.decode()
            time.sleep(1)
            try:
                found = requests.get(f"http://127.0.0.1:{port}/api/v1/query", {"query": "up"}, timeout=5).json()
            except requests.RequestException:
                continue
            answers = [sample["value"][1] for sample in found["data"]["result"]]
    finally:
        stack.remove()


def test_three_services_on_postgresql_lose_nothing_when_one_and_the_database_are_killed(tmp_path: Path) -> None:
    stack = Stack(tmp_path, "postgres", POSTGRES_PASSWORD="a-password")
    stack.up("--scale", "serve=3")
    try:
        acknowledged: dict[int, float] = {}
        wrong: list[str] = []
        over = threading.Event()

        def learn() -> None:
            while not over.is_set():
                try:
                    answer = requests.post(f"{stack.url}/train-step", json=LESSON, timeout=20)
                except requests.RequestException as error:
                    wrong.append(repr(error))  # nginx is not what is killed
                    continue
                if answer.status_code == 200:
                    acknowledged[answer.json()["model_version"]] = answer.json()["loss"]
                elif answer.status_code not in (502, 503, 504):
                    wrong.append(answer.text)

        learners = [threading.Thread(target=learn) for _ in range(3)]
        for learner in learners:
            learner.start()
        for victim in (stack.containers()[0], stack.container("postgres")):
            time.sleep(2)
            docker("kill", "--signal", "KILL", victim)
            time.sleep(1)
            docker("start", victim)
            reached, deadline = len(acknowledged), time.monotonic() + 60
            while len(acknowledged) < reached + 20:
                assert time.monotonic() < deadline, "it did not recover"
                time.sleep(0.1)
        over.set()
        for learner in learners:
            learner.join()
        assert not wrong, wrong[:3]
        newest = max(acknowledged)
        listed: dict[int, float] = {}
        while newest > 1:
            answer = requests.get(f"{stack.url}/versions?limit=1000&before={newest + 1}", timeout=20)
            if answer.status_code == 503:  # of one that has just come back
                continue
            page = answer.json()["versions"]
            listed |= {version["model_version"]: version["loss"] for version in page}
            newest = page[-1]["model_version"] - 1
        assert acknowledged == {version: listed.get(version) for version in acknowledged}
    finally:
        stack.remove()
