"""The images and the stack on a real Docker engine. Needs one, and the images twolayernet and twolayernet-train."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from model.datasets import packaged_digits
from tests.conftest import as_json
from tests.processes.server import free_port

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
MOST_MEGABYTES_ON_THE_BASE = 120
DIGITS = packaged_digits().test
LESSON = as_json(DIGITS.images[::50], DIGITS.labels[::50])


def docker(*arguments: str, data: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    result = subprocess.run(["docker", *arguments], input=data, capture_output=True, check=False, timeout=300)
    if check:
        assert result.returncode == 0, (arguments, result.stderr.decode())
    return result


class Stack:
    """`docker compose` in a folder of its own, with a project name and a port of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = {"TWOLAYERNET_PUBLISH": f"127.0.0.1:{self.port}", **environment}
        self.env_file = folder / "stack.env"
        self.env_file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self.project = f"twolayernet-test-{os.getpid()}"

    def compose(self, *arguments: str, data: bytes | None = None, check: bool = True) -> Any:
        options = ("-p", self.project, "-f", str(ROOT / "docker-compose.yml"), "--env-file", str(self.env_file))
        return docker("compose", *options, *arguments, data=data, check=check)

    def up(self) -> None:
        self.compose("up", "--detach", "--no-build", "--wait", "--wait-timeout", "60", "serve")

    def container(self) -> str:
        return str(self.compose("ps", "--all", "--quiet", "serve").stdout.decode().strip())

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(docker("inspect", self.container()).stdout)[0]["State"]
        return state

    def post(self, path: str, body: Any, **options: Any) -> Any:
        answer = requests.post(self.url + path, json=body, timeout=20, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def newest(self) -> int:
        return int(requests.get(f"{self.url}/readyz", timeout=20).json()["model_version"])


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path)
    yield made
    made.compose("down", "--volumes", "--timeout", "20")


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
    assert "/data/weights.npz is there already" in logs


def test_a_worker_that_is_killed_inside_the_container_is_replaced(stack: Stack) -> None:
    stack.up()
    docker("exec", stack.container(), "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)")
    deadline = time.monotonic() + 20
    while True:
        try:
            assert stack.post("/train-step", LESSON)["model_version"] == 2
            break
        except requests.ConnectionError:
            assert time.monotonic() < deadline
    assert stack.state()["Running"]


def test_stop_is_quick_and_clean(stack: Stack) -> None:
    stack.up()
    container = stack.container()
    started = time.monotonic()
    docker("stop", "--time", "30", container)
    assert time.monotonic() - started < 8
    assert json.loads(docker("inspect", container).stdout)[0]["State"]["ExitCode"] == 0


def test_backup_while_it_runs_and_restore(stack: Stack) -> None:
    stack.up()
    stack.post("/train-step", LESSON)
    answer = stack.post("/predict", as_json(DIGITS.images[:3]))
    backup = stack.compose("exec", "-T", "serve", "twolayernet", "backup", "-").stdout
    for _ in range(3):
        stack.post("/train-step", LESSON)
    assert stack.newest() == 5
    stack.compose("stop", "serve")
    refused = stack.compose("run", "--rm", "--no-deps", "-T", "serve", "restore", "-", data=b"x" * 9000, check=False)
    assert refused.returncode == 2
    restored = stack.compose("run", "--rm", "--no-deps", "-T", "serve", "restore", "-", data=backup)
    assert b"the newest version is 2" in restored.stdout
    stack.up()
    assert stack.post("/predict", as_json(DIGITS.images[:3])) == answer


def test_retrain_with_other_options_and_publish(stack: Stack) -> None:
    stack.up()
    trained = stack.compose(
        "run", "--rm", "-T", "train", "--hidden", "60", "--out", "/data/new.npz"
    ).stdout.decode()  # fmt: skip
    assert "weights: /data/new.npz" in trained
    published = stack.compose(
        "run",
        "--rm",
        "-T",
        "--entrypoint",
        "twolayernet",
        "train",
        "publish",
        "/data/new.npz",
        "--url",
        "http://serve:8000",
        check=False,
    )
    assert published.returncode in (0, 1), published.stderr
    assert b"published" in published.stdout + published.stderr


def test_the_image_runs_read_only_without_capabilities_or_network_under_any_user(tmp_path: Path, stack: Stack) -> None:
    stack.compose("run", "--rm", "-T", "train", "--epochs", "1", "--quiet", "--out", "/data/weights.npz")
    name = f"{stack.project}-hardened"
    docker(
        "run", "--detach", "--name", name, "--read-only", "--cap-drop", "ALL", "--user", "12345", "--network", "none",
        "--volume", f"{stack.project}_data:/data", "twolayernet",
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while json.loads(docker("inspect", name).stdout)[0]["State"]["Health"]["Status"] != "healthy":
            assert time.monotonic() < deadline, docker("logs", name).stderr.decode()
            time.sleep(0.5)
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


def test_no_secret_is_in_the_compose_file_and_a_key_closes_the_stack(tmp_path: Path) -> None:
    closed = Stack(tmp_path, TWOLAYERNET_API_KEY="a-key", TWOLAYERNET_PREFIX="/models/digits")
    try:
        closed.up()
        url = f"{closed.url}/models/digits/train-step"
        assert requests.post(url, json=LESSON, timeout=20).status_code == 401
        headers = {"Authorization": "Bearer a-key"}
        assert requests.post(url, json=LESSON, headers=headers, timeout=20).json()["model_version"] == 2
        assert "a-key" not in closed.compose("logs").stdout.decode()
    finally:
        closed.compose("down", "--volumes", "--timeout", "20")


NGINX = """
server {
    listen 80;
    client_max_body_size 20m;
    location /models/digits/ {
        proxy_pass http://serve:8000;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Forwarded-Host $host;
    }
}
"""


def test_behind_nginx_under_a_prefix(tmp_path: Path) -> None:
    stack = Stack(tmp_path, TWOLAYERNET_PREFIX="/models/digits", TWOLAYERNET_TRUSTED_PROXIES="1")
    (tmp_path / "digits.conf").write_text(NGINX)
    tmp_path.chmod(0o755)
    name, port = f"{stack.project}-nginx", free_port()
    try:
        stack.up()
        docker(
            "run", "--detach", "--name", name, "--network", f"{stack.project}_default",
            "--publish", f"127.0.0.1:{port}:80", "--volume", f"{tmp_path}:/etc/nginx/conf.d:ro", "nginx:stable",
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}/models/digits"
        deadline = time.monotonic() + 20
        while True:
            try:
                assert requests.get(f"{url}/readyz", timeout=5).status_code == 200
                break
            except requests.ConnectionError:
                assert time.monotonic() < deadline, docker("logs", name).stderr.decode()
        many = as_json(DIGITS.images, DIGITS.labels)
        assert requests.post(f"{url}/accuracy", json=many, timeout=20).json()["count"] == 1000
        assert requests.post(f"{url}/train-step", json=LESSON, timeout=20).json()["model_version"] == 2
        assert requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 404
    finally:
        docker("rm", "--force", name, check=False)
        stack.compose("down", "--volumes", "--timeout", "20")
