"""deploy/monitoring: what it asks for is what the service counts, and Prometheus can read it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Client, as_json, random_batch

FOLDER = Path(__file__).parents[2] / "deploy" / "monitoring"


def expressions() -> list[str]:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*asked, (FOLDER / "alerts.yml").read_text()]


def test_every_metric_that_is_asked_for_is_counted(client: Client) -> None:
    client.post("/train-step", json=as_json(*random_batch(3)))
    known = set()
    for family in text_string_to_metric_families(client.get("/metrics").text):
        known |= {family.name, f"{family.name}_total", *(sample.name for sample in family.samples)}
    named = {name for text in expressions() for name in re.findall(r"\btwolayernet_\w+", text)}
    assert len(named) > 8
    assert named <= known


def test_prometheus_reads_its_files() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on this machine (Debian's prometheus has it): the files were not checked by it")
    for check in (("config", "prometheus.yml"), ("rules", "alerts.yml")):
        done = subprocess.run(
            [promtool, "check", check[0], check[1]], cwd=FOLDER, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
