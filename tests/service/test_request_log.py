"""The line that is written of each request."""

import json
import os
import re
import subprocess
import sys
import threading
from typing import Any

import pytest
from pydantic import SecretStr

from service.app import create_app
from service.http import request_log
from service.settings import Settings
from tests.conftest import Client, as_json, random_batch

X, T = random_batch(1)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def said(capfd: pytest.CaptureFixture[str]) -> str:
    """All that has been logged, once the thread that writes it is done."""
    for thread in threading.enumerate():
        if thread.name == request_log.LOG_THREAD:
            thread.join()
    return capfd.readouterr().out


@pytest.fixture(autouse=True)
def nothing_of_a_test_before(capfd: pytest.CaptureFixture[str]) -> None:
    said(capfd)


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said(capfd).splitlines()]


def test_each_request_is_one_line_of_json(client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    client.post("/train-step", json=as_json(X, T))
    traced = {"X-Request-ID": "abc-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    answer = client.post("/predict?pixel_max=7", json=as_json(X), headers=traced)
    step, predict = lines(capfd)
    assert answer.headers["X-Request-ID"] == predict["request_id"] == "abc-1"
    assert (predict["method"], predict["path"], predict["status"]) == ("POST", "/predict", 422)
    assert predict["trace_id"] == TRACE
    assert predict["client"] == "127.0.0.1"
    assert 0 < predict["duration_ms"] < 10_000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", predict["time"])
    assert (step["status"], step["model_version"]) == (200, 2)
    assert re.fullmatch("[0-9a-f]{32}", step["request_id"])


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, 'a"b', "é", "{}"])
def test_an_id_that_is_not_safe_to_log_is_replaced(client: Client, given: str) -> None:
    assert re.fullmatch("[0-9a-f]{32}", client.get("/healthz", headers={"X-Request-ID": given}).headers["X-Request-ID"])


def test_neither_body_nor_key_nor_query_is_written(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    client = Client(create_app(settings.model_copy(update={"api_key": SecretStr("secret")})))
    client.get("/versions?key=secret", headers={"Authorization": "Bearer secret"})
    client.post("/train-step", json={"secret": 1}, headers={"Authorization": "Bearer secret"})
    client.get("/versions", headers={"Authorization": "Bearer secretive"})
    client.get("/a\nb%0A%22\x1b[31m" + "c" * 5000)
    text = said(capfd)
    assert "secret" not in text
    assert len(text.splitlines()) == 4
    assert json.loads(text.splitlines()[-1])["status"] == 404
    assert len(text) < 2000


def test_the_lines_can_be_text_and_switched_off(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    for form, expected in (("text", r"200 POST /predict [\d.]+ ms version 1 [0-9a-f]{32}\n"), ("off", "")):
        client = Client(create_app(settings.model_copy(update={"access_log": form})))
        assert client.post("/predict", json=as_json(X)).headers["X-Request-ID"]
        assert re.fullmatch(expected, said(capfd))
        client.close()


PROGRAM = """
import sys, threading
from service.http.request_log import RequestLog

log = RequestLog()

def work(thread):
    for number in range(3000):
        log.add(b'%d %04d %s\\n' % (thread, number, b'x' * 100))

threads = [threading.Thread(target=work, args=[number]) for number in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit(int(sys.argv[1]))
"""


def test_no_line_is_lost_or_mixed_with_another_process_s_when_processes_end() -> None:
    read, write = os.pipe()
    processes = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(code)], stdout=write) for code in (0, 1)]
    os.close(write)
    with open(read, "rb") as pipe:
        text = pipe.read()
    assert [process.wait() for process in processes] == [0, 1]
    expected = [b"%d %04d %s" % (thread, number, b"x" * 100) for thread in range(3) for number in range(3000)]
    assert sorted(text.splitlines()) == sorted(expected * 2)


def test_lines_that_are_not_taken_are_bounded(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once so many wait, whoever has another one writes, and has to wait for standard output, too."""
    monkeypatch.setattr(request_log, "MOST_LINES", 3)
    log = request_log.RequestLog()
    held_up = threading.Event()
    log._writer = threading.Thread(target=held_up.wait)
    log._writer.start()
    for number in range(5):
        log.add(b"%d\n" % number)
    held_up.set()
    assert capfd.readouterr().out == "0\n1\n2\n3\n"


FORK = """
import os, sys
from service.http.request_log import RequestLog

log = RequestLog()
log.add(b'parent\\n')
if os.fork() == 0:
    log.add(b'child\\n')
    for thread in [log._writer]: thread.join()
    os._exit(0)
os.wait()
"""


def test_a_fork_of_a_process_that_has_logged_writes_its_own_lines() -> None:
    lines = subprocess.run([sys.executable, "-c", FORK], stdout=subprocess.PIPE, check=True).stdout.split()
    assert sorted(lines) == [b"child", b"parent"]
