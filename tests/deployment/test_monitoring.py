"""deploy/monitoring: what it asks for is what the service counts, and Prometheus can read it."""

import json
import math
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from model.weights_file import Weights
from service.cli import main
from service.settings import Settings
from tests.conftest import Client, as_json, random_batch
from tests.postgres import free_port
from tests.processes.server import Server
from tests.service.test_metrics import value

KEY = "a key of the tests"
FOLDER = Path(__file__).parents[2] / "deploy" / "monitoring"


def verify_a_backup(store: str, folder: Path) -> None:
    for command in ("backup", "verify"):
        result = CliRunner().invoke(main, [command, "--store", store, str(folder / "backup.db")])
        assert result.exit_code == 0, result.output


def expressions() -> list[str]:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*asked, (FOLDER / "alerts.yml").read_text()]


def test_every_metric_that_is_asked_for_is_counted(client: Client, settings: Settings, tmp_path: Path) -> None:
    client.post("/train-step", json=as_json(*random_batch(3)))
    for query in ("", "&model_version=1"):  # a chosen one, and one of a pinned version
        kept = client.post(f"/predict?remember=true{query}", json=as_json(random_batch(1)[0])).json["prediction_ids"]
        client.get("/predictions?order=uncertain")
        client.post("/train-step", json={"prediction_ids": kept, "labels": [1]})
    verify_a_backup(settings.store, tmp_path)
    known = set()
    for family in text_string_to_metric_families(client.get("/metrics").text):
        known |= {family.name, f"{family.name}_total", *(sample.name for sample in family.samples)}
    named = {name for text in expressions() for name in re.findall(r"\btwolayernet_\w+", text)}
    assert len(named) > 8
    assert named <= known


@pytest.mark.monitoring
def test_prometheus_reads_its_files() -> None:
    for check in (("config", "--syntax-only", "prometheus.yml"), ("rules", "alerts.yml")):  # the key is not here
        done = subprocess.run(["promtool", "check", *check], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout


class Prometheus:
    """Debian's, with the configuration of deploy/monitoring, asking services in this network namespace."""

    def __init__(self, folder: Path, targets: list[str], key: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        configuration = (FOLDER / "prometheus.yml").read_text()
        asks = re.compile(r"    dns_sd_configs:\n.*\n")
        assert asks.search(configuration)
        configuration = asks.sub(f"    static_configs: [{{targets: {json.dumps(targets)}}}]\n", configuration)
        configuration = configuration.replace("scrape_interval: 15s", "scrape_interval: 1s\n  evaluation_interval: 1s")
        configuration = configuration.replace("/run/secrets/api-key", str(folder / "api-key"))
        (folder / "api-key").write_text(key)
        (folder / "prometheus.yml").write_text(configuration)
        shutil.copy(FOLDER / "alerts.yml", folder)
        command = ["prometheus", "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{self.port}"]
        with open(folder / "prometheus.log", "wb") as log:
            self.process = subprocess.Popen([*command, "--storage.tsdb.path=data"], cwd=folder, stdout=log, stderr=log)

    def asked(self, path: str, **query: str) -> Any:
        try:
            answer = requests.get(f"{self.url}/api/v1/{path}", params=query, timeout=10)
        except requests.ConnectionError:
            return None
        return answer.json()["data"] if answer.status_code == 200 else None

    def values(self, expression: str) -> list[float]:
        found = (self.asked("query", query=expression) or {"result": []})["result"]
        return [float(sample["value"][1]) for sample in found]


@pytest.fixture
def scraped(tmp_path: Path, weights: Weights) -> Iterator[tuple[Server, Prometheus]]:
    """Two workers behind a key, and Prometheus, which has it."""
    server = Server(tmp_path, workers=2, TWOLAYERNET_API_KEY=KEY).start()
    prometheus = Prometheus(tmp_path, [f"127.0.0.1:{server.port}"], KEY)
    yield server, prometheus
    prometheus.process.kill()
    prometheus.process.wait()
    if server.process is not None and server.process.poll() is None:
        server.kill()


def of_all_kinds(server: Server) -> None:
    """Requests such that each metric has something to say."""
    headers = {"Authorization": f"Bearer {KEY}"}
    x, t = random_batch(3)
    for _ in range(4):
        assert server.post("/predict", as_json(x)).status_code == 200
        assert server.post("/train-step", as_json(x, t), headers=headers).status_code == 200
        for wrong in ({}, {"Authorization": "Bearer wrong"}):
            assert server.post("/train-step", as_json(x, t), headers=wrong).status_code in (401, 429)
        time.sleep(0.3)  # until the key is looked at again


@pytest.mark.monitoring
def test_every_panel_and_every_alert_has_data_of_a_real_service(scraped: tuple[Server, Prometheus]) -> None:
    server, prometheus = scraped
    verify_a_backup(server.environment["TWOLAYERNET_STORE"], server.folder)
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    panels = [target["expr"].replace("$__rate_interval", "20s") for p in dashboard["panels"] for target in p["targets"]]
    of_few = ("chosen_accuracy", "pinned_accuracy", "refused")  # what needs labels that came later, or bad pictures
    panels = [panel for panel in panels if not any(name in panel for name in of_few)]
    give_up = time.monotonic() + 60
    missing = panels
    while missing:
        of_all_kinds(server)
        time.sleep(1)
        missing = [panel for panel in panels if not any(map(math.isfinite, prometheus.values(panel)))]
        assert time.monotonic() < give_up, (missing, prometheus.asked("targets"))

    asked = [rule["query"] for group in prometheus.asked("rules")["groups"] for rule in group["rules"]]
    assert len(asked) == 9
    for query in asked:  # what is compared, without the comparison, is there
        compared = re.split(r" (?:==|<|>) ", query)[0].replace("[5m]", "[20s]").replace("5..", "...")
        assert prometheus.values(compared), compared
    counted = 'sum(twolayernet_http_requests_total{endpoint="/predict",status="200"})'
    served = server.get("/metrics", headers={"Authorization": f"Bearer {KEY}"}).text
    time.sleep(2)
    assert prometheus.values(counted) == [
        value(served, "http_requests_total", method="POST", endpoint="/predict", status="200")
    ]


@pytest.mark.monitoring
def test_a_service_that_is_gone_is_an_alert(scraped: tuple[Server, Prometheus]) -> None:
    server, prometheus = scraped
    give_up = time.monotonic() + 60
    while prometheus.values('up{job="twolayernet"}') != [1]:
        assert time.monotonic() < give_up
        time.sleep(0.2)
    server.kill()
    while "TwoLayerNetDown" not in {
        alert["labels"]["alertname"] for alert in (prometheus.asked("alerts") or {"alerts": []})["alerts"]
    }:
        assert time.monotonic() < give_up
        time.sleep(0.2)
